//! Valid configurations: what is effective, where it came from, and how it is shown.

use super::*;

#[test]
fn every_default_works_without_a_file() {
    let config = Config::load(Sources::default()).expect("the defaults are valid");
    assert_eq!(config, Config::default());
    assert_eq!(
        config.drain,
        Drain {
            budget: seconds(30),
            requester_grace: seconds(2),
            interrupt_grace: seconds(5),
            close_grace: seconds(5),
            stall_after: seconds(300),
        }
    );
    assert_eq!(config.recovery, Recovery { attempts: 5 });
    assert_eq!(config.sessions, Sessions { busy: Busy::Queue });
    assert_eq!(config.limits, Limits { sessions: 100_000, queued: 10_000, queued_per_session: 100, turns: 256 });
    assert_eq!(config.agent, Agent::Demo(DemoAgent { words_per_second: 8.0 }));
    assert_eq!(config.local.listen, "127.0.0.1:8787".parse().expect("an address"));
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Auto });
    assert!(KEYS.iter().all(|key| config.origin(key.name) == Some(&Origin::Default)));
}

#[test]
fn default_file_environment_flag_each_beat_the_one_before() {
    let listen = |fixture: &Fixture| {
        let config = fixture.load();
        let origin = config.origin("local.listen").expect("the key").clone();
        (config.local.listen.port(), origin)
    };
    let fixture = file("");
    assert_eq!(listen(&fixture), (8787, Origin::Default));
    let fixture = file("\n[local]\nlisten = '127.0.0.1:1'");
    let path = fixture.folder.path().join("config.toml");
    assert_eq!(listen(&fixture), (1, Origin::File { path, line: 3 }));
    let fixture = fixture.variable("EVERGATE_LOCAL_LISTEN", "127.0.0.1:2");
    assert_eq!(listen(&fixture), (2, Origin::Environment { name: "EVERGATE_LOCAL_LISTEN".into() }));
    let fixture = fixture.flag("local.listen", "127.0.0.1:3").flag("local.listen", "[::1]:4");
    assert_eq!(listen(&fixture), (4, Origin::Flag { name: "--listen".into() }));
}

#[test]
fn every_key_can_be_set_in_the_file_and_in_the_environment() {
    let config = file(
        "[agent]\nkind = 'command'\n[agent.command]\nargv = ['cat']\nmax_reply_bytes = 0x10\nsilence = '1h30m'\n\
         [log]\nlevel = 'trace'\nformat = 'json'\n[recovery]\nattempts = 1",
    )
    .load();
    let expected = CommandAgent { argv: vec!["cat".into()], max_reply_bytes: 16, silence: seconds(5_400) };
    assert_eq!(config.agent, Agent::Command(expected));
    assert_eq!(config.log, Log { level: LogLevel::Trace, format: LogFormat::Json });

    let mut fixture = file("");
    for key in KEYS {
        fixture = fixture.variable(&key.environment(), &key.default_value().to_string());
    }
    let config = fixture.load();
    for key in KEYS {
        let name = key.environment();
        assert_eq!(config.origin(key.name), Some(&Origin::Environment { name }));
    }
    assert_eq!(config.drain, Config::default().drain);
}

