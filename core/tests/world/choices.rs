//! The world driven by bytes: each byte is one of the things that can happen now, so that a list of bytes is a life. And
//! the healing afterwards: nothing fails any more, and everybody does their part.

use super::{Ended, Fitness, World};
use evergate_core::busy::Busy;
use evergate_core::gateway::{Gateway, Pending};
use evergate_core::id::{DeliveryId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input, Partial, Standing, TurnEnd};
use evergate_core::question::{Decision, QuestionKey};
use evergate_core::recovery::Start;
use evergate_core::request::{Mode, Signal, Wish};
use evergate_core::session::Quarantine;
use evergate_core::verdict::{STOP, Verdict};
use std::time::Duration;

/// One thing that can happen.
#[derive(Clone, Debug)]
pub enum Choice {
    Boot(Start),
    Open,
    Commit,
    CommitAll,
    FailWrite,
    Reclaimed,
    Say(u64, Asked, Standing),
    Deliver(usize),
    Progress(TurnId),
    Question(TurnId, QuestionKey),
    End(TurnId, TurnEnd),
    Sent(DeliveryId),
    SendFailed(DeliveryId),
    SendRejected(DeliveryId),
    SendUnknown(DeliveryId, bool),
    Ask(Wish, Mode),
    AskFromTurn(TurnId, Wish),
    Cancel(RequestId),
    ResetBreaker,
    Signal(Signal),
    SupervisorAnswers(bool),
    CandidateIs(Fitness),
    Elapse,
    Wait(Duration),
    Kill,
    KillSoon(usize),
    KillUnheard,
}

/// As many messages as one life holds.
const MESSAGES: usize = 30;

impl World {
    /// Something happens: the one that this byte stands for now.
    pub fn step(&mut self, choice: u8) {
        let choices = self.choices();
        let choice = choices[usize::from(choice) % choices.len()].clone();
        self.choose(choice);
    }

    /// All that can happen now.
    pub fn choices(&self) -> Vec<Choice> {
        let Some(gateway) = &self.gateway else {
            // Only a death is followed by a revival.
            let revived = self.ends.last() == Some(&Ended::Died);
            return if revived {
                vec![Choice::Boot(Start::Wanted), Choice::Boot(Start::Revived)]
            } else {
                vec![Choice::Boot(Start::Wanted)]
            };
        };
        let mut choices = Vec::new();
        for _ in 0..self.calmness {
            self.calm_choices(gateway, &mut choices);
        }
        self.wild_choices(gateway, &mut choices);
        choices
    }

    /// What brings things forward.
    fn calm_choices(&self, gateway: &Gateway, choices: &mut Vec<Choice>) {
        if self.opening {
            choices.push(Choice::Open);
        }
        if !self.journal.unsynced.is_empty() {
            choices.extend([Choice::Commit, Choice::CommitAll]);
        }
        if !self.reclaims.is_empty() {
            choices.push(Choice::Reclaimed);
        }
        if !self.supervisor_asked.is_empty() {
            choices.push(Choice::SupervisorAnswers(false));
        }
        if !self.checks.is_empty() {
            choices.push(Choice::CandidateIs(Fitness::Fit));
        }
        choices.extend(self.sending.keys().map(|delivery| Choice::Sent(*delivery)));
        choices.extend((0..self.said.len()).filter(|index| !self.said[*index].acked).map(Choice::Deliver));
        for (turn, agent) in self.agents.iter().filter(|(_, agent)| agent.generation == gateway.generation()) {
            let partial = Partial::Text;
            choices.push(Choice::End(
                *turn,
                if agent.interrupted { TurnEnd::Interrupted { partial } } else { TurnEnd::Answered },
            ));
        }
        if self.said.len() < MESSAGES {
            choices.extend((1..=3).map(|session| Choice::Say(session, Asked::Prompt, Standing::Guest)));
        }
    }

    /// What disturbs, fails, takes its time or wants an end.
    fn wild_choices(&self, gateway: &Gateway, choices: &mut Vec<Choice>) {
        choices.extend([
            Choice::Elapse,
            Choice::Wait(Duration::from_millis(700)),
            Choice::Kill,
            Choice::KillSoon(2),
            Choice::KillSoon(5),
        ]);
        if !self.journal.unsynced.is_empty() {
            choices.push(Choice::FailWrite);
        }
        if !self.supervisor_asked.is_empty() {
            choices.push(Choice::SupervisorAnswers(true));
        }
        if !self.checks.is_empty() {
            choices.push(Choice::CandidateIs(Fitness::Unfit));
        }
        for (delivery, (session, _)) in &self.sending {
            choices.push(Choice::SendFailed(*delivery));
            if self.blind.contains(&session.0) {
                choices.extend([true, false].map(|arrives| Choice::SendUnknown(*delivery, arrives)));
            }
        }
        if !self.sending.is_empty() {
            choices.push(Choice::KillUnheard);
        }
        self.choices_of_people(gateway, choices);
        self.choices_of_agents(gateway, choices);
    }

