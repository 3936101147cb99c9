//! The words of the Agent Client Protocol, version 1: JSON-RPC 2.0, one JSON object a line. It knows the messages that a
//! chat needs, reads them leniently (an unknown field or kind is no error) and writes them; it sends and keeps nothing.

use super::offer::Offer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// The version of the protocol that is spoken here.
pub(super) const VERSION: u64 = 1;
/// JSON-RPC: there is no such method.
pub(super) const NO_SUCH_METHOD: i64 = -32601;
/// JSON-RPC: the parameters make no sense.
pub(super) const BAD_PARAMETERS: i64 = -32602;
/// The agent wants somebody to log in first.
pub(super) const LOGIN_WANTED: i64 = -32000;

/// One line of the agent's.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// The answer to a call of ours.
    Response { id: u64, result: Result<Value, Refused> },
    /// A call of the agent's, which wants an answer under its id.
    Call { id: Value, method: String, params: Value },
    /// Something that the agent tells.
    Notification { method: String, params: Value },
    /// No message of the protocol.
    Garbage,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Refused {
    /// Which kind of error, by JSON-RPC's and the protocol's numbers.
    pub(super) code: i64,
    /// A sentence.
    #[serde(default)]
    pub(super) message: String,
    /// More of it.
    #[serde(default)]
    data: Value,
}

impl Refused {
    /// What the agent says, in one line.
    pub(super) fn words(&self) -> String {
        let details = self.data.get("details").and_then(Value::as_str).or(self.data.as_str());
        let text = match details {
            Some(details) if !details.is_empty() && details != self.message => format!("{}: {details}", self.message),
            _ => self.message.clone(),
        };
        format!("{} (error {})", excerpt(&text, 500), self.code)
    }
}

impl Line {
    /// Reads a line.
    pub(super) fn read(bytes: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Message {
            id: Option<Value>,
            method: Option<String>,
            #[serde(default)]
            params: Value,
            result: Option<Value>,
            error: Option<Refused>,
        }
        let Ok(message) = serde_json::from_slice::<Message>(bytes) else { return Self::Garbage };
        match (message.method, message.id) {
            (Some(method), Some(id)) if !id.is_null() => Self::Call { id, method, params: message.params },
            (Some(method), _) => Self::Notification { method, params: message.params },
            (None, Some(id)) => {
                // A result of null is an answer too, and reads like none.
                let result = message.error.map_or(Ok(message.result.unwrap_or_default()), Err);
                id.as_u64().map_or(Self::Garbage, |id| Self::Response { id, result })
            }
            (None, None) => Self::Garbage,
        }
    }
}

/// A call of ours, as a line.
pub(super) fn call(id: u64, method: &str, params: &Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notification of ours, as a line.
pub(super) fn notification(method: &str, params: &Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// The answer to a call of the agent's, as a line.
pub(super) fn answer(id: &Value, result: &Value) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// An error answer to a call of the agent's, as a line.
pub(super) fn refusal(id: &Value, code: i64, message: &str) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The parameters of `initialize`, with what is offered to the agent.
pub(super) fn introduction(offer: Offer) -> Value {
    json!({
        "protocolVersion": VERSION,
        "clientCapabilities": offer.capabilities(),
        "clientInfo": {"name": "evergate", "title": "Evergate", "version": env!("CARGO_PKG_VERSION")},
    })
}

/// The parameters of `session/new`, and with a session those of `session/load`.
pub(super) fn session(folder: &Path, session: Option<&str>) -> Value {
    let mut params = json!({"cwd": folder, "mcpServers": []});
    if let Some(session) = session {
        params["sessionId"] = session.into();
    }
    params
}

/// The parameters of `session/prompt`.
pub(super) fn prompt(session: &str, text: &str) -> Value {
    json!({"sessionId": session, "prompt": [{"type": "text", "text": text}]})
}

/// What the agent says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Introduced {
    /// The version that it speaks.
    pub(super) protocol_version: u64,
    /// What it can do.
    pub(super) agent_capabilities: Capabilities,
    /// Its name.
    pub(super) agent_info: Option<Named>,
    /// How one logs in.
    pub(super) auth_methods: Vec<Value>,
}

/// What an agent can do, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Capabilities {
    /// Whether it can take up a session of an earlier process.
    pub(super) load_session: bool,
}

/// A program's name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    /// As it calls itself.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
}

/// What `session/new` gives.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opened {
    /// The session's id, of the agent's choice.
    pub(super) session_id: String,
}

/// What `session/prompt` gives in the end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped {
    /// Why the agent has stopped.
    pub(super) stop_reason: String,
}

