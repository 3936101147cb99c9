//! What the rooms of a scope cover together, read off the rooms: which of them have two dimensions at once, each as large
//! as the scope has it anywhere; which have a supervisor, or a wish, together with a dimension.

use super::scope::{EACH_WISH, Room, Scope};
use crate::world::{Budget, Manner};
use evergate_core::supervisor::{Contract, Supervisor};
use std::fmt::{self, Write};

/// What of a room has a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Sessions in which people speak: one in which nothing is said never comes to be.
    Sessions,
    /// Messages that they say.
    Messages,
    /// Wishes about the life cycle.
    Requests,
    /// Deaths.
    Kills,
    /// Writes of the journal that fail.
    Journal,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sessions, Self::Messages, Self::Requests, Self::Kills, Self::Journal];

    const fn letter(self) -> char {
        match self {
            Self::Sessions => 'S',
            Self::Messages => 'M',
            Self::Requests => 'R',
            Self::Kills => 'K',
            Self::Journal => 'J',
        }
    }

    const fn of(self, budget: &Budget) -> u8 {
        match self {
            Self::Sessions => {
                if budget.sessions < budget.messages {
                    budget.sessions
                } else {
                    budget.messages
                }
            }
            Self::Messages => budget.messages,
            Self::Requests => budget.requests,
            Self::Kills => budget.kills,
            Self::Journal => budget.lost_writes,
        }
    }
}

/// What a scope covers.
pub struct Coverage<'a> {
    scope: &'a Scope,
}

impl<'a> Coverage<'a> {
    /// Of this scope.
    #[must_use]
    pub const fn of(scope: &'a Scope) -> Self {
        Self { scope }
    }

    /// The most that any room has of a dimension: nobody has seen what comes of more.
    #[must_use]
    pub fn bound(&self, dimension: Dimension) -> u8 {
        self.scope.rooms.iter().map(|room| dimension.of(&room.budget)).max().unwrap_or(0)
    }

    /// The rooms, by their numbers from 1, that have the whole of a dimension and of another.
    #[must_use]
    pub fn with_both(&self, one: Dimension, other: Dimension) -> Vec<usize> {
        self.rooms(|room| self.has(room, one) && self.has(room, other))
    }

    /// Those under a supervisor that have the whole of a dimension.
    #[must_use]
    pub fn under(&self, supervisor: Supervisor, dimension: Dimension) -> Vec<usize> {
        self.rooms(|room| room.supervisor == supervisor && self.has(room, dimension))
    }

    /// Those in which something may happen that have the whole of a dimension.
    #[must_use]
    pub fn with_manner(&self, manner: Manner, dimension: Dimension) -> Vec<usize> {
        self.rooms(|room| room.manners.contains(&manner) && self.has(room, dimension))
    }

    /// Those in which two wishes may meet, each made in any state that the other leads to.
    #[must_use]
    pub fn with_wishes(&self, one: Manner, other: Manner) -> Vec<usize> {
        let may = |room: &Room, wish: Manner| room.manners.contains(&wish);
        self.rooms(|room| room.budget.requests >= 2 && may(room, one) && may(room, other))
    }

    /// Those in which a wish may be taken back that have the whole of a dimension.
    #[must_use]
    pub fn with_a_wish_taken_back(&self, dimension: Dimension) -> Vec<usize> {
        self.rooms(|room| room.budget.cancels > 0 && self.has(room, dimension))
    }

    fn has(&self, room: &Room, dimension: Dimension) -> bool {
        let bound = self.bound(dimension);
        bound > 0 && dimension.of(&room.budget) == bound
    }

    fn rooms(&self, which: impl Fn(&Room) -> bool) -> Vec<usize> {
        let rooms = self.scope.rooms.iter().enumerate();
        rooms.filter(|(_, room)| which(room)).map(|(index, _)| index + 1).collect()
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        cell: impl Fn(Dimension) -> Option<Vec<usize>>,
    ) -> fmt::Result {
        let mut line = format!("  {name:<24}");
        for dimension in Dimension::ALL {
            let rooms = cell(dimension).map_or_else(String::new, |rooms| ranges(&rooms));
            write!(line, " {rooms:<COLUMN$}")?;
        }
        writeln!(f, "{}", line.trim_end())
    }
}

