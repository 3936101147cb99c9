//! What a reply ends with that its reader has to know beside it: that it ends early, or that the model does not know the whole
//! conversation any more. These lines are the gateway's, and no model is told them as its own words.

/// The conversation begins to be cut with this turn.
const CUT: &str = "[The beginning of this conversation does not fit any more and is not told to the model from here on. /new begins \
                   afresh; agent.openai.context_tokens says how much fits.]";
/// The model has used up its tokens.
const LENGTH: &str = "[The answer is cut short: it has as many tokens as agent.openai.max_tokens allows.]";
/// Something at the endpoint does not let it go on.
const FILTER: &str = "[The answer is cut short: the endpoint's filter does not let the model go on.]";

/// The remarks of one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Remarks {
    cut: Option<&'static str>,
    early: Option<&'static str>,
}

impl Remarks {
    /// The conversation is cut from this turn on, and nobody was told yet.
    pub(super) fn cut_begins(mut self) -> Self {
        self.cut = Some(CUT);
        self
    }

    /// The model has ended for this reason.
    pub(super) fn ended(mut self, reason: Option<&str>) -> Self {
        self.early = match reason {
            Some("length") => Some(LENGTH),
            Some("content_filter") => Some(FILTER),
            _ => None,
        };
        self
    }

    /// A reply with these behind it.
    pub(super) fn behind(self, reply: String) -> String {
        let lines = [self.early, self.cut].into_iter().flatten();
        lines.fold(reply, |reply, line| if reply.is_empty() { line.to_owned() } else { format!("{reply}\n\n{line}") })
    }
}

/// A reply without the remarks behind it, and whether one of them said that the conversation begins to be cut.
pub(super) fn without(reply: &str) -> (&str, bool) {
    let (bare, cut) = strip(reply, CUT);
    (strip(strip(bare, LENGTH).0, FILTER).0, cut)
}

fn strip<'a>(reply: &'a str, line: &str) -> (&'a str, bool) {
    reply.strip_suffix(line).map_or((reply, false), |bare| (bare.trim_end_matches('\n'), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_behind_a_reply_is_known_again_and_nothing_else_is() {
        let plain = Remarks::default();
        for (remarks, cut) in [
            (plain, false),
            (plain.cut_begins(), true),
            (plain.ended(Some("length")), false),
            (plain.cut_begins().ended(Some("content_filter")), true),
        ] {
            for reply in ["", "words", "words\n[and brackets]"] {
                let told = remarks.behind(reply.to_owned());
                assert_eq!(without(&told), (reply, cut), "{told}");
            }
        }
        assert_eq!(plain.ended(Some("stop")), plain);
        assert_eq!(without("a\n\n"), ("a\n\n", false));
    }
}
