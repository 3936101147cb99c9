//! Chat clients and operators: what people and their programs do from other hosts. They tell the judge what they sent and what
//! they saw, ask again when no answer came, and never give up before the run does.

use super::http::{Events, Link, Lost, Way, call};
use super::logbook::Mark;
use super::plan::{Act, Say, native_id, session_name};
use super::telegram;
use super::world::World;
use crate::story::{Kind, Lane};
use evergate_core::request::{Mode, Wish};
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// From one look to the next, for all that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A chat: one who speaks, one who reads along.
pub async fn chat(world: Arc<World>, number: usize) {
    let reading = read_along(&world, number);
    let speaking = async {
        let mut link = None;
        for (index, say) in world.plan.sessions[number].says.iter().enumerate() {
            sleep(Duration::from_millis(say.after_ms)).await;
            speak(&world, number, index, say, &mut link).await;
            if say.again {
                speak(&world, number, index, say, &mut link).await;
            }
        }
        world.speaking.fetch_sub(1, Relaxed);
        insist(&world, number, link).await;
    };
    tokio::select! {
        biased;
        () = speaking => {}
        () = reading => {}
    }
    read_again(&world, number).await;
}

/// Until all is quiet: where the session was set aside and something waits behind that, whoever speaks there says something more.
async fn insist(world: &World, number: usize, mut link: Option<Link>) {
    let (session, mut index) = (session_name(number), world.plan.sessions[number].says.len());
    while !world.quiet.load(Relaxed) {
        sleep(LOOK_AGAIN).await;
        if world.oracle().waits_set_aside(&session) {
            let text = format!("{}: and now?", native_id(number, index));
            // Nobody is to think that all is said before the gateway has it.
            world.speaking.fetch_add(1, Relaxed);
            speak(world, number, index, &Say { after_ms: 0, text, again: false }, &mut link).await;
            world.speaking.fetch_sub(1, Relaxed);
            index += 1;
            sleep(LOOK_AGAIN * 20).await;
        } else {
            link = None;
        }
    }
}

/// Says one thing until the gateway says that it has it.
async fn speak(world: &World, number: usize, index: usize, say: &Say, link: &mut Option<Link>) {
    let (session, native) = (session_name(number), native_id(number, index));
    let path = format!("/v1/sessions/{session}/messages");
    let lane = Lane::Session(number as u64);
    world.oracle().sent(&session, &say.text);
    loop {
        world.logbook.input();
        let body = json!({"id": native, "text": say.text});
        let answer = on_link(link, Method::POST, &path, Some(body)).await;
        world.logbook.note(lane, Kind::Input, || match &answer {
            Ok((status, body)) => format!("{native} {:?}: {status} {body}", say.text),
            Err(Lost) => format!("{native} {:?}: no answer", say.text),
        });
        match answer {
            Ok((status @ (200 | 202), body)) => {
                if status == 200 {
                    world.logbook.mark(Mark::Redelivered);
                }
                return match body["message"].as_u64() {
                    Some(message) => world.oracle().accepted(&session, &native, &say.text, message),
                    None => world.logbook.broken("API", format!("{status} without a message id: {body}")),
                };
            }
            Ok((503 | 507, _)) => world.logbook.mark(Mark::Refused),
            Ok((status, body)) => {
                return world.logbook.broken("API", format!("{native} is answered {status} {body}"));
            }
            Err(Lost) => world.logbook.mark(Mark::AnswerLost),
        }
        sleep(LOOK_AGAIN * 2).await;
    }
}

