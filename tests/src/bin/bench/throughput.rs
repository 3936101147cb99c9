//! Durable turns a second: 64 sessions that each say the next thing when the last is answered, an agent that answers at
//! once, replies seen on the events. The yardstick is redb alone: the same record bytes in as many commits, of the same
//! sizes, with the same durability on the same disk. The two are measured by turns, since a disk has its moods.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};
use serde_json::json;

use evergate_tests::gateway::Gateway;

use crate::connection::{Connection, find};
use crate::processor::time_used;
use crate::report::{Report, milliseconds};

/// Sessions at once.
const SESSIONS: usize = 64;
/// Before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// While it is measured, each time.
const WINDOW: Duration = Duration::from_secs(2);
/// How often the gateway and then redb alone are measured.
const ROUNDS: usize = 6;
/// How long the client rests when no socket had anything: short against a turn, long against a look at all sockets.
const PAUSE: Duration = Duration::from_micros(250);
/// A reply that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A turn writes so many records, from the message to the delivered reply.
const RECORDS_PER_TURN: u64 = 5;
/// The goal: so much of the yardstick.
const SHARE: f64 = 0.5;

/// Measures it.
pub fn measure() -> Report {
    let gateway = Gateway::builder().unrecorded().config("[agent.demo]\nwords_per_second = 0").start();
    let mut load = Load::connect(&gateway);
    let mut bare = Bare::create(&gateway.room().join("yardstick.redb"));
    load.run(WARM_UP);
    let processes = [gateway.child_pid() as u32, std::process::id()];
    let mut sum = Sum::default();
    for _ in 0..ROUNDS {
        let (before, used_before) = (Journal::of(&gateway), processes.map(time_used));
        let (window, latencies) = load.run(WINDOW);
        let used = processes.map(time_used);
        load.finish();
        let journal = Journal::of(&gateway).since(before);
        sum.window += window;
        sum.bare += bare.write(journal);
        sum.latencies.extend(latencies);
        sum.journal =
            Journal { commits: sum.journal.commits + journal.commits, records: sum.journal.records + journal.records };
        for (sum, (used, before)) in sum.used.iter_mut().zip(used.into_iter().zip(used_before)) {
            *sum += used - before;
        }
    }
    sum.report()
}

/// What was measured in all rounds.
#[derive(Default)]
struct Sum {
    window: Duration,
    /// How long redb alone took for the same.
    bare: Duration,
    latencies: Vec<Duration>,
    journal: Journal,
    /// Processor time of the gateway and of the client.
    used: [Duration; 2],
}

impl Sum {
    fn report(mut self) -> Report {
        self.latencies.sort();
        let percentile = |part: usize| milliseconds(self.latencies[(self.latencies.len() - 1) * part / 100]);
        let turns = self.latencies.len() as f64;
        // The commits include those for the last turns of a round, which end outside its window.
        let written = self.journal.records as f64 / RECORDS_PER_TURN as f64;
        let (gateway, bare) = (turns / self.window.as_secs_f64(), written / self.bare.as_secs_f64());
        let mut report = Report::new("throughput");
        report.figure("turns per second", gateway, "1/s");
        report.figure("latency p50", percentile(50), "ms");
        report.figure("latency p99", percentile(99), "ms");
        report.figure("yardstick turns per second", bare, "1/s");
        report.figure("ratio", gateway / bare, "times");
        report.figure("commits per second", self.journal.commits as f64 / self.window.as_secs_f64(), "1/s");
        report.figure("records per commit", self.journal.records as f64 / self.journal.commits as f64, "");
        report.figure("records per turn", self.journal.records as f64 / turns, "");
        for (name, used) in ["gateway processor time per turn", "client processor time per turn"].iter().zip(self.used)
        {
            report.figure(name, used.as_secs_f64() * 1e6 / turns, "µs");
        }
        report.at_least("turns per second are at least half of the yardstick", gateway / bare, SHARE);
        report
    }
}

/// What the gateway's journal has written.
#[derive(Clone, Copy, Default)]
struct Journal {
    commits: u64,
    records: u64,
}

impl Journal {
    fn of(gateway: &Gateway) -> Self {
        let text = gateway.client().get("/metrics").expect("the gateway answers").text;
        let counter = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        Self { commits: counter("evergate_journal_commits_total"), records: counter("evergate_journal_records_total") }
    }

    fn since(self, before: Self) -> Self {
        Self { commits: self.commits - before.commits, records: self.records - before.records }
    }
}

/// All sessions, driven from one thread: the client shares the machine's processors with what it measures.
struct Load {
    talks: Vec<Talk>,
}

/// One session: a connection that speaks and one that listens.
struct Talk {
    session: String,
    speaking: Connection,
    listening: Connection,
    said: u64,
    said_at: Instant,
    /// What the awaited reply holds, if one is awaited.
    awaited: Option<Vec<u8>>,
}

