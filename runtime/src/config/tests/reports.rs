//! Invalid configurations: what the operator is told, and that nothing panics.

use super::*;

#[test]
fn an_unknown_name_is_answered_with_the_nearest_known_one() {
    for (text, expected) in [
        (
            "[drain]\n\nbudgte = '1s'",
            "config.toml:3: the key drain.budgte is unknown; the nearest known one is drain.budget",
        ),
        ("listen = 'x'", "config.toml:1: the key listen is unknown; the nearest known one is local.listen"),
        (
            "\n[drain]\nattempts = 3",
            "config.toml:3: the key drain.attempts is unknown; the nearest known one is recovery.attempts",
        ),
        (
            "drain.interrupt-grace = '1s'",
            "config.toml:1: the key drain.interrupt-grace is unknown; the nearest known one is drain.interrupt_grace",
        ),
        (
            "'drain.budget' = '1s'",
            "config.toml:1: the key \"drain.budget\" is unknown; the nearest known one is drain.budget",
        ),
        (
            "[[limit]]
turns = 1",
            "config.toml:1: the section [limit] is unknown; the nearest known one is [limits]",
        ),
        ("[limit]\nturns = 1", "config.toml:1: the section [limit] is unknown; the nearest known one is [limits]"),
        (
            "[agent.comand]\nargv = []\nx = 1",
            "config.toml:1: the section [agent.comand] is unknown; the nearest known one is [agent.command]",
        ),
        ("[demo]\n", "config.toml:1: the section [demo] is unknown; the nearest known one is [agent.demo]"),
    ] {
        assert_eq!(file(text).problem(), expected);
    }
    assert_eq!(
        file("").variable("EVERGATE_DRAIN_BUGDET", "1s").problem(),
        "EVERGATE_DRAIN_BUGDET: this variable is unknown; the nearest known one is EVERGATE_DRAIN_BUDGET"
    );
    assert_eq!(
        file("").flag("local.listne", "x").problem(),
        "command line: the key local.listne is unknown; the nearest known one is local.listen"
    );
}

#[test]
fn a_wrong_value_is_answered_with_its_line_and_a_right_one() {
    for (text, expected) in [
        (
            "[drain]\nbudget = 30",
            "config.toml:2: drain.budget: this is the integer 30; write a duration with a unit (ms, s, m, h, d), \
             at most 30d, such as budget = \"30s\"",
        ),
        (
            "[drain]\nstall_after = '0s'",
            "config.toml:2: drain.stall_after: \"0s\": zero makes no sense here; write a duration with a unit \
             (ms, s, m, h, d), longer than 0s and at most 30d, such as stall_after = \"5m\"",
        ),
        (
            "recovery = { attempts = 0 }",
            "config.toml:1: recovery.attempts: 0 makes no sense here; write a whole number from 1 to 1000, \
             such as attempts = 5",
        ),
        (
            "[agent]\nkind = 'comand'",
            "config.toml:2: agent.kind: \"comand\": this word is unknown here; write one of \"demo\", \"command\", \
             \"acp\", \"openai\", such as kind = \"demo\"",
        ),
        (
            "[agent]\nkind = 'acp'\n[agent.acp]\nargv = ['a']\npermission = 'maybe'",
            "config.toml:5: agent.acp.permission: \"maybe\": this word is unknown here; write one of \"deny\", \"allow\", \"ask\", \
             such as permission = \"deny\"",
        ),
        (
            "agent.acp.files = 'all'",
            "config.toml:1: agent.acp.files: \"all\": this word is unknown here; write one of \"off\", \"read\", \"write\", \
             such as files = \"off\"",
        ),
        (
            "agent.acp.terminals = true",
            "config.toml:1: agent.acp.terminals: this is the boolean true; write one of \"off\", \"on\", such as \
             terminals = \"off\"",
        ),
        (
            "agent.command.argv = ['a', 3]",
            "config.toml:1: agent.command.argv: element 2 is the integer 3; write an array of strings, \
             the program first, such as argv = [\"my-agent\", \"--stdio\"]",
        ),
        (
            "agent.acp.env = ['KEY', 'A=b']",
            "config.toml:1: agent.acp.env: element 1 has no name before a =; write an array of strings of the form \
             NAME=value, such as env = [\"NAME=value\"]",
        ),
        (
            "agent.acp.cwd = 'here'",
            "config.toml:1: agent.acp.cwd: \"here\": this path is not absolute; write the absolute path of a folder, or an \
             empty string, such as cwd = \"/srv/agent\"",
        ),
        (
            "[local]\nlisten = '0.0.0.0:8787'",
            "config.toml:2: local.listen: \"0.0.0.0:8787\": this address can be reached from other machines, and \
             the local platform serves this one only (from elsewhere use an SSH tunnel); write a loopback IP \
             address with a port, such as listen = \"127.0.0.1:8787\"",
        ),
        ("drain = 3", "config.toml:1: drain is a section, not a value; write [drain] and below it budget = \"30s\""),
        (
            "[[drain]]\nbudget='1s'",
            "config.toml:1: drain is a section, not a value; write [drain] and below it budget = \"30s\"",
        ),
    ] {
        assert_eq!(file(text).problem(), expected);
    }
    assert_eq!(
        file("").variable("EVERGATE_AGENT_COMMAND_ARGV", "my-agent --stdio").problem(),
        "EVERGATE_AGENT_COMMAND_ARGV: agent.command.argv: this is not a JSON array of strings; write an array of \
         strings, the program first, such as EVERGATE_AGENT_COMMAND_ARGV='[\"my-agent\", \"--stdio\"]'"
    );
    assert_eq!(
        file("").flag("local.listen", "localhost:8787").problem(),
        "--listen: local.listen: \"localhost:8787\": this is not an IP address with a port (a name such as localhost \
         is none); write a loopback IP address with a port, such as --listen 127.0.0.1:8787"
    );
}

