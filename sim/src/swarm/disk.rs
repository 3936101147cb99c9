//! The journal of the world: what was appended between two inputs is one batch, one commit is under way at a time and
//! takes all batches that have gathered, and only what is on the disk outlives the process.

use super::random::Random;
use evergate_core::record::{Record, Unfinished};

/// The records of a commit, in order.
pub type Commit = Vec<Record>;

/// The disk and what is on its way there.
#[derive(Debug, Default)]
pub struct Disk {
    /// What is on it.
    pub rows: Unfinished,
    /// Until when it is full.
    pub full_until: u64,
    /// Until when it is slow.
    pub slow_until: u64,
    gathered: Commit,
    under_way: Option<Commit>,
    /// So many commits have begun.
    begun: u64,
    /// A commit is under way, or what became of it has not been told: until then no other begins.
    awaited: bool,
    /// So many more commits fail.
    fails: u64,
}

impl Disk {
    /// A record is appended. No commit begins before the handling that appends it is over, so batches stay whole.
    pub fn append(&mut self, record: Record) {
        self.gathered.push(record);
    }

    /// What is not on the disk is forgotten, but for the commit that is under way.
    pub fn forget(&mut self) {
        self.gathered.clear();
    }

    /// Whether a commit is under way or could be.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.awaited || !self.gathered.is_empty()
    }

    /// How many commits have begun, while the last of them is under way.
    #[must_use]
    pub fn at_work(&self) -> Option<u64> {
        self.under_way.as_ref().map(|_| self.begun)
    }

    /// Begins a commit of all that has gathered, unless one is under way; gives how long it takes: about as long as
    /// usual, or much longer so often in a thousand times.
    pub fn begin(&mut self, now: u64, usual: u64, slow: u32, random: &mut Random) -> Option<u64> {
        if self.awaited || self.gathered.is_empty() {
            return None;
        }
        self.awaited = true;
        self.begun += 1;
        self.under_way = Some(std::mem::take(&mut self.gathered));
        let usual = random.between(1, usual);
        let slow = now < self.slow_until || random.hits(slow);
        Some(if slow { usual + random.spread(50, 20_000) } else { usual })
    }

    /// The commit that is under way is done: gives it, or `None` when it failed and nothing of it is on the disk. That
    /// happens so often in a thousand times, and then perhaps some times in a row.
    pub fn finish(&mut self, now: u64, fails: u32, random: &mut Random) -> Option<Commit> {
        let commit = self.under_way.take()?;
        if self.fails == 0 && random.hits(fails) {
            self.fails = random.between(1, 5);
        }
        if self.fails > 0 || now < self.full_until {
            self.fails = self.fails.saturating_sub(1);
            return None;
        }
        Some(commit)
    }

    /// The gateway knows what became of the last commit.
    pub const fn told(&mut self) {
        self.awaited = false;
    }

    /// The process is gone: what has gathered is lost, and gives the commit that was under way, which may survive.
    pub fn dies(&mut self) -> Option<Commit> {
        self.forget();
        self.awaited = false;
        self.under_way.take()
    }

    /// Whatever ailed it is over.
    pub const fn heal(&mut self) {
        self.fails = 0;
        self.full_until = 0;
        self.slow_until = 0;
    }
}
