//! Text for people: aligned tables, times, and text of others made harmless for a terminal. It knows no command and no
//! answer of the gateway.

use std::time::{Duration, SystemTime};

/// Columns as wide as their widest cell, two spaces apart; the last one is not padded.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// An instant in milliseconds since 1970 as RFC 3339 in UTC, to the second; `-` when there is none.
pub fn instant(unix_ms: Option<u64>) -> String {
    let time = unix_ms.and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// A length of time for people: tenths of a second below a minute, whole seconds above.
pub fn duration(length: Duration) -> String {
    if length < Duration::from_secs(60) {
        return format!("{:.1} s", length.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(length.as_secs())).to_string()
}

/// The text without the control characters that could move a terminal's cursor or rewrite what stands above; newlines
/// and tabs stay.
pub fn harmless(text: &str) -> String {
    text.chars().filter(|&character| matches!(character, '\n' | '\t') || !character.is_control()).collect()
}

/// `harmless`, on one line.
pub fn one_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// `1 turn`, `2 turns`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            vec!["main".to_owned(), "12".to_owned(), "idle".to_owned()],
            vec!["b".to_owned(), "3".to_owned(), String::new()],
        ];
        assert_eq!(table(&["SESSION", "N", "STATE"], &rows), "SESSION  N   STATE\nmain     12  idle\nb        3\n");
    }

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(instant(Some(1_700_000_000_123)), "2023-11-14T22:13:20Z");
        assert_eq!(instant(None), "-");
    }

    #[test]
    fn durations_are_short_for_people() {
        assert_eq!(duration(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(duration(Duration::from_millis(3_725_900)), "1h 2m 5s");
    }

    #[test]
    fn escape_sequences_of_others_lose_their_teeth() {
        assert_eq!(harmless("a\x1b[2Jb\n\tc\r"), "a[2Jb\n\tc");
        assert_eq!(one_line("a\nb"), "a b");
    }
}
