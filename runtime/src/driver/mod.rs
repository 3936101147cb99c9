//! The one loop that owns the core and the order of the journal. It turns what happens into inputs and does what the
//! effects say; it decides nothing about the life cycle. The end of the gateway is a value that [`Driver::run`] returns.

mod effects;
pub mod handle;
mod intake;
mod names;
mod notice;
mod outgoing;
mod questions;
mod reclaim;
mod reload;
mod runs;
mod status;
mod texts;

pub use status::{by, request_json, wish};

use crate::agent::{Agent, Report};
use crate::environment::{BoxFuture, Environment, Told};
use crate::flight::Recorder;
use crate::hub::{Hub, Live};
use crate::journal::reader::Reader;
use crate::journal::writer::{Writer, Written};
use crate::journal::{Batch, Journal, JournalError, Owner, Parcel, SAID};
use crate::metrics::Metrics;
use crate::platform::Switchboard;
use crate::pulse::{Depths, Pulse};
use crate::watched::{Watched, Watcher};
use evergate_core::effect::Place;
use evergate_core::gateway::Gateway;
use evergate_core::id::{MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Input, TurnEnd};
use evergate_core::record::{Highest, Record};
use evergate_core::request::Signal;
use evergate_core::rollback::Build;
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use evergate_core::watchdog::Part;
use handle::{Call, Handle, MessageAnswer, RequestAnswer};
use names::Names;
use reclaim::Reclaim;
use runs::{Done, Runs};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use texts::Texts;
use tokio::sync::{mpsc, oneshot};

/// What is handled between two looks at the journal's writer: enough to fill a commit, few enough to stay lively.
const BURST: usize = 1024;

/// How long an agent that lives beside its turns may take to end at the end of a generation.
const AGENT_CLOSES: Duration = Duration::from_secs(3);
/// What has to be left then before the guard ends the process.
const GUARD_MARGIN: Duration = Duration::from_millis(500);

/// Everything that a driver is made of.
pub struct Parts {
    /// The world.
    pub environment: Arc<dyn Environment>,
    /// The core, booted.
    pub core: Gateway,
    /// What notes down all that the core is told and says, from the boot on.
    pub flight: Recorder,
    /// The store.
    pub journal: Arc<dyn Journal>,
    /// What answers.
    pub agent: Arc<dyn Agent>,
    /// Signals to the process.
    pub signals: mpsc::Receiver<Signal>,
    /// The process as the journal's owner.
    pub owner: Owner,
    /// The highest ids in the journal.
    pub highest: Highest,
    /// The state directory, absolute.
    pub state_dir: PathBuf,
    /// Makes sure that no process of an earlier generation's turns is alive.
    pub reclaim: BoxFuture<()>,
    /// Where the local platform listens, for the status.
    pub listen: String,
    /// What the watchdog looks at.
    pub pulse: Arc<Pulse>,
    /// The lines to the platforms.
    pub switchboard: Arc<Switchboard>,
}

/// The loop.
pub struct Driver {
    environment: Arc<dyn Environment>,
    core: Gateway,
    flight: Recorder,
    journal: Arc<dyn Journal>,
    writer: Writer,
    batch: Batch,
    runs: Runs,
    texts: Texts,
    names: Names,
    signals: mpsc::Receiver<Signal>,
    calls: mpsc::Receiver<Call>,
    handle: Handle,
    /// Inputs that effects gave rise to at once.
    inputs: VecDeque<Input>,
    acks: HashMap<MessageId, Vec<(oneshot::Sender<MessageAnswer>, bool)>>,
    /// What the senders of messages that are not on disk yet are going to be told.
    places: HashMap<MessageId, Place>,
    /// Messages with a platform id that are not on disk yet.
    unsynced: HashMap<(SessionId, String), MessageId>,
    answers: HashMap<RequestId, Vec<oneshot::Sender<RequestAnswer>>>,
    cancels: HashMap<RequestId, Vec<oneshot::Sender<RequestAnswer>>>,
    last_message: MessageId,
    last_request: RequestId,
    owner: Owner,
    reclaim: Reclaim,
    /// What people are to read where the supervisor shows it.
    word: Option<&'static str>,
    /// Open while the platforms may receive.
    platforms: Watched<Platforms>,
    started: Instant,
    listen: String,
    pulse: Arc<Pulse>,
    /// When the guard ends the process.
    guarded: Option<Instant>,
    switchboard: Arc<Switchboard>,
    /// Platforms that something is owed on and that are not configured.
    unserved: BTreeSet<String>,
    /// Who waits for the facts of the batch that is gathered, and of the one that is being written.
    keeping: Vec<oneshot::Sender<Result<(), String>>>,
    being_kept: Vec<oneshot::Sender<Result<(), String>>>,
    /// Agents that wait for a decision.
    asking: questions::Asking,
    /// How long they have waited, over generations.
    asked_since: questions::Since,
    /// The build on disk that was asked for its version last, and what it said so far.
    on_disk: Option<(Build, Option<String>)>,
}

