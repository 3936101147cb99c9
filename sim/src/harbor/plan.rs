//! All that is chosen before a run begins, drawn from its seed: first which faults exist, then how often and when. It is the
//! configuration that a failure prints, and a run of the same plan is the same run.

use super::agents;
use super::dice::Dice;
use super::disk::{Death, Honesty};
use super::telegram::Telegram;
use evergate_core::limits::Limits;
use evergate_core::request::{Mode, Wish};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is said in one run, on all platforms together.
const MESSAGES: usize = 20;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What decides all that is not written here: latencies, the fate of sectors, the pace of agents.
    pub seed: u64,
    /// Simulated milliseconds of one step of the network.
    pub tick_ms: u64,
    /// The shortest and the longest way of a segment through the network.
    pub latency_ms: (u64, u64),
    /// The longest way of a segment between the gateway and its agents.
    #[serde(default)]
    pub agents_latency_ms: u64,
    /// The gateway's limits.
    pub limits: Limits,
    /// Hosts that chat clients live on.
    pub towns: usize,
    /// What the chats say.
    pub sessions: Vec<Chat>,
    /// What the operators do, in order.
    pub operators: Vec<Act>,
    /// What breaks, in order.
    pub faults: Vec<Fault>,
    /// How the agents behave.
    pub agents: Agents,
    /// From here on nothing breaks any more.
    pub heal_at_ms: u64,
    /// How long a person takes to start a gateway that was stopped, and a machine to come back.
    pub absence_ms: u64,
    /// Whether the disk keeps its word.
    pub disk: Honesty,
    /// The bot, where there is one.
    #[serde(default)]
    pub telegram: Option<Telegram>,
}

