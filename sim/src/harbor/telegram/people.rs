//! The people who write to the bot. Their telephones reach the server whatever breaks; at the end they compare what stands
//! in their chats with what the gateway says it owed them.

use super::super::http::{Events, Over};
use super::super::world::World;
use super::chat_id;
use super::judge::{Owed, Owes, Seen};
use crate::story::{Kind, Lane};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// From one look to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A gateway at rest has told a whole session when it has said nothing for so long.
const SILENCE: Duration = Duration::from_millis(500);

/// All of them: they write, wait until the gateway is at rest, and look.
pub async fn people(world: Arc<World>) {
    let chats = world.plan.telegram.as_ref().map_or(0, |telegram| telegram.chats.len());
    let mut writing = JoinSet::new();
    for number in 0..chats {
        writing.spawn_local(write(Arc::clone(&world), number));
    }
    while writing.join_next().await.is_some() {}
    while !world.rested.load(Relaxed) {
        sleep(LOOK_AGAIN).await;
    }
    for number in 0..chats {
        look(&world, number).await;
    }
}

async fn write(world: Arc<World>, number: usize) {
    let says = world.plan.telegram.as_ref().map(|telegram| telegram.chats[number].clone()).unwrap_or_default();
    for say in says {
        sleep(Duration::from_millis(say.after_ms)).await;
        world.logbook.input();
        world
            .logbook
            .note(Lane::People, Kind::Input, || format!("telegram: {:?} in chat {}", say.text, chat_id(number)));
        world.oracle().sent(&session(number), &say.text);
        world.books().write(chat_id(number), &say.text);
    }
    world.speaking.fetch_sub(1, Relaxed);
}

/// Where a chat was set aside and something waits behind that, whoever writes there writes something more: nothing else brings it
/// back. Says whether it is such a chat.
pub fn insist(world: &World, name: &str) -> bool {
    let chats = world.plan.telegram.as_ref().map_or(0, |telegram| telegram.chats.len());
    let Some(number) = (0..chats).find(|number| session(*number) == name) else { return false };
    let mut books = world.books();
    let text = format!("t{number}m{}: and now?", books.said.get(&chat_id(number)).map_or(0, Vec::len));
    world.oracle().sent(name, &text);
    books.write(chat_id(number), &text);
    true
}

fn session(number: usize) -> String {
    format!("telegram:{}", chat_id(number))
}

/// Everything that was kept of a chat, over as many connections as that takes.
async fn read_all(session: &str) -> Vec<(u64, String, Value)> {
    let mut kept: Vec<(u64, String, Value)> = Vec::new();
    loop {
        let after = kept.last().map(|(id, ..)| *id);
        if let Ok(mut events) = Events::open(session, after, SILENCE).await {
            let over = loop {
                match events.next().await {
                    Ok(event) => kept.push(event),
                    Err(over) => break over,
                }
            };
            if over == Over::Silent {
                return kept;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Reads what the gateway owed to a chat, and has it judged beside what stands there.
async fn look(world: &World, number: usize) {
    let session = session(number);
    let (mut heard, mut owed) = (Vec::new(), Vec::new());
    for (id, name, data) in read_all(&session).await {
        let text = data["text"].as_str().unwrap_or_default().to_owned();
        let turn = data["turn"].as_u64();
        match name.as_str() {
            "message" => heard.push((data["message"].as_u64().unwrap_or_default(), text)),
            "reply" => owed.push(Owed { text, owes: Owes::Reply, turn, lifecycle: None }),
            "notice" => owed.push(Owed { text, owes: Owes::Notice, turn, lifecycle: lifecycle(&data) }),
            "withdrawn" => forget(&mut owed, turn, &lifecycle(&data)),
            _ => {}
        }
        world.logbook.note(Lane::People, Kind::Input, || format!("{session}, event {id}: {name} {data}"));
        world.oracle().event(&session, id, &name, &data);
    }
    for (place, (message, text)) in heard.iter().enumerate() {
        world.oracle().accepted(&session, &format!("t{number}#{place}"), text, *message);
    }
    let heard = heard.into_iter().map(|(_, text)| text).collect();
    let found = {
        let books = world.books();
        let seen = Seen { books: &books, chat: chat_id(number), heard, owed, limits: &world.plan.limits };
        seen.judge()
    };
    found.marks.iter().for_each(|mark| world.logbook.mark(*mark));
    for (invariant, what) in found.broken {
        world.logbook.broken(invariant, format!("{session}: {what}"));
    }
}

fn lifecycle(data: &Value) -> Option<String> {
    data["lifecycle"].as_str().map(str::to_owned)
}

/// What was withdrawn is owed no longer.
fn forget(owed: &mut Vec<Owed>, turn: Option<u64>, lifecycle: &Option<String>) {
    if let Some(place) = owed.iter().rposition(|owed| owed.turn == turn && owed.lifecycle == *lifecycle) {
        owed.remove(place);
    }
}
