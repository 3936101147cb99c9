//! The gateway that `evergate supervise` starts: what it is started with, and what it inherits.

use super::{Arguments, Command, load, sources};
use crate::cli::Global;
use crate::config::{Config, FileSource, Sources};
use crate::kept_socket::KeptSocket;
use crate::{logging, supervise};
use clap::Parser;
use evergate_core::verdict::PARK;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Supervises `run` with the same global options.
pub(super) fn supervise_gateway(global: &Global, child: Vec<OsString>, socket: KeptSocket) -> ExitCode {
    let (config, state_dir) = match load(global, None) {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    logging::start(&config.log);
    let mut arguments = if child.is_empty() { vec!["run".into()] } else { child };
    if !arguments.iter().any(|argument| argument == "run") {
        logging::complain(&format_args!(
            "it is `evergate run` that is supervised: write `evergate supervise -- run {}`",
            arguments.join(OsStr::new(" ")).display()
        ));
        return ExitCode::from(PARK);
    }
    for (flag, value) in [("--state-dir", &global.state_dir), ("--config", &global.config)] {
        if let Some(value) = value
            && !arguments.iter().any(|argument| argument == flag)
        {
            arguments.extend([flag.into(), value.clone().into_os_string()]);
        }
    }
    let state_dir = state_dir_in(&arguments).unwrap_or(state_dir);
    // The watchdog inside comes first, where it still can: it goes by the child's own configuration.
    let mut wants = Wants::of(&arguments);
    let freeze = wants.as_ref().and_then(Wants::config).unwrap_or(config).watchdog.freeze;
    let silence = freeze + supervise::AFTER_THE_WATCHDOG;
    supervise::supervise(arguments, &state_dir, silence, move |command| {
        endow(command, &socket, wants.as_mut().and_then(Wants::address));
    })
}

/// Gives the next child of a supervisor the socket that it is going to want, which is kept from one child to the next. A
/// child that wants any port finds its own.
fn endow(command: &mut std::process::Command, socket: &KeptSocket, wanted: Option<SocketAddr>) {
    match wanted.filter(|address| address.port() != 0) {
        Some(address) => {
            if let Err(error) = socket.listen(address) {
                if error.kind() == std::io::ErrorKind::AddrInUse {
                    tracing::info!(%address, "somebody else listens there; the child waits a while for them to let go of it");
                    return socket.hand_over(command, None);
                }
                tracing::warn!(%error, %address, "cannot listen for the child, which tries by itself; connections that are made while none runs are refused");
            }
        }
        None => socket.close(),
    }
    socket.hand_over(command, None);
}

/// What a gateway wants that is started with some arguments. Clients wait while a child is started, so its file is read again only
/// if it is another one by then.
struct Wants {
    global: Global,
    listen: Option<String>,
    known: Option<(Option<Mark>, SocketAddr)>,
}

impl Wants {
    /// `None` where they start no gateway.
    fn of(arguments: &[OsString]) -> Option<Self> {
        let words = std::iter::once(OsStr::new("evergate")).chain(arguments.iter().map(OsString::as_os_str));
        let parsed = Arguments::try_parse_from(words).ok()?;
        let Arguments { global, command: Command::Run(run) } = parsed else { return None };
        Some(Self { global, listen: run.listen, known: None })
    }

    fn sources(&self) -> Option<Sources> {
        Some(sources(&self.global, self.listen.clone(), &self.global.state_dir().ok()?))
    }

    /// The configuration as things are now; `None` where that is not to be known.
    fn config(&self) -> Option<Config> {
        Config::load(self.sources()?).ok()
    }

    /// Where it is going to listen.
    fn address(&mut self) -> Option<SocketAddr> {
        let mark = match self.sources()?.file {
            FileSource::Explicit(path) | FileSource::Default(path) => Mark::of(&path),
            FileSource::Nowhere => None,
        };
        let known = self.known.filter(|(known, _)| *known == mark).map(|(_, address)| address);
        let address = known.or_else(|| Some(self.config()?.local.listen));
        self.known = address.map(|address| (mark, address));
        address
    }
}

/// What differs between a file and another that has come in its place, or that it has become.
#[derive(Clone, Copy, PartialEq)]
struct Mark {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    /// `None` where it cannot be opened.
    fn of(path: &Path) -> Option<Self> {
        let seen = File::open(path).and_then(|file| file.metadata()).ok()?;
        Some(Self {
            file: (seen.dev(), seen.ino()),
            size: seen.size(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        })
    }
}

/// The state directory that the arguments of a child name themselves.
fn state_dir_in(arguments: &[OsString]) -> Option<PathBuf> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--state-dir" {
            return words.next().map(PathBuf::from);
        }
        if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--state-dir=")) {
            return Some(PathBuf::from(value));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_has_changed_is_read_again_and_no_other() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("config.toml");
        let arguments = ["run", "--state-dir", folder.path().to_str().unwrap()].map(OsString::from);
        let mut wants = Wants::of(&arguments).unwrap();
        let by_default = wants.address().unwrap();
        let listen = |port: u16| fs::write(&file, format!("[local]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
        listen(9001);
        assert_eq!(wants.address().unwrap().port(), 9001, "not {by_default}");
        let (mark, _) = wants.known.unwrap();
        let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
        wants.known = Some((mark, elsewhere));
        assert_eq!(wants.address(), Some(elsewhere), "it is the same file, and not read");
        fs::write(&file, "[local]\nlisten = 7\n").unwrap();
        assert_eq!(wants.address(), None, "nobody can listen there");
        listen(9_002);
        assert_eq!(wants.address().unwrap().port(), 9002);
        fs::remove_file(&file).unwrap();
        assert_eq!(wants.address(), Some(by_default));
        assert!(Wants::of(&["status".into()]).is_none());
    }
}
