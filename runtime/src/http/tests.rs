//! The client against a server on loopback that does as each test says.

use super::*;
use crate::environment::{Address, BoxFuture, Disk, Environment, Listener, Stream, Task, Told};
use evergate_core::time::Instant;
use evergate_core::verdict::Verdict;
use hyper::Method;
use hyper::body::Bytes;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::candidate::OnDisk;
use crate::reload::Reloaded;
use crate::secret::Secret;

/// The real network and tokio's time.
struct Loopback(tokio::time::Instant);

impl Environment for Loopback {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
    fn unix_ms(&self) -> u64 {
        0
    }
    fn sleep_until(&self, at: Instant) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.0 + Duration::from_millis(at.as_millis())))
    }
    fn listen(&self, _: &Address) -> BoxFuture<io::Result<Box<dyn Listener>>> {
        unreachable!("a client does not listen")
    }
    fn connect(&self, host: &str, port: u16) -> BoxFuture<io::Result<Box<dyn Stream>>> {
        let host = host.to_owned();
        Box::pin(async move {
            if host == "nowhere.test" {
                std::future::pending::<()>().await;
            }
            Ok(Box::new(TcpStream::connect((host, port)).await?) as Box<dyn Stream>)
        })
    }
    fn journal_disk(&self, _: &Path) -> Box<dyn Disk> {
        unreachable!("a client has no journal")
    }
    fn isolate(&self, _: &'static str, _: Task) -> io::Result<()> {
        unreachable!("a client needs no thread")
    }
    fn guard(&self, _: Option<(Instant, Verdict)>) {}
    fn tell_supervisor(&self, _: Told) {}
    fn supervisor_stops_us(&self) -> BoxFuture<Option<bool>> {
        Box::pin(std::future::ready(None))
    }
    fn check_candidate(&self) -> BoxFuture<Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn program_on_disk(&self) -> OnDisk {
        OnDisk::Same
    }
    fn version_on_disk(&self) -> BoxFuture<Option<String>> {
        Box::pin(std::future::ready(None))
    }
    fn reload_wanted(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
    fn read_configuration(&self) -> BoxFuture<Result<Reloaded, String>> {
        unreachable!("a client reads no configuration")
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// What the server does with one request: these bytes are said one after the other, this far apart.
#[derive(Clone)]
struct Says {
    pieces: Vec<Vec<u8>>,
    apart: Duration,
    /// What comes after the last piece.
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Listen,
    Close,
    Hang,
}

fn says(whole: &str) -> Says {
    Says { pieces: vec![whole.as_bytes().to_vec()], apart: Duration::ZERO, then: Then::Listen }
}

fn ok(body: &str) -> Says {
    says(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A server that answers its requests one after the other, over all connections, with what it was given. It ends with the test.
struct Server {
    port: u16,
    /// `(connection, request)` as they came.
    heard: tokio::sync::mpsc::UnboundedReceiver<(usize, String)>,
    _task: JoinSet<()>,
}

impl Server {
    async fn plain(script: Vec<Says>) -> Self {
        Self::start(script, None).await
    }

    async fn start(script: Vec<Says>, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut script = script.into_iter();
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream: Box<dyn Stream> = match &tls {
                    None => Box::new(stream),
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                while let Some(request) = hear(&mut stream).await {
                    tell.send((connection, request)).unwrap();
                    let Some(says) = script.next() else { return };
                    for piece in says.pieces {
                        if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
                            break;
                        }
                        tokio::time::sleep(says.apart).await;
                    }
                    match says.then {
                        Then::Listen => {}
                        Then::Close => break,
                        Then::Hang => std::future::pending().await,
                    }
                }
            }
        });
        Self { port, heard, _task: task }
    }

    fn client(&self) -> Client {
        client(&format!("http://127.0.0.1:{}/bot-token", self.port))
    }

    fn heard(&mut self) -> (usize, String) {
        self.heard.try_recv().unwrap()
    }
}

/// One request: its head, and its body by content length.
async fn hear(stream: &mut Box<dyn Stream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

fn client(base: &str) -> Client {
    let environment = Arc::new(Loopback(tokio::time::Instant::now()));
    Client::new(environment, base.parse().unwrap(), Trust::system())
}

fn get() -> Call {
    Call::get("look", "/look")
}

fn post() -> Call {
    Call::post("do", "/do")
}

/// Runs a test that would hang rather than fail.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs") });
}

fn hasty(of: impl FnOnce(&mut Patience)) -> Patience {
    let mut patience = Patience::default();
    of(&mut patience);
    patience
}

const SOON: Duration = Duration::from_millis(60);

#[test]
fn a_call_says_what_it_should_and_two_in_a_row_share_a_connection() {
    run(async {
        let mut server = Server::plain(vec![ok("{\"a\":1}"), ok("{\"a\":2}")]).await;
        let client = server.client();
        let key = Secret::new("sk-1").unwrap();
        let asked = client.json::<serde_json::Value>(get().query("q", "a&b c/é").bearer(&key)).await.unwrap();
        assert_eq!(asked["a"], 1);
        let told = client.json::<serde_json::Value>(post().json(&serde_json::json!({"text": "hi"}))).await.unwrap();
        assert_eq!(told["a"], 2);

        let (first, asked) = server.heard();
        assert!(asked.starts_with("GET /bot-token/look?q=a%26b%20c%2F%C3%A9 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{asked}");
        assert!(asked.contains("authorization: Bearer sk-1\r\n"), "{asked}");
        let (second, told) = server.heard();
        assert!(told.starts_with("POST /bot-token/do HTTP/1.1\r\n"), "{told}");
        assert!(
            told.contains("content-type: application/json\r\n") && told.ends_with("\r\n\r\n{\"text\":\"hi\"}"),
            "{told}"
        );
        assert_eq!((first, second), (1, 1));
    });
}

#[test]
fn a_connection_that_the_server_has_closed_meanwhile_is_replaced_also_for_what_must_not_arrive_twice() {
    run(async {
        let mut server = Server::plain(vec![Says { then: Then::Close, ..ok("{}") }, ok("{}")]).await;
        let client = server.client();
        client.json::<serde_json::Value>(post()).await.unwrap();
        tokio::time::sleep(SOON).await;
        client.json::<serde_json::Value>(post()).await.unwrap();
        assert_eq!((server.heard().0, server.heard().0), (1, 2));
    });
}

#[test]
fn what_may_have_arrived_is_said_again_only_if_that_does_no_harm() {
    run(async {
        let cut = Says { pieces: Vec::new(), then: Then::Close, ..ok("") };
        let mut server = Server::plain(vec![ok("{}"), cut.clone(), ok("{}"), cut.clone(), ok("{}")]).await;
        let client = server.client();
        client.json::<serde_json::Value>(get()).await.unwrap();
        client.json::<serde_json::Value>(get()).await.unwrap();
        let lost = client.send(post()).await.unwrap_err();
        assert!(matches!(lost, Error::Unanswered { .. }) && lost.fate() == Fate::Unknown, "{lost}");
        client.json::<serde_json::Value>(get()).await.unwrap();
        let connections: Vec<_> =
            std::iter::from_fn(|| server.heard.try_recv().ok()).map(|(number, _)| number).collect();
        assert_eq!(connections, [1, 1, 2, 2, 3]);
    });
}

#[test]
fn a_server_that_is_not_there_has_certainly_not_heard_the_call() {
    run(async {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let error = client(&format!("http://127.0.0.1:{gone}/bot-token")).send(post()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }) && error.fate() == Fate::Unsent, "{error}");
        assert!(!error.to_string().contains("bot-token"), "{error}");
        assert!(error.to_string().starts_with(&format!("POST http://127.0.0.1:{gone} (do): no connection")), "{error}");

        let patience = hasty(|patience| patience.connect = SOON);
        let error = client("http://nowhere.test").send(post().patience(patience)).await.unwrap_err();
        assert!(
            matches!(error, Error::TimedOut { stage: Stage::Connect, .. }) && error.fate() == Fate::Unsent,
            "{error}"
        );
    });
}

