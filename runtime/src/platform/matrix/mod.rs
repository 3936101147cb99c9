//! Matrix: plain (unencrypted) rooms over the client-server API. A room is a chat, a thread in it a session of its own. The
//! homeserver replays from a token, and knows each send by a transaction id, so nothing is lost and nothing comes twice,
//! whatever dies.
//!
//! What is kept, by key: `login` (token and device, where we signed in with a password), `instance` (a random prefix of
//! transaction ids: a state directory that is begun anew must not repeat those of the old one), `since` (the token of the last
//! sync whose messages are all on disk), `behind.ROOM` (the token up to which a room was heard that has to be caught up with),
//! `invited.ROOM` (what is to be done about an invitation), `turn.TURN` (the event that shows a running answer, and how much
//! of it).

mod api;
mod behind;
mod invitations;
mod media;
mod receive;
mod show;
mod speak;
mod sync;

use self::api::{Api, Login, Trouble};
use super::{Capabilities, Edits, Ended, Health, Outbound, Platform, Port, Replay, Threads};
use crate::http::{Base, Trust};
use crate::secret::Secret;
use evergate_core::input::Standing;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::Notify;

/// The longest text of one event, in bytes: an event has 64 KiB at most, and an edit carries its text twice.
const TEXT_LIMIT: usize = 24_000;
/// The pause after a failure that gives none itself; doubled up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How to sign in.
#[derive(Clone, Debug)]
pub enum Credential {
    /// With an access token that somebody made.
    Token(Secret),
    /// With a password; the token that this gives is kept.
    Password(Secret),
}

/// The adapter, as it is configured.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The homeserver.
    pub homeserver: Base,
    /// What TLS trusts.
    pub trust: Trust,
    /// The user id or its local part.
    pub user: String,
    /// How to sign in; an error says why there is nothing to do that with.
    pub credential: Result<Credential, String>,
    /// Who may talk to the agent, by full user id.
    pub allowed_users: Vec<String>,
    /// Who may use the life-cycle commands, by full user id; they may also talk.
    pub operators: Vec<String>,
    /// The largest file in bytes that is taken.
    pub file_limit: u64,
}

impl Platform for Matrix {
    fn name(&self) -> &'static str {
        "matrix"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outbound: Outbound::Idempotent,
            replay: Replay::Cursor,
            edits: Edits::Yes,
            threads: Threads::Yes,
            text_limit: Some(TEXT_LIMIT),
            pace: None,
        }
    }

    fn run(&self, port: Port) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = port.closing() => Ended::Closed,
                why = self.serve(&port) => Ended::Parked { why },
            }
        })
    }
}

/// One who is signed in, with all that the parts of the adapter share.
struct Session<'a> {
    matrix: &'a Matrix,
    port: &'a Port,
    api: Api,
    /// The prefix of transaction ids.
    instance: String,
    shown: show::Shown,
    /// There are new invitations.
    invited: Notify,
}

impl Matrix {
    /// Signs in and works until that is no longer possible; gives the reason.
    async fn serve(&self, port: &Port) -> String {
        let mut pause = Pause::default();
        loop {
            let begun = port.environment().now();
            let session = match self.sign_in(port).await {
                Ok(session) => session,
                Err(why) => return why,
            };
            port.forget_settled().await;
            let why = tokio::select! {
                biased;
                why = session.receive() => why,
                why = session.visit() => why,
                why = session.speak() => why,
                why = session.show() => why,
            };
            if let Ok(Credential::Token(_)) = self.credential {
                return format!(
                    "the homeserver does not take the access token any more ({why}); make a new one and restart"
                );
            }
            tracing::warn!(platform = "matrix", why, "signed out; signing in again");
            // A homeserver that gives tokens and takes none is not asked in a tight loop.
            if port.environment().now() > begun + LONGEST_PAUSE {
                pause = Pause::default();
            }
            pause.wait(port, &why, None).await;
            if let Err(why) = port.keep([("login".to_owned(), None)]).await {
                tracing::warn!(platform = "matrix", why, "the old login could not be forgotten");
            }
        }
    }

