//! One run: the hosts, the supervisor beside them, and what breaks when. The supervisor is the production value of
//! [`evergate_core::respawn`]; faults come from the plan; at the end nothing breaks any more and everything has to come to rest.

use super::agents;
use super::audit::audit;
use super::client;
use super::disk::Death;
use super::gateway;
use super::http::GATEWAY;
use super::logbook::{Mark, Pages};
use super::plan::{Breakage, Plan};
use super::telegram;
use super::world::World;
use crate::panics;
use crate::story::{Kind, Lane, PANIC};
use evergate_core::invariant::Invariant;
use evergate_core::request::Signal;
use evergate_core::respawn::{ChildEnd, Decision, KILL_LIMIT, Next, Reason, Respawn};
use evergate_core::time::Instant;
use evergate_core::verdict::{RESTART, Verdict};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use turmoil::Sim;

/// How long a world in which nothing breaks may take to come to rest, in simulated milliseconds.
const REST_WITHIN_MS: u64 = 90_000;
/// The host of the operators, and of the people who write to the bot: these need the network only when all is over, and each host
/// and each link of one costs something in each step.
const OFFICE: &str = "office";

/// Runs a plan to its end and gives what was written down. The same plan gives the same pages.
#[must_use]
pub fn run(plan: Plan) -> Pages {
    let world = World::new(plan);
    let caught = panics::catch(|| Run::new(&world).sail());
    for panic in caught {
        world.logbook.broken(PANIC, panic);
    }
    world.logbook.read()
}

struct Run<'a> {
    world: Arc<World>,
    sim: Sim<'a>,
    respawn: Respawn,
    /// When the gateway is started, and how many starts in a row follow a death then; `None` while it runs.
    due: Option<(u64, u32)>,
    /// The faults that have begun.
    begun: usize,
    /// What ends by itself, and when.
    ending: Vec<(u64, Breakage)>,
}

