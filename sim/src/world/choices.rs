//! All that can happen in a world now, in a fixed order.

use super::action::{Action, Fate, Nature, Step};
use super::memory::{Desk, Memory};
use super::{Agent, Asks, Manner, Offer, Process, Standstill, World};
use crate::subject::{Rescue, Subject};
use evergate_core::gateway::{Pending, Phase};
use evergate_core::id::{QuestionId, SessionId, TurnId};
use evergate_core::input::{Asked, Partial, Standing, TurnEnd};
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::question::Decision;
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Signal};
use evergate_core::supervisor::Supervisor;

impl<S: Subject> World<S> {
    /// All actions that are possible now. Each may also end in a death; that is for the caller to add.
    pub fn actions(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        let setting = &memory.setting;
        match self.process {
            Process::Due(start) => {
                actions.push(Action::Boot);
                if start == Start::Revived && setting.manners.contains(&Manner::PersonStarts) {
                    actions.push(Action::PersonBoots);
                }
            }
            // Where only an operator helps, it is the one who starts it.
            Process::Forlorn
                if !memory.hands(self.hands).operators.is_empty() && setting.manners.contains(&Manner::Unwatched) => {}
            Process::Forlorn => actions.push(Action::Boot),
            Process::Down if setting.manners.contains(&Manner::PersonStarts) => actions.push(Action::PersonBoots),
            Process::Down => {}
            Process::Stuck(stare) => {
                if self.disk_may_answer(stare) {
                    actions.push(Action::DiskAnswers);
                }
                if self.guard.is_some_and(|(at, _)| self.operators_wait_until(memory, at)) {
                    actions.push(Action::GuardStrikes);
                }
                // A start that hangs has no number of its own yet: its own watchdog ends it, and nobody climbs.
                let watched = !setting.manners.contains(&Manner::Unwatched) || !self.has_begun(memory);
                if watched && S::rescue(&setting.subject) == Rescue::FromOutside {
                    if stare.goes_on() {
                        actions.push(Action::WatchdogLooks);
                    }
                    if !self.alone {
                        actions.push(Action::Rescue);
                    }
                }
                if !watched && memory.hands(self.hands).operators.is_empty() {
                    actions.push(Action::ClimbAtLast);
                }
                self.who_climbs(memory, actions);
            }
            Process::Up => {
                self.what_goes_forward(memory, actions);
                self.what_agents_do(memory, actions);
                self.what_people_do(memory, actions);
                self.what_breaks(memory, actions);
                self.who_climbs(memory, actions);
            }
        }
        self.what_operators_do(memory, actions);
        let kept = setting.contract.supervisor == Supervisor::Evergate && !self.alone && self.process != Process::Down;
        if self.left.keepers > 0 && kept {
            actions.push(Action::KeeperDies);
        }
    }

    fn who_climbs(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        if self.left.ladders == 0 || !self.has_begun(memory) {
            return;
        }
        actions.extend(memory.setting.manners.iter().filter_map(|manner| match manner {
            Manner::Climb => Some(Action::Climb { mode: Mode::Graceful }),
            Manner::ClimbForced => Some(Action::Climb { mode: Mode::Force }),
            Manner::ClimbToStop => Some(Action::ClimbToStop { mode: Mode::Graceful }),
            Manner::ClimbToStopForced => Some(Action::ClimbToStop { mode: Mode::Force }),
            _ => None,
        }));
    }

