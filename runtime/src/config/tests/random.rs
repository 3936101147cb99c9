//! Configurations at random: what is valid is read as it was written, wherever it stands; what is not is reported.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

/// Any value that a key may have.
fn value(form: Form) -> BoxedStrategy<Value> {
    let duration = |least: u64| {
        let longest = u64::try_from(duration::LONGEST.as_millis()).expect("30 days");
        prop_oneof![least..20_000, least..=longest].prop_map(|millis| Value::Duration(Duration::from_millis(millis)))
    };
    match form {
        Form::Duration { zero: Zero::Allowed } => duration(0).boxed(),
        Form::Duration { zero: Zero::Refused } => duration(1).boxed(),
        Form::Count { most } => (1..=most).prop_map(Value::Count).boxed(),
        Form::Rate => prop_oneof![Just(0.0), 0.001..=1_000_000.0].prop_map(Value::Rate).boxed(),
        Form::Word(words) => select(words).prop_map(Value::Word).boxed(),
        Form::Loopback | Form::Listen => {
            let fourth = any::<[u8; 3]>().prop_map(|[b, c, d]| std::net::Ipv4Addr::new(127, b, c, d).into());
            let host = prop_oneof![fourth, Just(std::net::Ipv6Addr::LOCALHOST.into())];
            (host, any::<u16>()).prop_map(|address: (std::net::IpAddr, u16)| Value::Address(address.into())).boxed()
        }
        Form::Text => prop_oneof!["[ -~äß]{0,20}", Just(String::new())].prop_map(Value::Text).boxed(),
        Form::Url => select(&["", "http://127.0.0.1:8008", "https://example.org/below", "https://[::1]:1"][..])
            .prop_map(|url| Value::Text(url.into()))
            .boxed(),
        Form::Names => proptest::collection::vec("[@a-z:.0-9]{1,12}", 0..3).prop_map(Value::Argv).boxed(),
        Form::Argv => {
            let argument = prop_oneof![any::<String>(), "[ -~]*"].prop_map(|text| text.replace('\0', ""));
            let arguments = proptest::collection::vec(argument, 0..4);
            (r#"[a-z/ "'\\]{0,8}[a-z]"#, arguments)
                .prop_map(|(program, rest)| Value::Argv([vec![program], rest].concat()))
                .boxed()
        }
        Form::Variables => {
            let variable = ("[A-D_]{1,6}", "[ -~é]{0,8}").prop_map(|(name, value)| format!("{name}={value}"));
            proptest::collection::vec(variable, 0..3).prop_map(Value::Argv).boxed()
        }
        Form::Folder => "(/[a-zé \"'\\\\]{1,4}){0,3}".prop_map(Value::Text).boxed(),
    }
}

/// Where a setting is made.
#[derive(Clone, Copy, Debug)]
enum Place {
    Nowhere,
    File,
    Variable,
    Flag,
}

/// A value for every key, and where it stands.
fn settings() -> impl Strategy<Value = Vec<(Value, Place)>> {
    let place = || select(&[Place::Nowhere, Place::File, Place::File, Place::Variable, Place::Flag][..]);
    // A program is always named, so that every kind of agent is possible.
    KEYS.iter()
        .map(|key| {
            let named = ["agent.command.argv", "agent.acp.argv"].contains(&key.name);
            let place = if named { Just(Place::File).boxed() } else { place().boxed() };
            let named = ["agent.openai.base_url", "agent.openai.model"].contains(&key.name);
            let (place, value) = if named {
                let named = value(key.form).prop_filter("named", |value| *value != Value::Text(String::new()));
                (Just(Place::File).boxed(), named.boxed())
            } else {
                (place, value(key.form))
            };
            (value, place)
        })
        .collect::<Vec<_>>()
}

fn written(settings: &[(Value, Place)]) -> Fixture {
    let mut text = String::new();
    for (key, (value, place)) in KEYS.iter().zip(settings) {
        if matches!(place, Place::File) {
            text.push_str(&format!("{}.{}\n", key.section, key.toml_line(value)));
        }
    }
    let mut fixture = file(&text);
    for (key, (value, place)) in KEYS.iter().zip(settings) {
        fixture = match place {
            Place::Nowhere | Place::File => fixture,
            Place::Variable => fixture.variable(&key.environment(), &value.to_string()),
            Place::Flag => fixture.flag(key.name, &value.to_string()),
        };
    }
    fixture
}

fn values(config: &Config) -> Vec<Value> {
    KEYS.iter().map(|key| config.settings.get(key.name).value.clone()).collect()
}

/// Loads it; a report has to say something, on lines that a terminal shows as they are.
fn loads_or_says_why(sources: Sources) -> Result<(), TestCaseError> {
    if let Err(error) = Config::load(sources) {
        prop_assert!(!error.problems.is_empty());
        for problem in &error.problems {
            prop_assert!(!problem.to_string().chars().any(char::is_control), "{problem:?}");
            prop_assert!(!problem.place.is_empty() && !problem.message.is_empty(), "{problem:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_valid_is_read_as_it_was_written_and_shown_as_it_was_read(settings in settings()) {
        let config = written(&settings).load();
        let wanted: Vec<Value> = KEYS.iter().zip(&settings).map(|(key, (value, place))| match place {
            Place::Nowhere => key.default_value(),
            _ => value.clone(),
        }).collect();
        prop_assert_eq!(values(&config), wanted.clone());
        let again = file(config.show()).load();
        prop_assert_eq!(values(&again), wanted);
        prop_assert_eq!((&again.drain, &again.recovery, &again.limits), (&config.drain, &config.recovery, &config.limits));
        prop_assert_eq!((&again.agent, &again.local, &again.log), (&config.agent, &config.local, &config.log));
        prop_assert_eq!((&again.delivery, &again.questions), (&config.delivery, &config.questions));
    }

    #[test]
    fn a_valid_file_with_some_characters_changed_is_read_or_reported(
        settings in settings(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..4),
    ) {
        let mut text: Vec<char> = written(&settings).load().show().chars().collect();
        for (at, letter) in changes {
            let at = at.index(text.len());
            text[at] = letter;
        }
        loads_or_says_why(file(String::from_iter(text)).sources)?;
    }

    #[test]
    fn any_bytes_are_read_or_reported(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        loads_or_says_why(file(&bytes).sources)?;
    }

    #[test]
    fn any_text_in_a_variable_or_a_flag_is_read_or_reported(
        key in 0..KEYS.len(), text in prop_oneof![any::<String>(), "[-+0-9a-z.: \\[\\]\"]{0,40}"], other in "[A-Z_.a-z]{0,20}",
    ) {
        let key = &KEYS[key];
        let fixture = file("").variable(&key.environment(), &text).variable(&format!("EVERGATE_{other}"), &text);
        loads_or_says_why(fixture.flag(key.name, &text).flag(&other, &text).sources)?;
    }
}
