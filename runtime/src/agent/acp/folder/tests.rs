//! A folder with a world around it, and paths that try to get there.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A folder `in` beside a folder `out` with a secret.
fn world() -> (TempDir, Folder) {
    let room = TempDir::new().unwrap();
    for folder in ["in/sub", "out"] {
        fs::create_dir_all(room.path().join(folder)).unwrap();
    }
    fs::write(room.path().join("out/secret"), "secret").unwrap();
    fs::write(room.path().join("in/a.txt"), "one\ntwo\r\nthree").unwrap();
    let folder = Folder::open(&room.path().join("in")).unwrap();
    (room, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, Refusal>, expected: &str) {
    let refusal = result.expect_err("it is refused");
    assert!(refusal.words().1.contains(expected), "{refusal:?}");
}

#[test]
fn a_text_is_read_whole_or_by_lines() {
    let (room, folder) = world();
    let path = room.path().join("in/a.txt");
    for (from, lines, text) in [
        (1, None, "one\ntwo\r\nthree"),
        (1, Some(1), "one\n"),
        (2, Some(1), "two\r\n"),
        (2, None, "two\r\nthree"),
        (3, Some(9), "three"),
        (1, Some(0), ""),
        (4, None, ""),
        (u64::MAX, Some(u64::MAX), ""),
    ] {
        assert_eq!(folder.read(&path, from, lines), Ok(text.to_owned()), "{lines:?} lines from {from}");
    }
    refused(folder.read(&room.path().join("in/b.txt"), 1, None), "is not there");
    refused(folder.read(&room.path().join("in"), 1, None), "is no plain file");
    refused(folder.read(Path::new("a.txt"), 1, None), "is not absolute");
    fs::write(&path, b"\xff\xfe").unwrap();
    refused(folder.read(&path, 1, None), "is no text in UTF-8");
}

#[test]
fn of_a_text_that_is_too_large_a_part_can_be_read() {
    let (room, folder) = world();
    let path = room.path().join("in/large");
    let line = "x".repeat(1023) + "\n";
    fs::write(&path, line.repeat(3 << 10)).unwrap();
    refused(folder.read(&path, 1, None), "that is more than 2097152 bytes of");
    refused(folder.read(&path, 2, Some(2049)), "read fewer lines of it (line, limit)");
    assert_eq!(folder.read(&path, 1025, Some(2048)).map(|text| text.len()), Ok(MOST));
    refused(folder.write(&path, &"x".repeat(MOST + 1)), "2097153 bytes for");
}

/// The same byte without an end.
struct Endless(u8);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(self.0);
        Ok(buffer.len())
    }
}

/// However many they are, and however long one is.
#[test]
fn lines_are_looked_for_only_so_far() {
    for byte in *b"\nx" {
        let endless = BufReader::with_capacity(1 << 20, Endless(byte));
        assert!(matches!(part(endless, u64::MAX, Some(1)), Err(Unread::TooFar)));
        assert!(matches!(part(BufReader::new(Endless(byte)), 1, None), Err(Unread::TooMuch)));
    }
}

/// Whoever had this process id before died in a write.
#[test]
fn what_a_death_left_of_a_write_is_in_nobodys_way() {
    let (room, folder) = world();
    let inside = room.path().join("in");
    for number in 0..1000 {
        fs::write(inside.join(format!(".evergate-{}-{number}.part", std::process::id())), "half").unwrap();
    }
    folder.write(&inside.join("a.txt"), "whole").unwrap();
    assert_eq!(fs::read_to_string(inside.join("a.txt")).unwrap(), "whole");
}

#[test]
fn what_is_written_is_there_whole_with_the_rights_it_had() {
    let (room, folder) = world();
    let inside = room.path().join("in");
    let script = inside.join("run.sh");
    fs::write(&script, "old").unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o750)).unwrap();
    let held = File::open(&script).unwrap();
    folder.write(&script, "new").unwrap();
    assert_eq!(io::read_to_string(&held).unwrap(), "old", "whoever has it open reads what it was");
    assert_eq!(fs::read_to_string(&script).unwrap(), "new");
    assert_eq!(script.metadata().unwrap().permissions().mode() & 0o7777, 0o750);
    folder.write(&inside.join("deep/er/new.txt"), "fresh").unwrap();
    assert_eq!(fs::read_to_string(inside.join("deep/er/new.txt")).unwrap(), "fresh");
    fs::write(inside.join("made"), "").unwrap();
    let mode = |name: &str| inside.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("deep/er/new.txt"), mode("made"), "as any new file");
    assert_eq!(names(&inside), ["a.txt", "deep", "made", "run.sh", "sub"], "nothing else is left");
    assert_eq!(names(&inside.join("deep/er")), ["new.txt"]);
    refused(folder.write(&inside.join("sub"), ""), "is no plain file");
    refused(folder.write(&inside, ""), "is no plain file");
    refused(folder.write(&inside.join("a.txt/b"), ""), "Not a directory");
}

