//! What agents do: answer, fail, hang, ignore interruptions, crash the gateway, ask for a restart and wait for it. How an
//! agent behaves is chosen by the message that it answers and the attempt, so that it stays the same when other things
//! are taken out of a run.

use super::fault::Fault;
use super::marks::Mark;
use super::process::Killer;
use super::queue::Event;
use super::random::Random;
use super::world::World;
use evergate_core::id::{RequestId, SessionId, TurnId};
use evergate_core::input::{Input, Partial, TurnEnd};
use evergate_core::question::QuestionKey;
use evergate_core::request::{Mode, Origin, Wish};

/// The subject of the chances of agents.
const AGENTS: u64 = 50;

/// A process of a turn.
#[derive(Debug)]
pub struct Agent {
    /// The life of the process that started it.
    pub life: u32,
    session: SessionId,
    /// When it does the next thing.
    next_at: u64,
    ends_at: u64,
    end: TurnEnd,
    progress_every: u64,
    progress_at: u64,
    /// Ignores interruptions.
    stubborn: bool,
    crashes_at: u64,
    asks_at: u64,
    /// When it asks its chat, and what.
    questions_at: u64,
    key: QuestionKey,
    attempt: u32,
    /// It waits for the answer.
    waits: bool,
    /// A child of it waits for the outcome of what it asked for.
    child_waits: bool,
    asked: Option<RequestId>,
    interrupted: bool,
}

impl Agent {
    /// How the agent behaves that answers this entry of the plan in this attempt.
    fn behaving(world: &World<'_>, entry: u32, session: SessionId, attempt: u32) -> Self {
        let mut random = Random::of(world.config.seed, AGENTS + u64::from(attempt), u64::from(entry));
        let now = world.now;
        let usual = world.config.agent_ms;
        let lasts = random.spread((usual / 8).max(1), usual * 4);
        let mut agent = Self {
            life: world.life,
            session,
            next_at: 0,
            ends_at: now + lasts,
            end: TurnEnd::Answered,
            progress_every: (usual / 4).max(50),
            progress_at: now + random.between(1, 20),
            stubborn: random.hits(world.rate(Fault::AgentStubborn)),
            crashes_at: u64::MAX,
            asks_at: u64::MAX,
            questions_at: u64::MAX,
            key: QuestionKey(u64::from(entry)),
            attempt,
            waits: false,
            child_waits: false,
            asked: None,
            interrupted: false,
        };
        if random.hits(world.rate(Fault::AgentFails)) {
            agent.end = TurnEnd::Failed;
        }
        if random.hits(world.rate(Fault::AgentHangs)) {
            agent.ends_at = u64::MAX;
            agent.progress_every = u64::MAX;
        }
        // What an agent does in each of its attempts is chosen once.
        let mut random = Random::of(world.config.seed, AGENTS, u64::from(entry));
        let crashes = random.hits(world.rate(Fault::AgentPoison));
        let times = random.pick(&[1, 2, 3, u32::MAX, u32::MAX]);
        if crashes && attempt <= times {
            agent.crashes_at = now + random.spread(2, 20_000);
        }
        if random.hits(world.rate(Fault::AgentAsks)) {
            agent.asks_at = now + random.between(1, lasts);
            agent.child_waits = random.hits(500);
        }
        if random.hits(world.rate(Fault::AgentQuestions) * 3) {
            agent.questions_at = now + random.between(1, lasts);
        }
        agent
    }

    fn next(&self) -> u64 {
        self.ends_at.min(self.progress_at).min(self.crashes_at).min(self.asks_at).min(self.questions_at)
    }
}

