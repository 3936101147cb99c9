//! What an agent has the gateway do for it in a turn, as the protocol's calls say it, and the answers that these get. It
//! reads and writes words; nothing is done here.

use super::wire;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Not found: a file, a terminal.
const NOT_FOUND: i64 = -32002;
/// It could be done, and something went wrong.
const FAILED: i64 = -32603;
/// It will not be done any more.
const CANCELLED: i64 = -32800;

/// One thing that the agent wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// Read a file, or some lines of it.
    Read {
        /// Which, absolute.
        path: PathBuf,
        /// The first line, counted from 1.
        from: u64,
        /// So many lines; all where there is no number.
        lines: Option<u64>,
    },
    /// Make a file of this content, or give it that.
    Write {
        /// Which, absolute.
        path: PathBuf,
        /// What is to be in it.
        content: String,
    },
    /// Run a command.
    Create(Order),
    /// Something about a command that runs.
    At(String, Operation),
}

/// A command that is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    /// The program; without arguments a line for a shell.
    pub(super) command: String,
    /// Its arguments.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    /// Variables of its environment.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) env: Vec<Variable>,
    /// Where it begins, absolute; in the session's folder if nothing is said.
    #[serde(default)]
    pub(super) cwd: Option<PathBuf>,
    /// How much of its output is kept at most, in bytes.
    #[serde(default)]
    pub(super) output_byte_limit: Option<u64>,
}

/// A variable of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
}

/// What can be asked about a command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// What it has printed.
    Output,
    /// To be told when it has ended.
    Wait,
    /// That it ends.
    Kill,
    /// That it ends and is forgotten.
    Release,
}

impl Errand {
    /// Reads a call of the agent's, which may be called: in which session, and what. An error says what makes no sense.
    pub(super) fn read(method: &str, params: Value) -> Result<(String, Self), String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Reading {
            path: PathBuf,
            line: Option<u64>,
            limit: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Writing {
            path: PathBuf,
            content: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct At {
            terminal_id: String,
        }
        let session = params.get("sessionId").and_then(Value::as_str).ok_or("there is no sessionId")?.to_owned();
        let at = |operation, params| Ok(Self::At(read::<At>(params)?.terminal_id, operation));
        let errand: Result<Self, String> = match method {
            "fs/read_text_file" => read(params).map(|Reading { path, line, limit }| {
                // The lines are counted from 1; who says 0 means the first as well.
                Self::Read { path, from: line.unwrap_or(1).max(1), lines: limit }
            }),
            "fs/write_text_file" => read(params).map(|Writing { path, content }| Self::Write { path, content }),
            "terminal/create" => read(params).and_then(Order::checked).map(Self::Create),
            "terminal/output" => at(Operation::Output, params),
            "terminal/wait_for_exit" => at(Operation::Wait, params),
            "terminal/kill" => at(Operation::Kill, params),
            "terminal/release" => at(Operation::Release, params),
            other => Err(format!("`{}` is no errand", wire::excerpt(other, 100))),
        };
        Ok((session, errand?))
    }

    /// How much it carries, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Write { content, .. } => content.len(),
            Self::Read { .. } | Self::Create(_) | Self::At(..) => 0,
        }
    }
}

impl Order {
    fn checked(self) -> Result<Self, String> {
        let has_nul = |text: &String| text.contains('\0');
        let in_env = self.env.iter().any(|variable| has_nul(&variable.name) || has_nul(&variable.value));
        if self.command.trim().is_empty() {
            return Err("the command is empty".into());
        }
        if has_nul(&self.command) || self.args.iter().any(has_nul) || in_env {
            return Err("a NUL character stands in the command, its arguments or its environment".into());
        }
        for Variable { name, .. } in &self.env {
            if name.is_empty() || name.contains('=') {
                return Err(format!("{:?} is no name of a variable", wire::excerpt(name, 100)));
            }
            if name.starts_with("EVERGATE_") {
                return Err(format!("{} is a variable that the gateway sets itself", wire::excerpt(name, 100)));
            }
        }
        Ok(self)
    }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, String> {
    serde_json::from_value(params).map_err(|error| wire::excerpt(&error.to_string(), 300))
}

/// What is null is not there.
fn or_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: i64,
    message: String,
}

