//! Texts that are owed to chats: when they are tried again, and what is said about them that makes no sense.

mod world;

use evergate_core::gateway::Pending;
use evergate_core::id::DeliveryId;
use evergate_core::input::{Asked, Input};
use evergate_core::supervisor::Supervisor;
use world::World;

/// A chat that is owed two notices, the first of which is being sent.
fn owing() -> (World, [DeliveryId; 2]) {
    let mut world = World::serving(Supervisor::Evergate);
    world.say(1, Asked::Help);
    world.say(1, Asked::Status);
    world.commit_all();
    let owed: Vec<_> = world.up().outbox().keys().copied().collect();
    assert_eq!(world.sending.keys().copied().collect::<Vec<_>>(), owed[..1]);
    (world, [owed[0], owed[1]])
}

fn fails(world: &mut World, delivery: DeliveryId) {
    world.sending.remove(&delivery);
    world.tell(Input::DeliveryFailed { delivery });
}

#[test]
fn a_delivery_that_failed_is_tried_again_after_its_pause_and_not_before() {
    let (mut world, [first, second]) = owing();
    let since = world.now;
    fails(&mut world, first);
    assert_eq!(world.up().pending(), Some(Pending::Deliveries(2)));
    world.wait(world.limits.delivery_retry / 2);
    world.tell(Input::Elapsed);
    assert!(world.sending.is_empty(), "not yet");
    world.elapse();
    assert_eq!(world.now - since, world.limits.delivery_retry);
    assert!(world.sending.contains_key(&first));
    world.sent(first);
    world.commit_all();
    assert!(world.sending.contains_key(&second));
    world.heal();
}

#[test]
fn only_what_is_being_sent_can_fail() {
    let (mut world, [first, second]) = owing();
    let before = world.up().clone();
    fails(&mut world, second);
    assert_eq!(*world.up(), before, "it was not handed out");
    fails(&mut world, first);
    let before = world.up().clone();
    world.wait(world.limits.delivery_retry / 2);
    fails(&mut world, first);
    assert_eq!(*world.up(), before, "it failed once");
    world.heal();
    assert_eq!(world.arrived.len(), 2);
}