/// One chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// The host it is on.
    pub town: usize,
    /// What is said, in order.
    pub says: Vec<Say>,
    /// How long its reader bears silence before it connects anew.
    pub silence_ms: u64,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Say {
    /// How long after the one before was accepted.
    pub after_ms: u64,
    /// The text; no other message has the same.
    pub text: String,
    /// Whether it is sent once more although it was accepted.
    pub again: bool,
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// When.
    pub at_ms: u64,
    /// What is wished.
    pub wish: Wish,
    /// How patiently.
    pub mode: Mode,
    /// Whether through the control socket; otherwise over the network.
    pub control: bool,
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When.
    pub at_ms: u64,
    /// What.
    pub what: Breakage,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breakage {
    /// The gateway, or its machine, dies now.
    Death(Death),
    /// It dies in the middle of that write or sync from now.
    DeathAtWrite {
        /// How many writes and syncs from now.
        operations: u64,
        /// What dies.
        death: Death,
    },
    /// A town cannot reach the gateway, nor the other way round: what is sent is lost.
    Partition {
        /// Which town; the number of towns means the operators, one more the Bot API's server, two more the agents.
        town: usize,
        /// For how long.
        for_ms: u64,
    },
    /// What is sent between a town and the gateway arrives only later.
    Hold {
        /// Which town; the number of towns means the operators, one more the Bot API's server, two more the agents.
        town: usize,
        /// For how long.
        for_ms: u64,
    },
    /// The Bot API's server dies, and is started again.
    BotApiDown {
        /// After how long.
        for_ms: u64,
    },
    /// The disk is full.
    DiskFull {
        /// For how long.
        for_ms: u64,
    },
    /// Syncs fail.
    FailingSyncs {
        /// How many of a hundred.
        percent: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The disk is slow.
    SlowSyncs {
        /// How long a write may take at the longest.
        up_to_ms: u64,
        /// For how long that is so.
        for_ms: u64,
    },
    /// Somebody sends the gateway a SIGTERM that no supervisor knows of.
    Terminate,
    /// Somebody tells the supervisor to stop.
    StopSupervisor,
}

/// How agents behave, each as a number of a hundred runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agents {
    /// The longest that an answer takes.
    pub longest_ms: u64,
    /// They fail.
    pub fails: u64,
    /// They go away without a word.
    pub vanishes: u64,
    /// They do not end before they are killed.
    pub stubborn: u64,
    /// They finish their answer when they are told to end.
    pub last_words: u64,
    /// They take the gateway with them, each time that the same turn is run. Only in the first chat.
    #[serde(default)]
    pub poisonous: u64,
}

/// Which faults a run has.
struct Weather {
    deaths: bool,
    power: bool,
    partitions: bool,
    full: bool,
    failing: bool,
    forgetful: bool,
    slow: bool,
    signals: bool,
    agents: bool,
    operators: bool,
    stops: bool,
    commands: bool,
}

impl Weather {
    fn draw(dice: &mut Dice) -> Self {
        Self {
            deaths: dice.percent(80),
            power: dice.percent(50),
            partitions: dice.percent(35),
            full: dice.percent(25),
            failing: dice.percent(25),
            forgetful: dice.percent(30),
            slow: dice.percent(50),
            signals: dice.percent(20),
            agents: dice.percent(50),
            operators: dice.percent(60),
            stops: dice.percent(30),
            commands: dice.percent(50),
        }
    }
}

impl Plan {
    /// The plan of this seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::apart(seed, "plan");
        let weather = Weather::draw(&mut dice);
        let heal_at_ms = dice.between(1000, 2500);
        let towns = if weather.partitions { 2 } else { 1 };
        let tick_ms = dice.one_of(&[5, 10, 10]);
        let length = |dice: &mut Dice, low, high| Duration::from_millis(dice.between(low, high));
        let mut limits = Limits {
            drain: length(&mut dice, 200, 2000),
            requester_grace: length(&mut dice, 50, 400),
            interrupt_grace: length(&mut dice, 50, 400),
            close_grace: length(&mut dice, 300, 1000),
            turns: dice.one_of(&[1, 2, 8]),
            queued_per_session: dice.one_of(&[2, 100]),
            ..Limits::default()
        };
        let agents = match weather.agents {
            true => Agents {
                longest_ms: dice.between(100, 1500),
                fails: dice.between(0, 15),
                vanishes: dice.between(0, 10),
                stubborn: dice.between(0, 20),
                last_words: dice.between(0, 30),
                poisonous: 0,
            },
            false => Agents {
                longest_ms: dice.between(0, 300),
                fails: 0,
                vanishes: 0,
                stubborn: 0,
                last_words: 0,
                poisonous: 0,
            },
        };
        let agents = poisoned(seed, agents, &mut limits);
        let latency_ms = (0, dice.one_of(&[1, 10, 50, 150]));
        let telegram = Telegram::draw(seed);
        let sessions = chats(&mut dice, &weather, towns, MESSAGES - telegram.as_ref().map_or(0, Telegram::messages));
        let operators = acts(&mut dice, &weather, heal_at_ms);
        let mut faults = faults(&mut dice, &weather, towns, heal_at_ms);
        faults.extend(a_disk_that_hangs(seed, heal_at_ms));
        faults.extend(agents::on_the_way(seed, towns, heal_at_ms));
        faults.sort_by_key(|fault| fault.at_ms);
        if telegram.is_some() {
            Telegram::draw_faults(seed, towns, heal_at_ms, &mut limits, &mut faults);
        }
        Self {
            seed,
            tick_ms,
            latency_ms,
            agents_latency_ms: agents::latency_ms(seed),
            limits,
            towns,
            sessions,
            operators,
            faults,
            agents,
            heal_at_ms,
            absence_ms: dice.between(100, 600),
            disk: if weather.forgetful { Honesty::Forgets } else { Honesty::Honest },
            telegram,
        }
    }
}

impl Plan {
    /// Has the first chats say what is missing where not all of them say equally much. What a seed draws stays as it is.
    pub fn fill(&mut self) {
        let said: usize = self.sessions.iter().map(|chat| chat.says.len()).sum();
        let missing = MESSAGES.saturating_sub(said + self.telegram.as_ref().map_or(0, Telegram::messages));
        let mut dice = Dice::apart(self.seed, "fill");
        for (number, chat) in self.sessions.iter_mut().enumerate().take(missing) {
            let text = format!("{}: how are you?", native_id(number, chat.says.len()));
            chat.says.push(Say { after_ms: dice.between(0, 300), text, again: false });
        }
    }
}

/// The name of a chat's session.
#[must_use]
pub fn session_name(chat: usize) -> String {
    format!("chat-{chat}")
}

/// How each prompt of a chat begins.
#[must_use]
pub fn session_prefix(chat: usize) -> String {
    format!("c{chat}m")
}

/// The sender's own id of a message.
#[must_use]
pub fn native_id(chat: usize, say: usize) -> String {
    format!("{}{say}", session_prefix(chat))
}

