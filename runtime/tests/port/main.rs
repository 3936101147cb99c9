//! The port and its keeper, seen by adapters: the one that newcomers begin with (`examples/line.rs`), and some that break,
//! hang, or give up.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing has failed")]

#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../../examples/line.rs"]
mod line;
mod world;

use evergate::platform::{
    Capabilities, Chat, Edits, Ended, Health, Inbound, Outbound, Outcome, Platform, Port, Refused, Repeat, Replay,
    Threads,
};
use evergate_core::input::Standing;
use evergate_core::record::Record;
use line::Line;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use world::beside;

fn example() -> Vec<Arc<dyn Platform>> {
    vec![Arc::new(Line { host: "server".into(), port: 7777 })]
}

#[test]
fn a_message_goes_in_and_its_answer_comes_out() {
    beside(example(), async |world| {
        let mut server = world.connection().await;
        assert_eq!(server.hears().await, "from 0");
        server.says(r#"said 1 lobby "ann" "hello\nthere""#).await;
        assert_eq!(server.hears().await, r#"say 1 lobby reply "You said: hello\nthere""#);
        server.says("ok 1").await;
        world.await_settled().await;
        assert_eq!(world.state("line"), "up");
        drop(server);
        assert_eq!(world.connection().await.hears().await, "from 1", "the cursor stands behind what is on disk");
    });
}

#[test]
fn what_comes_again_does_nothing_and_what_cannot_be_read_stands_in_nobodys_way() {
    beside(example(), async |world| {
        let mut server = world.connection().await;
        server.hears().await;
        for line in [r#"said 1 lobby "ann" "hello""#, r#"said 1 lobby "ann" "hello""#, "said 2 lobby nonsense", "what?"]
        {
            server.says(line).await;
        }
        server.says(r#"said 3 lobby "ann" "again""#).await;
        for (delivery, text) in [(1, "hello"), (2, "again")] {
            assert_eq!(server.hears().await, format!(r#"say {delivery} lobby reply "You said: {text}""#));
            server.says(&format!("ok {delivery}")).await;
        }
        world.await_settled().await;
    });
}

#[test]
fn what_the_server_has_not_answered_is_said_again_under_the_same_number() {
    beside(example(), async |world| {
        let mut server = world.connection().await;
        server.hears().await;
        server.says(r#"said 1 lobby "ann" "hello""#).await;
        let said = server.hears().await;
        drop(server);
        let mut server = world.connection().await;
        assert_eq!(server.hears().await, "from 1");
        assert_eq!(server.hears().await, said);
        server.says("later 1").await;
        assert_eq!(server.hears().await, said, "a refusal that passes is tried again");
        server.says("never 1 the room is closed").await;
        world.await_settled().await;
    });
}

#[test]
fn a_server_that_sends_us_away_parks_the_platform() {
    beside(example(), async |world| {
        let mut server = world.connection().await;
        server.hears().await;
        server.says("go away no such bot").await;
        world.await_state("line", "parked").await;
        let platforms = world.status().await["platforms"].to_string();
        assert!(platforms.contains("no such bot"), "{platforms}");
    });
}

#[test]
fn a_line_that_never_ends_does_not_fill_the_memory() {
    beside(example(), async |world| {
        let mut server = world.connection().await;
        server.hears().await;
        server.says(&"x".repeat(300 * 1024)).await;
        assert_eq!(world.connection().await.hears().await, "from 0", "it hangs up and begins anew");
    });
}

/// What a run of the clumsy adapter does when it has a delivery in hand, or in place of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// It panics.
    Breaks,
    /// It does nothing more.
    Hangs,
    /// It says that it waits for so long, does so, and delivers then.
    Waits(Duration),
    /// It gives up.
    Parks,
    /// It finds no network, for longer than the test lasts.
    IsCutOff,
}

/// An adapter that somebody said "hello" to, and whose first run has a mishap.
struct Clumsy {
    outbound: Outbound,
    mishap: Mishap,
    runs: AtomicUsize,
    delivered: Mutex<Vec<(u64, Repeat)>>,
}

impl Clumsy {
    fn new(outbound: Outbound, mishap: Mishap) -> Arc<Self> {
        Arc::new(Self { outbound, mishap, runs: AtomicUsize::new(0), delivered: Mutex::default() })
    }

    fn delivered(&self) -> Vec<(u64, Repeat)> {
        self.delivered.lock().unwrap().clone()
    }
}

impl Platform for Clumsy {
    fn name(&self) -> &'static str {
        "clumsy"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outbound: self.outbound,
            replay: Replay::Cursor,
            edits: Edits::No,
            threads: Threads::No,
            text_limit: None,
            pace: None,
        }
    }

    fn run(&self, port: Port) -> Pin<Box<dyn Future<Output = Ended> + Send + '_>> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, SeqCst);
            let chat = Chat { platform: "clumsy".into(), chat: "7".into(), thread: None };
            let hello = Inbound {
                chat,
                native: "1".into(),
                text: "hello".into(),
                from: "ann".into(),
                standing: Standing::Guest,
                attachments: Vec::new(),
            };
            let accepted = loop {
                match port.accept(hello.clone()).await {
                    Ok(accepted) => break accepted,
                    Err(Refused::Later) => {
                        port.environment().sleep_until(port.environment().now() + Duration::from_millis(10)).await
                    }
                    Err(refused) => panic!("{refused:?}"),
                }
            };
            assert_eq!(accepted.again, run > 0, "what was accepted once is known ever after");
            port.health(Health::Up);
            let outgoing = port.outgoing().await;
            if self.mishap == Mishap::IsCutOff {
                let mut delivery = outgoing.delivery;
                loop {
                    self.delivered.lock().unwrap().push((delivery, outgoing.repeat));
                    port.settle(delivery, Outcome::Failed).await;
                    delivery = port.outgoing().await.delivery;
                }
            }
            if run == 0 {
                match self.mishap {
                    Mishap::Breaks | Mishap::IsCutOff => panic!("on purpose"),
                    Mishap::Hangs => std::future::pending().await,
                    Mishap::Parks => return Ended::Parked { why: "somebody has to mend this".into() },
                    Mishap::Waits(length) => {
                        let until = port.environment().now() + length;
                        port.health(Health::Waiting { why: "on purpose".into(), until });
                        port.environment().sleep_until(until).await;
                    }
                }
            }
            self.delivered.lock().unwrap().push((outgoing.delivery, outgoing.repeat));
            port.settle(outgoing.delivery, Outcome::Sent).await;
            port.closing().await;
            Ended::Closed
        })
    }
}

#[test]
fn an_adapter_that_breaks_is_started_again_and_is_handed_out_again_what_it_had() {
    let clumsy = Clumsy::new(Outbound::Idempotent, Mishap::Breaks);
    beside(vec![clumsy.clone()], async |world| world.await_settled_once(&clumsy).await);
    assert_eq!(clumsy.delivered(), [(1, Repeat::No)]);
}

#[test]
fn what_a_blind_adapter_had_in_hand_when_it_broke_may_have_arrived() {
    let clumsy = Clumsy::new(Outbound::Blind, Mishap::Breaks);
    beside(vec![clumsy.clone()], async |world| world.await_settled_once(&clumsy).await);
    assert_eq!(clumsy.delivered(), [(1, Repeat::Possible)]);
}

#[test]
fn an_adapter_that_gets_nowhere_is_started_again() {
    let clumsy = Clumsy::new(Outbound::Idempotent, Mishap::Hangs);
    beside(vec![clumsy.clone()], async |world| {
        let begun = world.environment.now();
        world.await_settled_once(&clumsy).await;
        assert!(world.environment.now() >= begun + Duration::from_secs(170), "it was given its time");
    });
    assert_eq!((clumsy.delivered(), clumsy.runs.load(SeqCst)), (vec![(1, Repeat::No)], 2));
}

#[test]
fn an_adapter_that_says_how_long_it_waits_is_believed() {
    let clumsy = Clumsy::new(Outbound::Blind, Mishap::Waits(Duration::from_secs(400)));
    beside(vec![clumsy.clone()], async |world| world.await_settled_once(&clumsy).await);
    assert_eq!((clumsy.delivered(), clumsy.runs.load(SeqCst)), (vec![(1, Repeat::No)], 1));
}

#[test]
fn a_parked_platform_stays_owed_what_it_is_owed_and_no_attempt_is_written_down() {
    let clumsy = Clumsy::new(Outbound::Blind, Mishap::Parks);
    beside(vec![clumsy.clone()], async |world| {
        world.await_state("clumsy", "parked").await;
        world.pass(Duration::from_secs(10)).await;
        let lines = |world: &world::World| world.handle.journal.history(0, 1000).unwrap();
        let before = lines(world);
        let tried = |line: &&evergate::journal::Logged| matches!(line.record, Record::DeliveryTried { .. });
        assert!(before.iter().filter(tried).count() <= 1, "{before:?}");
        world.pass(Duration::from_secs(200)).await;
        assert_eq!(lines(world).len(), before.len(), "nothing is written while nothing can be sent");
        assert_eq!(world.status().await["owed"], 1);
    });
    assert_eq!((clumsy.delivered(), clumsy.runs.load(SeqCst)), (vec![], 1));
}

#[test]
fn a_network_that_is_down_is_tried_less_and_less_often() {
    let clumsy = Clumsy::new(Outbound::Blind, Mishap::IsCutOff);
    beside(vec![clumsy.clone()], async |world| {
        world.pass(Duration::from_secs(300)).await;
        let lines = world.handle.journal.history(0, 1000).unwrap();
        let tries = clumsy.delivered().len();
        // 1, 2, 4, 8, 16, 32 and then every 60 seconds, each a little late.
        assert!((5..=12).contains(&tries), "{tries} tries in five minutes");
        assert!(lines.len() < 10 + 2 * (tries + 1), "{} lines of the history for {tries} tries", lines.len());
        assert_eq!(world.status().await["owed"], 1);
    });
}
