//! Where the gateway is to be found: it owns the rules that turn flags and variables into the state directory and the
//! control socket. It looks at no file; whether somebody lives there is the client's business.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Name of the control socket in the state directory.
const SOCKET_NAME: &str = "control.sock";

/// Why the state directory cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No flag, no variable, and no home to fall back to.
    #[error(
        "cannot tell where the state directory is: HOME is not set; give --state-dir DIR or set EVERGATE_STATE_DIR"
    )]
    NoHome,
    /// A relative path was given and the current folder is unknown.
    #[error("cannot make the state directory {0} absolute: the current folder is gone; give an absolute path")]
    NoCurrentFolder(PathBuf),
}

/// The state directory; `variable` reads the environment and answers `None` for empty values.
pub fn state_dir(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, PlaceError> {
    absolute(said_state_dir(flag, variable)?)
}

/// The same as it is said: a relative one is meant from the current folder.
pub fn said_state_dir(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, PlaceError> {
    if let Some(given) = flag.map(Path::to_path_buf).or_else(|| variable("EVERGATE_STATE_DIR").map(PathBuf::from)) {
        return Ok(given);
    }
    // The XDG specification tells programs to ignore a relative path here.
    let state_home = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state_home = match state_home {
        Some(path) => path,
        None => PathBuf::from(variable("HOME").ok_or(PlaceError::NoHome)?).join(".local/state"),
    };
    Ok(state_home.join("evergate"))
}

/// The control socket. `EVERGATE_CONTROL` goes before the variable `EVERGATE_STATE_DIR` but not before the flag.
pub fn control_socket(flag: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, PlaceError> {
    match variable("EVERGATE_CONTROL") {
        Some(socket) if flag.is_none() => absolute(PathBuf::from(socket)),
        _ => Ok(state_dir(flag, variable)?.join(SOCKET_NAME)),
    }
}

/// The turn that this process runs in, when the gateway behind `socket` is the one that runs it. A turn that talks to
/// another gateway must not name its own number there: it would be somebody else's turn.
pub fn own_turn(socket: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Option<u64> {
    let turn = variable("EVERGATE_TURN")?.to_str()?.parse().ok()?;
    match variable("EVERGATE_CONTROL") {
        Some(own) if Path::new(&own) != socket => None,
        _ => Some(turn),
    }
}

/// Where a command runs, as far as the gateway behind a socket is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Outside of its turns, or in a turn that can be told.
    Elsewhere,
    /// In one of its turns, but nobody can tell which: its agent's process serves many. Who waited here for the turns to end
    /// would wait for itself.
    SomeTurn,
}

/// Whether this process runs in an agent of the gateway behind `socket` that serves many turns.
pub fn within(socket: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Within {
    let is_its_agent = variable(crate::agent::orphan::AGENT).is_some()
        && variable("EVERGATE_TURN").is_none()
        && variable("EVERGATE_CONTROL").is_some_and(|own| Path::new(&own) == socket);
    if is_its_agent { Within::SomeTurn } else { Within::Elsewhere }
}

fn absolute(path: PathBuf) -> Result<PathBuf, PlaceError> {
    std::path::absolute(&path).map_err(|_| PlaceError::NoCurrentFolder(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(variables: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_flag_goes_before_every_variable() {
        let environment = set(&[("EVERGATE_STATE_DIR", "/b"), ("EVERGATE_CONTROL", "/c/control.sock"), ("HOME", "/h")]);
        assert_eq!(control_socket(Some(Path::new("/a")), environment), Ok(PathBuf::from("/a/control.sock")));
    }

    #[test]
    fn inside_a_turn_the_socket_of_its_gateway_is_used() {
        let environment = set(&[("EVERGATE_STATE_DIR", "/b"), ("EVERGATE_CONTROL", "/c/control.sock")]);
        assert_eq!(control_socket(None, environment), Ok(PathBuf::from("/c/control.sock")));
    }

    #[test]
    fn the_default_follows_xdg_and_ignores_a_relative_path_there() {
        assert_eq!(state_dir(None, set(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")])), Ok(PathBuf::from("/x/evergate")));
        let relative = set(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")]);
        assert_eq!(state_dir(None, relative), Ok(PathBuf::from("/h/.local/state/evergate")));
    }

    #[test]
    fn without_a_home_the_error_says_what_to_do() {
        let error = state_dir(None, set(&[])).expect_err("nothing tells the place");
        assert_eq!(error, PlaceError::NoHome);
        assert!(error.to_string().contains("--state-dir"));
    }

    #[test]
    fn a_turn_names_itself_only_to_its_own_gateway() {
        let environment = || set(&[("EVERGATE_TURN", "5"), ("EVERGATE_CONTROL", "/c/control.sock")]);
        assert_eq!(own_turn(Path::new("/c/control.sock"), environment()), Some(5));
        assert_eq!(own_turn(Path::new("/d/control.sock"), environment()), None);
        assert_eq!(own_turn(Path::new("/d/control.sock"), set(&[("EVERGATE_TURN", "5")])), Some(5));
        assert_eq!(own_turn(Path::new("/d/control.sock"), set(&[("EVERGATE_TURN", "x")])), None);
    }

    #[test]
    fn an_agent_of_many_turns_is_known_to_its_own_gateway_only() {
        let environment = || set(&[("EVERGATE_AGENT", "acp"), ("EVERGATE_CONTROL", "/c/control.sock")]);
        assert_eq!(within(Path::new("/c/control.sock"), environment()), Within::SomeTurn);
        assert_eq!(within(Path::new("/d/control.sock"), environment()), Within::Elsewhere);
        assert_eq!(
            within(Path::new("/c/control.sock"), set(&[("EVERGATE_CONTROL", "/c/control.sock")])),
            Within::Elsewhere
        );
    }
}
