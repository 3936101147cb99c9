//! The flight recorder: what the core was told and what it wanted, as JSON lines, so that `evergate-sim conform` can replay
//! a life of the real gateway through the core. It sees ids only, since no text enters the core. It decides nothing: a log
//! that cannot be written ends the recording and never the gateway.
//!
//! One file holds any number of generations, one behind the other; step 0 is the boot:
//!
//! ```text
//! {"evergate_flight":2,"version":"0.1.0","generation":2,"limits":{…},"contract":{…},"recovered":{…},"now":3}
//! {"step":0,"at":3,"input":null,"effects":[{"append":{…}},{"phase":"starting"},…]}
//! {"step":1,"at":5,"input":{"synced":{"records":1}},"effects":[…]}
//! ```
//!
//! The head is written before the core is booted. What was handled is on its way to a thread that writes it before the driver waits
//! again, so a `kill -9` costs the steps of that moment, or what a slow disk has not taken yet, and may cut the last line. It is
//! not synced: the journal is what survives a power cut.

mod beside;
pub mod reader;
pub mod replay;
pub mod store;

use beside::Beside;
use evergate_core::effect::Effect;
use evergate_core::gateway::Gateway;
use evergate_core::id::GenerationId;
use evergate_core::input::Input;
use evergate_core::limits::Limits;
use evergate_core::recovery::Recovered;
use evergate_core::supervisor::Contract;
use evergate_core::time::Instant;
use nix::fcntl::OFlag;
use reader::Entry;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The version of the format. A log of another one would be replayed wrongly.
pub const VERSION: u32 = 2;

/// The first line of a generation: everything that its core was booted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`VERSION`]; it comes first, so that a head is known by its first bytes.
    pub evergate_flight: u32,
    /// The version of the program.
    pub version: String,
    /// The generation that begins.
    pub generation: GenerationId,
    /// What it may use, wait for and try.
    pub limits: Limits,
    /// Its supervisor's terms.
    pub contract: Contract,
    /// The unfinished business that it found.
    pub recovered: Recovered,
    /// When it was booted.
    pub now: Instant,
}

/// Each further line: one thing that happened and all that the core wanted done about it, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Counted from 0, so that a line that is missing is missed.
    pub step: u64,
    /// When the core was told.
    pub at: Instant,
    /// What; `None` in step 0.
    pub input: Option<Input>,
    /// What it wanted done.
    pub effects: Vec<Effect>,
}

impl Head {
    /// The head of the generation that [`Self::boot`] will begin.
    #[must_use]
    pub fn new(limits: Limits, contract: Contract, recovered: Recovered, now: Instant) -> Self {
        Self {
            evergate_flight: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: recovered.highest.generation.next(),
            limits,
            contract,
            recovered,
            now,
        }
    }

    /// Boots the core. The gateway and the replay of its log begin here alike, so that no argument can be forgotten.
    #[must_use]
    pub fn boot(self) -> Gateway {
        Gateway::boot(self.limits, self.contract, self.recovered, self.now)
    }
}

/// The last of what the core was told and wanted, for a diagnosis by another thread.
#[derive(Clone, Debug, Default)]
pub struct Ring(Arc<Mutex<VecDeque<Moment>>>);

#[derive(Clone, Debug)]
enum Moment {
    Input(Instant, Input),
    Effect(Effect),
}

impl Ring {
    /// Moments that are kept: a hundred effects at least, since each input among them but the last has one.
    const KEPT: usize = 200;

    fn push(&self, moment: Moment) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // An input that nothing came of, such as a word of a long answer, makes room for the next.
        if matches!((moments.back(), &moment), (Some(Moment::Input(..)), Moment::Input(..))) {
            moments.pop_back();
        }
        if moments.len() == Self::KEPT {
            moments.pop_front();
        }
        moments.push_back(moment);
    }

    /// One line each, oldest first; `None` while the loop holds them.
    #[must_use]
    pub fn lines(&self) -> Option<Vec<String>> {
        let moments = self.0.try_lock().ok()?;
        let line = |moment: &Moment| match moment {
            Moment::Input(at, input) => format!("{:>10} ms > {input:?}", at.as_millis()),
            Moment::Effect(effect) => format!("{:>15}{effect:?}", ""),
        };
        Some(moments.iter().map(line).collect())
    }
}

/// Records one generation: the last moments in memory, and everything in a log, or for a watcher, if there is one.
pub struct Recorder {
    log: Option<Log>,
    watched: Option<Watched>,
    ring: Ring,
}

/// Who is handed what would stand in a log, as it is: the head, and each step once all of it is known.
pub type Watcher = Box<dyn FnMut(Entry) + Send>;

struct Watched {
    by: Watcher,
    /// What is going on.
    step: Option<Step>,
    steps: u64,
}

struct Log {
    name: String,
    to: BufWriter<Beside>,
    /// The line that is being written.
    line: Line,
    steps: u64,
}