/// How full the driver's queues are; whoever asks keeps none of them open.
fn depths(calls: mpsc::WeakSender<Call>, reports: mpsc::WeakSender<Report>) -> Depths {
    fn depth<T>(name: &'static str, queue: &mpsc::WeakSender<T>) -> (&'static str, usize, usize) {
        let room = queue.upgrade().map(|queue| (queue.max_capacity() - queue.capacity(), queue.max_capacity()));
        let (waiting, most) = room.unwrap_or_default();
        (name, waiting, most)
    }
    Box::new(move || vec![depth("calls", &calls), depth("reports of agents", &reports)])
}

/// Whether the platforms may receive. Before the core serves it refuses what they bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// Yes.
    Open,
    /// No more.
    Closed,
}

impl Driver {
    /// Sets up the loop and the way to it. Nothing happens before [`Self::run`].
    pub fn new(parts: Parts) -> Result<(Self, Handle, Watcher<Platforms>), JournalError> {
        let Parts {
            environment,
            core,
            flight,
            journal,
            agent,
            signals,
            owner,
            highest,
            state_dir,
            reclaim,
            listen,
            pulse,
            switchboard,
        } = parts;
        let writer = Writer::start(&environment, Arc::clone(&journal), &pulse)
            .map_err(|error| JournalError::Write(error.to_string()))?;
        let reader =
            Reader::start(&environment, Arc::clone(&journal)).map_err(|error| JournalError::Read(error.to_string()))?;
        let (to_driver, calls) = mpsc::channel(handle::CALLS);
        let runs = Runs::new(agent, core.generation(), state_dir);
        pulse.tell_depths(depths(to_driver.downgrade(), runs.reporters()));
        let generation = core.generation();
        let metrics = Arc::clone(&pulse.metrics);
        Metrics::set(&metrics.generation, usize::try_from(generation.0).unwrap_or(usize::MAX));
        let handle = Handle {
            calls: to_driver,
            environment: Arc::clone(&environment),
            hub: Arc::new(Hub::new(generation.0, Arc::clone(&switchboard))),
            journal: Arc::clone(&journal),
            reader,
            metrics,
            pulse: Arc::clone(&pulse),
            last_status: Arc::new(Mutex::new(
                serde_json::json!({"generation": generation, "pid": owner.pid, "start_time": owner.start_time}),
            )),
        };
        runs.meet(&handle);
        let platforms = Watched::new(Platforms::Open);
        let (_open, watcher) = platforms.watch();
        let names = Names::new(journal.last_session()?);
        let asked_since = questions::since(&*journal)?;
        let driver = Self {
            runs,
            texts: Texts::default(),
            started: environment.now(),
            environment,
            core,
            flight,
            journal,
            writer,
            batch: Batch::default(),
            names,
            signals,
            calls,
            handle: handle.clone(),
            inputs: VecDeque::new(),
            acks: HashMap::new(),
            places: HashMap::new(),
            unsynced: HashMap::new(),
            answers: HashMap::new(),
            cancels: HashMap::new(),
            last_message: highest.message,
            last_request: highest.request,
            owner,
            reclaim: Reclaim::Due(reclaim),
            word: None,
            platforms,
            listen,
            pulse,
            guarded: None,
            switchboard,
            unserved: BTreeSet::new(),
            keeping: Vec::new(),
            being_kept: Vec::new(),
            asking: HashMap::new(),
            asked_since,
            on_disk: None,
        };
        Ok((driver, handle, watcher))
    }

    /// Drives this generation to its end.
    pub async fn run(mut self) -> Verdict {
        self.pulse.is_running();
        loop {
            if let Some(verdict) = self.settle() {
                self.say_word();
                self.close_agent().await;
                return verdict;
            }
            self.tell_breaker();
            self.submit();
            self.say_word();
            self.wait().await;
        }
    }

