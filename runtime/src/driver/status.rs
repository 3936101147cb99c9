//! How the gateway is doing, as JSON for programs and as a log line at the end.

use super::Driver;
use super::runs::Done;
use crate::candidate::OnDisk;
use crate::journal::{Journal, StoredRequest};
use evergate_core::drain::Report;
use evergate_core::effect::Answer;
use evergate_core::generation::Breaker;
use evergate_core::id::{DeliveryId, RequestId, SessionId, TurnId};
use evergate_core::outbox::{Content, Notice};
use evergate_core::request::{Mode, Origin, Outcome, Signal, Wish};
use evergate_core::session::{Quarantine, Session};
use evergate_core::turn::{Turn, TurnState};
use evergate_core::verdict::Verdict;
use evergate_core::watchdog::Part;
use evergate_core::work::{Awaited, Work};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Names listed in one status at most.
const LISTED: usize = 100;

impl Driver {
    /// The status as a JSON object.
    pub(super) fn status(&mut self) -> Value {
        self.set_gauges();
        let now = self.environment.now();
        let generation = self.core.generation();
        let shown: Vec<(TurnId, Turn)> =
            self.core.turns().iter().take(LISTED).map(|(id, turn)| (*id, turn.clone())).collect();
        let breaker = self.core.breaker();
        let turns: Vec<Value> = shown
            .iter()
            .map(|(id, turn)| {
                let session = self.name(turn.session);
                let elapsed = self.runs.get(*id).map(|run| (now - run.started).as_millis() as u64);
                json!({
                    "turn": id, "session": session, "state": turn_state(turn, breaker), "attempt": turn.attempt,
                    "messages": turn.messages, "elapsed_ms": elapsed, "asks": self.open_questions(turn),
                })
            })
            .collect();
        let sessions = self.core.sessions();
        // What is only remembered of a session, such as the number of its conversation, keeps nobody busy.
        let busy = sessions.values().filter(|session| session.turn.is_some() || !session.queue.is_empty()).count();
        let quarantined: Vec<SessionId> = sessions
            .iter()
            .filter(|(_, session)| session.standing == Quarantine::SetAside)
            .map(|(id, _)| *id)
            .take(LISTED)
            .collect();
        let quarantined: Vec<String> = quarantined.into_iter().map(|id| self.name(id)).collect();
        let on_disk = self.on_disk();
        let requests: Vec<RequestId> = self.core.requests().keys().copied().take(LISTED).collect();
        let requests: Vec<Value> = requests
            .into_iter()
            .filter_map(|id| Some(request_json(&*self.journal, id, &self.journal.request(id).ok()??)))
            .collect();
        json!({
            "generation": generation,
            "phase": self.core.phase().name(),
            "pid": self.owner.pid,
            "start_time": self.owner.start_time,
            "version": env!("CARGO_PKG_VERSION"),
            "on_disk": on_disk,
            "rolled_back": self.owner.rolled_back,
            "uptime_ms": (now - self.started).as_millis() as u64,
            "supervisor": self.core.contract().supervisor.name(),
            "turns": turns,
            "turns_open": self.core.turns().len(),
            "queued": self.core.queued(),
            "sessions": busy,
            "owed": self.core.owed(),
            "quarantined": quarantined,
            "requests": requests,
            "restarts_being_checked": self.core.waiting_for_check(),
            "drain": self.drain_status(None),
            "breaker": self.breaker_status(),
            "journal": match self.core.journal_failing() {
                true => "failing",
                false if self.pulse.is_slow(Part::Journal) => "slow",
                false => "ok",
            },
            "listen": self.listen,
            "platforms": self.switchboard.status(),
        })
    }

    /// The program file beside the one that runs. Its version is known a moment after the first look at it.
    fn on_disk(&mut self) -> Value {
        let build = match self.environment.program_on_disk() {
            OnDisk::Same => return json!({"program": "same", "version": env!("CARGO_PKG_VERSION")}),
            OnDisk::Gone => return json!({"program": "gone", "version": null}),
            OnDisk::Changed(build) => build,
        };
        let known = self.on_disk.as_ref().filter(|(asked, _)| *asked == build);
        let version = known.and_then(|(_, version)| version.clone());
        if known.is_none() {
            self.on_disk = Some((build, None));
            let asked = self.environment.version_on_disk();
            self.runs.spawn(async move { Done::Version { build, version: asked.await } });
        }
        json!({"program": "changed", "version": version})
    }

    /// The status, where a notice shows it; nothing otherwise, since it costs something. Whoever is in a chat of the local
    /// platform may see all of it; other chats may have guests, who see of others no more than how many there are.
    /// The notice itself, which is owed from now on, is no part of it.
    pub(super) fn status_for(&mut self, session: SessionId, delivery: DeliveryId, content: &Content) -> Value {
        if !matches!(content, Content::Notice(Notice::Status)) {
            return Value::Null;
        }
        let mut status = self.status();
        status["owed"] = json!(self.core.owed().saturating_sub(1));
        status["drain"] = self.drain_status(Some(delivery));
        if self.is_remote(session) { as_a_guest_sees_it(status, &self.name(session)) } else { status }
    }