/// Where the end of the log stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the beginning of a line.
    Ended,
    /// Within a step, before its first effect.
    Begun,
    /// Within a step, behind an effect.
    Continued,
}

impl Recorder {
    /// Has no log.
    #[must_use]
    pub fn off() -> Self {
        Self { log: None, watched: None, ring: Ring::default() }
    }

    /// Keeps the last moments here.
    #[must_use]
    pub fn with_ring(self, ring: Ring) -> Self {
        Self { ring, ..self }
    }

    /// Appends a generation to the log at `path`, which is made, with its folder, if it is not there. Records nothing,
    /// and says so once, if that cannot be done.
    #[must_use]
    pub fn open(path: &Path, head: &Head) -> Self {
        Self::begin(path, append_to(path), head)
    }

    /// Records a generation in the log that was opened at `path`: its head now, so that who is killed at once has left that, and
    /// the rest on a thread beside.
    fn begin(path: &Path, opened: io::Result<impl Write + Send + 'static>, head: &Head) -> Self {
        let headed = |mut log| -> io::Result<Beside> {
            let mut line = serde_json::to_vec(head)?;
            line.push(b'\n');
            Write::write_all(&mut log, &line)?;
            Beside::new(log)
        };
        let (log, what) = match opened {
            Ok(log) => (headed(log), "the flight log cannot be written; nothing is recorded"),
            Err(error) => (Err(error), "the flight log cannot be opened; nothing is recorded"),
        };
        match log {
            Ok(log) => {
                let log =
                    Log { name: path.display().to_string(), to: BufWriter::new(log), line: Line::Ended, steps: 0 };
                let mut recorder = Self { log: Some(log), ..Self::off() };
                recorder.write(|log| log.begin(head.now, None));
                recorder
            }
            Err(error) => {
                tracing::warn!(%error, log = %path.display(), "{what}");
                Self::off()
            }
        }
    }

    /// Records a generation for whoever watches it in this process, and writes nothing.
    #[must_use]
    pub fn watched(head: &Head, mut by: Watcher) -> Self {
        by(Entry::Head(Box::new(head.clone())));
        let mut watched = Watched { by, step: None, steps: 0 };
        watched.begin(head.now, None);
        Self { watched: Some(watched), ..Self::off() }
    }

    /// The core is about to be told this.
    pub fn input(&mut self, at: Instant, input: &Input) {
        self.ring.push(Moment::Input(at, input.clone()));
        if let Some(watched) = &mut self.watched {
            watched.begin(at, Some(input));
        }
        self.write(|log| log.begin(at, Some(input)));
    }

    /// The core has answered with this, after the boot or after the last input.
    pub fn effect(&mut self, effect: &Effect) {
        self.ring.push(Moment::Effect(effect.clone()));
        if let Some(step) = self.watched.as_mut().and_then(|watched| watched.step.as_mut()) {
            step.effects.push(effect.clone());
        }
        self.write(|log| {
            if log.line == Line::Continued {
                log.to.write_all(b",")?;
            }
            log.line = Line::Continued;
            Ok(serde_json::to_writer(&mut log.to, effect)?)
        });
    }

    /// The core has nothing more to say, and the driver is about to wait: hands everything to the operating system.
    pub fn flush(&mut self) {
        if let Some(watched) = &mut self.watched {
            watched.end();
        }
        self.write(|log| {
            log.end()?;
            log.to.flush()
        });
    }

    /// Writes, and gives up for good when that fails: what came after a gap would only look like a whole log.
    fn write(&mut self, what: impl FnOnce(&mut Log) -> io::Result<()>) {
        if let Some(log) = &mut self.log
            && let Err(error) = what(log)
        {
            tracing::warn!(%error, log = log.name, "the flight log cannot be written; this generation is recorded no further");
            if let Some(log) = self.log.take() {
                // Taken apart and not dropped: that would try to write what is buffered once more.
                let _unwritten = log.to.into_parts();
            }
        }
    }
}

impl Watched {
    fn begin(&mut self, at: Instant, input: Option<&Input>) {
        self.end();
        self.step = Some(Step { step: self.steps, at, input: input.cloned(), effects: Vec::new() });
        self.steps += 1;
    }

    fn end(&mut self) {
        if let Some(step) = self.step.take() {
            (self.by)(Entry::Step(step));
        }
    }
}

