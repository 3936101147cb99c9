//! Where everything of a story stands on its page, in columns and gaps instead of pixels: the page stretches both when it
//! is zoomed. One moment is one column, because many happen in the same millisecond; time is told by ticks, and where
//! it jumps, by gaps.

use crate::story::{Kind, Lane, Moment, Story};
use std::collections::{BTreeMap, BTreeSet};

/// From here on a pause is drawn as a gap, in milliseconds.
const GAP_MS: u64 = 1000;

/// The lanes that every page has. Sessions stand between the first and the second, as `Lane`'s order says.
const ALWAYS: [Lane; 4] = [Lane::People, Lane::Gateway, Lane::Disk, Lane::Supervisor];

/// A story, laid out.
pub(super) struct Layout<'a> {
    /// What is laid out.
    pub story: &'a Story,
    /// From top to bottom.
    pub lanes: Vec<Lane>,
    /// Where each moment stands.
    pub places: Vec<Place>,
    /// In the order in which they begin.
    pub bands: Vec<Band>,
}

/// A place to the right: so many columns and so many units of gap from the left edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Columns, which is also the number of the moment.
    pub column: usize,
    /// Units of gap before it.
    pub gaps: usize,
}

/// How long a lane is busy: a generation in the gateway's lane, a turn in a session's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// Whose.
    pub lane: Lane,
    /// The generation in which it began.
    pub generation: u64,
    /// The moment that began it.
    pub from: usize,
    /// The last moment that belongs to it.
    pub to: usize,
    /// How it ended.
    pub end: BandEnd,
}

/// How a band ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BandEnd {
    /// With an end of its own.
    Ended,
    /// Its generation was over, or the next band of its lane began.
    Cut,
    /// The story is over before.
    Open,
}

impl<'a> Layout<'a> {
    /// Lays out a story.
    pub fn of(story: &'a Story) -> Self {
        let moments = &story.moments;
        let lanes: BTreeSet<Lane> = ALWAYS.into_iter().chain(moments.iter().map(|moment| moment.lane)).collect();
        Self { story, lanes: lanes.into_iter().collect(), places: places(moments), bands: bands(moments) }
    }

