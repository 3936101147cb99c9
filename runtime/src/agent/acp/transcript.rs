//! The sentences that an agent gets beside the user's own: that an answer was cut and is to go on, and what was said
//! before, where the agent has forgotten it. It decides nothing about when they are said.

use super::memory::{Said, Speaker};

/// How our own words after a cut begin, so that they are recognised in a history.
pub(super) const CONTINUATION: &str = "[Your answer to this was cut off by a restart of the chat.";

/// The longest transcript that a fresh session is begun with, in bytes; what is older is left out, visibly.
const TRANSCRIPT_BYTES: usize = 64 * 1024;

/// Whether a message in a history is our own.
pub(super) fn is_continuation(text: &str) -> bool {
    text.trim_start().starts_with(CONTINUATION)
}

/// Asks for the rest of an answer to a prompt that the agent has. `seen` is what it does not know that the chat has seen.
pub(super) fn continuation(seen: &str) -> String {
    if seen.is_empty() {
        return format!("{CONTINUATION} Go on where you stopped, without doing again what is done.]");
    }
    format!(
        "{CONTINUATION} Go on where you stopped, without doing again what is done. The reader has this much of it; go on right behind \
         it, and do not repeat it:]\n\n{seen}"
    )
}

/// A prompt that the agent does not have, of whose answer the chat has seen a part.
pub(super) fn resumed(prompt: &str, seen: &str) -> String {
    if seen.is_empty() { prompt.to_owned() } else { format!("{prompt}\n\n{}", continuation(seen)) }
}

/// A prompt behind the conversation so far, for an agent that knows nothing of it.
pub(super) fn with_transcript(said: &[Said], prompt: &str) -> String {
    if said.is_empty() {
        return prompt.to_owned();
    }
    let mut kept = Vec::new();
    let mut bytes = 0;
    for line in said.iter().rev() {
        bytes += line.text.len();
        if bytes > TRANSCRIPT_BYTES {
            break;
        }
        kept.push(line);
    }
    let mut text = "[This conversation was begun before; you do not remember it. What was said so far:]\n\n".to_owned();
    if kept.len() < said.len() {
        text.push_str(&format!("[{} earlier messages are left out]\n\n", said.len() - kept.len()));
    }
    for line in kept.into_iter().rev() {
        let who = match line.who {
            Speaker::User => "User",
            Speaker::Agent => "You",
        };
        text.push_str(&format!("{who}: {}\n\n", line.text));
    }
    text.push_str("[The message to answer now:]\n\n");
    text.push_str(prompt);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(who: Speaker, text: &str) -> Said {
        Said { who, text: text.into() }
    }

    #[test]
    fn a_transcript_stands_before_the_prompt_and_says_what_it_leaves_out() {
        assert_eq!(with_transcript(&[], "now"), "now");
        let text = with_transcript(&[said(Speaker::User, "hello"), said(Speaker::Agent, "good day")], "now");
        assert!(text.contains("User: hello\n\nYou: good day\n\n[The message to answer now:]\n\nnow"), "{text}");
        let long = "x".repeat(TRANSCRIPT_BYTES / 2);
        let text = with_transcript(
            &[said(Speaker::User, &long), said(Speaker::Agent, &long), said(Speaker::User, "z")],
            "now",
        );
        assert!(text.contains("[1 earlier messages are left out]") && text.len() < TRANSCRIPT_BYTES, "{}", text.len());
    }

    #[test]
    fn our_own_words_are_recognised() {
        assert!(is_continuation(&continuation("")) && is_continuation(&continuation("so far")));
        assert!(!is_continuation(&resumed("now", "so far")) && resumed("now", "so far").contains(CONTINUATION));
        assert_eq!(resumed("now", ""), "now");
    }
}
