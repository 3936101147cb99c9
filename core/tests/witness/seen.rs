//! What a witness is shown, in few words: each step is one thing that happens to a journal or to the gateway that has it.

use super::records::{begun, died, opened, prompt};
use evergate_core::budget::Deadlines;
use evergate_core::drain::Drain;
use evergate_core::effect::Effect;
use evergate_core::gateway::Phase;
use evergate_core::id::{DeliveryId, GenerationId, MessageId, SessionId, TurnId};
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::invariant::Checks;
use evergate_core::limits::Limits;
use evergate_core::outbox::{Content, Notice, Repeat, Uncertain};
use evergate_core::record::Record;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Signal, Wish};
use evergate_core::supervisor::{Contract, Supervisor};
use evergate_core::time::Instant;
use evergate_core::turn::Resume;
use evergate_core::verdict::Verdict;
use evergate_core::witness::{View, Witness};
use evergate_core::work::{Awaited, Item, Recoverability, Work};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A witness, and what it has found.
pub struct Seen {
    pub witness: Witness,
    pub checks: Checks,
    now: Instant,
    drain: Option<Drain>,
}

/// Two deaths of a turn are too many, and so are three generations in a row that died.
pub fn limits() -> Limits {
    Limits { attempts: 2, unproven: 3, unknown_sends: 2, ..Limits::default() }
}

impl Seen {
    /// Nothing yet, under systemd.
    pub fn nothing() -> Self {
        Self {
            witness: Witness::new(limits(), Contract::of(Supervisor::Systemd)),
            checks: Checks::default(),
            now: Instant::default(),
            drain: None,
        }
    }

    pub fn at(&mut self, millis: u64) -> &mut Self {
        self.now = Instant::from_millis(millis);
        self
    }

    pub fn under(&mut self, supervisor: Supervisor) -> &mut Self {
        self.on_terms(Contract::of(supervisor))
    }

    pub fn on_terms(&mut self, contract: Contract) -> &mut Self {
        self.witness.under(limits(), contract);
        self
    }

    pub fn hears(&mut self, input: Input) -> &mut Self {
        self.witness.input(self.now, &input);
        self
    }

    pub fn says(&mut self, effect: Effect) -> &mut Self {
        self.witness.effect(&mut self.checks, self.now, &effect, self.drain.as_ref());
        self
    }

    /// One commit with these records comes to the disk.
    pub fn writes(&mut self, records: &[Record]) -> &mut Self {
        for record in records {
            self.witness.synced(&mut self.checks, record);
        }
        self.witness.committed(&mut self.checks);
        self
    }

    /// A record leaves the gateway, on its way to the disk.
    pub fn appends(&mut self, record: Record) -> &mut Self {
        self.says(Effect::Append { record })
    }

    pub fn dies(&mut self) -> &mut Self {
        self.witness.leaves();
        self
    }

    /// It has written its end, and leaves.
    pub fn leaves_in_order(&mut self, generation: u64) -> &mut Self {
        self.writes(&[died(generation)]).dies()
    }

    fn begins(&mut self, generation: u64, start: Start) -> &mut Self {
        self.witness.boots(&mut self.checks, GenerationId(generation), start);
        self
    }

    pub fn boots(&mut self, generation: u64) -> &mut Self {
        self.begins(generation, Start::Wanted)
    }

    /// The beginning comes to the disk, with the end of the generation before, and the platforms open.
    fn opens(&mut self, generation: u64) -> &mut Self {
        if generation > 1 {
            self.writes(&[died(generation - 1)]);
        }
        self.writes(&[begun(generation)]).opens_its_platforms()
    }

    pub fn opens_its_platforms(&mut self) -> &mut Self {
        self.hears(Input::PlatformsOpen).phase(Phase::Serving).says(Effect::Ready)
    }

    pub fn serves(&mut self, generation: u64) -> &mut Self {
        self.boots(generation).opens(generation)
    }

