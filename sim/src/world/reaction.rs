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
    Boot(GenerationId, Start),
    Input(Input),
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

/// What goes into which gateway.
pub(super) enum Before<S> {
    Disk(Part<Recovered>, Start),
    Up(Part<Instance<S>>, Input),
}

impl<S: Subject> Before<S> {
    fn hash(&self, now: Instant) -> u64 {
        match self {
            Self::Disk(durable, start) => hash_of(&(now, durable, *start as u8)),
            Self::Up(subject, input) => hash_of(&(now, subject, input)),
        }
    }
}

/// What a gateway does about what goes into it.
pub(super) struct Reaction<S> {
    /// The number of the gateway before, or that of the journal.
    before: u32,
    pub(super) doing: u32,
    /// The gateway when all is done, unless it has ended.
    pub(super) after: Option<Part<Instance<S>>>,
}

impl<'m, S: Subject> Desk<'m, S> {
    /// What a gateway does about what goes into it.
    pub(super) fn react(&mut self, now: Instant, before: Before<S>) -> &'m Reaction<S> {
        let memory = self.memory;
        let hash = before.hash(now);
        let same = |known: &Reaction<S>| {
            let doing = memory.doings.get(known.doing);
            doing.now == now
                && match (&before, &doing.told) {
                    (Before::Disk(part, start), Told::Boot(_, told)) => known.before == part.number() && told == start,
                    (Before::Up(part, input), Told::Input(told)) => known.before == part.number() && told == input,
                    _ => false,
                }
        };
        let number = memory.reactions.recall(&mut self.reactions, hash, same);
        let number = number.unwrap_or_else(|| {
            let reaction = self.first_reaction(now, &before);
            memory.reactions.add(hash, reaction, |known, new| known.before == new.before && known.doing == new.doing)
        });
        memory.reactions.get(number)
    }

    fn first_reaction(&mut self, now: Instant, before: &Before<S>) -> Reaction<S> {
        let memory = self.memory;
        let (mut subject, told, before) = match before {
            Before::Disk(part, start) => {
                let Setting { subject, limits, contract, .. } = &memory.setting;
                let recovered = Recovered { start: *start, ..memory.journal(*part).clone() };
                let subject = S::boot(subject, limits, *contract, recovered, now);
                let told = Told::Boot(subject.generation(), *start);
                (subject, told, part.number())
            }
            Before::Up(part, input) => {
                let mut subject = memory.instance(*part).subject.clone();
                subject.handle(now, input.clone());
                (subject, Told::Input(input.clone()), part.number())
            }
        };
        let effects: Box<[Effect]> = std::iter::from_fn(|| subject.poll()).collect();
        let ended = effects.iter().any(|effect| matches!(effect, Effect::End { .. }));
        let drain = subject.drain().cloned();
        let writes = self.writes(&effects);
        let doing = Doing { now, told, effects, drain, writes };
        let hash = hash_of(&doing);
        let known = memory.doings.find(hash, |known| *known == doing);
        let doing = known.unwrap_or_else(|| memory.doings.add(hash, doing, |known, new| known == new));
        let after = (!ended).then(|| memory.keep_instance((&mut self.encoder, &mut self.united), now, subject));
        Reaction { before, doing, after }
    }

    fn writes(&mut self, effects: &[Effect]) -> Writes {
        let (mut commit, mut anew) = (Commit::default(), false);
        for effect in effects {
            match effect {
                Effect::Append { position, record } => {
                    commit.through = *position;
                    commit.records.push(record.clone());
                }
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
