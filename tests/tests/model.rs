//! A model as the agent, behind the real gateway: conversations out of the journal, answers that go on over restarts and
//! broken streams, and everything that an endpoint may say instead of an answer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use evergate_tests::gateway::{Builder, Gateway};
use evergate_tests::model::{Fault, Model};
use evergate_tests::oracle::Words;
use evergate_tests::{PATIENCE, skipped};

fn builder(model: &Model, keys: &str) -> Builder {
    let base = model.base_url();
    let table = format!("[agent]\nkind = \"openai\"\n[agent.openai]\nbase_url = {base:?}\nmodel = \"tiny\"\n{keys}");
    Gateway::builder().config(&table)
}

fn reply(gateway: &Gateway, session: &str, text: &str) -> String {
    let message = gateway.send(session, text, &format!("{session}-{text}"));
    gateway.await_reply(session, message, PATIENCE).text().to_owned()
}

/// What the model was told in a call beside the system's words, joined.
fn told(model: &Model, call: usize) -> Vec<String> {
    let asked = model.asked();
    asked[call].iter().filter(|(role, _)| role != "system").map(|(role, text)| format!("{role}: {text}")).collect()
}

/// The notice that a failed turn leaves.
fn failure(gateway: &Gateway, session: &str, text: &str) -> String {
    gateway.send(session, text, &format!("{session}-{text}"));
    let events = gateway.events(session, None, "a notice", |events| events.iter().any(|event| event.is("notice")));
    events.last().expect("the notice").text().to_owned()
}

#[test]
fn a_conversation_is_kept_over_a_restart_and_new_begins_afresh() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "system = \"Be brief.\"").supervised(true).start();
    assert_eq!(reply(&gateway, "main", "one"), "ü0 ü1 ü2");
    reply(&gateway, "main", "two");
    assert_eq!(told(&model, 1), ["user: one", "assistant: ü0 ü1 ü2", "user: two"]);
    assert_eq!(model.asked()[1][0], ("system".to_owned(), "Be brief.".to_owned()));
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    reply(&gateway, "main", "three");
    assert_eq!(told(&model, 2).len(), 5);
    reply(&gateway, "other", "alone");
    assert_eq!(told(&model, 3), ["user: alone"]);
    gateway.send("main", "/new", "new");
    gateway.events("main", None, "a new conversation", |events| {
        events.iter().any(|event| event.is("notice") && event.data["conversation"] == 1)
    });
    reply(&gateway, "main", "four");
    assert_eq!(told(&model, 4), ["user: four"]);
    reply(&gateway, "main", "five");
    assert_eq!(told(&model, 5), ["user: four", "assistant: ü0 ü1 ü2", "user: five"]);
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn the_connection_to_the_endpoint_is_kept_from_one_turn_to_the_next() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "").start();
    for number in 0..12 {
        assert_eq!(reply(&gateway, "main", &format!("number {number}")), model.answer());
    }
    // A turn that begins before the last one's stream has ended needs one of its own.
    assert!(model.connections() <= 6, "{} connections for {} calls", model.connections(), model.asked().len());
    assert_eq!((model.asked().len(), model.aborted()), (12, 0));
}

#[test]
fn what_does_not_fit_is_left_out_and_both_the_model_and_once_the_reader_are_told_so() {
    let model = Model::start(20, Duration::ZERO);
    let gateway = builder(&model, "context_tokens = 180").start();
    let replies: Vec<_> =
        ["one", "two", "three", "four", "five"].iter().map(|text| reply(&gateway, "main", text)).collect();
    let cut = "[The beginning of this conversation does not fit any more";
    let told: Vec<_> = replies.iter().map(|reply| reply.contains(cut)).collect();
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "once, with the first cut: {replies:?}");
    assert!(!told[0] && replies.iter().all(|reply| reply.starts_with(&model.answer())), "{replies:?}");
    let last = model.asked().pop().expect("it was asked");
    assert!(last[0].0 == "system" && last[0].1.contains("left out"), "{last:?}");
    assert!(last.last().is_some_and(|(_, text)| text == "five") && last.len() < 10, "{last:?}");
    assert!(model.asked().iter().flatten().all(|(_, text)| !text.contains(cut)), "that is none of the model's words");
    gateway.send("main", "/new", "new");
    gateway.events("main", None, "a new conversation", |events| {
        events.iter().any(|event| event.is("notice") && event.data["conversation"] == 1)
    });
    let again: Vec<_> = ["six", "seven", "eight", "nine"].iter().map(|text| reply(&gateway, "main", text)).collect();
    assert_eq!(again.iter().filter(|reply| reply.contains(cut)).count(), 1, "each conversation has its own: {again:?}");
    assert!(gateway.log().contains("does not fit and is not told to the model"));
}

