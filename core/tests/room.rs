//! What is refused for want of room, and what takes none.

mod world;

use evergate_core::input::Asked;
use evergate_core::supervisor::Supervisor;
use world::World;

#[test]
fn a_chat_that_only_began_a_new_conversation_takes_no_room_from_others() {
    let mut world = World::serving(Supervisor::Evergate);
    world.limits.sessions = 1;
    world.kill();
    world.start_again();
    world.say(1, Asked::Renew);
    world.commit_all();
    world.send_all();
    let next = world.say(2, Asked::Prompt);
    world.commit_all();
    assert!(world.said[next].acked);
    let one_too_many = world.say(3, Asked::Prompt);
    assert!(!world.said[one_too_many].acked);
    world.heal();
    assert_eq!(world.replies_to(next), 1);
}