#[test]
fn what_may_not_be_written_into_is_not_replaced_either() {
    let (room, folder) = world();
    let path = room.path().join("in/a.txt");
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    if nix::unistd::geteuid().is_root() {
        // Nothing is closed to root.
        return assert_eq!(folder.write(&path, "x"), Ok(()));
    }
    refused(folder.write(&path, "x"), "Permission denied");
    assert_eq!(names(&room.path().join("in")), ["a.txt", "sub"]);
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let (room, folder) = world();
    let (inside, outside) = (room.path().join("in"), room.path().join("out"));
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../out/secret", inside.join("secret")).unwrap();
    symlink("../out/none", inside.join("dangling")).unwrap();
    symlink("nobody", inside.join("nowhere")).unwrap();
    symlink("/", inside.join("sub/root")).unwrap();
    let absolute = outside.join("secret");
    for path in [
        absolute.clone(),
        inside.join("../out/secret"),
        inside.join("sub/../../out/secret"),
        inside.join("link/secret"),
        inside.join("secret"),
        inside.join("sub/root").join(absolute.strip_prefix("/").unwrap()),
        inside.join("link/new"),
        inside.join("link/new/er"),
        inside.join("sub/../../out/new"),
        outside.join("new"),
        room.path().join("in2"),
        PathBuf::from("/"),
    ] {
        refused(folder.read(&path, 1, None), "is not below");
        refused(folder.write(&path, "mine"), "is not below");
        refused(folder.inner(Some(&path)), "is not below");
    }
    for path in ["dangling", "nowhere"].map(|name| inside.join(name)) {
        refused(folder.read(&path, 1, None), "is a link that leads nowhere");
        refused(folder.write(&path, "mine"), "is a link that leads nowhere");
    }
    refused(folder.write(&inside.join("none/../../out/new"), "mine"), "is not there");
    assert_eq!(names(&outside), ["secret"]);
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(names(room.path()), ["in", "out"]);
}

#[test]
fn a_link_that_is_put_in_meanwhile_is_not_followed() {
    let (room, folder) = world();
    let inside = room.path().join("in");
    // As it was found; then somebody was quicker.
    let place = folder.find(&inside.join("sub/new.txt")).unwrap_or_else(|_| panic!("it is below"));
    fs::remove_dir(inside.join("sub")).unwrap();
    symlink(room.path().join("out"), inside.join("sub")).unwrap();
    assert!(folder.enter(&place.there).is_err());
    symlink(room.path().join("out/secret"), inside.join("b.txt")).unwrap();
    let place = Place { there: "b.txt".into(), missing: Vec::new() };
    refused(folder.open_file(&place, &inside.join("b.txt")), "cannot be read");
    let opened = File::open(&inside).unwrap().into();
    refused(put(&opened, OsStr::new("b.txt"), "mine", &inside.join("b.txt")), "cannot be written");
    assert_eq!(fs::read_to_string(room.path().join("out/secret")).unwrap(), "secret");
}

#[test]
fn links_and_dots_within_the_folder_lead_where_they_lead() {
    let (room, folder) = world();
    let inside = room.path().join("in");
    symlink("../a.txt", inside.join("sub/link")).unwrap();
    symlink(&inside, room.path().join("alias")).unwrap();
    let aliased = Folder::open(&room.path().join("alias")).unwrap();
    for path in [inside.join("sub/link"), inside.join("sub/.././a.txt"), room.path().join("alias/a.txt")] {
        for folder in [&folder, &aliased] {
            folder.write(&path, "through").unwrap();
            assert_eq!(folder.read(&path, 1, None).as_deref(), Ok("through"));
            assert_eq!(fs::read_to_string(inside.join("a.txt")).unwrap(), "through");
            fs::write(inside.join("a.txt"), "").unwrap();
        }
    }
    assert!(inside.join("sub/link").is_symlink());
    let real = inside.canonicalize().unwrap();
    assert_eq!(folder.inner(None), Ok(real.clone()));
    assert_eq!(folder.inner(Some(&inside.join("sub/../sub"))), Ok(real.join("sub")));
    refused(folder.inner(Some(&inside.join("a.txt"))), "is no folder");
    refused(folder.inner(Some(&inside.join("none"))), "is not there");
}

#[test]
fn a_pipe_is_no_plain_file_and_nobody_waits_for_it() {
    let (room, folder) = world();
    let pipe = room.path().join("in/pipe");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    refused(folder.read(&pipe, 1, None), "is no plain file");
    // Nobody reads from it, so it cannot even be opened for writing.
    refused(folder.write(&pipe, "x"), "cannot be written");
}