#[test]
fn an_answer_that_the_endpoint_ends_early_says_so() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "").start();
    let json = "application/json";
    for (session, reason, words) in [("a", "length", "agent.openai.max_tokens"), ("b", "content_filter", "filter")] {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"half"}},"finish_reason":"{reason}"}}]}}"#);
        model.break_next(&[Fault::Body(json, body.leak())]);
        let told = reply(&gateway, session, "hello");
        assert!(told.starts_with("half\n\n[The answer is cut short") && told.contains(words), "{told}");
        reply(&gateway, session, "and now");
        let asked = model.asked().pop().expect("it was asked");
        assert_eq!(asked[1], ("assistant".to_owned(), "half".to_owned()));
    }
}

#[test]
fn a_turn_cut_by_a_restart_goes_on_from_what_was_said_and_is_one_answer() {
    let model = Model::start(60, Duration::from_millis(50));
    let gateway = builder(&model, "[drain]\nbudget = \"0s\"").supervised(true).start();
    let message = gateway.send("main", "count", "count");
    gateway.await_said("main", "ü10");
    let before = gateway.generation();
    gateway.ask("restart", &serde_json::json!({"mode": "graceful"}));
    gateway.await_generation(before + 1);
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), model.answer());
    let asked = told(&model, 1);
    assert!(asked[0] == "user: count" && asked[1].starts_with("assistant: ü0 ü1 ü2"), "{asked:?}");
    assert!(asked[1].contains("ü10"), "nothing that was said is thought again: {asked:?}");
    assert_eq!(model.asked().len(), 2);
    assert!(model.aborted() >= 1, "the request of the cut turn goes on at the model");
    gateway.assert_answered_once(&[], Words::Any);
}

#[test]
fn a_turn_cut_by_kill_9_goes_on_from_what_was_kept_and_is_one_answer() {
    let model = Model::start(80, Duration::from_millis(50));
    let gateway = builder(&model, "").start();
    let message = gateway.send("main", "count", "count");
    gateway.await_said("main", "ü50");
    gateway.restart_process();
    assert_eq!(gateway.await_reply("main", message, PATIENCE).text(), model.answer());
    let asked = told(&model, 1);
    // A part is kept within a second, which is twenty words; what a slow machine adds to that is not thirty more.
    assert!(asked.len() == 3 && asked[1].starts_with("assistant: ü0 ü1"), "it begins from nothing: {asked:?}");
    assert!(asked[1].contains(" ü10"), "what was said long before is thought again: {asked:?}");
    assert_eq!(model.asked().len(), 2);
    gateway.assert_answered_once(&[], Words::Any);
}

/// Plays one answer over these faults, which pass; gives what the model was told in its last call.
fn over(faults: &[Fault]) -> Vec<String> {
    let model = Model::start(12, Duration::ZERO);
    let gateway = builder(&model, "first_token = \"1s\"\nsilence = \"1s\"").start();
    model.break_next(faults);
    assert_eq!(reply(&gateway, "main", "one"), model.answer(), "over {faults:?}");
    assert_eq!(model.asked().len(), faults.len() + 1);
    gateway.assert_answered_once(&[], Words::Any);
    told(&model, faults.len())
}

#[test]
fn a_stream_that_breaks_inside_a_character_goes_on_without_a_word_lost_or_doubled() {
    assert_eq!(over(&[Fault::CutInCharacter(4)])[1], "assistant: ü0 ü1 ü2 ü3");
}

#[test]
fn a_stream_that_breaks_inside_an_event_goes_on_without_a_word_lost_or_doubled() {
    assert_eq!(over(&[Fault::CutInEvent(5)])[1], "assistant: ü0 ü1 ü2 ü3 ü4");
}

