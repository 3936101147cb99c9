//! `evergate send`: one message in, its reply out, for scripts. It owns the waiting for what belongs to this message among
//! all events of the session, across restarts of the gateway.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use evergate_core::ladder::GAP;
use tokio::time::Instant;

use super::answers::{NoticeEvent, ReplyEvent, Session, SessionEvent, TurnEvent};
use super::client::{Client, Insistence};
use super::events::{Heard, Reader};
use super::message::{Acquaintance, Message, may_be_command};
use super::request::read_status;
use super::table::harmless;
use super::{CommandError, exit, print};
use crate::logging;

/// The events that end a turn come together; how long the later ones are waited for.
const SETTLING_LIMIT: Duration = Duration::from_secs(1);

/// The arguments of `evergate send`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The conversation
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = session_name)]
    session: String,
    /// The message's own id; the same id again is the same message, and prints its reply again
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How long to wait for the reply, e.g. 90s or 5m
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = super::length_of_time)]
    timeout: Duration,
    /// The message; `-` reads it from standard input
    text: String,
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let text = if arguments.text == "-" { standard_input()? } else { arguments.text.clone() };
    let now = Instant::now();
    let deadline = now.checked_add(arguments.timeout);
    let insistence = Insistence { deadline, absent_until: now.checked_add(GAP) };
    let before = last_event(client, &arguments.session, insistence).await?;

    let message = Message::new(&arguments.session, arguments.id.clone(), text)?;
    let (number, acquaintance) = message.deliver(client, Insistence { absent_until: None, ..insistence }).await?;
    // The reply to a message that was there before may be anywhere in the session.
    let chosen_id_is_known = acquaintance == Acquaintance::Known && arguments.id.is_some();
    let after = if chosen_id_is_known { 0 } else { before };

    let mut watch = Watch::new(number, may_be_command(&message.text));
    let mut reader = Reader::new(client, &arguments.session, after);
    let in_time = follow(client, &mut reader, &mut watch, &arguments.session, deadline).await?;
    report(watch, in_time, arguments, &message)
}

/// A session's name, as the gateway takes it.
pub fn session_name(text: &str) -> Result<String, String> {
    if crate::local::is_session_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a session name is 1 to 64 letters, digits, dots, dashes or underscores".to_owned())
    }
}

fn standard_input() -> Result<String, CommandError> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(CommandError::Input)?;
    Ok(text.strip_suffix('\n').map_or_else(|| text.clone(), str::to_owned))
}

/// The session's newest kept event; 0 when it is new.
pub async fn last_event(client: &Client, session: &str, insistence: Insistence) -> Result<u64, CommandError> {
    let path = format!("/v1/sessions/{session}");
    let answer = client.insist(hyper::Method::GET, &path, None, insistence).await?;
    let session: Session = answer.read("GET /v1/sessions/{session}")?;
    Ok(session.last_event)
}