impl Log {
    fn begin(&mut self, at: Instant, input: Option<&Input>) -> io::Result<()> {
        self.end()?;
        write!(self.to, r#"{{"step":{},"at":{},"input":"#, self.steps, at.as_millis())?;
        serde_json::to_writer(&mut self.to, &input)?;
        self.to.write_all(br#","effects":["#)?;
        self.line = Line::Begun;
        self.steps += 1;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.line != Line::Ended {
            self.to.write_all(b"]}\n")?;
            self.line = Line::Ended;
        }
        Ok(())
    }
}

/// Opens a log for appending, at the beginning of a line.
fn append_to(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // What is no plain file (a pipe that nobody reads) must fail, not hold up the loop.
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(nonblocking).open(path)?;
    let length = file.metadata()?.len();
    let mut last = *b"\n";
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        // A death has cut the line of an earlier generation.
        file.write_all(b"\n")?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergate_core::supervisor::Supervisor;
    use std::os::unix::fs::PermissionsExt;

    fn head() -> Head {
        let now = Instant::from_millis(7);
        Head::new(Limits::default(), Contract::of(Supervisor::Nobody), Recovered::default(), now)
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_recorded_reads_back_as_it_was_and_is_for_this_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flight/log");
        let mut recorder = Recorder::open(&path, &head());
        recorder.effect(&Effect::OpenPlatforms);
        recorder.effect(&Effect::Ready);
        recorder.input(Instant::from_millis(9), &Input::PlatformsOpen);
        recorder.input(Instant::from_millis(9), &Input::SyncFailed);
        recorder.effect(&Effect::Discard);
        recorder.flush();
        recorder.flush();
        drop(recorder);
        let lines = lines(&path);
        assert_eq!(serde_json::from_str::<Head>(&lines[0]).unwrap(), head());
        let step = |step, at, input, effects| Step { step, at: Instant::from_millis(at), input, effects };
        let read: Vec<Step> = lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let expected = [
            step(0, 7, None, vec![Effect::OpenPlatforms, Effect::Ready]),
            step(1, 9, Some(Input::PlatformsOpen), vec![]),
            step(2, 9, Some(Input::SyncFailed), vec![Effect::Discard]),
        ];
        assert_eq!(read, expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_diagnosis_has_a_hundred_effects_however_many_words_came_behind_them() {
        let ring = Ring::default();
        let mut recorder = Recorder::off().with_ring(ring.clone());
        let input = |recorder: &mut Recorder, at| recorder.input(Instant::from_millis(at), &Input::PlatformsOpen);
        for at in 0..150 {
            input(&mut recorder, at);
            recorder.effect(&Effect::OpenPlatforms);
        }
        (150..1_000).for_each(|at| input(&mut recorder, at));
        let lines = ring.lines().unwrap();
        assert_eq!(lines.iter().filter(|line| line.trim() == "OpenPlatforms").count(), 100);
        assert_eq!(lines.last().unwrap().trim(), "999 ms > PlatformsOpen", "the last is there whatever came of it");
    }

    #[test]
    fn a_generation_behind_a_cut_line_begins_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "{\"step\":3,\"at\":").unwrap();
        Recorder::open(&path, &head()).flush();
        Recorder::open(&path, &head()).flush();
        let lines = lines(&path);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert_eq!(lines[0], "{\"step\":3,\"at\":");
        let begins = format!("{{\"evergate_flight\":{VERSION},");
        assert!(lines[1].starts_with(&begins) && lines[3].starts_with(&begins));
    }

    #[test]
    fn a_disk_that_is_full_ends_the_recording_and_nothing_is_written_behind_the_gap() {
        /// Takes so many bytes, fails once, and would take more then.
        struct Full(usize, File);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match std::mem::replace(&mut self.0, usize::MAX) {
                    0 => Err(io::ErrorKind::StorageFull.into()),
                    room => {
                        let taken = self.1.write(&bytes[..room.min(bytes.len())])?;
                        self.0 = room - taken;
                        Ok(taken)
                    }
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                self.1.flush()
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let room = serde_json::to_vec(&head()).unwrap().len() + 10;
        let mut recorder = Recorder::begin(&path, File::create(&path).map(|file| Full(room, file)), &head());
        assert!(recorder.log.is_some(), "there is room for its head");
        recorder.flush();
        recorder.input(Instant::from_millis(9), &Input::PlatformsOpen);
        recorder.flush();
        drop(recorder);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), room as u64);
        assert!(Recorder::begin(&path, File::create(&path).map(|file| Full(room - 20, file)), &head()).log.is_none());
    }

    /// Nothing is flushed, as when it is killed in its first moments.
    #[test]
    fn the_head_is_there_before_anything_else_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let recorder = Recorder::open(&path, &head());
        assert_eq!(serde_json::from_str::<Head>(&lines(&path)[0]).unwrap(), head());
        drop(recorder);
    }

    #[test]
    fn a_log_that_cannot_be_opened_records_nothing_and_a_pipe_without_a_reader_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Recorder::open(folder.path(), &head()).log.is_none());
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut recorder = Recorder::open(&pipe, &head());
        let ended = (0..10_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_micros(100));
            recorder.input(Instant::from_millis(9), &Input::PlatformsOpen);
            recorder.flush();
            recorder.log.is_none()
        });
        assert!(ended);
    }
}
