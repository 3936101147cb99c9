//! Bringing a gateway into the state that is to be measured: many sessions that have said something.

use std::io;
use std::net::SocketAddr;
use std::thread;

use crate::connection::Connection;

/// Messages on their way at once: as many as make large commits.
const CLIENTS: usize = 64;

/// Says `text` once in each of these sessions (`chat-0`, `chat-1`, …) of the gateway at `address` and waits until all of it is accepted. `id` makes
/// the messages different from those of an earlier call.
///
/// # Panics
/// When a message is not accepted.
pub fn say_in_each((address, token): (SocketAddr, &str), sessions: std::ops::Range<usize>, text: &str, id: &str) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let sessions = sessions.clone();
            scope.spawn(move || {
                let mut connection = Connection::open(address, token).expect("the gateway listens");
                for session in sessions.skip(client).step_by(CLIENTS) {
                    let status = say(&mut connection, &format!("chat-{session}"), text, id);
                    let status = status.expect("the gateway answers");
                    assert_eq!(status, 202, "a message in chat-{session} is accepted");
                }
            });
        }
    });
}

fn say(connection: &mut Connection, session: &str, text: &str, id: &str) -> io::Result<u16> {
    connection.send_message(session, text, id)?;
    loop {
        if let Some(status) = connection.take_answer() {
            return Ok(status);
        }
        connection.receive()?;
    }
}
