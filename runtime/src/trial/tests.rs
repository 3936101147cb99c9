//! Starts that die, give up, end in order or prove themselves, and what the next one makes of that.

use super::*;

/// Like a process of this very program, of which a copy of another build is kept.
fn begin(state_dir: &Path) -> (Trial, Option<InPlace>) {
    let (trial, entry) = Trial::enter(state_dir);
    match entry {
        Entry::InPlace(in_place) => (trial, Some(in_place)),
        _ => {
            trial.begun();
            (trial, None)
        }
    }
}

#[test]
fn starts_of_one_process_that_die_are_paused_then_parked_with_the_reason_and_a_person_begins_anew() {
    let room = tempfile::tempdir().unwrap();
    assert_eq!(Trial::enter(room.path()).1, Entry::Begin);
    begin(room.path());
    for before in 1..starts::ATTEMPTS {
        let (trial, entry) = Trial::enter(room.path());
        assert!(matches!(&entry, Entry::Pause { why, .. } if why.contains("in a row")), "{before}: {entry:?}");
        trial.begun();
    }
    let (_, entry) = Trial::enter(room.path());
    assert_eq!(entry, Entry::Park { why: parked(starts::ATTEMPTS) });
    let told = last_starts(room.path());
    assert!(told.contains("gave up: 20 starts in a row died"), "{told}");
    assert_eq!(Trial::enter(room.path()).1, Entry::Begin, "whoever starts it now wants that");

    begin(room.path());
    begin(room.path());
    let mut record = read(room.path()).unwrap();
    record.process = Some((1, 1));
    write(room.path(), &record).unwrap();
    assert_eq!(Trial::enter(room.path()).1, Entry::Begin, "nobody supervises, and it is another process");
}

#[test]
fn a_link_in_the_place_of_the_record_is_replaced_and_what_it_leads_to_is_left_alone() {
    let room = tempfile::tempdir().unwrap();
    let other = room.path().join("other");
    fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, room.path().join(FILE)).unwrap();
    let record = Record { gave_up: Some("x".repeat(10_000)), starts: 1, ..Record::default() };
    for record in [record, Record::default()] {
        write(room.path(), &record).unwrap();
        assert_eq!(read(room.path()), Some(record));
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn a_start_knows_its_number_and_only_an_end_that_nothing_follows_in_place_is_noted() {
    let room = tempfile::tempdir().unwrap();
    let first = begin(room.path()).0;
    let before = first.counted().unwrap();
    first.ended(Verdict::ReExec);
    let in_place = begin(room.path()).0;
    assert_eq!(in_place.counted(), Some(before));
    in_place.ended(Verdict::Exit(STOP));
    let after = in_place.counted().unwrap();
    assert!(!before.has_left(before.start) && after.has_left(before.start));
    assert_eq!(Trial::none().counted(), None);
}

fn keep_another(state_dir: &Path) -> PathBuf {
    GoodCopy { folder: state_dir.join(FOLDER) }.keep(std::process::id(), Build(7)).unwrap()
}

#[test]
fn a_build_that_dies_twice_gives_way_to_the_good_copy_and_one_that_ends_in_order_does_not() {
    let room = tempfile::tempdir().unwrap();
    let kept = keep_another(room.path());
    for _ in 0..3 {
        let (trial, in_place) = begin(room.path());
        assert_eq!(in_place, None);
        trial.ready();
        trial.ended(Verdict::ReExec);
    }
    assert_eq!(last_starts(room.path()), "");
    for _ in 0..2 {
        assert_eq!(begin(room.path()).1, None);
    }
    let told = last_starts(room.path());
    assert!(told.contains("The last 2 starts") && told.contains("did not last"), "{told}");
    let (_, in_place) = begin(room.path());
    let in_place = in_place.expect("it has died twice");
    assert_eq!(in_place.program, kept);
    assert!(in_place.why.contains("died twice before it was stable"), "{}", in_place.why);
}

#[test]
fn a_build_that_parks_or_is_not_ready_in_time_gives_way_at_once_where_there_is_a_good_one() {
    let room = tempfile::tempdir().unwrap();
    let (trial, _) = begin(room.path());
    assert!(!trial.gave_up("the port is taken", None), "nothing better is there");
    assert!(last_starts(room.path()).ends_with("gave up: the port is taken"), "{}", last_starts(room.path()));
    keep_another(room.path());
    let (trial, in_place) = begin(room.path());
    assert_eq!((in_place, trial.ready_within()), (None, Some(evergate_core::rollback::READY_WITHIN)));
    assert!(trial.gave_up("the port is taken", None));
    assert!(begin(room.path()).1.is_some_and(|in_place| in_place.why.contains("parked itself")));

    let room = tempfile::tempdir().unwrap();
    keep_another(room.path());
    begin(room.path()).0.not_ready();
    assert!(begin(room.path()).1.is_some_and(|in_place| in_place.why.contains("was not ready in time")));
}

#[test]
fn who_starts_beside_a_gateway_that_lives_changes_nothing() {
    let room = tempfile::tempdir().unwrap();
    begin(room.path());
    let before = fs::read(room.path().join(FILE)).unwrap();
    let lock = File::create(room.path().join("lock")).unwrap();
    let _held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
    let (trial, in_place) = begin(room.path());
    trial.ended(Verdict::Exit(PARK));
    assert_eq!((in_place, fs::read(room.path().join(FILE)).unwrap()), (None, before));
}

#[test]
fn a_program_that_has_served_long_enough_is_kept_and_never_gives_way() {
    let room = tempfile::tempdir().unwrap();
    keep_another(room.path());
    let (trial, _) = begin(room.path());
    trial.stable();
    assert!(room.path().join(FOLDER).join("evergate.0000000000000007").exists(), "it has not served yet");
    trial.ready();
    trial.stable();
    assert!(!room.path().join(FOLDER).join("evergate.0000000000000007").exists());
    for _ in 0..5 {
        assert_eq!(begin(room.path()).1, None);
    }
}
