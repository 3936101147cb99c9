//! What the core wants done, done: each effect becomes what it says, and nothing is decided here.

use super::runs::{self, Done};
use super::{Driver, Platforms, status};
use crate::agent::Wish;
use crate::environment::Told;
use crate::journal::{Body, SAID, Write};
use crate::metrics::Metrics;
use evergate_core::effect::Effect;
use evergate_core::gateway::Phase;
use evergate_core::generation::Breaker;
use evergate_core::id::{MessageId, SessionId, TurnId};
use evergate_core::input::{Input, Partial, TurnEnd};
use evergate_core::record::Record;
use evergate_core::turn::Resume;
use evergate_core::verdict::Verdict;

impl Driver {
    /// Does one effect; the end comes back as a value.
    pub(super) fn act(&mut self, effect: Effect) -> Option<Verdict> {
        // An agent of many turns may have been left behind without any of them.
        let effect = match effect {
            Effect::Start { .. } | Effect::Reclaim { .. } => self.once_reclaimed(effect)?,
            effect => effect,
        };
        match effect {
            Effect::Append { record } => self.append(record),
            Effect::Discard => self.batch.writes.clear(),
            Effect::Ack { message } => self.ack(message),
            Effect::Refuse { message, refusal } => self.refuse(message, refusal),
            Effect::Start { turn, session, messages, attempt, resume, conversation } => {
                Metrics::count(&self.handle.metrics.turns_started_total);
                if resume.is_some() {
                    Metrics::count(&self.handle.metrics.turns_resumed_total);
                }
                if let Err(why) = self.start(turn, session, &messages, attempt, resume, conversation) {
                    self.texts.set_failure(turn, why);
                    self.take(Input::TurnEnded { turn, end: TurnEnd::Failed });
                }
            }
            Effect::Interrupt { turn } => self.wish(turn, Wish::Interrupt),
            Effect::Kill { turn } => self.wish(turn, Wish::Kill),
            Effect::Decided { turn, key, decision } => self.decided(turn, key, Some(decision)),
            Effect::Unasked { turn, key } => self.decided(turn, key, None),
            Effect::Reclaim { turn } => self.take(Input::TurnGone { turn }),
            Effect::Send { delivery, session, content, repeat } => self.send(delivery, session, &content, repeat),
            Effect::Transmit { delivery, session, content, repeat } => {
                self.transmit(delivery, session, &content, repeat);
            }
            Effect::Answer { request, answer } => self.answer(request, answer),
            Effect::Settled { request, outcome } => {
                tracing::info!(request = request.0, outcome = status::outcome_words(outcome), "request settled")
            }
            Effect::AskSupervisor { request } => {
                let asked = self.environment.supervisor_stops_us();
                self.runs.spawn(async move { Done::Supervisor { request, stops: asked.await } });
            }
            Effect::CheckCandidate { request } => {
                let checked = self.environment.check_candidate();
                self.runs.spawn(async move { Done::Candidate { request, fit: checked.await } });
            }
            Effect::OpenPlatforms => self.take(Input::PlatformsOpen),
            Effect::ClosePlatforms => {
                self.platforms.set(Platforms::Closed);
            }
            Effect::Ready => {
                let generation = self.core.generation();
                self.batch.ready = Some((generation, self.environment.unix_ms()));
                self.pulse.is_ready();
                self.environment.tell_supervisor(Told::Ready);
                tracing::info!(generation = generation.0, listen = self.listen, "ready");
            }
            Effect::Stopping => self.environment.tell_supervisor(Told::Stopping),
            Effect::Extend(by) => {
                tracing::info!(by_ms = by.as_millis() as u64, "a turn gets on: the supervisor is told to wait longer");
                self.environment.tell_supervisor(Told::Extend(by));
            }
            Effect::Phase(phase) => self.enter(phase),
            Effect::Guard(end) => {
                self.guarded = end.map(|(at, _)| at);
                self.pulse.arm(end.map(|(_, verdict)| verdict));
                self.environment.guard(end);
            }
            Effect::Ignored => {
                tracing::debug!("something happened that made no sense at this point; nothing was changed")
            }
            Effect::End { verdict, report } => {
                self.log_end(verdict, &report);
                return Some(verdict);
            }
        }
        None
    }

