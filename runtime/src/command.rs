//! Chat commands: what of a message's text is for the gateway and not for the agent. Only reads; what a command does is the
//! core's business.

use evergate_core::input::Asked;
use evergate_core::request::Mode;

/// What `/help` answers.
pub const HELP: &str = "/restart: restart the gateway; running answers are resumed\n\
/restart force: the same, without waiting for anything\n\
/stop: interrupt the answer that is running here\n\
/status: how the gateway is doing\n\
/new: begin a new conversation\n\
/help: this list";

/// What a text asks for. A text is a command when it begins with `/` and a word of letters; a path such as
/// `/etc/hosts` or a lone `/` is for the agent.
#[must_use]
pub fn parse(text: &str) -> Asked {
    let mut words = text.split_whitespace();
    let Some(name) = words.next().and_then(|word| word.strip_prefix('/')) else { return Asked::Prompt };
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphabetic()) {
        return Asked::Prompt;
    }
    match (name.to_ascii_lowercase().as_str(), words.next(), words.next()) {
        ("restart", None, _) => Asked::Restart(Mode::Graceful),
        ("restart", Some(word), None) if word.eq_ignore_ascii_case("force") => Asked::Restart(Mode::Force),
        ("stop", None, _) => Asked::StopTurn,
        ("status", None, _) => Asked::Status,
        ("new", None, _) => Asked::Renew,
        ("help", None, _) => Asked::Help,
        _ => Asked::UnknownCommand,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_and_everything_else_is_for_the_agent() {
        for (text, asked) in [
            ("/restart", Asked::Restart(Mode::Graceful)),
            ("  /Restart   FORCE \n", Asked::Restart(Mode::Force)),
            ("/restart now please", Asked::UnknownCommand),
            ("/stop", Asked::StopTurn),
            ("/status", Asked::Status),
            ("/new", Asked::Renew),
            ("/help", Asked::Help),
            ("/frobnicate", Asked::UnknownCommand),
            ("/etc/hosts is what?", Asked::Prompt),
            ("/", Asked::Prompt),
            ("hello /restart", Asked::Prompt),
            ("", Asked::Prompt),
        ] {
            assert_eq!(parse(text), asked, "{text:?}");
        }
    }
}
