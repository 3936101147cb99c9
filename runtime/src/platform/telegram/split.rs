//! Long texts in parts that the server takes: at most [`LONGEST`] UTF-16 units each, broken between paragraphs, lines or words, and
//! inside a word only where a single one is longer than a part. A block of code that goes over a break is closed before it and
//! opened again behind it. What is split is only ever added to at its end while an answer grows, so earlier parts stay as they are.

/// The most that one message holds, in UTF-16 units.
pub const LONGEST: usize = 4096;

/// The longest fence that counts as one, and the longest words behind it: what goes around each part stays small.
const FENCE: usize = 16;
const WORDS: usize = 64;

/// The length of a text as the server counts it.
#[must_use]
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The parts of a text, none of them blank or longer than `limit`, which is at least 256. A blank text has none.
#[must_use]
pub fn split(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(256);
    let (mut parts, mut rest, mut open) = (Vec::new(), text, None::<Fence>);
    loop {
        let opening = open.map_or_else(String::new, |fence| format!("{}\n", fence.line));
        if units(&opening) + units(rest) <= limit {
            if !rest.trim().is_empty() {
                parts.push(opening + rest.trim_end());
            }
            return parts;
        }
        let budget = limit - units(&opening) - (FENCE + 1);
        let (end, fence) = cut(rest, budget, open);
        let piece = &rest[..end];
        let mut part = opening + piece.trim_end_matches([' ', '\n', '\t', '\r']);
        if let Some(fence) = fence {
            part.push('\n');
            part.push_str(fence.mark);
        }
        if !piece.trim().is_empty() {
            parts.push(part);
        }
        rest = match fence {
            // Indentation means something in code.
            Some(_) => rest[end..].strip_prefix('\n').unwrap_or(&rest[end..]),
            None => rest[end..].trim_start_matches([' ', '\n', '\t', '\r']),
        };
        open = fence;
    }
}

/// A fence that is open: its line without indentation, and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence<'a> {
    line: &'a str,
    mark: &'a str,
}

impl<'a> Fence<'a> {
    /// The fence that stands after this line, if one stood before it.
    fn after(before: Option<Self>, line: &'a str) -> Option<Self> {
        let line = line.trim();
        let mark = ['`', '~'].map(|sign| &line[..line.len() - line.trim_start_matches(sign).len()]);
        let mark = mark.into_iter().find(|mark| (3..=FENCE).contains(&mark.len()));
        match (before, mark) {
            (None, Some(mark)) if units(line) <= WORDS && !line[mark.len()..].contains('`') => {
                Some(Self { line, mark })
            }
            (Some(open), Some(mark)) if mark == line && mark.starts_with(open.mark) => None,
            (before, _) => before,
        }
    }
}

/// Where a text that is longer than `budget` is cut, and the fence that is open there.
fn cut<'a>(text: &'a str, budget: usize, open: Option<Fence<'a>>) -> (usize, Option<Fence<'a>>) {
    let (mut end, mut used, mut fence) = (0, 0, open);
    // The last blank line that leaves the part at least half full.
    let mut paragraph = None;
    for line in text.split_inclusive('\n') {
        if used + units(line) > budget {
            break;
        }
        end += line.len();
        used += units(line);
        fence = Fence::after(fence, line);
        if line.trim().is_empty() && fence.is_none() && used >= budget / 2 {
            paragraph = Some(end);
        }
    }
    if let Some(end) = paragraph {
        return (end, None);
    }
    if used >= budget / 2 {
        return (end, fence);
    }
    // One long line fills the rest of the part: it is no fence, and is broken behind a word.
    let line = &text[end..];
    let room = fitting(line, budget - used);
    let word = line[..room].rfind([' ', '\t']).map(|at| at + 1).filter(|at| !line[..*at].trim().is_empty());
    match word {
        Some(at) => (end + at, fence),
        None if line[room..].starts_with([' ', '\t', '\n']) => (end + room, fence),
        // The word would fit into the next part as a whole, or at least begins there.
        None if !text[..end].trim().is_empty() => (end, fence),
        None => (end + room, fence),
    }
}