/// In some runs there are turns that kill the gateway whenever they are run; few attempts, so that they are set aside before
/// the run is healed.
fn poisoned(seed: u64, agents: Agents, limits: &mut Limits) -> Agents {
    let mut dice = Dice::apart(seed, "poison");
    if !dice.percent(12) {
        return agents;
    }
    limits.attempts = 2;
    Agents { poisonous: dice.between(20, 60), ..agents }
}

/// In some runs the disk does not come back for seconds from a write, just when the gateway is told to leave: what ends it
/// then is its guard.
fn a_disk_that_hangs(seed: u64, until_ms: u64) -> Vec<Fault> {
    let mut dice = Dice::apart(seed, "hang");
    if !dice.percent(8) {
        return Vec::new();
    }
    let at_ms = dice.between(100, until_ms / 2);
    let hangs = Breakage::SlowSyncs { up_to_ms: dice.between(8000, 20_000), for_ms: 300 };
    vec![Fault { at_ms, what: hangs }, Fault { at_ms: at_ms + dice.between(0, 200), what: Breakage::Terminate }]
}

fn chats(dice: &mut Dice, weather: &Weather, towns: usize, messages: usize) -> Vec<Chat> {
    let count = usize::try_from(dice.between(2, 5)).unwrap_or(2);
    let messages = messages / count;
    (0..count)
        .map(|chat| Chat {
            town: chat % towns,
            says: (0..messages).map(|say| message(dice, weather, chat, say)).collect(),
            silence_ms: dice.between(1000, 4000),
        })
        .collect()
}

fn message(dice: &mut Dice, weather: &Weather, chat: usize, say: usize) -> Say {
    let after_ms = if dice.percent(40) { 0 } else { dice.between(0, 300) };
    let name = native_id(chat, say);
    let command = if weather.commands { dice.between(0, 29) } else { u64::MAX };
    let text = match command {
        0 => "/restart".into(),
        1 => "/restart force".into(),
        2 => "/stop".into(),
        3 => "/status".into(),
        4 => "/new".into(),
        5 | 6 => format!("{name}: restart yourself"),
        _ => format!("{name}: how are you?"),
    };
    Say { after_ms, text, again: dice.percent(10) }
}

fn acts(dice: &mut Dice, weather: &Weather, until_ms: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    if weather.operators {
        for _ in 0..dice.between(1, 3) {
            let wish = if weather.stops && dice.percent(40) { Wish::Stop } else { Wish::Restart };
            let mode = if dice.percent(30) { Mode::Force } else { Mode::Graceful };
            acts.push(Act { at_ms: dice.between(50, until_ms), wish, mode, control: dice.percent(50) });
        }
    }
    acts.sort_by_key(|act| act.at_ms);
    acts
}

fn faults(dice: &mut Dice, weather: &Weather, towns: usize, until_ms: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    if weather.deaths {
        for _ in 0..dice.one_of(&[1, 1, 1, 2, 3]) {
            let death = if weather.power && dice.percent(70) { Death::PowerCut } else { Death::Kill };
            let what = match dice.percent(60) {
                true => Breakage::DeathAtWrite { operations: dice.between(1, 60), death },
                false => Breakage::Death(death),
            };
            faults.push(Fault { at_ms: dice.between(0, until_ms), what });
        }
    }
    let mut sometimes = |exists: bool, most: u64, draw: &dyn Fn(&mut Dice, u64) -> Breakage| {
        for _ in 0..if exists { dice.between(1, most) } else { 0 } {
            let at_ms = dice.between(0, until_ms);
            let for_ms = dice.between(50, 1000).min(until_ms - at_ms);
            faults.push(Fault { at_ms, what: draw(dice, for_ms) });
        }
    };
    sometimes(weather.partitions, 2, &|dice, for_ms| {
        let town = usize::try_from(dice.between(0, towns as u64)).unwrap_or(0);
        if dice.percent(60) { Breakage::Partition { town, for_ms } } else { Breakage::Hold { town, for_ms } }
    });
    sometimes(weather.full, 1, &|_, for_ms| Breakage::DiskFull { for_ms });
    sometimes(weather.failing, 1, &|dice, for_ms| Breakage::FailingSyncs { percent: dice.between(10, 100), for_ms });
    sometimes(weather.slow, 2, &|dice, for_ms| Breakage::SlowSyncs { up_to_ms: dice.between(5, 500), for_ms });
    sometimes(weather.signals, 2, &|dice, _| match dice.percent(70) {
        true => Breakage::Terminate,
        false => Breakage::StopSupervisor,
    });
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}
