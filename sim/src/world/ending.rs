//! How a process ends, and what its supervisor makes of that.

use super::action::Fate;
use super::encode::BEGINNING;
use super::judgement::Sight;
use super::memory::Memory;
use super::perform::{Observer, Taking};
use super::{Offer, Process, World};
use crate::subject::Subject;
use evergate_core::gateway::Phase;
use evergate_core::id::MessageId;
use evergate_core::invariant::Invariant;
use evergate_core::recovery::Start;
use evergate_core::request::{Origin, Wish};
use evergate_core::supervisor::{Death, Supervisor};
use evergate_core::verdict::{RESTART, STOP, Verdict};

impl<S: Subject, O: Observer> Taking<'_, '_, S, O> {
    /// The process dies: what was not synced is gone, and agents live on until somebody looks for them.
    pub(super) fn die(&mut self, world: &mut World<S>) {
        if self.commit == Fate::Kept {
            self.commit(world);
        }
        self.gone(world, Death::Killed, None);
    }

    pub(super) fn guard_strikes(&mut self, world: &mut World<S>) {
        let Some((at, verdict)) = world.guard else { return };
        world.now = world.now.max(at);
        let verdict = self.at_last(world, verdict);
        self.shows(world, Sight::Struck(verdict));
        self.strike(world, verdict);
    }

    pub(super) fn watchdog_bites(&mut self, world: &mut World<S>) {
        let restart = world.contract(self.memory).verdict(Wish::Restart, Origin::Watchdog);
        let verdict = self.at_last(world, world.guard.map_or(restart, |(_, verdict)| verdict));
        self.shows(world, Sight::Bitten(verdict));
        self.strike(world, verdict);
    }

    /// How a stuck process ends after all. The signal that its supervisor or an operator has sent may wait for the loop.
    fn at_last(&self, world: &World<S>, verdict: Verdict) -> Verdict {
        self.at_the_edge(world, verdict, Self::is_told_to_leave(world))
    }

    /// How a process ends after all, as its edge finds things.
    fn at_the_edge(&self, world: &World<S>, verdict: Verdict, signalled: bool) -> Verdict {
        let alone = world.alone && S::looks_for_its_supervisor(&self.memory.setting.subject);
        world.contract(self.memory).at_last(verdict, signalled, alone)
    }

    const fn is_told_to_leave(world: &World<S>) -> bool {
        world.stop_job || world.signal_waits || world.heard
    }

    fn strike(&mut self, world: &mut World<S>, verdict: Verdict) {
        match verdict {
            Verdict::Exit(status) => self.gone(world, Death::Exited(status), None),
            Verdict::ReExec | Verdict::StayUp => self.leave(world, verdict),
        }
    }

    /// The supervisor is killed. What it was about to start nobody starts.
    pub(super) fn keeper_dies(&mut self, world: &mut World<S>) {
        world.left.keepers -= 1;
        world.alone = true;
        if let Process::Due(_) = world.process {
            world.process = Process::Forlorn;
        }
    }

    pub(super) fn leave(&mut self, world: &mut World<S>, verdict: Verdict) {
        match self.at_the_edge(world, verdict, world.heard) {
            Verdict::Exit(status) => self.gone(world, Death::Exited(status), Some(verdict)),
            Verdict::ReExec => {
                // Where no exit is surely followed by a start, the successor is told of the stop as it begins.
                let stays = world.stop_job && world.contract(self.memory).leave != Verdict::ReExec;
                self.checks
                    .holds(Invariant::Intent, !stays, || "it replaces itself while its supervisor stops it".to_owned());
                self.operators_lose_it(world, false);
                self.forget(world, Process::Due(Start::Wanted));
            }
            Verdict::StayUp => {
                self.operators_lose_it(world, false);
                self.forget(world, Process::Down);
            }
        }
    }

    fn gone(&mut self, world: &mut World<S>, death: Death, verdict: Option<Verdict>) {
        let (contract, policy) = (world.contract(self.memory), &self.memory.setting.policy);
        let (revives, limited) = match policy {
            Some(policy) => (policy.revives(death), policy.limited),
            None => (contract.revives(death), contract.supervisor == Supervisor::Systemd),
        };
        let next = if world.stop_job {
            Process::Down
        } else if !revives {
            if death == Death::Exited(STOP) { Process::Down } else { Process::Forlorn }
        } else if limited && world.left.starts == 0 {
            Process::Forlorn
        } else {
            world.left.starts -= u8::from(limited && world.left.starts < u8::MAX);
            let planned = verdict.is_some() && contract.supervisor == Supervisor::Evergate;
            // Who has left in order after a stop was seen to: what comes after it is wanted.
            let honoured = matches!(death, Death::Exited(_)) && self.memory.journal(world.durable).stopped_by.is_some();
            let revived = self.says_who_starts(world) && !planned && !world.wanted && !honoured;
            Process::Due(if revived { Start::Revived } else { Start::Wanted })
        };
        if world.alone {
            // Where it was told to leave, that is the business of whoever told it.
            let told = Self::is_told_to_leave(world);
            self.checks.holds(Invariant::Exit, told || death != Death::Exited(RESTART), || {
                "it leaves to be started again, and whoever did that is gone".to_owned()
            });
        }
        if policy.is_some() && !world.stop_job && matches!(death, Death::Exited(_)) {
            let (told, done) = (contract.revives(death), matches!(next, Process::Due(_)));
            self.checks.holds(Invariant::Exit, told == done, || {
                format!(
                    "{death:?} of a gateway that counts on {}, and its unit makes that {}",
                    starts(told),
                    starts(done)
                )
            });
        }
        self.operators_lose_it(world, true);
        self.forget(world, next);
    }

    /// Whether the supervisor says of a start that it makes it by itself.
    pub(super) fn says_who_starts(&self, world: &World<S>) -> bool {
        matches!(world.contract(self.memory).supervisor, Supervisor::Evergate | Supervisor::Systemd)
    }

    fn forget(&mut self, world: &mut World<S>, next: Process) {
        world.process = next;
        self.shows(world, Sight::Leaves);
        world.subject = None;
        world.phase = Phase::Ended;
        world.flying = Memory::<S>::NOTHING;
        world.gathering = Memory::<S>::NOTHING;
        self.change_hands(world, |hands| {
            hands.sending.clear();
            hands.intended.clear();
            hands.reclaims.clear();
            // Whoever could have told them is gone.
            hands.agents.values_mut().for_each(|agent| agent.waits_for = None);
        });
        if self.memory.hands(world.hands).operators.is_empty() {
            // Nobody who is left has looked at a clock. What comes is then the same whenever it comes, and is worked out once.
            world.earlier += world.now - BEGINNING;
            world.now = BEGINNING;
        }
        world.opening = false;
        world.supervisor_asked = None;
        world.candidate_checked = None;
        world.guard = None;
        (world.heard, world.signal_waits) = (false, false);
        world.wanted = false;
        self.change_each_said(
            world,
            |said| (!said.on_disk && said.message != MessageId::default()) || said.offer != Offer::Acked,
            |said| {
                if !said.on_disk {
                    said.message = MessageId::default();
                }
                if said.offer != Offer::Acked {
                    said.offer = Offer::Due;
                }
            },
        );
    }
}

const fn starts(again: bool) -> &'static str {
    if again { "a start" } else { "no start" }
}
