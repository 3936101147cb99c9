//! Calls from outside and their answers: messages and requests on their way in, and what their senders are told once the
//! core says so. Whoever waits here is answered, or let go with the driver.

use super::Driver;
use super::handle::{By, Call, MessageAnswer, NewMessage, NewRequest, RequestAnswer};
use crate::journal::{JournalError, MessageBody, RequestBody};
use crate::metrics::Metrics;
use evergate_core::effect::{Answer, Refusal};
use evergate_core::id::{MessageId, RequestId, SessionId, TurnId};
use evergate_core::input::{Asked, Input};
use evergate_core::request::Origin;
use tokio::sync::oneshot;

impl Driver {
    /// Takes in one call.
    pub(super) fn call(&mut self, call: Call) {
        match call {
            Call::Message { message, answer } => self.message(message, answer),
            Call::Request { request, answer } => self.request(request, answer),
            Call::Cancel { request, answer } => {
                self.cancels.entry(request).or_default().push(answer);
                self.take(Input::Cancel { request });
            }
            Call::ResetBreaker { by, answer } => {
                let (request, origin) = (self.new_request(answer), self.origin(by));
                self.take(Input::ResetBreaker { request, origin });
            }
            Call::Ask { question, answer } => self.ask(question, answer),
            Call::Delivery { delivery, outcome } => self.delivery_came_to(delivery, outcome),
            Call::Keep { rows, answer } => {
                self.batch.rows.extend(rows);
                self.keeping.push(answer);
            }
            Call::Reload { answer } => self.read_configuration(Some(answer)),
            Call::Status { answer } => {
                let status = self.status();
                // Whoever asked may have gone away; that is its business.
                let _gone = answer.send(status);
            }
            Call::Doing { answer } => {
                let _gone = answer.send(self.doing());
            }
            Call::Gauges { answer } => {
                self.set_gauges();
                let _gone = answer.send(());
            }
        }
    }

    fn message(&mut self, new: NewMessage, answer: oneshot::Sender<MessageAnswer>) {
        let session = match self.session_id(&new.session) {
            Ok(session) => session,
            Err(error) => return self.refuse_unread(&error, answer),
        };
        match self.known(session, new.native.as_deref()) {
            Err(error) => return self.refuse_unread(&error, answer),
            Ok(Some(message)) => {
                Metrics::count(&self.handle.metrics.messages_repeated_total);
                self.acks.entry(message).or_default().push((answer, true));
                return self.take(Input::Known { message });
            }
            Ok(None) => {}
        }
        let asked = crate::command::parse(&new.text);
        self.last_message = self.last_message.next();
        let message = self.last_message;
        if matches!(asked, Asked::Restart(_)) {
            self.last_request = self.last_request.next();
        }
        if let Some(native) = &new.native {
            self.unsynced.insert((session, native.clone()), message);
        }
        let NewMessage { session: name, native, text, from, standing, attachments } = new;
        self.texts.set_message(message, MessageBody { session: name, native, text, from, attachments });
        self.acks.entry(message).or_default().push((answer, false));
        self.take(Input::Message { message, session, asked, standing, request: self.last_request });
    }

    /// The message that came before under this platform id.
    fn known(&self, session: SessionId, native: Option<&str>) -> Result<Option<MessageId>, JournalError> {
        let Some(native) = native else { return Ok(None) };
        match self.unsynced.get(&(session, native.to_owned())) {
            Some(message) => Ok(Some(*message)),
            None => self.journal.known_message(session, native),
        }
    }

    fn refuse_unread(&self, error: &JournalError, answer: oneshot::Sender<MessageAnswer>) {
        tracing::warn!(%error, "a message was refused");
        let _gone = answer.send(MessageAnswer::Refused(Refusal::StorageFull));
    }

    fn request(&mut self, new: NewRequest, answer: oneshot::Sender<RequestAnswer>) {
        let NewRequest { wish, mode, by, reason } = new;
        let origin = self.origin(by);
        let request = self.new_request(answer);
        self.texts.set_request(request, RequestBody { reason });
        self.take(Input::Request { request, wish, mode, origin });
    }

    /// A number for a wish, and somebody who waits to hear of it.
    fn new_request(&mut self, answer: oneshot::Sender<RequestAnswer>) -> RequestId {
        self.last_request = self.last_request.next();
        self.answers.entry(self.last_request).or_default().push(answer);
        self.last_request
    }

    fn origin(&self, by: By) -> Origin {
        let door = if by.through_control { Origin::Cli } else { Origin::Http };
        let turn = by.turn.map(TurnId).and_then(|turn| Some((turn, self.core.turns().get(&turn)?.session)));
        turn.map_or(door, |(turn, session)| Origin::Turn { turn, session })
    }

    /// A message is safe: whoever waits for that is told.
    pub(super) fn ack(&mut self, message: MessageId) {
        let known = self.places.remove(&message);
        let Some(waiting) = self.acks.remove(&message) else { return };
        let stored = || Some(self.journal.message(message).ok()??.place);
        let Some(place) = known.or_else(stored) else { return };
        for (answer, again) in waiting {
            if !again {
                Metrics::count(&self.handle.metrics.messages_accepted_total);
            }
            let _gone = answer.send(MessageAnswer::Accepted { message, place, again });
        }
    }

    /// A message was not accepted: whoever waits is told.
    pub(super) fn refuse(&mut self, message: MessageId, refusal: Refusal) {
        Metrics::count(&self.handle.metrics.messages_refused_total);
        self.places.remove(&message);
        if self.texts.forget_message(message) {
            self.unsynced.retain(|_, unsynced| *unsynced != message);
        }
        for (answer, _) in self.acks.remove(&message).unwrap_or_default() {
            let _gone = answer.send(MessageAnswer::Refused(refusal));
        }
    }

    /// Whoever waits for word of a request is told.
    pub(super) fn answer(&mut self, request: RequestId, answer: Answer) {
        tracing::info!(request = request.0, answer = super::status::answer_words(answer), "request answered");
        let waiting = match answer {
            Answer::Cancelled | Answer::TooLate | Answer::Unknown => &mut self.cancels,
            _ => &mut self.answers,
        };
        let why = match answer {
            Answer::Unfit(check) => Some(self.texts.unfit(check)),
            _ => None,
        };
        for waiting in waiting.remove(&request).unwrap_or_default() {
            let _gone = waiting.send(RequestAnswer { request, answer, why: why.clone() });
        }
        if answer != Answer::Accepted {
            self.texts.forget_request(request);
        }
    }
}
