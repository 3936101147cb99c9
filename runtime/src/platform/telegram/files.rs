//! Files that come with messages: fetched into the state directory before the message counts, and cleaned away by age. One
//! that is too large or cannot be had is a line in the message's text, so that neither side wonders where it is.

use super::api::{Api, Trouble};
use super::settings::Settings;
use super::update::{Heard, Sent};
use crate::platform::Attachment;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most files that one message brings; the server sends each file of an album as a message of its own.
const FILES: usize = 10;
/// What the server hands out at most, in bytes.
const SERVER_LIMIT: u64 = 20 << 20;

/// What was fetched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// What is there.
    pub files: Vec<Attachment>,
    /// A line for each file that is not.
    pub notes: Vec<String>,
}

/// Where files are kept.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("files").join(super::NAME)
}

/// Fetches the files of a message. The same message fetched again writes the same files again.
pub async fn fetch(api: &Api, state_dir: &Path, settings: &Settings, heard: &Heard) -> Fetched {
    let mut fetched = Fetched::default();
    for (place, file) in heard.files.iter().take(FILES).enumerate() {
        let limit = u64::try_from(settings.file_limit).unwrap_or(u64::MAX).min(SERVER_LIMIT);
        let called = file.name.as_deref().unwrap_or("without a name");
        if let Some(size) = file.size.filter(|size| *size > limit) {
            fetched.notes.push(format!(
                "[a file of {size} bytes, {called}, was left out: more than {limit} bytes are not taken]"
            ));
            continue;
        }
        let path = folder(state_dir).join(name(heard, place, file));
        match get(api, file, settings.file_limit, &path).await {
            Ok(()) => fetched.files.push(Attachment {
                path,
                media_type: plain(&file.media_type),
                name: file.name.as_deref().map(plain),
            }),
            Err(why) => {
                tracing::warn!(platform = "telegram", chat = heard.chat, why, "a file was left out");
                fetched.notes.push(format!("[a file, {called}, was left out: {why}]"));
            }
        }
    }
    fetched
}

async fn get(api: &Api, file: &Sent, limit: usize, path: &Path) -> Result<(), String> {
    let mut bytes = api.file(&file.id, limit).await;
    if matches!(bytes, Err(Trouble::NotDone(_) | Trouble::Unknown(_) | Trouble::Garbled(_))) {
        bytes = api.file(&file.id, limit).await;
    }
    let bytes = bytes.map_err(|trouble| trouble.to_string())?;
    keep(path, &bytes).map_err(|error| format!("it cannot be written: {error}"))
}

/// Written beside its name first, so that nobody reads half a file.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let fresh = path.with_extension("part");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(&fresh, path)
}

/// A name that tells files apart and holds nothing that a path could trip over.
fn name(heard: &Heard, place: usize, file: &Sent) -> String {
    let called: String = file
        .name
        .as_deref()
        .unwrap_or_default()
        .chars()
        .map(|one| if one.is_ascii_alphanumeric() || "._-".contains(one) { one } else { '_' })
        .collect();
    let called = called.trim_start_matches('.');
    // The end of a name says what it is.
    let called: String = called.chars().skip(called.len().saturating_sub(80)).collect();
    let called = if called.is_empty() { format!("file.{}", ending(&file.media_type)) } else { called };
    format!("{}-{}-{place}-{called}", heard.chat, heard.native.replace(|one: char| !one.is_ascii_alphanumeric(), "_"))
}

fn ending(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => "jpg",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "video/mp4" => "mp4",
        _ => "bin",
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(200).collect()
}

/// Removes files that are older than `age`.
pub fn clean(state_dir: &Path, age: Duration) {
    let Ok(entries) = std::fs::read_dir(folder(state_dir)) else { return };
    for entry in entries.flatten() {
        let old = entry
            .metadata()
            .and_then(|found| found.modified())
            .is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|since| since > age));
        if old && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an old file cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(native: &str) -> Heard {
        Heard {
            chat: -5,
            thread: None,
            sender: 1,
            name: "Ada".into(),
            native: native.into(),
            text: String::new(),
            files: Vec::new(),
            callback: None,
        }
    }

    #[test]
    fn no_name_of_a_file_leaves_its_folder() {
        let file =
            |name: &str| Sent { id: "x".into(), size: None, name: Some(name.into()), media_type: "text/plain".into() };
        for (given, made) in [
            ("a.txt", "-5-7-0-a.txt"),
            ("../../etc/passwd", "-5-7-0-_.._etc_passwd"),
            ("..", "-5-7-0-file.bin"),
            ("", "-5-7-0-file.bin"),
            ("sea shells.pdf\0", "-5-7-0-sea_shells.pdf_"),
        ] {
            assert_eq!(name(&heard("7"), 0, &file(given)), made);
        }
        let long = name(&heard("7"), 0, &file(&format!("{}.pdf", "x".repeat(500))));
        assert!(long.len() < 120 && long.ends_with("x.pdf"), "{long}");
    }

    #[test]
    fn old_files_are_removed_and_young_ones_are_kept() {
        let state = tempfile::tempdir().unwrap();
        let (old, young) = (folder(state.path()).join("old"), folder(state.path()).join("young"));
        keep(&old, b"1").unwrap();
        keep(&young, b"2").unwrap();
        let then = SystemTime::now() - Duration::from_secs(100);
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(then).unwrap();
        clean(state.path(), Duration::from_secs(50));
        assert!(!old.exists() && young.exists());
    }
}
