//! One child at work: a loop over `next` (the one thing to happen next) and `handle` (what it changes), until the child
//! has been reaped and its streams are closed. It owns the child and says what its ending means; it never waits for
//! anything but in `next`, so a wish always gets through.

use super::{CommandAgent, failure::Failure};
use crate::agent::{
    Assignment, End, Report, Wish,
    group::Group,
    printed::{Reply, Tail},
    teller::{NobodyListens, Teller},
};
use std::{future::pending, io, process::ExitStatus, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::{
        mpsc::{self, OwnedPermit},
        watch,
    },
    time::{Instant, sleep_until},
};

/// How long the streams of a reaped child are read on: a grandchild may keep them open for ever.
const LINGER: Duration = Duration::from_millis(500);
/// Size of the buffer for each of the two output streams.
const READ_BYTES: usize = 8 * 1024;

/// One child at work.
pub(super) struct Run {
    agent: CommandAgent,
    turn: u64,
    group: Group,
    /// Set once the child has been reaped, with the time of it.
    ended: Option<(io::Result<ExitStatus>, Instant)>,
    /// Our end of the child's stdin, until the prompt is written or the child will not have it.
    stdin: Option<ChildStdin>,
    prompt: Vec<u8>,
    written: usize,
    stdout: Listening<ChildStdout>,
    stderr: Listening<ChildStderr>,
    reply: Reply,
    complaints: Tail,
    /// When the child last printed something, or last could not because we did not listen.
    heard_at: Instant,
    /// Why the child was told to end; the first reason stands.
    cut: Option<Cut>,
    wish: watch::Receiver<Wish>,
    /// `false` once nobody is left who could wish anything.
    wished_for: bool,
    teller: Teller,
}

/// One output stream of the child; `stream` is `None` once it has ended.
struct Listening<S> {
    stream: Option<S>,
    buffer: Vec<u8>,
}

/// Why a child was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Wished,
    Silent,
    TooLong,
}

/// The one thing to happen next.
enum Event {
    Wished,
    NobodyWishes,
    Reaped(io::Result<ExitStatus>),
    Slot(Option<OwnedPermit<Report>>),
    Written(io::Result<usize>),
    Printed(io::Result<usize>),
    Complained(io::Result<usize>),
    Lingered,
    Silent,
}

impl Run {
    /// Takes charge of a group that has just been started.
    pub(super) fn new(
        agent: CommandAgent,
        assignment: Assignment,
        mut group: Group,
        wish: watch::Receiver<Wish>,
        reports: mpsc::Sender<Report>,
    ) -> Run {
        let (stdin, stdout, stderr) = group.streams();
        let now = Instant::now();
        Run {
            turn: assignment.turn,
            group,
            ended: None,
            stdin: stdin.filter(|_| !assignment.prompt.is_empty()),
            prompt: assignment.prompt.into_bytes(),
            written: 0,
            stdout: Listening::new(stdout),
            stderr: Listening::new(stderr),
            reply: Reply::new(agent.max_reply_bytes),
            complaints: Tail::default(),
            heard_at: now,
            cut: None,
            wish,
            wished_for: true,
            teller: Teller::new(assignment.turn, reports),
            agent,
        }
    }

    /// Attends to the child until it is gone.
    pub(super) async fn play(mut self) -> End {
        while self.ended.is_none() || self.stdout.stream.is_some() || self.stderr.stream.is_some() {
            if self.ended.is_none() {
                self.teller.queue(&self.reply);
            }
            let event = self.next().await;
            self.handle(event);
        }
        if !self.group.gone().await {
            tracing::warn!(turn = self.turn, "a process of this turn's agent was killed but is not gone after 2 s");
        }
        self.end()
    }

    /// The next thing to happen. The order is the priority: what can go on for ever stands below what must not starve.
    /// Each branch may be dropped unfinished without a loss.
    async fn next(&mut self) -> Event {
        let silence = self.silence_ends();
        let linger = self.ended.as_ref().map(|(_, ended_at)| *ended_at + LINGER);
        let listens = self.listens();
        tokio::select! {
            biased;
            changed = self.wish.changed(), if self.wished_for => changed.map_or(Event::NobodyWishes, |()| Event::Wished),
            status = self.group.ended(), if self.ended.is_none() => Event::Reaped(status),
            permit = self.teller.slot() => Event::Slot(permit),
            written = write(&mut self.stdin, &self.prompt[self.written..]) => Event::Written(written),
            read = self.stdout.read(), if listens => Event::Printed(read),
            () = at(linger) => Event::Lingered,
            read = self.stderr.read() => Event::Complained(read),
            () = at(silence) => Event::Silent,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wished => self.obey(),
            Event::NobodyWishes => self.wished_for = false,
            Event::Reaped(status) => {
                self.ended = Some((status, Instant::now()));
                self.stdin = None;
            }
            Event::Slot(permit) => self.report(permit),
            Event::Written(written) => self.feed(written),
            Event::Printed(read) => self.hear(read),
            Event::Complained(read) => match read {
                Ok(count) if count > 0 => {
                    self.complaints.hear(&self.stderr.buffer[..count]);
                    self.heard_at = Instant::now();
                }
                _ => self.stderr.stream = None,
            },
            Event::Lingered => self.stop_listening(),
            Event::Silent => self.cut_short(Cut::Silent),
        }
    }