    /// Says the last word of what was done, and keeps what a status says from here on for those who ask while the loop is stuck.
    /// Both come behind what was done: whoever hears the word may run in our place at once, and clients wait while a generation
    /// starts.
    fn say_word(&mut self) {
        if let Some(word) = self.word.take() {
            self.environment.tell_supervisor(Told::Status(word));
            let status = self.status();
            *self.handle.last_status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        }
    }

    /// Waits until what the agent kept beside its runs is gone, and what earlier generations left if that has begun, within what
    /// is left of the end; the rest is ended by force. A generation that lives only to carry out a stop is the last that can.
    async fn close_agent(&mut self) {
        self.runs.close();
        let now = self.environment.now();
        let left = self.guarded.map_or(AGENT_CLOSES, |guarded| (guarded - now).saturating_sub(GUARD_MARGIN));
        let late = self.environment.sleep_until(now + left.min(AGENT_CLOSES));
        tokio::select! {
            biased;
            () = self.runs.closed(self.reclaim.is_under_way()) => {}
            () = late => tracing::warn!("the agent has not ended in time; it is ended by force"),
        }
    }

    /// Does everything that is to do now. The driver's own answers to effects count as inputs of the same instant.
    fn settle(&mut self) -> Option<Verdict> {
        loop {
            while let Some(effect) = self.core.poll() {
                self.flight.effect(&effect);
                if let Some(verdict) = self.act(effect) {
                    self.flight.flush();
                    return Some(verdict);
                }
            }
            let Some(input) = self.inputs.pop_front() else {
                self.flight.flush();
                return None;
            };
            let now = self.environment.now();
            self.flight.input(now, &input);
            self.core.handle(now, input);
        }
    }