#[test]
fn time_runs_out_stage_by_stage() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n";
        let silent = Says { pieces: Vec::new(), then: Then::Hang, ..ok("") };
        let mut server = Server::plain(vec![silent]).await;
        let error = server.client().send(post().patience(hasty(|p| p.answer = SOON))).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { stage: Stage::Answer, limit: SOON, .. }), "{error}");
        assert_eq!((error.fate(), server.heard().0), (Fate::Unknown, 1));

        let half = Says { pieces: vec![head.into(), b"half".to_vec()], then: Then::Hang, ..ok("") };
        let server = Server::plain(vec![half.clone()]).await;
        let error = server.client().json::<()>(post().patience(hasty(|p| p.silence = SOON))).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { stage: Stage::Body, limit: SOON, .. }), "{error}");
        assert_eq!(error.fate(), Fate::Answered);

        // One that is never silent for long, but never comes to an end either.
        let pieces = std::iter::once(head.replace('8', "800").into()).chain((0..400).map(|_| b"x".to_vec())).collect();
        let server = Server::plain(vec![Says { pieces, apart: Duration::from_millis(10), then: Then::Hang }]).await;
        let patience = hasty(|p| (p.silence, p.whole) = (Duration::from_secs(5), Some(3 * SOON)));
        let error = server.client().json::<()>(post().patience(patience)).await.unwrap_err();
        assert!(matches!(error, Error::TimedOut { stage: Stage::Body, limit, .. } if limit == 3 * SOON), "{error}");
    });
}