    fn choices_of_people(&self, gateway: &Gateway, choices: &mut Vec<Choice>) {
        if self.said.len() < MESSAGES {
            choices.extend((1..=3).map(|session| Choice::Say(session, Asked::StopTurn, Standing::Guest)));
            choices.extend([
                Choice::Say(1, Asked::Restart(Mode::Graceful), Standing::Operator),
                Choice::Say(2, Asked::Restart(Mode::Force), Standing::Operator),
                Choice::Say(1, Asked::Renew, Standing::Guest),
                Choice::Say(1, Asked::Busy(Some(Busy::Interrupt)), Standing::Guest),
                Choice::Say(3, Asked::Busy(Some(Busy::Collect)), Standing::Guest),
                Choice::Say(3, Asked::Restart(Mode::Graceful), Standing::Guest),
            ]);
        }
        if self.said.len() < MESSAGES {
            choices.extend(self.answers_of_people(gateway));
        }
        choices.extend(self.said.len().checked_sub(1).map(Choice::Deliver));
        choices.extend([
            Choice::Ask(Wish::Restart, Mode::Graceful),
            Choice::Ask(Wish::Restart, Mode::Force),
            Choice::Ask(Wish::Stop, Mode::Graceful),
            Choice::Signal(Signal::Terminate),
            Choice::Signal(Signal::Interrupt),
        ]);
        choices.extend(gateway.requests().keys().map(|request| Choice::Cancel(*request)));
        if gateway.is_tripped() {
            choices.push(Choice::ResetBreaker);
        }
    }

    /// Whoever sees a question may answer it, also late, and also without saying which.
    fn answers_of_people(&self, gateway: &Gateway) -> Vec<Choice> {
        let mut choices = Vec::new();
        for turn in gateway.turns().values() {
            let Some(question) = turn.questions.keys().next_back().copied() else { continue };
            for (question, decision) in
                [(Some(question), Decision::Allow), (Some(question), Decision::Deny), (None, Decision::Deny)]
            {
                choices.push(Choice::Say(turn.session.0, Asked::Decide { question, decision }, Standing::Guest));
            }
        }
        choices
    }

    fn choices_of_agents(&self, gateway: &Gateway, choices: &mut Vec<Choice>) {
        for (turn, agent) in self.agents.iter().filter(|(_, agent)| agent.generation == gateway.generation()) {
            if agent.interrupted || agent.killed {
                choices.push(Choice::End(*turn, TurnEnd::Answered));
                choices.push(Choice::End(*turn, TurnEnd::Interrupted { partial: Partial::Nothing }));
            } else {
                choices.extend([Choice::Progress(*turn), Choice::End(*turn, TurnEnd::Failed)]);
                choices.extend([1, 2].map(|key| Choice::Question(*turn, QuestionKey(key))));
                choices.extend([Choice::AskFromTurn(*turn, Wish::Restart), Choice::AskFromTurn(*turn, Wish::Stop)]);
            }
        }
    }

    pub fn choose(&mut self, choice: Choice) {
        match choice {
            Choice::Boot(start) => self.boot(start),
            Choice::Open => self.open(),
            Choice::Commit => self.commit(),
            Choice::CommitAll => self.commit_all(),
            Choice::FailWrite => self.fail_write(),
            Choice::Reclaimed => self.reclaimed(),
            Choice::Say(session, asked, standing) => drop(self.say_as(session, asked, standing)),
            Choice::Deliver(index) => self.deliver(index),
            Choice::Progress(turn) => self.tell(Input::TurnProgressed { turn }),
            Choice::Question(turn, key) => self.question(turn, key),
            Choice::End(turn, end) => self.end_turn(turn, end),
            Choice::Sent(delivery) => self.sent(delivery),
            Choice::SendFailed(delivery) => {
                self.sending.remove(&delivery);
                self.tell(Input::DeliveryFailed { delivery });
            }
            Choice::SendRejected(delivery) => {
                self.sending.remove(&delivery);
                self.tell(Input::DeliveryRejected { delivery });
            }
            Choice::SendUnknown(delivery, arrives) => self.unknown(delivery, arrives),
            Choice::Ask(wish, mode) => drop(self.ask(wish, mode)),
            Choice::AskFromTurn(turn, wish) => drop(self.ask_from_turn(turn, wish)),
            Choice::Cancel(request) => self.tell(Input::Cancel { request }),
            Choice::ResetBreaker => drop(self.reset_breaker()),
            Choice::Signal(signal) => drop(self.signal(signal)),
            Choice::SupervisorAnswers(stops) => self.supervisor_answers(stops),
            Choice::CandidateIs(fitness) => self.candidate_is(fitness),
            Choice::Elapse => self.elapse(),
            Choice::Wait(time) => self.wait(time),
            Choice::Kill => self.kill(),
            Choice::KillUnheard => self.kill_unheard(),
            Choice::KillSoon(effects) => self.dies_after = Some(effects),
        }
    }

