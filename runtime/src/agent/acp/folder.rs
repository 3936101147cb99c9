//! The folder that a session works in: text files below it are read and written there for the agent, and nothing outside
//! of it is, whatever links and dots a path holds. A path is first resolved, and what it comes to is then walked down from
//! the folder itself without following a link, so that one that is put in meanwhile leads nowhere. All of it waits for the
//! disk: it is to be called on a thread of its own.

use super::errand::Refusal;
use super::wire::excerpt;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes that are read or written at once.
pub(super) const MOST: usize = 2 << 20;
/// How far into a file lines are looked for, in bytes.
const FAR: usize = 256 << 20;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    /// Without links.
    path: PathBuf,
    opened: OwnedFd,
    /// A folder that is none of the agent's business, wherever it is.
    closed: Option<PathBuf>,
}

/// Where a path leads.
struct Place {
    /// The part of it that is there: below the folder, without links.
    there: PathBuf,
    /// The names behind it that are not.
    missing: Vec<OsString>,
}

impl Folder {
    /// The folder at this path.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let open = || {
            let path = path.canonicalize()?;
            let opened = File::open(&path)?;
            opened.metadata()?.is_dir().then_some(()).ok_or(ErrorKind::NotADirectory)?;
            Ok(Self { path, opened: opened.into(), closed: None })
        };
        open().map_err(|error: io::Error| {
            Refusal::failed(format!("the folder of this session, {}, cannot be opened: {error}", shown(path)))
        })
    }

    /// The same without what is below another one.
    pub(super) fn without(self, closed: &Path) -> Self {
        Self { closed: closed.canonicalize().ok(), ..self }
    }

    /// A text, or so many lines of it from a line on, which is counted from 1.
    pub(super) fn read(&self, path: &Path, from: u64, lines: Option<u64>) -> Result<String, Refusal> {
        let place = self.find(path)?;
        if !place.missing.is_empty() {
            return Err(Refusal::not_found(format!("{} is not there", shown(path))));
        }
        let file = self.open_file(&place, path)?;
        let text = part(BufReader::new(file), from, lines).map_err(|error| match error {
            Unread::TooMuch => Refusal::not_allowed(format!(
                "that is more than {MOST} bytes of {}; read fewer lines of it (line, limit)",
                shown(path)
            )),
            Unread::TooFar => Refusal::not_allowed(format!(
                "lines of {} are looked for in its first {FAR} bytes, and this one is beyond",
                shown(path)
            )),
            Unread::Broken(error) => failed("read", path, &error),
        })?;
        String::from_utf8(text).map_err(|_| Refusal::not_allowed(format!("{} is no text in UTF-8", shown(path))))
    }

    fn open_file(&self, place: &Place, path: &Path) -> Result<File, Refusal> {
        let (folder, name) = self.parent_of(place, path)?;
        // A pipe would have us wait for somebody who writes into it.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(
            openat(&folder, name, flags, Mode::empty()).map_err(|error| failed("read", path, &error.into()))?,
        );
        plain(&file, path).map(|_| file)
    }

    /// Gives a file this content, one that is there or a new one; folders on the way are made. Whoever reads it meanwhile
    /// reads all of what it was or all of what it is to be.
    pub(super) fn write(&self, path: &Path, content: &str) -> Result<(), Refusal> {
        if content.len() > MOST {
            let size = content.len();
            return Err(Refusal::not_allowed(format!("{size} bytes for {}: {MOST} are the most", shown(path))));
        }
        let place = self.find(path)?;
        let Some((name, folders)) = place.missing.split_last() else {
            let (folder, name) = self.parent_of(&place, path)?;
            return put(&folder, name, content, path);
        };
        let mut folder = self.enter(&place.there).map_err(|error| failed("written", path, &error))?;
        for name in folders {
            let made = match mkdirat(&folder, name.as_os_str(), Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => step(&folder, name),
                Err(error) => Err(error.into()),
            };
            folder = made.map_err(|error| failed("written", path, &error))?;
        }
        put(&folder, name, content, path)
    }

    /// A folder below it, or it itself, for a command to begin in.
    pub(super) fn inner(&self, path: Option<&Path>) -> Result<PathBuf, Refusal> {
        let Some(path) = path else { return Ok(self.path.clone()) };
        let place = self.find(path)?;
        if !place.missing.is_empty() {
            return Err(Refusal::not_found(format!("{} is not there", shown(path))));
        }
        let inner = self.path.join(&place.there);
        match inner.is_dir() {
            true => Ok(inner),
            false => Err(Refusal::not_allowed(format!("{} is no folder", shown(path)))),
        }
    }

    fn find(&self, path: &Path) -> Result<Place, Refusal> {
        if !path.is_absolute() {
            return Err(Refusal::not_allowed(format!("{} is not absolute", shown(path))));
        }
        let (mut there, mut missing) = (path.to_owned(), Vec::new());
        let real = loop {
            match there.canonicalize() {
                Ok(real) => break real,
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("looked at", path, &error)),
                Err(_) if there.symlink_metadata().is_ok() => {
                    return Err(Refusal::not_allowed(format!("{} is a link that leads nowhere", shown(&there))));
                }
                Err(_) => {}
            }
            let Some(name) = there.file_name() else {
                return Err(Refusal::not_found(format!(
                    "{} is not there, and a path cannot lead through it",
                    shown(&there)
                )));
            };
            missing.push(name.to_owned());
            there.pop();
        };
        missing.reverse();
        if self.closed.as_ref().is_some_and(|closed| real.starts_with(closed)) {
            return Err(Refusal::not_allowed(format!("{} is the gateway's own", shown(path))));
        }
        match real.strip_prefix(&self.path) {
            Ok(there) => Ok(Place { there: there.to_owned(), missing }),
            Err(_) => Err(Refusal::not_allowed(format!(
                "{} is not below {}, the folder of this session; nothing else is read or written for you",
                shown(path),
                shown(&self.path)
            ))),
        }
    }

    /// The folder of what is there, and its name.
    fn parent_of<'a>(&self, place: &'a Place, path: &Path) -> Result<(OwnedFd, &'a OsStr), Refusal> {
        let (Some(parent), Some(name)) = (place.there.parent(), place.there.file_name()) else {
            return Err(no_plain_file(path));
        };
        let folder = self.enter(parent).map_err(|error| failed("looked at", path, &error))?;
        Ok((folder, name))
    }

    fn enter(&self, there: &Path) -> io::Result<OwnedFd> {
        there.iter().try_fold(self.opened.try_clone()?, |folder, name| step(&folder, name))
    }
}

