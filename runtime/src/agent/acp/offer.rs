//! What an agent may have the gateway do for it, files and terminals: how it is told so, and what a call for the rest is
//! answered. Nothing is done here.

use super::wire::excerpt;
use serde_json::{Value, json};

/// What is offered to the agent, as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// What it may do with files.
    pub files: FileAccess,
    /// Whether it may run commands.
    pub terminals: Terminals,
}

/// What an agent may do with text files below the folder that it works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileAccess {
    /// Nothing.
    #[default]
    Off,
    /// Read them.
    Read,
    /// Read and write them.
    Write,
}

/// Whether an agent may run commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminals {
    /// No.
    #[default]
    Off,
    /// Yes.
    On,
}

impl Offer {
    /// The client's capabilities, as the agent is told them.
    pub(super) fn capabilities(self) -> Value {
        json!({
            "fs": {
                "readTextFile": self.files != FileAccess::Off,
                "writeTextFile": self.files == FileAccess::Write,
            },
            "terminal": self.terminals == Terminals::On,
        })
    }

    /// Why there is no such method for the agent, in a sentence; `None` if there is.
    pub(super) fn lacks(self, method: &str) -> Option<String> {
        let (setting, is, wanted) = match (method, self.files, self.terminals) {
            ("fs/read_text_file", FileAccess::Read | FileAccess::Write, _) => return None,
            ("fs/read_text_file", FileAccess::Off, _) => ("files", "off", "\"read\" or \"write\""),
            ("fs/write_text_file", FileAccess::Write, _) => return None,
            ("fs/write_text_file", FileAccess::Read, _) => ("files", "read", "\"write\""),
            ("fs/write_text_file", FileAccess::Off, _) => ("files", "off", "\"write\""),
            (terminal, _, terminals) if is_of_terminals(terminal) => match terminals {
                Terminals::On => return None,
                Terminals::Off => ("terminals", "off", "\"on\""),
            },
            _ => return Some(format!("`{}` is not offered by this client", excerpt(method, 100))),
        };
        Some(format!(
            "`{method}` is not offered by this client: its setting agent.acp.{setting} is \"{is}\"; its operator can set it to {wanted}"
        ))
    }
}

fn is_of_terminals(method: &str) -> bool {
    let operation = method.strip_prefix("terminal/");
    operation.is_some_and(|name| ["create", "output", "wait_for_exit", "kill", "release"].contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_may_be_called() {
        for files in [FileAccess::Off, FileAccess::Read, FileAccess::Write] {
            for terminals in [Terminals::Off, Terminals::On] {
                let offer = Offer { files, terminals };
                let told = offer.capabilities();
                for (method, is_told) in [
                    ("fs/read_text_file", &told["fs"]["readTextFile"]),
                    ("fs/write_text_file", &told["fs"]["writeTextFile"]),
                    ("terminal/create", &told["terminal"]),
                    ("terminal/release", &told["terminal"]),
                ] {
                    assert_eq!(offer.lacks(method).is_none(), *is_told, "{method} of {offer:?}");
                }
                assert!(offer.lacks("terminal/paint").is_some() && offer.lacks("fs/delete").is_some());
            }
        }
    }

    #[test]
    fn a_method_that_is_off_names_the_setting_that_turns_it_on() {
        let read = Offer { files: FileAccess::Read, ..Offer::default() };
        let expected = "`fs/write_text_file` is not offered by this client: its setting agent.acp.files is \"read\"; its operator \
                        can set it to \"write\"";
        assert_eq!(read.lacks("fs/write_text_file").as_deref(), Some(expected));
        assert!(read.lacks("terminal/kill").is_some_and(|why| why.contains("agent.acp.terminals is \"off\"")));
    }
}
