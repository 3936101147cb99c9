//! A conversation as text: it owns what is printed for each event, so that an answer that streams, is interrupted and is
//! taken up again stands there once and whole. Pure: events in, text out; it reads and writes nothing.

use super::answers::{DeltaEvent, MessageEvent, PhaseEvent, ReplyEvent, SessionEvent, TurnEvent};
use super::table::{harmless, one_line};

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";
/// Back to the first column, and the line away.
const ERASE_LINE: &str = "\r\x1b[K";

/// What the output can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Dim and bold are understood and wanted.
    pub colour: bool,
    /// It is a terminal: control characters of others would act on it.
    pub terminal: bool,
    /// A person types into the same terminal and wants a prompt.
    pub prompt: bool,
}

/// What stands on the line of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Prompt,
    Unfinished,
}

/// How an answer in the making is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    Live,
    /// The connection was lost in between: pieces are missing, unless the next one holds the answer so far.
    Rejoined,
    /// Pieces are missing, or the turn is over: only the reply can complete it.
    Suspended,
}

/// The answer in the making.
#[derive(Debug)]
struct Answer {
    turn: u64,
    /// What of it stands in the output.
    printed: String,
    following: Following,
}

/// Turns what happens in a session into text.
#[derive(Debug)]
pub struct Transcript {
    style: Style,
    line: Line,
    answer: Option<Answer>,
    /// The last phase that was told, by generation.
    phase: Option<(u64, String)>,
    text: String,
}

impl Transcript {
    /// A transcript with nothing on it yet.
    pub fn new(style: Style) -> Self {
        Self { style, line: Line::Empty, answer: None, phase: None, text: String::new() }
    }

    /// What is to be printed since the last call; ends with a prompt where one is due.
    pub fn take_text(&mut self) -> String {
        let streams = self
            .answer
            .as_ref()
            .is_some_and(|answer| answer.following == Following::Live && !answer.printed.is_empty());
        if self.style.prompt && self.line == Line::Empty && !streams {
            self.text.push_str("> ");
            self.line = Line::Prompt;
        }
        std::mem::take(&mut self.text)
    }

    /// The person ended a line by the Enter key, so the terminal's cursor is on an empty one.
    pub fn typed(&mut self) {
        if self.style.prompt {
            self.line = Line::Empty;
        }
    }

    /// A remark of this program, in brackets.
    pub fn remark(&mut self, remark: &str) {
        self.line_of(DIM, &format!("({remark})"));
    }

    /// There is a connection again; pieces of the answer may have been missed.
    pub fn rejoined(&mut self) {
        if let Some(answer) = self.answer.as_mut().filter(|answer| answer.following == Following::Live) {
            answer.following = Following::Rejoined;
        }
    }

    /// A message of this program's own user; shown when nobody saw it being typed, with what becomes of it where it has to
    /// wait.
    pub fn own_message(&mut self, event: &MessageEvent) {
        if !self.style.prompt {
            self.message(event);
        }
        match event.state.as_deref() {
            Some("queued") => self.remark("queued"),
            Some("collected") => self.remark("answered together with what else is said now"),
            Some("interrupting") => self.remark("next, the running answer ends"),
            _ => {}
        }
    }

