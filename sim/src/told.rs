//! A story as lines for a terminal: one line a moment, so that it can be read, searched and compared with another one. It
//! colours nothing, and it never lets a text from the story move the cursor.

use crate::story::{Kind, Lane, Moment, Story, clock};
use std::fmt::{self, Display, Formatter};

/// The story as text: its title, its moments in aligned columns, and at the end the rule that broke.
#[must_use]
pub fn tell(story: &Story) -> String {
    Told(story).to_string()
}

/// A kind as one sign at the head of a line. Effects, which are most of a story, have none.
fn sign(kind: Kind) -> char {
    match kind {
        Kind::Input => '>',
        Kind::Effect => ' ',
        Kind::Fault => '!',
        Kind::Begin => '[',
        Kind::End => ']',
    }
}

struct Told<'a>(&'a Story);

/// How wide the columns of one story are.
struct Widths {
    time: usize,
    generation: usize,
    lane: usize,
}

impl Widths {
    fn of(moments: &[Moment]) -> Self {
        let widest = |head: &str, text: &dyn Fn(&Moment) -> String| {
            moments.iter().map(|moment| text(moment).len()).fold(head.len(), usize::max)
        };
        Self {
            time: widest("time", &|moment| clock(moment.at_ms)),
            generation: widest("gen", &|moment| moment.generation.to_string()),
            lane: widest("where", &|moment| moment.lane.to_string()),
        }
    }

    /// Where the words begin.
    fn indent(&self) -> usize {
        self.time + self.generation + self.lane + 8
    }
}

impl Display for Told<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self(story) = self;
        writeln!(to, "{}\n", OneLine(&story.title))?;
        if !story.setting.is_empty() {
            writeln!(to, "{}\n", OneLine(&story.setting))?;
        }
        if story.moments.is_empty() {
            writeln!(to, "Nothing happened.")?;
        } else {
            let widths = Widths::of(&story.moments);
            let Widths { time, generation, lane } = widths;
            writeln!(to, "{:>time$}  {:>generation$}  {:<lane$}    what", "time", "gen", "where")?;
            for (number, moment) in story.moments.iter().enumerate() {
                let begins_a_life = moment.lane == Lane::Gateway && moment.kind == Kind::Begin;
                if begins_a_life && number > 0 {
                    writeln!(to)?;
                }
                line(to, &widths, moment)?;
            }
        }
        match &story.broken {
            Some(broken) => {
                writeln!(to, "\nBROKEN  {}: {}", OneLine(&broken.invariant), OneLine(&broken.what))
            }
            None => writeln!(to, "\nNo rule broke."),
        }
    }
}

fn line(to: &mut Formatter<'_>, widths: &Widths, moment: &Moment) -> fmt::Result {
    let Widths { time, generation, lane } = *widths;
    let Moment { at_ms, generation: number, lane: place, kind, what, detail } = moment;
    let fault = if *kind == Kind::Fault { "FAULT " } else { "" };
    let (at, sign, what_line) = (clock(*at_ms), sign(*kind), OneLine(what));
    writeln!(to, "{at:>time$}  {number:>generation$}  {place:<lane$}  {sign} {fault}{what_line}")?;
    if !what.contains(detail.trim()) {
        for more in detail.trim_end().lines() {
            writeln!(to, "{:indent$}{}", "", OneLine(more), indent = widths.indent() + 2)?;
        }
    }
    Ok(())
}

/// A text that stays on its line: control characters are written out.
struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(char::is_control) {
            let control = rest[at..].chars().next().unwrap_or_default();
            write!(to, "{}{}", &rest[..at], control.escape_default())?;
            rest = &rest[at + control.len_utf8()..];
        }
        to.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::Broken;

    fn moment(at_ms: u64, lane: Lane, kind: Kind, what: &str, detail: &str) -> Moment {
        Moment { at_ms, generation: 1, lane, kind, what: what.into(), detail: detail.into() }
    }

    #[test]
    fn a_story_is_told_in_aligned_columns_with_faults_and_the_broken_rule_marked() {
        let mut moments = vec![
            moment(0, Lane::Gateway, Kind::Begin, "generation 1 begins", ""),
            moment(3, Lane::People, Kind::Input, "message 7 arrives", "Message {\n  session: 12\n}\n"),
            moment(3, Lane::Session(12), Kind::Effect, "message 7 is acked", "message 7"),
            moment(3_600_000, Lane::Supervisor, Kind::Fault, "kill -9", ""),
            moment(3_600_000, Lane::Gateway, Kind::End, "generation 1 ends", ""),
            moment(3_600_500, Lane::Gateway, Kind::Begin, "generation 2 begins", ""),
        ];
        moments[5].generation = 2;
        let broken = Some(Broken { invariant: "ACK".into(), what: "message 7 is acked and lost".into() });
        let told = tell(&Story { title: "swarm, seed 4".into(), setting: "{\"seed\":4}".into(), moments, broken });
        assert_eq!(
            told,
            "\
swarm, seed 4

{\"seed\":4}

       time  gen  where         what
   0:00.000    1  gateway     [ generation 1 begins
   0:00.003    1  people      > message 7 arrives
                                  Message {
                                    session: 12
                                  }
   0:00.003    1  session 12    message 7 is acked
1:00:00.000    1  supervisor  ! FAULT kill -9
1:00:00.000    1  gateway     ] generation 1 ends

1:00:00.500    2  gateway     [ generation 2 begins

BROKEN  ACK: message 7 is acked and lost
"
        );
    }

    #[test]
    fn a_story_in_which_nothing_happened_or_broke_says_so() {
        let told = tell(&Story { title: "explore".into(), ..Story::default() });
        assert_eq!(told, "explore\n\nNothing happened.\n\nNo rule broke.\n");
    }

    #[test]
    fn a_text_from_the_story_can_neither_move_the_cursor_nor_begin_a_line() {
        let what = "says \u{1b}[2J\nBROKEN  ACK: no";
        let story = Story {
            title: "a\rb".into(),
            setting: "c\nd".into(),
            moments: vec![moment(0, Lane::People, Kind::Input, what, "one\u{7}\r\ntwo")],
            broken: None,
        };
        let told = tell(&story);
        assert!(told.chars().all(|letter| letter == '\n' || !letter.is_control()), "{told:?}");
        assert!(told.contains("says \\u{1b}[2J\\nBROKEN  ACK: no\n"), "{told}");
        assert!(!told.contains("\nBROKEN"), "{told}");
    }
}
