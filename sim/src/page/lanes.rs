//! The lanes of a page as markup: the axis, and one row a lane with its bands and its moments. Where things stand comes
//! from `layout`; how wide a column is and what is too narrow for words is left to the style.

use super::layout::{Band, BandEnd, Layout, Place, gap_units};
use super::{Shape, Text};
use crate::story::{Lane, clock, span};
use std::fmt::{self, Display, Formatter};

/// Writes the lanes.
pub(super) struct Lanes<'a>(pub &'a Layout<'a>);

/// A place as style.
struct At(Place);

impl Display for At {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(to, "--c:{};--g:{}", self.0.column, self.0.gaps)
    }
}

/// From one place to another, as style.
struct Reach(Place, Place);

impl Display for Reach {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self(from, until) = self;
        write!(to, "{};--cs:{};--gs:{}", At(*from), until.column - from.column, until.gaps - from.gaps)
    }
}

impl Display for Lanes<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self(layout) = self;
        let edge = layout.edge();
        writeln!(to, r#"<main id="lanes" aria-label="Lanes, time to the right">"#)?;
        writeln!(to, r#"<div id="sheet" style="--columns:{};--gaps:{}">"#, edge.column, edge.gaps)?;
        self.behind(to)?;
        self.axis(to)?;
        for &lane in &layout.lanes {
            self.lane(to, lane)?;
        }
        to.write_str("</div>\n</main>\n")
    }
}

impl Lanes<'_> {
    /// What runs through all lanes: where a gateway is alive, where time jumps, and where a rule broke.
    fn behind(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self(layout) = self;
        let lives = || layout.bands.iter().filter(|band| band.lane == Lane::Gateway);
        // A story that tells of no generation's beginning does not say that none was alive.
        let known = if lives().next().is_some() { " lives" } else { "" };
        write!(to, r#"<div class="behind{known}" aria-hidden="true">"#)?;
        for band in lives() {
            write!(to, r#"<i class="alive{}" style="{}"></i>"#, ending(band), self.extent(band))?;
        }
        for (number, _) in self.pauses() {
            write!(to, r#"<i class="gap" style="{}"></i>"#, self.gap(number))?;
        }
        to.write_str("<i id=\"guide\"></i>")?;
        if let (Some(_), Some(last)) = (&layout.story.broken, layout.places.last()) {
            write!(to, r#"<i class="broken" style="{}"></i>"#, At(*last))?;
        }
        to.write_str("</div>\n")
    }

    fn axis(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Self(layout) = self;
        to.write_str("<div class=\"axis\"><span class=\"name\">time</span><div class=\"track\">")?;
        for (number, pause_ms) in self.pauses() {
            write!(to, r#"<span class="pause" style="{}"><b>+{}</b></span>"#, self.gap(number), span(pause_ms))?;
        }
        for number in layout.ticks() {
            let after_gap = if self.pause_ms(number).is_some() { " after-gap" } else { "" };
            let (at, time) = (At(layout.places[number]), clock(layout.story.moments[number].at_ms));
            write!(to, r#"<time class="tick{after_gap}" style="{at}">{time}</time>"#)?;
        }
        if let (Some(broken), Some(last)) = (&layout.story.broken, layout.places.last()) {
            write!(to, r#"<strong class="flag" style="{}">{} broken</strong>"#, At(*last), Text(&broken.invariant))?;
        }
        to.write_str("</div></div>\n")
    }

    fn lane(&self, to: &mut Formatter<'_>, lane: Lane) -> fmt::Result {
        let Self(layout) = self;
        let class = match lane {
            Lane::Session(_) => "lane session",
            Lane::Gateway => "lane gateway",
            Lane::People | Lane::Agents | Lane::Disk | Lane::Supervisor => "lane",
        };
        write!(to, r#"<div class="{class}" role="group" aria-label="{lane}">"#)?;
        writeln!(to, r#"<span class="name">{lane}</span><div class="track">"#)?;
        for band in layout.bands.iter().filter(|band| band.lane == lane) {
            write!(to, r#"<i class="band{}" style="{}">"#, ending(band), self.extent(band))?;
            if lane == Lane::Gateway {
                write!(to, "<b><span>generation </span>{}</b>", band.generation)?;
            }
            to.write_str("</i>\n")?;
        }
        for (number, room) in layout.in_lane(lane) {
            self.moment(to, number, room)?;
        }
        to.write_str("</div></div>\n")
    }

    /// A moment; the row of the list with the same number says in words what it is. The style knows of the room to
    /// the next one whether its label fits.
    fn moment(&self, to: &mut Formatter<'_>, number: usize, next: Place) -> fmt::Result {
        let Self(layout) = self;
        let moment = &layout.story.moments[number];
        let last = if next == layout.edge() { " last" } else { "" };
        write!(to, r#"<button id="m{number}" class="moment {}{last}" "#, moment.kind.word())?;
        write!(to, r#"tabindex="-1" aria-labelledby="r{number}" style="{}">"#, Reach(layout.places[number], next))?;
        writeln!(to, r#"{}<span>{}</span></button>"#, Shape(moment.kind), Text(&moment.what))
    }

    /// How far a band reaches.
    fn extent(&self, band: &Band) -> Reach {
        let Self(layout) = self;
        let until = match band.end {
            BandEnd::Ended | BandEnd::Cut => layout.places[band.to],
            BandEnd::Open => layout.edge(),
        };
        Reach(layout.places[band.from], until)
    }

    /// The moments before which time jumps, with the pauses in milliseconds.
    fn pauses(&self) -> impl Iterator<Item = (usize, u64)> {
        (0..self.0.places.len()).filter_map(|number| Some((number, self.pause_ms(number)?)))
    }

    fn pause_ms(&self, number: usize) -> Option<u64> {
        let moments = &self.0.story.moments;
        let before = moments.get(number.checked_sub(1)?)?;
        let pause_ms = moments[number].at_ms.saturating_sub(before.at_ms);
        (gap_units(pause_ms) > 0).then_some(pause_ms)
    }

    /// The gap before a moment.
    fn gap(&self, number: usize) -> Reach {
        let place = self.0.places[number];
        Reach(Place { gaps: self.0.places[number - 1].gaps, ..place }, place)
    }
}

/// The class of a band's right end.
fn ending(band: &Band) -> &'static str {
    match band.end {
        BandEnd::Ended => "",
        BandEnd::Cut => " cut",
        BandEnd::Open => " open",
    }
}