#[test]
fn names_that_others_rely_on_stay() {
    let names: Vec<String> = KEYS.iter().map(|key| format!("{} {}", key.name, key.environment())).collect();
    assert_eq!(
        names,
        [
            "drain.budget EVERGATE_DRAIN_BUDGET",
            "drain.requester_grace EVERGATE_DRAIN_REQUESTER_GRACE",
            "drain.interrupt_grace EVERGATE_DRAIN_INTERRUPT_GRACE",
            "drain.close_grace EVERGATE_DRAIN_CLOSE_GRACE",
            "drain.stall_after EVERGATE_DRAIN_STALL_AFTER",
            "recovery.attempts EVERGATE_RECOVERY_ATTEMPTS",
            "delivery.uncertain EVERGATE_DELIVERY_UNCERTAIN",
            "questions.expire EVERGATE_QUESTIONS_EXPIRE",
            "questions.answered_by EVERGATE_QUESTIONS_ANSWERED_BY",
            "sessions.busy EVERGATE_SESSIONS_BUSY",
            "limits.sessions EVERGATE_LIMITS_SESSIONS",
            "limits.queued EVERGATE_LIMITS_QUEUED",
            "limits.queued_per_session EVERGATE_LIMITS_QUEUED_PER_SESSION",
            "limits.turns EVERGATE_LIMITS_TURNS",
            "agent.kind EVERGATE_AGENT_KIND",
            "agent.demo.words_per_second EVERGATE_AGENT_DEMO_WORDS_PER_SECOND",
            "agent.command.argv EVERGATE_AGENT_COMMAND_ARGV",
            "agent.command.max_reply_bytes EVERGATE_AGENT_COMMAND_MAX_REPLY_BYTES",
            "agent.command.silence EVERGATE_AGENT_COMMAND_SILENCE",
            "agent.acp.argv EVERGATE_AGENT_ACP_ARGV",
            "agent.acp.cwd EVERGATE_AGENT_ACP_CWD",
            "agent.acp.env EVERGATE_AGENT_ACP_ENV",
            "agent.acp.start EVERGATE_AGENT_ACP_START",
            "agent.acp.silence EVERGATE_AGENT_ACP_SILENCE",
            "agent.acp.max_reply_bytes EVERGATE_AGENT_ACP_MAX_REPLY_BYTES",
            "agent.acp.permission EVERGATE_AGENT_ACP_PERMISSION",
            "agent.acp.files EVERGATE_AGENT_ACP_FILES",
            "agent.acp.terminals EVERGATE_AGENT_ACP_TERMINALS",
            "agent.openai.base_url EVERGATE_AGENT_OPENAI_BASE_URL",
            "agent.openai.model EVERGATE_AGENT_OPENAI_MODEL",
            "agent.openai.key_file EVERGATE_AGENT_OPENAI_KEY_FILE",
            "agent.openai.key_env EVERGATE_AGENT_OPENAI_KEY_ENV",
            "agent.openai.system EVERGATE_AGENT_OPENAI_SYSTEM",
            "agent.openai.system_file EVERGATE_AGENT_OPENAI_SYSTEM_FILE",
            "agent.openai.max_tokens EVERGATE_AGENT_OPENAI_MAX_TOKENS",
            "agent.openai.context_tokens EVERGATE_AGENT_OPENAI_CONTEXT_TOKENS",
            "agent.openai.connect EVERGATE_AGENT_OPENAI_CONNECT",
            "agent.openai.first_token EVERGATE_AGENT_OPENAI_FIRST_TOKEN",
            "agent.openai.silence EVERGATE_AGENT_OPENAI_SILENCE",
            "agent.openai.turn EVERGATE_AGENT_OPENAI_TURN",
            "agent.openai.retries EVERGATE_AGENT_OPENAI_RETRIES",
            "agent.openai.max_reply_bytes EVERGATE_AGENT_OPENAI_MAX_REPLY_BYTES",
            "files.limit EVERGATE_FILES_LIMIT",
            "files.age EVERGATE_FILES_AGE",
            "local.listen EVERGATE_LOCAL_LISTEN",
            "telegram.token_file EVERGATE_TELEGRAM_TOKEN_FILE",
            "telegram.token_env EVERGATE_TELEGRAM_TOKEN_ENV",
            "telegram.api_base EVERGATE_TELEGRAM_API_BASE",
            "telegram.allowed_users EVERGATE_TELEGRAM_ALLOWED_USERS",
            "telegram.operators EVERGATE_TELEGRAM_OPERATORS",
            "telegram.stranger_reply EVERGATE_TELEGRAM_STRANGER_REPLY",
            "telegram.poll EVERGATE_TELEGRAM_POLL",
            "telegram.webhook EVERGATE_TELEGRAM_WEBHOOK",
            "telegram.webhook_listen EVERGATE_TELEGRAM_WEBHOOK_LISTEN",
            "matrix.homeserver EVERGATE_MATRIX_HOMESERVER",
            "matrix.user EVERGATE_MATRIX_USER",
            "matrix.password_file EVERGATE_MATRIX_PASSWORD_FILE",
            "matrix.token_file EVERGATE_MATRIX_TOKEN_FILE",
            "matrix.allowed_users EVERGATE_MATRIX_ALLOWED_USERS",
            "matrix.operators EVERGATE_MATRIX_OPERATORS",
            "watchdog.freeze EVERGATE_WATCHDOG_FREEZE",
            "watchdog.disk EVERGATE_WATCHDOG_DISK",
            "watchdog.start EVERGATE_WATCHDOG_START",
            "watchdog.platform EVERGATE_WATCHDOG_PLATFORM",
            "debug.hooks EVERGATE_DEBUG_HOOKS",
            "debug.start_fails EVERGATE_DEBUG_START_FAILS",
            "debug.start_fault EVERGATE_DEBUG_START_FAULT",
            "log.level EVERGATE_LOG_LEVEL",
            "log.format EVERGATE_LOG_FORMAT",
        ]
    );
}

