//! Reads the TOML file into settings, each with its line. Sections, dotted keys and inline tables
//! are the same to it. It reads at most [`LARGEST`] bytes and never writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::{Problem, nearest, printable};
use super::schema::{self, KEYS};
use super::{FileSource, Origin, Setting};

/// No sane configuration is larger; a device or a log given by mistake is.
const LARGEST: u64 = 256 * 1024;

/// The settings that the file makes; mistakes go to `problems`. A file whose syntax is broken makes
/// none: guesses about the rest would bury the one mistake under wrong ones.
pub(super) fn read(source: &FileSource, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let (path, missing) = match source {
        FileSource::Nowhere => return Vec::new(),
        FileSource::Explicit(path) => (path, Missing::IsAProblem),
        FileSource::Default(path) => (path, Missing::IsFine),
    };
    let Some(text) = read_text(path, missing, problems) else {
        return Vec::new();
    };
    let (document, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        problems.extend(syntax_problems(path, &text, &errors));
        return Vec::new();
    }
    let mut reader = Reader { path, text: &text, settings: Vec::new(), problems: Vec::new() };
    reader.table("", document.get_ref());
    // The table is sorted by name; people read from top to bottom.
    reader.problems.sort_by_key(|(line, _)| *line);
    problems.extend(reader.problems.into_iter().map(|(_, problem)| problem));
    reader.settings
}

#[derive(Clone, Copy, PartialEq)]
enum Missing {
    IsAProblem,
    IsFine,
}

fn read_text(path: &Path, missing: Missing, problems: &mut Vec<Problem>) -> Option<String> {
    let place = printable(&path.to_string_lossy());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        // A link that leads nowhere was meant to lead somewhere, so it is a problem in any case.
        let absent = error.kind() == io::ErrorKind::NotFound && !path.is_symlink();
        if !(absent && missing == Missing::IsFine) {
            problems.push(Problem::new(place, unreadable(absent, &error)));
        }
        return None;
    }
    if bytes.len() as u64 > LARGEST {
        let message = format!("this file has more than {LARGEST} bytes; is it the configuration?");
        problems.push(Problem::new(place, message));
        return None;
    }
    String::from_utf8(bytes)
        .map_err(|error| {
            let (line, column) = position(error.as_bytes(), error.utf8_error().valid_up_to());
            let message = "this byte is not UTF-8; save the file as UTF-8";
            problems.push(Problem::new(format!("{place}:{line}:{column}"), message));
        })
        .ok()
}

fn unreadable(absent: bool, error: &io::Error) -> String {
    if absent {
        "this configuration file does not exist; create it, or name another with --config or EVERGATE_CONFIG".to_owned()
    } else {
        format!("this configuration file cannot be read ({error}); put that right, or name another with --config")
    }
}

/// The first syntax error of each line.
fn syntax_problems(path: &Path, text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let place = printable(&path.to_string_lossy());
    let mut positions: Vec<(usize, usize, &str)> = errors
        .iter()
        .map(|error| {
            let start = error.span().map_or(text.len(), |span| span.start);
            let (line, column) = position(text.as_bytes(), start);
            (line, column, error.message())
        })
        .collect();
    positions.sort_by_key(|(line, column, _)| (*line, *column));
    positions.dedup_by_key(|(line, _, _)| *line);
    let problem = |(line, column, message): (usize, usize, &str)| {
        Problem::new(format!("{place}:{line}:{column}"), format!("this is not TOML: {}", printable(message)))
    };
    positions.into_iter().map(problem).collect()
}

/// Line and column of a byte, both from 1; the column counts characters.
fn position(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = &bytes[..offset.min(bytes.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    settings: Vec<Setting>,
    problems: Vec<(usize, Problem)>,
}

impl Reader<'_> {
    /// Walks one table. It enters known sections only, so it is never deeper than they are.
    fn table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            let (line, _) = position(self.text.as_bytes(), name.span().start);
            let name = name.get_ref().as_ref();
            let path =
                if section.is_empty() { schema::step(name) } else { format!("{section}.{}", schema::step(name)) };
            self.entry(section, name, &path, line, value.get_ref());
        }
    }

    fn entry(&mut self, section: &str, name: &str, path: &str, line: usize, value: &DeValue<'_>) {
        let origin = Origin::File { path: self.path.to_owned(), line };
        if let Some(key) = schema::key_in(section, name) {
            match key.form.read_toml(value) {
                Ok(value) => self.settings.push(Setting { key, value, origin }),
                Err(wrong) => {
                    let problem = Problem::value(&origin, path, &wrong, &key.form.expected(), &key.toml_example());
                    self.problems.push((line, problem));
                }
            }
            return;
        }
        let sections = schema::sections();
        let known = sections.iter().find(|(section, _)| *section == path);
        let message = match (known, value) {
            (Some(_), DeValue::Table(table)) => return self.table(path, table),
            (Some((_, key)), _) => {
                format!("{path} is a section, not a value; write [{path}] and below it {}", key.toml_example())
            }
            (None, value) if is_written_as_section(value) => {
                let nearest = nearest(path, sections.iter().map(|(section, _)| *section)).unwrap_or_default();
                format!("the section [{}] is unknown; the nearest known one is [{nearest}]", printable(path))
            }
            (None, _) => {
                let nearest = nearest(path, KEYS.iter().map(|key| key.name)).unwrap_or_default();
                format!("the key {} is unknown; the nearest known one is {nearest}", printable(path))
            }
        };
        self.problems.push((line, Problem::new(&origin, message)));
    }
}

/// `[[name]]` is meant as a section as much as `[name]` is.
fn is_written_as_section(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => items.first().is_some_and(|item| matches!(item.get_ref(), DeValue::Table(_))),
        _ => false,
    }
}
