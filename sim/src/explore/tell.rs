//! A way through a world, told: each step as what somebody did, and below it what went into the gateway, what it did,
//! and what came to the disk.

use super::fate::{self, Outlook};
use crate::panics;
use crate::story::{Broken, Kind, Lane, Moment};
use crate::subject::Subject;
use crate::telling::Telling;
use crate::world::action::{Action, Fate, Step};
use crate::world::memory::{Desk, Memory};
use crate::world::perform::Observer;
use crate::world::{Setting, Standstill, World};
use evergate_core::effect::Effect;
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::record::Record;
use evergate_core::request::{Mode, Wish};

/// What happens inside of one step, in its order.
#[derive(Default)]
struct Seen(Vec<Happened>);

enum Happened {
    Input(Input),
    Effect(Effect),
    Synced(Record),
}

impl Observer for Seen {
    fn input(&mut self, input: &Input) {
        self.0.push(Happened::Input(input.clone()));
    }

    fn effect(&mut self, effect: &Effect) {
        self.0.push(Happened::Effect(effect.clone()));
    }

    fn synced(&mut self, record: &Record) {
        self.0.push(Happened::Synced(record.clone()));
    }
}

/// A way, told.
#[derive(Default)]
pub(super) struct Told {
    /// The moments of each step that was taken.
    pub steps: Vec<Vec<Moment>>,
    /// What follows by itself behind the last of them, where that is what is wrong.
    pub behind: Vec<Moment>,
    /// The rule that broke with the last of them.
    pub broken: Option<Broken>,
    /// Why the next one could not be taken.
    pub stuck: Option<String>,
}

/// Takes steps and tells them, up to the first that cannot be taken or breaks a rule. Whether what is reached comes to rest is
/// asked only where that is the rule in question: everything that follows has to be looked at for it.
pub(super) fn tell<S: Subject>(setting: &Setting<S>, way: &[Step], asked: Option<&str>) -> Told {
    let memory = Memory::new(setting.clone());
    let mut teller = Teller::new(&memory);
    let mut told = Told::default();
    for step in way {
        if let Err(why) = teller.allows(step) {
            told.stuck = Some(why);
            return told;
        }
        told.broken = teller.take(step);
        told.steps.push(teller.moments());
        if told.broken.is_some() {
            return told;
        }
    }
    if asked == Some(Invariant::Finite.name()) {
        told.broken = teller.fate();
        told.behind = teller.moments();
    }
    told
}

struct Teller<'m, S: Subject> {
    desk: Desk<'m, S>,
    world: World<S>,
    /// How many steps were taken.
    taken: usize,
    telling: Telling,
}

impl<'m, S: Subject> Teller<'m, S> {
    fn new(memory: &'m Memory<S>) -> Self {
        let mut desk = Desk::new(memory);
        let world = World::new(&mut desk);
        Self { desk, world, taken: 0, telling: Telling::default() }
    }

    /// What was told since the last time.
    fn moments(&mut self) -> Vec<Moment> {
        std::mem::take(&mut self.telling.moments)
    }

    fn is_up(&self) -> bool {
        self.world.subject(self.desk.memory()).is_some()
    }

    /// Whether this step can be taken; one that panics can.
    fn allows(&mut self, step: &Step) -> Result<(), String> {
        panics::caught(|| self.world.allows(&mut self.desk, step)).unwrap_or(Ok(()))
    }

    /// Takes a step; gives what broke with it.
    fn take(&mut self, step: &Step) -> Option<Broken> {
        let (mut checks, mut seen) = (Checks::default(), Seen::default());
        self.telling.ahead_ms = self.world.ahead_ms();
        let was_up = self.is_up();
        let panicked = panics::caught(|| {
            self.world.take(&mut self.desk, step, &mut checks, &mut seen);
            self.world.rests(self.desk.memory(), &mut checks);
            let _key = self.desk.key(&self.world);
        });
        let now = self.world.age_ms();
        self.taken += 1;
        head(&mut self.telling, now, self.taken, step);
        if let (Action::Boot | Action::PersonBoots, Some(subject)) =
            (&step.action, self.world.subject(self.desk.memory()))
        {
            self.telling.begins(now, subject.generation());
        }
        self.tell_inside(now, seen);
        if let Err(what) = &panicked {
            self.telling.add(now, Lane::Gateway, Kind::Fault, format!("panics: {what}"), "");
        } else if was_up && !self.is_up() {
            let died = step.dies_after.is_some() || step.action.is_a_death();
            let what = if died { "the process is gone" } else { "the process has left" };
            self.telling.add(now, Lane::Gateway, Kind::End, what, "");
        }
        panicked.err().map(Broken::panic).or_else(|| checks.broken().map(Broken::from))
    }