#[test]
fn sections_dotted_keys_and_inline_tables_are_the_same() {
    for (text, line) in [
        ("[agent.demo]\nwords_per_second = 0.5", 2),
        ("# a comment\nagent.demo.words_per_second = 0.5", 2),
        ("\n\nagent = { kind = 'demo', demo = { words_per_second = 0.5 } }", 3),
        ("[agent]\nkind = 'demo'\ndemo.words_per_second = 0.5", 3),
        ("[agent]\r\n'demo' = {\"words_per_second\" = 0.5}\r\n", 2),
        ("\u{feff}[agent.demo]\nwords_per_second = 5e-1", 2),
        ("agent = {\n  demo = {\n    words_per_second = 0.5,\n  },\n}", 3),
    ] {
        let fixture = file(text);
        let config = fixture.load();
        assert_eq!(config.agent, Agent::Demo(DemoAgent { words_per_second: 0.5 }), "{text}");
        let path = fixture.folder.path().join("config.toml");
        assert_eq!(config.origin("agent.demo.words_per_second"), Some(&Origin::File { path, line }), "{text}");
    }
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let mut fixture = file("").variable("PATH", "/bin").variable("EVERGATE", "1").variable("evergate_x", "1");
    for name in ["STATE_DIR", "CONFIG", "SESSION", "TURN", "ATTEMPT", "RESUME", "CONTROL", "GENERATION", "CONVERSATION"]
    {
        fixture = fixture.variable(&format!("EVERGATE_{name}"), "x");
    }
    for name in ["REVIVED", "SUPERVISOR", "SUPERVISOR_PID", "KEEPER", "DEATHS"] {
        fixture = fixture.variable(&format!("EVERGATE_{name}"), "1");
    }
    for (name, value) in [
        ("SERVICE_HOST", "10.0.0.1"),
        ("SERVICE_PORT", "8787"),
        ("SERVICE_PORT_HTTP", "8787"),
        ("PORT", "tcp://10.0.0.1:8787"),
        ("PORT_8787_TCP", "tcp://10.0.0.1:8787"),
        ("PORT_8787_TCP_PROTO", "tcp"),
        ("PORT_8787_TCP_PORT", "8787"),
        ("PORT_8787_TCP_ADDR", "10.0.0.1"),
        ("PAGE_SERVICE_HOST", "10.0.0.2"),
    ] {
        fixture = fixture.variable(&format!("EVERGATE_{name}"), value);
    }
    for name in ["BIN", "PORT", "HOME_OF_MY_SCRIPTS"] {
        fixture = fixture.variable(&format!("EVERGATE_{name}"), "another program's");
    }
    fixture.load();
    for slip in ["EVERGATE_DRAIN_BUGDET", "EVERGATE_DRAIN_TYPO", "EVERGATE_CONFG", "EVERGATE_LOCAL_PORT"] {
        let problem = file("").variable(slip, "8787").problem();
        assert!(problem.starts_with(&format!("{slip}: this variable is unknown")), "{problem}");
    }
}

#[test]
fn what_is_shown_loads_again_to_the_same_configuration() {
    let strange = ["my agent", "--say=\"hi\"", "\t\u{7f}\u{1b}\u{85}\n\\", "ä'''\u{1f600}", "# no comment", ""];
    let argv = serde_json::to_string(&strange).expect("JSON");
    let shapes = [
        file(""),
        file("[drain]\nbudget = '90s'\nrequester_grace='0s'\n[agent.demo]\nwords_per_second=0\n"),
        file("agent.demo.words_per_second = 0.001\nlocal.listen = '[::1]:0'"),
        file("agent.demo.words_per_second = 1e6\nlimits.turns = 0b11\nlog.level = 'off'"),
        file("agent.kind = 'command'").variable("EVERGATE_AGENT_COMMAND_ARGV", &argv).flag("log.format", "json"),
    ];
    for fixture in shapes {
        let config = fixture.load();
        let shown = config.show();
        let again = file(&shown).load();
        let values =
            |config: &Config| config.settings.0.values().map(|setting| setting.value.clone()).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&config), "{shown}");
        assert_eq!((again.drain, again.agent, again.local), (config.drain, config.agent, config.local));
    }
}

#[test]
fn what_is_shown_says_where_each_value_came_from() {
    let fixture =
        file("\n[drain]\nbudget = '90s'").variable("EVERGATE_LOG_LEVEL", "warn").flag("local.listen", "127.0.0.1:0");
    let config = fixture.load();
    let shown = config.show();
    let path = fixture.folder.path().join("config.toml");
    for line in [
        "[drain]",
        &format!("budget = \"1m30s\" # from {}:3", path.display()),
        "requester_grace = \"2s\" # default",
        "words_per_second = 8 # default",
        "argv = [] # default",
        "level = \"warn\" # from EVERGATE_LOG_LEVEL",
        "listen = \"127.0.0.1:0\" # from --listen",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let json = config.show_json();
    assert_eq!(json["settings"].as_array().map(Vec::len), Some(KEYS.len()));
    assert_eq!(json["settings"][0]["key"], "drain.budget");
    assert_eq!(json["settings"][0]["value"], "1m30s");
    assert_eq!(json["settings"][0]["default"], "30s");
    assert_eq!(json["settings"][0]["origin"]["line"], 3);
    assert_eq!(json["settings"][0]["environment"], "EVERGATE_DRAIN_BUDGET");
}
