//! `evergate-sim explore` and `scopes`: what is said of an exploration, and the file that a counterexample leaves.

use super::{NOTHING_BROKEN, Trouble, UNFINISHED, VIOLATION, arguments, lacks, rate};
use crate::explore::bounds::{self, Bound, Bounds};
use crate::explore::coverage::Coverage;
use crate::explore::scope::{Room, Scope};
use crate::explore::{self, Explored, Report};
use crate::naive::flaw::{Flaw, Row};
use crate::naive::hunt::{self, Finding};
use crate::story::Broken;
use crate::told;
use crate::trace::Trace;
use crate::world::action::Step;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// The production gateway
    Gateway,
    /// A machine with a switch for each known flaw: each must be found, and nothing with all of them off
    Naive,
}

/// `explore`.
#[derive(Args)]
pub struct Explore {
    /// The bounds: `evergate-sim scopes` lists them
    #[arg(long, default_value = "seed")]
    scope: String,
    /// One room of the scope only, by its number
    #[arg(long, value_name = "NUMBER", value_parser = arguments::count)]
    room: Option<u64>,
    /// What is explored
    #[arg(long, value_enum, default_value = "gateway")]
    subject: Subject,
    /// This flaw of the naive machine only, by its name: its way to the broken rule is told and left as a trace
    #[arg(long, value_name = "NAME")]
    flaw: Option<String>,
    /// On how many threads, by default one for each core; the result does not depend on it
    #[arg(long, value_parser = arguments::threads)]
    threads: Option<usize>,
    /// Give up after so many seconds, whichever room it is in: exit status 2 if nothing is broken until then
    #[arg(long)]
    seconds: Option<u64>,
    /// Give a room up when the process has so many megabytes; seven eighths of what is free unless it is said
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
    /// Give a room up when it has more states
    #[arg(long)]
    states: Option<usize>,
    /// The directory for the trace of a counterexample
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// Explores a scope and says what was found.
pub fn run(arguments: &Explore) -> Result<u8, Trouble> {
    let table = explore::table();
    let Some(scope) = table.iter().find(|scope| scope.name == arguments.scope) else {
        let names: Vec<&str> = table.iter().map(|scope| scope.name).collect();
        let sentence = format!("there is no scope {:?}; these there are: {}", arguments.scope, names.join(", "));
        return Err(Trouble::usage(sentence));
    };
    arguments::directory(&arguments.out)?;
    let threads = arguments.threads.unwrap_or_else(arguments::cores);
    let scope = match arguments.room {
        None => scope.clone(),
        Some(room) => usize::try_from(room).ok().and_then(|room| scope.only(room)).ok_or_else(|| {
            let sentence =
                format!("the scope {:?} has {} rooms, and none with number {room}", scope.name, scope.rooms.len());
            Trouble::usage(sentence)
        })?,
    };
    match (arguments.subject, &arguments.flaw) {
        (Subject::Gateway, None) => gateway(&scope, threads, arguments),
        (Subject::Gateway, Some(_)) => {
            Err(Trouble::usage("--flaw is for --subject naive: the gateway has none to choose"))
        }
        (Subject::Naive, _) if arguments.is_bounded() => Err(Trouble::usage(
            "the naive machine has small rooms of its own, which are seen whole: leave out --room, --seconds, --memory and --states",
        )),
        (Subject::Naive, None) => Ok(naive(threads, arguments)),
        (Subject::Naive, Some(name)) => one_flaw(name, threads, arguments),
    }
}

/// One known flaw, as a failure that somebody wants to look at.
fn one_flaw(name: &str, threads: usize, arguments: &Explore) -> Result<u8, Trouble> {
    let Some(flaw) = Flaw::named(name) else {
        let names: Vec<&str> = Flaw::TABLE.iter().map(|row| row.name).collect();
        return Err(Trouble::usage(format!("there is no flaw {name:?}; these there are: {}", names.join(", "))));
    };
    let begun = Instant::now();
    let Row { wrong, room, .. } = flaw.row();
    say!("{name} in the room {:?}: {wrong}\n", room.name);
    let Finding { found, way, .. } = hunt::find(flaw, threads);
    let seconds = begun.elapsed().as_secs_f64();
    let violations: Vec<Value> = found
        .iter()
        .map(|broken| leave(&format!("naive:{name}"), room.name, &room.to_explore(), broken, &way, arguments))
        .collect();
    if violations.is_empty() {
        say!("nothing broken");
    }
    if arguments.json {
        say!("{}", json!({"subject": "naive", "flaw": name, "seconds": seconds, "violations": violations}));
    }
    Ok(if violations.is_empty() { NOTHING_BROKEN } else { VIOLATION })
}

/// The checker is checked: it has to find each known flaw, and nothing where there is none. The rooms are those of the
/// flaws, whatever the scope.
fn naive(threads: usize, arguments: &Explore) -> u8 {
    let begun = Instant::now();
    let (mut violations, mut flaws) = (Vec::new(), Vec::new());
    for row in Flaw::TABLE {
        let finding = hunt::find(row.flaw, threads);
        let (found, way) = (&finding.found, &finding.way);
        let what = found.as_ref().map_or_else(|| "NOT FOUND".to_owned(), ToString::to_string);
        say!("{:<28} {:>2} steps  {what}", row.name, way.len());
        flaws.push(json!({
            "flaw": row.name, "found": found.is_some(), "steps": way.len(),
            "invariant": found.as_ref().map(|broken| broken.invariant.as_str()),
        }));
        if !finding.is_as_expected() {
            say!("{} was to break {}", row.name, row.breaks);
            let subject = format!("naive:{}", row.name);
            let unfound = || json!({"invariant": row.breaks, "what": what, "steps": 0, "trace": null});
            let left = |broken| leave(&subject, row.room.name, &row.room.to_explore(), broken, way, arguments);
            violations.push(found.as_ref().map_or_else(unfound, left));
        }
    }
    let (mut states, mut edges, mut depth, mut whole) = (0, 0, 0, true);
    let mut looked: BTreeMap<&str, u64> = BTreeMap::new();
    let begun_without = Instant::now();
    for (room, explored) in hunt::flawless(threads) {
        (states, edges, whole) = (states + explored.states, edges + explored.edges, whole && explored.cut.is_none());
        depth = depth.max(explored.depth);
        explored.looked.iter().for_each(|(rule, times)| *looked.entry(rule.name()).or_default() += times);
        if let Some((broken, way)) = explored.found {
            violations.push(leave("naive:", room.name, &room.to_explore(), &broken, &way, arguments));
        }
    }
    let rate = states as f64 / begun_without.elapsed().as_secs_f64();
    let seconds = begun.elapsed().as_secs_f64();
    say!("without flaws: {states} states, {edges} edges, depth {depth}, {rate:.0} states a second");
    say!("{} flaws; {seconds:.1} s", flaws.len());
    let clean = violations.is_empty();
    let (status, conclusion) = match (clean, whole) {
        (false, _) => (VIOLATION, "the checker is wrong"),
        (true, false) => (UNFINISHED, "NOT FINISHED: a room without flaws was given up for want of memory"),
        (true, true) => (NOTHING_BROKEN, "each flaw was found where it is, and none where there is none"),
    };
    say!("{conclusion}");
    if arguments.json {
        say!(
            "{}",
            json!({
                "scope": "naive", "subject": "naive", "states": states, "edges": edges, "depth": depth,
                "seconds": seconds, "states_per_second": rate.round(), "violations": violations, "checked": looked,
                "flaws": flaws,
            })
        );
    }
    status
}

impl Explore {
    const fn is_bounded(&self) -> bool {
        self.room.is_some() || self.seconds.is_some() || self.memory.is_some() || self.states.is_some()
    }

