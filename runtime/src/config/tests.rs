//! The configuration as an operator meets it: files, variables and flags in, values or a report
//! out. Here: the fixture. What comes out stands in `values`, what goes wrong in `reports`, both at random in `random`, and what is read again in `reload`.

mod random;
mod reload;
mod reports;
mod values;

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A file to load from; the folder lives as long as the test.
struct Fixture {
    folder: TempDir,
    sources: Sources,
}

fn file(text: impl AsRef<[u8]>) -> Fixture {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("config.toml");
    fs::write(&path, text).expect("the file is written");
    let sources = Sources { file: FileSource::Explicit(path), ..Sources::default() };
    Fixture { folder, sources }
}

impl Fixture {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Config {
        Config::load(self.sources.clone()).expect("a valid configuration")
    }

    /// The report's problems, with the folder's name left out.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let error = Config::load(self.sources.clone()).expect_err("an invalid configuration");
        error.problems.iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
    }

    /// The one problem there is.
    fn problem(&self) -> String {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems[0].clone()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
