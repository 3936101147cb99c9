//! The gateway's configuration: typed effective values, each with the place it came from.
//! Precedence is default, then file, then environment, then flag; every mistake in any of them is
//! collected and reported at once. This module never looks at the process's own environment or
//! arguments except in [`evergate_environment`], never creates a file, and never starts anything.

mod duration;
mod environment;
mod file;
mod problem;
mod schema;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use duration::parse as read_duration;
pub use environment::evergate_environment;
pub use problem::{ConfigError, Problem};
pub use schema::{
    AcpAgent, AgentKind, AnsweredBy, Busy, CommandAgent, Debug, Delivery, DemoAgent, Drain, FileAccess, Files, Hooks,
    KEYS, Key, Limits, Local, Log, LogFormat, LogLevel, Matrix, OpenAiAgent, Permission, Questions, Recovery, Sessions,
    Takes, Telegram, Terminals, Uncertain, Watchdog,
};
pub use schema::{StartFault, StartStage};
pub use value::{Form, Value, Zero};

use problem::printable;
use schema::AgentChoice;

/// The effective configuration. Its values have passed every rule of [`KEYS`], so nobody needs to
/// check them again.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[drain]`: how long the gateway waits for work when it goes down.
    pub drain: Drain,
    /// `[recovery]`: what a cut turn is worth.
    pub recovery: Recovery,
    /// `[delivery]`: what is owed to chats.
    pub delivery: Delivery,
    /// `[questions]`: what agents ask their chats.
    pub questions: Questions,
    /// `[sessions]`: conversations.
    pub sessions: Sessions,
    /// `[limits]`: where the gateway says "busy" instead of growing.
    pub limits: Limits,
    /// `[agent]`: what answers.
    pub agent: Agent,
    /// `[files]`: files that come with messages and go with answers.
    pub files: Files,
    /// `[local]`: the local platform.
    pub local: Local,
    /// `[telegram]`: chats of a bot on Telegram.
    pub telegram: Telegram,
    /// `[matrix]`: chats on a Matrix homeserver.
    pub matrix: Matrix,
    /// `[watchdog]`: when a part that gets nowhere is taken for stuck.
    pub watchdog: Watchdog,
    /// `[debug]`: for trying out what happens when something goes wrong.
    pub debug: Debug,
    /// `[log]`: what is logged, and how it looks.
    pub log: Log,
    settings: Settings,
}

/// What a reload makes of the settings that differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// These are in effect now.
    pub effective: Vec<&'static str>,
    /// These wait for a restart.
    pub at_restart: Vec<&'static str>,
}

/// What answers: `agent.kind` together with the settings of that kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Agent {
    /// The built-in agent, for a first look and for tests.
    Demo(DemoAgent),
    /// One child process a turn; `argv` holds at least the program.
    Command(CommandAgent),
    /// One process for all turns, which speaks the Agent Client Protocol; `argv` holds at least the program.
    Acp(AcpAgent),
    /// A model; endpoint and name are there.
    OpenAi(OpenAiAgent),
}

impl Agent {
    /// The program that is started for it, and the setting that names it; `None` of one that needs none.
    #[must_use]
    pub fn program(&self) -> Option<(&str, &'static str)> {
        let (argv, key) = match self {
            Self::Demo(_) | Self::OpenAi(_) => return None,
            Self::Command(command) => (&command.argv, "agent.command.argv"),
            Self::Acp(acp) => (&acp.argv, "agent.acp.argv"),
        };
        Some((argv.first()?, key))
    }
}

/// Everything a configuration is made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file.
    pub file: FileSource,
    /// Variables by name; those that do not begin with `EVERGATE_` are ignored.
    /// [`evergate_environment`] reads the process's own.
    pub environment: BTreeMap<String, String>,
    /// Command line flags as (key, text), such as `("local.listen", "127.0.0.1:9000")`; of two
    /// for one key the later wins.
    pub flags: Vec<(String, String)>,
}