#[test]
fn a_stream_that_stands_still_is_given_up_and_goes_on_in_another() {
    assert_eq!(over(&[Fault::Stall(6)])[1], "assistant: ü0 ü1 ü2 ü3 ü4 ü5");
}

#[test]
fn an_endpoint_whose_first_word_does_not_come_is_given_up_and_asked_again() {
    assert_eq!(over(&[Fault::Stall(0)]), ["user: one"]);
}

#[test]
fn an_endpoint_that_is_busy_or_broken_is_asked_again_when_it_says() {
    assert_eq!(over(&[Fault::Status(429, Some(1)), Fault::Status(503, None)]), ["user: one"]);
}

/// It waits as long as it is asked to, or else longer with each try.
#[test]
fn a_busy_endpoint_is_left_alone_for_a_while_and_for_longer_each_time() {
    let model = Model::start(2, Duration::ZERO);
    let gateway = builder(&model, "").start();
    model.break_next(&[Fault::Status(503, None), Fault::Status(502, None), Fault::Status(429, Some(3))]);
    assert_eq!(reply(&gateway, "main", "one"), model.answer());
    let pauses: Vec<_> = model.requests().windows(2).map(|two| two[1].at - two[0].at).collect();
    // The gateway's clock counts whole milliseconds: from the one in which it was asked, which had begun before.
    let least = [1, 2, 3].map(|seconds| Duration::from_millis(1000 * seconds - 1));
    assert!(pauses.len() == 3 && pauses.iter().zip(&least).all(|(pause, least)| pause >= least), "{pauses:?}");
}

#[test]
fn an_answer_that_does_not_end_within_its_turn_fails_with_what_was_said() {
    let model = Model::start(1000, Duration::from_millis(50));
    let gateway = builder(&model, "turn = \"2s\"").start();
    let told = failure(&gateway, "main", "count");
    assert!(told.contains("agent.openai.turn") && told.contains("ü0 ü1"), "{told}");
    assert!(!told.contains("ü999"), "{told}");
}

/// Parts of a running answer come to the disk at a sensible pace, not each by itself.
#[test]
fn what_is_said_word_by_word_is_not_written_word_by_word() {
    const WORDS: usize = 150;
    let model = Model::start(WORDS, Duration::from_millis(20));
    let gateway = builder(&model, "").start();
    let commits = || {
        let text = gateway.client().get("/metrics").expect("the gateway answers").text;
        let line = text.lines().find_map(|line| line.strip_prefix("evergate_journal_commits_total "));
        line.and_then(|count| count.parse::<f64>().ok()).expect("it is counted")
    };
    let before = commits();
    assert_eq!(reply(&gateway, "main", "count"), model.answer());
    let written = commits() - before;
    assert!((3.0..WORDS as f64 / 4.0).contains(&written), "{written} commits for {WORDS} words");
}

#[test]
fn the_model_is_asked_by_its_name_with_the_key_that_the_file_or_the_variable_holds_now() {
    let model = Model::start(2, Duration::ZERO);
    let builder_with_file = builder(&model, "");
    let key = builder_with_file.room().join("key");
    std::fs::write(&key, "sk-test-1\n").expect("the room is writable");
    let from_file = builder_with_file.config(&format!("key_file = {key:?}")).start();
    reply(&from_file, "main", "one");
    std::fs::write(&key, "sk-test-2\n").expect("the room is writable");
    reply(&from_file, "main", "two");
    let from_variable = builder(&model, "key_env = \"THE_KEY\"").env("THE_KEY", "sk-test-3").start();
    reply(&from_variable, "main", "three");
    reply(&builder(&model, "").start(), "main", "four");
    let requests = model.requests();
    let keys: Vec<_> = requests.iter().map(|request| request.authorization.as_deref()).collect();
    assert_eq!(keys, [Some("Bearer sk-test-1"), Some("Bearer sk-test-2"), Some("Bearer sk-test-3"), None]);
    assert!(requests.iter().all(|request| request.body["model"] == "tiny" && request.body["stream"] == true));
}

