//! What one generation looks like for people. It reads the gateway's account and prints it; it asks nobody.

use super::answers::{Life, LifeDelivery, LifeTurn, Request};
use super::generations::ended;
use super::table::{instant, one_line, table};
use std::collections::BTreeMap;

/// The account of one generation, as aligned lines, a table of its turns and one of what it was left or has left to deliver.
pub fn screen(life: &Life) -> String {
    let mut lines: Vec<(&str, String)> = vec![("generation", format!("{}, {}", life.generation, end(life)))];
    lines.extend(life.requests.iter().map(|asked| ("asked", request(asked))));
    lines.push(("process", life.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())));
    lines.push(("begun", instant(life.begun_at_ms)));
    lines.push(("ready", ready(life)));
    if let Some(stages) = &life.stages {
        lines.push(("drain", format!("{} ms", stages.drain_ms)));
        lines.push(("interrupt", format!("{} ms", stages.interrupt_ms)));
        lines.push(("close", format!("{} ms", stages.close_ms)));
    }
    match life.end.as_str() {
        "in_order" => lines.push(("ended", instant(life.ended_at_ms))),
        "died" => {
            lines.push(("last sign", format!("{}, its last record", instant(life.last_sign_at_ms))));
            lines.push(("ended", ended(life.ended_at_ms, life.ended_before_ms)));
        }
        _ => {}
    }
    if life.end != "alive" {
        lines.push(("gap", gap(life)));
    }
    lines.push(("turns", format!("ended here: {}", counts(&life.turns_concluded))));
    lines.push((
        "deliveries",
        format!("settled here: {}; owed {}: {}", counts(&life.deliveries_settled), at(life), life.owed),
    ));
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
    if !life.turns.is_empty() {
        let rows: Vec<Vec<String>> = life.turns.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table(&["TURN", "SESSION", "ATTEMPT", "FATE", "THEN"], &rows));
    }
    if !life.deliveries.is_empty() {
        let rows: Vec<Vec<String>> = life.deliveries.iter().map(delivery).collect();
        text.push('\n');
        text.push_str(&table(&["DELIVERY", "SESSION", "OWED SINCE", "FATE"], &rows));
    }
    text
}

fn end(life: &Life) -> String {
    match life.end.as_str() {
        "alive" => "still running".to_owned(),
        "in_order" => format!("ended in order: {}", life.verdict.as_deref().unwrap_or("no verdict")),
        _ => life.cause.as_deref().map_or_else(|| "died without a word".to_owned(), one_line),
    }
}

fn request(asked: &Request) -> String {
    let Request { request, kind, mode, by, reason, made_at_ms, outcome, .. } = asked;
    let patience = if mode == "force" { "forced " } else { "" };
    let why = reason.as_ref().map_or_else(|| ", no reason given".to_owned(), |why| format!(", \"{}\"", one_line(why)));
    let became = match outcome {
        Some(outcome) => match outcome.generation {
            Some(generation) => format!("{} as generation {generation}", outcome.kind),
            None => outcome.kind.clone(),
        },
        None => "no outcome yet".to_owned(),
    };
    format!("{patience}{kind} {request} from {}{why}; accepted {}; {became}", one_line(by), instant(*made_at_ms))
}

fn ready(life: &Life) -> String {
    match (life.begun_at_ms, life.ready_at_ms) {
        (Some(begun), Some(ready)) => format!("after {} ms", ready.saturating_sub(begun)),
        _ => "never".to_owned(),
    }
}

fn gap(life: &Life) -> String {
    let from = match life.ended_at_ms {
        None => "at most, since its death left no time",
        Some(_) => "from its end",
    };
    match &life.next {
        Some(next) => format!("{} ms {from}, until generation {} was ready", next.gap_ms, next.generation),
        None => "no later generation has been ready".to_owned(),
    }
}

/// How many, by word: "3 answered, 1 failed".
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {}", one_line(word))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn at(life: &Life) -> &'static str {
    if life.end == "alive" { "now" } else { "at its end" }
}