    /// An event that happens now.
    pub fn event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Message(event) => self.message(event),
            SessionEvent::Turn(event) => self.turn(event),
            SessionEvent::Delta(event) => self.delta(event),
            SessionEvent::Reply(event) => self.reply(event),
            SessionEvent::Notice(event) => self.line_of(DIM, &event.text),
            SessionEvent::Phase(event) => self.phase(event),
            SessionEvent::Unknown => {}
        }
    }

    /// An event from before this program began: messages, replies and notices only.
    pub fn past_event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::Message(_) | SessionEvent::Reply(_) | SessionEvent::Notice(_) => self.event(event),
            SessionEvent::Turn(_) | SessionEvent::Delta(_) | SessionEvent::Phase(_) | SessionEvent::Unknown => {}
        }
    }

    fn message(&mut self, event: &MessageEvent) {
        let from = one_line(event.from.as_deref().unwrap_or("you"));
        self.fresh_line();
        self.label(&from);
        self.write(&event.text);
        self.fresh_line();
    }

    fn turn(&mut self, event: &TurnEvent) {
        match event.state.as_str() {
            "running" => {
                let printed_before =
                    self.answer.as_ref().is_some_and(|answer| answer.turn == event.turn && !answer.printed.is_empty());
                if event.resumed || printed_before {
                    self.remark("resumed after a restart");
                }
                self.answer = Some(Answer { turn: event.turn, printed: String::new(), following: Following::Live });
            }
            "interrupted" | "stopped" | "superseded" | "failed" | "quarantined" => {
                // A turn that was stopped, or gave way, still sends what it had as a reply: what is printed must be remembered.
                if let Some(answer) = self.answer.as_mut().filter(|answer| answer.turn == event.turn) {
                    answer.following = Following::Suspended;
                    self.fresh_line();
                }
            }
            _ => {}
        }
    }

    fn delta(&mut self, event: &DeltaEvent) {
        if self.answer.as_ref().is_none_or(|answer| answer.turn != event.turn) {
            self.answer = Some(Answer { turn: event.turn, printed: String::new(), following: Following::Live });
        }
        let Some(answer) = self.answer.as_mut() else {
            return;
        };
        let piece = match answer.following {
            _ if event.so_far => match event.text.strip_prefix(answer.printed.as_str()) {
                Some(rest) => rest,
                // It began again while nobody listened.
                None => {
                    answer.printed.clear();
                    event.text.as_str()
                }
            },
            Following::Live => event.text.as_str(),
            // Something was missed since the last piece; only the reply can tell what.
            Following::Rejoined if answer.printed.is_empty() => event.text.as_str(),
            Following::Rejoined | Following::Suspended => {
                answer.following = Following::Suspended;
                return;
            }
        };
        answer.following = Following::Live;
        let is_first = answer.printed.is_empty();
        answer.printed.push_str(piece);
        self.answer_text(piece, is_first);
    }

    fn reply(&mut self, event: &ReplyEvent) {
        let printed = match self.answer.take_if(|answer| answer.turn == event.turn) {
            Some(answer) => answer.printed,
            None => String::new(),
        };
        if let Some(rest) = event.text.strip_prefix(printed.as_str()) {
            self.answer_text(rest, printed.is_empty());
        } else if printed.strip_prefix(event.text.as_str()).is_none_or(|rest| !rest.trim().is_empty()) {
            self.remark("the whole answer");
            self.answer_text(&event.text, true);
        }
        self.fresh_line();
        for file in &event.files {
            self.write(&file.to_string());
            self.fresh_line();
        }
    }

    fn answer_text(&mut self, text: &str, is_first: bool) {
        if is_first {
            self.fresh_line();
            self.label("agent");
        } else if self.line == Line::Prompt {
            self.fresh_line();
        }
        self.write(text);
    }

    fn phase(&mut self, event: &PhaseEvent) {
        let now = (event.generation, event.phase.clone());
        let Some(before) = self.phase.replace(now) else {
            return;
        };
        match event.phase.as_str() {
            "draining" if before != (event.generation, event.phase.clone()) => {
                self.remark("the gateway is going down for a restart or a stop; what you write is kept");
            }
            "serving" if before.0 != event.generation => {
                self.remark(&format!("generation {} is serving", event.generation))
            }
            _ => {}
        }
    }

    /// Each line of the text in `code`.
    fn line_of(&mut self, code: &str, text: &str) {
        self.fresh_line();
        for line in text.trim_end().lines() {
            self.coloured(code, line);
            self.text.push('\n');
        }
    }

    fn label(&mut self, name: &str) {
        self.coloured(BOLD, &format!("{name}:"));
        self.text.push(' ');
        self.line = Line::Unfinished;
    }

    fn coloured(&mut self, code: &str, text: &str) {
        let text = if self.style.terminal { harmless(text) } else { text.to_owned() };
        match self.style.colour {
            true => self.text.push_str(&format!("{code}{text}{PLAIN}")),
            false => self.text.push_str(&text),
        }
    }

    fn write(&mut self, text: &str) {
        let text = if self.style.terminal { harmless(text) } else { text.to_owned() };
        if let Some(last) = text.chars().last() {
            self.line = if last == '\n' { Line::Empty } else { Line::Unfinished };
        }
        self.text.push_str(&text);
    }

    fn fresh_line(&mut self) {
        match self.line {
            Line::Empty => {}
            Line::Prompt => self.text.push_str(ERASE_LINE),
            Line::Unfinished => self.text.push('\n'),
        }
        self.line = Line::Empty;
    }
}

#[cfg(test)]
mod tests;