#[test]
fn malformed_json_in_a_stream_and_instead_of_one_is_asked_again() {
    let (stream, json) = ("text/event-stream", "application/json");
    let garbage = [
        Fault::Body(stream, "data: {\"choices\":[{\n\n"),
        Fault::Body(json, "{\"choices\": [{\"message\""),
        Fault::Body(json, "[]"),
        Fault::Body("text/html", "<html>a proxy's own page</html>"),
    ];
    for fault in garbage {
        assert_eq!(over(&[fault]), ["user: one"]);
    }
}

#[test]
fn an_error_that_passes_with_status_200_is_asked_again() {
    let body = r#"{"error":{"message":"overloaded, try again","type":"overloaded_error"}}"#;
    assert_eq!(over(&[Fault::Body("application/json", body)]), ["user: one"]);
}

/// The notice of a turn that fails with these faults, of which one that passes is tried once more; no key stands in it, nor in the
/// log.
fn failed_by(faults: &[Fault]) -> String {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "key_env = \"THE_KEY\"\nretries = 1").env("THE_KEY", "sk-test-77").start();
    model.break_next(faults);
    let told = failure(&gateway, "main", "hello");
    assert!(!told.contains("sk-test") && !gateway.log().contains("sk-test"), "the key is told: {told}");
    assert_eq!(reply(&gateway, "main", "and now"), model.answer(), "the next turn is answered");
    told
}

#[test]
fn a_refusal_of_the_endpoint_fails_the_turn_with_its_words_and_no_key_in_them() {
    let told = failed_by(&[Fault::Status(401, None)]);
    assert!(told.contains("answered 401") && told.contains("agent.openai.key_file"), "{told}");
}

#[test]
fn an_endpoint_that_stays_busy_fails_the_turn_when_its_tries_or_its_time_are_over() {
    let busy = Fault::Status(429, Some(1));
    let told = failed_by(&[busy.clone(), busy]);
    assert!(told.contains("answered 429") && told.contains("it was asked 2 times"), "{told}");
    let told = failed_by(&[Fault::Status(429, Some(100_000))]);
    assert!(told.contains("answered 429") && told.contains("the turn has no time left for that"), "{told}");
}

/// A certificate of this machine's and its key, in this folder as `cert.pem` and `key.pem`.
fn certify(folder: &Path) -> Result<(), String> {
    let request = "[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = localhost\n\
                   [more]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n";
    std::fs::write(folder.join("request"), request).expect("the room is writable");
    let arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -config request -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let made = made.map_err(|error| format!("openssl cannot be run: {error}"))?;
    if !made.status.success() {
        return Err(format!("openssl makes no certificate: {}", String::from_utf8_lossy(&made.stderr)));
    }
    Ok(())
}

