//! The address of a conversation on a platform, and the name of its session. Either gives the other, so that no table is
//! needed to find the chat that a reply is owed to.

use std::fmt::Write as _;

/// One conversation on one platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chat {
    /// The platform's name.
    pub platform: String,
    /// The platform's id of the chat.
    pub chat: String,
    /// The platform's id of the thread in it, if it is one.
    pub thread: Option<String>,
}

impl Chat {
    /// The name of its session: `telegram:-1001234:17`, `matrix:!room%3Aserver`. What is not a letter, a digit or one of
    /// `.-_!@$` is written as `%` and two digits, so that the parts can be told apart and the name stands in a URL.
    #[must_use]
    pub fn session(&self) -> String {
        let mut name = self.platform.clone();
        for part in std::iter::once(&self.chat).chain(&self.thread) {
            name.push(':');
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || b".-_!@$".contains(&byte) {
                    name.push(char::from(byte));
                } else {
                    write!(name, "%{byte:02X}").expect("a String takes any text");
                }
            }
        }
        name
    }

    /// The chat that a session is the conversation of; `None` for one of the local platform.
    #[must_use]
    pub fn of_session(name: &str) -> Option<Self> {
        let mut parts = name.split(':');
        let platform = parts.next().filter(|name| !name.is_empty())?.to_owned();
        let chat = plain(parts.next()?)?;
        let thread = parts.next().map(plain);
        match (thread, parts.next()) {
            (None, None) => Some(Self { platform, chat, thread: None }),
            (Some(Some(thread)), None) => Some(Self { platform, chat, thread: Some(thread) }),
            _ => None,
        }
    }
}

/// A part as it was before it was written into a name.
fn plain(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sessions_name_gives_back_its_chat(chat in "\\PC{1,20}", thread in proptest::option::of("\\PC{1,20}")) {
            let chat = Chat { platform: "somewhere".into(), chat, thread };
            let name = chat.session();
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#\"".contains(&byte)), "{}", name);
            prop_assert_eq!(Chat::of_session(&name), Some(chat));
        }

        #[test]
        fn no_name_is_too_strange(name in "\\PC{0,40}") {
            if let Some(chat) = Chat::of_session(&name) {
                prop_assert_eq!(Chat::of_session(&chat.session()), Some(chat));
            }
        }
    }

    #[test]
    fn sessions_are_named_readably_and_local_ones_are_nobodys_chat() {
        let chat = |platform: &str, chat: &str, thread: Option<&str>| Chat {
            platform: platform.into(),
            chat: chat.into(),
            thread: thread.map(Into::into),
        };
        assert_eq!(chat("telegram", "-1001234", Some("17")).session(), "telegram:-1001234:17");
        assert_eq!(chat("matrix", "!room:example.org", None).session(), "matrix:!room%3Aexample.org");
        for name in ["main", "web.1", "", ":", "a:", ":b", "a:b:", "a:b:c:d", "a:%4", "a:%zz", "a:%ff"] {
            assert_eq!(Chat::of_session(name), None, "{name}");
        }
    }
}