/// Reads events until the matter is settled; `false` when time was up before anything could be told. A gateway that stays away
/// for longer than from one generation to the next is told of, once, and so is one that holds back the turn of this chat.
async fn follow(
    client: &Client,
    reader: &mut Reader,
    watch: &mut Watch,
    session: &str,
    deadline: Option<Instant>,
) -> Result<bool, CommandError> {
    let mut settling_end: Option<Instant> = None;
    let mut tell_at: Option<Instant> = None;
    let mut look_at = Some(Instant::now() + GAP);
    loop {
        let end = match watch.progress() {
            Progress::Settled => return Ok(true),
            Progress::Settling => Some(*settling_end.get_or_insert_with(|| Instant::now() + SETTLING_LIMIT)),
            Progress::Waiting => deadline,
        };
        tokio::select! {
            biased;
            heard = reader.next() => match heard? {
                Heard::Event(event) => watch.take(SessionEvent::read(&event)),
                Heard::Lost(_) => tell_at = Some(Instant::now() + GAP),
                Heard::Connected => tell_at = None,
            },
            () = at(tell_at) => {
                tell_at = None;
                if let Err(error) = read_status(client).await {
                    let message = watch.message;
                    logging::complain(&format_args!("{error}. Message {message} is stored, and its reply is waited for"));
                }
            }
            () = at(look_at), if watch.progress() == Progress::Waiting => {
                look_at = None;
                if let Ok(Ok(status)) = tokio::time::timeout(SETTLING_LIMIT, read_status(client)).await
                    && status.turns.iter().any(|turn| turn.state == "held" && turn.session == session)
                {
                    let (breaker, message) = (status.breaker.sentence(), watch.message);
                    logging::complain(&format_args!("the loop breaker is {breaker}. Message {message} waits for that"));
                }
            }
            () = at(end) => return Ok(watch.progress() != Progress::Waiting),
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn report(watch: Watch, in_time: bool, arguments: &Arguments, message: &Message) -> Result<(), CommandError> {
    if !in_time {
        let wait = humantime::format_duration(arguments.timeout);
        let sentence = format!(
            "no reply to message {} within {wait}; it is stored and will be answered: the same command with --id {} prints the reply",
            watch.message, message.id
        );
        return Err(CommandError::ended(exit::TRY_AGAIN, sentence));
    }
    if let Some(text) = watch.reply.as_ref().or(watch.answering_notice.as_ref()) {
        print_text(text)?;
    }
    match watch.bad_end {
        None => Ok(()),
        Some(state) => {
            let said = watch.last_notice.map_or_else(
                || format!("the turn of message {} is {state}", watch.message),
                |text| text.trim_end().to_owned(),
            );
            Err(CommandError::ended(exit::REFUSED, harmless(&said)))
        }
    }
}

/// The text as it is for programs, harmless for terminals; a newline ends it.
fn print_text(text: &str) -> Result<(), CommandError> {
    let text = if std::io::stdout().is_terminal() { harmless(text) } else { text.to_owned() };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    print(&format!("{text}{end}"))
}

/// How far the matter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    /// The outcome is known, and another event of the same moment may add to it.
    Settling,
    Settled,
}

/// What has been heard about one message.
#[derive(Debug)]
struct Watch {
    message: u64,
    /// Answered by a notice, until a turn shows that it is no command.
    is_command: bool,
    /// The session's events have reached the message itself.
    reached: bool,
    reply: Option<String>,
    /// The notice that answers a command.
    answering_notice: Option<String>,
    answered: bool,
    /// `failed`, `stopped` or `quarantined`.
    bad_end: Option<String>,
    last_notice: Option<String>,
    /// The last kept event was a notice.
    notice_came_last: bool,
    notice_after_end: bool,
}

impl Watch {
    fn new(message: u64, is_command: bool) -> Self {
        Self {
            message,
            is_command,
            reached: false,
            reply: None,
            answering_notice: None,
            answered: false,
            bad_end: None,
            last_notice: None,
            notice_came_last: false,
            notice_after_end: false,
        }
    }

    fn progress(&self) -> Progress {
        if self.answering_notice.is_some()
            || (self.reply.is_some() && self.answered)
            || (self.bad_end.is_some() && self.notice_after_end)
        {
            return Progress::Settled;
        }
        if self.reply.is_some() || self.bad_end.is_some() { Progress::Settling } else { Progress::Waiting }
    }

    fn take(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Message(event) => self.reached |= event.message == self.message,
            SessionEvent::Turn(event) => self.take_turn(&event),
            SessionEvent::Reply(event) => self.take_reply(event),
            SessionEvent::Notice(event) => return self.take_notice(event),
            SessionEvent::Delta(_) | SessionEvent::Phase(_) | SessionEvent::Unknown => return,
        }
        self.notice_came_last = false;
    }

    fn take_turn(&mut self, event: &TurnEvent) {
        if !event.messages.contains(&self.message) {
            return;
        }
        self.is_command = false;
        match event.state.as_str() {
            "answered" => self.answered = true,
            "failed" | "stopped" | "quarantined" => {
                self.bad_end = Some(event.state.clone());
                self.notice_after_end = self.notice_came_last;
            }
            _ => self.bad_end = None,
        }
    }

    fn take_reply(&mut self, event: ReplyEvent) {
        if event.messages.contains(&self.message) {
            let files = event.files.iter().map(ToString::to_string);
            let lines = std::iter::once(event.text).chain(files).filter(|line| !line.is_empty());
            self.reply = Some(lines.collect::<Vec<_>>().join("\n"));
        }
    }

    fn take_notice(&mut self, event: NoticeEvent) {
        if event.lifecycle.is_some() {
            return;
        }
        let names_another = event.message.is_some_and(|message| message != self.message);
        let names_this = event.message == Some(self.message);
        if self.is_command && (names_this || (self.reached && !names_another)) {
            self.answering_notice = Some(event.text.clone());
        }
        if !names_another {
            self.notice_after_end |= self.bad_end.is_some();
            self.last_notice = Some(event.text);
            self.notice_came_last = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::Event;
    use super::*;

    fn watch(is_command: bool, events: &[(&str, &str)]) -> Watch {
        let mut watch = Watch::new(7, is_command);
        for (name, data) in events {
            let event = Event { id: None, name: (*name).to_owned(), data: (*data).to_owned() };
            let read = SessionEvent::read(&event);
            assert_ne!(read, SessionEvent::Unknown, "{data}");
            watch.take(read);
        }
        watch
    }

    const MESSAGE: (&str, &str) = ("message", r#"{"message":7,"text":"hi","from":"you"}"#);
    const RUNNING: (&str, &str) = ("turn", r#"{"turn":5,"state":"running","attempt":1,"messages":[7]}"#);
    const NOTICE: (&str, &str) = ("notice", r#"{"text":"because"}"#);

    #[test]
    fn a_reply_counts_only_for_the_messages_it_names() {
        let other = watch(false, &[MESSAGE, RUNNING, ("reply", r#"{"turn":4,"messages":[6],"text":"no"}"#)]);
        assert_eq!(other.progress(), Progress::Waiting);
        let own = ("reply", r#"{"turn":5,"messages":[7],"text":"yes"}"#);
        assert_eq!(watch(false, &[MESSAGE, RUNNING, own]).progress(), Progress::Settling);
        let answered = ("turn", r#"{"turn":5,"state":"answered","attempt":1,"messages":[7]}"#);
        assert_eq!(watch(false, &[MESSAGE, RUNNING, own, answered]).progress(), Progress::Settled);
        assert_eq!(watch(false, &[MESSAGE, RUNNING, answered]).progress(), Progress::Waiting);
    }

    #[test]
    fn a_failed_turn_is_settled_with_the_notice_that_says_why_before_or_after() {
        let failed = ("turn", r#"{"turn":5,"state":"failed","attempt":1,"messages":[7]}"#);
        for order in [[failed, NOTICE], [NOTICE, failed]] {
            let watch = watch(false, &[MESSAGE, RUNNING, order[0], order[1]]);
            assert_eq!((watch.progress(), watch.last_notice.as_deref()), (Progress::Settled, Some("because")));
        }
        assert_eq!(watch(false, &[MESSAGE, RUNNING, failed]).progress(), Progress::Settling);
    }

    #[test]
    fn an_interrupted_turn_is_still_waited_for() {
        let interrupted = ("turn", r#"{"turn":5,"state":"interrupted","attempt":1,"messages":[7]}"#);
        assert_eq!(watch(false, &[MESSAGE, RUNNING, interrupted, NOTICE]).progress(), Progress::Waiting);
    }

    #[test]
    fn that_a_restart_cuts_an_answer_and_that_it_goes_on_answers_nothing() {
        let back = ("notice", r#"{"text":"Back","turn":5,"lifecycle":"back"}"#);
        assert_eq!(watch(true, &[MESSAGE, back]).progress(), Progress::Waiting);
        let failed = ("turn", r#"{"turn":5,"state":"failed","attempt":2,"messages":[7]}"#);
        assert_eq!(watch(false, &[MESSAGE, RUNNING, back, failed]).progress(), Progress::Settling, "why comes yet");
        let watch = watch(false, &[MESSAGE, RUNNING, back, failed, NOTICE]);
        assert_eq!((watch.progress(), watch.last_notice.as_deref()), (Progress::Settled, Some("because")));
    }

    #[test]
    fn a_command_is_answered_by_the_first_notice_after_it() {
        assert_eq!(watch(true, &[NOTICE]).progress(), Progress::Waiting);
        assert_eq!(watch(true, &[NOTICE, MESSAGE, NOTICE]).answering_notice.as_deref(), Some("because"));
        let for_another = ("notice", r#"{"text":"x","message":6}"#);
        assert_eq!(watch(true, &[MESSAGE, for_another]).progress(), Progress::Waiting);
    }

    #[test]
    fn a_text_with_a_slash_that_gets_a_turn_is_no_command() {
        assert_eq!(watch(true, &[MESSAGE, RUNNING, NOTICE]).progress(), Progress::Waiting);
    }
}
