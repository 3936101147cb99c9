//! What a seed chooses for the agents: what becomes of one run (it answers, fails, goes away without a word, hurries when it is
//! told to end, or does not listen, and cares or not when nobody hears it any more), and what breaks on the way to them.

use super::wire::Run;
use crate::harbor::dice::Dice;
use crate::harbor::plan::{Agents, Breakage, Fault, session_prefix};
use std::time::Duration;

/// What was drawn for one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// How it ends.
    pub fate: Fate,
    /// How long it takes, if nobody hurries it.
    pub lasts: Duration,
    /// What it does when its connection breaks.
    pub bereft: Bereft,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With an answer.
    Answers,
    /// With a failure.
    Fails,
    /// Without a word.
    Vanishes,
    /// With the gateway.
    Poisonous,
    /// As it would have anyway, unless it is killed.
    Stubborn,
    /// With its answer, also if it is told to end before.
    LastWords,
}

/// What a run does whose connection breaks. A real agent reads the end of its input; not each of them looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bereft {
    /// It ends at once.
    Ends,
    /// It goes on as if nothing were.
    GoesOn,
    /// It waits for ever for somebody to hear it.
    Hangs,
}

/// What the plan and the seed have for this run; where the world is healed, it answers.
pub fn draw(seed: u64, behaviour: Agents, run: &Run, healed: bool) -> Script {
    let Agents { longest_ms, fails, vanishes, stubborn, last_words, poisonous } = behaviour;
    let turn = run.which.turn;
    let mut dice = Dice::apart(seed, &format!("turn {turn} attempt {}", run.which.attempt));
    let lasts = dice.between(0, longest_ms);
    let lasts = if dice.percent(30) { lasts } else { lasts / 8 };
    let number = dice.between(0, 99);
    let fates =
        [(fails, Fate::Fails), (vanishes, Fate::Vanishes), (stubborn, Fate::Stubborn), (last_words, Fate::LastWords)];
    let mut below = 0;
    let drawn = fates.into_iter().find(|(share, _)| {
        below += share;
        number < below
    });
    let drawn = drawn.map_or(Fate::Answers, |(_, fate)| fate);
    // It is the turn that is poisonous, whichever attempt it is.
    let poison = Dice::apart(seed, &format!("poison of turn {turn}")).percent(poisonous);
    let drawn = if poison && run.prompt.starts_with(&session_prefix(0)) { Fate::Poisonous } else { drawn };
    let mut dice = Dice::apart(seed, &format!("turn {turn} of generation {} is bereft", run.which.generation));
    Script {
        fate: if healed { Fate::Answers } else { drawn },
        lasts: Duration::from_millis(lasts),
        bereft: dice.one_of(&[Bereft::Ends, Bereft::GoesOn, Bereft::Hangs]),
    }
}

/// The longest way of a segment between the gateway and its agents, in milliseconds.
pub fn latency_ms(seed: u64) -> u64 {
    Dice::apart(seed, "way to the agents").one_of(&[0, 0, 1, 1, 10, 100])
}

/// In some runs the gateway cannot reach its agents for a while, nor they the gateway.
pub fn on_the_way(seed: u64, towns: usize, until_ms: u64) -> Vec<Fault> {
    let mut dice = Dice::apart(seed, "agents");
    let mut sometimes = |chances: u64, draw: &dyn Fn(u64) -> Breakage| {
        dice.percent(chances).then(|| {
            let at_ms = dice.between(0, until_ms);
            Fault { at_ms, what: draw(dice.between(50, 1500).min(until_ms - at_ms)) }
        })
    };
    let town = towns + 2;
    let partition = sometimes(20, &|for_ms| Breakage::Partition { town, for_ms });
    let hold = sometimes(15, &|for_ms| Breakage::Hold { town, for_ms });
    partition.into_iter().chain(hold).collect()
}