#[test]
fn a_refusal_brings_status_body_and_the_pause_that_it_asks_for_without_any_secret() {
    run(async {
        let body = "{\"error\": \"no key sk-77 here\"}";
        let length = body.len();
        let refused = format!("HTTP/1.1 429 Slow\r\nRetry-After: 1.5\r\nContent-Length: {length}\r\n\r\n{body}");
        let server = Server::plain(vec![says(&refused)]).await;
        let key = Secret::new("sk-77").unwrap();
        let error = server.client().hiding(&key).json::<()>(get().bearer(&key)).await.unwrap_err();
        assert_eq!((error.status(), error.fate()), (Some(429), Fate::Answered));
        let Error::Refused(refusal) = &error else { panic!("{error}") };
        assert_eq!(refusal.retry_after(), Some(Duration::from_millis(1500)));
        assert!(error.to_string().ends_with("answered 429: {\"error\": \"no key [secret] here\"}"), "{error}");
        assert!(!format!("{error:?}").contains("sk-77"));
    });
}

#[test]
fn a_body_that_is_cut_too_long_or_no_json_is_told_so() {
    run(async {
        let cut = Says { then: Then::Close, ..says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") };
        let server = Server::plain(vec![cut]).await;
        let error = server.client().json::<()>(get()).await.unwrap_err();
        assert!(matches!(error, Error::Broken { status: 200, .. }), "{error}");

        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n";
        let server = Server::plain(vec![ok("0123456789"), says(chunks), ok("0123456789"), ok("no")]).await;
        let client = server.client();
        for _ in 0..2 {
            let error = client.send(get()).await.unwrap().bytes(9).await.unwrap_err();
            assert!(error.to_string().ends_with("its body is longer than 9 bytes"), "{error}");
        }
        assert_eq!(client.send(get()).await.unwrap().bytes(10).await.unwrap(), Bytes::from_static(b"0123456789"));
        let error = client.json::<u8>(get()).await.unwrap_err();
        assert!(error.to_string().contains("is not the JSON that it should be"), "{error}");
    });
}

#[test]
fn what_is_no_http_at_all_is_an_unknown_fate() {
    run(async {
        let server = Server::plain(vec![says("SSH-2.0-OpenSSH_9.2\r\n\r\n")]).await;
        let error = server.client().send(post()).await.unwrap_err();
        assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    });
}

#[test]
fn a_body_comes_as_it_is_said_and_one_that_is_not_read_gives_its_connection_up() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let pieces = vec![head.into(), b"3\r\none\r\n".to_vec(), b"3\r\ntwo\r\n".to_vec(), b"0\r\n\r\n".to_vec()];
        let stream = Says { pieces, apart: Duration::from_millis(20), then: Then::Listen };
        let mut server = Server::plain(vec![stream.clone(), stream, ok("{}")]).await;
        let client = server.client();
        let mut body = client.send(get()).await.unwrap().body;
        assert_eq!(body.next().await.unwrap(), Some(Bytes::from_static(b"one")));
        assert_eq!(body.next().await.unwrap(), Some(Bytes::from_static(b"two")));
        assert_eq!((body.next().await.unwrap(), body.next().await.unwrap()), (None, None));
        drop(client.send(get()).await.unwrap());
        client.json::<serde_json::Value>(get()).await.unwrap();
        let connections: Vec<_> =
            std::iter::from_fn(|| server.heard.try_recv().ok()).map(|(number, _)| number).collect();
        assert_eq!(connections, [1, 1, 2]);
    });
}

