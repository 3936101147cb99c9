//! What the configuration means to those whom it is about: the core's limits, the watchdog's bounds, the agent.

use crate::agent::Agent;
use crate::agent::acp::{self, AcpAgent};
use crate::agent::command::CommandAgent;
use crate::agent::demo::DemoAgent;
use crate::agent::openai::{self, OpenAiAgent};
use crate::config::{self, Config};
use evergate_core::busy::Busy;
use evergate_core::limits::Limits;
use evergate_core::outbox::Uncertain;
use evergate_core::question::Deciders;
use evergate_core::watchdog::Bounds;
use std::path::PathBuf;
use std::sync::Arc;

/// How long what may take before it is taken for stuck.
#[must_use]
pub fn bounds(config: &Config) -> Bounds {
    let config::Watchdog { freeze, disk, start, platform } = config.watchdog;
    Bounds { freeze, disk, start, platform }
}

/// What the configuration lets the core use, wait for and try.
#[must_use]
pub fn limits(config: &Config) -> Limits {
    Limits {
        drain: config.drain.budget,
        requester_grace: config.drain.requester_grace,
        interrupt_grace: config.drain.interrupt_grace,
        close_grace: config.drain.close_grace,
        stall_after: config.drain.stall_after,
        attempts: config.recovery.attempts,
        sessions: config.limits.sessions,
        queued: config.limits.queued,
        queued_per_session: config.limits.queued_per_session,
        turns: config.limits.turns,
        busy: match config.sessions.busy {
            config::Busy::Queue => Busy::Queue,
            config::Busy::Interrupt => Busy::Interrupt,
            config::Busy::Collect => Busy::Collect,
        },
        uncertain: match config.delivery.uncertain {
            config::Uncertain::Report => Uncertain::Report,
            config::Uncertain::Drop => Uncertain::Drop,
        },
        question_expiry: config.questions.expire,
        deciders: match config.questions.answered_by {
            config::AnsweredBy::Everybody => Deciders::Everybody,
            config::AnsweredBy::Operators => Deciders::Operators,
        },
        ..Limits::default()
    }
}

/// What answers, as configured.
pub(crate) fn agent(config: &Config) -> Arc<dyn Agent> {
    match &config.agent {
        config::Agent::Demo(demo) => Arc::new(DemoAgent { words_per_second: demo.words_per_second }),
        config::Agent::Command(command) => Arc::new(CommandAgent {
            argv: command.argv.clone(),
            silence: command.silence,
            max_reply_bytes: command.max_reply_bytes,
            max_file_bytes: config.files.limit,
        }),
        config::Agent::Acp(acp) => Arc::new(AcpAgent::new(acp_settings(acp, config.files.limit))),
        config::Agent::OpenAi(model) => Arc::new(OpenAiAgent::new(openai_settings(model))),
    }
}

fn acp_settings(acp: &config::AcpAgent, max_file_bytes: u64) -> acp::Settings {
    let home = || std::env::home_dir().unwrap_or_else(|| "/".into());
    let variable =
        |variable: &String| variable.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    acp::Settings {
        argv: acp.argv.clone(),
        cwd: if acp.cwd.is_empty() { home() } else { acp.cwd.clone().into() },
        env: acp.env.iter().filter_map(variable).collect(),
        start: acp.start,
        silence: acp.silence,
        max_reply_bytes: acp.max_reply_bytes,
        max_file_bytes,
        permission: match acp.permission {
            config::Permission::Deny => acp::Permission::Deny,
            config::Permission::Allow => acp::Permission::Allow,
            config::Permission::Ask => acp::Permission::Ask,
        },
        offer: acp::Offer {
            files: match acp.files {
                config::FileAccess::Off => acp::FileAccess::Off,
                config::FileAccess::Read => acp::FileAccess::Read,
                config::FileAccess::Write => acp::FileAccess::Write,
            },
            terminals: match acp.terminals {
                config::Terminals::Off => acp::Terminals::Off,
                config::Terminals::On => acp::Terminals::On,
            },
        },
    }
}

pub(crate) fn openai_settings(model: &config::OpenAiAgent) -> openai::Settings {
    let path = |text: &String| (!text.is_empty()).then(|| PathBuf::from(text));
    openai::Settings {
        base: model
            .base_url
            .parse()
            .expect("the configuration takes only what is a base, and asks for one with this agent"),
        model: model.model.clone(),
        key: openai_key(model),
        system: model.system.clone(),
        system_file: path(&model.system_file),
        max_tokens: model.max_tokens,
        context_tokens: model.context_tokens,
        connect: model.connect,
        first_token: model.first_token,
        silence: model.silence,
        turn: model.turn,
        retries: model.retries,
        max_reply_bytes: model.max_reply_bytes,
    }
}

/// Where the model's key is; a file goes before a variable.
pub(crate) fn openai_key(model: &config::OpenAiAgent) -> openai::Key {
    match (model.key_file.as_str(), model.key_env.as_str()) {
        ("", "") => openai::Key::None,
        ("", name) => openai::Key::Environment(name.to_owned()),
        (path, _) => openai::Key::File(path.into()),
    }
}