/// What the agent tells of a session.
#[derive(Debug, PartialEq)]
pub(super) struct Update {
    /// Which session.
    pub(super) session: String,
    /// What.
    pub(super) what: Told,
}

/// What an update says, as far as a chat shows it.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// A piece of the user's own message, when a history is replayed.
    User(String),
    /// A piece of the answer.
    Agent(String),
    /// A part of the answer that is no text.
    File(Blob),
    /// A step between two pieces: a tool is used, a thought is had, a plan is made.
    Step,
    /// Nothing that concerns a turn.
    Other,
}

/// A picture, a sound, or another content that is no plain text of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blob {
    /// What the agent calls it.
    pub(super) name: Option<String>,
    /// Its media type.
    pub(super) media_type: String,
    /// What is in it, in base64.
    pub(super) data: String,
    /// The same as a text, where it is one.
    pub(super) text: Option<String>,
}

impl Blob {
    /// Reads a content block; `None` if it carries no bytes. A link to a resource is none: nothing is read on an agent's word.
    fn read(content: &Value) -> Option<Self> {
        let field = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
        let of = match content.get("type")?.as_str()? {
            "image" | "audio" => content,
            "resource" => content.get("resource")?,
            _ => return None,
        };
        let (data, text) = (field(of, "data").or_else(|| field(of, "blob")), field(of, "text"));
        if data.is_none() && text.is_none() {
            return None;
        }
        let name =
            field(of, "uri").and_then(|uri| uri.rsplit('/').next().map(str::to_owned)).filter(|name| !name.is_empty());
        let media_type = field(of, "mimeType").unwrap_or_default();
        Some(Self { name, media_type, data: data.unwrap_or_default(), text })
    }

    /// How much it holds, in bytes.
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.text.as_ref().map_or(0, String::len)
    }
}

impl Update {
    /// Reads the parameters of `session/update`; `None` if they make no sense.
    pub(super) fn read(params: &Value) -> Option<Self> {
        let update = params.get("update")?;
        let text = || {
            let content = update.get("content")?;
            (content.get("type")?.as_str()? == "text").then(|| content.get("text")?.as_str().map(str::to_owned))?
        };
        let what = match update.get("sessionUpdate")?.as_str()? {
            "user_message_chunk" => text().map_or(Told::Other, Told::User),
            "agent_message_chunk" => match (text(), update.get("content").and_then(Blob::read)) {
                (Some(text), _) => Told::Agent(text),
                (None, Some(blob)) => Told::File(blob),
                (None, None) => Told::Step,
            },
            "tool_call" | "tool_call_update" | "agent_thought_chunk" | "plan" => Told::Step,
            _ => Told::Other,
        };
        Some(Self { session: params.get("sessionId")?.as_str()?.to_owned(), what })
    }
}

/// What the agent asks for before it does something (`session/request_permission`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Permission {
    /// In which session.
    pub(super) session_id: String,
    #[serde(default)]
    tool_call: ToolCall,
    options: Vec<Choice>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ToolCall {
    tool_call_id: Option<String>,
    title: Option<String>,
    kind: Option<String>,
    raw_input: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    option_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
}

impl Permission {
    /// What is asked, for a person to read.
    pub(super) fn question(&self) -> String {
        let title = self.tool_call.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        let title = title.map_or_else(|| "a step that it does not name".to_owned(), |title| excerpt(title, 1000));
        match self.tool_call.kind.as_deref() {
            Some(kind) if !kind.is_empty() && kind != "other" => format!("{title} ({})", excerpt(kind, 40)),
            _ => title,
        }
    }

    /// What the question is about, the same whenever the same is asked: all that is told of the step. The agent's number of it
    /// is another one each time, and counts only where nothing else is told.
    pub(super) fn content(&self) -> String {
        let ToolCall { tool_call_id, title, kind, raw_input } = &self.tool_call;
        let number = tool_call_id.as_deref().filter(|_| title.is_none() && raw_input.is_null());
        json!([title, kind, raw_input, number]).to_string()
    }

    /// The answer that lets the agent go on, this time only where it leaves that choice; a cancellation where it offers
    /// nothing of the kind.
    pub(super) fn allowed(&self) -> Value {
        self.choose(&["allow_once", "allow_always"])
    }

    /// The answer that does not.
    pub(super) fn denied(&self) -> Value {
        self.choose(&["reject_once", "reject_always"])
    }