fn delivery(LifeDelivery { delivery, session, owed_in, settled }: &LifeDelivery) -> Vec<String> {
    let since = owed_in.map_or_else(|| "-".to_owned(), |generation| format!("generation {generation}"));
    let fate = match settled {
        Some(settled) => format!("{} in generation {}", one_line(&settled.fate), settled.generation),
        None => "still owed".to_owned(),
    };
    vec![delivery.to_string(), one_line(session), since, fate]
}

fn row(turn: &LifeTurn) -> Vec<String> {
    let fate = match turn.fate.as_str() {
        "cut" => "cut by the death",
        fate => fate,
    };
    let resumed = turn
        .resumed
        .as_ref()
        .map(|resumed| format!("resumed as attempt {} in generation {}", resumed.attempt, resumed.generation));
    let concluded = turn.concluded.as_ref().map(|end| format!("{} in generation {}", end.how, end.generation));
    let then: Vec<String> = resumed.into_iter().chain(concluded).collect();
    let then = match (then.is_empty(), fate) {
        (false, _) => then.join(", "),
        (true, "running") => "-".to_owned(),
        (true, _) => "waits to be resumed".to_owned(),
    };
    let session = turn.session.as_deref().map_or_else(|| "-".to_owned(), one_line);
    vec![turn.turn.to_string(), session, turn.attempt.to_string(), fate.to_owned(), then]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_restart_is_told_with_who_asked_its_stages_and_where_its_turn_and_its_delivery_went_on() {
        let life = json!({
            "generation": 1, "end": "in_order", "verdict": "exit 75", "pid": 41,
            "begun_at_ms": 1_700_000_000_000_u64, "ready_at_ms": 1_700_000_000_031_u64,
            "ended_at_ms": 1_700_000_010_000_u64, "owed": 1,
            "turns_concluded": {"answered": 3, "failed": 1}, "deliveries_settled": {"sent": 5},
            "requests": [{
                "request": 7, "kind": "restart", "mode": "force", "by": "session main", "reason": "an\nupgrade",
                "made_at_ms": 1_700_000_009_000_u64, "outcome": {"kind": "restarted", "generation": 2},
            }],
            "stages": {"drain_ms": 20, "interrupt_ms": 3, "close_ms": 1},
            "turns": [{
                "turn": 4, "session": "main", "attempt": 1, "fate": "interrupted",
                "resumed": {"attempt": 2, "generation": 2}, "concluded": {"how": "answered", "generation": 2},
            }],
            "deliveries": [{"delivery": 9, "session": "main", "owed_in": 1, "settled": {"fate": "sent", "generation": 2}}],
            "next": {"generation": 2, "gap_ms": 18},
        });
        let expected = "generation   1, ended in order: exit 75\n\
            asked        forced restart 7 from session main, \"an upgrade\"; accepted 2023-11-14T22:13:29Z; restarted as generation 2\n\
            process      41\n\
            begun        2023-11-14T22:13:20Z\n\
            ready        after 31 ms\n\
            drain        20 ms\n\
            interrupt    3 ms\n\
            close        1 ms\n\
            ended        2023-11-14T22:13:30Z\n\
            gap          18 ms from its end, until generation 2 was ready\n\
            turns        ended here: 3 answered, 1 failed\n\
            deliveries   settled here: 5 sent; owed at its end: 1\n\
            \n\
            TURN  SESSION  ATTEMPT  FATE         THEN\n\
            4     main     1        interrupted  resumed as attempt 2 in generation 2, answered in generation 2\n\
            \n\
            DELIVERY  SESSION  OWED SINCE    FATE\n\
            9         main     generation 1  sent in generation 2\n";
        assert_eq!(screen(&serde_json::from_value(life).unwrap()), expected);
    }

    #[test]
    fn a_death_says_so_and_does_not_claim_to_know_its_time() {
        let life = json!({"generation": 2, "end": "died", "turns": [{"turn": 5, "attempt": 1, "fate": "cut"}]});
        let text = screen(&serde_json::from_value(life).unwrap());
        assert!(text.starts_with("generation   2, died without a word\n"), "{text}");
        assert!(text.contains("no later generation has been ready"), "{text}");
        assert!(text.ends_with("5     -        1        cut by the death  waits to be resumed\n"), "{text}");
    }
}