impl World<'_> {
    pub(super) fn agent_starts(&mut self, turn: TurnId, session: SessionId, entry: u32, attempt: u32) {
        let mut agent = Agent::behaving(self, entry, session, attempt);
        agent.next_at = agent.next();
        self.queue.push(agent.next_at, Event::Agent { turn });
        self.agents.insert(turn, agent);
    }

    /// The time of an agent's next thing has come, unless that was changed.
    pub(super) fn agent_goes_on(&mut self, turn: TurnId) {
        let (now, life) = (self.now, self.life);
        let Some(agent) = self.agents.get_mut(&turn).filter(|agent| agent.life == life && agent.next_at == now) else {
            return;
        };
        if agent.crashes_at <= now {
            self.marks.hit(Mark::Poisoned);
            return self.dies(Killer::Agent(turn));
        }
        if agent.ends_at <= now {
            return self.agent_ends(turn);
        }
        if agent.questions_at <= now {
            return self.agent_questions(turn);
        }
        let session = agent.session;
        let asks = agent.asks_at <= now;
        if asks {
            agent.asks_at = u64::MAX;
            if agent.child_waits {
                agent.ends_at = u64::MAX;
            }
        } else {
            agent.progress_at = now.saturating_add(agent.progress_every);
        }
        self.agent_continues(turn);
        if asks {
            self.agent_asks(turn, session);
        } else {
            self.inform(Input::TurnProgressed { turn });
        }
    }

    /// Waits for an agent's next thing.
    fn agent_continues(&mut self, turn: TurnId) {
        if let Some(agent) = self.agents.get_mut(&turn) {
            agent.next_at = agent.next();
            if agent.next_at < u64::MAX {
                self.queue.push(agent.next_at, Event::Agent { turn });
            }
        }
    }

    /// An agent asks its chat, and does nothing before it is told.
    fn agent_questions(&mut self, turn: TurnId) {
        let Some(agent) = self.agents.get_mut(&turn) else { return };
        let (key, interrupted) = (agent.key, agent.interrupted);
        agent.questions_at = u64::MAX;
        if !interrupted {
            agent.waits = true;
            (agent.ends_at, agent.progress_at, agent.asks_at) = (u64::MAX, u64::MAX, u64::MAX);
        }
        self.agent_continues(turn);
        if !interrupted {
            self.inform(Input::Question { turn, key });
        }
    }

    /// An agent is told what was decided, or that nobody is asked, and goes on.
    pub(super) fn agent_is_told(&mut self, turn: TurnId, decided: bool) {
        let (ends_at, progress_at) = (self.now + self.random.between(1, self.config.agent_ms), self.now + 1);
        let Some(agent) = self.agents.get_mut(&turn).filter(|agent| agent.waits) else { return };
        if decided && agent.attempt > 1 {
            self.marks.hit(Mark::ToldLater);
        }
        agent.waits = false;
        agent.ends_at = agent.ends_at.min(ends_at);
        agent.progress_at = progress_at;
        self.agent_continues(turn);
    }

    fn agent_asks(&mut self, turn: TurnId, session: SessionId) {
        let request = self.new_request();
        if let Some(agent) = self.agents.get_mut(&turn) {
            agent.asked = Some(request);
        }
        self.inform(Input::Request {
            request,
            wish: Wish::Restart,
            mode: Mode::Graceful,
            origin: Origin::Turn { turn, session },
        });
    }

    fn agent_ends(&mut self, turn: TurnId) {
        let Some(agent) = self.agents.remove(&turn) else { return };
        let end = match agent.end {
            // It is cut short, unless it was about to answer.
            _ if agent.interrupted && self.random.hits(800) => {
                let partial = if self.random.hits(500) { Partial::Text } else { Partial::Nothing };
                TurnEnd::Interrupted { partial }
            }
            end => end,
        };
        if agent.interrupted && end == TurnEnd::Answered {
            self.marks.hit(Mark::AnsweredInterrupted);
        }
        self.inform(Input::TurnEnded { turn, end });
    }

    /// An agent is asked to end; most do, soon.
    pub(super) fn agent_is_interrupted(&mut self, turn: TurnId) {
        let soon = self.now + self.random.spread(1, 2_000);
        let Some(agent) = self.agents.get_mut(&turn) else { return };
        agent.interrupted = true;
        if agent.child_waits && agent.asked.is_some() {
            self.marks.hit(Mark::ChildWaited);
        }
        if agent.waits {
            self.marks.hit(Mark::CutWhileAsking);
        }
        if !agent.stubborn {
            agent.ends_at = agent.ends_at.min(soon);
            self.agent_continues(turn);
        }
    }

    /// An agent is killed: it is gone at once, or, rarely, when the kernel has done with it.
    pub(super) fn agent_is_killed(&mut self, turn: TurnId) {
        let slow = self.random.hits(20);
        let soon = self.now + if slow { self.random.spread(100, 5_000) } else { self.random.between(1, 5) };
        let Some(agent) = self.agents.get_mut(&turn) else { return };
        let ending = self.gateway.as_ref().is_some_and(|gateway| gateway.drain().is_some());
        self.marks.hit(if ending { Mark::AgentKilledEnding } else { Mark::AgentKilledStopped });
        agent.interrupted = true;
        agent.ends_at = agent.ends_at.min(soon);
        self.agent_continues(turn);
    }

    /// Whoever waited for this request need wait no longer.
    pub(super) fn child_hears(&mut self, request: RequestId) {
        let soon = self.now + self.random.between(1, 100);
        let waits = |agent: &Agent| agent.child_waits && agent.asked == Some(request);
        if let Some((turn, agent)) = self.agents.iter_mut().find(|(_, agent)| waits(agent)) {
            agent.ends_at = soon;
            let turn = *turn;
            self.agent_continues(turn);
        }
    }

    /// No agent disturbs any more, and those that hang end after a while.
    pub(super) fn agents_heal(&mut self) {
        let turns: Vec<TurnId> = self.agents.keys().copied().collect();
        for turn in turns {
            let latest = self.now + self.random.spread(1, 60_000);
            if let Some(agent) = self.agents.get_mut(&turn) {
                agent.stubborn = false;
                agent.crashes_at = u64::MAX;
                agent.asks_at = u64::MAX;
                agent.questions_at = u64::MAX;
                // One that waits for a person is told in the end.
                if !agent.waits {
                    agent.ends_at = agent.ends_at.min(latest);
                }
            }
            self.agent_continues(turn);
        }
    }
}
