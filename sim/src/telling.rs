//! What goes into a gateway and what comes out of it, as the moments of a story.

use crate::story::{Kind, Lane, Moment, clock};
use evergate_core::effect::Effect;
use evergate_core::id::{GenerationId, SessionId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::outbox::Repeat;
use evergate_core::record::Record;
use std::collections::BTreeMap;

/// The moments so far.
#[derive(Debug, Default)]
pub struct Telling {
    /// Oldest first.
    pub moments: Vec<Moment>,
    /// How far the gateway's clock is ahead of the one that moments are told by.
    pub ahead_ms: u64,
    generation: u64,
    sessions: BTreeMap<TurnId, SessionId>,
}

impl Telling {
    /// Something that is neither an input nor an effect.
    pub fn add(&mut self, at_ms: u64, lane: Lane, kind: Kind, what: impl Into<String>, detail: impl Into<String>) {
        let (what, detail) = (what.into(), detail.into());
        self.moments.push(Moment { at_ms, generation: self.generation, lane, kind, what, detail });
    }

    /// A generation begins.
    pub fn begins(&mut self, now: u64, generation: GenerationId) {
        self.generation = generation.0;
        self.add(now, Lane::Gateway, Kind::Begin, format!("{generation} begins"), "");
    }

    /// Where a turn is told of: in its session, once it has started.
    pub fn lane_of(&self, turn: TurnId) -> Lane {
        self.sessions.get(&turn).map_or(Lane::Gateway, |session| Lane::Session(session.0))
    }

    /// The gateway is told something.
    pub fn input(&mut self, now: u64, input: &Input) {
        let (lane, what) = match input {
            Input::Message { message, session, asked, .. } => {
                let what = match asked {
                    Asked::Prompt => format!("{message}"),
                    asked => format!("{message}: {asked:?}"),
                };
                (Lane::Session(session.0), what)
            }
            Input::Known { message } => (Lane::People, format!("{message} comes again")),
            Input::TurnBegan { turn } => (self.lane_of(*turn), format!("{turn} has begun")),
            Input::TurnProgressed { turn } => (self.lane_of(*turn), format!("{turn} goes on")),
            Input::TurnEnded { turn, end } => (self.lane_of(*turn), format!("{turn} is over: {end:?}")),
            Input::TurnGone { turn } => (self.lane_of(*turn), format!("nothing of {turn} is alive")),
            Input::DeliverySent { delivery } => (Lane::People, format!("{delivery} has arrived")),
            Input::DeliveryIntended { delivery } => (Lane::People, format!("{delivery} is about to be sent off")),
            Input::DeliveryUnknown { delivery } => (Lane::People, format!("{delivery} may have arrived or not")),
            Input::DeliveryFailed { delivery } => (Lane::People, format!("{delivery} has failed")),
            Input::DeliveryRejected { delivery } => (Lane::People, format!("{delivery} is not taken")),
            Input::Request { request, wish, mode, origin } => {
                (Lane::People, format!("{request}: {mode:?} {wish:?} from {origin:?}"))
            }
            Input::Question { turn, key } => (self.lane_of(*turn), format!("{turn} asks its question {:x}", key.0)),
            Input::Cancel { request } => (Lane::People, format!("{request} is taken back")),
            Input::ResetBreaker { request, origin } => {
                (Lane::People, format!("{request}: {origin:?} vouches for this generation"))
            }
            Input::Signal { request, signal } => (Lane::Supervisor, format!("{request}: signal {signal:?}")),
            Input::SupervisorStops { request } => (Lane::Supervisor, format!("{request}: yes, we stop you")),
            Input::SupervisorStays { request } => (Lane::Supervisor, format!("{request}: no, not from us")),
            Input::CandidateFit { request } => (Lane::Disk, format!("{request}: what would follow can take over")),
            Input::CandidateUnfit { request } => {
                (Lane::Disk, format!("{request}: what would follow could not take over"))
            }
            Input::Limits(_) => (Lane::People, "the configuration was read again".to_owned()),
            Input::Synced { records: 1 } => (Lane::Disk, "a record is on disk".to_owned()),
            Input::Synced { records } => (Lane::Disk, format!("{records} records are on disk")),
            Input::SyncFailed => (Lane::Disk, "the write has failed".to_owned()),
            Input::PlatformsOpen => (Lane::People, "the platforms are open".to_owned()),
            Input::Elapsed => (Lane::Gateway, "the time has come".to_owned()),
        };
        let kind = if let Input::TurnEnded { .. } = input { Kind::End } else { Kind::Input };
        self.add(now, lane, kind, what, format!("{input:?}"));
    }

    /// The gateway does something.
    pub fn effect(&mut self, now: u64, effect: &Effect) {
        let (lane, what) = match effect {
            Effect::Append { record, .. } => (Lane::Disk, format!("to be written: {}", name_of(record))),
            Effect::Discard => (Lane::Disk, "what is not on disk is forgotten".to_owned()),
            Effect::Ack { message } => (Lane::People, format!("{message} is acked")),
            Effect::Refuse { message, refusal } => (Lane::People, format!("{message} is refused: {refusal:?}")),
            Effect::Start { turn, session, attempt, .. } => {
                self.sessions.insert(*turn, *session);
                (Lane::Session(session.0), format!("{turn} starts, attempt {attempt}"))
            }
            Effect::Interrupt { turn } => (self.lane_of(*turn), format!("{turn} is interrupted")),
            Effect::Kill { turn } => (self.lane_of(*turn), format!("{turn} is killed")),
            Effect::Decided { turn, key, decision } => {
                (self.lane_of(*turn), format!("{turn} is told about its question {:x}: {decision:?}", key.0))
            }
            Effect::Unasked { turn, key } => {
                (self.lane_of(*turn), format!("{turn} is told that nobody is asked its question {:x}", key.0))
            }
            Effect::Reclaim { turn } => (self.lane_of(*turn), format!("{turn} is looked for")),
            Effect::Send { delivery, session, .. } => (Lane::Session(session.0), format!("{delivery} is sent")),
            Effect::Transmit { delivery, session, repeat, .. } => {
                let again = if *repeat == Repeat::Possible { ", perhaps again" } else { "" };
                (Lane::Session(session.0), format!("{delivery} is sent off{again}"))
            }
            Effect::Answer { request, answer } => (Lane::People, format!("{request} is answered: {answer:?}")),
            Effect::Settled { request, outcome } => (Lane::People, format!("{request} ends: {outcome:?}")),
            Effect::AskSupervisor { request } => (Lane::Supervisor, format!("{request}: is it you?")),
            Effect::CheckCandidate { request } => {
                (Lane::Disk, format!("{request}: could what would follow take over?"))
            }
            Effect::OpenPlatforms => (Lane::People, "the platforms are to open".to_owned()),
            Effect::ClosePlatforms => (Lane::People, "the platforms close".to_owned()),
            Effect::Ready => (Lane::Supervisor, "ready".to_owned()),
            Effect::Stopping => (Lane::Supervisor, "stopping".to_owned()),
            Effect::Extend(by) => (Lane::Supervisor, format!("wait for {} ms from now", by.as_millis())),
            Effect::Phase(phase) => (Lane::Gateway, phase.name().to_owned()),
            Effect::Guard(Some((at, verdict))) => {
                let at = clock(at.as_millis().saturating_sub(self.ahead_ms));
                (Lane::Gateway, format!("the guard is set to {at}, {verdict}"))
            }
            Effect::Guard(None) => (Lane::Gateway, "the guard is off".to_owned()),
            Effect::Ignored => (Lane::Gateway, "that made no sense".to_owned()),
            Effect::End { verdict, .. } => (Lane::Gateway, format!("it ends: {verdict}")),
        };
        let kind = if let Effect::Start { .. } = effect { Kind::Begin } else { Kind::Effect };
        self.add(now, lane, kind, what, format!("{effect:?}"));
    }
}

/// The name of a record: its debug text up to its fields.
fn name_of(record: &Record) -> String {
    let text = format!("{record:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}
