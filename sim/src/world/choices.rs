//! All that can happen in a world now, in a fixed order.

use super::action::{Action, Fate, Nature, Step};
use super::{Agent, Manner, Offer, Process, Setting, World};
use crate::subject::{Rescue, Subject};
use evergate_core::gateway::{Pending, Phase};
use evergate_core::id::{SessionId, TurnId};
use evergate_core::input::{Asked, Partial, Standing, TurnEnd};
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Signal, Wish};

impl<S: Subject> World<S> {
    /// All actions that are possible now. Each may also end in a death; that is for the caller to add.
    pub fn actions(&self, setting: &Setting<S>, actions: &mut Vec<Action>) {
        match self.process {
            Process::Due(start) => {
                actions.push(Action::Boot);
                if start == Start::Revived && setting.manners.contains(&Manner::PersonStarts) {
                    actions.push(Action::PersonBoots);
                }
            }
            Process::Forlorn => actions.push(Action::Boot),
            Process::Down if setting.manners.contains(&Manner::PersonStarts) => actions.push(Action::PersonBoots),
            Process::Down => {}
            Process::Stuck => {
                if self.guard.is_some() {
                    actions.push(Action::GuardStrikes);
                }
                if S::rescue(&setting.subject) == Rescue::FromOutside {
                    actions.push(Action::WatchdogBites);
                    actions.push(Action::Rescue);
                }
            }
            Process::Up => {
                self.what_goes_forward(actions);
                self.what_agents_do(setting, actions);
                self.what_people_do(setting, actions);
                self.what_breaks(setting, actions);
            }
        }
    }

    fn what_goes_forward(&self, actions: &mut Vec<Action>) {
        let Some(subject) = &self.subject else { return };
        if self.opening {
            actions.push(Action::Open);
        }
        if !self.flying.records.is_empty() {
            actions.push(Action::Commit);
        }
        actions.extend(self.reclaims.iter().map(|turn| Action::Reclaimed { turn: *turn }));
        actions.extend(self.sending.keys().map(|delivery| Action::Sent { delivery: *delivery }));
        if self.receives() {
            let due = self.said.iter().enumerate().filter(|(_, said)| said.offer == Offer::Due);
            actions.extend(due.map(|(index, _)| Action::Deliver { said: index }));
        }
        if self.supervisor_asked.is_some() {
            actions.push(Action::SupervisorAnswers);
        }
        if self.candidate_checked.is_some() {
            actions.extend([true, false].map(|fit| Action::CandidateFound { fit }));
        }
        if subject.poll_timeout().is_some() && (self.left.slow > 0 || !self.somebody_has_to_answer()) {
            actions.push(Action::Elapse);
        }
        // A platform tries again what was refused, at the latest when nothing else goes on.
        let agents = self.agents.values().any(|agent| agent.generation == subject.generation());
        if actions.is_empty() && !agents && self.receives() {
            let refused = self.said.iter().enumerate().filter(|(_, said)| said.offer == Offer::Refused);
            actions.extend(refused.map(|(index, _)| Action::Deliver { said: index }));
        }
    }

    /// Whether something is under way that usually takes far less time than any deadline.
    pub(super) fn somebody_has_to_answer(&self) -> bool {
        self.opening
            || !self.flying.records.is_empty()
            || !self.sending.is_empty()
            || !self.reclaims.is_empty()
            || self.supervisor_asked.is_some()
            || self.candidate_checked.is_some()
    }

    /// Whether platforms can reach the gateway.
    const fn receives(&self) -> bool {
        !self.opening && matches!(self.phase, Phase::Serving | Phase::Draining | Phase::Interrupting | Phase::Closing)
    }

    fn what_agents_do(&self, setting: &Setting<S>, actions: &mut Vec<Action>) {
        let Some(subject) = &self.subject else { return };
        let generation = subject.generation();
        let manner = |manner: Manner| setting.manners.contains(&manner);
        for (turn, agent) in self.agents.iter().filter(|(_, agent)| agent.generation == generation) {
            agent.ends(*turn, manner(Manner::AgentFails), actions);
            if agent.interrupted || agent.killed || agent.waits_for.is_some() || self.left.requests == 0 {
                continue;
            }
            if manner(Manner::TurnRestart) {
                actions.push(Action::AgentAsks { turn: *turn, waits: false });
            }
            if manner(Manner::TurnRestartWaits) {
                actions.push(Action::AgentAsks { turn: *turn, waits: true });
            }
        }
    }

    fn what_people_do(&self, setting: &Setting<S>, actions: &mut Vec<Action>) {
        let late = self.durable.highest.generation.0 > 1 && setting.manners.contains(&Manner::SpeakEarly);
        if self.left.messages > 0 && self.receives() && !late {
            self.what_is_said(setting, actions);
        }
        if self.left.requests > 0 {
            for manner in &setting.manners {
                actions.extend(match manner {
                    Manner::Restart => Some(Action::Ask { wish: Wish::Restart, mode: Mode::Graceful }),
                    Manner::Force => Some(Action::Ask { wish: Wish::Restart, mode: Mode::Force }),
                    Manner::Stop => Some(Action::Ask { wish: Wish::Stop, mode: Mode::Graceful }),
                    Manner::Terminate => Some(Action::Signal { signal: Signal::Terminate }),
                    Manner::Interrupt => Some(Action::Signal { signal: Signal::Interrupt }),
                    Manner::SupervisorStop if !self.stop_job => Some(Action::SupervisorStops),
                    _ => None,
                });
            }
        }
        if self.left.cancels > 0 {
            actions.extend(self.durable.requests.keys().map(|request| Action::Cancel { request: *request }));
        }
    }