impl Run<'_> {
    fn new(world: &Arc<World>) -> Self {
        let Plan { seed, tick_ms, latency_ms: (shortest, longest), towns, .. } = world.plan;
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis(tick_ms))
            .simulation_duration(Duration::from_secs(3600))
            .epoch(SystemTime::UNIX_EPOCH)
            .min_message_latency(Duration::from_millis(shortest))
            .max_message_latency(Duration::from_millis(longest))
            .tcp_capacity(256)
            .build();
        let shared = Arc::clone(world);
        sim.host(GATEWAY, move || gateway::process(Arc::clone(&shared)));
        for town in 0..towns {
            let world = Arc::clone(world);
            sim.client(town_name(town, towns), async move {
                let mut chats = JoinSet::new();
                for number in (0..world.plan.sessions.len()).filter(|number| world.plan.sessions[*number].town == town)
                {
                    chats.spawn_local(client::chat(Arc::clone(&world), number));
                }
                while let Some(ended) = chats.join_next().await {
                    ended?;
                }
                Ok(())
            });
        }
        let worked = Arc::clone(world);
        sim.host(agents::HOST, move || agents::host(Arc::clone(&worked)));
        let way = Duration::from_millis(world.plan.agents_latency_ms.max(shortest));
        sim.set_link_max_message_latency(agents::HOST, GATEWAY, way);
        let present = Arc::clone(world);
        sim.client(OFFICE, async move {
            let mut people = JoinSet::new();
            people.spawn_local(client::operators(Arc::clone(&present)));
            people.spawn_local(telegram::people(present));
            while let Some(ended) = people.join_next().await {
                ended?;
            }
            Ok(())
        });
        if world.plan.telegram.is_some() {
            let served = Arc::clone(world);
            sim.host(telegram::HOST, move || telegram::host(Arc::clone(&served)));
        }
        let mut respawn = Respawn::new(KILL_LIMIT);
        respawn.started(Instant::from_millis(0));
        Self { world: Arc::clone(world), sim, respawn, due: None, begun: 0, ending: Vec::new() }
    }

    fn sail(mut self) {
        let give_up_ms = self.world.plan.heal_at_ms + REST_WITHIN_MS;
        loop {
            let now_ms = self.now_ms();
            self.world.logbook.set_now(now_ms);
            if self.world.healed.load(Relaxed) {
                self.look_for_rest();
            } else {
                self.break_what_is_due(now_ms);
            }
            self.supervise(now_ms);
            match self.sim.step() {
                Ok(true) => break self.judge(),
                Ok(false) => {}
                Err(error) => break self.world.logbook.broken(PANIC, format!("a host broke: {error}")),
            }
            let died = self.world.platter().take_death();
            if let Some(death) = died {
                self.world.logbook.set_now(self.now_ms());
                self.dies(death);
            }
            if self.world.logbook.is_broken() {
                break;
            }
            if now_ms > give_up_ms {
                break self.no_rest();
            }
        }
        if !self.world.logbook.is_broken() {
            audit(&self.world);
        }
        // Nothing that destructors do belongs to the run.
        self.world.platter().die(Death::Kill);
    }

    fn judge(&self) {
        self.world.oracle().judge();
        if let Some(which) = self.world.roster().left() {
            let what = format!("{which} is left behind when everything is at rest");
            self.world.logbook.broken(Invariant::Orphan.name(), what);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> Instant {
        Instant::from_millis(self.now_ms())
    }

    fn no_rest(&self) {
        let waits_for = self.world.waits_for().unwrap_or_else(|| "nobody waits for anything".into());
        let process = self.world.process();
        let seconds = REST_WITHIN_MS / 1000;
        let what = format!(
            "{seconds} s after the last fault: {waits_for}; {} chats have more to say; the gateway is {}",
            self.world.speaking.load(Relaxed),
            process.phase,
        );
        self.world.logbook.broken("FINITE", what);
    }

    /// Everybody has had an answer: the clients look once more at all that there is.
    fn look_for_rest(&self) {
        if self.world.quiet.load(Relaxed) || self.world.speaking.load(Relaxed) > 0 {
            return;
        }
        if self.due.is_none() && self.world.process().phase == "serving" && self.world.waits_for().is_none() {
            self.world.logbook.note(Lane::People, Kind::Input, || "everybody has an answer".into());
            self.world.quiet.store(true, Relaxed);
        }
    }

    fn break_what_is_due(&mut self, now_ms: u64) {
        let over: Vec<Breakage> =
            self.ending.extract_if(.., |(at_ms, _)| *at_ms <= now_ms).map(|(_, breakage)| breakage).collect();
        over.into_iter().for_each(|breakage| self.mend(breakage));
        if now_ms >= self.world.plan.heal_at_ms {
            std::mem::take(&mut self.ending).into_iter().for_each(|(_, breakage)| self.mend(breakage));
            self.world.platter().heal();
            self.world.healed.store(true, Relaxed);
            self.world.logbook.note(Lane::People, Kind::Input, || "nothing breaks any more".into());
            return;
        }
        while let Some(fault) = self.world.plan.faults.get(self.begun).filter(|fault| fault.at_ms <= now_ms).copied() {
            self.begun += 1;
            self.world.logbook.input();
            self.world.logbook.note(Lane::People, Kind::Fault, || format!("{:?}", fault.what));
            self.breaks(now_ms, fault.what);
        }
    }

    fn breaks(&mut self, now_ms: u64, breakage: Breakage) {
        let for_ms = match breakage {
            Breakage::Death(death) => {
                self.world.platter().die(death);
                return self.dies(death);
            }
            Breakage::DeathAtWrite { operations, death } => {
                return self.world.platter().die_after(operations, death);
            }
            Breakage::Terminate => {
                self.world.logbook.mark(Mark::SignalTerminate);
                return self.signal();
            }
            Breakage::StopSupervisor => {
                self.world.logbook.mark(Mark::SupervisorStopped);
                self.signal();
                if let Some(decision) = self.respawn.stop_wanted(self.now()) {
                    self.decide(now_ms, decision);
                }
                return;
            }
            Breakage::Partition { town, for_ms } => {
                self.world.logbook.mark(Mark::Partitioned);
                self.disturbed(town);
                self.sim.partition(self.town(town), GATEWAY);
                for_ms
            }
            Breakage::Hold { town, for_ms } => {
                self.sim.hold(self.town(town), GATEWAY);
                for_ms
            }
            Breakage::BotApiDown { for_ms } => {
                self.world.logbook.mark(Mark::BotApiRestarted);
                self.world.books().alive.store(false, Relaxed);
                self.sim.crash(telegram::HOST);
                self.world.books().disturbed.push(now_ms);
                for_ms
            }
            Breakage::DiskFull { for_ms } => {
                self.world.platter().full = true;
                for_ms
            }
            Breakage::FailingSyncs { percent, for_ms } => {
                self.world.platter().failing_syncs = percent;
                for_ms
            }
            Breakage::SlowSyncs { up_to_ms, for_ms } => {
                self.world.slow_ms.store(up_to_ms, Relaxed);
                for_ms
            }
        };
        self.ending.push((now_ms + for_ms, breakage));
    }

    fn mend(&mut self, breakage: Breakage) {
        self.world.logbook.note(Lane::People, Kind::Input, || format!("over: {breakage:?}"));
        match breakage {
            Breakage::Partition { town, .. } => {
                self.world.logbook.mark(Mark::PartitionHealed);
                self.disturbed(town);
                self.sim.repair(self.town(town), GATEWAY);
            }
            Breakage::Hold { town, .. } => self.sim.release(self.town(town), GATEWAY),
            Breakage::BotApiDown { .. } => self.sim.bounce(telegram::HOST),
            Breakage::DiskFull { .. } => self.world.platter().full = false,
            Breakage::FailingSyncs { .. } => self.world.platter().failing_syncs = 0,
            Breakage::SlowSyncs { .. } => self.world.slow_ms.store(0, Relaxed),
            Breakage::Death(_) | Breakage::DeathAtWrite { .. } | Breakage::Terminate | Breakage::StopSupervisor => {}
        }
    }

    /// What is lost on the way to or from the Bot API's server may be an answer.
    fn disturbed(&self, town: usize) {
        if town == self.world.plan.towns + 1 {
            let now_ms = self.now_ms();
            self.world.books().disturbed.push(now_ms);
        }
    }

    fn town(&self, town: usize) -> String {
        town_name(town, self.world.plan.towns)
    }

    /// SIGTERM to the process, as far as there is one. A full queue is a signal that is pending already.
    fn signal(&self) {
        if self.due.is_none()
            && let Some(signals) = &self.world.process().signals
        {
            let _pending = signals.try_send(Signal::Terminate);
        }
    }

    /// The process, or all of its machine, is gone.
    fn dies(&mut self, death: Death) {
        let now_ms = self.now_ms();
        if self.due.is_none() {
            self.world.logbook.mark(if death == Death::Kill { Mark::Killed } else { Mark::PowerCut });
            match self.world.process().phase {
                "starting" => self.world.logbook.mark(Mark::DeathInStart),
                "draining" | "interrupting" | "closing" => self.world.logbook.mark(Mark::DeathWhileDraining),
                _ => {}
            }
            self.world.logbook.note(Lane::Gateway, Kind::End, || format!("dies: {death:?}"));
        }
        self.sim.crash(GATEWAY);
        match death {
            Death::Kill if self.due.is_none() => self.ended(now_ms, ChildEnd::Signalled(9)),
            Death::Kill => {}
            Death::PowerCut => {
                self.world.books().disturbed.push(now_ms);
                self.respawn = Respawn::new(KILL_LIMIT);
                self.due = Some((now_ms + self.world.plan.absence_ms, 0));
            }
        }
    }

    /// What `evergate supervise` does between two steps of the world.
    fn supervise(&mut self, now_ms: u64) {
        let (ended, guard) = {
            let mut process = self.world.process();
            (process.ended.take(), process.guard.filter(|(at_ms, _)| *at_ms <= now_ms))
        };
        if let Some((at_ms, revivals)) = self.due {
            if at_ms <= now_ms {
                self.start(revivals);
            }
        } else if let Some(status) = ended {
            self.ended(now_ms, ChildEnd::Exited(status));
        } else if let Some((_, verdict)) = guard {
            self.world.logbook.mark(Mark::GuardEnded);
            self.world.logbook.note(Lane::Gateway, Kind::End, || format!("is ended by its guard: {verdict}"));
            self.world.platter().die(Death::Kill);
            self.sim.crash(GATEWAY);
            let status = match verdict {
                Verdict::Exit(status) => status,
                // Not under this supervisor.
                Verdict::ReExec | Verdict::StayUp => RESTART,
            };
            self.ended(now_ms, ChildEnd::Exited(status));
        } else if self.respawn.kill(self.now()).is_some() {
            self.world.platter().die(Death::Kill);
            self.sim.crash(GATEWAY);
            self.ended(now_ms, ChildEnd::Signalled(9));
        }
    }

    fn start(&mut self, revivals: u32) {
        self.due = None;
        {
            let mut process = self.world.process();
            (process.revivals, process.guard, process.ended) = (revivals, None, None);
        }
        self.world
            .logbook
            .note(Lane::Supervisor, Kind::Effect, || format!("starts the gateway (revivals: {revivals})"));
        self.respawn.started(self.now());
        self.sim.bounce(GATEWAY);
    }

    fn ended(&mut self, now_ms: u64, end: ChildEnd) {
        self.world.books().disturbed.push(now_ms);
        if self.world.process().served {
            self.respawn.serves();
        }
        let decision = self.respawn.ended(self.now(), end);
        self.world.logbook.note(Lane::Supervisor, Kind::Input, || format!("{end:?}: {}", decision.reason.sentence()));
        self.decide(now_ms, decision);
    }

    fn decide(&mut self, now_ms: u64, decision: Decision) {
        self.due = Some(match decision.next {
            Next::Start { at, revivals } => {
                if at > self.now() {
                    self.world.logbook.mark(Mark::RespawnPause);
                }
                (at.as_millis(), revivals)
            }
            Next::End { .. } => {
                self.world.logbook.mark(Mark::Stopped);
                if decision.reason == Reason::Park {
                    let what = "the gateway parked itself, and nothing in this world is mended by hand";
                    self.world.logbook.broken("INTENT", what.into());
                }
                self.respawn = Respawn::new(KILL_LIMIT);
                (now_ms + self.world.plan.absence_ms, 0)
            }
        });
    }
}

fn town_name(town: usize, towns: usize) -> String {
    match town.checked_sub(towns) {
        None => format!("town-{town}"),
        Some(0) => OFFICE.into(),
        Some(1) => telegram::HOST.into(),
        Some(_) => agents::HOST.into(),
    }
}