    /// It is started because the one before died.
    pub fn revives(&mut self, generation: u64) -> &mut Self {
        self.begins(generation, Start::Revived)
    }

    pub fn serves_revived(&mut self, generation: u64) -> &mut Self {
        self.revives(generation).opens(generation)
    }

    pub fn phase(&mut self, phase: Phase) -> &mut Self {
        self.says(Effect::Phase(phase))
    }

    pub fn ends(&mut self, verdict: Verdict) -> &mut Self {
        self.says(Effect::End { verdict, report: Default::default() })
    }

    /// Generation 1 serves, and turn 1 is open in session 1, over message 1, and runs.
    pub fn works(&mut self) -> &mut Self {
        self.serves(1).writes(&[prompt(1, 1), opened(1, 1, &[1])]).starts(1, 1)
    }

    /// A turn is started for the first time.
    pub fn starts(&mut self, turn: u64, session: u64) -> &mut Self {
        self.start(turn, session, 1, None)
    }

    /// Turn 1 is started again.
    pub fn resumes(&mut self, attempt: u32, resume: Resume) -> &mut Self {
        self.start(1, 1, attempt, Some(resume))
    }

    pub fn start(&mut self, turn: u64, session: u64, attempt: u32, resume: Option<Resume>) -> &mut Self {
        let (turn, session) = (TurnId(turn), SessionId(session));
        self.says(Effect::Start { turn, session, messages: vec![MessageId(1)], attempt, resume, conversation: 0 })
    }

    /// The next generation serves, finds nothing of turn 1 alive, and writes down that it starts it again.
    pub fn charges(&mut self, generation: u64, attempt: u32) -> &mut Self {
        self.serves(generation).gone(1).writes(&[super::records::resumed(1, attempt, generation)])
    }

    /// The same, where its chat is owed word of that.
    pub fn charges_back(&mut self, generation: u64, attempt: u32, delivery: u64) -> &mut Self {
        let records = [super::records::resumed(1, attempt, generation), super::records::told_back(delivery, 1)];
        self.serves(generation).gone(1).writes(&records)
    }

    /// An end cuts turn 1 once more.
    pub fn cut_again(&mut self) -> &mut Self {
        self.writes(&[super::records::interrupted(1)]).is_cut()
    }

    pub fn gone(&mut self, turn: u64) -> &mut Self {
        self.hears(Input::TurnGone { turn: TurnId(turn) })
    }

    /// The agent of turn 1 was cut short.
    pub fn is_cut(&mut self) -> &mut Self {
        let end = TurnEnd::Interrupted { partial: Partial::Nothing };
        self.hears(Input::TurnEnded { turn: TurnId(1), end })
    }

    /// Somebody speaks in a session.
    pub fn hears_of(&mut self, message: u64, session: u64) -> &mut Self {
        let (asked, standing) = (Asked::Prompt, Standing::Guest);
        let (message, session, request) = (MessageId(message), SessionId(session), Default::default());
        self.hears(Input::Message { message, session, asked, standing, request })
    }

    pub fn signalled(&mut self, signal: Signal) -> &mut Self {
        self.hears(Input::Signal { request: Default::default(), signal })
    }

    pub fn sends(&mut self, delivery: u64, session: u64) -> &mut Self {
        let (content, repeat) = (Content::Notice(Notice::Help), Repeat::No);
        self.says(Effect::Send { delivery: DeliveryId(delivery), session: SessionId(session), content, repeat })
    }

    /// A platform that cannot tell a repeat sends delivery 1 off.
    pub fn transmits(&mut self, repeat: Repeat) -> &mut Self {
        self.transmits_in(1, repeat)
    }

    pub fn transmits_in(&mut self, session: u64, repeat: Repeat) -> &mut Self {
        let content = Content::Notice(Notice::Help);
        self.says(Effect::Transmit { delivery: DeliveryId(1), session: SessionId(session), content, repeat })
    }

    pub fn sent(&mut self) -> &mut Self {
        self.hears(Input::DeliverySent { delivery: DeliveryId(1) })
    }

