//! What a gateway does about what goes into it: worked out once, by the gateway itself.

use super::Commit;
use super::Setting;
use super::memory::{Desk, Instance};
use super::parts::{Part, hash_of};
use crate::subject::Subject;
use evergate_core::drain::Drain;
use evergate_core::effect::Effect;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::recovery::{Recovered, Start};
use evergate_core::time::Instant;

/// What goes into a gateway.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Told {
    /// With whether its supervisor is gone.
    Boot(GenerationId, Start, bool),
    Input(Part<Input>),
}

/// What goes into a gateway and all that it wants done, whichever gateway it is.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Doing {
    pub(super) now: Instant,
    pub(super) told: Told,
    pub(super) effects: Box<[Effect]>,
    pub(super) drain: Option<Drain>,
    pub(super) writes: Writes,
}

/// What a gateway wants written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Writes {
    Nothing,
    /// Behind what gathers.
    More(Part<Commit>),
    /// In place of everything that is not on disk.
    Anew(Part<Commit>),
}

/// When and how a gateway begins, what it finds on disk, and whether it finds that its supervisor is gone.
pub(super) type Beginning = (Instant, Part<Recovered>, Start, bool);

/// Which gateway is told what. When is no question: a gateway is kept as it is at a time, and is told at another only that its
/// timeout has come.
pub(super) type Telling<S> = (Part<Instance<S>>, Part<Input>);

/// What a gateway does about what goes into it.
pub(super) struct Reaction<S> {
    pub(super) doing: u32,
    /// The gateway when all is done, unless it has ended.
    pub(super) after: Option<Part<Instance<S>>>,
}

impl<S> Clone for Reaction<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Reaction<S> {}

impl<S: Subject> Desk<'_, S> {
    /// What a gateway does as it begins.
    pub(super) fn begin(&mut self, beginning: Beginning) -> Reaction<S> {
        let memory = self.memory;
        memory.begun.recall(&mut self.begun, &beginning).unwrap_or_else(|| {
            let (now, part, start, alone) = beginning;
            let Setting { subject, limits, .. } = &memory.setting;
            let recovered = Recovered { start, ..memory.journal(part).clone() };
            let subject = S::boot(subject, limits, memory.setting.terms(alone), recovered, now);
            let told = Told::Boot(subject.generation(), start, alone);
            memory.begun.add(beginning, self.reaction(now, subject, told))
        })
    }

    /// What a gateway does about what it is told.
    pub(super) fn react(&mut self, now: Instant, part: Part<Instance<S>>, input: &Input) -> Reaction<S> {
        let memory = self.memory;
        debug_assert_eq!(
            memory.instance(part).told_at(input),
            now,
            "when is a question, and {input:?} is not kept with it"
        );
        let told = self.keep_input(input);
        memory.reactions.recall(&mut self.reactions, &(part, told)).unwrap_or_else(|| {
            let mut subject = memory.instance(part).subject.clone();
            subject.handle(now, input.clone());
            memory.reactions.add((part, told), self.reaction(now, subject, Told::Input(told)))
        })
    }

    fn keep_input(&mut self, input: &Input) -> Part<Input> {
        let hash = hash_of(input);
        self.inputs.recall(hash, input).unwrap_or_else(|| {
            let number = self.memory.inputs.add(hash, input.clone(), |known, new| known == new);
            self.inputs.keep(hash, input, Part::numbered(number))
        })
    }

    /// What has come of what it was told, by a gateway that has not done anything about it yet.
    fn reaction(&mut self, now: Instant, mut subject: S, told: Told) -> Reaction<S> {
        let memory = self.memory;
        let effects: Box<[Effect]> = std::iter::from_fn(|| subject.poll()).collect();
        let ended = effects.iter().any(|effect| matches!(effect, Effect::End { .. }));
        let drain = subject.drain().cloned();
        let writes = self.writes(&effects);
        let doing = Doing { now, told, effects, drain, writes };
        let hash = hash_of(&doing);
        let known = memory.doings.find(hash, |known| *known == doing);
        let doing = known.unwrap_or_else(|| memory.doings.add(hash, doing, |known, new| known == new));
        let after = (!ended).then(|| memory.keep_instance((&mut self.encoder, &mut self.united), now, subject));
        Reaction { doing, after }
    }

    fn writes(&mut self, effects: &[Effect]) -> Writes {
        let (mut commit, mut anew) = (Commit::default(), false);
        for effect in effects {
            match effect {
                Effect::Append { record } => commit.records.push(record.clone()),
                Effect::Discard => (commit, anew) = (Commit::default(), true),
                _ => {}
            }
        }
        match (anew, commit.records.is_empty()) {
            (true, _) => Writes::Anew(self.keep_commit(commit)),
            (false, true) => Writes::Nothing,
            (false, false) => Writes::More(self.keep_commit(commit)),
        }
    }
}
