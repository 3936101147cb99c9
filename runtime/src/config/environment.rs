//! Reads settings from environment variables and command line flags. It tells a misspelt setting
//! from the variables that are Evergate's but no settings, and from those that others put there.

use std::collections::BTreeMap;

use super::problem::{Problem, nearest, printable};
use super::schema::KEYS;
use super::{Origin, Setting};

const PREFIX: &str = "EVERGATE_";

/// Files and folders, not settings: they belong to flags of their own, whose owners read them.
const PLACES: [&str; 3] = ["EVERGATE_STATE_DIR", "EVERGATE_CONFIG", "EVERGATE_FLIGHT_LOG"];

/// What Evergate tells its own children, and the process that takes its place; a gateway or a command started inside a turn sees
/// them too.
const TOLD_TO_CHILDREN: [&str; 14] = [
    "EVERGATE_AGENT",
    "EVERGATE_ATTEMPT",
    "EVERGATE_CONTROL",
    "EVERGATE_CONVERSATION",
    "EVERGATE_DEATHS",
    "EVERGATE_GENERATION",
    "EVERGATE_KEEPER",
    "EVERGATE_OUTBOX",
    "EVERGATE_RESUME",
    "EVERGATE_REVIVED",
    "EVERGATE_SERVED_ADDRESS",
    "EVERGATE_SESSION",
    "EVERGATE_SYSTEMD_TERMS",
    "EVERGATE_TURN",
];

/// How starts are tried: whoever reads them does so before there is a configuration.
const OF_STARTS: [&str; 2] = ["EVERGATE_ROLLBACK", "EVERGATE_START_ATTEMPTS"];

/// The process's own variables that begin with `EVERGATE_`. A value that is not UTF-8 is kept with
/// its wrong bytes replaced, so that it is reported rather than overlooked.
pub fn evergate_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

/// The settings that the environment makes; mistakes go to `problems`.
pub(super) fn read(environment: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let may_be_one = |name: &str| name.starts_with(PREFIX) && !is_another_word(name);
    let mut words = environment.iter().filter(|(name, _)| may_be_one(name)).peekable();
    let mut settings = Vec::new();
    // Mostly there are none, and a start is not to wait for what is looked up for nothing.
    if words.peek().is_none() {
        return settings;
    }
    let known: BTreeMap<String, _> = KEYS.iter().map(|key| (key.environment(), key)).collect();
    for (name, text) in words {
        let origin = Origin::Environment { name: name.clone() };
        if let Some(key) = known.get(name) {
            match key.form.read_text(text) {
                Ok(value) => settings.push(Setting { key, value, origin }),
                Err(wrong) => problems.push(Problem::value(
                    &origin,
                    key.name,
                    &wrong,
                    &key.form.expected(),
                    &key.environment_example(),
                )),
            }
        } else if !is_service_link(name, text) && looks_like_a_setting(name) {
            let candidates = known.keys().map(String::as_str).chain(PLACES);
            let nearest = nearest(name, candidates).unwrap_or_default();
            let message = format!("this variable is unknown; the nearest known one is {nearest}");
            problems.push(Problem::new(printable(name), message));
        }
    }
    settings
}

/// Whether somebody meant a setting by this name: it lies in a section, or is a slip of the pen away from one. Other
/// programs may have variables of their own that begin with ours.
fn looks_like_a_setting(name: &str) -> bool {
    let in_section = KEYS.iter().any(|key| {
        let section = key.section.split('.').next().unwrap_or_default().to_uppercase();
        name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(&format!("{section}_")))
    });
    let names = KEYS.iter().map(super::schema::Key::environment).chain(PLACES.map(str::to_owned));
    in_section || names.into_iter().any(|known| strsim::damerau_levenshtein(&known, name) <= 2)
}

/// Whether it is a word of ours that is no setting.
fn is_another_word(name: &str) -> bool {
    PLACES.contains(&name)
        || TOLD_TO_CHILDREN.contains(&name)
        || OF_STARTS.contains(&name)
        || name.starts_with("EVERGATE_SUPERVISOR")
}

/// Kubernetes and Docker describe every service in reach to every container: a service named
/// `evergate` yields `EVERGATE_SERVICE_HOST`, `EVERGATE_SERVICE_PORT_HTTP`, `EVERGATE_PORT` =
/// `tcp://…` and `EVERGATE_PORT_8787_TCP_ADDR`. The operator did not write them.
fn is_service_link(name: &str, text: &str) -> bool {
    let numbered_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
            && parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && text.contains("://"))
        || numbered_port
}

/// The settings that command line flags make; mistakes go to `problems`.
pub(super) fn read_flags(flags: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, text) in flags {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let nearest = nearest(name, KEYS.iter().map(|key| key.name)).unwrap_or_default();
            let message = format!("the key {} is unknown; the nearest known one is {nearest}", printable(name));
            problems.push(Problem::new("command line", message));
            continue;
        };
        let origin = Origin::Flag { name: key.flag() };
        match key.form.read_text(text) {
            Ok(value) => settings.push(Setting { key, value, origin }),
            Err(wrong) => {
                let problem = Problem::value(&origin, key.name, &wrong, &key.form.expected(), &key.flag_example());
                problems.push(problem);
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_ours_is_taken_for_a_setting_and_no_setting_for_such_a_word() {
        use crate::{candidate, detect, last_words, launchd, systemd, versions};
        let words = [
            systemd::KEEPER,
            systemd::HEARD,
            last_words::DEATHS,
            candidate::SERVED,
            candidate::SUPERVISOR_PROGRAM,
            versions::ROLLED_BACK,
            detect::SUPERVISOR,
            launchd::DOMAIN,
        ];
        assert_eq!(words.map(is_another_word), [true; 8], "{words:?}");
        assert!(KEYS.iter().all(|key| !is_another_word(&key.environment())));
    }
}