/// Which file to read, and whether it has to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileSource {
    /// No file at all.
    #[default]
    Nowhere,
    /// Somebody named this file (`--config`, `EVERGATE_CONFIG`): it must exist.
    Explicit(PathBuf),
    /// `config.toml` in the state directory: read if it exists.
    Default(PathBuf),
}

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// The line of the key, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name, such as `EVERGATE_DRAIN_BUDGET`.
        name: String,
    },
    /// A command line flag.
    Flag {
        /// Its name with the dashes, such as `--listen`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(out, "default"),
            Self::File { path, line } => {
                write!(out, "{}:{line}", printable(&path.to_string_lossy()))
            }
            Self::Environment { name } | Self::Flag { name } => write!(out, "{}", printable(name)),
        }
    }
}

/// The effective value of every key of [`KEYS`], by name.
#[derive(Clone, Debug, PartialEq)]
struct Settings(BTreeMap<&'static str, Setting>);

#[derive(Clone, Debug, PartialEq)]
struct Setting {
    key: &'static Key,
    value: Value,
    origin: Origin,
}

impl Settings {
    fn defaults() -> Self {
        let setting = |key: &'static Key| Setting { key, value: key.default_value(), origin: Origin::Default };
        Self(KEYS.iter().map(|key| (key.name, setting(key))).collect())
    }

    fn overlay(&mut self, found: Vec<Setting>) {
        self.0.extend(found.into_iter().map(|setting| (setting.key.name, setting)));
    }

    fn get(&self, name: &str) -> &Setting {
        self.0.get(name).expect("the defaults hold every key of the table")
    }
}

impl Config {
    /// Reads all sources and checks all of them.
    ///
    /// # Errors
    /// Every problem of every source together: unreadable or malformed file, unknown names, values
    /// of the wrong form, and settings that do not fit each other. None of them is worth a second
    /// try without a change by the operator (exit status 78).
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut settings = Settings::defaults();
        settings.overlay(file::read(&sources.file, &mut problems));
        settings.overlay(environment::read(&sources.environment, &mut problems));
        settings.overlay(environment::read_flags(&sources.flags, &mut problems));
        if problems.is_empty() {
            // Asked only when all sources are understood: a value that was refused above is not missing.
            problems.extend(agent_without_program(&settings, "command", "agent.command.argv"));
            problems.extend(agent_without_program(&settings, "acp", "agent.acp.argv"));
            problems.extend(model_without(
                "agent.openai.base_url",
                "base_url = \"https://api.openai.com/v1\"",
                &settings,
            ));
            problems.extend(model_without("agent.openai.model", "model = \"gpt-4o-mini\"", &settings));
        }
        if problems.is_empty() { Ok(Self::from_settings(settings)) } else { Err(ConfigError { problems }) }
    }

    fn from_settings(settings: Settings) -> Self {
        let agent = match AgentChoice::from_settings(&settings).kind {
            AgentKind::Demo => Agent::Demo(DemoAgent::from_settings(&settings)),
            AgentKind::Command => Agent::Command(CommandAgent::from_settings(&settings)),
            AgentKind::Acp => Agent::Acp(AcpAgent::from_settings(&settings)),
            AgentKind::OpenAi => Agent::OpenAi(OpenAiAgent::from_settings(&settings)),
        };
        Self {
            drain: Drain::from_settings(&settings),
            recovery: Recovery::from_settings(&settings),
            delivery: Delivery::from_settings(&settings),
            questions: Questions::from_settings(&settings),
            sessions: Sessions::from_settings(&settings),
            limits: Limits::from_settings(&settings),
            agent,
            files: Files::from_settings(&settings),
            local: Local::from_settings(&settings),
            telegram: Telegram::from_settings(&settings),
            matrix: Matrix::from_settings(&settings),
            watchdog: Watchdog::from_settings(&settings),
            debug: Debug::from_settings(&settings),
            log: Log::from_settings(&settings),
            settings,
        }
    }

    /// This configuration with all of `fresh` in it that can change without a restart, and what that makes of each key
    /// whose value differs.
    #[must_use]
    pub fn reloaded(&self, fresh: &Self) -> (Self, Changes) {
        let mut settings = self.settings.clone();
        let mut changes = Changes::default();
        for key in KEYS {
            let (old, new) = (self.settings.get(key.name), fresh.settings.get(key.name));
            if old.value == new.value {
                continue;
            }
            match key.takes() {
                Takes::AtRestart => changes.at_restart.push(key.name),
                Takes::OnReload => {
                    changes.effective.push(key.name);
                    settings.overlay(vec![new.clone()]);
                }
            }
        }
        (Self::from_settings(settings), changes)
    }

    /// Where the value of a key such as `drain.budget` came from; `None` if there is no such key.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.settings.0.get(name).map(|setting| &setting.origin)
    }

    /// All effective values as TOML that loads again to the same configuration; a comment behind
    /// each value says where it came from.
    pub fn show(&self) -> String {
        let mut text =
            String::from("# The effective configuration: every key, its value, and where the value came from.\n");
        let mut section = "";
        for key in KEYS {
            let setting = self.settings.get(key.name);
            if key.section != section {
                section = key.section;
                text.push_str(&format!("\n[{section}]\n"));
            }
            let origin = match &setting.origin {
                Origin::Default => "default".to_owned(),
                elsewhere => format!("from {elsewhere}"),
            };
            let takes = match key.takes() {
                Takes::OnReload => "",
                Takes::AtRestart => " A change takes effect with a restart.",
            };
            text.push_str(&format!("# {}{takes}\n{} # {origin}\n", key.about(), key.toml_line(&setting.value)));
        }
        text
    }

    /// The same as [`Config::show`] for programs: `{"settings": [{"key", "value", "default",
    /// "origin", "environment", "about"}]}` in the order of [`KEYS`]. `origin` is an object whose
    /// `from` is `default`, `file` (with `path` and `line`), `environment` or `flag` (with `name`).
    pub fn show_json(&self) -> serde_json::Value {
        let setting = |key: &Key| {
            let setting = self.settings.get(key.name);
            serde_json::json!({
                "key": key.name,
                "value": setting.value.json(),
                "default": key.default_value().json(),
                "origin": origin_json(&setting.origin),
                "environment": key.environment(),
                "about": key.about(),
                "takes_effect": match key.takes() { Takes::OnReload => "reload", Takes::AtRestart => "restart" },
            })
        };
        serde_json::json!({ "settings": KEYS.iter().map(setting).collect::<Vec<_>>() })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::from_settings(Settings::defaults())
    }
}

