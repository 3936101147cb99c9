//! Inputs to the core, sensible ones and nonsense, in any order and over any number of deaths. Afterwards nothing fails any
//! more and everybody does their part: then everything that was accepted has its end.

use crate::bytes::Bytes;
use crate::life::Life;
use evergate_core::busy::Busy;
use evergate_core::gateway::{Gateway, Pending};
use evergate_core::id::{DeliveryId, MessageId, QuestionId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::limits::Limits;
use evergate_core::question::{Decision, QuestionKey};
use evergate_core::record::Record;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Origin, Signal, Wish};
use evergate_core::session::Quarantine;
use evergate_core::supervisor::Contract;
use std::time::Duration;

/// As many things as happen in one life.
const STEPS: usize = 300;
/// As many more until it is at rest.
const HEALING: usize = 5_000;

/// Lives the life that the bytes tell, and heals it.
pub fn core_inputs(data: &[u8]) {
    let mut bytes = Bytes(data);
    let contract = bytes.pick(&Contract::TABLE);
    let limits = Limits {
        turns: bytes.pick(&[2, 1, 3]),
        attempts: bytes.pick(&[3, 1]),
        unproven: bytes.pick(&[10, 2]),
        queued: bytes.pick(&[6, 100]),
        queued_per_session: bytes.pick(&[4, 2]),
        sessions: bytes.pick(&[3, 2]),
        drain: Duration::from_millis(bytes.pick(&[30_000, 0, 700])),
        requester_grace: Duration::from_millis(bytes.pick(&[2_000, 0, 60_000])),
        stall_after: Duration::from_millis(bytes.pick(&[300_000, 1_000])),
        ..Limits::default()
    };
    let (mut life, mut names) = (Life::new(limits, contract), Names::default());
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&mut life, &mut names, &mut bytes);
    }
    heal(&mut life, &mut names);
    life.rests();
    everything_has_its_end(&life);
}

/// The ids that the driver has given.
#[derive(Default)]
struct Names {
    message: u64,
    request: u64,
}

impl Names {
    fn new_message(&mut self) -> MessageId {
        self.message += 1;
        MessageId(self.message)
    }

    fn new_request(&mut self) -> RequestId {
        self.request += 1;
        RequestId(self.request)
    }
}

fn turns(gateway: &Gateway) -> Vec<u64> {
    gateway.turns().keys().map(|turn| turn.0).collect()
}

fn deliveries(gateway: &Gateway) -> Vec<u64> {
    gateway.outbox().keys().map(|delivery| delivery.0).collect()
}

/// One thing happens.
fn step(life: &mut Life, names: &mut Names, bytes: &mut Bytes<'_>) {
    match bytes.byte() % 20 {
        0 | 1 => say(life, names, bytes),
        2 => again(life, bytes),
        3 | 4 => turn(life, bytes),
        5 => delivery(life, bytes),
        6 => ask(life, names, bytes),
        7 => cancel(life, bytes),
        8 => {
            let signal = bytes.pick(&[Signal::Terminate, Signal::Interrupt]);
            life.tell(Input::Signal { request: names.new_request(), signal });
        }
        9 => {
            let asked: Vec<u64> = life.asked.iter().map(|request| request.0).collect();
            let request = RequestId(bytes.id(&asked));
            life.asked.remove(&request);
            life.tell(bytes.pick(&[Input::SupervisorStays { request }, Input::SupervisorStops { request }]));
        }
        10..=12 => life.sync(),
        13 => {
            for _ in 0..life.unsynced.len() {
                life.sync();
            }
        }
        14 => life.tell(Input::SyncFailed),
        15 => life.tell(Input::PlatformsOpen),
        16 => life.elapse(),
        17 => {
            let millis = u64::from(bytes.byte()) * u64::from(bytes.byte());
            life.now = life.now + Duration::from_millis(millis);
            life.tell(bytes.pick(&[Input::Elapsed, Input::PlatformsOpen]));
        }
        18 => {
            let start = bytes.pick(&[Start::Wanted, Start::Revived]);
            life.die_and_boot(start);
        }
        _ => {
            let turn = bytes.pick(&life.reclaims.iter().copied().chain([TurnId(u64::MAX)]).collect::<Vec<_>>());
            life.reclaims.remove(&turn);
            life.tell(Input::TurnGone { turn });
        }
    }
}

