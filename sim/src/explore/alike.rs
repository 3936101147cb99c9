//! Whether worlds that count as one are alike: what one of them leads to, the other must lead to as well. If not, the key of
//! a world leaves out something that matters, and what an exploration finds hangs on which of them it met first.

use super::scope::{self, Room, Size};
use crate::subject::Subject;
use crate::world::action::Step;
use crate::world::memory::{Desk, Memory};
use crate::world::{Manner, Setting, World};
use evergate_core::gateway::Gateway;
use evergate_core::supervisor::Supervisor;
use std::collections::{HashMap, VecDeque};

type Key = Box<[u8]>;

/// What a world leads to, in an order that does not depend on how its ids are numbered.
fn successors<S: Subject>(desk: &mut Desk<'_, S>, world: &World<S>) -> Vec<(Key, bool, bool)> {
    let mut all = Vec::new();
    world.steps(desk, |desk, step, to, mut checks| {
        let rests = to.rests(desk.memory(), &mut checks);
        all.push((desk.key(&to).into(), step.goes_forward(), rests));
    });
    all.sort_unstable();
    all.dedup();
    all
}

/// Looks at all worlds of a room, and answers with the ways to the first two that count as one and are not alike.
fn unlike<S: Subject>(setting: &Setting<S>) -> Option<[Vec<Step>; 2]> {
    let memory = Memory::new(setting.clone());
    let mut desk = Desk::new(&memory);
    let first = World::new(&mut desk);
    let mut known: HashMap<Key, usize> = HashMap::from([(desk.key(&first).into(), 0)]);
    let mut worlds = vec![(first, 0, None)];
    let mut open = VecDeque::from([0]);
    while let Some(number) = open.pop_front() {
        let (world, ..) = worlds[number];
        let mut reached = Vec::new();
        world.steps(&mut desk, |desk, step, to, _| reached.push((Key::from(desk.key(&to)), step, to)));
        for (key, step, to) in reached {
            let Some(same) = known.get(&key).copied() else {
                open.push_back(worlds.len());
                known.insert(key, worlds.len());
                worlds.push((to, number, Some(step)));
                continue;
            };
            let (a, b) = (successors(&mut desk, &worlds[same].0), successors(&mut desk, &to));
            if a != b {
                let way = |mut number: usize| {
                    let mut way = Vec::new();
                    while let (_, before, Some(step)) = &worlds[number] {
                        way.push(step.clone());
                        number = *before;
                    }
                    way.reverse();
                    way
                };
                let mut other = way(number);
                other.push(step);
                return Some([way(same), other]);
            }
        }
    }
    None
}

/// Sessions that change places, where what becomes of them is told to several or cut in all of them.
fn sessions() -> [Room; 4] {
    use Manner::{ChatRestart, Force, Restart, SpeakEarly, SpeakFirst, TurnRestartWaits};
    [
        scope::room(Supervisor::Evergate, Size(3, 3, 1, 0, 0), &[Force, TurnRestartWaits, SpeakEarly, SpeakFirst]),
        scope::room(Supervisor::Systemd, Size(2, 3, 1, 1, 0), &[ChatRestart, SpeakEarly]),
        scope::room(Supervisor::Evergate, Size(2, 2, 0, 0, 1), &[]),
        scope::with(scope::room(Supervisor::Evergate, Size(2, 2, 2, 0, 0), &[Restart, SpeakEarly]), |budget| {
            budget.cancels = 1;
        }),
    ]
}

#[test]
fn worlds_that_count_as_one_lead_to_the_same() {
    let seed = scope::table().into_iter().filter(|scope| scope.name == "seed").flat_map(|scope| scope.rooms);
    for room in seed.chain(sessions()) {
        let found = unlike::<Gateway>(&room.setting(()));
        assert!(found.is_none(), "two ways to one world, from which others lead on: {found:#?}");
    }
}
