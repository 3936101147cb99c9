//! Connections: at most so many, each with its time-outs, all in one set of tasks. When the platforms close, each may
//! finish the answer that it is sending.

use crate::driver::Platforms;
use crate::environment::{Listener, Stream};
use crate::metrics::Metrics;
use crate::watched::Watcher;
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections at once through one door. Above that clients wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// How long connections may take to finish their answers at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long a client that was just let in may take to begin to speak when the end comes.
const GREETING: Duration = Duration::from_millis(50);

/// Serves one door until the platforms close.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    router: Router,
    mut platforms: Watcher<Platforms>,
    metrics: Arc<Metrics>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = closed(&mut platforms) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok(stream) => {
                    let (router, platforms, metrics) = (router.clone(), platforms.clone(), Arc::clone(&metrics));
                    connections.spawn(converse(stream, router, platforms, metrics));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: trying again at once would only spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let farewell = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!("some clients did not take their answers in time");
    }
}

/// Ends when the platforms close, or the driver is gone without closing them.
async fn closed(platforms: &mut Watcher<Platforms>) {
    while platforms.now() == Platforms::Open {
        if platforms.changed().await.is_none() {
            tracing::debug!("the driver is gone without closing the platforms");
            break;
        }
    }
}

async fn converse(stream: Box<dyn Stream>, router: Router, mut platforms: Watcher<Platforms>, metrics: Arc<Metrics>) {
    metrics.connections.fetch_add(1, Relaxed);
    let let_in = Instant::now();
    let spoken = AtomicBool::new(false);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        spoken.store(true, Relaxed);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = closed(&mut platforms) => {
            // hyper closes one on which nothing has come yet, and with it the request that is on its way.
            let greeting = if spoken.load(Relaxed) { Duration::ZERO } else { GREETING.saturating_sub(let_in.elapsed()) };
            match tokio::time::timeout(greeting, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
    metrics.connections.fetch_sub(1, Relaxed);
}
