//! People who come to a gateway a hundred times a second, whatever becomes of it: each visit is a TCP connection of its own
//! that asks for readiness, and some talk in sessions of their own beside that. They count who was turned away at the
//! door, who was let in and got no answer, and how long anybody waited; what was said to them is judged at the end.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::events::Follower;
use crate::http::{self, Client};
use crate::oracle::{self, Accepted, Words};
use crate::{GLANCE, PATIENCE, eventually};

/// Between two visits, whatever became of those before.
const PAUSE: Duration = Duration::from_millis(10);
/// How many people talk.
const TALKERS: usize = 4;
/// How long a second answer may take to come, if one came at all.
const AFTERTHOUGHT: Duration = Duration::from_millis(300);

/// What became of the visits so far.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Visits that were answered, whatever the answer.
    pub answered: usize,
    /// Connections that were refused.
    pub refused: Vec<String>,
    /// Connections that were let in, and ended without an answer.
    pub cut: Vec<String>,
    /// The longest time from knocking to the answer.
    pub longest: Duration,
}

/// Visitors of one gateway, from their first visit to the judgement.
pub struct Visitors {
    address: SocketAddr,
    token: String,
    /// Sets their sessions apart from those of earlier visitors.
    group: usize,
    over: AtomicBool,
    account: Mutex<Account>,
    said: Mutex<Vec<Accepted>>,
}

impl Visitors {
    /// Nobody has come yet.
    pub fn new(address: SocketAddr, token: String) -> Self {
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let (group, over) = (GROUPS.fetch_add(1, Ordering::Relaxed), AtomicBool::new(false));
        Self { address, token, group, over, account: Mutex::default(), said: Mutex::default() }
    }

    fn session(&self, talker: usize) -> String {
        format!("visitors-{}-{talker}", self.group)
    }

    /// They come from now on, until `busy` is over; then everybody who still waits is waited for. Gives the account.
    pub fn visit_during(&self, busy: impl FnOnce()) -> Account {
        thread::scope(|scope| {
            scope.spawn(|| self.come(scope));
            for talker in 0..TALKERS {
                scope.spawn(move || self.talk(talker));
            }
            let _end = crate::chat::EndOfTalk(&self.over);
            busy();
        });
        self.account.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A visit each [`PAUSE`], each in a thread of its own, so that one who waits does not keep the next from coming.
    fn come<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut next = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            scope.spawn(|| {
                let begun = Instant::now();
                let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
                let _counted = self.count(begun, http::raw(self.address, request.as_bytes()));
            });
            next += PAUSE;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Says one thing after the other in a session of its own, each until it is accepted.
    fn talk(&self, talker: usize) {
        let client = Client::new(self.address, Some(self.token.clone()));
        let session = self.session(talker);
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let text = format!("word {number}");
            let body = json!({"text": text, "id": format!("{session}-{number}")});
            let message = eventually(PATIENCE, || {
                let begun = Instant::now();
                let answer = self.count(begun, client.post(&format!("/v1/sessions/{session}/messages"), &body))?;
                matches!(answer.status, 200 | 202).then(|| answer.json()["message"].as_u64())?
            });
            let message = message.unwrap_or_else(|| panic!("{text:?} of {session} was never accepted"));
            let accepted = Accepted { session: session.clone(), message, text };
            self.said.lock().unwrap_or_else(PoisonError::into_inner).push(accepted);
            thread::sleep(GLANCE);
        }
    }

    fn count(&self, begun: Instant, visit: io::Result<http::Answer>) -> Option<http::Answer> {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.longest = account.longest.max(begun.elapsed());
        match visit {
            Ok(answer) => {
                account.answered += 1;
                return Some(answer);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => account.refused.push(error.to_string()),
            Err(error) => account.cut.push(format!("{error} after {:?}", begun.elapsed())),
        }
        None
    }

    /// Waits until everything that was said is answered.
    ///
    /// # Panics
    /// With every complaint, when not each accepted message is answered exactly once, in order.
    pub fn assert_answered_once(&self) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(!said.is_empty(), "nothing was accepted, so nothing was tested");
        for talker in 0..TALKERS {
            let session = self.session(talker);
            let said: Vec<_> = said.iter().filter(|said| said.session == session).cloned().collect();
            let Some(last) = said.last() else { continue };
            let mut follower = Follower::new(self.address, self.token.clone(), &session, None);
            let (deadline, mut events) = (Instant::now() + PATIENCE, Vec::new());
            while !events.last().is_some_and(|event: &crate::events::Event| {
                event.is("reply") && event.messages().contains(&last.message)
            }) {
                match follower.next_kept(deadline) {
                    Some(event) => events.push(event),
                    None => panic!(
                        "{last:?} was never answered; the last events are {:#?}",
                        &events[events.len().saturating_sub(5)..]
                    ),
                }
            }
            let afterthought = Instant::now() + AFTERTHOUGHT;
            events.extend(std::iter::from_fn(|| follower.next_kept(afterthought)));
            let complaints = oracle::complaints(&said, &[], Words::Echo, &events);
            assert!(complaints.is_empty(), "{session}: {}", complaints.join("\n"));
        }
    }
}