/// How wide a list of rooms may become before it is cut.
const COLUMN: usize = 24;

impl fmt::Display for Coverage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope { name, purpose, rooms, .. } = self.scope;
        writeln!(f, "{name}: {purpose}")?;
        writeln!(f, "  room  supervisor              S M R K J  and beside that; what may happen")?;
        for (index, room) in rooms.iter().enumerate() {
            writeln!(f, "  {:>4}  {}", index + 1, told(room))?;
        }
        writeln!(
            f,
            "\n  the rooms that have the whole of two dimensions at once, of a supervisor or a wish and a dimension (–: none)"
        )?;
        let heads = |dimension: Dimension| format!("{} {}", dimension.letter(), self.bound(dimension));
        let mut line = format!("  {:<24}", "");
        for dimension in Dimension::ALL {
            write!(line, " {:<COLUMN$}", heads(dimension))?;
        }
        writeln!(f, "{}", line.trim_end())?;
        for (row, one) in Dimension::ALL.into_iter().enumerate() {
            let above = |other: Dimension| Dimension::ALL.iter().position(|known| *known == other) > Some(row);
            self.row(f, &heads(one), |other| above(other).then(|| self.with_both(one, other)))?;
        }
        for contract in Contract::TABLE {
            let supervisor = contract.supervisor;
            self.row(f, &words(supervisor), |dimension| Some(self.under(supervisor, dimension)))?;
        }
        for wish in EACH_WISH {
            self.row(f, &words(wish), |dimension| Some(self.with_manner(wish, dimension)))?;
        }
        self.row(f, "a wish taken back", |dimension| Some(self.with_a_wish_taken_back(dimension)))
    }
}

/// One room in a line.
fn told(room: &Room) -> String {
    let Room { supervisor, variant, budget, manners } = room;
    let like = variant.as_ref().map_or_else(String::new, |variant| format!(" ({})", variant.name));
    let sizes = Dimension::ALL.map(|dimension| dimension.of(budget).to_string()).join(" ");
    let Budget { slow, cancels, lost_sends, redeliveries, freezes, ladders, strangers, progress, keepers, .. } =
        *budget;
    let beside = [
        (slow, "slow"),
        (cancels, "taken back"),
        (lost_sends, "lost sends"),
        (redeliveries, "redelivered"),
        (freezes, "stuck"),
        (ladders, "ladders"),
        (strangers, "strangers"),
        (progress, "gets on"),
        (keepers, "supervisors killed"),
    ];
    let beside: Vec<String> =
        beside.into_iter().filter(|(times, _)| *times > 0).map(|(times, what)| format!("{times} {what}")).collect();
    let beside = if beside.is_empty() { String::new() } else { format!("{}; ", beside.join(", ")) };
    let manners: Vec<String> = manners.iter().map(words).collect();
    format!("{:<23} {sizes}  {beside}{}{like}", words(supervisor), manners.join(", "))
}

