//! Matrix, against a real homeserver.

use evergate_tests::matrix::{Rooms, Synapse};
use evergate_tests::skipped;

fn venue(test: &str) -> Option<Rooms> {
    match Synapse::start() {
        Ok(synapse) => Some(Rooms::new(synapse, 3)),
        Err(why) => {
            skipped(&format!("contract::matrix::{test}"), &why);
            None
        }
    }
}

evergate_tests::contract!(venue);