fn say(life: &mut Life, names: &mut Names, bytes: &mut Bytes<'_>) {
    let session = SessionId(bytes.pick(&[1, 2, 3, u64::MAX]));
    let asked = bytes.pick(&[
        Asked::Prompt,
        Asked::Prompt,
        Asked::Prompt,
        Asked::Restart(Mode::Graceful),
        Asked::Restart(Mode::Force),
        Asked::StopTurn,
        Asked::Status,
        Asked::Renew,
        Asked::Help,
        Asked::Decide { question: None, decision: Decision::Allow },
        Asked::Decide { question: Some(QuestionId(1)), decision: Decision::Deny },
        Asked::UnknownCommand,
    ]);
    let standing = bytes.pick(&[Standing::Operator, Standing::Guest]);
    let (message, request) = (names.new_message(), names.new_request());
    // Not a choice of its own: what the corpus says would be something else.
    let policy = || usize::try_from(message.0 % 4).ok().and_then(|number| Busy::ALL.get(number).copied());
    let asked = match (asked, standing) {
        (Asked::UnknownCommand, Standing::Guest) => Asked::Busy(policy()),
        _ => asked,
    };
    life.tell(Input::Message { message, session, asked, standing, request });
}

/// A platform brings a message once more; the driver looks it up.
fn again(life: &mut Life, bytes: &mut Bytes<'_>) {
    let message = MessageId(u64::from(bytes.byte()));
    if life.knows(message) {
        life.tell(Input::Known { message });
    }
}

/// An agent, or somebody who takes himself for one, says something. An agent that runs not can not end.
fn turn(life: &mut Life, bytes: &mut Bytes<'_>) {
    let turn = TurnId(bytes.id(&turns(&life.gateway)));
    let end = bytes.pick(&[
        TurnEnd::Answered,
        TurnEnd::Failed,
        TurnEnd::Interrupted { partial: Partial::Text },
        TurnEnd::Interrupted { partial: Partial::Nothing },
    ]);
    let unknown = !life.gateway.turns().contains_key(&turn);
    match bytes.byte() % 5 {
        4 => life.tell(Input::Question { turn, key: QuestionKey(u64::from(bytes.byte() % 3)) }),
        0 => life.tell(Input::TurnBegan { turn }),
        1 => life.tell(Input::TurnProgressed { turn }),
        _ if life.agents.remove(&turn) || unknown => life.tell(Input::TurnEnded { turn, end }),
        _ => {}
    }
}

fn delivery(life: &mut Life, bytes: &mut Bytes<'_>) {
    let delivery = DeliveryId(bytes.id(&deliveries(&life.gateway)));
    let unknown = !life.gateway.outbox().contains_key(&delivery);
    if life.sending.contains(&delivery) || unknown {
        life.tell(bytes.pick(&[
            Input::DeliverySent { delivery },
            Input::DeliveryFailed { delivery },
            Input::DeliveryIntended { delivery },
            Input::DeliveryUnknown { delivery },
            Input::DeliveryRejected { delivery },
        ]));
    }
}

fn ask(life: &mut Life, names: &mut Names, bytes: &mut Bytes<'_>) {
    let wish = bytes.pick(&[Wish::Restart, Wish::Stop]);
    let mode = bytes.pick(&[Mode::Graceful, Mode::Force]);
    let turn = TurnId(bytes.id(&turns(&life.gateway)));
    let session = life.gateway.turns().get(&turn).map_or(SessionId(1), |turn| turn.session);
    let origin = bytes.pick(&[
        Origin::Turn { turn, session },
        Origin::Session(session),
        Origin::Cli,
        Origin::Http,
        Origin::Watchdog,
        Origin::Update,
    ]);
    life.tell(Input::Request { request: names.new_request(), wish, mode, origin });
}

