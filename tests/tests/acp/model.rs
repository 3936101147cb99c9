//! A model endpoint for an agent that needs one: OpenAI's chat completions over plain HTTP on the loopback interface, as far
//! as an agent asks. It answers `w0 w1 … w29`, a word each 100 ms where it streams, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// What it was asked: the messages of each streamed call, without the system's.
type Asked = Arc<Mutex<Vec<Vec<(String, String)>>>>;

/// The endpoint; it ends with the test's process.
pub struct Model {
    address: SocketAddr,
    asked: Asked,
}

impl Model {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let (address, asked) = (listener.local_addr().expect("it listens"), Asked::default());
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A client that goes away in the middle is no fault here.
                std::thread::spawn(move || drop(serve(&stream, &kept)));
            }
        });
        Self { address, asked }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn asked(&self) -> Vec<Vec<(String, String)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: &TcpStream, asked: &Asked) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let words: Vec<String> = (0..30).map(|word| format!("w{word} ")).collect();
    if request["stream"] != true {
        let message = json!({"role": "assistant", "content": words.concat()});
        let answer = match first.starts_with("GET") {
            true => json!({"object": "list", "data": [{"id": "fake", "object": "model", "context_length": 128_000}]}),
            false => json!({"id": "1", "object": "chat.completion", "model": "fake",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}),
        };
        let answer = answer.to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
        return write!(stream, "{head} {}\r\n\r\n{answer}", answer.len());
    }
    let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
    let messages = request["messages"].as_array().into_iter().flatten();
    let messages = messages.map(|message| (text(message, "role"), text(message, "content")));
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(messages.filter(|(role, _)| role != "system").collect());
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
    for word in words {
        chunk(stream, &json!({"role": "assistant", "content": word}), None)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    chunk(stream, &json!({}), Some("stop"))?;
    write!(stream, "data: [DONE]\n\n")
}

fn chunk(mut stream: &TcpStream, delta: &Value, finish: Option<&str>) -> std::io::Result<()> {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({"id": "1", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]});
    write!(stream, "data: {chunk}\n\n")?;
    stream.flush()
}
