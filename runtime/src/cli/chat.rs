//! `evergate chat`: a conversation in a terminal or through a pipe. It owns three small tasks (lines in, messages out,
//! events in) and the one loop that hears them all; what is printed is the transcript's business.

use std::io::IsTerminal;
use std::time::Duration;

use evergate_core::ladder::GAP;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answers::SessionEvent;
use super::client::{Client, Insistence};
use super::events::{Heard, Reader};
use super::message::Message;
use super::owed::Owed;
use super::send::{last_event, session_name};
use super::transcript::{Style, Transcript};
use super::{CommandError, exit, print};

/// How many kept events of the past are shown at the beginning to somebody at a terminal.
const PAST_EVENTS: u64 = 20;
/// Lines that wait while the gateway is away; the next one waits in the pipe.
const LINES_AHEAD: usize = 16;
/// What the tasks may report before the loop has read it.
const HAPPENINGS_AHEAD: usize = 64;
/// The events that end a turn come together; how long the later ones are waited for at the end.
const SETTLING_PAUSE: Duration = Duration::from_millis(500);

/// The arguments of `evergate chat`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The conversation
    #[arg(value_name = "SESSION", default_value = "main", value_parser = session_name)]
    session: String,

    /// The same, as `send` takes it
    #[arg(long = "session", value_name = "NAME", hide = true, value_parser = session_name, conflicts_with = "session")]
    named: Option<String>,
}

/// What the tasks report to the loop.
enum Happening {
    /// A line was typed; it will be sent.
    Line(String),
    /// `/quit`.
    Quit,
    /// `/quit` with something behind it, which is most likely a slip of the fingers.
    QuitWithWords,
    /// Standard input is at its end.
    InputEnded,
    /// The gateway has the message on disk.
    Stored {
        message: u64,
        text: String,
    },
    /// The gateway does not take the message.
    NotTaken {
        text: String,
        error: CommandError,
    },
    /// Every line was sent.
    AllSent,
    Heard(Heard),
    /// The conversation cannot go on.
    Failed(CommandError),
}

pub async fn run(client: &Client, arguments: &Arguments) -> Result<(), CommandError> {
    let insistence = Insistence { deadline: None, absent_until: Instant::now().checked_add(GAP) };
    let session = arguments.named.as_deref().unwrap_or(&arguments.session);
    let last = last_event(client, session, insistence).await?;
    // Whoever sends lines through a pipe wants the answers to those.
    let past = if std::io::stdin().is_terminal() { PAST_EVENTS } else { 0 };
    let mut reader = Reader::new(client, session, last.saturating_sub(past));
    // Before anything is sent, so that no piece of its answer goes by unheard.
    reader.next().await?;

    let (report, happenings) = mpsc::channel(HAPPENINGS_AHEAD);
    let (lines, lines_to_send) = mpsc::channel(LINES_AHEAD);
    let mut tasks = JoinSet::new();
    tasks.spawn(read_lines(lines, report.clone()));
    tasks.spawn(send_lines(client.clone(), session.to_owned(), lines_to_send, report.clone()));
    tasks.spawn(hear(reader, report));

    let mut conversation = Conversation::new(style(), last);
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => print("\n"),
        outcome = conversation.go_on(happenings) => outcome,
    }
}

fn style() -> Style {
    let terminal = std::io::stdout().is_terminal();
    let set = |name: &str| super::environment(name).is_some();
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    Style {
        colour: terminal && !dumb && !set("NO_COLOR"),
        terminal,
        prompt: terminal && !dumb && std::io::stdin().is_terminal(),
    }
}

/// Reads standard input line by line. A failed report means that the loop is over, and so is the task.
async fn read_lines(lines: mpsc::Sender<String>, report: mpsc::Sender<Happening>) {
    let mut input = BufReader::new(tokio::io::stdin());
    loop {
        let mut bytes = Vec::new();
        let happening = match input.read_until(b'\n', &mut bytes).await {
            Ok(0) => Happening::InputEnded,
            Ok(_) => match String::from_utf8_lossy(&bytes).trim() {
                "/quit" => Happening::Quit,
                line if line.split_whitespace().next() == Some("/quit") => Happening::QuitWithWords,
                line => Happening::Line(line.to_owned()),
            },
            Err(error) => Happening::Failed(CommandError::Input(error)),
        };
        let line = match &happening {
            Happening::Line(line) => line.clone(),
            _ => String::new(),
        };
        let ends = !matches!(happening, Happening::Line(_) | Happening::QuitWithWords);
        if report.send(happening).await.is_err() || ends {
            return;
        }
        if !line.is_empty() && lines.send(line).await.is_err() {
            return;
        }
    }
}