    fn what_is_said(&self, setting: &Setting<S>, actions: &mut Vec<Action>) {
        // Sessions that nobody has used are alike: the next one stands for them all.
        let used = self.said.iter().map(|said| said.session.0).max().unwrap_or(0);
        let sessions = (used + 1).min(u64::from(self.left.sessions));
        for session in (1..=sessions).map(SessionId) {
            let mut say = |asked: Asked, standing: Standing| actions.push(Action::Say { session, asked, standing });
            say(Asked::Prompt, Standing::Operator);
            for manner in &setting.manners {
                match manner {
                    Manner::ChatRestart if self.left.requests > 0 => {
                        say(Asked::Restart(Mode::Graceful), Standing::Operator);
                    }
                    Manner::GuestRestart if self.left.requests > 0 => {
                        say(Asked::Restart(Mode::Graceful), Standing::Guest)
                    }
                    Manner::ChatStop => say(Asked::StopTurn, Standing::Guest),
                    Manner::ChatRenew => say(Asked::Renew, Standing::Guest),
                    _ => {}
                }
            }
        }
    }

    fn what_breaks(&self, setting: &Setting<S>, actions: &mut Vec<Action>) {
        let blind = setting.manners.contains(&Manner::Blind);
        if self.left.lost_writes > 0 && !self.flying.records.is_empty() {
            actions.push(Action::LoseWrite);
        }
        for delivery in self.sending.keys().copied().filter(|_| self.left.lost_sends > 0) {
            actions.push(Action::LoseSend { delivery, arrives: false });
            actions.extend(if blind {
                vec![Action::SendUnknown { delivery, arrives: false }, Action::SendUnknown { delivery, arrives: true }]
            } else {
                vec![Action::LoseSend { delivery, arrives: true }]
            });
        }
        if self.left.redeliveries > 0 && self.receives() {
            let acked = self.said.iter().enumerate().filter(|(_, said)| said.offer == Offer::Acked);
            actions.extend(acked.map(|(index, _)| Action::Redeliver { said: index }));
        }
        if self.left.kills > 0 {
            actions.push(Action::Kill);
            actions.extend(self.sending.keys().filter(|_| blind).map(|id| Action::DiesUnheard { delivery: *id }));
        }
        if self.left.freezes > 0 {
            actions.push(Action::Freeze);
        }
    }

    /// All steps from here, each with the world that it leads to and what was seen on the way.
    pub fn steps(&self, setting: &Setting<S>, mut found: impl FnMut(Step, Self, Checks)) {
        let mut actions = Vec::new();
        self.actions(setting, &mut actions);
        for action in actions {
            let commits: &[Fate] = if self.flying.records.is_empty() || action == Action::Commit {
                &[Fate::Lost]
            } else {
                &[Fate::Lost, Fate::Kept]
            };
            let mut try_step = |step: Step| {
                let (mut world, mut checks) = (self.clone(), Checks::default());
                let visible = world.take(setting, &step, &mut checks, &mut ());
                found(step, world, checks);
                visible
            };
            if matches!(action, Action::Kill | Action::Rescue | Action::DiesUnheard { .. }) {
                for commit in commits {
                    try_step(Step { action: action.clone(), dies_after: None, commit: *commit });
                }
                continue;
            }
            let visible = try_step(Step::plain(action.clone()));
            if self.left.kills == 0 {
                continue;
            }
            // To die before the first effect is to die before the input, but for a commit, which has happened.
            let first = u8::from(action != Action::Commit);
            for dies_after in (first..visible).map(Some) {
                for commit in commits {
                    try_step(Step { action: action.clone(), dies_after, commit: *commit });
                }
            }
        }
    }

    /// Whether everything has come to rest, and if so, whether all that was promised was kept.
    pub fn rests(&self, checks: &mut Checks) -> bool {
        let subject = match (&self.subject, self.process) {
            (Some(subject), Process::Up) => subject,
            (_, Process::Down) => return true,
            _ => return false,
        };
        let pending = subject.pending();
        let quiet = matches!(pending, None | Some(Pending::Held(_)))
            && self.flying.records.is_empty()
            && self.gathering.records.is_empty()
            && self.sending.is_empty()
            && self.said.iter().all(|said| said.offer == Offer::Acked);
        if quiet {
            checks.holds(Invariant::Finite, true, String::new);
            if pending.is_none() {
                self.witness.at_rest(checks);
            }
        }
        quiet
    }
}

impl Agent {
    fn ends(&self, turn: TurnId, fails: bool, actions: &mut Vec<Action>) {
        let mut end = |end: TurnEnd| actions.push(Action::AgentEnds { turn, end });
        if self.killed {
            end(TurnEnd::Interrupted { partial: Partial::Nothing });
        } else if self.interrupted {
            end(TurnEnd::Interrupted { partial: Partial::Text });
            end(TurnEnd::Answered);
        } else if self.waits_for.is_none() {
            end(TurnEnd::Answered);
            if fails {
                end(TurnEnd::Failed);
            }
        }
    }
}

impl Step {
    /// Whether the liveness rules may count on this step.
    #[must_use]
    pub fn goes_forward(&self) -> bool {
        self.nature() == Nature::Progress
    }
}