    fn choose(&self, kinds: &[&str]) -> Value {
        let chosen = kinds.iter().find_map(|kind| self.options.iter().find(|choice| choice.kind == *kind));
        chosen
            .map_or_else(cancelled, |choice| json!({"outcome": {"outcome": "selected", "optionId": choice.option_id}}))
    }
}

/// The answer to a permission whose turn is being cancelled.
pub(super) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

/// The beginning of a text, in one line that can be shown anywhere.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    let mut shown: String =
        text.chars().take(most).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Line {
        Line::read(line.as_bytes())
    }

    #[test]
    fn lines_are_told_apart_by_what_they_carry() {
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","id":3,"result":null}"#),
            Line::Response { id: 3, result: Ok(Value::Null) }
        );
        let Line::Response { result: Err(refused), .. } =
            read(r#"{"id":4,"error":{"code":-32603,"message":"Internal error","data":{"details":"no\nkey"}}}"#)
        else {
            panic!("an error answer")
        };
        assert_eq!(refused.words(), "Internal error: no key (error -32603)");
        assert!(matches!(read(r#"{"id":"a","method":"fs/read_text_file","params":{}}"#), Line::Call { .. }));
        assert!(matches!(read(r#"{"method":"session/update"}"#), Line::Notification { .. }));
        for garbage in
            ["", "hello", "[]", "3", "null", "{}", r#"{"id":"x","result":1}"#, r#"{"id":1,"error":3}"#, "\u{0}"]
        {
            assert_eq!(read(garbage), Line::Garbage, "{garbage}");
        }
    }

    #[test]
    fn updates_of_an_unknown_kind_are_passed_over_and_senseless_ones_are_none() {
        let update =
            |update: Value| Update::read(&json!({"sessionId": "s", "update": update})).map(|update| update.what);
        let text = json!({"type": "text", "text": "hi"});
        assert_eq!(
            update(json!({"sessionUpdate": "agent_message_chunk", "content": text})),
            Some(Told::Agent("hi".into()))
        );
        assert_eq!(
            update(json!({"sessionUpdate": "user_message_chunk", "content": text})),
            Some(Told::User("hi".into()))
        );
        let image = json!({"type": "image", "data": "cGl4", "mimeType": "image/png"});
        let blob = Blob { media_type: "image/png".into(), data: "cGl4".into(), ..Blob::default() };
        assert_eq!(update(json!({"sessionUpdate": "agent_message_chunk", "content": image})), Some(Told::File(blob)));
        let resource = json!({"uri": "file:///tmp/a.txt", "mimeType": "text/plain", "text": "words"});
        let resource = json!({"type": "resource", "resource": resource});
        let (name, text) = (Some("a.txt".into()), Some("words".into()));
        let blob = Blob { name, media_type: "text/plain".into(), text, data: String::new() };
        assert_eq!(
            update(json!({"sessionUpdate": "agent_message_chunk", "content": resource})),
            Some(Told::File(blob))
        );
        for none in [json!({"type": "resource_link", "uri": "file:///etc/passwd"}), json!({"type": "image"}), json!(7)]
        {
            assert_eq!(update(json!({"sessionUpdate": "agent_message_chunk", "content": none})), Some(Told::Step));
        }
        assert_eq!(update(json!({"sessionUpdate": "tool_call", "title": 3})), Some(Told::Step));
        assert_eq!(update(json!({"sessionUpdate": "from_the_future"})), Some(Told::Other));
        assert_eq!(update(json!({})), None);
        assert_eq!(Update::read(&Value::Null), None);
    }

    #[test]
    fn a_permission_is_given_for_once_where_that_can_be_chosen_and_never_by_a_refusal() {
        let asked = |kinds: &[&str]| -> Permission {
            let options: Vec<Value> =
                kinds.iter().map(|kind| json!({"optionId": format!("o-{kind}"), "name": "", "kind": kind})).collect();
            let tool = json!({"toolCallId": "1", "title": "rm -rf /\nnow", "kind": "execute"});
            serde_json::from_value(json!({"sessionId": "s", "toolCall": tool, "options": options})).unwrap()
        };
        let chosen = |answer: Value| answer["outcome"]["optionId"].as_str().map(str::to_owned);
        let all = asked(&["allow_always", "reject_always", "allow_once", "reject_once"]);
        assert_eq!(all.question(), "rm -rf / now (execute)");
        assert_eq!(chosen(all.allowed()).as_deref(), Some("o-allow_once"));
        assert_eq!(chosen(all.denied()).as_deref(), Some("o-reject_once"));
        assert_eq!(asked(&["reject_once"]).allowed(), cancelled());
        assert_eq!(asked(&["allow_once", "strange"]).denied(), cancelled());
    }
}