    /// How many generations lived.
    pub fn generations(&self) -> usize {
        self.story
            .moments
            .iter()
            .map(|moment| moment.generation)
            .filter(|&generation| generation > 0)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// How many sessions occur.
    pub fn sessions(&self) -> usize {
        self.lanes.iter().filter(|lane| matches!(lane, Lane::Session(_))).count()
    }

    /// The right edge: one column after the last moment.
    pub fn edge(&self) -> Place {
        Place { column: self.places.len(), gaps: self.places.last().map_or(0, |last| last.gaps) }
    }

    /// The moments of a lane, oldest first, each with the place of the next one, or of the edge.
    pub fn in_lane(&self, lane: Lane) -> impl Iterator<Item = (usize, Place)> {
        let numbers = || (0..self.places.len()).filter(move |&number| self.story.moments[number].lane == lane);
        let next = numbers().skip(1).map(|number| self.places[number]).chain([self.edge()]);
        numbers().zip(next)
    }

    /// The moments at which the clock shows something else than before.
    pub fn ticks(&self) -> impl Iterator<Item = usize> {
        let moments = &self.story.moments;
        (0..moments.len()).filter(|&number| number == 0 || moments[number].at_ms != moments[number - 1].at_ms)
    }
}

/// How wide the pause before a moment is drawn: none, or wider the longer it is, though never in proportion.
pub(super) fn gap_units(pause_ms: u64) -> usize {
    match pause_ms {
        0..GAP_MS => 0,
        GAP_MS..10_000 => 2,
        10_000..60_000 => 3,
        _ => 4,
    }
}

fn places(moments: &[Moment]) -> Vec<Place> {
    let (mut gaps, mut before_ms) = (0, moments.first().map_or(0, |first| first.at_ms));
    let place = |(column, moment): (usize, &Moment)| {
        gaps += gap_units(moment.at_ms.saturating_sub(before_ms));
        before_ms = moment.at_ms;
        Place { column, gaps }
    };
    moments.iter().enumerate().map(place).collect()
}

fn bands(moments: &[Moment]) -> Vec<Band> {
    let mut bands: Vec<Band> = Vec::new();
    let mut open: BTreeMap<Lane, usize> = BTreeMap::new();
    for (number, Moment { lane, kind, generation, .. }) in moments.iter().enumerate() {
        if *kind != Kind::Begin && *kind != Kind::End {
            continue;
        }
        let own_end = if *kind == Kind::End { BandEnd::Ended } else { BandEnd::Cut };
        // A generation takes the turns in its sessions with it, whether its end or only its successor's beginning is told.
        let over: Vec<Lane> = match lane {
            Lane::Gateway => {
                open.keys().copied().filter(|open| matches!(open, Lane::Session(_) | Lane::Gateway)).collect()
            }
            other => vec![*other],
        };
        for over in over {
            if let Some(band) = open.remove(&over) {
                bands[band].to = number;
                bands[band].end = if over == *lane { own_end } else { BandEnd::Cut };
            }
        }
        if *kind == Kind::Begin {
            open.insert(*lane, bands.len());
            let to = moments.len() - 1;
            bands.push(Band { lane: *lane, generation: *generation, from: number, to, end: BandEnd::Open });
        }
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(moments: &[(u64, u64, Lane, Kind)]) -> Story {
        let moment = |&(at_ms, generation, lane, kind): &(u64, u64, Lane, Kind)| Moment {
            at_ms,
            generation,
            lane,
            kind,
            what: String::new(),
            detail: String::new(),
        };
        Story { moments: moments.iter().map(moment).collect(), ..Story::default() }
    }

    fn drawn(story: &Story) -> Vec<(Lane, u64, usize, usize, BandEnd)> {
        let band = |band: &Band| (band.lane, band.generation, band.from, band.to, band.end);
        Layout::of(story).bands.iter().map(band).collect()
    }

    #[test]
    fn a_generation_and_its_turns_are_bands_from_beginning_to_end() {
        let life = story(&[
            (0, 1, Lane::Gateway, Kind::Begin),
            (1, 1, Lane::Session(2), Kind::Begin),
            (2, 1, Lane::Session(1), Kind::Begin),
            (3, 1, Lane::Session(2), Kind::End),
            (4, 1, Lane::Gateway, Kind::End),
            (5, 2, Lane::Gateway, Kind::Begin),
            (6, 2, Lane::Session(1), Kind::Begin),
        ]);
        assert_eq!(
            drawn(&life),
            [
                (Lane::Gateway, 1, 0, 4, BandEnd::Ended),
                (Lane::Session(2), 1, 1, 3, BandEnd::Ended),
                (Lane::Session(1), 1, 2, 4, BandEnd::Cut),
                (Lane::Gateway, 2, 5, 6, BandEnd::Open),
                (Lane::Session(1), 2, 6, 6, BandEnd::Open),
            ]
        );
    }

    #[test]
    fn a_generation_whose_end_nobody_told_lasts_until_the_next_begins() {
        let life = story(&[
            (0, 1, Lane::Gateway, Kind::Begin),
            (1, 1, Lane::Session(1), Kind::End),
            (2, 1, Lane::Session(1), Kind::Begin),
            (9, 2, Lane::Gateway, Kind::Begin),
        ]);
        assert_eq!(
            drawn(&life),
            [
                (Lane::Gateway, 1, 0, 3, BandEnd::Cut),
                (Lane::Session(1), 1, 2, 3, BandEnd::Cut),
                (Lane::Gateway, 2, 3, 3, BandEnd::Open),
            ]
        );
    }

    #[test]
    fn moments_of_one_millisecond_stand_apart_and_only_long_pauses_make_gaps() {
        let times = [700_000, 700_000, 700_999, 701_999, 731_999, 9_000_000, 5];
        let life = story(&times.map(|at_ms| (at_ms, 1, Lane::Disk, Kind::Effect)));
        let layout = Layout::of(&life);
        let columns: Vec<usize> = layout.places.iter().map(|place| place.column).collect();
        let gaps: Vec<usize> = layout.places.iter().map(|place| place.gaps).collect();
        assert_eq!(columns, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(gaps, [0, 0, 0, 2, 5, 9, 9]);
        assert_eq!(layout.ticks().collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_label_has_room_until_the_next_moment_of_its_lane() {
        let life = story(&[
            (0, 1, Lane::Disk, Kind::Effect),
            (0, 1, Lane::People, Kind::Input),
            (1000, 1, Lane::Disk, Kind::Effect),
            (1000, 1, Lane::People, Kind::Input),
        ]);
        let layout = Layout::of(&life);
        let rooms: Vec<_> = layout.in_lane(Lane::Disk).collect();
        assert_eq!(rooms, [(0, Place { column: 2, gaps: 2 }), (2, Place { column: 4, gaps: 2 })]);
        assert_eq!(layout.in_lane(Lane::Gateway).count(), 0);
    }
}
