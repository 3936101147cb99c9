//! Who may come in. The network door wants a loopback `Host`, no foreign `Origin`, and the token; the control socket's
//! door wants nothing more than the file mode that let the client connect.

use super::{Local, answer};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Which door a client came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The loopback network.
    Network,
    /// The control socket, which only our own user can reach.
    Control,
}

/// Codes that may wait to be used at once.
const CODES: usize = 16;

/// The secrets of the network door.
pub struct Access {
    token: String,
    codes: Mutex<Vec<String>>,
    /// Where the page is, for links.
    base: String,
}

impl Access {
    /// Reads the token from the state directory, or makes one: 32 random bytes, readable by this user only.
    pub fn open(state_dir: &Path, base: String, random: impl Fn(&mut [u8])) -> io::Result<Self> {
        let path = state_dir.join("token");
        let token = match std::fs::read_to_string(&path) {
            Ok(token) if !token.trim().is_empty() => token.trim().to_owned(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {
                let token = secret(&random);
                let fresh = state_dir.join("token.new");
                let mut file =
                    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
                file.write_all(token.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&fresh, &path)?;
                token
            }
        };
        Ok(Self::new(token, base))
    }

    /// With this token, wherever it is kept.
    #[must_use]
    pub fn new(token: String, base: String) -> Self {
        Self { token, codes: Mutex::default(), base }
    }

    /// A link to the page that gives whoever opens it first the token, once.
    pub fn link(&self, random: impl Fn(&mut [u8])) -> String {
        let code = secret(&random);
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() == CODES {
            codes.remove(0);
        }
        let link = format!("{}/#code={code}", self.base);
        codes.push(code);
        link
    }

    fn use_code(&self, code: &str) -> bool {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = codes.iter().position(|known| same(known, code));
        found.map(|at| codes.remove(at)).is_some()
    }
}

fn secret(random: &impl Fn(&mut [u8])) -> String {
    let mut bytes = [0; 32];
    random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that depends on the lengths only.
fn same(one: &str, other: &str) -> bool {
    let difference = one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && difference == 0
}

/// Lets nobody in who was sent by a page from elsewhere, or by a name that some other machine's owner gave to this address.
pub async fn origin(State(local): State<Arc<Local>>, request: Request, next: Next) -> Response {
    if local.door == Door::Network {
        let host = header_text(request.headers(), header::HOST).or_else(|| request.uri().host()).unwrap_or_default();
        if !is_loopback(host) {
            return answer::error(
                StatusCode::FORBIDDEN,
                "the Host header does not name this machine's loopback; open http://127.0.0.1",
            );
        }
        if let Some(origin) = request.headers().get(header::ORIGIN) {
            let own = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host);
            if !own {
                return answer::error(StatusCode::FORBIDDEN, "calls from pages of another origin are not allowed");
            }
        }
    }
    next.run(request).await
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(name, port)| (name, port.strip_prefix(':').unwrap_or(port))),
        None => Some(host.rsplit_once(':').unwrap_or((host, ""))),
    };
    name.is_some_and(|(name, port)| {
        port.chars().all(|digit| digit.is_ascii_digit())
            && (name.eq_ignore_ascii_case("localhost")
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()))
    })
}

/// Lets only holders of the token through the network door.
pub async fn token(State(local): State<Arc<Local>>, request: Request, next: Next) -> Response {
    if local.door == Door::Network {
        let given = header_text(request.headers(), header::AUTHORIZATION)
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, given)| given);
        match given {
            None => {
                let sentence =
                    "a token is needed: Authorization: Bearer <the text of the file `token` in the state directory>";
                let mut response = answer::error(StatusCode::UNAUTHORIZED, sentence);
                response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
                return response;
            }
            Some(given) if !same(given.trim(), &local.access.token) => {
                return answer::error(StatusCode::FORBIDDEN, "this is not the token in the state directory");
            }
            Some(_) => {}
        }
    }
    next.run(request).await
}

/// Gives the token for a one-time code.
pub async fn login(State(local): State<Arc<Local>>, body: axum::body::Body) -> Response {
    let code = match super::messages::read_json(body).await {
        Ok(body) => body.get("code").and_then(Value::as_str).map(str::to_owned),
        Err(refused) => return *refused,
    };
    match code {
        None => answer::error(StatusCode::BAD_REQUEST, "a JSON object with \"code\" is needed"),
        Some(code) if local.access.use_code(&code) => axum::Json(json!({"token": local.access.token})).into_response(),
        Some(_) => answer::error(
            StatusCode::FORBIDDEN,
            "This link was used before, or replaced by newer ones: a link works once. `evergate link` prints a fresh one.",
        ),
    }
}

/// Gives a fresh link; only through the control socket.
pub async fn link(State(local): State<Arc<Local>>) -> Response {
    match local.door {
        Door::Network => answer::error(StatusCode::FORBIDDEN, "links are given out on the control socket only"),
        Door::Control => {
            let link = local.access.link(|bytes| local.environment.random(bytes));
            axum::Json(json!({"link": link})).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_are_let_in() {
        for host in ["127.0.0.1:8787", "localhost", "LOCALHOST:1", "[::1]:8787", "[::1]", "127.1.2.3"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "192.168.0.1:80",
            "localhost:8787@evil",
            "[::2]:1",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_code_works_once() {
        let folder = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        let random = |bytes: &mut [u8]| {
            count.set(count.get() + 1);
            bytes.fill(count.get());
        };
        let access = Access::open(folder.path(), "http://127.0.0.1:1".into(), random).unwrap();
        let link = access.link(random);
        let code = link.split_once("#code=").unwrap().1;
        assert!(!access.use_code("something else"));
        assert!(access.use_code(code));
        assert!(!access.use_code(code));
        let again = Access::open(folder.path(), String::new(), random).unwrap();
        assert_eq!(again.token, access.token, "the token outlives the process");
    }
}
