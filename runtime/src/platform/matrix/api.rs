//! The handful of calls of Matrix's client-server API that the adapter needs (specification v1.11), and what their failures
//! mean. It keeps no state but the account that it speaks for.

use super::sync::{Page, Synced};
use crate::environment::Environment;
use crate::files::Fresh;
use crate::http::{Base, Call, Client, Error, Fate, Patience, Refusal, Trust, encode};
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the server may hold a sync that has no news.
const LONG_POLL: Duration = Duration::from_secs(30);
/// Events of one room in one sync; what lies before is fetched page by page.
const TIMELINE: usize = 50;
/// How long a file may take to the homeserver, or from it.
const FILE: Duration = Duration::from_secs(600);
/// How long the server may take to say what was said before: the other rooms wait for that.
const BEFORE: Duration = Duration::from_secs(10);
/// Events in a page.
const PAGE: usize = 100;

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass.
    Passing {
        /// What happened, in a clause.
        why: String,
        /// How long the server wants to be left alone.
        after: Option<Duration>,
        /// Whether the call may have been carried out.
        fate: Fate,
    },
    /// The access token counts no more.
    SignedOut {
        /// What the server said.
        why: String,
    },
    /// The server will never do that.
    Refused {
        /// What it said.
        why: String,
    },
}

impl Trouble {
    /// What happened, in a clause.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Passing { why, .. } | Self::SignedOut { why } | Self::Refused { why } => why,
        }
    }
}

/// An account on a homeserver, signed in.
pub struct Api {
    /// For calls that take long; the others must not wait behind them.
    polls: Client,
    calls: Client,
    /// For files.
    media: Client,
    token: Secret,
    /// The full user id, `@name:server`.
    pub user: String,
}

/// What a login gives.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct Login {
    /// The full user id.
    pub user_id: String,
    /// The token of all further calls.
    pub access_token: String,
    /// The device that transaction ids count for.
    pub device_id: String,
}

/// A client of the homeserver.
#[must_use]
pub fn client(environment: &Arc<dyn Environment>, base: &Base, trust: &Trust) -> Client {
    Client::new(Arc::clone(environment), base.join("_matrix/client/v3"), trust.clone())
}

/// A client of the homeserver's whole API: files are beside the rest of it.
#[must_use]
pub fn media(environment: &Arc<dyn Environment>, base: &Base, trust: &Trust) -> Client {
    Client::new(Arc::clone(environment), base.join("_matrix"), trust.clone())
}

/// Signs in with a password, as the device that was there before if there was one.
pub async fn login(client: &Client, user: &str, password: &Secret, device: Option<&str>) -> Result<Login, Trouble> {
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password.reveal(),
        "device_id": device,
        "initial_device_display_name": "Evergate",
    });
    // A login that a server refuses is no sign that a token has run out.
    match read(client.clone().hiding(password).json(Call::post("login", "/login").json(&body)).await) {
        Err(Trouble::SignedOut { why }) => Err(Trouble::Refused { why }),
        other => other,
    }
}

impl Api {
    /// Speaks for an account; its user id is asked for where it is not known.
    pub async fn open(client: &Client, media: &Client, token: Secret, user: Option<String>) -> Result<Self, Trouble> {
        #[derive(Deserialize)]
        struct WhoAmI {
            user_id: String,
        }
        let calls = client.clone().hiding(&token);
        let (polls, media) = (calls.clone(), media.clone().hiding(&token));
        let user = match user {
            Some(user) => user,
            None => {
                let who: WhoAmI = read(calls.json(Call::get("whoami", "/account/whoami").bearer(&token)).await)?;
                who.user_id
            }
        };
        Ok(Self { polls, calls, media, token, user })
    }

    /// What has happened since; the server waits a while for news, but not longer than this.
    pub async fn sync(&self, since: Option<&str>, longest: Duration) -> Result<Synced, Trouble> {
        // A first sync asks for nothing of what was said before.
        let timeline = if since.is_some() { TIMELINE } else { 1 };
        let filter = json!({
            "presence": {"types": []}, "account_data": {"types": []},
            "room": {
                "ephemeral": {"types": []}, "account_data": {"types": []}, "state": {"types": ["m.room.member"], "lazy_load_members": true},
                "timeline": {"limit": timeline, "types": ["m.room.message", "m.room.member", "m.room.encrypted"]},
            },
        });
        let wait = if since.is_some() { LONG_POLL.min(longest) } else { Duration::ZERO };
        let whole = wait + Duration::from_secs(60);
        let mut call = Call::get("sync", "/sync")
            .query("filter", &filter.to_string())
            .query("timeout", &wait.as_millis().to_string())
            .patience(Patience { answer: whole, whole: Some(whole), ..Patience::default() });
        if let Some(since) = since {
            call = call.query("since", since);
        }
        read(self.polls.json(call.bearer(&self.token)).await)
    }

    /// What was said in a room before `from`, newest first, not further back than `to`.
    pub async fn before(&self, room: &str, from: &str, to: &str) -> Result<Page, Trouble> {
        let call = Call::get("messages", &format!("/rooms/{}/messages", encode(room)))
            .query("dir", "b")
            .query("from", from)
            .query("to", to)
            .query("limit", &PAGE.to_string())
            .patience(Patience { answer: BEFORE, ..Patience::default() });
        self.ask(call).await
    }

