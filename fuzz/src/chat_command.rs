//! The text of a message as a chat command. Whatever people write, only the command itself touches the life cycle.

use evergate::command::parse;
use evergate_core::input::Asked;
use evergate_core::question::Decision;

/// Reads the bytes as a message's text.
pub fn chat_command(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let asked = parse(&text);
    let first = text.split_whitespace().next().unwrap_or_default();
    let named = |name: &str| first.split('@').next().is_some_and(|word| word.eq_ignore_ascii_case(name));
    let allowed = match asked {
        Asked::Prompt => {
            !["/restart", "/stop", "/status", "/new", "/busy", "/help", "/allow", "/deny"].contains(&text.trim())
        }
        Asked::Restart(_) => named("/restart"),
        Asked::StopTurn => named("/stop"),
        Asked::Status => named("/status"),
        Asked::Renew => named("/new"),
        Asked::Busy(_) => named("/busy"),
        Asked::Decide { decision: Decision::Allow, .. } => named("/allow"),
        Asked::Decide { decision: Decision::Deny, .. } => named("/deny"),
        Asked::Help => named("/help"),
        Asked::Misused(command) => named(&format!("/{}", command.word())),
        Asked::UnknownCommand => first.starts_with('/'),
    };
    assert!(allowed, "{text:?} was read as {asked:?}");
    let spaced = format!(" \n{text}\t ");
    assert_eq!(parse(&spaced), asked, "the space around {text:?} changes its meaning");
    assert_eq!(parse(&text.to_ascii_uppercase()), asked, "{text:?} means something else in capitals");
}
