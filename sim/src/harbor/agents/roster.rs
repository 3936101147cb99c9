//! The runs that are alive on the agents' host, and those that must not come to life any more. It is where ORPHAN is held
//! against what really runs: two runs of one session, or of two generations, are never there at once.

use super::wire::{Run, Which, Whose};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;

/// Who runs.
#[derive(Default)]
pub struct Roster {
    running: BTreeMap<Which, Alive>,
    /// What was to be ended, and may not have come here by then.
    ended: BTreeSet<Which>,
    /// Nothing of a generation before this one may come any more.
    from_generation: u64,
}

/// One that runs.
struct Alive {
    session: String,
    /// Whoever strikes the run off drops this, and that ends it.
    _kill: oneshot::Sender<()>,
}

/// Why a run does not begin, or must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// It was ended before it came.
    Ended,
    /// Another that runs must be gone by now.
    Beside(String),
}

impl Roster {
    /// A run begins; what is given back ends when it is struck off.
    pub fn begin(&mut self, run: &Run) -> Result<oneshot::Receiver<()>, Unwelcome> {
        let Run { which, session, .. } = run;
        if which.generation < self.from_generation || self.ended.contains(which) {
            return Err(Unwelcome::Ended);
        }
        let beside =
            |(other, alive): &(&Which, &Alive)| other.generation != which.generation || alive.session == *session;
        if let Some((other, _)) = self.running.iter().find(beside) {
            return Err(Unwelcome::Beside(format!("{which} begins beside {other}")));
        }
        let (kill, killed) = oneshot::channel();
        self.running.insert(*which, Alive { session: session.clone(), _kill: kill });
        Ok(killed)
    }

    /// A run is over by itself.
    pub fn over(&mut self, which: Which) {
        self.running.remove(&which);
    }

    /// Ends these, also those that come only later, and gives how many were running.
    pub fn end(&mut self, whose: Whose) -> usize {
        match whose {
            Whose::Run(which) => drop(self.ended.insert(which)),
            Whose::Before(generation) => self.from_generation = self.from_generation.max(generation),
        }
        let before = self.running.len();
        self.running.retain(|which, _| !whose.counts(which));
        before - self.running.len()
    }

    /// Somebody who still runs.
    #[must_use]
    pub fn left(&self) -> Option<Which> {
        self.running.keys().next().copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step fails the test")]
mod tests {
    use super::*;

    fn run(generation: u64, turn: u64, session: &str) -> Run {
        Run { which: Which { generation, turn, attempt: 1 }, session: session.into(), prompt: String::new() }
    }

    #[test]
    fn a_run_that_begins_beside_one_of_its_session_or_of_another_generation_is_found() {
        let mut roster = Roster::default();
        let _alive = roster.begin(&run(2, 1, "a")).unwrap();
        let _also = roster.begin(&run(2, 2, "b")).unwrap();
        for (generation, turn, session) in [(2, 3, "a"), (3, 3, "c"), (1, 3, "c")] {
            let beside = roster.begin(&run(generation, turn, session)).unwrap_err();
            assert!(matches!(beside, Unwelcome::Beside(_)), "{generation} {turn} {session}: {beside:?}");
        }
        roster.over(run(2, 1, "a").which);
        assert!(roster.begin(&run(2, 3, "a")).is_ok());
    }

    #[test]
    fn what_is_ended_is_gone_and_does_not_begin_when_it_comes_only_afterwards() {
        let mut roster = Roster::default();
        let mut killed = roster.begin(&run(1, 1, "a")).unwrap();
        assert_eq!(killed.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(roster.end(Whose::Before(2)), 1);
        assert_eq!((roster.left(), killed.try_recv()), (None, Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(roster.begin(&run(1, 2, "b")).unwrap_err(), Unwelcome::Ended);
        let second = run(2, 3, "a");
        assert_eq!(roster.end(Whose::Run(second.which)), 0);
        assert_eq!(roster.begin(&second).unwrap_err(), Unwelcome::Ended);
        assert!(roster.begin(&run(2, 4, "a")).is_ok());
    }
}