/// Somebody takes a request back.
fn cancel(life: &mut Life, bytes: &mut Bytes<'_>) {
    let requests: Vec<u64> = life.gateway.requests().keys().map(|request| request.0).collect();
    life.tell(Input::Cancel { request: RequestId(bytes.id(&requests)) });
}

/// Nothing fails any more and everybody does their part, until all is at rest.
fn heal(life: &mut Life, names: &mut Names) {
    life.die_and_boot(Start::Wanted);
    life.tell(Input::PlatformsOpen);
    for _ in 0..HEALING {
        if !life.unsynced.is_empty() {
            life.sync();
        } else if let Some(turn) = life.reclaims.pop_first() {
            life.tell(Input::TurnGone { turn });
        } else if let Some(request) = life.asked.pop_first() {
            life.tell(Input::SupervisorStays { request });
        } else if let Some(request) = life.candidates.pop_first() {
            life.tell(Input::CandidateFit { request });
        } else if let Some(delivery) = life.sending.first().copied() {
            life.tell(Input::DeliverySent { delivery });
        } else if let Some(turn) = life.agents.pop_first() {
            life.tell(Input::TurnEnded { turn, end: TurnEnd::Answered });
        } else if life.gateway.pending().is_none() {
            return;
        } else if let Some(Pending::Held(_)) = life.gateway.pending() {
            // Too many deaths in a row: what is held goes on once somebody has spoken and was answered.
            life.holds_back();
            let (message, request) = (names.new_message(), names.new_request());
            let (session, asked, standing) = (SessionId(1), Asked::Prompt, Standing::Guest);
            life.tell(Input::Message { message, session, asked, standing, request });
        } else if life.gateway.poll_timeout().is_some() {
            life.elapse();
        } else {
            // A generation that a restart has just begun waits for its platforms.
            life.tell(Input::PlatformsOpen);
        }
    }
    panic!("no rest: {:#?}", life.gateway);
}

/// Each message has been answered or reported, each command carried out and each request settled, once; only what a session
/// that was set aside still holds waits for somebody to speak there.
fn everything_has_its_end(life: &Life) {
    let count = |is_it: &dyn Fn(&Record) -> bool| life.history.iter().filter(|record| is_it(record)).count();
    let set_aside = |session: &SessionId, message: &MessageId| {
        let session = life.gateway.sessions().get(session);
        session.is_some_and(|session| session.standing == Quarantine::SetAside && session.queue.contains(message))
    };
    for record in &life.history {
        match record {
            Record::MessageAccepted { message, session, asked: Asked::Prompt, .. } => {
                let ended =
                    count(&|other| matches!(other, Record::TurnEnded { messages, .. } if messages.contains(message)));
                assert!(ended == 1 || (ended == 0 && set_aside(session, message)), "{message} ended {ended} times");
            }
            Record::MessageAccepted { message, .. } => {
                assert_eq!(
                    count(&|other| *other == Record::CommandDone { message: *message }),
                    1,
                    "{message} was carried out"
                );
            }
            Record::RequestMade { request, .. } => {
                let settled =
                    count(&|other| matches!(other, Record::RequestSettled { request: of, .. } if of == request));
                assert_eq!(settled, 1, "{request} was settled");
            }
            Record::DeliveryOwed { delivery, .. } => {
                let settled =
                    count(&|other| matches!(other, Record::DeliverySettled { delivery: of, .. } if of == delivery));
                assert_eq!(settled, 1, "{delivery} was settled");
            }
            _ => {}
        }
    }
}