    /// The loop breaker: where it stands, after how many deaths in a row, and how many cut turns it holds.
    fn breaker_status(&self) -> Value {
        json!({
            "state": self.core.breaker().name(),
            "deaths": self.core.deaths_in_a_row(),
            "held": self.core.held(),
        })
    }

    /// What an end waits for, but for `itself`.
    fn drain_status(&mut self, itself: Option<DeliveryId>) -> Value {
        let now = self.environment.now();
        let Some(drain) = self.core.drain().cloned() else { return Value::Null };
        let mut waiting = Vec::new();
        let is_itself = |work| itself.is_some_and(|delivery| work == Work::Delivery(delivery));
        for item in self.core.ledger().into_iter().filter(|item| !is_itself(item.work)) {
            let session = self.name(item.session);
            let why = match item.awaited {
                Awaited::Budget { until } | Awaited::Requester { until } if until <= drain.since => {
                    "it is interrupted at once".to_owned()
                }
                Awaited::Budget { until } => format!("until its {} s budget ends", (until - drain.since).as_secs()),
                Awaited::Requester { until } => {
                    format!("it asked for this; {} s grace", (until - drain.since).as_secs_f32())
                }
                Awaited::Stalled { .. } if self.asks(item.work) => "it waits for a person's word".to_owned(),
                Awaited::Stalled { .. } => "shows no progress".to_owned(),
                Awaited::No => "being sent".to_owned(),
            };
            match item.work {
                Work::Turn(turn) => waiting.push(format!("{turn} of session {session} ({why})")),
                Work::Delivery(delivery) => waiting.push(format!("{delivery} to session {session} ({why})")),
            }
        }
        waiting.truncate(LISTED);
        let remaining = (drain.deadlines.drain - now).as_millis() as u64;
        json!({"waiting_for": waiting, "remaining_ms": remaining, "verdict": drain.verdict.to_string()})
    }

    /// Whether a turn waits for a person.
    fn asks(&self, work: Work) -> bool {
        let Work::Turn(turn) = work else { return false };
        self.core.turns().get(&turn).is_some_and(Turn::waits_for_a_decision)
    }

    /// What sessions are doing, those that are not idle.
    pub(super) fn doing(&self) -> HashMap<SessionId, &'static str> {
        let word = |session: &Session| match (session.standing, session.turn) {
            (Quarantine::SetAside, _) => Some("quarantined"),
            (Quarantine::Free, Some(turn)) if self.asks(Work::Turn(turn)) => Some("asking"),
            (Quarantine::Free, Some(_)) => Some("running"),
            (Quarantine::Free, None) if !session.queue.is_empty() => Some("queued"),
            (Quarantine::Free, None) => None,
        };
        self.core.sessions().iter().filter_map(|(id, session)| Some((*id, word(session)?))).collect()
    }

    pub(super) fn set_gauges(&self) {
        use crate::metrics::Metrics;
        let metrics = &self.handle.metrics;
        Metrics::set(&metrics.messages_queued, self.core.queued());
        Metrics::set(&metrics.deliveries_owed, self.core.owed());
        let live = self.core.turns().values().filter(|turn| turn.is_live()).count();
        Metrics::set(&metrics.turns_in_flight, live);
        let set_aside =
            self.core.sessions().values().filter(|session| session.standing == Quarantine::SetAside).count();
        Metrics::set(&metrics.sessions_quarantined, set_aside);
        Metrics::set(&metrics.breaker_tripped, usize::from(self.core.is_tripped()));
    }

    fn name(&mut self, session: SessionId) -> String {
        self.session_name(session).map_or_else(|| session.to_string(), |name| name.to_string())
    }

    /// Says at the end who asked, why, how long each stage took, and what became of each turn in flight.
    pub(super) fn log_end(&mut self, verdict: Verdict, report: &Report) {
        let requests: Vec<String> = report
            .requests
            .iter()
            .map(|(id, request)| {
                let stored = self.journal.request(*id).ok().flatten();
                let reason =
                    stored.and_then(|stored| stored.reason).map_or_else(String::new, |reason| format!(": {reason}"));
                format!("{} {} from {}{reason}", wish(request.wish), id, by(&*self.journal, request.origin))
            })
            .collect();
        let turns: Vec<String> =
            report.turns.iter().map(|(turn, fate)| format!("{turn} {}", fate_name(*fate))).collect();
        tracing::info!(
            generation = self.core.generation().0,
            %verdict,
            asked = requests.join("; "),
            drain_ms = report.drain_ms,
            interrupt_ms = report.interrupt_ms,
            close_ms = report.close_ms,
            turns = turns.join(", "),
            owed = report.owed,
            "generation ended"
        );
    }
}