impl Load {
    fn connect(gateway: &Gateway) -> Self {
        let token = gateway.token();
        let talks = (0..SESSIONS).map(|number| {
            let session = format!("load-{number}");
            let open = || Connection::open(gateway.address(), &token).expect("the gateway listens");
            let (speaking, mut listening) = (open(), open());
            listening.ask_for_events(&session).expect("a fresh connection takes a request");
            listening.stop_blocking().expect("a socket can be told not to block");
            Talk { session, speaking, listening, said: 0, said_at: Instant::now(), awaited: None }
        });
        Self { talks: talks.collect() }
    }

    /// Keeps all sessions talking for this long; gives how long it was and how long each turn took that ended in it, from
    /// the message to its reply.
    fn run(&mut self, duration: Duration) -> (Duration, Vec<Duration>) {
        let begun = Instant::now();
        let mut latencies = Vec::new();
        while begun.elapsed() < duration {
            let mut news = false;
            for talk in &mut self.talks {
                if talk.awaited.is_none() {
                    talk.say();
                } else if let Some(latency) = talk.listen() {
                    latencies.push(latency);
                    talk.say();
                    news = true;
                }
            }
            if !news {
                thread::sleep(PAUSE);
            }
        }
        (begun.elapsed(), latencies)
    }

    /// Waits for the replies that are awaited.
    fn finish(&mut self) {
        while self.talks.iter().any(|talk| talk.awaited.is_some()) {
            for talk in self.talks.iter_mut().filter(|talk| talk.awaited.is_some()) {
                talk.listen();
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Talk {
    fn say(&mut self) {
        self.said += 1;
        let text = format!("what about number {} of {}?", self.said, self.session);
        self.said_at = Instant::now();
        let sent = self.speaking.send_message(&self.session, &text, &format!("n{}", self.said));
        sent.expect("the gateway keeps the connection");
        self.awaited = Some(format!(r#""text":"You said: {text}""#).into_bytes());
    }

    /// Reads what is there; the time that the turn took once its reply is among it.
    fn listen(&mut self) -> Option<Duration> {
        let waited = self.said_at.elapsed();
        assert!(waited < PATIENCE, "no reply to message {} of {} after {waited:?}", self.said, self.session);
        if self.listening.receive().expect("the gateway keeps the events coming") == 0 {
            return None;
        }
        find(&self.listening.received, self.awaited.as_ref()?)?;
        self.listening.received.clear();
        self.awaited = None;
        // Long there: it was sent before the turn began.
        let status = loop {
            match self.speaking.take_answer() {
                Some(status) => break status,
                None => self.speaking.receive().expect("the gateway answers what it accepts"),
            };
        };
        assert_eq!(status, 202, "message {} of {} was accepted", self.said, self.session);
        Some(self.said_at.elapsed())
    }
}

/// redb alone.
struct Bare {
    database: Database,
    written: u64,
}

impl Bare {
    const TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("records");

    fn create(path: &Path) -> Self {
        Self { database: Database::create(path).expect("the room is writable"), written: 0 }
    }

    /// Writes as many records in as many commits as the gateway did, and gives how long that took.
    fn write(&mut self, journal: Journal) -> Duration {
        let records: Vec<Vec<u8>> = (0..journal.records).map(|number| record_bytes(self.written + number)).collect();
        let begun = Instant::now();
        for commit in 0..journal.commits {
            let [first, end] = [commit, commit + 1].map(|number| (number * journal.records / journal.commits) as usize);
            self.commit(&records[first..end]).expect("the disk takes it, as it took the gateway's");
        }
        begun.elapsed()
    }

    fn commit(&mut self, records: &[Vec<u8>]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(Self::TABLE)?;
        for record in records {
            self.written += 1;
            table.insert(self.written, record.as_slice())?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }
}

/// The bytes of one record with its text, as a turn brings them along one after the other.
fn record_bytes(number: u64) -> Vec<u8> {
    let (turn, session) = (number / RECORDS_PER_TURN, number / RECORDS_PER_TURN % SESSIONS as u64 + 1);
    let text = format!("what about number {turn} of load-{session}?");
    let record = match number % RECORDS_PER_TURN {
        0 => json!({"message_accepted": {
            "message": turn, "session": session, "asked": "prompt", "standing": "operator", "request": 0,
            "place": "running",
        }, "native": format!("n{turn}"), "text": text, "from": "local"}),
        1 => json!({"turn_opened": {"turn": turn, "session": session, "messages": [turn], "conversation": 0}}),
        2 => json!({"delivery_owed": {
            "delivery": turn, "session": session, "content": {"reply": {"turn": turn, "messages": [turn]}},
        }, "text": format!("You said: {text}")}),
        3 => json!({"turn_ended": {
            "turn": turn, "session": session, "messages": [turn], "attempt": 1, "conclusion": "answered",
        }}),
        _ => json!({"delivery_settled": {"delivery": turn, "fate": "sent"}}),
    };
    record.to_string().into_bytes()
}