    fn tell_inside(&mut self, now: u64, Seen(seen): Seen) {
        for happened in seen {
            match happened {
                Happened::Input(input) => self.telling.input(now, &input),
                Happened::Effect(effect) => self.telling.effect(now, &effect),
                Happened::Synced(record) => {
                    let what = format!("on disk: {}", short(&record));
                    self.telling.add(now, Lane::Disk, Kind::Effect, what, format!("{record:?}"));
                }
            }
        }
    }

    /// What becomes of it by itself, if that is wrong; a circle is told once around.
    fn fate(&mut self) -> Option<Broken> {
        let what = match fate::of(&mut self.desk, self.world) {
            Outlook::Rests => return None,
            Outlook::Never => "from here it never comes to rest by itself".to_owned(),
            Outlook::Unknown => {
                "from here so much follows that it was not looked at whether it comes to rest".to_owned()
            }
            Outlook::Round { there, round } => {
                for step in &there {
                    self.take(step);
                }
                let now = self.world.age_ms();
                let steps = round.len();
                let what = format!("from here on {steps} steps lead back to where it is, again and again");
                self.telling.add(now, Lane::Gateway, Kind::Fault, what, "");
                for step in &round {
                    self.take(step);
                }
                "it can go round in a circle for ever, and nobody need do anything for that".to_owned()
            }
        };
        Some(Broken { invariant: Invariant::Finite.name().to_owned(), what })
    }
}

