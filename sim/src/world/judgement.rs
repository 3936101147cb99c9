//! What the witness makes of what it is shown: worked out once, by the witness itself.

use super::Commit;
use super::memory::{Desk, Memory};
use super::parts::Part;
use super::reaction::{Doing, Told};
use crate::subject::Subject;
use evergate_core::effect::Effect;
use evergate_core::id::DeliveryId;
use evergate_core::invariant::Checks;
use evergate_core::verdict::Verdict;
use evergate_core::witness::Witness;

/// What the witness is shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sight {
    /// What goes in and what comes out, up to a number of effects.
    Doing(u32, u32),
    /// What comes to the disk.
    Synced(Part<Commit>),
    Arrived(DeliveryId),
    Struck(Verdict),
    Bitten(Verdict),
    Leaves,
}

impl Sight {
    /// All effects of a doing.
    pub(super) const ALL: u32 = u32::MAX;
}

/// Which witness is shown what.
pub(super) type Seen = (Part<Witness>, Sight);

/// What becomes of the witness, and the set of rules that it looked at and that held.
pub(super) type Judgement = (Part<Witness>, u32);

impl<S: Subject> Desk<'_, S> {
    /// The witness once it has seen something; what it looked at is noted.
    pub(super) fn judge(&mut self, before: Part<Witness>, sight: Sight, checks: &mut Checks) -> Part<Witness> {
        let (memory, key) = (self.memory, (before, sight));
        if let Some((after, looked)) = memory.judgements.recall(&mut self.judgements, &key) {
            checks.held(looked);
            return after;
        }
        let (after, new) = self.first_judgement(before, sight);
        if new.broken().is_none() {
            memory.judgements.add(key, (after, new.looked()));
        }
        checks.join(&new);
        after
    }

    fn first_judgement(&mut self, before: Part<Witness>, sight: Sight) -> (Part<Witness>, Checks) {
        let (memory, mut checks) = (self.memory, Checks::default());
        let mut witness = memory.witness(before).clone();
        match sight {
            Sight::Doing(doing, until) => memory.show(memory.doing(doing), &mut witness, &mut checks, until),
            Sight::Synced(commit) => {
                for record in &memory.commit(commit).records {
                    witness.synced(&mut checks, record);
                }
                witness.committed(&mut checks);
            }
            Sight::Arrived(delivery) => witness.arrived(&mut checks, delivery),
            Sight::Struck(verdict) => witness.struck(&mut checks, verdict),
            Sight::Bitten(verdict) => witness.bitten(&mut checks, verdict),
            Sight::Leaves => witness.leaves(),
        }
        let after =
            memory.keep(&memory.witnesses, &mut self.encoder, witness, |witness| witness.unite(&mut self.united));
        (after, checks)
    }
}

impl<S: Subject> Memory<S> {
    fn show(&self, doing: &Doing, witness: &mut Witness, checks: &mut Checks, until: u32) {
        match doing.told {
            Told::Boot(generation, start, alone) => {
                witness.under(self.setting.limits.clone(), self.setting.terms(alone));
                witness.boots(checks, generation, start);
            }
            Told::Input(input) => witness.input(doing.now, self.input(input)),
        }
        let mut effects = doing.effects.iter().take(until as usize);
        while let Some(effect) = effects.next() {
            witness.effect(checks, doing.now, effect, doing.drain.as_ref());
            if let Effect::End { .. } = effect {
                if let Some(more) = effects.next() {
                    witness.effect(checks, doing.now, more, None);
                }
                return;
            }
        }
    }
}
