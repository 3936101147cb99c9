//! One life of the gateway as somebody outside can tell it from others: by the number of its generation and by its process.
//! Neither is enough. A restart in place keeps the process, and a generation that dies before its beginning is on disk leaves
//! its number to the next. Owns the comparison; it looks at no process.

use crate::id::GenerationId;

/// A process, whatever its number will be given to later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it was started, in the kernel's own measure: in a container each process in turn has the number 1.
    pub started: u64,
}

/// A life of the gateway, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Its generation; `None` of a start that has no number yet.
    pub generation: Option<GenerationId>,
    /// Its process.
    pub process: Option<Process>,
}

impl Life {
    /// Whether this is certainly another life than that one: what is not known of either tells nothing.
    #[must_use]
    pub fn is_another_than(self, other: Self) -> bool {
        fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_some_and(|(one, other)| one != other)
        }
        differ(self.generation, other.generation) || differ(self.process, other.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(generation: Option<u64>, process: Option<(i32, u64)>) -> Life {
        let process = process.map(|(pid, started)| Process { pid, started });
        Life { generation: generation.map(GenerationId), process }
    }

    #[test]
    fn a_life_is_another_by_its_number_or_by_its_process_and_never_by_what_is_not_known() {
        let old = life(Some(3), Some((7, 100)));
        for (seen, another) in [
            (old, false),
            (life(Some(4), Some((7, 100))), true),
            (life(Some(3), Some((8, 100))), true),
            (life(Some(3), Some((7, 101))), true),
            (life(None, Some((7, 100))), false),
            (life(None, Some((9, 100))), true),
            (life(Some(3), None), false),
            (life(Some(4), None), true),
            (Life::default(), false),
        ] {
            assert_eq!((seen.is_another_than(old), old.is_another_than(seen)), (another, another), "{seen:?}");
        }
    }
}