    /// Does what the driver wishes: the interruption may be survived (and even answered), the kill may not.
    fn obey(&mut self) {
        match *self.wish.borrow_and_update() {
            Wish::Run => return,
            Wish::Interrupt => self.group.terminate(),
            Wish::Kill => self.group.kill(),
        }
        self.cut = self.cut.or(Some(Cut::Wished));
    }

    fn cut_short(&mut self, why: Cut) {
        self.cut = self.cut.or(Some(why));
        self.group.kill();
    }

    /// A child that reads only a part of its prompt, or nothing of it, is as good as any other.
    fn feed(&mut self, written: io::Result<usize>) {
        self.written += written.as_ref().map_or(0, |count| *count);
        if written.is_err() || self.written == self.prompt.len() {
            self.stdin = None;
            self.prompt = Vec::new();
            self.written = 0;
        }
    }

    fn hear(&mut self, read: io::Result<usize>) {
        let count = read.unwrap_or(0);
        if count == 0 {
            self.reply.finish();
            self.stdout.stream = None;
            return;
        }
        self.heard_at = Instant::now();
        self.reply.hear(&self.stdout.buffer[..count]);
        if self.reply.is_too_long() {
            self.stdout.stream = None;
            self.cut_short(Cut::TooLong);
        }
    }

    fn stop_listening(&mut self) {
        tracing::debug!(
            turn = self.turn,
            "a process outside the agent's group keeps its output open; not waiting for it"
        );
        self.reply.finish();
        self.stdout.stream = None;
        self.stderr.stream = None;
    }

    /// Uses a granted slot. Without a permit nobody listens any more: the run has no purpose left.
    fn report(&mut self, permit: Option<OwnedPermit<Report>>) {
        match self.teller.tell(permit, &mut self.reply) {
            // While reading had stopped, the child could not have been heard.
            Ok(()) => self.heard_at = Instant::now(),
            Err(NobodyListens) => self.cut_short(Cut::Wished),
        }
    }

    /// Whether stdout is read: not while a due report waits for room behind plenty of text. Once the child is gone all
    /// of it is read: the reply's limit bounds it, and a slow driver must not cost the end of a reply.
    fn listens(&self) -> bool {
        self.ended.is_some() || !self.teller.is_behind(&self.reply)
    }

    /// When the child will have been silent for too long; `None` while that cannot be said of it.
    fn silence_ends(&self) -> Option<Instant> {
        let can_be_silent =
            self.ended.is_none() && self.cut.is_none() && self.listens() && !self.agent.silence.is_zero();
        self.heard_at.checked_add(self.agent.silence).filter(|_| can_be_silent)
    }

    /// What the child's ending means, as a table:
    ///
    /// | told to end because | exit status 0 | anything else |
    /// |---|---|---|
    /// | it was not | answered | failed |
    /// | the driver wished it | answered | interrupted |
    /// | it was silent | answered (just in time) | failed |
    /// | it printed too much | failed: the reply is not whole | failed |
    ///
    /// A reply that is not whole is never an answer, so "wished" with too much printed is an interruption in any case.
    fn end(self) -> End {
        let is_whole = !self.reply.is_too_long();
        let text = self.reply.into_text();
        let status = self.ended.map(|(status, _)| status);
        let complaints = self.complaints.text();
        let failure = match (self.cut, status) {
            (None | Some(Cut::Wished | Cut::Silent), Some(Ok(status))) if status.success() && is_whole => {
                return End::Answered { reply: text };
            }
            (Some(Cut::Wished), _) => return End::Interrupted { partial: text },
            (Some(Cut::Silent), _) => Failure::Silent { silence: self.agent.silence, complaints },
            (Some(Cut::TooLong), _) => Failure::TooLong { max_bytes: self.agent.max_reply_bytes },
            (None, Some(Ok(status))) => Failure::Ended { status, complaints },
            (None, Some(Err(error))) => Failure::Lost { error: Some(error) },
            (None, None) => Failure::Lost { error: None },
        };
        End::Failed { why: failure.to_string(), partial: text }
    }
}

impl<S: AsyncRead + Unpin> Listening<S> {
    fn new(stream: Option<S>) -> Listening<S> {
        Listening { stream, buffer: vec![0; READ_BYTES] }
    }

    /// Reads into the buffer; never ends once the stream has ended.
    async fn read(&mut self) -> io::Result<usize> {
        match &mut self.stream {
            Some(stream) => stream.read(&mut self.buffer).await,
            None => pending().await,
        }
    }
}

/// Writes some of `rest`; never ends when there is no stream to write to.
async fn write(stdin: &mut Option<ChildStdin>, rest: &[u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.write(rest).await,
        None => pending().await,
    }
}

/// Waits until `deadline`; for ever when there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