    /// Hands the writer what has gathered, unless it is at work: then more gathers for one larger commit.
    fn submit(&mut self) {
        for (turn, said) in self.runs.take_unkept(self.environment.now()) {
            self.batch.rows.insert((SAID.to_owned(), turn.0.to_string()), Some(said));
        }
        // What no record waits for does not go alone while writes fail.
        let asides = (self.batch.ready.is_some() || !self.batch.rows.is_empty()) && !self.core.journal_failing();
        if self.writer.is_busy() || (self.batch.writes.is_empty() && !asides) {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.at_ms = self.environment.unix_ms();
        self.being_kept = std::mem::take(&mut self.keeping);
        if let Err(batch) = self.writer.submit(batch) {
            tracing::error!("the journal's writer is gone");
            self.goes_again(batch);
            self.rows_came_to(&Err("the journal's writer is gone".into()));
            self.take(Input::SyncFailed);
        }
    }

    /// Of a batch that was not written goes with the next one what nobody else writes again: the core does with its records, and who
    /// else wanted something kept hears that it was not.
    fn goes_again(&mut self, batch: Batch) {
        self.batch.ready = self.batch.ready.or(batch.ready);
        for (key, said) in batch.rows.into_iter().filter(|((scope, _), _)| scope == SAID) {
            self.batch.rows.entry(key).or_insert(said);
        }
    }

    /// Waits for something to happen and takes it in, with what else has happened meanwhile.
    async fn wait(&mut self) {
        if self.pulse.spins() {
            // Awake, and even ready to let others on its thread go on; that is no progress.
            return tokio::task::yield_now().await;
        }
        let timeout = self.core.poll_timeout();
        if timeout.is_some_and(|at| at <= self.environment.now()) {
            // No progress yet: a loop that only ever came this way would be stuck.
            return self.take(Input::Elapsed);
        }
        self.pulse.nap(Part::Loop);
        self.pulse.done(Part::Loop);
        let wake = timeout.into_iter().chain(self.runs.keep_at()).min();
        let elapsed = wake.map(|at| self.environment.sleep_until(at));
        let elapsed = async {
            match elapsed {
                Some(elapsed) => elapsed.await,
                None => std::future::pending().await,
            }
        };
        let reload = self.environment.reload_wanted();
        tokio::select! {
            biased;
            Some(signal) = self.signals.recv() => self.signal(signal),
            written = self.writer.written(), if self.writer.is_busy() => match written {
                Some(written) => self.written(written),
                None => self.take(Input::SyncFailed),
            },
            happened = self.runs.next() => match happened {
                runs::Happened::Reported(report) => self.report(report),
                runs::Happened::Done(done) => self.done(done),
            },
            () = reload => self.read_configuration(None),
            () = elapsed => {
                // Otherwise it is time to keep what is being said.
                if timeout.is_some_and(|at| at <= self.environment.now()) {
                    self.take(Input::Elapsed);
                }
            }
            Some(call) = self.calls.recv() => self.call(call),
            () = self.pulse.asked(Part::Loop) => {}
        }
        for _ in 0..BURST {
            if let Some(report) = self.runs.try_report() {
                self.report(report);
            } else if let Ok(call) = self.calls.try_recv() {
                self.call(call);
            } else {
                break;
            }
        }
    }

    /// Hands an input to the core after those that wait already.
    fn take(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    fn signal(&mut self, signal: Signal) {
        self.last_request = self.last_request.next();
        tracing::info!(signal = status::signal_name(signal), "signal received");
        self.take(Input::Signal { request: self.last_request, signal });
    }

    fn written(&mut self, written: Written) {
        let Written { batch, result } = written;
        self.rows_came_to(&result.as_ref().map(|_| ()).map_err(ToString::to_string));
        match result {
            Ok(events) => {
                Metrics::count(&self.handle.metrics.journal_commits_total);
                let records = batch.writes.len() as u64;
                self.handle.metrics.journal_records_total.fetch_add(records, std::sync::atomic::Ordering::Relaxed);
                for event in events {
                    if let Some(name) = self.session_name(event.session) {
                        self.handle.hub.tell(&name, || Live::Kept(event));
                    }
                }
                for write in &batch.writes {
                    self.forget_texts(&write.record);
                }
                if !batch.writes.is_empty() {
                    self.take(Input::Synced { records: batch.writes.len() as u32 });
                }
            }
            Err(error) => {
                Metrics::count(&self.handle.metrics.journal_failures_total);
                tracing::warn!(%error, "the journal could not be written; new messages are refused until it can");
                self.goes_again(batch);
                self.take(Input::SyncFailed);
            }
        }
    }

    fn forget_texts(&mut self, record: &Record) {
        if let Record::MessageAccepted { message, session, .. } = record
            && let Some(body) = self.texts.message(*message)
            && let Some(native) = &body.native
        {
            self.unsynced.remove(&(*session, native.clone()));
        }
        self.texts.written(record);
    }

    fn report(&mut self, report: Report) {
        let turn = TurnId(report.turn);
        match self.runs.take_in(report) {
            runs::News::Nothing => {}
            runs::News::Began => self.take(Input::TurnBegan { turn }),
            runs::News::Text { session, text } => {
                self.handle.hub.say(&session, turn.0, &text);
                self.runs.note_said(turn, &text, self.environment.now());
                self.take(Input::TurnProgressed { turn });
            }
            runs::News::Ended { session, end, reply, files, failure } => {
                self.handle.hub.hush(&session);
                self.asks_no_more(turn);
                if let (TurnEnd::Interrupted { .. }, Some(said)) = (end, &reply)
                    && self.runs.continues()
                {
                    self.batch.rows.insert((SAID.to_owned(), turn.0.to_string()), Some(said.clone()));
                }
                if let Some(reply) = reply {
                    self.texts.set_reply(turn, Parcel { text: reply.into(), files: files.into() });
                }
                if let Some(failure) = failure {
                    tracing::warn!(%turn, why = failure, "the agent failed");
                    self.texts.set_failure(turn, failure);
                }
                self.count_end(end);
                self.take(Input::TurnEnded { turn, end });
            }
        }
    }

    fn count_end(&self, end: TurnEnd) {
        match end {
            TurnEnd::Answered => Metrics::count(&self.handle.metrics.turns_answered_total),
            TurnEnd::Failed => Metrics::count(&self.handle.metrics.turns_failed_total),
            TurnEnd::Interrupted { .. } => {}
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Run => {}
            Done::Broken { turn, session, why } => {
                self.handle.hub.hush(&session);
                self.asks_no_more(turn);
                self.texts.set_failure(turn, why);
                self.count_end(TurnEnd::Failed);
                self.take(Input::TurnEnded { turn, end: TurnEnd::Failed });
            }
            Done::Supervisor { request, stops: Some(true) } => self.take(Input::SupervisorStops { request }),
            Done::Supervisor { request, .. } => self.take(Input::SupervisorStays { request }),
            Done::Reclaimed => self.reclaimed(),
            Done::Version { build, version } => self.on_disk = Some((build, version)),
            Done::Configuration { read, answer } => self.configuration_read(read, answer),
            Done::Candidate { request, fit: Ok(()) } => self.take(Input::CandidateFit { request }),
            Done::Candidate { request, fit: Err(why) } => {
                tracing::warn!(request = request.0, why, "what would be started next could not take over");
                self.texts.set_unfit(request, why);
                self.take(Input::CandidateUnfit { request });
            }
        }
    }
}
