//! Durations as people write them: `30s`, `1h30m`, `250ms`. Reading is humantime's, behind a
//! fence: no months and years, nothing finer than the gateway's clock, nothing that could overflow
//! an instant later on.

use std::time::Duration;

/// The longest duration of the configuration; added to any instant it stays an instant.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// [`LONGEST`] in milliseconds has so many digits.
const MOST_DIGITS: usize = 10;

const UNITS: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

/// Reads a duration.
///
/// # Errors
/// What is wrong with the text, without saying what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text.trim().is_empty() {
        return Err("the duration is empty".to_owned());
    }
    if text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the unit is missing".to_owned());
    }
    // In humantime `M` is a month: a slip of the shift key must not turn 5 minutes into 5 months.
    if text.contains(|letter: char| letter.is_uppercase()) {
        return Err("units are written in lower case".to_owned());
    }
    // humantime panics at the very end of its range; sums of numbers this short stay far from it.
    let digits = text.split(|letter: char| !letter.is_ascii_digit()).map(str::len).max();
    if text.len() > 64 || digits > Some(MOST_DIGITS) {
        return Err("the number is too long".to_owned());
    }
    let duration = humantime::parse_duration(text).map_err(reason)?;
    if duration > LONGEST {
        return Err(format!("it is longer than {}", format(LONGEST)));
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err("it is finer than a millisecond".to_owned());
    }
    Ok(duration)
}

fn reason(error: humantime::DurationError) -> String {
    match error {
        humantime::DurationError::UnknownUnit { unit, .. } if unit.is_empty() => "the unit is missing".to_owned(),
        humantime::DurationError::UnknownUnit { unit, .. } => {
            format!("{unit:?} is not a unit of time")
        }
        humantime::DurationError::NumberOverflow => "the number is too large or too fine".to_owned(),
        _ => "it is not a number followed by a unit".to_owned(),
    }
}

/// Writes a duration so that [`parse`] reads it back; what is finer than a millisecond is left out.
pub(super) fn format(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (milliseconds, unit) in UNITS {
        if rest >= milliseconds {
            text.push_str(&format!("{}{unit}", rest / milliseconds));
            rest %= milliseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_people_write_are_read() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("0s", 0),
            ("30d", 2_592_000_000),
            (" 2 min ", 120_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("   ", "empty"),
            ("30", "unit is missing"),
            ("1m30", "unit is missing"),
            ("5M", "lower case"),
            ("soon", "not a number"),
            ("-5s", "not a number"),
            ("5 parsecs", "\"parsecs\" is not a unit"),
            ("31d", "longer than 30d"),
            ("1y", "longer than 30d"),
            ("100us", "finer than a millisecond"),
            ("18446744073709551615s 1000000000ns", "too long"),
            ("584554049253y 200000s 1000000000ns", "too long"),
            ("9999999999y 9999999999y 9999999999y", "longer than 30d"),
            ("0.0000000000001s", "too"),
            ("1µ", "not"),
            ("١s", "not"),
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut milliseconds = 1u64;
        while milliseconds < 2_592_000_000 {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse(&format(duration)), Ok(duration), "{}", format(duration));
            milliseconds = milliseconds * 13 / 10 + 1;
        }
        assert_eq!(format(Duration::from_millis(5_400_250)), "1h30m250ms");
        assert_eq!(format(Duration::ZERO), "0s");
    }
}