fn origin_json(origin: &Origin) -> serde_json::Value {
    match origin {
        Origin::Default => serde_json::json!({ "from": "default" }),
        Origin::File { path, line } => {
            serde_json::json!({ "from": "file", "path": path.to_string_lossy(), "line": line })
        }
        Origin::Environment { name } => serde_json::json!({ "from": "environment", "name": name }),
        Origin::Flag { name } => serde_json::json!({ "from": "flag", "name": name }),
    }
}

/// `agent.kind` says that a program answers; then there must be one.
fn agent_without_program(settings: &Settings, kind: &'static str, argv: &str) -> Option<Problem> {
    let (chosen, argv) = (settings.get("agent.kind"), settings.get(argv));
    let missing = chosen.value == Value::Word(kind) && argv.value == Value::Argv(Vec::new());
    missing.then(|| {
        Problem::new(
            &chosen.origin,
            format!(
                "agent.kind is \"{kind}\", but no program is named; under [{}] write {}, or set {}",
                argv.key.section,
                argv.key.toml_example(),
                argv.key.environment_example()
            ),
        )
    })
}

/// `agent.kind = "openai"` says that a model answers; then it has to be known which, and where.
fn model_without(key: &str, example: &str, settings: &Settings) -> Option<Problem> {
    let (chosen, needed) = (settings.get("agent.kind"), settings.get(key));
    let missing = chosen.value == Value::Word("openai") && needed.value == Value::Text(String::new());
    missing.then(|| {
        Problem::new(
            &chosen.origin,
            format!(
                "agent.kind is \"openai\", but {key} is empty; under [{}] write {example}, or set {}",
                needed.key.section,
                needed.key.environment()
            ),
        )
    })
}
