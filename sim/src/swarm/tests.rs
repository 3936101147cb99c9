//! The swarm finds what is planted, makes it small, replays it, and does the same each time.

use super::*;
use crate::replay::{Ending, replay};
use crate::story::{Kind, PANIC};
use crate::trace::Trace;

fn options(runs: u64, threads: usize) -> Options {
    Options { seed: 1, runs, threads, planted: None, out: std::env::temp_dir() }
}

#[test]
fn thirty_lives_break_nothing() {
    let summary = swarm(&options(30, 2)).unwrap();
    assert!(summary.is_clean(), "{summary}");
    assert!(summary.generations > 300, "{summary}");
}

/// Two with a request that has come to the disk while the loop was stuck: until the gateway has been told, it cannot heed it.
/// One in which a blind platform lets a word go while the end is written again to a disk that fails: it is told after that.
/// One in which such a word certainly fails after the end was recorded and before a disk that fails has taken it.
/// One whose loop gets on and stands still again between two looks of the watchdog: it is given its time anew.
/// One of which the machine sleeps for less than from one look to the next, which counts.
/// One with a restart that an end on its way takes along unchecked: its record is written again after it was found unfit.
/// One whose end is extended in the handling that has set its guard already, for a request that came too late.
/// One that is restarted by force when its supervisor, after many deaths, would pause for longer than the bound.
#[test]
fn lives_that_once_broke_something_no_longer_do() {
    let stuck = [77_712, 78_610].map(|seed| Config { blind_every: 0, ..Config::drawn(seed) });
    for config in stuck.into_iter().chain(
        [7_449_532_928_867, 61_864_725_320, 25_374_663_551_083, 61_864_726_795, 917_224, 8_676_382_621_304, 193]
            .map(Config::drawn),
    ) {
        let seed = config.seed;
        let life = Case::of(config).live(Tell::No);
        assert!(life.broken.is_none(), "{seed}: {:?}", life.broken);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let [one, three] = [1, 3].map(|threads| swarm(&options(6, threads)).unwrap().json(0.0));
    assert_eq!(one, three);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let told = |seed: u64| Case::of(Config::drawn(seed)).live(Tell::Moments);
    let (first, again, other) = (told(8), told(8), told(9));
    assert_eq!(first, again);
    assert_ne!(first.trace, other.trace);
    assert_eq!(Case::of(Config::drawn(8)).live(Tell::No).trace, first.trace, "telling it changes nothing");
}

/// The seeds that find what is planted, and what they find.
fn finds(planted: Planted) -> impl Iterator<Item = (Case, Broken)> {
    (1..20).filter_map(move |seed: u64| {
        let case = Case::of(Config { planted: Some(planted), ..Config::drawn(seed) });
        case.live(Tell::No).broken.map(|broken| (case, broken))
    })
}

#[test]
fn an_ack_before_the_sync_is_found_and_made_small_and_replayed() {
    let (case, broken) = finds(Planted::AckBeforeSync).next().expect("it is found soon");
    assert_eq!(broken.invariant, "ACK");
    let small = case.shrunk(&broken);
    assert_eq!((small.plan().len(), small.config.faults.len()), (1, 0), "one message and no fault are enough");

    let mut text = Vec::new();
    small.trace(None).write(&mut text).unwrap();
    let trace = Trace::read(std::str::from_utf8(&text).unwrap()).unwrap();
    let replayed = replay(&trace).unwrap();
    assert_eq!(
        replayed.sentence,
        format!("it happens again: ACK is broken at step {}, as the trace says", trace.steps.len())
    );
    let story = replayed.story;
    assert_eq!(story.broken.as_ref().map(|broken| broken.invariant.as_str()), Some("ACK"));
    assert!(story.moments.iter().any(|moment| moment.kind == Kind::Input && moment.what == "message 1"), "{story:#?}");

    let mut other = trace.clone();
    other.steps[2] = serde_json::json!("something else");
    assert!(replay(&other).unwrap().sentence.contains("; the first difference is step 3: "));
    let cut = Trace { steps: trace.steps[1..].to_vec(), ..trace.clone() };
    assert!(replay(&cut).unwrap().sentence.contains("; the first difference is step 1: "));
    let mended = serde_json::json!(Case { config: Config { planted: None, ..small.config }, ..small });
    let gone = replay(&Trace { config: mended, ..trace }).unwrap();
    assert_eq!(gone.ending, Ending::Gone);
    assert!(gone.sentence.starts_with("it does not happen again: the trace names ACK at step "), "{}", gone.sentence);
}

#[test]
fn a_panic_is_found_and_made_small_and_replayed_with_all_that_led_to_it() {
    let (case, broken) = finds(Planted::ErrorUncaught).next().expect("it is found soon");
    assert_eq!(broken.invariant, PANIC);
    let small = case.shrunk(&broken);
    assert!(small.plan().len() <= 3, "{:?}", small.plan());
    let replayed = replay(&small.trace(None)).unwrap();
    assert_eq!(replayed.ending, Ending::Same, "{}", replayed.sentence);
    let last = replayed.story.moments.last().expect("something led to it");
    assert!(last.kind == Kind::Fault && last.what.starts_with("panics: request "), "{last:?}");
}

#[test]
fn a_disk_that_loses_a_turn_when_the_process_dies_is_found_and_made_small() {
    // A death that strikes after so many effects needs messages that bring them about; another needs none but its own.
    let mut shrunk = finds(Planted::DeathLosesTurn).map(|(case, broken)| (case.shrunk(&broken), broken));
    let small = shrunk.find(|(small, _)| small.plan().len() <= 6);
    let (small, broken) = small.expect("a message and a death are enough");
    let again = small.live(Tell::No);
    assert_eq!(again.broken.map(|broken| broken.invariant), Some(broken.invariant));
}

#[test]
fn a_life_that_is_not_the_same_twice_is_found_and_made_small_and_replayed() {
    let out = tempfile::tempdir().unwrap();
    let options = Options { planted: Some(Planted::Unseeded), out: out.path().to_owned(), ..options(2, 1) };
    let summary = swarm(&options).unwrap();
    assert!(!summary.is_clean() && summary.found.len() == 2, "{summary}");
    for Found { seed, broken, trace } in &summary.found {
        assert_eq!(broken.invariant, SAME, "seed {seed}");
        assert!(broken.what.starts_with("after ") && broken.what.contains(", and after "), "{broken:?}");
        let trace = Trace::read(&std::fs::read_to_string(trace.as_ref().unwrap()).unwrap()).unwrap();
        let case: Case = serde_json::from_value(trace.config.clone()).unwrap();
        assert_eq!((case.plan().len(), case.config.faults.len()), (0, 0), "nobody has to do anything for that");
        let replayed = replay(&trace).unwrap();
        assert_eq!(replayed.ending, Ending::Same, "{}", replayed.sentence);
        let broken = replayed.story.broken.expect("it is broken again");
        assert!(broken.invariant == SAME && broken.what.starts_with("step 1 is \"somebody says "), "{broken:?}");
    }
}

#[test]
fn a_world_that_never_comes_to_rest_once_it_is_healed_is_found_and_said_why() {
    let (case, broken) = finds(Planted::NeverRests).next().expect("it is found soon");
    assert_eq!(broken.invariant, "FINITE");
    let why = broken.what.strip_prefix("healed, and at ").and_then(|what| what.split_once(" ms it is not at rest: "));
    let (_, why) = why.unwrap_or_else(|| panic!("{broken:?}"));
    assert!(why.contains("the gateway has something to do: ") && why.contains("a commit is not done"), "{why}");
    let small = case.shrunk(&broken);
    let replayed = replay(&small.trace(None)).unwrap();
    assert_eq!(replayed.ending, Ending::Same, "{}", replayed.sentence);
    let mended = Case { config: Config { planted: None, ..small.config.clone() }, ..small };
    assert_eq!(mended.live(Tell::No).broken, None, "the commits were the only thing wrong");
}