#[test]
fn a_form_with_a_file_is_written_when_it_is_sent() {
    run(async {
        let mut server = Server::plain(vec![ok("{}")]).await;
        let parts =
            vec![Part::value("chat", "7"), Part::file("photo", "a.png", "image/png", Bytes::from_static(b"PNG"))];
        server.client().json::<serde_json::Value>(Call::new(Method::POST, "send", "/send").form(parts)).await.unwrap();
        let (_, request) = server.heard();
        assert!(request.contains("content-type: multipart/form-data; boundary=evergate-0707"), "{request}");
        assert!(
            request.contains("filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n--evergate-0707"),
            "{request}"
        );
    });
}

#[test]
fn what_no_header_can_hold_is_not_sent_and_not_shown() {
    run(async {
        let server = Server::plain(vec![]).await;
        let key = Secret::new("sk-1\nsk-2").unwrap();
        let error = server.client().send(get().bearer(&key)).await.unwrap_err();
        assert!(matches!(error, Error::Unsendable { .. }) && error.fate() == Fate::Unsent, "{error}");
        assert!(!format!("{error:?}").contains("sk-"), "{error:?}");
        let error = server.client().send(Call::get("look", "/a b")).await.unwrap_err();
        assert!(matches!(error, Error::Unsendable { .. }), "{error}");
    });
}

#[test]
fn tls_is_believed_by_its_roots_and_its_name_alone() {
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};
    run(async {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let settings = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(settings));
        let mut server = Server::start(vec![ok("{\"a\":1}"), ok("{\"a\":2}")], Some(acceptor)).await;
        let asked = |host: &str, trust| {
            let environment = Arc::new(Loopback(tokio::time::Instant::now()));
            Client::new(environment, format!("https://{host}:{}", server.port).parse().unwrap(), trust)
        };
        let ours = Trust::only([certificate]).unwrap();
        let client = asked("localhost", ours.clone());
        for expected in [1, 2] {
            assert_eq!(client.json::<serde_json::Value>(get()).await.unwrap()["a"], expected);
        }
        drop(client);
        let strangers = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let theirs = Trust::only([strangers.cert.der().clone()]).unwrap();
        for client in [asked("127.0.0.1", ours), asked("localhost", theirs)] {
            let error = client.send(post()).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains("TLS: invalid peer certificate"), "{error}");
        }
        assert_eq!((server.heard().0, server.heard().0), (1, 1));
    });
}