/// The first line of a step: what is done, by whom, and whether the process dies of it.
fn head(telling: &mut Telling, now: u64, number: usize, step: &Step) {
    let (lane, what) = match &step.action {
        Action::Boot => (Lane::Supervisor, "starts the gateway".to_owned()),
        Action::PersonBoots => (Lane::People, "somebody starts the gateway".to_owned()),
        Action::Open => (Lane::People, "the platforms are open".to_owned()),
        Action::Commit => (Lane::Disk, "the commit is whole".to_owned()),
        Action::LoseWrite => (Lane::Disk, "the write fails".to_owned()),
        Action::Say { session, asked, .. } => (Lane::Session(session.0), format!("somebody says: {asked:?}")),
        Action::Deliver { said } => (Lane::People, format!("the platform delivers text {} (again)", said + 1)),
        Action::Redeliver { said } => {
            (Lane::People, format!("the platform delivers text {} once more, though it was acked", said + 1))
        }
        Action::AgentEnds { turn, end } => (telling.lane_of(*turn), format!("the agent of {turn} ends: {end:?}")),
        Action::AgentAsks { turn, wish, mode, waits } => {
            let wish = match (wish, mode) {
                (Wish::Restart, Mode::Graceful) => "a restart",
                (Wish::Restart, Mode::Force) => "a forced restart",
                (Wish::Stop, Mode::Graceful) => "a stop",
                (Wish::Stop, Mode::Force) => "a forced stop",
            };
            let child = if *waits { ", and a child of it waits for that" } else { "" };
            (telling.lane_of(*turn), format!("the agent of {turn} asks for {wish}{child}"))
        }
        Action::AgentQuestions { turn } => (telling.lane_of(*turn), format!("the agent of {turn} asks its chat")),
        Action::AgentGetsOn { turn } => (telling.lane_of(*turn), format!("the agent of {turn} gets on")),
        Action::Reclaimed { turn } => (telling.lane_of(*turn), format!("nothing of {turn} is alive any more")),
        Action::Sent { delivery } => (Lane::People, format!("{delivery} arrives")),
        Action::LoseSend { delivery, arrives: true } => {
            (Lane::People, format!("{delivery} arrives, and the answer to that is lost"))
        }
        Action::LoseSend { delivery, arrives: false } => (Lane::People, format!("{delivery} does not arrive")),
        Action::SendUnknown { delivery, arrives: true } => {
            (Lane::People, format!("{delivery} arrives, and nobody can know that"))
        }
        Action::SendUnknown { delivery, arrives: false } => {
            (Lane::People, format!("{delivery} does not arrive, and nobody can know that"))
        }
        Action::DiesUnheard { delivery } => {
            (Lane::Gateway, format!("{delivery} arrives, and the process is killed before it hears so"))
        }
        Action::Ask { wish, mode, origin } => {
            (Lane::People, format!("an operator asks, through {origin:?}: {mode:?} {wish:?}"))
        }
        Action::Cancel { request } => (Lane::People, format!("{request} is taken back")),
        Action::Signal { signal } => (Lane::People, format!("somebody sends {signal:?}")),
        Action::SupervisorStops => (Lane::Supervisor, "is told to stop the gateway".to_owned()),
        Action::SupervisorAnswers => (Lane::Supervisor, "says whether the signal was its own".to_owned()),
        Action::CandidateFound { fit: true } => (Lane::Disk, "what would follow can take over".to_owned()),
        Action::CandidateFound { fit: false } => (Lane::Disk, "what would follow could not take over".to_owned()),
        Action::Elapse => (Lane::Gateway, "a deadline has come".to_owned()),
        Action::Kill => (Lane::Gateway, "killed".to_owned()),
        Action::Freeze { at: Standstill::Stuck } => (Lane::Gateway, "the loop is stuck for ever".to_owned()),
        Action::Freeze { at: Standstill::OnDisk } => (Lane::Gateway, "the loop waits for a disk".to_owned()),
        Action::DiskAnswers => (Lane::Disk, "answers, and the loop goes on".to_owned()),
        Action::GuardStrikes => (Lane::Gateway, "the guard ends the stuck process".to_owned()),
        Action::WatchdogLooks => (Lane::Gateway, "the watchdog looks at the loop that stands still".to_owned()),
        Action::Climb { mode } => (Lane::People, format!("an operator climbs: {mode:?}")),
        Action::ClimbToStop { mode } => (Lane::People, format!("an operator climbs to a stop: {mode:?}")),
        Action::ClimbAtLast => (Lane::People, "somebody notices and restarts it".to_owned()),
        Action::OperatorLooks { operator } => (Lane::People, format!("operator {operator} sees something new")),
        Action::OperatorWaits { operator } => (Lane::People, format!("operator {operator} has lost patience")),
        Action::OperatorActs { operator } => (Lane::People, format!("operator {operator} does what it decided")),
        Action::StrangerComes { operator } => {
            (Lane::People, format!("a stranger gets the number of operator {operator}'s process"))
        }
        Action::KeeperDies => (Lane::Supervisor, "is killed, and the gateway lives on alone".to_owned()),
        Action::Rescue => (Lane::People, "somebody outside kills the stuck process".to_owned()),
    };
    let fault = matches!(
        step.action,
        Action::LoseWrite
            | Action::LoseSend { .. }
            | Action::SendUnknown { .. }
            | Action::DiesUnheard { .. }
            | Action::Kill
            | Action::Freeze { .. }
            | Action::KeeperDies
            | Action::Rescue
    );
    let (kind, what) = match (&step.action, step.dies_after) {
        (_, Some(effects)) => {
            let seen = match effects {
                0 => "before anybody can see anything of it".to_owned(),
                1 => "after the first effect that somebody can see".to_owned(),
                _ => format!("after the first {effects} effects that somebody can see"),
            };
            (Kind::Fault, format!("{what}; and the process is killed {seen}"))
        }
        _ if fault => (Kind::Fault, what),
        _ => (Kind::Input, what),
    };
    let kept = if step.commit == Fate::Kept { "; what was being written is on disk all the same" } else { "" };
    telling.add(now, lane, kind, format!("step {number}: {what}{kept}"), "");
}

/// A record without the fields that are only bookkeeping.
fn short(record: &Record) -> String {
    let text = format!("{record:?}");
    let cut = text.char_indices().nth(70).map_or(text.len(), |(index, _)| index);
    if cut == text.len() { text } else { format!("{}…", &text[..cut]) }
}