/// How many bytes of a text fit into so many units.
fn fitting(text: &str, mut budget: usize) -> usize {
    for (at, one) in text.char_indices() {
        match budget.checked_sub(one.len_utf16()) {
            Some(left) => budget = left,
            None => return at,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        texts
            .into_iter()
            .flat_map(|text| text.lines().filter(|line| !line.trim_start().starts_with("```")))
            .flat_map(|line| line.split_whitespace().map(str::to_owned))
            .collect()
    }

    /// Whether every fence that this text opens is closed in it.
    fn is_balanced(text: &str) -> bool {
        text.lines().filter(|line| line.trim_start().starts_with("```")).count() % 2 == 0
    }

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => "[a-zäπ😀]{1,12}( [a-z😀]{1,30}){0,20}",
            1 => Just(String::new()),
            1 => "[ ]{0,4}[a-z(){};]{1,90}",
        ]
    }

    /// Lines, some of them in blocks of code.
    fn text() -> impl Strategy<Value = String> {
        let block = proptest::collection::vec(line(), 0..30).prop_map(|lines| lines.join("\n"));
        let code =
            proptest::collection::vec(line(), 1..30).prop_map(|lines| format!("```rust\n{}\n```", lines.join("\n")));
        proptest::collection::vec(prop_oneof![3 => block, 1 => code], 0..6).prop_map(|blocks| blocks.join("\n"))
    }

    proptest! {
        #[test]
        fn parts_fit_and_break_no_word_and_no_block(text in text(), limit in 256_usize..700) {
            let parts = split(&text, limit);
            for part in &parts {
                prop_assert!(units(part) <= limit, "{} units: {:?}", units(part), part);
                prop_assert!(!part.trim().is_empty());
                prop_assert!(is_balanced(part), "{:?}", part);
            }
            prop_assert_eq!(words(&parts), words([&text]));
        }

        #[test]
        fn any_text_at_all_is_split_into_parts_that_fit(text in "(\\PC|[\n`~ 😀]){0,3000}") {
            let parts = split(&text, 256);
            prop_assert!(parts.iter().all(|part| units(part) <= 256 && !part.trim().is_empty()));
            let solid = |text: &str| text.chars().filter(|one| !one.is_whitespace() && !"`~".contains(*one)).collect::<String>();
            if !text.contains(['`', '~']) {
                prop_assert_eq!(solid(&parts.concat()), solid(&text));
            }
        }

        #[test]
        fn what_was_shown_of_a_growing_answer_stays(text in text(), limit in 256_usize..700) {
            let whole = split(&text, limit);
            for (end, _) in text.char_indices().step_by(97) {
                let sofar = split(&text[..end], limit);
                let settled = sofar.len().saturating_sub(2);
                prop_assert_eq!(&sofar[..settled], &whole[..settled]);
            }
        }
    }

    #[test]
    fn a_short_text_stays_as_it_is_and_a_blank_one_has_no_parts() {
        assert_eq!(split("hello\nyou", LONGEST), ["hello\nyou"]);
        assert!(split(" \n ", LONGEST).is_empty() && split("", LONGEST).is_empty());
    }

    #[test]
    fn a_word_longer_than_a_part_is_broken_between_characters() {
        let parts = split(&"😀".repeat(4000), LONGEST);
        assert_eq!(parts.concat(), "😀".repeat(4000));
        assert!(parts.iter().all(|part| units(part) <= LONGEST));
    }

    #[test]
    fn a_block_of_code_is_closed_and_opened_again() {
        let text = format!("Look:\n\n```rust\n{}```\nThat is all.", "    let a = 1;\n".repeat(40));
        let parts = split(&text, 400);
        assert!(parts[0].starts_with("Look:\n\n```rust\n") && parts[0].ends_with("let a = 1;\n```"), "{:?}", parts[0]);
        assert!(parts[1].starts_with("```rust\n    let a = 1;\n"), "{:?}", parts[1]);
        assert!(parts.last().unwrap().ends_with("```\nThat is all."));
    }
}
