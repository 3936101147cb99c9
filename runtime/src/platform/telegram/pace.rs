//! How quickly the server may be spoken to: a message a second in one chat, twenty a minute in a group, thirty a second over all, and
//! not before it says so once it has said "too many requests". A value; time is an argument.

use evergate_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Chats whose last messages are remembered; one that has been quiet for longer than any limit needs no memory.
const CHATS: usize = 4096;

/// So many within such a time.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    times: usize,
    /// Within this time.
    pub within: Duration,
}

/// What one chat bears.
pub const IN_A_CHAT: Limit = Limit { times: 1, within: Duration::from_secs(1) };
const IN_A_GROUP: Limit = Limit { times: 20, within: Duration::from_secs(60) };
const OVER_ALL: Limit = Limit { times: 30, within: Duration::from_secs(1) };

/// What was said lately, by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lately(VecDeque<Instant>);

impl Lately {
    /// From when on one more keeps the limit.
    fn free_at(&self, limit: Limit) -> Option<Instant> {
        let oldest = self.0.len().checked_sub(limit.times)?;
        self.0.get(oldest).map(|at| *at + limit.within)
    }

    fn note(&mut self, now: Instant, within: Duration) {
        while self.0.front().is_some_and(|at| *at + within <= now) {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }
}

/// What is known of one chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chat {
    lately: Lately,
    held_until: Option<Instant>,
}

/// What was said where, and where the server wants quiet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    chats: BTreeMap<i64, Chat>,
    lately: Lately,
    held_until: Option<Instant>,
}

impl Pace {
    /// Takes the right to say one thing in this chat now; otherwise gives the time to ask again.
    pub fn take(&mut self, chat: i64, now: Instant) -> Result<(), Instant> {
        let group = chat < 0;
        let of_chat = self.chats.get(&chat);
        let times = [
            self.held_until,
            self.lately.free_at(OVER_ALL),
            of_chat.and_then(|chat| chat.held_until),
            of_chat.and_then(|chat| chat.lately.free_at(IN_A_CHAT)),
            of_chat.filter(|_| group).and_then(|chat| chat.lately.free_at(IN_A_GROUP)),
        ];
        if let Some(at) = times.into_iter().flatten().max().filter(|at| now < *at) {
            return Err(at);
        }
        if self.chats.len() >= CHATS {
            self.forget(now);
        }
        self.lately.note(now, OVER_ALL.within);
        let entry = self.chats.entry(chat).or_default();
        entry.lately.note(now, if group { IN_A_GROUP.within } else { IN_A_CHAT.within });
        Ok(())
    }

    /// The server has said "too many requests" about this chat. When it says so about two at the same time, it means everybody.
    pub fn hold(&mut self, chat: i64, now: Instant, length: Duration) {
        let until = now + length;
        let others = self.chats.iter().filter(|(other, _)| **other != chat);
        let elsewhere = others.filter_map(|(_, chat)| chat.held_until).any(|held| now < held);
        if elsewhere {
            self.held_until = self.held_until.max(Some(until));
        }
        let entry = self.chats.entry(chat).or_default();
        entry.held_until = entry.held_until.max(Some(until));
    }

    fn forget(&mut self, now: Instant) {
        self.chats.retain(|_, chat| {
            chat.held_until.is_some_and(|held| now < held)
                || chat.lately.0.back().is_some_and(|last| now < *last + IN_A_GROUP.within)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Instant = Instant::from_millis(1_000_000);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    proptest! {
        /// Whatever is asked for and when: what was granted keeps every limit.
        #[test]
        fn what_is_granted_keeps_every_limit(asked in proptest::collection::vec((-3_i64..4, 0_u64..400), 1..300)) {
            let (mut pace, mut now, mut granted) = (Pace::default(), START, Vec::new());
            for (chat, pause) in asked {
                now = now + Duration::from_millis(pause);
                match pace.take(chat, now) {
                    Ok(()) => granted.push((chat, now)),
                    Err(at) => {
                        prop_assert!(now < at);
                        prop_assert!(pace.clone().take(chat, at).is_ok(), "the time that was named is the time");
                    }
                }
            }
            for (chat, at) in &granted {
                let within = |length: Duration, same: bool| {
                    let near = granted.iter().filter(|(other, then)| (!same || other == chat) && *then >= *at && *then < *at + length);
                    near.count()
                };
                prop_assert!(within(seconds(1), true) <= 1);
                prop_assert!(within(seconds(1), false) <= 30);
                prop_assert!(*chat >= 0 || within(seconds(60), true) <= 20);
            }
        }
    }

    #[test]
    fn a_chat_that_is_to_be_left_alone_holds_up_no_other() {
        let mut pace = Pace::default();
        pace.hold(7, START, seconds(5));
        assert_eq!(pace.take(7, START), Err(START + seconds(5)));
        assert_eq!(pace.take(8, START), Ok(()));
        assert_eq!(pace.take(7, START + seconds(5)), Ok(()));
    }

    #[test]
    fn two_chats_that_are_to_be_left_alone_mean_everybody() {
        let mut pace = Pace::default();
        pace.hold(7, START, seconds(5));
        pace.hold(8, START + seconds(1), seconds(9));
        assert_eq!(pace.take(9, START + seconds(2)), Err(START + seconds(10)));
        pace.hold(7, START + seconds(2), seconds(1));
        assert_eq!(pace.take(7, START + seconds(3)), Err(START + seconds(10)), "a shorter word takes nothing back");
    }

    #[test]
    fn quiet_chats_are_forgotten() {
        let mut pace = Pace::default();
        for chat in 0..3 * 4096 {
            let now = START + Duration::from_millis(40 * u64::try_from(chat).unwrap());
            assert_eq!(pace.take(chat, now), Ok(()));
        }
        assert!(pace.chats.len() <= 4096);
    }
}
