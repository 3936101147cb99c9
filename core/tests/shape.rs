//! Everything that the core can do within the bounds of the explorer's smallest scope, counted: a change that adds, drops
//! or redirects a single transition anywhere changes these numbers. The explorer's own world is used, so that what is
//! counted here is what is proven there.

#![allow(dead_code, reason = "the test uses a part of the explorer")]

#[path = "../../sim/src/story.rs"]
mod story;
#[path = "../../sim/src/subject.rs"]
mod subject;
#[path = "../../sim/src/world/mod.rs"]
mod world;

#[path = "../../sim/src/explore"]
mod explore {
    pub mod graph;
    mod known;
    pub mod liveness;
    pub mod scope;
}

mod panics {
    /// A panic fails this test as it is.
    pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
        Ok(body())
    }
}

use evergate_core::gateway::Gateway;
use explore::scope::{Shape, table};
use explore::{graph, liveness};

#[test]
fn the_smallest_scope_has_the_states_and_edges_that_it_had_and_nothing_in_it_is_broken() {
    let table = table();
    let scope = table.iter().find(|scope| scope.name == "seed").expect("there is such a scope");
    for (room, shape) in scope.rooms.iter().zip(scope.shapes) {
        let graph = graph::explore(&room.setting::<Gateway>(()), 1, |_| false);
        let found = graph.found.clone().or_else(|| liveness::broken(&graph));
        assert!(found.is_none(), "{:?}: {found:?}", room.supervisor);
        assert_eq!(Shape { states: graph.states(), edges: graph.edges() }, *shape, "{room:?}");
    }
}
