//! A story as a page for a browser: lanes from top to bottom, time to the right, and what the marked moment means below.
//! It owns the document around the lanes. The page asks no network for anything, runs from a file, and is the same
//! bytes for the same story; nothing in a story ever becomes markup.

mod lanes;
mod layout;

use crate::story::{Kind, Moment, Story, clock, span};
use lanes::Lanes;
use layout::Layout;
use std::fmt::{self, Display, Formatter, Write};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The shapes of the kinds, so that they differ without colour too; each in a square of 16.
const SHAPES: &str = r##"<svg hidden aria-hidden="true">
<symbol id="input" viewBox="0 0 16 16"><path d="M3.5 2 14 8 3.5 14z"/></symbol>
<symbol id="effect" viewBox="0 0 16 16"><circle cx="8" cy="8" r="5"/></symbol>
<symbol id="fault" viewBox="0 0 16 16"><path d="M8 .5 15.5 8 8 15.5.5 8z"/><path class="cross" d="m5.6 5.6 4.8 4.8m0-4.8-4.8 4.8"/></symbol>
<symbol id="begin" viewBox="0 0 16 16"><path d="M4 1h8v3H7.5v8H12v3H4z"/></symbol>
<symbol id="end" viewBox="0 0 16 16"><path d="M12 1H4v3h4.5v8H4v3h8z"/></symbol>
</svg>
"##;

/// The whole page, as the text of an HTML file.
#[must_use]
pub fn draw(story: &Story) -> String {
    Page { story, layout: Layout::of(story) }.to_string()
}

/// A text that is nothing but text, between tags and in attributes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => to.write_str("&amp;")?,
                '<' => to.write_str("&lt;")?,
                '>' => to.write_str("&gt;")?,
                '"' => to.write_str("&quot;")?,
                '\'' => to.write_str("&#39;")?,
                // HTML knows no NUL, and turns CR into LF.
                '\0' => to.write_str("\u{2400}")?,
                '\r' => to.write_str("&#13;")?,
                _ => to.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// The shape of a kind.
struct Shape(Kind);

impl Display for Shape {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let kind = self.0.word();
        write!(to, r##"<svg class="shape {kind}" aria-hidden="true"><use href="#{kind}"/></svg>"##)
    }
}

struct Page<'a> {
    story: &'a Story,
    layout: Layout<'a>,
}

impl Display for Page<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let title = Text(&self.story.title);
        write!(
            to,
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title} · Evergate</title>
<style>
{STYLE}</style>
</head>
<body>
{SHAPES}<header>
<h1>{title}</h1>
"#
        )?;
        self.summary(to)?;
        self.setting(to)?;
        self.outcome(to)?;
        to.write_str("</header>\n")?;
        if self.story.moments.is_empty() {
            to.write_str("<main class=\"nothing\"><p>Nothing happened: this story has no moments.</p></main>\n")?;
        } else {
            tools(to)?;
            write!(to, "{}", Lanes(&self.layout))?;
            self.told(to)?;
            write!(to, "<script>\n{SCRIPT}</script>\n")?;
        }
        to.write_str("</body>\n</html>\n")
    }
}

impl Page<'_> {
    /// What there is to see, in one line.
    fn summary(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let moments = &self.story.moments;
        let of_kind = |kind| moments.iter().filter(|moment| moment.kind == kind).count();
        let length_ms = moments.last().map_or(0, |last| last.at_ms);
        writeln!(
            to,
            r#"<p class="summary">{} · {} · {} · {} · {} simulated</p>"#,
            counted(moments.len(), "moment"),
            counted(self.layout.generations(), "generation"),
            counted(self.layout.sessions(), "session"),
            counted(of_kind(Kind::Fault), "fault"),
            span(length_ms),
        )
    }

    /// What was chosen before it began: long, and seldom looked at.
    fn setting(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self.story.setting.as_str() {
            "" => Ok(()),
            setting => writeln!(to, r#"<details><summary>setting</summary><pre>{}</pre></details>"#, Text(setting)),
        }
    }

    fn outcome(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match &self.story.broken {
            Some(broken) => writeln!(
                to,
                r#"<p class="outcome broken" role="alert"><strong>BROKEN <b>{}</b></strong> <span>{}</span></p>"#,
                Text(&broken.invariant),
                Text(&broken.what)
            ),
            None => to.write_str("<p class=\"outcome\">No rule broke.</p>\n"),
        }
    }

    /// What the marked moment means, and beside it all moments as a list, which is also where the script and the
    /// browser's search find their texts.
    fn told(&self, to: &mut Formatter<'_>) -> fmt::Result {
        to.write_str(
            r#"<section id="below" aria-label="The moments in words">
<div id="about"><h2 id="about-what"></h2><p id="about-where"></p><pre id="about-detail" tabindex="0" aria-label="Detail"></pre></div>
<div id="all"><p class="head" aria-hidden="true"><span>#</span><span>time</span><span>gen</span><span>lane</span><span>what</span></p>
<ol id="told" aria-label="All moments, oldest first">
"#,
        )?;
        let mut before_ms = 0;
        for (number, moment) in self.story.moments.iter().enumerate() {
            row(to, number, moment, before_ms)?;
            before_ms = moment.at_ms;
        }
        to.write_str("</ol></div>\n</section>\n")
    }
}

fn row(to: &mut Formatter<'_>, number: usize, moment: &Moment, before_ms: u64) -> fmt::Result {
    let Moment { at_ms, generation, lane, kind, what, detail } = moment;
    write!(
        to,
        r#"<li id="r{number}" class="{}" data-after="{}">"#,
        kind.word(),
        span(at_ms.saturating_sub(before_ms))
    )?;
    write!(to, r#"<span class="number">{}</span><time>{}</time>"#, number + 1, clock(*at_ms))?;
    write!(to, r#"<span class="generation"><span class="unseen">generation </span>{generation}</span>"#)?;
    write!(to, r#"<span class="lane-name">{lane}</span><span class="what">{}"#, Shape(*kind))?;
    write!(to, r#"<span class="unseen">{}: </span><span>{}</span></span>"#, kind.word(), Text(what))?;
    if !detail.is_empty() {
        write!(to, r#"<span class="detail" hidden>{}</span>"#, Text(detail))?;
    }
    to.write_str("</li>\n")
}

/// The legend, and what changes the view.
fn tools(to: &mut Formatter<'_>) -> fmt::Result {
    to.write_str("<div id=\"tools\">\n<ul class=\"legend\" aria-label=\"Legend\">")?;
    for kind in Kind::ALL {
        write!(to, "<li>{}{}</li>", Shape(kind), kind.word())?;
    }
    to.write_str(
        r#"<li><i class="sample gap"></i>time jumps</li><li><i class="sample dead"></i>no gateway alive</li></ul>
<p class="keys"><span><kbd>←</kbd> <kbd>→</kbd> moment</span> <span><kbd>Shift</kbd> <kbd>←</kbd> <kbd>→</kbd> in its lane</span> <span><kbd>F</kbd> next fault</span></p>
<div class="zoom" role="group" aria-label="Zoom"><button id="narrower" title="Narrower (−)" aria-label="Narrower">−</button><button id="fit" title="The whole story (0)">Fit</button><button id="wider" title="Wider (+)" aria-label="Wider">+</button></div>
</div>
"#,
    )
}

fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