    fn bounds(&self) -> Result<Bounds, Trouble> {
        let usual = Bounds::default();
        if self.memory.is_some() && bounds::resident().is_none() {
            return Err(Trouble::usage(
                "--memory cannot be kept to, since this system does not say how much a process has",
            ));
        }
        let memory = self.memory.map(|megabytes| megabytes.saturating_mul(1 << 20)).or(usual.memory);
        let until = self.seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        Ok(Bounds { states: self.states.unwrap_or(usual.states), memory, until })
    }
}

fn gateway(scope: &Scope, threads: usize, arguments: &Explore) -> Result<u8, Trouble> {
    let bounds = arguments.bounds()?;
    say!("scope {}, {} rooms, {threads} threads", scope.name, scope.rooms.len());
    let first = arguments.room.map_or(1, |room| room as usize);
    let mut number = first - 1;
    let report = explore::explore(scope, threads, &bounds, |room| {
        number += 1;
        say!("room {number:>2}  {}", line(room));
    });
    say_totals(&report);
    let mut violations = Vec::new();
    if let Some((room, broken, way)) = report.found() {
        violations.push(leave("gateway", "", room, broken, way, arguments));
    }
    if violations.is_empty() {
        for (line, violation) in lacks::amiss(scope, &report, arguments.room.map(|_| first)) {
            say!("{line}");
            violations.extend(violation);
        }
    }
    say!("{}", conclusion(&report, violations.is_empty()));
    if arguments.json {
        say!("{}", summary(&report, &violations));
    }
    Ok(match (violations.is_empty(), report.is_whole()) {
        (false, _) => VIOLATION,
        (true, true) => NOTHING_BROKEN,
        (true, false) => UNFINISHED,
    })
}

/// The last word on an exploration. What was not seen to its end is not said to be without fault.
fn conclusion(report: &Report, clean: bool) -> String {
    let given_up: Vec<Bound> = report.rooms.iter().filter_map(|room| room.cut).collect();
    let mut unseen = Vec::new();
    for bound in [Bound::States, Bound::Memory, Bound::Time] {
        match given_up.iter().filter(|reached| **reached == bound).count() {
            0 => {}
            1 => unseen.push(format!("1 room was given up at its bound on {bound}")),
            rooms => unseen.push(format!("{rooms} rooms were given up at their bound on {bound}")),
        }
    }
    match report.left_out {
        0 => {}
        1 => unseen.push("1 room was not entered".to_owned()),
        rooms => unseen.push(format!("{rooms} rooms were not entered")),
    }
    match (clean, unseen.is_empty()) {
        (true, true) => "nothing broken".to_owned(),
        (true, false) => {
            format!("NOT FINISHED: {}. Nothing is broken in what was seen, and that is no proof", unseen.join(", "))
        }
        (false, true) => "BROKEN".to_owned(),
        (false, false) => format!("BROKEN, and not all was seen: {}", unseen.join(", ")),
    }
}

/// One room, in one line.
fn line(explored: &Explored) -> String {
    let Room { supervisor, variant, budget, manners } = &explored.room;
    let most = |what: &str, times: u8| if times == 0 { String::new() } else { format!(" {times} {what}") };
    let bounds: String = [
        ("sessions", budget.sessions),
        ("messages", budget.messages),
        ("requests", budget.requests),
        ("cancels", budget.cancels),
        ("kills", budget.kills),
        ("lost writes", budget.lost_writes),
        ("slow", budget.slow),
        ("lost sends", budget.lost_sends),
        ("redeliveries", budget.redeliveries),
        ("freezes", budget.freezes),
        ("ladders", budget.ladders),
        ("progress", budget.progress),
    ]
    .into_iter()
    .map(|(what, times)| most(what, times))
    .collect();
    let like = variant.as_ref().map_or_else(String::new, |variant| format!(" ({})", variant.name));
    let cut = explored.cut.map_or_else(String::new, |bound| format!("; GIVEN UP at the bound on {bound}"));
    format!(
        "{:>9} states {:>10} edges, depth {:>2}: {supervisor:?}{like},{bounds}, {} kinds of wishes{cut}",
        explored.states,
        explored.edges,
        explored.depth,
        manners.len()
    )
}

fn say_totals(report: &Report) {
    let (states, seconds) = (report.states(), report.took.as_secs_f64());
    let bytes: u64 = report.rooms.iter().map(|room| room.bytes).sum();
    let rate = states as f64 / seconds;
    let of_a_core = rate::of_a_core(states as u64);
    say!("{states} states, {} edges in {seconds:.1} s: {rate:.0} states a second{of_a_core}", report.edges());
    say!(
        "a state takes {} bytes on average, {} at the peak of the process",
        bytes / states.max(1) as u64,
        peak(report)
    );
    say!("states in which each rule was looked at:");
    for chunk in report.looked().chunks(6) {
        let words: Vec<String> = chunk.iter().map(|(rule, times)| format!("{:<8}{times:>10}", rule.name())).collect();
        say!("  {}", words.join("  "));
    }
}

/// The most memory that the process ever had, by the states of its largest room.
fn peak(report: &Report) -> String {
    let largest = report.rooms.iter().map(|room| room.states).max().unwrap_or(1);
    bounds::peak().map_or_else(|| "an unknown number".to_owned(), |bytes| (bytes / largest.max(1) as u64).to_string())
}

/// Tells a counterexample, writes it where it can be found again, and gives it as it stands in the JSON.
fn leave(subject: &str, room_name: &str, room: &Room, broken: &Broken, way: &[Step], arguments: &Explore) -> Value {
    let (trace, story) = explore::trace(subject, room, broken, way);
    say!("{}", told::tell(&story));
    say!("VIOLATION {broken}");
    let name = if subject == "naive:" { format!("naive-{room_name}") } else { subject.replace(':', "-") };
    let path = arguments.out.join(format!("explore-{name}.trace.jsonl"));
    let mut found = json!({"invariant": broken.invariant, "what": broken.what, "steps": way.len(), "trace": null});
    match write(&trace, &path) {
        Ok(()) => {
            say!("replay it: evergate-sim replay {}", path.display());
            found["trace"] = json!(path);
        }
        Err(error) => say!("no trace can be written to {}: {error}", path.display()),
    }
    found
}

fn write(trace: &Trace, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    trace.write(&mut file)?;
    file.flush()
}

fn summary(report: &Report, violations: &[Value]) -> Value {
    let seconds = report.took.as_secs_f64();
    let checked: serde_json::Map<String, Value> =
        report.looked().into_iter().map(|(rule, times)| (rule.name().to_owned(), json!(times))).collect();
    json!({
        "scope": report.scope,
        "subject": "gateway",
        "states": report.states(),
        "edges": report.edges(),
        "depth": report.rooms.iter().map(|room| room.depth).max(),
        "seconds": seconds,
        "states_per_second": (report.states() as f64 / seconds).round(),
        "violations": violations,
        "checked": checked,
        "given_up": report.rooms.iter().filter_map(|room| room.cut).map(|bound| bound.to_string()).collect::<Vec<_>>(),
        "left_out": report.left_out,
    })
}

/// Lists the scopes, their rooms, and what those cover.
pub fn scopes() {
    for scope in explore::table() {
        say!("{}", Coverage::of(&scope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::scope::Shape;
    use evergate_core::invariant::Invariant;

    /// The smallest room of the smallest scope.
    fn room() -> Explore {
        Explore {
            scope: "seed".to_owned(),
            room: Some(7),
            subject: Subject::Gateway,
            flaw: None,
            threads: Some(1),
            seconds: None,
            memory: None,
            states: None,
            out: std::env::temp_dir(),
            json: false,
        }
    }

    #[test]
    fn a_single_room_does_not_fail_for_rules_that_it_cannot_see() {
        let scope = explore::table().into_iter().find(|scope| scope.name == "seed").and_then(|scope| scope.only(7));
        let report = explore::explore(&scope.unwrap(), 1, &Bounds::default(), |_| ());
        assert!(report.vacuous().contains(&Invariant::Force), "nobody forces anything there: {:?}", report.vacuous());
        assert_eq!(run(&room()).unwrap(), NOTHING_BROKEN);
    }

    #[test]
    fn what_an_exploration_lacks_makes_it_fail() {
        let seed = explore::table().into_iter().find(|scope| scope.name == "seed").unwrap();
        let right = seed.only(7).unwrap();
        let wrong = Shape { edges: right.shapes[0].edges + 1, ..right.shapes[0] };
        let wrong = Scope { shapes: Box::leak(Box::new([wrong])), ..right.clone() };
        let status = |scope: &Scope, explore: &Explore| gateway(scope, 1, explore).unwrap();
        assert_eq!(status(&right, &room()), NOTHING_BROKEN);
        assert_eq!(status(&wrong, &room()), VIOLATION);
        let whole = Explore { room: None, ..room() };
        assert_eq!(status(&right, &whole), VIOLATION, "a whole scope, and nobody forces anything there");
    }

    #[test]
    fn what_was_given_up_is_neither_clean_nor_broken() {
        assert_eq!(run(&Explore { states: Some(100), ..room() }).unwrap(), UNFINISHED);
        assert_eq!(run(&Explore { seconds: Some(0), ..room() }).unwrap(), UNFINISHED);
        assert_eq!(run(&Explore { seconds: Some(0), room: None, ..room() }).unwrap(), UNFINISHED);
        if bounds::resident().is_some() {
            assert_eq!(run(&Explore { memory: Some(1), ..room() }).unwrap(), UNFINISHED);
        }
    }

    #[test]
    fn the_last_word_says_what_was_not_seen() {
        let scope = explore::table().into_iter().find(|scope| scope.name == "seed").unwrap();
        let within = |bounds| explore::explore(&scope, 1, &bounds, |_| ());
        let cut = within(Bounds { states: 100, ..Bounds::default() });
        assert_eq!(
            conclusion(&cut, true),
            "NOT FINISHED: 9 rooms were given up at their bound on states. Nothing is broken in what was seen, and that is no proof"
        );
        let late = within(Bounds { until: Some(Instant::now()), ..Bounds::default() });
        assert!(conclusion(&late, true).starts_with("NOT FINISHED: 9 rooms were not entered."));
        assert_eq!(conclusion(&late, false), "BROKEN, and not all was seen: 9 rooms were not entered");
    }
}