    /// Signs in, however long the homeserver is away. An error is for a person to mend.
    async fn sign_in<'a>(&'a self, port: &'a Port) -> Result<Session<'a>, String> {
        let credential = self.credential.clone()?;
        let client = api::client(port.environment(), &self.homeserver, &self.trust);
        let media = api::media(port.environment(), &self.homeserver, &self.trust);
        let mut pause = Pause::default();
        loop {
            let opened = async {
                let instance = instance(port).await.map_err(passing)?;
                let (token, user) = match &credential {
                    Credential::Token(token) => (token.clone(), None),
                    Credential::Password(password) => {
                        let login = self.login(port, &client, password).await?;
                        let token =
                            Secret::new(&login.access_token).ok_or_else(|| passing("the login gave no token"))?;
                        (token, Some(login.user_id))
                    }
                };
                let api = Api::open(&client, &media, token, user).await?;
                Ok(Session { matrix: self, port, api, instance, shown: show::Shown::default(), invited: Notify::new() })
            };
            match opened.await {
                Ok(session) => return Ok(session),
                Err(Trouble::Passing { why, after, .. }) => pause.wait(port, &why, after).await,
                Err(Trouble::SignedOut { why } | Trouble::Refused { why }) => {
                    return Err(format!("the homeserver does not let us in ({why}); correct [matrix] and restart"));
                }
            }
        }
    }

    /// The login that was kept, or a new one. The device stays the same, since transaction ids count for it.
    async fn login(&self, port: &Port, client: &crate::http::Client, password: &Secret) -> Result<Login, Trouble> {
        let kept = async |key| port.kept(key).await.map_err(|error| passing(error.to_string()));
        if let Some(login) = kept("login").await?.and_then(|login| serde_json::from_str(&login).ok()) {
            return Ok(login);
        }
        let device = kept("device").await?;
        let login = api::login(client, &self.user, password, device.as_deref()).await?;
        let row = serde_json::to_string(&login).map_err(|error| passing(error.to_string()))?;
        let rows = [("login".to_owned(), Some(row)), ("device".to_owned(), Some(login.device_id.clone()))];
        port.keep(rows).await.map_err(passing)?;
        Ok(login)
    }

    /// What somebody may do; `None` for strangers.
    fn standing(&self, user: &str) -> Option<Standing> {
        let listed = |list: &[String]| list.iter().any(|listed| listed == user);
        match (listed(&self.operators), listed(&self.allowed_users)) {
            (true, _) => Some(Standing::Operator),
            (false, true) => Some(Standing::Guest),
            (false, false) => None,
        }
    }
}

/// The prefix of this state directory's transaction ids.
async fn instance(port: &Port) -> Result<String, String> {
    if let Some(instance) = port.kept("instance").await.map_err(|error| error.to_string())? {
        return Ok(instance);
    }
    let mut bytes = [0; 8];
    port.environment().random(&mut bytes);
    let instance: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    port.keep([("instance".to_owned(), Some(instance.clone()))]).await?;
    Ok(instance)
}

/// Something of our own that may pass.
fn passing(why: impl Into<String>) -> Trouble {
    Trouble::Passing { why: why.into(), after: None, fate: crate::http::Fate::Unsent }
}

/// How long to wait after the next failure.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE)
    }
}

impl Pause {
    /// Waits, and says so. What the server asks for counts, within reason.
    async fn wait(&mut self, port: &Port, why: &str, after: Option<Duration>) {
        let pause = after.unwrap_or(self.0).min(Duration::from_secs(600));
        let until = port.environment().now() + pause;
        port.health(Health::Waiting { why: why.to_owned(), until });
        port.environment().sleep_until(until).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
