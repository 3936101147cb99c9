//! Whether a server can be reached: whoever answers there is not asked anything.

use crate::http::Base;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one address may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries each address that its name has, as the gateway does.
pub(super) fn knock(base: &Base) -> io::Result<()> {
    let mut refused = io::Error::other("its name has no address");
    for address in base.peer().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