/// A folder in a folder.
fn step(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// Why there is no text.
enum Unread {
    TooMuch,
    TooFar,
    Broken(io::Error),
}

fn part(mut file: impl BufRead, from: u64, lines: Option<u64>) -> Result<Vec<u8>, Unread> {
    let mut passed = 0;
    for _ in 1..from {
        // A line may be as long as the file.
        match file.by_ref().take((FAR - passed + 1) as u64).skip_until(b'\n').map_err(Unread::Broken)? {
            0 => return Ok(Vec::new()),
            count => passed += count,
        }
        if passed > FAR {
            return Err(Unread::TooFar);
        }
    }
    let mut text = Vec::new();
    let mut left = lines.unwrap_or(u64::MAX);
    let mut file = file.take(MOST as u64 + 1);
    while left > 0 {
        let read = match lines {
            Some(_) => file.read_until(b'\n', &mut text),
            None => file.read_to_end(&mut text),
        };
        match read.map_err(Unread::Broken)? {
            0 => break,
            _ if text.len() > MOST => return Err(Unread::TooMuch),
            _ => left -= 1,
        }
    }
    Ok(text)
}

/// Writes a file beside its name and gives it that.
fn put(folder: &OwnedFd, name: &OsStr, content: &str, path: &Path) -> Result<(), Refusal> {
    static PARTS: AtomicU64 = AtomicU64::new(0);
    let failed = |error: io::Error| failed("written", path, &error);
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // Whoever may not write into a file does not replace it either.
    let mode = match openat(folder, name, flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty()) {
        Ok(there) => Some(plain(&File::from(there), path)?),
        Err(Errno::ENOENT) => None,
        Err(Errno::EISDIR) => return Err(no_plain_file(path)),
        Err(error) => return Err(failed(error.into())),
    };
    let of_new = Mode::from_bits_truncate(if mode.is_some() { 0o600 } else { 0o666 });
    // A process that had our id and died in a write may have left one of that name.
    let (part, created) = loop {
        let part = format!(".evergate-{}-{}.part", std::process::id(), PARTS.fetch_add(1, Ordering::Relaxed));
        match openat(folder, part.as_str(), flags | OFlag::O_CREAT | OFlag::O_EXCL, of_new) {
            Err(Errno::EEXIST) => {}
            created => break (part, created),
        }
    };
    let mut file = File::from(created.map_err(|error| failed(error.into()))?);
    let mut write = || {
        file.write_all(content.as_bytes())?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.sync_all()?;
        Ok(renameat(folder, part.as_str(), folder, name)?)
    };
    write().map_err(|error| {
        let _unseen = unlinkat(folder, part.as_str(), UnlinkatFlags::NoRemoveDir);
        failed(error)
    })
}

/// Who may do what with an opened file, if it is a plain one.
fn plain(file: &File, path: &Path) -> Result<u32, Refusal> {
    let found = file.metadata().map_err(|error| failed("looked at", path, &error))?;
    if found.is_file() { Ok(found.permissions().mode() & 0o777) } else { Err(no_plain_file(path)) }
}

fn no_plain_file(path: &Path) -> Refusal {
    Refusal::not_allowed(format!("{} is no plain file", shown(path)))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Refusal {
    Refusal::failed(format!("{} cannot be {what}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    format!("`{}`", excerpt(&path.to_string_lossy(), 300))
}

#[cfg(test)]
mod tests;
