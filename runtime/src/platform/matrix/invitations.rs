//! Invitations, each seen to by itself: to enter a room, the homeserver may have to ask another one, and nobody else has to
//! wait for that. What is still to be done about one is kept, since a sync tells of it only once.

use super::Session;
use super::api::Trouble;
use super::receive::AGAIN;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::time::Duration;

/// Invitations that are seen to at the same time.
const AT_ONCE: usize = 16;
/// The longest pause between two tries to enter a room.
const LONGEST: Duration = Duration::from_secs(300);
/// How often it is tried to enter a room, if that comes to nothing: for about an hour.
const TRIES: u32 = 20;
/// How often it is tried to decline, which nobody waits for.
const DECLINES: u32 = 3;
/// What the key of an invitation begins with; its room follows.
const INVITED: &str = "invited.";

/// What is done about an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The room is entered.
    Enter,
    /// It is declined.
    Decline,
}

impl Reply {
    /// The row under which it is kept until it is done, with the token of the sync that told of it: another invitation is another
    /// row.
    pub(super) fn row(self, room: &str, token: &str) -> (String, Option<String>) {
        let word = match self {
            Self::Enter => "enter",
            Self::Decline => "decline",
        };
        (format!("{INVITED}{room}"), Some(format!("{word} {token}")))
    }

    const fn tries(self) -> u32 {
        match self {
            Self::Enter => TRIES,
            Self::Decline => DECLINES,
        }
    }

    /// What a row says, and of which room.
    fn kept(key: &str, word: &str) -> Option<(String, Self)> {
        let room = key.strip_prefix(INVITED)?.to_owned();
        Some((room, if word.starts_with("enter ") { Self::Enter } else { Self::Decline }))
    }
}

impl Session<'_> {
    /// Sees to invitations until the token counts no more; gives what the server said about it.
    pub(super) async fn visit(&self) -> String {
        let (mut under_way, mut rooms) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            let more = self.invited.notified();
            for (room, _) in self.invitations().await {
                if rooms.len() < AT_ONCE && rooms.insert(room.clone()) {
                    under_way.push(self.see_to(room));
                }
            }
            tokio::select! {
                biased;
                Some(done) = under_way.next(), if !under_way.is_empty() => match done {
                    Ok(room) => _ = rooms.remove(&room),
                    Err(why) => return why,
                },
                () = more => {}
            }
        }
    }

    async fn invitations(&self) -> Vec<(String, Reply)> {
        loop {
            match self.port.all_kept().await {
                Ok(rows) => return rows.iter().filter_map(|(key, word)| Reply::kept(key, word)).collect(),
                Err(error) => {
                    tracing::warn!(platform = "matrix", %error, "which rooms we are invited to cannot be read yet")
                }
            }
            self.rest(AGAIN).await;
        }
    }

    /// What is to be done about a room now, and the row that says so: another invitation may have come meanwhile.
    async fn reply_to(&self, room: &str) -> Option<(Reply, String)> {
        let key = format!("{INVITED}{room}");
        loop {
            match self.port.kept(&key).await {
                Ok(word) => {
                    let word = word?;
                    return Reply::kept(&key, &word).map(|(_, reply)| (reply, word));
                }
                Err(error) => {
                    tracing::warn!(platform = "matrix", room, %error, "what is to be done about an invitation cannot be read yet")
                }
            }
            self.rest(AGAIN).await;
        }
    }

    /// Enters a room or declines to, and gives it back when there is nothing more to be done about it.
    async fn see_to(&self, room: String) -> Result<String, String> {
        let (mut tries, mut pause) = (1, AGAIN);
        while let Some((reply, row)) = self.reply_to(&room).await {
            let done = match reply {
                Reply::Enter => self.api.join(&room).await,
                Reply::Decline => self.api.leave(&room).await,
            };
            let passing = match done {
                Ok(()) => None,
                Err(Trouble::SignedOut { why }) => return Err(why),
                Err(Trouble::Refused { .. }) if reply == Reply::Decline => None,
                Err(Trouble::Passing { why, after, .. }) if tries < reply.tries() => Some((why, after)),
                Err(Trouble::Refused { why } | Trouble::Passing { why, .. }) => {
                    tracing::warn!(
                        platform = "matrix",
                        room,
                        ?reply,
                        why,
                        "an invitation is given up; another one is seen to again"
                    );
                    None
                }
            };
            if let Some((why, after)) = passing {
                tracing::debug!(platform = "matrix", room, why, "an invitation is seen to again in a while");
                self.rest(after.unwrap_or(pause).min(LONGEST)).await;
                (tries, pause) = (tries + 1, (pause * 2).min(LONGEST));
            } else {
                self.is_done(&room, reply, row).await;
            }
        }
        Ok(room)
    }

    /// Forgets this row, unless it has become another one.
    async fn is_done(&self, room: &str, reply: Reply, row: String) {
        let done = Some((reply, row));
        while self.reply_to(room).await == done {
            let Err(why) = self.port.keep([(format!("{INVITED}{room}"), None)]).await else { return };
            tracing::debug!(platform = "matrix", room, why, "that an invitation is seen to cannot be written yet");
            self.rest(AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_done_is_read_as_it_was_kept() {
        for reply in [Reply::Enter, Reply::Decline] {
            let (key, word) = reply.row("!a:example.org", "s7");
            assert_eq!(Reply::kept(&key, &word.unwrap_or_default()), Some(("!a:example.org".to_owned(), reply)));
        }
        assert_eq!(Reply::kept("turn.7", "enter"), None);
    }
}
