//! What must always hold, by name, and how a check of it is noted. The checks themselves are in `witness`, which looks at
//! gateways from outside; the explorer, the swarm and the audit of a production journal share them.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! invariants {
    ($($variant:ident $name:literal $sentence:literal),+ $(,)?) => {
        /// One rule. Its doc is what must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = $sentence] $variant,)+
        }

        impl Invariant {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What must hold, in one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence),+ }
            }
        }
    };
}

invariants! {
    Exit "EXIT" "An accepted restart ends the process so that this supervisor starts it again; a stop so that it does not.",
    NoSelf "NOSELF" "No end waits for whoever asked for it, directly or through a child, beyond a short grace.",
    Budget "BUDGET" "The deadlines of an end nest, below the effective limit of the supervisor, and never move later.",
    Mark "MARK" "Each turn in flight is on disk before it starts.",
    Hygiene "HYGIENE" "A turn is told that it was interrupted if and only if it was; a finished turn carries no mark.",
    Ack "ACK" "Accepted is said only of what is on disk; what was acked is answered once or reported.",
    Reply "REPLY" "A produced reply is delivered or stays owed, in order, and comes twice only where nobody can know.",
    Once "ONCE" "One command, delivered any number of times, has one effect; no generation ends without a wish.",
    Quar "QUAR" "The resumes of a turn that deaths have hit are bounded over all generations, and charged before the start.",
    Loop "LOOP" "After too many deaths in a row nothing is resumed by itself, however long each life was.",
    Admit "ADMIT" "Once admission is closed, the process ends or admission opens again, within a bound.",
    Lock "LOCK" "A journal has one live owner, and a dead owner keeps nobody out.",
    Notice "NOTICE" "Each chat that asked for a restart is told its outcome, once; that a turn was cut is told to its chat alone, and then that it goes on.",
    Intent "INTENT" "A deliberate stop is not undone by a reviver; an unplanned death is.",
    Force "FORCE" "A forced end is over within a bound that depends on nobody.",
    Orphan "ORPHAN" "No process of an earlier generation works on a turn beside its successor, or is left behind.",
    Ledger "LEDGER" "Whatever is under way is in the ledger that the drain reads.",
    Truth "TRUTH" "The phase that is told is the phase that is; each generation's end is on record before the next begins.",
    Rate "RATE" "The notices about one request and about one turn that is cut are bounded, whatever loops.",
    Quiet "QUIET" "After its end a generation does and writes nothing.",
    Ready "READY" "Ready is said when the beginning is on disk and the platforms are open; restarted, of another generation that is ready.",
    Consent "CONSENT" "A question of an agent has one outcome, and the agent is told no other, and not before it is on disk.",
    Finite "FINITE" "Without further faults the gateway comes to rest from everywhere.",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Ids of rules go by their names.
impl Serialize for Invariant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Invariant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|invariant| invariant.name() == name);
        found.copied().ok_or_else(|| serde::de::Error::custom(format!("there is no rule {name:?}")))
    }
}

/// A rule that was found broken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found, in one sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What was looked at since this was made, and the first rule that did not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    looked: u32,
    failed: u32,
    broken: Option<Box<Violation>>,
}

impl Checks {
    /// Notes that a rule was looked at where it could have been broken, and whether it held.
    #[inline]
    pub fn holds(&mut self, invariant: Invariant, held: bool, what: impl FnOnce() -> String) {
        self.looked |= 1 << invariant as u32;
        if !held {
            self.failed = self.failed.saturating_add(1);
            self.broken.get_or_insert_with(|| Box::new(Violation { invariant, what: what() }));
        }
    }

    /// Notes what was looked at elsewhere, after what is noted here.
    pub fn join(&mut self, later: &Self) {
        self.looked |= later.looked;
        self.failed = self.failed.saturating_add(later.failed);
        if self.broken.is_none() {
            self.broken.clone_from(&later.broken);
        }
    }

    /// Notes that rules were looked at elsewhere, a set of them as `looked` gives it, and that they held.
    pub const fn held(&mut self, looked: u32) {
        self.looked |= looked;
    }

    /// The rules that were looked at.
    pub fn looked_at(&self) -> impl Iterator<Item = Invariant> + '_ {
        Invariant::ALL.iter().copied().filter(|invariant| self.looked & (1 << *invariant as u32) != 0)
    }

    /// The same as a set of bits, the first rule lowest.
    #[must_use]
    pub const fn looked(&self) -> u32 {
        self.looked
    }

    /// How often a rule did not hold: what breaks one of them often breaks others in its wake.
    #[must_use]
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// The first rule that did not hold.
    #[must_use]
    pub fn broken(&self) -> Option<&Violation> {
        self.broken.as_deref()
    }
}