    fn start(
        &mut self,
        turn: TurnId,
        session: SessionId,
        messages: &[MessageId],
        attempt: u32,
        resume: Option<Resume>,
        conversation: u32,
    ) -> Result<(), String> {
        let session = self.session_name(session).ok_or("the journal does not know the session of this turn")?;
        let (prompt, attachments) = self.prompt(messages)?;
        let said = match resume {
            Some(_) if self.runs.continues() => self.journal.row(SAID, &turn.0.to_string()),
            _ => Ok(None),
        };
        let said = said.map_err(|error| error.to_string())?.unwrap_or_default();
        if let Some(native) = self.answered(&session, messages) {
            self.handle.hub.answers(&session, native);
        }
        self.handle.hub.begin(&session, turn.0, &said);
        let messages = messages.iter().map(|message| message.0).collect();
        let start = runs::Start { turn, session, prompt, messages, attachments, said, attempt, resume, conversation };
        self.runs.start(self.environment.now(), start);
        Ok(())
    }

    fn append(&mut self, record: Record) {
        if let Record::MessageAccepted { message, place, .. } = &record {
            self.places.insert(*message, *place);
        }
        if let Record::QuestionAsked { question, turn, key } = &record {
            self.texts.name_question(*question, *turn, *key);
        }
        self.date_question(&record);
        let body = match &record {
            Record::GenerationBegun { .. } => Body::Owner(Box::new(self.owner.clone())),
            Record::DeliveryOwed { delivery, session, content } => {
                let status = self.status_for(*session, *delivery, content);
                let parcel = self.texts.of_content(content, &status, self.owner.rolled_back.as_deref());
                if self.is_remote(*session) { Body::Owed(parcel) } else { Body::Text(parcel) }
            }
            Record::TurnEnded { turn, .. } if self.runs.continues() => {
                self.batch.rows.insert((SAID.to_owned(), turn.0.to_string()), None);
                Body::None
            }
            record => self.texts.of_record(record),
        };
        self.batch.writes.push(Write { record, body });
    }

    fn wish(&mut self, turn: TurnId, wish: Wish) {
        self.forget_start(turn);
        if !self.runs.wish(turn, wish) {
            let partial = Partial::Nothing;
            self.take(Input::TurnEnded { turn, end: TurnEnd::Interrupted { partial } });
        }
    }

    /// Says so when the loop breaker has changed.
    pub(super) fn tell_breaker(&mut self) {
        let breaker = self.core.breaker();
        if !self.handle.hub.set_breaker(breaker) {
            return;
        }
        let (deaths, held) = (self.core.deaths_in_a_row(), self.core.held());
        match breaker {
            Breaker::Tripped => {
                tracing::error!(
                    deaths,
                    held,
                    "the loop breaker is tripped: so many generations died in a row and brought nothing to its end; messages \
                     are answered, and nothing else goes on before one is or `evergate breaker reset` is said"
                );
                self.word = Some("serving; the loop breaker is tripped");
            }
            Breaker::Closed => {
                tracing::info!("the loop breaker is closed: what it held goes on");
                self.word = Some(self.core.phase().name());
            }
        }
    }

    fn enter(&mut self, phase: Phase) {
        tracing::info!(generation = self.core.generation().0, phase = phase.name(), "phase");
        Metrics::set(&self.handle.metrics.phase, phase as usize);
        self.word = Some(phase.name());
        self.handle.hub.enter(phase);
        if phase == Phase::Closing {
            self.runs.close();
        }
    }
}
