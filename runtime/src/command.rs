//! Chat commands: what of a message's text is for the gateway and not for the agent. Only reads; what a command does is the
//! core's business.

use evergate_core::busy::Busy;
use evergate_core::id::QuestionId;
use evergate_core::input::{Asked, Named};
use evergate_core::question::Decision;
use evergate_core::request::Mode;

/// What `/help` answers.
pub const HELP: &str = "/restart: restart the gateway; running answers are resumed\n\
/restart force: the same, without waiting for anything\n\
/stop: interrupt the answer that is running here\n\
/status: how the gateway is doing\n\
/new: begin a new conversation\n\
/busy: what messages do here that arrive during an answer\n\
/busy queue: each waits for an answer of its own\n\
/busy interrupt: they end the running answer and are next\n\
/busy collect: they are answered together in the next one\n\
/allow: let the agent do what it asks for; with a number where it asks more than one thing\n\
/deny: do not let it\n\
/help: this list";

/// What a text asks for. A text is a command when it begins with `/` and a word of letters; a path such as
/// `/etc/hosts` or a lone `/` is for the agent. In groups the clients of some platforms put a bot's name behind it
/// (`/restart@some_bot`); a platform brings only what is meant for us, so the name says nothing new.
#[must_use]
pub fn parse(text: &str) -> Asked {
    let mut words = text.split_whitespace();
    let Some(name) = words.next().and_then(|word| word.strip_prefix('/')) else { return Asked::Prompt };
    let (name, bot) = name.split_once('@').unwrap_or((name, "some_bot"));
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphabetic());
    if !is_name || bot.is_empty() || !bot.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return Asked::Prompt;
    }
    match (name.to_ascii_lowercase().as_str(), words.next(), words.next()) {
        ("restart", None, _) => Asked::Restart(Mode::Graceful),
        ("restart", Some(word), None) if word.eq_ignore_ascii_case("force") => Asked::Restart(Mode::Force),
        ("stop", None, _) => Asked::StopTurn,
        ("status", None, _) => Asked::Status,
        ("new", None, _) => Asked::Renew,
        ("busy", None, _) => Asked::Busy(None),
        ("busy", Some(word), None) => policy(word).map_or(Asked::Misused(Named::Busy), |busy| Asked::Busy(Some(busy))),
        ("allow", number, None) => decide(number, Decision::Allow),
        ("deny", number, None) => decide(number, Decision::Deny),
        ("help", None, _) => Asked::Help,
        (name, ..) => {
            let named = Named::ALL.into_iter().find(|named| named.word() == name);
            named.map_or(Asked::UnknownCommand, Asked::Misused)
        }
    }
}

/// How a command is used: its lines of [`HELP`].
#[must_use]
pub fn usage(command: Named) -> String {
    let is_of = |line: &&str| {
        let written = line.split_once(':').map_or(*line, |(written, _)| written);
        written.split(' ').next().and_then(|word| word.strip_prefix('/')) == Some(command.word())
    };
    HELP.lines().filter(is_of).collect::<Vec<_>>().join("\n")
}

fn policy(word: &str) -> Option<Busy> {
    Busy::ALL.into_iter().find(|busy| word.eq_ignore_ascii_case(busy.name()))
}

