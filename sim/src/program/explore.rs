//! `evergate-sim explore` and `scopes`: what is said of an exploration, and the file that a counterexample leaves.

use super::{NOTHING_BROKEN, Trouble, VIOLATION, arguments};
use crate::explore::scope::{self, Room, Scope};
use crate::explore::{self, Explored, Report};
use crate::naive::flaw::{Flaw, Row};
use crate::naive::hunt::{self, Finding};
use crate::story::Broken;
use crate::told;
use crate::trace::Trace;
use crate::world::action::Step;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

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
    /// The directory for the trace of a counterexample
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

/// Explores a scope and says what was found.
pub fn run(arguments: &Explore) -> Result<u8, Trouble> {
    let table = scope::table();
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
        (Subject::Gateway, None) => Ok(gateway(&scope, threads, arguments)),
        (Subject::Gateway, Some(_)) => {
            Err(Trouble::usage("--flaw is for --subject naive: the gateway has none to choose"))
        }
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
    println!("{name} in the room {:?}: {wrong}\n", room.name);
    let Finding { found, way, .. } = hunt::find(flaw, threads);
    let seconds = begun.elapsed().as_secs_f64();
    let violations: Vec<Value> = found
        .iter()
        .map(|broken| leave(&format!("naive:{name}"), room.name, &room.to_explore(), broken, &way, arguments))
        .collect();
    if violations.is_empty() {
        println!("nothing broken");
    }
    if arguments.json {
        println!("{}", json!({"subject": "naive", "flaw": name, "seconds": seconds, "violations": violations}));
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
        println!("{:<28} {:>2} steps  {what}", row.name, way.len());
        flaws.push(json!({
            "flaw": row.name, "found": found.is_some(), "steps": way.len(),
            "invariant": found.as_ref().map(|broken| broken.invariant.as_str()),
        }));
        if !finding.is_as_expected() {
            println!("{} was to break {}", row.name, row.breaks);
            let subject = format!("naive:{}", row.name);
            let unfound = || json!({"invariant": row.breaks, "what": what, "steps": 0, "trace": null});
            let left = |broken| leave(&subject, row.room.name, &row.room.to_explore(), broken, way, arguments);
            violations.push(found.as_ref().map_or_else(unfound, left));
        }
    }
    let (mut states, mut edges) = (0, 0);
    for (room, explored) in hunt::flawless(threads) {
        (states, edges) = (states + explored.states, edges + explored.edges);
        if let Some((broken, way)) = explored.found {
            violations.push(leave("naive:", room.name, &room.to_explore(), &broken, &way, arguments));
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("without flaws: {states} states, {edges} edges; {} flaws; {seconds:.1} s", flaws.len());
    let clean = violations.is_empty();
    println!(
        "{}",
        if clean { "each flaw was found where it is, and none where there is none" } else { "the checker is wrong" }
    );
    if arguments.json {
        println!(
            "{}",
            json!({
                "scope": arguments.scope, "subject": "naive", "states": states, "edges": edges, "seconds": seconds,
                "violations": violations, "flaws": flaws,
            })
        );
    }
    if clean { NOTHING_BROKEN } else { VIOLATION }
}

fn gateway(scope: &Scope, threads: usize, arguments: &Explore) -> u8 {
    println!("scope {}, {} rooms, {threads} threads", scope.name, scope.rooms.len());
    let first = arguments.room.map_or(1, |room| room as usize);
    let mut number = first - 1;
    let report = explore::explore(scope, threads, |room| {
        number += 1;
        println!("room {number:>2}  {}", line(room));
    });
    say_totals(&report);
    let mut violations = Vec::new();
    if let Some((room, broken, way)) = report.found() {
        violations.push(leave("gateway", "", room, broken, way, arguments));
    }
    let vacuous = if violations.is_empty() { report.vacuous() } else { Vec::new() };
    for rule in &vacuous {
        println!("{rule} never had anything to look at: this says nothing about it");
        violations.push(json!({"invariant": rule, "what": "never looked at", "steps": 0, "trace": null}));
    }
    if violations.is_empty() {
        for (room, was, is) in report.misshapen(scope) {
            let room = first - 1 + room;
            let what = format!(
                "room {room} had {} states and {} edges, and has {} and {}: the gateway behaves in another way. If that is meant, \
                 the table of scopes is to say so",
                was.states, was.edges, is.states, is.edges
            );
            println!("{what}");
            violations.push(json!({"invariant": "SHAPE", "what": what, "steps": 0, "trace": null}));
        }
    }
    let cut = report.rooms.iter().filter(|room| room.cut).count();
    if cut > 0 {
        println!("{cut} rooms have more states than fit: nothing is said about what was not seen");
    }
    if violations.is_empty() && cut == 0 {
        println!("nothing broken");
    }
    if arguments.json {
        println!("{}", summary(&report, &violations));
    }
    if violations.is_empty() && cut == 0 { NOTHING_BROKEN } else { VIOLATION }
}

/// One room, in one line.
fn line(explored: &Explored) -> String {
    let Room { supervisor, budget, manners } = &explored.room;
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
    ]
    .into_iter()
    .map(|(what, times)| most(what, times))
    .collect();
    format!(
        "{:>9} states {:>10} edges, depth {:>2}: {:?},{bounds}, {} kinds of wishes",
        explored.states,
        explored.edges,
        explored.depth,
        supervisor,
        manners.len()
    )
}

fn say_totals(report: &Report) {
    let (states, seconds) = (report.states(), report.took.as_secs_f64());
    let bytes: u64 = report.rooms.iter().map(|room| room.bytes).sum();
    let rate = states as f64 / seconds;
    let of_a_core = processor_seconds()
        .map_or_else(String::new, |seconds| format!(", {:.0} a second of a core", states as f64 / seconds.max(0.01)));
    println!("{states} states, {} edges in {seconds:.1} s: {rate:.0} states a second{of_a_core}", report.edges());
    println!(
        "a state takes {} bytes on average, {} at the peak of the process",
        bytes / states.max(1) as u64,
        peak(report)
    );
    println!("states in which each rule was looked at:");
    for chunk in report.looked().chunks(6) {
        let words: Vec<String> = chunk.iter().map(|(rule, times)| format!("{:<8}{times:>10}", rule.name())).collect();
        println!("  {}", words.join("  "));
    }
}

/// What all threads together have computed: unlike the time that has passed it does not depend on what else the machine does.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    // Linux tells it in hundredths of a second on every machine.
    Some(ticks.sum::<Result<f64, _>>().ok()? / 100.0)
}