/// A call on a connection that is kept while it works.
async fn on_link(
    link: &mut Option<Link>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(u16, Value), Lost> {
    let mut open = match link.take() {
        Some(link) => link,
        None => Link::open(Way::Network).await?,
    };
    let answer = open.call(method, path, body).await?;
    *link = Some(open);
    Ok(answer)
}

/// Reads a session's events, connecting again behind the last one seen whenever that is needed.
async fn read_along(world: &World, number: usize) {
    let session = session_name(number);
    let silence = Duration::from_millis(world.plan.sessions[number].silence_ms);
    loop {
        let after = world.oracle().last_event(&session);
        if let Ok(mut events) = Events::open(&session, after, silence).await {
            if after.is_some() {
                world.logbook.mark(Mark::StreamResumed);
            }
            while let Ok((id, name, data)) = events.next().await {
                world.logbook.note(Lane::Session(number as u64), Kind::Effect, || format!("event {id}: {name} {data}"));
                world.oracle().event(&session, id, &name, &data);
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Reads a whole session once more: it must be what was seen all along.
async fn read_again(world: &World, number: usize) {
    let session = session_name(number);
    loop {
        let last = world.oracle().last_event(&session);
        let mut ids = Vec::new();
        if let Ok(mut events) = Events::open(&session, None, LOOK_AGAIN * 10).await {
            while ids.last().copied() < last
                && let Ok((id, name, data)) = events.next().await
            {
                world.oracle().event(&session, id, &name, &data);
                ids.push(id);
            }
        }
        if ids.last().copied() >= last {
            world
                .logbook
                .note(Lane::Session(number as u64), Kind::Input, || format!("{} events read again", ids.len()));
            return world.oracle().reread(&session, &ids);
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// The operators: they wish what the plan says, follow up every request, and at the end look whether all is at rest.
pub async fn operators(world: Arc<World>) {
    let acting = async {
        let mut now_ms = 0;
        for act in &world.plan.operators {
            sleep(Duration::from_millis(act.at_ms.saturating_sub(now_ms))).await;
            now_ms = act.at_ms;
            // Whoever operates gives up on a gateway that does not answer; another act follows anyway.
            let _slow = timeout(Duration::from_millis(400), wish(&world, *act)).await;
        }
        std::future::pending::<()>().await;
    };
    let following = async {
        let mut link = None;
        while !world.quiet.load(Relaxed) {
            sleep(LOOK_AGAIN * 6).await;
            let open = world.oracle().open_requests();
            for request in open {
                look_at(&world, &mut link, request).await;
            }
            look_around(&world, &mut link).await;
        }
    };
    tokio::select! {
        biased;
        () = following => {}
        () = acting => {}
    }
    let mut link = None;
    while !is_at_rest(&world, &mut link).await {
        sleep(LOOK_AGAIN).await;
    }
    let requests = world.oracle().requests();
    for request in requests {
        while !look_at(&world, &mut link, request).await {
            sleep(LOOK_AGAIN).await;
        }
    }
    world.rested.store(true, Relaxed);
}

async fn wish(world: &World, act: Act) {
    world.logbook.input();
    let path = if act.wish == Wish::Stop { "/v1/stop" } else { "/v1/restart" };
    let mode = if act.mode == Mode::Force { "force" } else { "graceful" };
    let way = if act.control { Way::Control } else { Way::Network };
    let draining = world.process().phase == "draining";
    let answer = call(way, Method::POST, path, Some(json!({"mode": mode}))).await;
    world.logbook.note(Lane::People, Kind::Input, || match &answer {
        Ok((status, body)) => format!("{path} {mode}: {status} {body}"),
        Err(Lost) => format!("{path} {mode}: no answer"),
    });
    match answer {
        Ok((202, body)) => {
            let (Some(request), Some(generation)) = (body["request"].as_u64(), body["generation"].as_u64()) else {
                return world.logbook.broken("API", format!("{path} is accepted without a number: {body}"));
            };
            world.oracle().asked(request, generation);
            if act.wish == Wish::Stop {
                world.logbook.mark(Mark::StopAccepted);
                world.process().stop_accepted_in = Some(generation);
            } else {
                world.logbook.mark(if draining { Mark::RestartWhileDraining } else { Mark::RestartAccepted });
            }
        }
        Ok((503 | 507, _)) | Err(Lost) => {}
        Ok((status, body)) => world.logbook.broken("API", format!("{path} is answered {status} {body}")),
    }
}

/// Looks at a request; true if it was answered.
async fn look_at(world: &World, link: &mut Option<Link>, request: u64) -> bool {
    match on_link(link, Method::GET, &format!("/v1/requests/{request}"), None).await {
        Ok((200, found)) => world.oracle().looked_at(request, Some(&found)),
        Ok((404, _)) => world.oracle().looked_at(request, None),
        _ => return false,
    }
    true
}

async fn look_around(world: &World, link: &mut Option<Link>) {
    if let Ok((200, status)) = on_link(link, Method::GET, "/v1/status", None).await
        && let Some(generation) = status["generation"].as_u64()
    {
        world.oracle().generation(generation);
    }
}

async fn is_at_rest(world: &World, link: &mut Option<Link>) -> bool {
    let Ok((200, status)) = on_link(link, Method::GET, "/v1/status", None).await else { return false };
    let none = |name: &str| status[name].as_u64() == Some(0);
    let rests = none("turns_open") && none("queued") && none("owed") && status["phase"] == "serving";
    if rests && status["requests"].as_array().is_some_and(Vec::is_empty) {
        return true;
    }
    world.logbook.write(Lane::People, Kind::Input, "the gateway is not at rest".into(), status.to_string());
    let aside = status["quarantined"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if aside.filter(|session| telegram::insist(world, session)).count() > 0 {
        sleep(LOOK_AGAIN * 40).await;
    }
    false
}
