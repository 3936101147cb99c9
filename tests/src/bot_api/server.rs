//! The process: two addresses on the loopback interface, one for the bot and one for the test, and a bounded life.

use super::answer::Answer;
use super::control::{self, Then};
use super::params::{Params, decoded};
use super::world::{Shared, now_ms};
use super::{faults::Kind, methods, polling, push};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The largest body that is taken, as on the real server.
const BODY: usize = 50 << 20;

/// With which addresses, token and life the server is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// For the bot.
    pub api: SocketAddr,
    /// For the test.
    pub control: SocketAddr,
    /// The one valid token.
    pub token: String,
    /// It ends by itself after this long.
    pub life: Duration,
    /// Whether it also ends when its standard input does.
    pub follows_stdin: bool,
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is cut on order")
    }
}

impl std::error::Error for Cut {}

/// Serves until the life is over, the test says so, or whoever started it is gone.
pub async fn serve(start: Start) -> io::Result<()> {
    let shared = Shared::new(start.token.clone());
    let mut api = Some(TcpListener::bind(start.api).await?);
    let control = TcpListener::bind(start.control).await?;
    let api_address = api.as_ref().map(TcpListener::local_addr).transpose()?.unwrap_or(start.api);
    println!("{}", json!({"api": api_address.to_string(), "control": control.local_addr()?.to_string()}));
    let (orders, mut ordered) = mpsc::channel(16);
    let (mut bots, mut tests) = (JoinSet::new(), JoinSet::new());
    let end = tokio::time::sleep(start.life);
    let orphaned = orphaned(start.follows_stdin);
    let bringing = push::bring(shared.clone());
    tokio::pin!(end, orphaned, bringing);
    let mut back_at = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            () = &mut orphaned => return Ok(()),
            Some(then) = ordered.recv() => match then {
                Then::Nothing => {}
                Then::End => return Ok(()),
                Then::Down(length) => {
                    api = None;
                    shared.lock().down = true;
                    bots.shutdown().await;
                    back_at = tokio::time::Instant::now() + length;
                }
            },
            () = tokio::time::sleep_until(back_at), if api.is_none() => {
                api = Some(TcpListener::bind(api_address).await?);
                shared.lock().down = false;
            }
            () = &mut bringing => {}
            Some(_) = bots.join_next() => {}
            Some(_) = tests.join_next() => {}
            accepted = accept(api.as_ref()) => {
                if let Ok(stream) = accepted {
                    bots.spawn(bot(stream, shared.clone()));
                }
            }
            accepted = control.accept() => {
                if let Ok((stream, _)) = accepted {
                    tests.spawn(test(stream, shared.clone(), orders.clone()));
                }
            }
        }
    }
}

async fn accept(api: Option<&TcpListener>) -> io::Result<TcpStream> {
    match api {
        Some(api) => Ok(api.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Ends when standard input does: whoever started the server is gone.
async fn orphaned(follows_stdin: bool) {
    if !follows_stdin {
        return std::future::pending().await;
    }
    let mut byte = [0];
    while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1)) {}
}

async fn bot(stream: TcpStream, shared: Shared) {
    let service = service_fn(move |request| answer(request, shared.clone()));
    // A connection that breaks, or is cut on order, is the bot's business.
    let _broken = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: Shared) -> Result<Response<Full<Bytes>>, Cut> {
    // Some clients encode the colon of the token.
    let path = decoded(request.uri().path().as_bytes());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    let body = Limited::new(request.into_body(), BODY).collect().await.map_err(|_| Cut)?.to_bytes();
    let answer = dispatch(&shared, &path, &query, &content_type, &body).await;
    let (status, body) = answer.encoded().ok_or(Cut)?;
    Ok(response(status, body))
}

/// Finds what is called, and lets it go wrong if that was ordered.
async fn dispatch(shared: &Shared, path: &str, query: &str, content_type: &str, body: &[u8]) -> Answer {
    if let Some(path) = path.strip_prefix("/file/bot") {
        return file(shared, path);
    }
    let Some((token, method)) = path.strip_prefix("/bot").and_then(|path| path.split_once('/')) else {
        return Answer::not_found();
    };
    if let Err(refused) = authorised(shared, token) {
        shared.lock().note(method, None, 401);
        return refused;
    }
    let params = Params::read(query, content_type, body);
    let (name, chat) = (method.to_lowercase(), params.number("chat_id"));
    let fault = shared.lock().faults.strike(&name, chat);
    if fault == Some(Kind::Mute) {
        shared.lock().note(method, chat, 0);
        return std::future::pending().await;
    }
    let answer = match fault.and_then(Kind::instead) {
        Some(answer) => answer,
        None => {
            let answer = if name == "getupdates" {
                polling::get_updates(shared, &params).await
            } else {
                methods::call(&mut shared.lock(), &name, params)
            };
            if let Some(Kind::Stall(ms)) = fault {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            fault.map_or(answer.clone(), |fault| fault.spoil(answer))
        }
    };
    let status = answer.clone().encoded().map_or(0, |(status, _)| status.as_u16());
    shared.lock().note(method, chat, status);
    answer
}

/// The real server answers 404 to what does not look like a token, and 401 to one that is not valid (any more).
fn authorised(shared: &Shared, token: &str) -> Result<(), Answer> {
    let world = shared.lock();
    let (number, secret) = token.split_once(':').ok_or_else(Answer::not_found)?;
    if number.parse::<u64>().is_err() || secret.is_empty() {
        return Err(Answer::not_found());
    }
    if token != world.token || world.revoked { Err(Answer::unauthorized()) } else { Ok(()) }
}

fn file(shared: &Shared, path: &str) -> Answer {
    let Some((token, path)) = path.split_once('/') else { return Answer::not_found() };
    if let Err(refused) = authorised(shared, token) {
        return refused;
    }
    let mut world = shared.lock();
    if let Some(answer) = world.faults.strike("file", None).and_then(Kind::instead) {
        return answer;
    }
    let found = world.files.values().find(|(name, _)| name == path).map(|(_, bytes)| bytes.clone());
    found.map_or_else(Answer::not_found, Answer::File)
}

async fn test(stream: TcpStream, shared: Shared, orders: mpsc::Sender<Then>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, orders) = (shared.clone(), orders.clone());
        async move {
            let path = request.uri().path().to_owned();
            let body = Limited::new(request.into_body(), BODY).collect().await.map_err(|_| Cut)?.to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (mut answer, then) = control::order(&shared, &path, &body);
            if then != Then::Nothing {
                let _ended = orders.send(then).await;
            }
            if let Some(answer) = answer.as_object_mut() {
                answer.insert(String::from("now_ms"), now_ms().into());
            }
            Ok::<_, Cut>(response(StatusCode::OK, answer.to_string().into_bytes()))
        }
    });
    let _broken = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