impl Refusal {
    /// What it is about is not there.
    pub(super) fn not_found(message: String) -> Self {
        Self { code: NOT_FOUND, message }
    }

    /// It is not to be done.
    pub(super) fn not_allowed(message: String) -> Self {
        Self { code: wire::BAD_PARAMETERS, message }
    }

    /// It went wrong.
    pub(super) fn failed(message: String) -> Self {
        Self { code: FAILED, message }
    }

    /// It is too late for it.
    pub(super) fn too_late(message: &str) -> Self {
        Self { code: CANCELLED, message: message.to_owned() }
    }

    /// As a line, the answer to this call.
    pub(super) fn line(&self, id: &Value) -> Vec<u8> {
        wire::refusal(id, self.code, &self.message)
    }

    #[cfg(test)]
    pub(super) fn words(&self) -> (i64, &str) {
        (self.code, &self.message)
    }
}

/// The line that answers a call.
pub(super) fn line(id: &Value, result: Result<Value, Refusal>) -> Vec<u8> {
    match result {
        Ok(result) => wire::answer(id, &result),
        Err(refusal) => refusal.line(id),
    }
}

/// The result of what has none.
pub(super) fn done() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, params: Value) -> Result<Errand, String> {
        Errand::read(method, params).map(|(session, errand)| {
            assert_eq!(session, "s");
            errand
        })
    }

    #[test]
    fn calls_are_read_as_the_protocol_has_them() {
        let path = || PathBuf::from("/w/a");
        let read = |more: Value| {
            let mut params = json!({"sessionId": "s", "path": "/w/a"});
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of("fs/read_text_file", params)
        };
        assert_eq!(read(json!({})), Ok(Errand::Read { path: path(), from: 1, lines: None }));
        assert_eq!(read(json!({"line": null, "limit": null})), Ok(Errand::Read { path: path(), from: 1, lines: None }));
        assert_eq!(read(json!({"line": 0, "limit": 7})), Ok(Errand::Read { path: path(), from: 1, lines: Some(7) }));
        assert!(read(json!({"line": -1})).is_err());
        let written = of("fs/write_text_file", json!({"sessionId": "s", "path": "/w/a", "content": "é"})).unwrap();
        assert_eq!((written.size(), written), (2, Errand::Write { path: path(), content: "é".into() }));
        let ordered = of(
            "terminal/create",
            json!({"sessionId": "s", "command": "ls", "args": ["-l"], "env": [{"name": "A", "value": "b"}], "cwd": "/w", "outputByteLimit": 3}),
        );
        let env = vec![Variable { name: "A".into(), value: "b".into() }];
        let order = Order {
            command: "ls".into(),
            args: vec!["-l".into()],
            env,
            cwd: Some("/w".into()),
            output_byte_limit: Some(3),
        };
        assert_eq!(ordered, Ok(Errand::Create(order)));
        let bare = json!({"sessionId": "s", "command": "ls", "args": null, "env": null, "cwd": null});
        let order = Order { command: "ls".into(), ..Order::default() };
        assert_eq!(of("terminal/create", bare), Ok(Errand::Create(order)));
        for (method, operation) in [
            ("terminal/output", Operation::Output),
            ("terminal/wait_for_exit", Operation::Wait),
            ("terminal/kill", Operation::Kill),
            ("terminal/release", Operation::Release),
        ] {
            assert_eq!(of(method, json!({"sessionId": "s", "terminalId": "t"})), Ok(Errand::At("t".into(), operation)));
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (params, expected) in [
            (json!({"command": "ls"}), "there is no sessionId"),
            (json!({"sessionId": "s"}), "missing field `command`"),
            (json!({"sessionId": "s", "command": " "}), "the command is empty"),
            (json!({"sessionId": "s", "command": "ls", "args": ["a\u{0}b"]}), "a NUL character"),
            (json!({"sessionId": "s", "command": "ls", "env": [{"name": "A=B", "value": ""}]}), "\"A=B\" is no name"),
            (
                json!({"sessionId": "s", "command": "ls", "env": [{"name": "EVERGATE_TURN", "value": "1"}]}),
                "EVERGATE_TURN is a variable that the gateway sets itself",
            ),
        ] {
            let why = Errand::read("terminal/create", params).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
        assert!(Errand::read("terminal/create", Value::Null).is_err());
    }
}
