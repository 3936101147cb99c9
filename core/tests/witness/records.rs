//! Records, in few words.

use evergate_core::effect::Place;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Standing};
use evergate_core::outbox::{Content, Fate, Notice};
use evergate_core::question::{QuestionKey, Ruling};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Origin, Outcome, Request, Wish};
use evergate_core::turn::Conclusion;
use evergate_core::verdict::Verdict;

pub fn begun(generation: u64) -> Record {
    Record::GenerationBegun { generation: GenerationId(generation), unproven: 0 }
}

pub fn died(generation: u64) -> Record {
    Record::GenerationEnded { generation: GenerationId(generation), verdict: None, report: Default::default() }
}

pub fn placed(message: u64, session: u64, place: Place) -> Record {
    accepted(message, session, Asked::Prompt, place)
}

/// It waits for a turn of its own.
pub fn prompt(message: u64, session: u64) -> Record {
    placed(message, session, Place::Queued)
}

pub fn command(message: u64) -> Record {
    accepted(message, 1, Asked::Status, Place::Running)
}

fn accepted(message: u64, session: u64, asked: Asked, place: Place) -> Record {
    let (message, session, standing) = (MessageId(message), SessionId(session), Standing::Guest);
    Record::MessageAccepted { message, session, asked, standing, request: RequestId::default(), place }
}

pub fn carried_out(message: u64) -> Record {
    Record::CommandDone { message: MessageId(message) }
}

pub fn returned(message: u64) -> Record {
    Record::MessageReturned { message: MessageId(message), session: SessionId(1) }
}

pub fn opened(turn: u64, session: u64, messages: &[u64]) -> Record {
    let messages = messages.iter().copied().map(MessageId).collect();
    Record::TurnOpened { turn: TurnId(turn), session: SessionId(session), messages, conversation: 0 }
}

pub fn resumed(turn: u64, attempt: u32, generation: u64) -> Record {
    Record::TurnResumed { turn: TurnId(turn), attempt, charged: 1, generation: GenerationId(generation) }
}

pub fn interrupted(turn: u64) -> Record {
    Record::TurnInterrupted { turn: TurnId(turn) }
}

pub fn superseded() -> Record {
    Record::TurnSuperseded { turn: TurnId(1) }
}

pub fn stop_asked() -> Record {
    Record::TurnStopAsked { turn: TurnId(1) }
}

pub fn ended(turn: u64, conclusion: Conclusion) -> Record {
    let (turn, session) = (TurnId(turn), SessionId(1));
    Record::TurnEnded { turn, session, messages: Vec::new(), attempt: 1, conclusion }
}

/// Turn 1 ends with its reply, which is delivery 1.
pub fn answered() -> [Record; 2] {
    [replies(1, 1), ended(1, Conclusion::Answered)]
}

pub fn owed(delivery: u64, session: u64, notice: Notice) -> Record {
    owes(delivery, session, Content::Notice(notice))
}

pub fn replies(delivery: u64, turn: u64) -> Record {
    owes(delivery, 1, Content::Reply { turn: TurnId(turn), messages: Vec::new() })
}

fn owes(delivery: u64, session: u64, content: Content) -> Record {
    Record::DeliveryOwed { delivery: DeliveryId(delivery), session: SessionId(session), content }
}

/// Something of no account is owed to a session.
pub fn help(delivery: u64, session: u64) -> Record {
    owed(delivery, session, Notice::Help)
}

pub fn tried(delivery: u64, attempt: u32) -> Record {
    Record::DeliveryTried { delivery: DeliveryId(delivery), attempt }
}

pub fn missed(delivery: u64, uncertain: u32) -> Record {
    Record::DeliveryMissed { delivery: DeliveryId(delivery), uncertain }
}

pub fn struck_off(delivery: u64, fate: Fate) -> Record {
    Record::DeliverySettled { delivery: DeliveryId(delivery), fate }
}

pub fn wished(request: u64, wish: Wish, origin: Origin, generation: u64) -> Record {
    let (generation, mode, verdict) = (GenerationId(generation), Mode::Graceful, Verdict::ReExec);
    let made = Request { wish, mode, origin, generation, verdict };
    Record::RequestMade { request: RequestId(request), made }
}

/// Generation 1 is asked to restart, from a command line.
pub fn restart(request: u64) -> Record {
    wished(request, Wish::Restart, Origin::Cli, 1)
}

/// Generation 1 is asked to stop, from a command line.
pub fn stop(request: u64) -> Record {
    wished(request, Wish::Stop, Origin::Cli, 1)
}

/// The chat of session 1 asks generation 1 to restart.
pub fn chat_restart(request: u64) -> Record {
    wished(request, Wish::Restart, Origin::Session(SessionId(1)), 1)
}

pub fn settled(request: u64, outcome: Outcome) -> Record {
    Record::RequestSettled { request: RequestId(request), outcome }
}

pub fn told_accepted(delivery: u64, session: u64) -> Record {
    owed(delivery, session, Notice::RestartAccepted { request: RequestId(1), mode: Mode::Graceful })
}

pub fn told_outcome(delivery: u64, session: u64, outcome: Outcome) -> Record {
    owed(delivery, session, Notice::RequestSettled { request: RequestId(1), outcome })
}

pub fn cut_told() -> Record {
    Record::TurnCutTold { turn: TurnId(1) }
}

pub fn told_cut(delivery: u64, session: u64) -> Record {
    owed(delivery, session, Notice::TurnCut { turn: TurnId(1), wish: Wish::Restart })
}

pub fn told_back(delivery: u64, session: u64) -> Record {
    owed(delivery, session, Notice::TurnBack { turn: TurnId(1) })
}

pub fn may_be_missing(delivery: u64) -> Record {
    owed(delivery, 1, Notice::MayBeMissing { turn: TurnId(1) })
}

pub fn questioned(question: u64, turn: u64, key: u64) -> Record {
    Record::QuestionAsked { question: QuestionId(question), turn: TurnId(turn), key: QuestionKey(key) }
}

/// The chat is asked.
pub fn asks(delivery: u64, question: u64) -> Record {
    owed(delivery, 1, Notice::Asks { question: QuestionId(question), turn: TurnId(1) })
}

pub fn decided(question: u64, turn: u64) -> Record {
    Record::QuestionDecided { question: QuestionId(question), turn: TurnId(turn), ruling: Ruling::Allowed }
}

pub fn closed(question: u64) -> Record {
    Record::QuestionClosed { question: QuestionId(question), turn: TurnId(1) }
}

pub fn vouched(request: u64, generation: u64) -> Record {
    Record::BreakerReset { generation: GenerationId(generation), request: RequestId(request), origin: Origin::Cli }
}

pub fn set_aside(session: u64) -> Record {
    Record::SessionQuarantined { session: SessionId(session) }
}

pub fn released(session: u64) -> Record {
    Record::SessionReleased { session: SessionId(session) }
}