#[test]
fn wrong_values_of_all_kinds_are_refused() {
    for text in [
        "drain.budget = true",
        "drain.budget = ''",
        "drain.budget = '-1s'",
        "drain.budget = '31d'",
        "drain.budget = 1979-05-27",
        "drain = { budget = {} }",
        "[drain.budget]\nx = 1",
        "questions.expire = '0s'",
        "questions.answered_by = 'nobody'",
        "limits.turns = -1",
        "limits.turns = 1.0",
        "limits.turns = '5'",
        "limits.turns = 9223372036854775807",
        "limits.turns = 99999999999999999999999999999999999999999999999",
        "agent.demo.words_per_second = -1",
        "agent.demo.words_per_second = nan",
        "agent.demo.words_per_second = inf",
        "agent.demo.words_per_second = 1e-300",
        "agent.demo.words_per_second = 1e300",
        "agent.command.argv = 'cat'",
        "agent.command.argv = ['']",
        "agent.command.argv = [['cat']]",
        "agent.acp.env = ['=x']",
        "agent.acp.env = ['EVERGATE_TURN=1']",
        "agent.acp.env = [\"A=a\\u0000b\"]",
        "agent.acp.cwd = 3",
        "agent.command.argv = [\"cat\", \"a\\u0000b\"]",
        "local.listen = 8787",
        "local.listen = '127.0.0.1'",
        "local.listen = '127.0.0.1:65536'",
        "local.listen = '[::]:1'",
        "log.level = 'INFO'",
    ] {
        let problem = file(text).problem();
        assert!(problem.contains("; write ") && problem.contains(", such as "), "{text}: {problem}");
    }
}

