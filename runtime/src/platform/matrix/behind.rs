//! Rooms of which the homeserver does not give what was said before, though it answers: they are behind, and the others go on. A
//! room that is behind is caught up with from where it was left, in order, as soon as the homeserver lets it.

use super::api::Trouble;
use super::sync::said;
use super::{LONGEST_PAUSE, PAUSE, Session};
use crate::http::Fate;
use crate::platform::Health;
use evergate_core::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the key of a room's token begins with; the room follows.
const BEHIND: &str = "behind.";

/// The rooms that are behind.
#[derive(Debug, Default)]
pub(super) struct Behind(BTreeMap<String, Gap>);

/// What was not heard yet of one room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    /// The token up to which everything was heard.
    since: String,
    /// Why the rest was not.
    why: String,
    pause: Duration,
    again_at: Instant,
}

impl Behind {
    /// As they are kept, all to be tried at once.
    pub(super) fn kept(rows: &BTreeMap<String, String>, now: Instant) -> Self {
        let gap = |since: &String| Gap {
            since: since.clone(),
            why: "it was so before the restart".into(),
            pause: PAUSE,
            again_at: now,
        };
        let rooms = rows.iter().filter_map(|(key, since)| Some((key.strip_prefix(BEHIND)?.to_owned(), gap(since))));
        Self(rooms.collect())
    }

    /// Whether this room is.
    pub(super) fn has(&self, room: &str) -> bool {
        self.0.contains_key(room)
    }

    /// This room is, from this token on.
    pub(super) fn add(&mut self, room: &str, since: &str, why: String, now: Instant) {
        tracing::warn!(
            platform = "matrix",
            room,
            why,
            "what was said before in this room is not to be had; it waits, and the others go on"
        );
        let gap = Gap { since: since.to_owned(), why, pause: PAUSE, again_at: now + PAUSE };
        self.0.insert(room.to_owned(), gap);
    }

    /// The rows that keep all of them: none of what was said there is heard with a later token than these.
    pub(super) fn rows(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.0.iter().map(|(room, gap)| (format!("{BEHIND}{room}"), Some(gap.since.clone())))
    }

    /// When the next one is to be tried.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.values().map(|gap| gap.again_at).min()
    }

    /// How the platform is, seen from here.
    pub(super) fn health(&self) -> Health {
        match self.0.iter().min_by_key(|(_, gap)| gap.again_at) {
            None => Health::Up,
            Some((room, Gap { why, again_at, .. })) => {
                let others = match self.0.len() {
                    1 => String::new(),
                    more => format!(" and {} others", more - 1),
                };
                Health::Waiting {
                    why: format!(
                        "what was said in {room}{others} is not to be had yet ({why}); all other rooms are served"
                    ),
                    until: *again_at,
                }
            }
        }
    }

    /// The one whose time has come first.
    fn due(&self, now: Instant) -> Option<(String, String)> {
        let (room, gap) = self.0.iter().min_by_key(|(_, gap)| gap.again_at)?;
        (gap.again_at <= now).then(|| (room.clone(), gap.since.clone()))
    }

    fn later(&mut self, room: &str, why: String, now: Instant) {
        if let Some(gap) = self.0.get_mut(room) {
            gap.pause = (gap.pause * 2).min(LONGEST_PAUSE);
            (gap.why, gap.again_at) = (why, now + gap.pause);
        }
    }
}

/// Whether it is this room that the homeserver gives nothing of, rather than the homeserver that is away or wants quiet.
pub(super) fn is_of_the_room(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Passing { fate: Fate::Unknown | Fate::Answered, .. })
}

impl Session<'_> {
    /// Hears what was said up to this token in one room that is behind, if the time of one has come: the others wait for no more
    /// than that.
    pub(super) async fn catch_up(&self, behind: &mut Behind, to: &str) -> Result<(), Trouble> {
        let Some((room, since)) = behind.due(self.port.environment().now()) else { return Ok(()) };
        match self.before(&room, Some(to.to_owned()), &since).await {
            Ok(events) => {
                for said in events.iter().filter_map(|event| said(event, &self.api.user)) {
                    match self.hear(&room, said).await {
                        // It is heard from the beginning again, and what was taken in is known.
                        Err(trouble) if is_of_the_room(&trouble) => {
                            behind.later(&room, trouble.why().to_owned(), self.port.environment().now());
                            return Ok(());
                        }
                        heard => heard?,
                    }
                }
                self.port.keep([(format!("{BEHIND}{room}"), None)]).await.map_err(super::passing)?;
                behind.0.remove(&room);
                tracing::info!(platform = "matrix", room, "this room is caught up with");
                Ok(())
            }
            Err(trouble) if !is_of_the_room(&trouble) => Err(trouble),
            Err(trouble) => {
                behind.later(&room, trouble.why().to_owned(), self.port.environment().now());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000_000);

    #[test]
    fn a_room_is_tried_again_less_and_less_often_and_said_to_wait() {
        let mut behind = Behind::default();
        assert_eq!((behind.health(), behind.next_at()), (Health::Up, None));
        behind.add("!a:example.org", "s1", "502".into(), NOW);
        let mut pauses = Vec::new();
        let mut now = NOW;
        for _ in 0..8 {
            let at = behind.next_at().unwrap();
            assert_eq!(behind.due(now), None, "not before its time");
            pauses.push((at - now).as_secs());
            now = at;
            assert_eq!(behind.due(now), Some(("!a:example.org".to_owned(), "s1".to_owned())));
            behind.later("!a:example.org", "502".into(), now);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(behind.health().why().unwrap().contains("!a:example.org"));
    }

    /// Whatever came of the sync that found it, each later token is kept with it.
    #[test]
    fn a_room_that_was_behind_before_a_restart_still_is() {
        let mut behind = Behind::default();
        behind.add("!a:example.org", "s1", "502".into(), NOW);
        behind.add("!b:example.org", "s2", "502".into(), NOW + PAUSE);
        let rows = behind.rows().chain([("since".to_owned(), Some("s9".to_owned()))]);
        let rows = rows.filter_map(|(key, value)| Some((key, value?))).collect();
        let read = Behind::kept(&rows, NOW);
        assert!(read.has("!a:example.org") && read.has("!b:example.org") && read.0.len() == 2);
        assert_eq!(read.due(NOW), Some(("!a:example.org".to_owned(), "s1".to_owned())));
        assert!(read.rows().eq(behind.rows()));
    }
}
