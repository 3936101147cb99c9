//! A configuration that is read again while the gateway runs.

use super::*;

#[test]
fn what_is_opened_or_set_up_once_waits_for_a_restart_and_all_else_changes_at_once() {
    let old = file("[drain]\nbudget = '20s'\n[local]\nlisten = '127.0.0.1:1'").load();
    let fresh = file(
        "[drain]\nbudget = '7s'\n[agent]\nkind = 'command'\n[agent.command]\nargv = ['cat']\n\
         [local]\nlisten = '127.0.0.1:2'\n[log]\nlevel = 'debug'\nformat = 'json'",
    )
    .load();
    let (now, changes) = old.reloaded(&fresh);
    assert_eq!(changes.effective, ["drain.budget", "agent.kind", "agent.command.argv", "log.level"]);
    assert_eq!(changes.at_restart, ["local.listen", "log.format"]);
    assert_eq!((now.drain.budget, now.local.listen.port(), now.log.format), (seconds(7), 1, LogFormat::Auto));
    assert_eq!(now.agent, fresh.agent);
    let (again, changes) = now.reloaded(&fresh);
    assert_eq!(
        (again, changes.effective.len(), changes.at_restart.len()),
        (now, 0, 2),
        "what waits is named each time"
    );
}

#[test]
fn each_key_that_waits_for_a_restart_is_one() {
    let platforms = ["telegram", "matrix"];
    let waits = KEYS.iter().filter(|key| key.takes() == Takes::AtRestart && !platforms.contains(&key.section));
    let waits: Vec<&str> = waits.map(|key| key.name).collect();
    assert_eq!(
        waits,
        [
            "files.limit",
            "files.age",
            "local.listen",
            "watchdog.freeze",
            "watchdog.disk",
            "watchdog.start",
            "watchdog.platform",
            "debug.hooks",
            "debug.start_fails",
            "debug.start_fault",
            "log.format"
        ]
    );
}
