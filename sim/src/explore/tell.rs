//! A way through a world, told: each step as what somebody did, and below it what went into the gateway, what it did,
//! and what came to the disk.

use crate::story::{Broken, Kind, Lane, Story};
use crate::subject::Subject;
use crate::telling::Telling;
use crate::trace::TraceError;
use crate::world::action::{Action, Nature, Step};
use crate::world::memory::{Desk, Memory};
use crate::world::perform::Observer;
use crate::world::{Setting, World};
use evergate_core::effect::Effect;
use evergate_core::input::Input;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::record::Record;

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

/// Takes the steps and tells them. A step that cannot be taken is an error.
pub(super) fn tell<S: Subject>(setting: &Setting<S>, way: &[Step], title: String) -> Result<Story, TraceError> {
    let memory = Memory::new(setting.clone());
    let mut desk = Desk::new(&memory);
    let mut world = World::new(&mut desk);
    let begun = world.now().as_millis();
    let mut telling = Telling::default();
    let mut story = Story { title, ..Story::default() };
    for (index, step) in way.iter().enumerate() {
        let mut actions = Vec::new();
        world.actions(&memory, &mut actions);
        if !actions.contains(&step.action) {
            let why = format!("{:?} is not possible there", step.action);
            return Err(TraceError::Step { step: index + 1, why });
        }
        let (mut checks, mut seen) = (Checks::default(), Seen::default());
        let was_up = world.subject(&memory).is_some();
        world.take(&mut desk, step, &mut checks, &mut seen);
        let now = world.now().as_millis() - begun;
        head(&mut telling, now, step);
        if let (Action::Boot | Action::PersonBoots, Some(subject)) = (&step.action, world.subject(&memory)) {
            telling.begins(now, subject.generation());
        }
        for happened in seen.0 {
            match happened {
                Happened::Input(input) => telling.input(now, &input),
                Happened::Effect(effect) => telling.effect(now, &effect),
                Happened::Synced(record) => {
                    telling.add(
                        now,
                        Lane::Disk,
                        Kind::Effect,
                        format!("on disk: {}", short(&record)),
                        format!("{record:?}"),
                    );
                }
            }
        }
        if was_up && world.subject(&memory).is_none() {
            let died = step.dies_after.is_some() || matches!(step.action, Action::Kill | Action::Rescue);
            let what = if died { "the process is gone" } else { "the process has left" };
            telling.add(now, Lane::Gateway, Kind::End, what, "");
        }
        let _rests = world.rests(&memory, &mut checks);
        if let Some(violation) = checks.broken() {
            story.broken =
                Some(Broken { invariant: violation.invariant.name().to_owned(), what: violation.what.clone() });
        }
    }
    if story.broken.is_none() && !rests_somehow(&mut desk, world) {
        let what = "from here nothing that happens by itself leads to rest".to_owned();
        story.broken = Some(Broken { invariant: Invariant::Finite.name().to_owned(), what });
    }
    story.moments = telling.moments;
    Ok(story)
}

/// Whether a world comes to rest when the first thing that goes forward is done again and again.
fn rests_somehow<S: Subject>(desk: &mut Desk<'_, S>, mut world: World<S>) -> bool {
    for _ in 0..1_000 {
        if world.rests(desk.memory(), &mut Checks::default()) {
            return true;
        }
        let mut actions = Vec::new();
        world.actions(desk.memory(), &mut actions);
        let Some(step) = actions.into_iter().map(Step::plain).find(|step| step.nature() == Nature::Progress) else {
            return false;
        };
        world.take(desk, &step, &mut Checks::default(), &mut ());
    }
    false
}

/// The first line of a step: what is done, by whom, and whether the process dies of it.
fn head(telling: &mut Telling, now: u64, step: &Step) {
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
        Action::AgentEnds { turn, end } => (Lane::People, format!("the agent of {turn} ends: {end:?}")),
        Action::AgentAsks { turn, waits: false } => (Lane::People, format!("the agent of {turn} asks for a restart")),
        Action::AgentAsks { turn, waits: true } => {
            (Lane::People, format!("the agent of {turn} asks for a restart, and a child of it waits for that"))
        }
        Action::AgentQuestions { turn } => (Lane::People, format!("the agent of {turn} asks its chat")),
        Action::AgentGetsOn { turn } => (Lane::People, format!("the agent of {turn} gets on")),
        Action::Reclaimed { turn } => (Lane::People, format!("nothing of {turn} is alive any more")),
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
        Action::Ask { wish, mode } => (Lane::People, format!("an operator asks: {mode:?} {wish:?}")),
        Action::Cancel { request } => (Lane::People, format!("{request} is taken back")),
        Action::Signal { signal } => (Lane::People, format!("somebody sends {signal:?}")),
        Action::SupervisorStops => (Lane::Supervisor, "is told to stop the gateway".to_owned()),
        Action::SupervisorAnswers => (Lane::Supervisor, "says whether the signal was its own".to_owned()),
        Action::CandidateFound { fit: true } => (Lane::Disk, "what would follow can take over".to_owned()),
        Action::CandidateFound { fit: false } => (Lane::Disk, "what would follow could not take over".to_owned()),
        Action::Elapse => (Lane::Gateway, "a deadline has come".to_owned()),
        Action::Kill => (Lane::Gateway, "killed".to_owned()),
        Action::Freeze => (Lane::Gateway, "the loop is stuck for ever".to_owned()),
        Action::GuardStrikes => (Lane::Gateway, "the guard ends the stuck process".to_owned()),
        Action::WatchdogBites => (Lane::Gateway, "the watchdog ends the stuck process".to_owned()),
        Action::Climb { mode } => (Lane::People, format!("an operator climbs: {mode:?}")),
        Action::ClimbAtLast => (Lane::People, "somebody notices and restarts it".to_owned()),
        Action::OperatorLooks { operator } => (Lane::People, format!("operator {operator} sees something new")),
        Action::OperatorWaits { operator } => (Lane::People, format!("operator {operator} has lost patience")),
        Action::OperatorActs { operator } => (Lane::People, format!("operator {operator} does what it decided")),
        Action::StrangerComes { operator } => {
            (Lane::People, format!("a stranger gets the number of operator {operator}'s process"))
        }
        Action::Rescue => (Lane::People, "somebody outside kills the stuck process".to_owned()),
    };
    let fault = matches!(
        step.action,
        Action::LoseWrite
            | Action::LoseSend { .. }
            | Action::SendUnknown { .. }
            | Action::DiesUnheard { .. }
            | Action::Kill
            | Action::Freeze
            | Action::Rescue
    );
    let (kind, what) = match (&step.action, step.dies_after) {
        (_, Some(effects)) => {
            (Kind::Fault, format!("{what}; and the process is killed when {effects} of its visible effects are done"))
        }
        _ if fault => (Kind::Fault, what),
        _ => (Kind::Input, what),
    };
    telling.add(now, lane, kind, what, "");
}

/// A record without the fields that are only bookkeeping.
fn short(record: &Record) -> String {
    let text = format!("{record:?}");
    let cut = text.char_indices().nth(70).map_or(text.len(), |(index, _)| index);
    if cut == text.len() { text } else { format!("{}…", &text[..cut]) }
}
