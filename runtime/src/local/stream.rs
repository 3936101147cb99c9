//! A session's events as server-sent events: first what the journal keeps after the client's last event, then what
//! happens. A client that falls behind is brought up to date from the journal again, so that it sees no gap and no repeat.

use super::messages::may_be_read;
use super::{Local, answer};
use crate::environment::Environment;
use crate::hub::{Hub, Live, Stage};
use crate::journal::{Event, Journal};
use crate::watched::Watcher;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use evergate_core::gateway::Phase;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Events read from the journal at once.
const PAGE: usize = 128;
/// The longest silence on the line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /v1/sessions/{session}/events`.
pub async fn events(
    State(local): State<Arc<Local>>,
    Path(session): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !may_be_read(&session) {
        return answer::error(
            StatusCode::BAD_REQUEST,
            "a session name is 1 to 64 letters, digits, dots, dashes or underscores",
        );
    }
    let last = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?"))
        .or(query.get("after").map(String::as_str));
    let after = match last.map(str::trim).map(str::parse::<u64>) {
        None => 0,
        Some(Ok(after)) => after,
        Some(Err(_)) => {
            return answer::error(StatusCode::BAD_REQUEST, "Last-Event-ID (or after) is the number of an event");
        }
    };
    let stream = Listening::new(&local, session, after);
    let frames = futures_util::stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<_, Infallible>(text), stream))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(frames)).into_response()
}

/// Leaves the hub as it was found.
impl Drop for Listening {
    fn drop(&mut self) {
        self.hub.leave(&self.session, &mut self.live);
    }
}

/// One client of one session.
struct Listening {
    hub: Arc<Hub>,
    journal: Arc<dyn Journal>,
    environment: Arc<dyn Environment>,
    session: String,
    /// The last kept event that was sent.
    after: u64,
    live: broadcast::Receiver<Live>,
    stage: Watcher<Stage>,
    /// What is ready to be sent.
    ready: VecDeque<String>,
    /// Whether the journal has to be read.
    behind: bool,
    /// What the running turn had said when this client came; sent once the journal has been read.
    so_far: Option<(u64, String)>,
}

impl Listening {
    fn new(local: &Local, session: String, after: u64) -> Self {
        let hub = Arc::clone(&local.handle.hub);
        let (now, stage) = hub.watch_stage();
        let phase = phase_frame(now);
        let live = hub.listen(&session);
        Self {
            journal: Arc::clone(&local.handle.journal),
            environment: Arc::clone(&local.environment),
            hub,
            session,
            after,
            live,
            stage,
            ready: VecDeque::from([phase]),
            behind: true,
            so_far: None,
        }
    }

    /// The next text to send; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some(text);
            }
            if self.behind {
                self.catch_up()?;
                continue;
            }
            if let Some((turn, text)) = self.so_far.take() {
                let data = serde_json::json!({"turn": turn, "text": text, "so_far": true});
                return Some(format!("event: delta\ndata: {data}\n\n"));
            }
            if self.stage.now().phase == Phase::Ended {
                return None;
            }
            self.wait().await?;
        }
    }

    async fn wait(&mut self) -> Option<()> {
        let silence = self.environment.sleep_until(self.environment.now() + KEEP_ALIVE);
        tokio::select! {
            biased;
            live = self.live.recv() => match live {
                Ok(Live::Kept(event)) if event.id > self.after => {
                    self.after = event.id;
                    self.ready.push_back(kept_frame(&event));
                }
                Ok(Live::Kept(_)) => {}
                Ok(Live::Delta(data)) => self.ready.push_back(format!("event: delta\ndata: {data}\n\n")),
                // Too far behind, or forgotten by the hub: begin again after the last kept event.
                Err(broadcast::error::RecvError::Lagged(_) | broadcast::error::RecvError::Closed) => self.behind = true,
            },
            stage = self.stage.changed() => self.ready.push_back(phase_frame(stage?)),
            () = silence => self.ready.push_back(":\n\n".into()),
        }
        Some(())
    }

    /// Reads on in what was kept. At its end, begins to listen and looks once more, so that nothing falls between the two;
    /// what a running turn has said so far then stands behind all that was kept before.
    fn catch_up(&mut self) -> Option<()> {
        if self.read()? == 0 {
            (self.live, self.so_far) = self.hub.listen_from_the_middle(&self.session);
            self.behind = self.read()? > 0;
        }
        Some(())
    }

    /// Reads a page of kept events and counts them. A session that nobody has spoken in has none.
    fn read(&mut self) -> Option<usize> {
        let read = self.journal.session(&self.session).and_then(|id| match id {
            Some(id) => self.journal.events(id, self.after, PAGE),
            None => Ok(Vec::new()),
        });
        match read {
            Ok(events) => {
                self.after = events.last().map_or(self.after, |event| event.id);
                self.ready.extend(events.iter().map(kept_frame));
                Some(events.len())
            }
            Err(error) => {
                tracing::warn!(%error, session = self.session, "a client's events could not be read; it is let go and may come again");
                None
            }
        }
    }
}

fn kept_frame(event: &Event) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.id, event.name(), event.data())
}

fn phase_frame(stage: Stage) -> String {
    let data = serde_json::json!({"generation": stage.generation, "phase": stage.phase.name()});
    format!("event: phase\ndata: {data}\n\n")
}
