//! The server's process: it takes calls over HTTP, answers them by the rules of the real one, and lets some of them go
//! wrong as the plan says. What it knows is in [`Books`](super::Books) and outlives it.

use super::super::dice::Dice;
use super::super::disk::Alive;
use super::super::door::Berths;
use super::super::logbook::Mark;
use super::super::world::World;
use super::plan::Troubles;
use super::{PORT, TOKEN};
use crate::story::{Kind, Lane};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use turmoil::net::TcpListener;

/// How long a chat wants to be left alone after a 429, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// One life of the server.
pub async fn host(world: Arc<World>) -> turmoil::Result {
    let alive = Alive::new(true.into());
    world.books().restarted(Arc::clone(&alive));
    let berths = Arc::new(Berths::new(alive));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let stream = TokioIo::new(berths.moor(accepted?.0));
                let world = Arc::clone(&world);
                connections.spawn_local(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&world)));
                    // A connection that breaks is the caller's business.
                    let _broken = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        }
    }
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    AnswerLost,
    CutBefore,
    Broken,
    Garbled,
    SlowDown,
}

/// An answer.
enum Answer {
    Done(Value),
    Refused(u16, &'static str),
    SlowDown,
    Garbled,
    Cut,
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection breaks")
    }
}

impl std::error::Error for Cut {}

async fn answer(request: Request<Incoming>, world: Arc<World>) -> Result<Response<Full<Bytes>>, Cut> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
    let Some(method) = path.strip_prefix("/bot").and_then(|path| path.strip_prefix(TOKEN)?.strip_prefix('/')) else {
        world.logbook.broken("API", format!("{path} is no method of the Bot API"));
        return Err(Cut);
    };
    let parameters: Value = serde_json::from_slice(&body).unwrap_or_default();
    let trouble = strike(&world, method);
    let answer = call(&world, method, &parameters, trouble).await;
    world.logbook.note(Lane::People, Kind::Effect, || told(method, &parameters, trouble, &answer));
    let (status, body) = match answer {
        Answer::Done(result) => (200, json!({"ok": true, "result": result}).to_string()),
        Answer::Refused(status, why) => {
            (status, json!({"ok": false, "error_code": status, "description": why}).to_string())
        }
        Answer::SlowDown => {
            let parameters = json!({"retry_after": RETRY_AFTER_S});
            let why = "Too Many Requests";
            let body = json!({"ok": false, "error_code": 429, "description": why, "parameters": parameters});
            (429, body.to_string())
        }
        Answer::Garbled => (200, "{\"ok\":tr".to_owned()),
        Answer::Cut => return Err(Cut),
    };
    Response::builder().status(status).body(Full::new(body.into())).map_err(|_| Cut)
}

/// One line of the trace. Polls that bring nothing are left out of it.
fn told(method: &str, parameters: &Value, trouble: Option<Trouble>, answer: &Answer) -> String {
    let came = match answer {
        Answer::Done(result) => result.to_string(),
        Answer::Refused(status, why) => format!("{status} {why}"),
        Answer::SlowDown => "429".to_owned(),
        Answer::Garbled => "no JSON".to_owned(),
        Answer::Cut => "cut".to_owned(),
    };
    let trouble = trouble.map(|trouble| format!(" ({trouble:?})")).unwrap_or_default();
    format!("telegram: {method} {parameters}{trouble}: {came}")
}

/// What goes wrong with the next call.
fn strike(world: &World, method: &str) -> Option<Trouble> {
    let number = {
        let mut books = world.books();
        books.calls += 1;
        books.calls
    };
    let Troubles { answer_lost, cut_before, broken, garbled, slow_down } = world.plan.telegram.as_ref()?.troubles;
    if world.healed.load(Relaxed) {
        return None;
    }
    let drawn = Dice::apart(world.plan.seed, &format!("call {number}")).between(0, 99);
    let mut below = 0;
    let shares = [
        (answer_lost, Trouble::AnswerLost),
        (cut_before, Trouble::CutBefore),
        (broken, Trouble::Broken),
        (garbled, Trouble::Garbled),
        (slow_down, Trouble::SlowDown),
    ];
    let (_, trouble) = shares.into_iter().find(|(share, _)| {
        below += share;
        drawn < below
    })?;
    if method == "sendMessage" && trouble == Trouble::AnswerLost {
        world.logbook.mark(Mark::SendAnswerLost);
    }
    Some(trouble)
}