    fn what_goes_forward(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        let Some(instance) = self.subject.map(|part| memory.instance(part)) else { return };
        let (said, hands) = (memory.said(self.said), memory.hands(self.hands));
        if self.opening {
            actions.push(Action::Open);
        }
        if self.flying != Memory::<S>::NOTHING {
            actions.push(Action::Commit);
        }
        actions.extend(hands.reclaims.iter().map(|turn| Action::Reclaimed { turn: *turn }));
        actions.extend(hands.sending.keys().map(|delivery| Action::Sent { delivery: *delivery }));
        if self.receives() {
            let due = said.iter().enumerate().filter(|(_, said)| said.offer == Offer::Due);
            actions.extend(due.map(|(index, _)| Action::Deliver { said: index }));
        }
        if self.supervisor_asked.is_some() {
            actions.push(Action::SupervisorAnswers);
        }
        if self.candidate_checked.is_some() {
            actions.extend([true, false].map(|fit| Action::CandidateFound { fit }));
        }
        let awake = self.left.slow > 0 || !self.somebody_has_to_answer(memory);
        if awake && instance.timeout.is_some_and(|at| self.operators_wait_until(memory, at)) {
            actions.push(Action::Elapse);
        }
        // A platform tries again what was refused, at the latest when nothing else goes on.
        let generation = instance.subject.generation();
        let agents = hands.agents.values().any(|agent| agent.generation == generation);
        if actions.is_empty() && !agents && self.receives() {
            let refused = said.iter().enumerate().filter(|(_, said)| said.offer == Offer::Refused);
            actions.extend(refused.map(|(index, _)| Action::Deliver { said: index }));
        }
    }

    /// Whether something is under way that usually takes far less time than any deadline.
    pub(super) fn somebody_has_to_answer(&self, memory: &Memory<S>) -> bool {
        let hands = memory.hands(self.hands);
        self.opening
            || self.flying != Memory::<S>::NOTHING
            || !hands.sending.is_empty()
            || !hands.reclaims.is_empty()
            || self.supervisor_asked.is_some()
            || self.candidate_checked.is_some()
    }

    /// Whether platforms can reach the gateway.
    const fn receives(&self) -> bool {
        !self.opening && matches!(self.phase, Phase::Serving | Phase::Draining | Phase::Interrupting | Phase::Closing)
    }

    fn what_agents_do(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        let Some(subject) = self.subject(memory) else { return };
        let generation = subject.generation();
        let manner = |manner: Manner| memory.setting.manners.contains(&manner);
        let agents = memory.hands(self.hands).agents.iter();
        for (turn, agent) in agents.filter(|(_, agent)| agent.generation == generation) {
            agent.ends(*turn, manner(Manner::AgentFails), actions);
            if manner(Manner::Questions) && agent.may_ask() {
                actions.push(Action::AgentQuestions { turn: *turn });
            }
            if self.left.progress > 0 && !agent.killed && !agent.waits() {
                actions.push(Action::AgentGetsOn { turn: *turn });
            }
            if agent.interrupted || agent.killed || agent.waits() || !self.may_be_wished(memory) {
                continue;
            }
            for manner in &memory.setting.manners {
                actions.extend(manner.asked_by_a_turn().map(|(wish, mode, waits)| Action::AgentAsks {
                    turn: *turn,
                    wish,
                    mode,
                    waits,
                }));
            }
        }
    }

    fn what_people_do(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        let (setting, durable) = (&memory.setting, memory.journal(self.durable));
        if self.left.messages > 0 && self.receives() {
            self.what_is_said(memory, actions);
        }
        if self.may_be_wished(memory) {
            for manner in &setting.manners {
                actions.extend(match manner {
                    Manner::Terminate => Some(Action::Signal { signal: Signal::Terminate }),
                    Manner::Interrupt => Some(Action::Signal { signal: Signal::Interrupt }),
                    Manner::SupervisorStop if !self.stop_job && !self.alone => Some(Action::SupervisorStops),
                    _ => manner.asked_from_outside().map(|(wish, mode, origin)| Action::Ask { wish, mode, origin }),
                });
            }
        }
        if self.left.cancels > 0 {
            actions.extend(durable.requests.keys().map(|request| Action::Cancel { request: *request }));
        }
    }

