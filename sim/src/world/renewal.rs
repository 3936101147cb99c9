//! A memory that is left with what is still needed. Whoever goes breadth first never comes back to the worlds behind, and
//! most gateways and witnesses are in few worlds: where sessions are many, kept parts would be what takes the memory.

use super::World;
use super::memo::Memo;
use super::memory::{Memory, Store};
use super::parts::{Part, Table};
use crate::subject::Subject;

impl<S: Subject> Memory<S> {
    /// How many parts it keeps of the kinds that are large.
    #[must_use]
    pub fn large(&self) -> usize {
        self.subjects.len() + self.witnesses.len()
    }

    /// With the parts that these worlds are made of and no others; the worlds are told the new numbers. What was worked out
    /// is forgotten, and will be worked out again where it is needed. The shapes stay, since the key of a world is to be
    /// the same whenever it is asked for.
    #[must_use]
    pub fn renewed(self, worlds: &mut [&mut World<S>]) -> Self {
        Self {
            subjects: sift(self.subjects, worlds, |world, is| world.subject.iter_mut().for_each(is)),
            witnesses: sift(self.witnesses, worlds, |world, is| is(&mut world.witness)),
            journals: sift(self.journals, worlds, |world, is| is(&mut world.durable)),
            commits: sift(self.commits, worlds, |world, is| {
                [&mut world.flying, &mut world.gathering].into_iter().for_each(is);
            }),
            said: sift(self.said, worlds, |world, is| is(&mut world.said)),
            hands: sift(self.hands, worlds, |world, is| is(&mut world.hands)),
            doings: Table::default(),
            inputs: Table::default(),
            begun: Memo::default(),
            reactions: Memo::default(),
            judgements: Memo::default(),
            applied: Memo::default(),
            gathered: Memo::default(),
            setting: self.setting,
            namings: self.namings,
            shapes: self.shapes,
        }
    }
}

/// The parts of a kind that worlds are made of, and the first.
fn sift<T, S: Subject>(
    store: Store<T>,
    worlds: &mut [&mut World<S>],
    each: impl Fn(&mut World<S>, &mut dyn FnMut(&mut Part<T>)),
) -> Store<T> {
    let mut used = vec![false; store.len()];
    // That of a commit without records, which has its number for good.
    used.first_mut().into_iter().for_each(|first| *first = true);
    for world in &mut *worlds {
        each(world, &mut |part| used[part.number() as usize] = true);
    }
    let (store, numbers) = store.sifted(&used);
    for world in worlds {
        each(world, &mut |part| *part = Part::numbered(numbers[part.number() as usize]));
    }
    store
}

#[cfg(test)]
mod tests {
    use crate::explore::scope;
    use crate::world::World;
    use crate::world::memory::{Desk, Memory};
    use evergate_core::gateway::Gateway;

    #[test]
    fn what_no_world_is_made_of_is_gone_and_a_world_is_the_same_as_before() {
        let room = scope::table().remove(0).rooms.remove(0);
        let memory = Memory::<Gateway>::new(room.setting(()));
        let mut desk = Desk::new(&memory);
        let mut worlds = vec![World::new(&mut desk)];
        for _ in 0..6 {
            let mut next = Vec::new();
            worlds.iter().for_each(|world| world.steps(&mut desk, |_, _, to, _| next.push(to)));
            next.truncate(100);
            worlds = next;
        }
        let keys: Vec<Box<[u8]>> = worlds.iter().map(|world| desk.key(world).into()).collect();
        let before = memory.large();
        let memory = memory.renewed(&mut worlds.iter_mut().collect::<Vec<_>>());
        assert!(memory.large() < before, "{} of {before}", memory.large());
        let mut desk = Desk::new(&memory);
        let again: Vec<Box<[u8]>> = worlds.iter().map(|world| desk.key(world).into()).collect();
        assert_eq!(again, keys);
        let memory = memory.renewed(&mut []);
        assert!(memory.commit(Memory::<Gateway>::NOTHING).records.is_empty());
    }
}
