//! Updates that the server brings, where it is not polled. It brings one at a time and keeps it until it is answered with 200,
//! which is said only when the update is on disk; so nothing is lost, and whatever is brought twice is known. Whoever else
//! finds the address does not know the secret that the server was told.

use super::api::{Api, Trouble};
use super::receive::Receiver;
use super::update;
use crate::environment::{Address, Listener};
use crate::platform::{Ended, Health, Port};
use crate::secret::Secret;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The header that carries the secret.
const SECRET: &str = "x-telegram-bot-api-secret-token";
/// The largest update that is read, in bytes: the longest message is far smaller.
const BODY: usize = 1 << 20;
/// How long one may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long one may take to reach the disk; the server brings it again.
const ON_DISK: Duration = Duration::from_secs(50);
/// Updates that wait to be taken in. The server brings one at a time.
const WAITING: usize = 4;
/// How often it is looked at how the server gets on with the address: only it knows whether it can be reached.
const LOOK: Duration = Duration::from_secs(30);
/// The first pause after trouble; doubled up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// The key of what is kept: the address that the server was told last.
const TOLD: &str = "webhook";

/// Where updates are brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The address that the server is told.
    pub url: String,
    /// Where whatever answers there hands them on to.
    pub listen: SocketAddr,
}

/// One update, with the place for the answer: whether it is on disk.
struct Brought {
    update: Value,
    taken: oneshot::Sender<bool>,
}

/// What the address's visitors meet.
#[derive(Clone)]
struct Door {
    secret: Secret,
    brought: mpsc::Sender<Brought>,
}

/// Takes what the server brings until a person has to mend something.
pub async fn run(receiver: Receiver<'_>, hook: &Hook, bot: &str, api: &Api, port: &Port) -> Ended {
    let secret = secret(port, bot).await;
    let listener = listen(hook.listen, port).await;
    let (brought, bringing) = mpsc::channel(WAITING);
    let router = Router::new().fallback(visited).with_state(Door { secret: secret.clone(), brought });
    tokio::select! {
        biased;
        ended = keep_told(hook, &secret, api, port) => ended,
        () = take_in(receiver, bringing) => Ended::Closed,
        () = port.serve(listener, router) => Ended::Closed,
    }
}

/// Where updates are polled for: takes away an address that the server was told.
pub async fn forget(api: &Api, port: &Port) {
    if matches!(port.kept(TOLD).await, Ok(None)) {
        return;
    }
    let forgotten = match api.delete_webhook().await {
        Ok(()) => port.keep([(TOLD.to_owned(), None)]).await,
        Err(trouble) => Err(trouble.to_string()),
    };
    match forgotten {
        Ok(()) => {
            tracing::info!(platform = super::NAME, "the webhook is taken away: from now on updates are polled for")
        }
        // The server will say that there is one, and it is taken away then.
        Err(why) => tracing::warn!(platform = super::NAME, why, "the webhook is not taken away yet"),
    }
}

async fn take_in(mut receiver: Receiver<'_>, mut bringing: mpsc::Receiver<Brought>) {
    while let Some(Brought { update, taken }) = bringing.recv().await {
        // Who brought it has waited too long, and brings it again: until then others come first.
        if taken.is_closed() {
            continue;
        }
        // Whoever goes meanwhile brings it again, and it is known.
        let _gone = taken.send(receiver.take(&update).await);
    }
}

/// One visit: 200 says that the update is on disk, or is none that anybody waits for.
async fn visited(State(door): State<Door>, request: Request<Body>) -> StatusCode {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let said = request.headers().get(SECRET).map_or(&b""[..], |value| value.as_bytes());
    if !door.secret.is(said) {
        return StatusCode::UNAUTHORIZED;
    }
    let update = match tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), BODY)).await {
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
        Ok(Err(error)) => {
            let too_large = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            return if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        }
        Ok(Ok(body)) => serde_json::from_slice::<Value>(&body).ok().filter(|update| update::number(update).is_some()),
    };
    let Some(update) = update else {
        tracing::warn!(platform = super::NAME, "what was brought is no update");
        return StatusCode::BAD_REQUEST;
    };
    let (taken, answer) = oneshot::channel();
    if door.brought.try_send(Brought { update, taken }).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match tokio::time::timeout(ON_DISK, answer).await {
        Ok(Ok(true)) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Tells the server where to bring updates, and watches how it gets on with that.
async fn keep_told(hook: &Hook, secret: &Secret, api: &Api, port: &Port) -> Ended {
    let (mut told, mut pause) = (false, PAUSE);
    loop {
        let trouble = if told {
            match api.webhook().await {
                Ok(seen) if seen.url != hook.url => {
                    tracing::warn!(
                        platform = super::NAME,
                        found = seen.url,
                        "somebody has changed the bot's webhook; it is set again"
                    );
                    told = false;
                    continue;
                }
                Ok(seen) => {
                    pause = PAUSE;
                    let until = port.environment().now() + LOOK;
                    port.health(match seen.last_error.filter(|_| seen.waiting > 0) {
                        Some(error) => {
                            let waiting = seen.waiting;
                            let why = format!("the server cannot bring {waiting} updates to telegram.webhook: {error}");
                            Health::Waiting { why, until }
                        }
                        None => Health::Up,
                    });
                    port.environment().sleep_until(until).await;
                    continue;
                }
                Err(trouble) => trouble,
            }
        } else {
            match api.set_webhook(&hook.url, secret).await {
                Ok(()) => {
                    if let Err(why) = port.keep([(TOLD.to_owned(), Some(hook.url.clone()))]).await {
                        tracing::warn!(platform = super::NAME, why, "a later start does not know of the webhook");
                    }
                    told = true;
                    continue;
                }
                Err(trouble) => trouble,
            }
        };
        match trouble {
            Trouble::Unauthorized => return Ended::Parked { why: super::wrong_token() },
            Trouble::Refused { why } if !told => {
                return Ended::Parked {
                    why: format!(
                        "the server does not take telegram.webhook ({why}); correct it, or leave it out to poll, and restart"
                    ),
                };
            }
            Trouble::SlowDown(length) => super::wait(port, trouble.to_string(), length).await,
            trouble => {
                super::wait(port, trouble.to_string(), pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

/// The secret that the server shows; made once for each bot, so that what is brought for an earlier one is turned away.
async fn secret(port: &Port, bot: &str) -> Secret {
    let key = format!("webhook.secret.{bot}");
    loop {
        let why = match port.kept(&key).await {
            Ok(Some(kept)) => match Secret::new(&kept) {
                Some(secret) => return secret,
                None => "the kept secret is empty".to_owned(),
            },
            Ok(None) => {
                let mut bytes = [0; 32];
                port.environment().random(&mut bytes);
                let made: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                match port.keep([(key.clone(), Some(made))]).await {
                    Ok(()) => continue,
                    Err(why) => why,
                }
            }
            Err(error) => error.to_string(),
        };
        super::wait(port, why, PAUSE).await;
    }
}

/// Opens the address, waiting for whoever is there.
async fn listen(address: SocketAddr, port: &Port) -> Box<dyn Listener> {
    let mut pause = PAUSE;
    loop {
        match port.environment().listen(&Address::Platform(address)).await {
            Ok(listener) => return listener,
            Err(error) => {
                super::wait(port, format!("telegram.webhook_listen, {address}, cannot be listened on: {error}"), pause)
                    .await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}
