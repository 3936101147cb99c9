//! Evergate: a chat-agent gateway. This library holds the runtime around `evergate-core`; the binary only calls it.
//!
//! `run` puts the parts together: `driver` is the loop that owns the core, `journal` the durable store, `local` the first
//! platform, `agent` what answers, `environment` the only door to the world and `native` the real one behind it.

#![forbid(unsafe_code)]

pub mod agent;
pub mod audit;
pub mod candidate;
pub mod cli;
pub mod command;
pub mod config;
pub mod detect;
pub mod diagnosis;
pub mod doctor;
pub mod driver;
pub mod environment;
pub mod files;
pub mod flight;
pub mod generation;
pub mod http;
pub mod hub;
pub mod install;
pub mod journal;
pub mod kept_socket;
pub mod last_words;
pub mod launchd;
pub mod left_behind;
pub mod lives;
pub mod local;
pub mod logging;
pub mod meaning;
pub mod metrics;
pub mod native;
pub mod platform;
pub mod process_handle;
pub mod program;
pub mod pulse;
pub mod reload;
pub mod run;
pub mod secret;
pub mod signals;
pub mod small_file;
pub mod start_count;
pub mod start_stage;
pub mod supervise;
pub mod systemd;
pub mod takeover;
pub mod trial;
pub mod unit_death;
pub mod unit_state;
pub mod versions;
pub mod watchdog;
pub mod watched;