#[test]
fn a_command_agent_needs_a_program() {
    let text = "# mine\nagent.kind = 'command'";
    let problem = file(text).problem();
    assert!(problem.starts_with("config.toml:2: agent.kind is \"command\", but no program is named; "), "{problem}");
    assert!(problem.contains("[agent.command] write argv = [\"my-agent\", \"--stdio\"]"), "{problem}");
    let config = file(text).variable("EVERGATE_AGENT_COMMAND_ARGV", r#"["cat", "-u"]"#).load();
    assert!(matches!(config.agent, Agent::Command(agent) if agent.argv == ["cat", "-u"]));
    // A program that was named wrongly is one mistake, not two.
    let problem = file(text).variable("EVERGATE_AGENT_COMMAND_ARGV", "cat").problem();
    assert!(problem.contains("not a JSON array"), "{problem}");
}

#[test]
fn all_mistakes_of_all_sources_are_reported_together_from_top_to_bottom() {
    let fixture = file("[limits]\nturns = 0\nzebra = 1\n[drain]\nbudget = '5x'\n[drian]\n")
        .variable("EVERGATE_LOG_LEVEL", "loud")
        .variable("EVERGATE_LOGLEVEL", "info")
        .flag("local.listen", "8.8.8.8:53");
    let places: Vec<String> =
        fixture.problems().iter().map(|problem| problem.split_once(": ").expect("a place").0.to_owned()).collect();
    assert_eq!(
        places,
        [
            "config.toml:2",
            "config.toml:3",
            "config.toml:5",
            "config.toml:6",
            "EVERGATE_LOGLEVEL",
            "EVERGATE_LOG_LEVEL",
            "--listen"
        ]
    );
    let report = Config::load(fixture.sources.clone()).expect_err("seven problems").to_string();
    assert!(report.starts_with("the configuration has 7 problems:\n  "), "{report}");
    assert_eq!(report.lines().count(), 8);
}

#[test]
fn a_wrong_value_is_a_mistake_even_where_another_source_overrides_it() {
    let fixture = file("log.level = 'loud'").variable("EVERGATE_LOG_LEVEL", "info");
    assert!(fixture.problem().starts_with("config.toml:1: log.level"));
}

#[test]
fn a_very_long_report_is_cut() {
    let text: String = (0..1000).map(|number| format!("k{number} = 1\n")).collect();
    let report = Config::load(file(text).sources).expect_err("a thousand problems").to_string();
    assert!(report.starts_with("the configuration has 1000 problems:"));
    assert!(report.ends_with("and 980 more") && report.lines().count() == 22, "{report}");
}

#[test]
fn a_broken_file_is_reported_with_line_and_column() {
    for (text, expected) in [
        ("[drain]\nbudget = \n", "config.toml:2:10: this is not TOML: "),
        ("[drain\nbudget = '1s'", "config.toml:1:7: this is not TOML: "),
        ("a = 'ä\n", "config.toml:1:"),
        ("[log]\nlevel = 'info'\nlevel = 'warn'", "config.toml:3:1: this is not TOML: duplicate key"),
    ] {
        let problem = file(text).problem();
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
    let problems = file("a = \nb = 1\nc = ]\n").problems();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert_eq!(
        file(b"# caf\xc3\xa9\n# \xc3\xa9 \xff").problem(),
        "config.toml:2:5: this byte is not UTF-8; save the file as UTF-8"
    );
    let endless = file("a = [".to_owned() + &"[".repeat(10_000)).problems();
    assert!(!endless.is_empty());
    let large = file(vec![b'#'; 300 * 1024]).problem();
    assert!(large.contains("more than 262144 bytes"), "{large}");
}

#[test]
fn a_file_that_somebody_named_must_exist_and_the_default_one_need_not() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("config.toml");
    let load = |file| Config::load(Sources { file, ..Sources::default() });
    assert_eq!(load(FileSource::Default(path.clone())), Ok(Config::default()));
    let error = load(FileSource::Explicit(path.clone())).expect_err("no file");
    assert!(error.to_string().contains("config.toml: this configuration file does not exist"), "{error}");
    let error = load(FileSource::Default(folder.path().to_owned())).expect_err("a folder");
    assert!(error.to_string().contains("cannot be read"), "{error}");
    std::os::unix::fs::symlink(folder.path().join("gone"), &path).expect("a link");
    let error = load(FileSource::Default(path)).expect_err("a link that leads nowhere");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn nothing_from_outside_reaches_the_terminal_raw() {
    let hostile = "EVERGATE_\u{1b}[2J\n";
    let report =
        file("\"\\u001b[2J\" = 1\n[\"a\\nb\"]\n").variable(hostile, "x").flag("\u{7}", "x").problems().join("|");
    assert!(!report.contains(|letter: char| letter.is_control()), "{report:?}");
}

#[test]
fn no_file_makes_it_panic() {
    const PIECES: [&str; 28] = [
        "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "\n", "\r", "\"", "'", "'''", "\"\"\"", "#", "drain", "budget",
        "agent", "command", "argv", "30s", "-1", "0x", "1e9", "\\u", "é", " ",
    ];
    // xorshift: the same texts in every run, without a further dependency.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("below a usize")
    };
    let fixture = file("");
    let FileSource::Explicit(path) = &fixture.sources.file else { unreachable!() };
    for _ in 0..3000 {
        let text: String = (0..next(24)).map(|_| PIECES[next(PIECES.len())]).collect();
        fs::write(path, &text).expect("the file is written");
        match Config::load(fixture.sources.clone()) {
            Ok(config) => assert!(config.show().contains("[drain]")),
            Err(error) => assert!(error.problems.iter().all(|problem| problem.place.contains("config.toml"))),
        }
        let key = &KEYS[next(KEYS.len())];
        let _ = key.form.read_text(&text);
    }
}