    /// Nothing fails any more and everybody does their part, until all is at rest.
    pub fn heal(&mut self) {
        self.dies_after = None;
        for _ in 0..2_000 {
            match self.healing() {
                Some(choice) => self.choose(choice),
                None => return self.check_at_rest(),
            }
        }
        panic!("no rest: {:#?}", self.gateway);
    }

    fn healing(&self) -> Option<Choice> {
        let Some(gateway) = &self.gateway else { return Some(Choice::Boot(Start::Wanted)) };
        if !self.journal.unsynced.is_empty() {
            return Some(Choice::Commit);
        }
        if self.opening {
            return Some(Choice::Open);
        }
        if !self.reclaims.is_empty() {
            return Some(Choice::Reclaimed);
        }
        if !self.supervisor_asked.is_empty() {
            return Some(Choice::SupervisorAnswers(false));
        }
        if !self.checks.is_empty() {
            return Some(Choice::CandidateIs(Fitness::Fit));
        }
        if let Some(delivery) = self.sending.keys().next() {
            return Some(Choice::Sent(*delivery));
        }
        let mine = |agent: &super::Agent| agent.generation == gateway.generation();
        if let Some((turn, agent)) = self.agents.iter().find(|(_, agent)| mine(agent)) {
            let partial = Partial::Text;
            let end = if agent.interrupted { TurnEnd::Interrupted { partial } } else { TurnEnd::Answered };
            return Some(Choice::End(*turn, end));
        }
        if let Some(Pending::Held(_)) = gateway.pending() {
            // Somebody speaks: that proves the generation, and what was held goes on.
            return Some(Choice::Say(1, Asked::Prompt, Standing::Guest));
        }
        if gateway.pending().is_some() || gateway.journal_failing() {
            gateway.poll_timeout().unwrap_or_else(|| panic!("nothing goes on: {gateway:#?}"));
            return Some(Choice::Elapse);
        }
        if let Some(index) = (0..self.said.len()).find(|index| !self.said[*index].acked) {
            return Some(Choice::Deliver(index));
        }
        let set_aside = gateway.sessions().iter().find(|(_, session)| session.standing == Quarantine::SetAside);
        set_aside.map(|(session, _)| Choice::Say(session.0, Asked::Prompt, Standing::Guest))
    }

    /// A world lived through these bytes and healed. The first says how calm the life is, and what messages do that arrive
    /// during a turn. One chat is on a blind platform,
    /// and nothing that is uncertain there is ever given up.
    pub fn live(mut self, choices: &[u8]) -> Self {
        self.blind.insert(2);
        self.limits.unknown_sends = u32::MAX;
        self.candidate = None;
        self.limits.busy = choices.first().map_or(Busy::Queue, |first| Busy::ALL[usize::from(first / 3 % 3)]);
        if self.gateway.is_some() {
            self.tell(Input::Limits(Box::new(self.limits.clone())));
        }
        self.calmness = choices.first().map_or(1, |first| [1, 3, 8][usize::from(first % 3)]);
        for choice in choices {
            self.step(*choice);
        }
        self.heal();
        self
    }

    /// Whether the last end is one after which a supervisor leaves us down.
    pub fn stays_down(&self) -> bool {
        self.gateway.is_none() && self.ends.last() == Some(&Ended::With(Verdict::Exit(STOP)))
    }

    /// The session with this number, as the gateway knows it.
    pub fn is_set_aside(&self, session: u64) -> bool {
        self.up().sessions().get(&SessionId(session)).is_some_and(|session| session.standing == Quarantine::SetAside)
    }
}
