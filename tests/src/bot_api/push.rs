//! Updates brought to a webhook, one at a time, each until it is answered with 2xx, as the real server does with
//! `max_connections` 1. It is more patient: it never gives up.

use super::faults::Kind;
use super::world::Shared;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(300);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where updates are brought.
#[derive(Clone, Debug, Default)]
pub struct Webhook {
    /// The address.
    pub url: String,
    /// What is shown there.
    pub secret: String,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// Brings updates as long as the server lives.
pub async fn bring(shared: Shared) {
    loop {
        let next = {
            let world = shared.lock();
            let hook = world.webhook.clone().filter(|_| !world.down);
            hook.and_then(|hook| Some((hook, world.updates.first()?)))
        };
        let Some((hook, update)) = next else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let fault = shared.lock().faults.strike("push", None);
        let brought = match tokio::time::timeout(PATIENCE, visit(&hook, &update)).await {
            Ok(Ok(status)) if (200..300).contains(&status) && fault != Some(Kind::LoseAnswer) => Ok(status),
            Ok(Ok(status)) => Err((status, format!("Wrong response from the webhook: {status}"))),
            Ok(Err(why)) => Err((0, why)),
            Err(_) => Err((0, "Read timeout expired".to_owned())),
        };
        let pause = {
            let mut world = shared.lock();
            world.note("push", None, brought.as_ref().map_or_else(|(status, _)| *status, |status| *status));
            let id = update["update_id"].as_i64().unwrap_or(0);
            match brought {
                Ok(_) => {
                    let _confirmed = world.updates.take(id + 1, 0);
                    Duration::ZERO
                }
                Err((_, why)) => {
                    if let Some(hook) = &mut world.webhook {
                        hook.last_error = Some(why);
                    }
                    PAUSE
                }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn visit(hook: &Webhook, update: &Value) -> Result<u16, String> {
    let place = hook.url.strip_prefix("http://").ok_or("this server has no TLS")?;
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let stream = TcpStream::connect(host).await.map_err(|error| format!("Connection refused: {error}"))?;
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let request = Request::post(format!("/{path}"))
        .header("host", host)
        .header("content-type", "application/json")
        .header("x-telegram-bot-api-secret-token", &hook.secret)
        .body(Full::new(Bytes::from(update.to_string())))
        .map_err(|error| error.to_string())?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let _body = answer.into_body().collect().await;
        Ok(status)
    };
    tokio::pin!(connection);
    tokio::select! {
        biased;
        answered = answered => answered,
        broken = &mut connection => Err(format!("Connection reset by peer: {broken:?}")),
    }
}