/// An endpoint that speaks TLS with a certificate of its own making, in this folder as `cert.pem`, and answers "over TLS".
fn behind_tls(folder: &Path) -> Result<(Child, String), String> {
    const SERVE: &str = r#"
import http.server, json, ssl
class Answers(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        said = {"choices": [{"message": {"content": "over TLS"}, "finish_reason": "stop"}]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;
    certify(folder)?;
    let serving = Command::new("timeout")
        .args(["120", "python3", "-c", SERVE])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut serving = serving.map_err(|error| format!("python3 cannot be run: {error}"))?;
    let mut port = String::new();
    let told = BufReader::new(serving.stdout.take().expect("it was asked for")).read_line(&mut port);
    match told {
        Ok(1..) => Ok((serving, format!("https://127.0.0.1:{}", port.trim()))),
        _ => Err("python3 serves no TLS".into()),
    }
}

#[test]
fn an_endpoint_with_tls_is_believed_if_the_systems_roots_say_so_and_not_otherwise() {
    for believed in [true, false] {
        let builder = Gateway::builder();
        let (mut server, base) = match behind_tls(builder.room()) {
            Ok(served) => served,
            Err(why) => return skipped("an_endpoint_with_tls", &why),
        };
        let table = format!(
            "[agent]\nkind = \"openai\"\n[agent.openai]\nbase_url = \"{base}/v1\"\nmodel = \"tiny\"\nretries = 1"
        );
        // The variable by which the system's roots are put elsewhere: here, or where another certificate of the same name is.
        let other = tempfile::tempdir().expect("a folder can be made");
        certify(other.path()).expect("it could be made here");
        let folder = if believed { builder.room() } else { other.path() };
        let roots = folder.join("cert.pem").display().to_string();
        let gateway = builder.config(&table).env("SSL_CERT_FILE", &roots).start();
        if believed {
            assert_eq!(reply(&gateway, "main", "hello"), "over TLS");
        } else {
            let told = failure(&gateway, "main", "hello");
            assert!(told.contains("invalid peer certificate"), "{told}");
        }
        evergate_tests::process::send_signal(server.id().cast_signed(), nix::sys::signal::Signal::SIGTERM);
        server.wait().expect("it is our child");
    }
}

#[test]
fn a_model_that_returns_nothing_fails_the_turn_with_a_reason() {
    let nothing = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
    let told = failed_by(&[Fault::Body("text/event-stream", nothing)]);
    assert!(told.contains("the model answered nothing (reason: stop)"), "{told}");
    let empty = Fault::Body("text/event-stream", "");
    let told = failed_by(&[empty.clone(), empty]);
    assert!(told.contains("broke off before its end"), "{told}");
}

#[test]
fn a_model_that_wants_to_call_a_tool_fails_the_turn_with_a_reason() {
    let tools = r#"{"choices":[{"message":{"tool_calls":[{"id":"1"}]},"finish_reason":"tool_calls"}]}"#;
    let told = failed_by(&[Fault::Body("application/json", tools)]);
    assert!(told.contains("wants to call a tool"), "{told}");
}

#[test]
fn an_error_with_status_200_fails_the_turn_with_its_words_and_no_key_in_them() {
    let error = r#"{"error":{"message":"no such thing, sk-test-77"}}"#;
    let told = failed_by(&[Fault::Body("application/json", error)]);
    assert!(told.contains("no such thing, [secret]"), "{told}");
}

#[test]
fn malformed_json_that_does_not_end_fails_the_turn_with_a_reason() {
    let garbage = Fault::Body("text/event-stream", "data: {\"choices\":[{\n\n");
    let told = failed_by(&[garbage.clone(), garbage]);
    assert!(told.contains("not the JSON that it should be"), "{told}");
}

#[test]
fn what_a_turn_had_said_before_it_failed_is_told_with_the_reason() {
    let told = failed_by(&[Fault::CutInEvent(2), Fault::CutInEvent(0)]);
    assert!(told.contains("broke off before its end") && told.ends_with("By then it had said:\n\nü0 ü1"), "{told}");
}

#[test]
fn an_endpoint_that_does_not_stream_is_answered_all_the_same() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "").start();
    let whole = r#"{"choices":[{"message":{"content":"at once"},"finish_reason":"stop"}]}"#;
    model.break_next(&[Fault::Body("application/json", whole)]);
    assert_eq!(reply(&gateway, "main", "hello"), "at once");
}

#[test]
fn a_restart_and_a_reload_whose_model_would_have_no_key_are_refused_with_the_reason() {
    let model = Model::start(3, Duration::ZERO);
    let builder = builder(&model, "");
    let key = builder.room().join("key");
    std::fs::write(&key, "sk-test-77").expect("the room is writable");
    let gateway = builder.config(&format!("key_file = {key:?}")).supervised(true).start();
    let before = gateway.generation();
    std::fs::remove_file(&key).expect("it is there");
    let restart = gateway.cli(&["restart"]);
    let said = String::from_utf8_lossy(&restart.stderr).into_owned();
    assert!(!restart.status.success() && said.contains("the model's key is missing"), "{said}");
    let reload = gateway.cli(&["reload"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success() && said.contains("the model's key is missing"), "{said}");
    assert_eq!(gateway.generation(), before);
    std::fs::write(&key, "sk-test-77").expect("the room is writable");
    assert!(gateway.cli(&["restart"]).status.success());
}

#[test]
fn a_key_that_is_missing_fails_the_turn_and_not_the_gateway() {
    let model = Model::start(3, Duration::ZERO);
    let gateway = builder(&model, "key_file = \"/nowhere/key\"").start();
    let told = failure(&gateway, "main", "hello");
    assert!(told.contains("the model's key is missing: /nowhere/key cannot be read"), "{told}");
    assert!(model.asked().is_empty());
}