    /// Whether somebody who is no chat may wish something of the life cycle.
    fn may_be_wished(&self, memory: &Memory<S>) -> bool {
        let comes_last = || memory.setting.manners.contains(&Manner::SpeakFirst);
        self.left.requests > 0 && (self.left.messages == 0 || !comes_last())
    }

    fn what_is_said(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        // Sessions that nobody has used are alike: the next one stands for them all.
        let used = memory.said(self.said).iter().map(|said| said.session.0).max().unwrap_or(0);
        let sessions = (used + 1).min(u64::from(self.left.sessions));
        for session in (1..=sessions).map(SessionId) {
            let mut say = |asked: Asked, standing: Standing| actions.push(Action::Say { session, asked, standing });
            say(Asked::Prompt, Standing::Operator);
            if memory.setting.manners.contains(&Manner::Decides) {
                for question in self.questions_in(memory, session) {
                    say(Asked::Decide { question: Some(question), decision: Decision::Allow }, Standing::Guest);
                    say(Asked::Decide { question: None, decision: Decision::Deny }, Standing::Guest);
                }
            }
            for manner in &memory.setting.manners {
                match manner {
                    Manner::ChatRestart if self.left.requests > 0 => {
                        say(Asked::Restart(Mode::Graceful), Standing::Operator);
                    }
                    Manner::ChatForced if self.left.requests > 0 => {
                        say(Asked::Restart(Mode::Force), Standing::Operator);
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

    /// The questions that a chat may know, decided or not.
    fn questions_in(&self, memory: &Memory<S>, session: SessionId) -> Vec<QuestionId> {
        let turns = memory.journal(self.durable).turns.values().filter(|turn| turn.session == session);
        turns.flat_map(|turn| turn.questions.keys().copied()).collect()
    }

    fn what_breaks(&self, memory: &Memory<S>, actions: &mut Vec<Action>) {
        if self.left.lost_writes > 0 && self.flying != Memory::<S>::NOTHING {
            actions.push(Action::LoseWrite);
        }
        let blind = memory.setting.manners.contains(&Manner::Blind);
        let sending = || memory.hands(self.hands).sending.keys().copied();
        for delivery in sending().filter(|_| self.left.lost_sends > 0) {
            actions.push(Action::LoseSend { delivery, arrives: false });
            actions.extend(if blind {
                vec![Action::SendUnknown { delivery, arrives: false }, Action::SendUnknown { delivery, arrives: true }]
            } else {
                vec![Action::LoseSend { delivery, arrives: true }]
            });
        }
        if self.left.redeliveries > 0 && self.receives() {
            let acked = memory.said(self.said).iter().enumerate().filter(|(_, said)| said.offer == Offer::Acked);
            actions.extend(acked.map(|(index, _)| Action::Redeliver { said: index }));
        }
        if self.left.kills > 0 {
            actions.push(Action::Kill);
            actions.extend(sending().filter(|_| blind).map(|delivery| Action::DiesUnheard { delivery }));
        }
        if self.left.freezes > 0 {
            actions.push(Action::Freeze { at: Standstill::Stuck });
            if memory.setting.manners.contains(&Manner::DiskWaits) {
                actions.push(Action::Freeze { at: Standstill::OnDisk });
            }
        }
    }

    /// All steps from here, each with the world that it leads to and what was seen on the way.
    pub fn steps(&self, desk: &mut Desk<'_, S>, found: impl FnMut(&mut Desk<'_, S>, Step, Self, Checks)) {
        self.announced_steps(desk, |_| (), found);
    }

    /// The same, with each step told of before it is taken: a panic may let nothing come after.
    pub fn announced_steps(
        &self,
        desk: &mut Desk<'_, S>,
        mut announced: impl FnMut(&Step),
        mut found: impl FnMut(&mut Desk<'_, S>, Step, Self, Checks),
    ) {
        let mut actions = Vec::new();
        self.actions(desk.memory, &mut actions);
        for action in actions {
            let commits = self.fates(&action);
            let mut try_step = |step: Step| {
                announced(&step);
                let (mut world, mut checks) = (*self, Checks::default());
                let visible = world.take(desk, &step, &mut checks, &mut ());
                found(desk, step, world, checks);
                visible
            };
            if action.is_a_death() {
                for commit in commits {
                    try_step(Step { action: action.clone(), dies_after: None, commit: *commit });
                }
                continue;
            }
            let visible = try_step(Step::plain(action.clone()));
            if self.left.kills == 0 {
                continue;
            }
            for dies_after in (action.first_death()..visible).map(Some) {
                for commit in commits {
                    try_step(Step { action: action.clone(), dies_after, commit: *commit });
                }
            }
        }
    }

    /// What may become of the commit that is under way when the process dies in this.
    fn fates(&self, action: &Action) -> &'static [Fate] {
        if self.flying == Memory::<S>::NOTHING || *action == Action::Commit {
            &[Fate::Lost]
        } else {
            &[Fate::Lost, Fate::Kept]
        }
    }

    /// Whether this is one of the steps from here; if not, why.
    pub fn allows(&self, desk: &mut Desk<'_, S>, step: &Step) -> Result<(), String> {
        let Step { action, dies_after, commit } = step;
        let mut actions = Vec::new();
        self.actions(desk.memory, &mut actions);
        if !actions.contains(action) {
            return Err(format!("{action:?} is not possible there"));
        }
        let dies = action.is_a_death() || dies_after.is_some();
        if *commit != Fate::Lost && !(dies && self.fates(action).contains(commit)) {
            return Err(format!("with {action:?} no commit is under way there that could be {commit:?}"));
        }
        let Some(effects) = dies_after else { return Ok(()) };
        if action.is_a_death() || self.left.kills == 0 {
            return Err(format!("nothing can be killed there after {effects} effects of {action:?}"));
        }
        let visible = { *self }.take(desk, &Step::plain(action.clone()), &mut Checks::default(), &mut ());
        if (action.first_death()..visible).contains(effects) {
            return Ok(());
        }
        Err(format!("{action:?} has {visible} effects there that somebody can see, and so no death after {effects}"))
    }

    /// Whether everything has come to rest, and if so, whether all that was promised was kept.
    pub fn rests(&self, memory: &Memory<S>, checks: &mut Checks) -> bool {
        if !memory.hands(self.hands).operators.is_empty() {
            return false;
        }
        let pending = match (self.subject, self.process) {
            (Some(part), Process::Up) => memory.instance(part).pending,
            (_, Process::Down) => return true,
            _ => return false,
        };
        let quiet = matches!(pending, None | Some(Pending::Held(_)))
            && self.flying == Memory::<S>::NOTHING
            && self.gathering == Memory::<S>::NOTHING
            && memory.hands(self.hands).sending.is_empty()
            && memory.said(self.said).iter().all(|said| said.offer == Offer::Acked);
        if quiet {
            checks.holds(Invariant::Finite, true, String::new);
            let witness = memory.witness(self.witness);
            match pending {
                Some(Pending::Held(_)) => witness.holds_back(checks),
                _ => witness.at_rest(checks),
            }
        }
        quiet
    }
}

impl Agent {
    /// Whether it goes on only when it is told something.
    fn waits(&self) -> bool {
        self.waits_for.is_some() || self.question == Asks::Waits
    }

    fn may_ask(&self) -> bool {
        !self.interrupted && !self.killed && self.waits_for.is_none() && self.question == Asks::Nothing
    }

    fn ends(&self, turn: TurnId, fails: bool, actions: &mut Vec<Action>) {
        let mut end = |end: TurnEnd| actions.push(Action::AgentEnds { turn, end });
        if self.killed {
            end(TurnEnd::Interrupted { partial: Partial::Nothing });
        } else if self.interrupted {
            end(TurnEnd::Interrupted { partial: Partial::Text });
            end(TurnEnd::Answered);
        } else if !self.waits() {
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
