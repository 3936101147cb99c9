//! What the server knows and keeps over its own restarts: the updates that wait, what the bot said, and who polls. Beside
//! that it remembers, for the judge alone, which calls brought their caller no answer, and when the world was disturbed.

use super::super::disk::Alive;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// All that the server knows.
#[derive(Default)]
pub struct Books {
    /// Whether its process lives.
    pub alive: Alive,
    /// Rings when a held poll should look again.
    pub bell: Arc<Notify>,
    /// Calls so far: what decides the fate of each.
    pub calls: u64,
    /// Chats that want to be left alone, until when, and the generation that was told so.
    pub quiet: BTreeMap<i64, (u64, u64)>,
    /// What people said in each chat, in order.
    pub said: BTreeMap<i64, Vec<String>>,
    /// What the bot said in each chat.
    pub posts: BTreeMap<i64, Vec<Post>>,
    /// Sends that brought no answer.
    pub lost: Vec<Lost>,
    /// The sends that arrived and whose answer nobody could read: the caller knows that it stands there, and not its number.
    pub unread: Vec<Lost>,
    /// When a process ended or the way between the two was cut: what was under way then may have brought no answer either.
    pub disturbed: Vec<u64>,
    waiting: VecDeque<(i64, Value)>,
    highest_given: i64,
    last_update: i64,
    last_message: i64,
    last_change: u64,
    poll: Option<Poll>,
    last_poll: u64,
}

/// A message of the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its id.
    pub id: i64,
    /// How it reads.
    pub text: String,
    /// When it was first said.
    pub first_ms: u64,
    /// When it came to read so.
    pub done_ms: u64,
    /// The order of that among all changes.
    pub change: u64,
    /// How often it was changed.
    pub edits: u64,
}

/// A send that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where to.
    pub chat: i64,
    /// The text.
    pub text: String,
    /// When.
    pub at_ms: u64,
}

/// The poll that is held.
struct Poll {
    number: u64,
    until_ms: u64,
}

impl Books {
    /// Somebody writes in their chat with the bot.
    pub fn write(&mut self, chat: i64, text: &str) {
        (self.last_update, self.last_message) = (self.last_update.max(700_000_000) + 1, self.last_message + 1);
        let update = json!({"update_id": self.last_update, "message": {
            "message_id": self.last_message, "date": 0, "text": text,
            "chat": {"id": chat, "type": "private"}, "from": {"id": chat, "is_bot": false, "first_name": "Ann"},
        }});
        self.waiting.push_back((self.last_update, update));
        self.said.entry(chat).or_default().push(text.to_owned());
        self.bell.notify_waiters();
    }

    /// Updates that were not confirmed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What a poll from this offset on is given: everything below it is confirmed and forgotten, the rest is given however
    /// often it was. Says, too, whether something of it was given before.
    pub fn give(&mut self, offset: i64) -> (Vec<Value>, bool) {
        while self.waiting.front().is_some_and(|(id, _)| *id < offset) {
            self.waiting.pop_front();
        }
        let given: Vec<_> = self.waiting.iter().map(|(_, update)| update.clone()).collect();
        let again = self.waiting.front().is_some_and(|(id, _)| *id <= self.highest_given);
        self.highest_given = self.highest_given.max(self.waiting.back().map_or(0, |(id, _)| *id));
        (given, again)
    }

    /// A poll begins and takes the place of the one that is held; `None` while a client that is gone holds it.
    pub fn poll(&mut self, now_ms: u64, until_ms: u64, vanished: bool) -> Option<u64> {
        if vanished && self.poll.as_ref().is_some_and(|poll| now_ms < poll.until_ms) {
            return None;
        }
        self.last_poll += 1;
        self.poll = Some(Poll { number: self.last_poll, until_ms });
        self.bell.notify_waiters();
        Some(self.last_poll)
    }

    /// Whether this is the poll that is held.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        self.poll.as_ref().is_some_and(|poll| poll.number == number)
    }

    /// A poll was answered.
    pub fn answered(&mut self, number: u64) {
        if self.holds(number) {
            self.poll = None;
        }
    }

    /// The client of a poll is gone; the poll holds its place until then.
    pub fn vanished(&mut self, number: u64, until_ms: u64) {
        if let Some(poll) = self.poll.as_mut().filter(|poll| poll.number == number) {
            poll.until_ms = poll.until_ms.min(until_ms);
        }
    }

    /// The server is started again: what it has on disk it still knows.
    pub fn restarted(&mut self, alive: Alive) {
        self.alive = alive;
        self.poll = None;
        self.quiet.clear();
    }

    /// The bot says something; gives the message's id.
    pub fn send(&mut self, now_ms: u64, chat: i64, text: &str) -> i64 {
        (self.last_message, self.last_change) = (self.last_message + 1, self.last_change + 1);
        let (id, change) = (self.last_message, self.last_change);
        let post = Post { id, text: text.to_owned(), first_ms: now_ms, done_ms: now_ms, change, edits: 0 };
        self.posts.entry(chat).or_default().push(post);
        id
    }

    /// The bot changes what it said; an error is the server's refusal.
    pub fn edit(&mut self, now_ms: u64, chat: i64, id: i64, text: &str) -> Result<(), &'static str> {
        let post = self.posts.get_mut(&chat).and_then(|posts| posts.iter_mut().find(|post| post.id == id));
        let post = post.ok_or("Bad Request: message to edit not found")?;
        if post.text == text {
            return Err("Bad Request: message is not modified");
        }
        self.last_change += 1;
        (post.text, post.done_ms, post.change) = (text.to_owned(), now_ms, self.last_change);
        post.edits += 1;
        Ok(())
    }

    /// The bot takes a message back.
    pub fn delete(&mut self, chat: i64, id: i64) {
        if let Some(posts) = self.posts.get_mut(&chat) {
            posts.retain(|post| post.id != id);
        }
    }
}
