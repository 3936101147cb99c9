//! A unit as systemd has it, drop-ins and all: what `systemctl show` prints of it, and what comes of an exit status by
//! systemd.service(5). It asks nobody itself.

use evergate_core::supervisor::Death;
use evergate_core::verdict::STOP;
use std::collections::BTreeMap;

/// What decides over the end of a unit, for `systemctl show --property`.
pub const POLICY: &str =
    "Restart,RestartPreventExitStatus,RestartForceExitStatus,SuccessExitStatus,StartLimitIntervalUSec,StartLimitBurst";

/// The properties of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState(BTreeMap<String, String>);

impl UnitState {
    /// Reads the output of `systemctl show`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// One of them; empty when it was not asked for or says nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn lists(&self, name: &str, status: u8) -> bool {
        self.get(name).split_whitespace().any(|word| word.parse() == Ok(status))
    }

    /// Whether systemd starts the unit again after such an end.
    #[must_use]
    pub fn revives(&self, death: Death) -> bool {
        let clean = match death {
            Death::Exited(status) => status == STOP || self.lists("SuccessExitStatus", status),
            Death::Killed => false,
        };
        if let Death::Exited(status) = death {
            if self.lists("RestartPreventExitStatus", status) {
                return false;
            }
            if self.lists("RestartForceExitStatus", status) {
                return true;
            }
        }
        match self.get("Restart") {
            "always" => true,
            "on-success" => clean,
            "on-failure" => !clean,
            "on-abnormal" | "on-abort" => death == Death::Killed,
            _ => false,
        }
    }

    /// Whether systemd gives up after a few starts in a row, however they came about.
    #[must_use]
    pub fn limits_starts(&self) -> bool {
        !matches!(self.get("StartLimitIntervalUSec"), "0" | "") && self.get("StartLimitBurst") != "0"
    }
}