async fn call(world: &World, method: &str, parameters: &Value, trouble: Option<Trouble>) -> Answer {
    let chat = parameters["chat_id"].as_i64().unwrap_or_default();
    let (now_ms, speaks) = (now_ms(), matches!(method, "sendMessage" | "editMessageText"));
    if speaks && !is_word(parameters) {
        keeps_quiet(world, now_ms, chat, parameters["text"].as_str().unwrap_or_default());
    }
    if method == "sendMessage" {
        let text = parameters["text"].as_str().unwrap_or_default().to_owned();
        let (mut books, send) = (world.books(), super::books::Lost { chat, text, at_ms: now_ms });
        match trouble {
            Some(Trouble::AnswerLost | Trouble::CutBefore | Trouble::Broken) => books.lost.push(send),
            Some(Trouble::Garbled) => books.unread.push(send),
            _ => {}
        }
    }
    match trouble {
        Some(Trouble::CutBefore) => return Answer::Cut,
        Some(Trouble::Broken) => return Answer::Refused(500, "Internal Server Error"),
        Some(Trouble::SlowDown) => {
            if speaks && !is_word(parameters) {
                world.logbook.mark(Mark::AskedForQuiet);
                let until = now_ms + RETRY_AFTER_S * 1000;
                world.books().quiet.insert(chat, (until, world.logbook.generation()));
            }
            return Answer::SlowDown;
        }
        _ => {}
    }
    let answer = match method {
        "getUpdates" => updates(world, parameters).await,
        _ => done(world, method, chat, parameters),
    };
    match trouble {
        Some(Trouble::AnswerLost) => Answer::Cut,
        Some(Trouble::Garbled) => Answer::Garbled,
        _ => answer,
    }
}

/// Whether it is what the receiver says by the way: the sender does not know of it.
fn is_word(parameters: &Value) -> bool {
    parameters["text"].as_str().is_some_and(|text| text.starts_with(super::judge::FULL))
}

/// A generation that was told to leave a chat alone does so.
fn keeps_quiet(world: &World, now_ms: u64, chat: i64, text: &str) {
    let quiet = world.books().quiet.get(&chat).copied();
    if let Some((until_ms, generation)) = quiet
        && now_ms < until_ms
        && generation == world.logbook.generation()
    {
        let what = format!("{text:?} is said in chat {chat} {} ms before it may be", until_ms - now_ms);
        world.logbook.broken("RATE", what);
    }
}

fn done(world: &World, method: &str, chat: i64, parameters: &Value) -> Answer {
    let text = parameters["text"].as_str().unwrap_or_default();
    let id = parameters["message_id"].as_i64().unwrap_or_default();
    match method {
        "getMe" => Answer::Done(json!({"id": 77, "is_bot": true, "first_name": "Harbor", "username": "harbor_bot"})),
        "sendMessage" => Answer::Done(json!({"message_id": world.books().send(now_ms(), chat, text)})),
        "editMessageText" => match world.books().edit(now_ms(), chat, id, text) {
            Ok(()) => {
                world.logbook.mark(Mark::ShownGrowing);
                Answer::Done(json!({"message_id": id}))
            }
            Err(why) => Answer::Refused(400, why),
        },
        "deleteMessage" => {
            world.books().delete(chat, id);
            Answer::Done(true.into())
        }
        "setMyCommands" | "sendChatAction" | "deleteWebhook" => Answer::Done(true.into()),
        _ => Answer::Refused(404, "Not Found: method not found"),
    }
}

/// A client that waits for updates; dropped when it is answered or gone.
struct Waiting<'a> {
    world: &'a World,
    alive: Alive,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let hold_ms = self.world.plan.telegram.as_ref().map_or(0, |telegram| telegram.vanished_ms);
        // A process that is ending holds nothing, and knows no time any more.
        if self.alive.load(Relaxed) {
            self.world.books().vanished(self.number, now_ms() + hold_ms);
        }
    }
}

/// Holds a poll until there is something to give, its time is over, or another takes its place.
async fn updates(world: &World, parameters: &Value) -> Answer {
    const OTHER: &str = "Conflict: terminated by other getUpdates request";
    let offset = parameters["offset"].as_i64().unwrap_or(0);
    let until_ms = now_ms() + parameters["timeout"].as_u64().unwrap_or(0).min(50) * 1000;
    let holds_vanished = world.plan.telegram.as_ref().is_some_and(|telegram| telegram.vanished_ms > 0);
    let (number, bell, alive) = {
        let mut books = world.books();
        let number = books.poll(now_ms(), until_ms, holds_vanished);
        (number, Arc::clone(&books.bell), Arc::clone(&books.alive))
    };
    let Some(number) = number else {
        world.logbook.mark(Mark::PollConflict);
        return Answer::Refused(409, OTHER);
    };
    let client = Waiting { world, alive, number };
    loop {
        let mut rung = std::pin::pin!(bell.notified());
        rung.as_mut().enable();
        {
            let mut books = client.world.books();
            if !books.holds(number) {
                world.logbook.mark(Mark::PollConflict);
                return Answer::Refused(409, OTHER);
            }
            let (given, again) = books.give(offset);
            if !given.is_empty() || now_ms() >= until_ms {
                books.answered(number);
                if again {
                    world.logbook.mark(Mark::UpdateGivenAgain);
                }
                return Answer::Done(given.into());
            }
        }
        tokio::select! {
            biased;
            () = rung => {}
            () = sleep(Duration::from_millis(until_ms.saturating_sub(now_ms()))) => {}
        }
    }
}

/// Simulated milliseconds since the beginning; only inside a host.
fn now_ms() -> u64 {
    u64::try_from(turmoil::sim_elapsed().unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
