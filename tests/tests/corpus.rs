//! The committed corpus of the fuzz targets, replayed through their bodies: what was once found stays mended, and the bodies
//! themselves cannot rot between two fuzzing sessions.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use evergate_fuzz::TARGETS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn replay(name: &str) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of this name");
    let folder = fuzz().join("corpus").join(name);
    let inputs = names_in(&folder);
    assert!(!inputs.is_empty(), "{} holds nothing", folder.display());
    for input in inputs {
        // Shown only if this one fails.
        println!("{name}: {input}");
        body(&std::fs::read(folder.join(input)).unwrap());
    }
    // What a fuzzer always tries first.
    body(b"");
    body(b"\n");
}

macro_rules! replayed {
    ($($test:ident: $name:literal,)+) => {
        $(#[test]
        fn $test() {
            replay($name);
        })+

        #[test]
        fn each_target_has_its_corpus_and_its_test() {
            let tested: BTreeSet<String> = [$($name),+].map(str::to_owned).into();
            assert_eq!(tested, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect());
            assert_eq!(tested, names_in(&fuzz().join("corpus")));
            let files = names_in(&fuzz().join("fuzz_targets"));
            assert_eq!(tested, files.iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect());
        }
    };
}

replayed! {
    the_core_keeps_its_rules_whatever_is_handed_in: "core_inputs",
    records_come_back_as_they_were_and_others_are_refused: "records",
    a_damaged_journal_is_refused_or_can_be_used: "journal_bytes",
    a_client_cannot_break_the_gateway: "http_request",
    what_is_accepted_on_the_control_socket_comes_true: "control_message",
    a_configuration_is_read_or_reported: "configuration",
    only_a_command_is_a_command: "chat_command",
}