    /// Says something in a room; the same transaction id a second time says nothing and gives the first event's id.
    pub async fn say(&self, room: &str, transaction: &str, content: &Value) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Sent {
            event_id: String,
        }
        let path = format!("/rooms/{}/send/m.room.message/{}", encode(room), encode(transaction));
        let sent: Sent = self.ask(Call::new(hyper::Method::PUT, "send", &path).json(content)).await?;
        Ok(sent.event_id)
    }

    /// Brings a file of so many bytes to the homeserver; gives its address. Before an event names it nobody sees it.
    pub async fn upload(&self, name: &str, media_type: &str, path: &Path, size: u64) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Uploaded {
            content_uri: String,
        }
        let call = Call::post("upload", "/media/v3/upload")
            .query("filename", name)
            .file(media_type, path, size)
            .patience(Patience { answer: FILE, whole: Some(FILE), ..Patience::default() });
        let uploaded: Uploaded = read(self.media.json(call.bearer(&self.token)).await)?;
        Ok(uploaded.content_uri)
    }

    /// Writes a file's bytes into `fresh`, which limits them.
    pub async fn download(&self, server: &str, id: &str, fresh: &mut Fresh) -> Result<(), Trouble> {
        let place = format!("download/{}/{}", encode(server), encode(id));
        match self.get_file(&format!("/client/v1/media/{place}"), fresh).await {
            // A server from before version 1.11 of the specification.
            Err(Trouble::Refused { why }) if why.contains("M_UNRECOGNIZED") => {
                self.get_file(&format!("/media/v3/{place}"), fresh).await
            }
            other => other,
        }
    }

    async fn get_file(&self, path: &str, fresh: &mut Fresh) -> Result<(), Trouble> {
        let call = Call::get("download", path).patience(Patience { whole: Some(FILE), ..Patience::default() });
        let answer = read(self.media.send(call.bearer(&self.token)).await)?;
        let mut body = read(answer.successful().await)?.body;
        while let Some(bytes) = read(body.next().await)? {
            fresh.write(&bytes).map_err(|error| match error.kind() {
                ErrorKind::FileTooLarge => Trouble::Refused { why: "it is larger than files may be".into() },
                _ => Trouble::Refused { why: format!("it cannot be written: {error}") },
            })?;
        }
        Ok(())
    }

    /// Enters a room that it was invited to.
    pub async fn join(&self, room: &str) -> Result<(), Trouble> {
        let path = format!("/rooms/{}/join", encode(room));
        self.ask::<Value>(Call::post("join", &path).json(&json!({})).repeatable()).await.map(drop)
    }

    /// Leaves a room, or declines an invitation.
    pub async fn leave(&self, room: &str) -> Result<(), Trouble> {
        let path = format!("/rooms/{}/leave", encode(room));
        self.ask::<Value>(Call::post("leave", &path).json(&json!({})).repeatable()).await.map(drop)
    }

    /// Shows or hides that it is writing.
    pub async fn typing(&self, room: &str, typing: bool) -> Result<(), Trouble> {
        let path = format!("/rooms/{}/typing/{}", encode(room), encode(&self.user));
        let body = if typing { json!({"typing": true, "timeout": 30_000}) } else { json!({"typing": false}) };
        self.ask::<Value>(Call::new(hyper::Method::PUT, "typing", &path).json(&body)).await.map(drop)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, call: Call) -> Result<T, Trouble> {
        read(self.calls.json(call.bearer(&self.token)).await)
    }
}

/// What a failed call means.
fn read<T>(answer: Result<T, Error>) -> Result<T, Trouble> {
    answer.map_err(|error| match &error {
        Error::Refused(refusal) => refused(refusal),
        _ => Trouble::Passing { why: error.to_string(), after: None, fate: error.fate() },
    })
}

fn refused(refusal: &Refusal) -> Trouble {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Said {
        errcode: String,
        retry_after_ms: Option<u64>,
    }
    let said: Said = serde_json::from_str(&refusal.body).unwrap_or_default();
    let why = refusal.to_string();
    match (refusal.status, said.errcode.as_str()) {
        (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN" | "M_USER_DEACTIVATED") => Trouble::SignedOut { why },
        (429, _) | (_, "M_LIMIT_EXCEEDED") => {
            let after = said.retry_after_ms.map(Duration::from_millis).or(refusal.retry_after());
            Trouble::Passing { why, after, fate: Fate::Unsent }
        }
        // Whoever refuses without the specification's code is no homeserver, but something before it that may be mended; what is
        // too large for that stays so.
        (400..=499, code) if !code.is_empty() || refusal.status == 413 => Trouble::Refused { why },
        // A server that fails may have done it all the same.
        _ => Trouble::Passing { why, after: refusal.retry_after(), fate: Fate::Unknown },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Place;
    use hyper::{HeaderMap, Method};

    fn said(status: u16, body: &str) -> Trouble {
        let place = Place { method: Method::PUT, server: "http://matrix.test".into(), name: "say" };
        refused(&Refusal { place, status, headers: HeaderMap::default(), body: body.into() })
    }

    #[test]
    fn only_the_homeservers_own_refusal_is_final() {
        assert!(matches!(said(403, r#"{"errcode": "M_FORBIDDEN", "error": "no"}"#), Trouble::Refused { .. }));
        assert!(matches!(said(413, "<html>too large</html>"), Trouble::Refused { .. }));
        assert!(matches!(said(401, r#"{"errcode": "M_UNKNOWN_TOKEN"}"#), Trouble::SignedOut { .. }));
        for (status, body) in
            [(404, "<html>nobody is here</html>"), (403, "{}"), (400, r#"{"error": "no code"}"#), (502, "")]
        {
            assert!(matches!(said(status, body), Trouble::Passing { fate: Fate::Unknown, .. }), "{status} {body}");
        }
        let quiet = said(429, r#"{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}"#);
        let after = Duration::from_millis(1500);
        assert!(matches!(quiet, Trouble::Passing { after: Some(asked), fate: Fate::Unsent, .. } if asked == after));
    }
}
