//! Parts of a state that its copies share until one of them changes. Whoever explores or records copies whole gateways by
//! the million, and most parts of a copy never change; in a gateway that nobody copies nothing is shared, and nothing
//! is ever copied.

use std::hash::Hash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Whoever keeps very many states, and has equal parts of them be one.
pub trait Pool {
    /// Puts the part that is kept in the place of its equal; one that is not known yet is kept from now on.
    fn unite<T: Eq + Hash + Send + Sync + 'static>(&mut self, part: &mut Arc<T>);
}

/// A value that is copied when it is changed, not when it is cloned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shared<T>(Arc<T>);

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Eq + Hash + Send + Sync + 'static> Shared<T> {
    /// Becomes one with its equal. What is shared already was united when it first was kept.
    pub(crate) fn unite(&mut self, pool: &mut impl Pool) {
        if Arc::strong_count(&self.0) == 1 {
            pool.unite(&mut self.0);
        }
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_copy_is_not_seen_in_the_other() {
        let one = Shared::from(vec![1]);
        let mut other = one.clone();
        other.push(2);
        assert_eq!((one.len(), other.len()), (1, 2));
        assert_ne!(one, other);
    }

    /// Knows one part.
    struct One(Arc<Vec<i32>>);

    impl Pool for One {
        fn unite<T: Eq + Hash + Send + Sync + 'static>(&mut self, part: &mut Arc<T>) {
            let known: &dyn std::any::Any = &self.0;
            if let Some(known) = known.downcast_ref::<Arc<T>>().filter(|known| *known == part) {
                *part = Arc::clone(known);
            }
        }
    }

    #[test]
    fn a_part_becomes_one_with_its_equal_and_with_nothing_else() {
        let mut pool = One(Arc::new(vec![1]));
        let (mut equal, mut other) = (Shared::from(vec![1]), Shared::from(vec![2]));
        equal.unite(&mut pool);
        other.unite(&mut pool);
        assert!(Arc::ptr_eq(&equal.0, &pool.0) && *other == [2]);
    }
}
