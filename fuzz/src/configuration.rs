//! A configuration file, variables and flags. Up to the first NUL byte the input is the file; behind it each piece up to the
//! next NUL is `NAME=VALUE`, a variable if the name is in capitals and a flag otherwise.

use evergate::config::{Config, FileSource, Sources};
use std::io::Write;

/// Loads the configuration that the bytes describe.
pub fn configuration(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0);
    let mut sources = Sources::default();
    let _kept = file(parts.next().unwrap_or_default(), &mut sources);
    for part in parts {
        let text = String::from_utf8_lossy(part);
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        if name.chars().all(|letter| !letter.is_lowercase()) {
            sources.environment.insert(name.to_owned(), value.to_owned());
        } else {
            sources.flags.push((name.to_owned(), value.to_owned()));
        }
    }
    match Config::load(sources) {
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            for problem in &error.problems {
                let line = problem.to_string();
                assert!(!line.chars().any(char::is_control), "{line:?} would move a terminal's cursor");
            }
        }
        Ok(config) => {
            let mut again = Sources::default();
            let shown = config.show();
            let _kept = file(shown.as_bytes(), &mut again);
            let again = Config::load(again).unwrap_or_else(|error| panic!("{error}\nin what was shown:\n{shown}"));
            let values = |config: &Config| {
                let json = config.show_json();
                let settings = json["settings"].as_array().cloned().unwrap_or_default();
                settings.into_iter().map(|mut setting| setting["value"].take()).collect::<Vec<_>>()
            };
            assert_eq!(values(&again), values(&config), "shown as:\n{shown}");
        }
    }
}

/// Puts the bytes where a configuration is read from; the file is there as long as what is given back.
fn file(bytes: &[u8], sources: &mut Sources) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("the temporary folder can be written");
    file.write_all(bytes).expect("the temporary folder has room");
    sources.file = FileSource::Explicit(file.path().to_owned());
    file
}