/// Sends one message after the other, each until the gateway has it.
async fn send_lines(
    client: Client,
    session: String,
    mut lines: mpsc::Receiver<String>,
    report: mpsc::Sender<Happening>,
) {
    while let Some(text) = lines.recv().await {
        let delivered = match Message::new(&session, None, text.clone()) {
            Ok(message) => message.deliver(&client, Insistence::default()).await,
            Err(error) => Err(error),
        };
        let happening = match delivered {
            Ok((message, _)) => Happening::Stored { message, text },
            Err(error) => Happening::NotTaken { text, error },
        };
        if report.send(happening).await.is_err() {
            return;
        }
    }
    // A loop that is over needs no report.
    let _ = report.send(Happening::AllSent).await;
}

async fn hear(mut reader: Reader, report: mpsc::Sender<Happening>) {
    loop {
        let (happening, goes_on) = match reader.next().await {
            Ok(heard) => (Happening::Heard(heard), true),
            Err(error) => (Happening::Failed(error.into()), false),
        };
        if report.send(happening).await.is_err() || !goes_on {
            return;
        }
    }
}

/// The loop's state: what is printed and what is still owed to the person.
struct Conversation {
    transcript: Transcript,
    owed: Owed,
    /// Kept events up to this one happened before we came.
    past: u64,
    interactive: bool,
    lost: bool,
    all_sent: bool,
    not_taken: usize,
}

impl Conversation {
    fn new(style: Style, past: u64) -> Self {
        let transcript = Transcript::new(style);
        Self {
            transcript,
            owed: Owed::default(),
            past,
            interactive: style.prompt,
            lost: false,
            all_sent: false,
            not_taken: 0,
        }
    }

    async fn go_on(&mut self, mut happenings: mpsc::Receiver<Happening>) -> Result<(), CommandError> {
        loop {
            print(&self.transcript.take_text())?;
            let arrived = match self.all_sent && self.owed.is_empty() {
                true => match tokio::time::timeout(SETTLING_PAUSE, happenings.recv()).await {
                    Ok(arrived) => arrived,
                    Err(_) => return self.end(),
                },
                false => happenings.recv().await,
            };
            let mut next = Some(arrived.unwrap_or(Happening::Quit));
            // What came together is printed together: the prompt need not come and go for each.
            while let Some(happening) = next {
                match happening {
                    Happening::Quit => return print(&self.transcript.take_text()),
                    Happening::InputEnded if self.interactive => return print("\n"),
                    Happening::Failed(error) => return Err(error),
                    happening => self.take(happening),
                }
                next = happenings.try_recv().ok();
            }
        }
    }

    /// A pipe is read to its end; its exit status tells whether every line became a message.
    fn end(&self) -> Result<(), CommandError> {
        match self.not_taken {
            0 => Ok(()),
            number => Err(CommandError::ended(exit::REFUSED, format!("{number} of the messages were not taken"))),
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Line(text) => {
                self.transcript.typed();
                if !text.is_empty() {
                    self.owed.expect(text);
                }
            }
            Happening::QuitWithWords => {
                self.transcript.typed();
                self.transcript.remark("/quit takes no words behind it; /quit alone leaves this chat");
            }
            Happening::Stored { message, text } => self.owed.stored(message, &text),
            Happening::NotTaken { text, error } => {
                self.not_taken += 1;
                self.owed.give_up(&text);
                self.transcript.remark(&format!("not sent: {error}"));
            }
            Happening::AllSent => self.all_sent = true,
            Happening::Heard(Heard::Lost(_)) => {
                self.lost = true;
                self.transcript.remark("connection lost; waiting for the gateway");
            }
            Happening::Heard(Heard::Connected) => {
                if std::mem::take(&mut self.lost) {
                    self.transcript.remark("connected again");
                    self.transcript.rejoined();
                }
            }
            Happening::Heard(Heard::Event(event)) => {
                let is_past = event.id.as_ref().and_then(|id| id.parse::<u64>().ok()).is_some_and(|id| id <= self.past);
                self.take_event(&SessionEvent::read(&event), is_past);
            }
            Happening::Quit | Happening::InputEnded | Happening::Failed(_) => {}
        }
    }

    fn take_event(&mut self, event: &SessionEvent, is_past: bool) {
        if is_past {
            return self.transcript.past_event(event);
        }
        match event {
            SessionEvent::Message(message) if self.owed.reached(message) => self.transcript.own_message(message),
            event => self.transcript.event(event),
        }
        self.owed.take(event);
    }
}