fn decide(number: Option<&str>, decision: Decision) -> Asked {
    match number.map(str::parse).transpose() {
        Ok(number) => Asked::Decide { question: number.map(QuestionId), decision },
        Err(_) => Asked::Misused(match decision {
            Decision::Allow => Named::Allow,
            Decision::Deny => Named::Deny,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// How each command is written, in one way.
    const COMMANDS: [(&str, Asked); 13] = [
        ("restart", Asked::Restart(Mode::Graceful)),
        ("restart force", Asked::Restart(Mode::Force)),
        ("stop", Asked::StopTurn),
        ("status", Asked::Status),
        ("new", Asked::Renew),
        ("busy", Asked::Busy(None)),
        ("busy queue", Asked::Busy(Some(Busy::Queue))),
        ("busy interrupt", Asked::Busy(Some(Busy::Interrupt))),
        ("busy collect", Asked::Busy(Some(Busy::Collect))),
        ("help", Asked::Help),
        ("allow", Asked::Decide { question: None, decision: Decision::Allow }),
        ("deny", Asked::Decide { question: None, decision: Decision::Deny }),
        ("deny 17", Asked::Decide { question: Some(QuestionId(17)), decision: Decision::Deny }),
    ];

    /// A word with some letters in upper case.
    fn recased(word: &str, upper: u32) -> String {
        let letters = word.chars().enumerate();
        letters
            .map(|(at, letter)| if upper >> (at % 32) & 1 == 1 { letter.to_ascii_uppercase() } else { letter })
            .collect()
    }

    proptest! {
        #[test]
        fn a_command_is_read_however_it_is_written(
            (written, asked) in select(&COMMANDS[..]), bot in "(@[A-Za-z0-9_]{1,12})?", upper: u32,
            before in r"[ \t\n\u{3000}]{0,3}", between in r"[ \t\n]{1,3}", after in r"[ \t\n]{0,3}",
        ) {
            let written = recased(written, upper);
            let (name, rest) = written.split_once(' ').map_or((&*written, None), |(name, rest)| (name, Some(rest)));
            let rest = rest.map_or(String::new(), |rest| format!("{between}{rest}"));
            prop_assert_eq!(parse(&format!("{before}/{name}{bot}{rest}{after}")), asked);
        }

        #[test]
        fn each_line_of_the_help_is_a_command_and_means_itself(line in select(HELP.lines().collect::<Vec<_>>())) {
            let (written, _) = line.split_once(':').expect("a command and what it does");
            let known = COMMANDS.iter().find(|(name, _)| written == format!("/{name}"));
            prop_assert_eq!(Some(parse(written)), known.map(|(_, asked)| *asked), "{}", written);
        }

        #[test]
        fn nothing_but_the_command_itself_touches_the_gateway(text in prop_oneof![any::<String>(), "/?[a-z@_ /\\n]{0,24}"]) {
            let first = text.split_whitespace().next().unwrap_or_default();
            let named = |name: &str| first.split('@').next().is_some_and(|word| word.eq_ignore_ascii_case(name));
            let is_whole = |name: &str| text.trim().strip_prefix('/') == Some(name);
            match parse(&text) {
                Asked::Restart(_) => prop_assert!(named("/restart"), "{text:?}"),
                Asked::StopTurn => prop_assert!(named("/stop"), "{text:?}"),
                Asked::Prompt => prop_assert!(!COMMANDS.iter().any(|(name, _)| is_whole(name)), "{text:?}"),
                _ => prop_assert!(first.starts_with('/'), "{text:?}"),
            }
        }

        #[test]
        fn what_does_not_begin_with_a_slash_is_for_the_agent(text in r"\s{0,3}([^/\s].*)?") {
            prop_assert_eq!(parse(&text), Asked::Prompt);
        }
    }

    #[test]
    fn each_command_has_its_usage() {
        for command in Named::ALL {
            let usage = usage(command);
            assert!(usage.starts_with(&format!("/{}", command.word())), "{command:?}: {usage}");
        }
        assert_eq!(usage(Named::Busy).lines().count(), 4);
        assert_eq!(usage(Named::Deny), "/deny: do not let it");
    }

    #[test]
    fn commands_are_read_and_everything_else_is_for_the_agent() {
        for (text, asked) in [
            ("/restart", Asked::Restart(Mode::Graceful)),
            ("  /Restart   FORCE \n", Asked::Restart(Mode::Force)),
            ("/restart now please", Asked::Misused(Named::Restart)),
            ("/stop it", Asked::Misused(Named::Stop)),
            ("/HELP me", Asked::Misused(Named::Help)),
            ("/stop", Asked::StopTurn),
            ("/status", Asked::Status),
            ("/new", Asked::Renew),
            ("/busy", Asked::Busy(None)),
            ("/Busy  Collect", Asked::Busy(Some(Busy::Collect))),
            ("/busy often", Asked::Misused(Named::Busy)),
            ("/busy collect now", Asked::Misused(Named::Busy)),
            ("/help", Asked::Help),
            ("/frobnicate", Asked::UnknownCommand),
            ("/allow 3", Asked::Decide { question: Some(QuestionId(3)), decision: Decision::Allow }),
            ("/allow it", Asked::Misused(Named::Allow)),
            ("/deny -3", Asked::Misused(Named::Deny)),
            ("/deny 3 4", Asked::Misused(Named::Deny)),
            ("/etc/hosts is what?", Asked::Prompt),
            ("/restart@evergate_bot force", Asked::Restart(Mode::Force)),
            ("/restart@", Asked::Prompt),
            ("/restart@a@b", Asked::Prompt),
            ("/@evergate_bot", Asked::Prompt),
            ("/", Asked::Prompt),
            ("hello /restart", Asked::Prompt),
            ("", Asked::Prompt),
        ] {
            assert_eq!(parse(text), asked, "{text:?}");
        }
    }
}