const fn turn_state(turn: &Turn, breaker: Breaker) -> &'static str {
    match turn.state {
        TurnState::Waiting if matches!(breaker, Breaker::Tripped) => "held",
        TurnState::Reclaiming | TurnState::Waiting => "resuming",
        TurnState::Running => "running",
        TurnState::Interrupting { .. } | TurnState::Killed => "interrupting",
        TurnState::Cut => "interrupted",
    }
}

const fn fate_name(fate: evergate_core::drain::TurnFate) -> &'static str {
    use evergate_core::drain::TurnFate;
    match fate {
        TurnFate::Left => "was left",
        TurnFate::Ended => "ended",
        TurnFate::Interrupted => "was interrupted",
        TurnFate::Killed => "was killed",
    }
}

/// The name of a wish.
pub const fn wish(wish: Wish) -> &'static str {
    match wish {
        Wish::Restart => "restart",
        Wish::Stop => "stop",
    }
}

/// The name of a signal.
pub(super) const fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Terminate => "SIGTERM",
        Signal::Interrupt => "SIGINT",
    }
}

/// Who asked, in words.
pub fn by(journal: &dyn Journal, origin: Origin) -> String {
    match origin {
        Origin::Turn { turn, .. } => turn.to_string(),
        Origin::Session(session) => {
            let name = journal.session_name(session).ok().flatten();
            name.map_or_else(|| session.to_string(), |name| format!("session {name}"))
        }
        Origin::Cli => "cli".into(),
        Origin::Http => "http".into(),
        Origin::Signal(signal) => format!("signal {}", signal_name(signal)),
        Origin::Watchdog => "watchdog".into(),
        Origin::Update => "update".into(),
    }
}

/// A request with its outcome, as JSON.
#[must_use]
pub fn request_json(journal: &dyn Journal, id: RequestId, stored: &StoredRequest) -> Value {
    let outcome = stored.outcome.map(|outcome| match outcome {
        Outcome::Restarted { generation } => json!({"kind": "restarted", "generation": generation}),
        Outcome::Stopped => json!({"kind": "stopped"}),
        Outcome::Overruled { by } => {
            json!({"kind": "overruled", "detail": format!("{by} is a stop, which outranks a restart")})
        }
        Outcome::Cancelled => json!({"kind": "cancelled"}),
    });
    json!({
        "request": id,
        "kind": wish(stored.made.wish),
        "mode": match stored.made.mode { Mode::Graceful => "graceful", Mode::Force => "force" },
        "by": by(journal, stored.made.origin),
        "reason": stored.reason,
        "made_at_ms": stored.made_at_ms,
        "generation": stored.made.generation,
        "verdict": stored.made.verdict.to_string(),
        "state": if outcome.is_some() { "settled" } else { "accepted" },
        "settled_at_ms": stored.settled_at_ms,
        "outcome": outcome,
    })
}

/// An outcome, for the log.
pub(super) fn outcome_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Restarted { generation } => format!("restarted as {generation}"),
        Outcome::Stopped => "stopped".into(),
        Outcome::Overruled { by } => format!("overruled by {by}"),
        Outcome::Cancelled => "cancelled".into(),
    }
}

/// An answer, for the log.
pub(super) fn answer_words(answer: Answer) -> String {
    match answer {
        Answer::Accepted => "accepted".into(),
        Answer::AlreadyDone(earlier) => format!("done already by {earlier}"),
        Answer::Cancelled => "cancelled".into(),
        Answer::TooLate => "too late to be cancelled".into(),
        Answer::Unknown => "there is no such request".into(),
        Answer::TooMany => "refused: too many are open".into(),
        Answer::NotTripped => "there is nothing to reset".into(),
        Answer::Ending => "refused: the end is written".into(),
        Answer::StorageFull => "refused: the journal cannot be written".into(),
        Answer::Unfit(_) => "refused: what would be started next could not take over".into(),
    }
}

/// A status in which nothing names a conversation but `here`, or says what a platform's server said.
pub(super) fn as_a_guest_sees_it(mut status: Value, here: &str) -> Value {
    let (mut asking, mut set_aside) = (0, 0);
    for turn in status["turns"].as_array_mut().into_iter().flatten().filter(|turn| turn["session"] != here) {
        asking += turn["asks"].as_array().map_or(0, Vec::len);
        turn["asks"] = json!([]);
    }
    if let Some(list) = status["quarantined"].as_array_mut() {
        let all = list.len();
        list.retain(|session| session == here);
        set_aside = all - list.len();
    }
    for platform in status["platforms"].as_array_mut().into_iter().flatten() {
        platform["why"] = Value::Null;
    }
    if let Some(list) = status["drain"]["waiting_for"].as_array_mut() {
        let all = list.len();
        let (own, at_the_end) = (format!(" session {here} "), format!(" session {here}"));
        list.retain(|item| item.as_str().is_some_and(|item| item.contains(&own) || item.ends_with(&at_the_end)));
        let others = all - list.len();
        list.extend((others > 0).then(|| json!(format!("{others} of other chats"))));
    }
    status["elsewhere"] = json!({"asking": asking, "set_aside": set_aside});
    status
}
