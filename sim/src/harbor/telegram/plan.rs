//! What a seed chooses for Telegram, on dice of its own: whether there is a bot at all, who says what to it, and what
//! becomes of its calls.

use super::super::dice::Dice;
use super::super::plan::{Breakage, Fault, Say};
use evergate_core::limits::Limits;
use evergate_core::outbox::Uncertain;
use serde::{Deserialize, Serialize};

/// What is said to the bot, in all chats together.
const MESSAGES: usize = 6;

/// The bot's side of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telegram {
    /// What is said in each chat, in order.
    pub chats: Vec<Vec<Say>>,
    /// How long a poll waits at the server, in seconds.
    pub poll_s: u64,
    /// What becomes of calls while things break.
    pub troubles: Troubles,
    /// How long a poll goes on to hold its place after its client is gone, in milliseconds; a new one is told 409 meanwhile.
    pub vanished_ms: u64,
}

/// What becomes of calls, each as a number of a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    /// They are done, and the connection breaks before the answer.
    pub answer_lost: u64,
    /// The connection breaks before anything is done.
    pub cut_before: u64,
    /// 500, and nothing is done.
    pub broken: u64,
    /// They are done, and the answer is no JSON.
    pub garbled: u64,
    /// 429, and nothing is done.
    pub slow_down: u64,
}

impl Telegram {
    /// What this seed chooses.
    pub fn draw(seed: u64) -> Option<Self> {
        let mut dice = Dice::apart(seed, "telegram");
        if !dice.percent(40) {
            return None;
        }
        let mut share = |chances: u64, most: u64| if dice.percent(chances) { dice.between(1, most) } else { 0 };
        let troubles = Troubles {
            answer_lost: share(60, 30),
            cut_before: share(30, 20),
            broken: share(20, 15),
            garbled: share(20, 10),
            slow_down: share(30, 15),
        };
        let chats = usize::try_from(dice.between(1, 3)).unwrap_or(1);
        Some(Self {
            chats: (0..chats)
                .map(|chat| (0..MESSAGES / chats).map(|say| message(&mut dice, chat, say)).collect())
                .collect(),
            poll_s: dice.between(1, 4),
            troubles,
            vanished_ms: if dice.percent(30) { dice.between(500, 3000) } else { 0 },
        })
    }

    /// What breaks on the way to the server, and what is done about uncertain sends.
    pub fn draw_faults(seed: u64, towns: usize, until_ms: u64, limits: &mut Limits, faults: &mut Vec<Fault>) {
        let mut dice = Dice::apart(seed, "telegram breaks");
        if dice.percent(40) {
            limits.uncertain = Uncertain::Drop;
        }
        let mut sometimes = |chances: u64, draw: &dyn Fn(u64) -> Breakage| {
            if dice.percent(chances) {
                let at_ms = dice.between(0, until_ms);
                let for_ms = dice.between(50, 1000).min(until_ms - at_ms);
                faults.push(Fault { at_ms, what: draw(for_ms) });
            }
        };
        sometimes(30, &|for_ms| Breakage::BotApiDown { for_ms });
        sometimes(10, &|for_ms| Breakage::Partition { town: towns + 1, for_ms });
        sometimes(15, &|for_ms| Breakage::Hold { town: towns + 1, for_ms });
        faults.sort_by_key(|fault| fault.at_ms);
    }

    /// How much is said, in all chats together.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.chats.iter().map(Vec::len).sum()
    }
}

fn message(dice: &mut Dice, chat: usize, say: usize) -> Say {
    let after_ms = if dice.percent(40) { 0 } else { dice.between(0, 600) };
    let text = match dice.between(0, 24) {
        0 => "/restart".into(),
        1 => "/stop".into(),
        2 => "/status".into(),
        3 => format!("t{chat}m{say}: restart yourself"),
        _ => format!("t{chat}m{say}: how are you?"),
    };
    Say { after_ms, text, again: false }
}