/// The most memory that the process ever had, by the states of its largest room.
fn peak(report: &Report) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    let largest = report.rooms.iter().map(|room| room.states).max().unwrap_or(1);
    kilobytes
        .map_or_else(|| "an unknown number".to_owned(), |kilobytes| (kilobytes * 1024 / largest.max(1)).to_string())
}

/// Tells a counterexample, writes it where it can be found again, and gives it as it stands in the JSON.
fn leave(subject: &str, room_name: &str, room: &Room, broken: &Broken, way: &[Step], arguments: &Explore) -> Value {
    let (trace, story) = explore::trace(subject, room, broken, way);
    println!("{}", told::tell(&story));
    println!("VIOLATION {broken}");
    let name = if subject == "naive:" { format!("naive-{room_name}") } else { subject.replace(':', "-") };
    let path = arguments.out.join(format!("explore-{name}.trace.jsonl"));
    let mut found = json!({"invariant": broken.invariant, "what": broken.what, "steps": way.len(), "trace": null});
    match write(&trace, &path) {
        Ok(()) => {
            println!("replay it: evergate-sim replay {}", path.display());
            found["trace"] = json!(path);
        }
        Err(error) => println!("no trace can be written to {}: {error}", path.display()),
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
    })
}

/// Lists the scopes and their rooms.
pub fn scopes() {
    for Scope { name, purpose, rooms, .. } in scope::table() {
        println!("{name}: {purpose}");
        for (index, Room { supervisor, budget, manners }) in rooms.iter().enumerate() {
            println!("  room {:>2}  {supervisor:?}, {budget:?}, {manners:?}", index + 1);
        }
    }
}