/// `ChatRestart` as `chat restart`.
fn words(name: impl fmt::Debug) -> String {
    let mut words = String::new();
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// `26, 52-56`; the end of what does not fit its column is left out.
fn ranges(rooms: &[usize]) -> String {
    let mut told: Vec<(usize, usize)> = Vec::new();
    for room in rooms {
        match told.last_mut() {
            Some((_, last)) if *last + 1 == *room => *last = *room,
            _ => told.push((*room, *room)),
        }
    }
    let mut line = if told.is_empty() { "–".to_owned() } else { String::new() };
    for (first, last) in told {
        let next = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if line.len() + next.len() + 4 > COLUMN {
            line += " …";
            break;
        }
        line += &if line.is_empty() { next } else { format!(", {next}") };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::table;
    use evergate_core::id::{SessionId, TurnId};
    use evergate_core::request::{Mode, Origin, Signal, Wish};

    fn scope(name: &str) -> Scope {
        table().into_iter().find(|scope| scope.name == name).expect("there is such a scope")
    }

    fn ci() -> Scope {
        scope("ci")
    }

    /// A door that is added to [`Origin`] is to be added here, or what comes through it is never explored.
    #[test]
    fn each_wish_through_each_door_is_explored() {
        let (turn, session) = (TurnId(1), SessionId(1));
        let doors = [
            Origin::Cli,
            Origin::Http,
            Origin::Turn { turn, session },
            Origin::Session(session),
            Origin::Signal(Signal::Terminate),
            Origin::Signal(Signal::Interrupt),
            Origin::Update,
            Origin::Watchdog,
        ];
        let of = |wish, mode| EACH_WISH.into_iter().filter(move |manner| asks(*manner, wish, mode));
        for door in doors {
            for (wish, mode) in [Wish::Restart, Wish::Stop].into_iter().flat_map(|wish| BOTH.map(|mode| (wish, mode))) {
                let explored = match door {
                    Origin::Cli | Origin::Http => of(wish, mode)
                        .any(|manner| matches!(manner.asked_from_outside(), Some((_, _, from)) if from == door)),
                    Origin::Turn { .. } => of(wish, mode).any(|manner| manner.asked_by_a_turn().is_some()),
                    // A chat's `/stop` ends its turn. What is told besides has no choice of its wish.
                    Origin::Session(_) => [Manner::ChatRestart, Manner::ChatForced].iter().all(listed),
                    Origin::Signal(Signal::Terminate) => [Manner::Terminate, Manner::SupervisorStop].iter().all(listed),
                    Origin::Signal(Signal::Interrupt) => listed(&Manner::Interrupt),
                    Origin::Update => listed(&Manner::Update),
                    // It ends the process itself: it is an actor, not a wish.
                    Origin::Watchdog => true,
                };
                assert!(explored, "{wish:?} {mode:?} {door:?}");
            }
        }
    }

    const BOTH: [Mode; 2] = [Mode::Graceful, Mode::Force];

    fn listed(manner: &Manner) -> bool {
        EACH_WISH.contains(manner)
    }

    fn asks(manner: Manner, wish: Wish, mode: Mode) -> bool {
        let outside = manner.asked_from_outside().map(|(wish, mode, _)| (wish, mode));
        let turn = manner.asked_by_a_turn().map(|(wish, mode, _)| (wish, mode));
        outside.or(turn) == Some((wish, mode))
    }

    #[test]
    fn deep_covers_each_three_of_what_has_a_size_and_each_supervisor_with_requests_kills_and_faults() {
        let rooms = scope("deep").rooms;
        use Dimension::{Journal, Kills, Messages, Requests, Sessions};
        let most = [(Sessions, 3), (Messages, 3), (Requests, 2), (Kills, 2), (Journal, 1)];
        let has = |room: &Room, (dimension, most): (Dimension, u8)| dimension.of(&room.budget) >= most;
        for (index, one) in most.iter().enumerate() {
            for (next, two) in most.iter().enumerate().skip(index + 1) {
                for three in &most[next + 1..] {
                    // Of three that speak, with wishes and with what breaks, there are too many states to see.
                    let one = match (one.0, two.0, three.0) {
                        (Sessions, Requests, Kills | Journal) => &(Sessions, 2),
                        _ => one,
                    };
                    let together = |room: &Room| [one, two, three].iter().all(|each| has(room, **each));
                    assert!(rooms.iter().any(together), "{one:?}, {two:?} and {three:?}");
                }
            }
        }
        for Contract { supervisor, .. } in Contract::TABLE {
            let all = |room: &Room| room.supervisor == supervisor && most[2..].iter().all(|each| has(room, *each));
            assert!(rooms.iter().any(all), "{supervisor:?}");
        }
    }

    #[test]
    fn ci_covers_each_pair_of_what_has_a_size() {
        let scope = ci();
        let coverage = Coverage::of(&scope);
        assert_eq!(Dimension::ALL.map(|dimension| coverage.bound(dimension)), [3, 4, 2, 2, 1]);
        for (index, one) in Dimension::ALL.into_iter().enumerate() {
            for other in &Dimension::ALL[index + 1..] {
                assert!(!coverage.with_both(one, *other).is_empty(), "no room has the whole of {one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn ci_covers_each_supervisor_and_each_wish_with_each_dimension() {
        let scope = ci();
        let coverage = Coverage::of(&scope);
        for dimension in Dimension::ALL {
            for Contract { supervisor, .. } in Contract::TABLE {
                assert!(!coverage.under(supervisor, dimension).is_empty(), "{supervisor:?} and {dimension:?}");
            }
        }
        for dimension in Dimension::ALL.into_iter().filter(|dimension| *dimension != Dimension::Sessions) {
            for wish in EACH_WISH {
                assert!(!coverage.with_manner(wish, dimension).is_empty(), "{wish:?} and {dimension:?}");
            }
            assert!(!coverage.with_a_wish_taken_back(dimension).is_empty(), "taken back and {dimension:?}");
        }
    }

    #[test]
    fn two_wishes_meet_while_two_sessions_speak_and_while_three_do_those_of_different_ends_in_ci() {
        let (ci, deep) = (ci().rooms, scope("deep").rooms);
        let among = |rooms: &[Room], sessions, is_it: &dyn Fn(&Room) -> bool| {
            rooms.iter().any(|room| {
                is_it(room) && room.budget.requests == 2 && Dimension::Sessions.of(&room.budget) >= sessions
            })
        };
        for wish in EACH_WISH {
            let wished = |room: &Room| room.manners.contains(&wish);
            let at_any_time = |room: &Room| wished(room) && !room.manners.contains(&Manner::SpeakFirst);
            assert!(among(&ci, 2, &at_any_time), "{wish:?}");
            assert!(among(&ci, 3, &at_any_time) || among(&deep, 3, &at_any_time), "{wish:?}");
        }
        use Manner::{ChatRestart, Force, Interrupt, Restart, Stop, Terminate, TurnRestartWaits};
        for wish in [Restart, Force, Stop, ChatRestart, TurnRestartWaits, Terminate, Interrupt] {
            assert!(among(&ci, 3, &|room| room.manners.contains(&wish)), "{wish:?}");
        }
        let taken_back = |room: &Room| room.budget.cancels > 0;
        assert!(among(&ci, 2, &taken_back) && among(&deep, 3, &taken_back), "taken back");
    }

    #[test]
    fn ci_covers_each_pair_of_wishes() {
        let scope = ci();
        let coverage = Coverage::of(&scope);
        for (index, one) in EACH_WISH.into_iter().enumerate() {
            for other in &EACH_WISH[index..] {
                assert!(!coverage.with_wishes(one, *other).is_empty(), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn rooms_are_told_by_their_numbers() {
        assert_eq!(ranges(&[]), "–");
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
        assert_eq!(ranges(&[1, 3, 5, 7, 9, 11, 13, 15, 17]), "1, 3, 5, 7, 9, 11, 13 …");
        assert_eq!(words(Manner::TurnRestartWaits), "turn restart waits");
    }

    #[test]
    fn a_scope_is_told_with_its_rooms_and_what_they_cover() {
        let scope = ci();
        let told = Coverage::of(&scope).to_string();
        let line =
            |begins: &str| told.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("{told}"));
        assert!(line("    27  ").contains("evergate                3 3 0 2 0  speak early"), "{told}");
        assert!(line("  S 3 ").contains(" 55, 85-88 "), "{told}");
        assert!(!line("  kubernetes ").contains('–'), "{told}");
    }
}