    pub fn failed(&mut self) -> &mut Self {
        self.hears(Input::DeliveryFailed { delivery: DeliveryId(1) })
    }

    pub fn unknown(&mut self) -> &mut Self {
        self.hears(Input::DeliveryUnknown { delivery: DeliveryId(1) })
    }

    /// Delivery 1 is sent by a platform that cannot tell a repeat, for this time, and nothing is heard of it.
    pub fn sends_blindly(&mut self, attempt: u32) -> &mut Self {
        let repeat = if attempt > 1 { Repeat::Possible } else { Repeat::No };
        self.sends(1, 1).writes(&[super::records::tried(1, attempt)]).transmits(repeat).unknown()
    }

    /// From now on what may have arrived is not sent again.
    pub fn drops_uncertain(&mut self) -> &mut Self {
        self.hears(Input::Limits(Box::new(Limits { uncertain: Uncertain::Drop, ..limits() })))
    }

    pub fn arrives(&mut self) -> &mut Self {
        self.witness.arrived(&mut self.checks, DeliveryId(1));
        self
    }

    /// An end is under way, as the gateway says, with these deadlines in milliseconds.
    pub fn drains(&mut self, mode: Mode, deadlines: [u64; 4]) -> &mut Self {
        let [drain, interrupt, close, self_kill] = deadlines.map(Instant::from_millis);
        self.drain = Some(Drain {
            wish: Wish::Restart,
            mode,
            verdict: Verdict::ReExec,
            signals: BTreeSet::new(),
            deadlines: Deadlines { drain, interrupt, close, self_kill },
            extendable_to: None,
            since: self.now,
            interrupted_at: None,
            closing_at: None,
            supervisor_asked: None,
            end_recorded: false,
            unsaid: Default::default(),
            fates: BTreeMap::new(),
        });
        self
    }

    pub fn guards(&mut self, at: u64) -> &mut Self {
        self.says(Effect::Guard(Some((Instant::from_millis(at), Verdict::ReExec))))
    }

    pub fn extends(&mut self, millis: u64) -> &mut Self {
        self.says(Effect::Extend(Duration::from_millis(millis)))
    }

    /// Between two inputs: where the gateway says that it stands, what it lists, and when it wants to be called.
    pub fn plans(&mut self, phase: Phase, ledger: &[Item], timeout: Option<u64>) -> &mut Self {
        let (ledger, timeout) = (Cow::Borrowed(ledger), timeout.map(Instant::from_millis));
        let view = View { phase, drain: self.drain.as_ref(), ledger, timeout };
        self.witness.between_inputs(&mut self.checks, self.now, &view);
        self
    }

    pub fn strikes(&mut self, verdict: Verdict) -> &mut Self {
        self.witness.struck(&mut self.checks, verdict);
        self
    }

    pub fn bites(&mut self, verdict: Verdict) -> &mut Self {
        self.witness.bitten(&mut self.checks, verdict);
        self
    }

    pub fn rests(&mut self) -> &mut Self {
        self.witness.at_rest(&mut self.checks);
        self
    }

    pub fn holds_back(&mut self) -> &mut Self {
        self.witness.holds_back(&mut self.checks);
        self
    }
}

/// Turn 1 of session 1 in the ledger: a drain waits for it until then, or not at all.
pub fn waits_for_turn(until: Option<u64>) -> Item {
    let until = until.map(Instant::from_millis);
    let awaited = until.map_or(Awaited::No, |until| Awaited::Budget { until });
    item(Work::Turn(TurnId(1)), Recoverability::Resumed, awaited)
}

/// Delivery 1 in the ledger.
pub fn is_sending() -> Item {
    item(Work::Delivery(DeliveryId(1)), Recoverability::StaysOwed, Awaited::No)
}

fn item(work: Work, recoverability: Recoverability, awaited: Awaited) -> Item {
    Item { work, session: SessionId(1), recoverability, awaited }
}
