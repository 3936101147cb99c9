//! What a setting may look like, and how one is read from text, from TOML, and written back. It
//! knows forms, not keys: which key has which form stands in the table.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::duration;
use super::problem::excerpt;
use crate::http::Base;

/// A setting's value after all checks.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A time span in whole milliseconds.
    Duration(Duration),
    /// A number of things, at least 1.
    Count(u64),
    /// How often a second something happens; 0 for "without a pause".
    Rate(f64),
    /// One of a fixed set of words.
    Word(&'static str),
    /// An address on this machine.
    Address(SocketAddr),
    /// A program and its arguments, or other strings in an order; empty for "none".
    Argv(Vec<String>),
    /// A text of one line; empty for "none".
    Text(String),
}

/// The rule that a value has to obey.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// A duration such as `30s`, at most 30 days.
    Duration {
        /// Whether 0 means something.
        zero: Zero,
    },
    /// A whole number from 1.
    Count {
        /// The largest number allowed.
        most: u64,
    },
    /// 0, or a number from a thousandth to a million, so that the pause between two is a sane one.
    Rate,
    /// One of these words.
    Word(&'static [&'static str]),
    /// IP address and port of the loopback interface.
    Loopback,
    /// IP address and port of any interface of this machine.
    Listen,
    /// An array of strings; in an environment variable a JSON array.
    Argv,
    /// The same, of variables as `NAME=value`.
    Variables,
    /// An absolute path, or nothing.
    Folder,
    /// The same, of names that are all of one kind.
    Names,
    /// A text of one line.
    Text,
    /// The address of a server, `http://` or `https://`, or nothing.
    Url,
}

/// Whether a duration of zero means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// It does: "do not wait".
    Allowed,
    /// It does not.
    Refused,
}

impl Form {
    /// What a right value is, to follow "write".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Duration { zero } => {
                let least = if *zero == Zero::Refused { "longer than 0s and " } else { "" };
                let most = duration::format(duration::LONGEST);
                format!("a duration with a unit (ms, s, m, h, d), {least}at most {most}")
            }
            Self::Count { most } => format!("a whole number from 1 to {most}"),
            Self::Rate => "0 (at once) or a number from 0.001 to 1000000".to_owned(),
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Loopback => "a loopback IP address with a port".to_owned(),
            Self::Listen => "an IP address with a port".to_owned(),
            Self::Argv => "an array of strings, the program first".to_owned(),
            Self::Variables => "an array of strings of the form NAME=value".to_owned(),
            Self::Folder => "the absolute path of a folder, or an empty string".to_owned(),
            Self::Names => "an array of strings, none of them empty".to_owned(),
            Self::Text => "a text of one line".to_owned(),
            Self::Url => "the address of a server, such as https://example.org, or an empty string".to_owned(),
        }
    }

    /// Reads the text of a flag, an environment variable or a default.
    ///
    /// # Errors
    /// What is wrong with the text, without saying what would be right.
    pub(super) fn read_text(&self, text: &str) -> Result<Value, String> {
        let refuse = |reason: String| format!("{}: {reason}", excerpt(text));
        match self {
            Self::Duration { zero } => duration_value(text, *zero).map_err(refuse),
            Self::Count { most } => match text.trim().parse::<i128>() {
                Ok(number) => count_value(number, *most),
                Err(_) => Err(refuse("this is not a whole number".to_owned())),
            },
            Self::Rate => match text.trim().parse::<f64>() {
                Ok(number) => rate_value(number),
                Err(_) => Err(refuse("this is not a number".to_owned())),
            },
            Self::Word(words) => match words.iter().find(|word| **word == text) {
                Some(word) => Ok(Value::Word(word)),
                None => Err(refuse("this word is unknown here".to_owned())),
            },
            Self::Loopback => loopback_value(text).map_err(refuse),
            Self::Listen => address_value(text).map(Value::Address).map_err(refuse),
            Self::Folder => folder_value(text).map_err(refuse),
            Self::Text => text_value(text).map_err(refuse),
            // An address may hold a password.
            Self::Url => url_value(text),
            Self::Names => match serde_json::from_str::<Vec<String>>(text) {
                Ok(names) => names_value(names),
                Err(_) => Err(refuse("this is not a JSON array of strings".to_owned())),
            },
            Self::Argv | Self::Variables => match serde_json::from_str::<Vec<String>>(text) {
                Ok(strings) => self.strings_value(strings),
                // The text itself is not repeated: arguments may hold secrets.
                Err(_) => Err("this is not a JSON array of strings".to_owned()),
            },
        }
    }

    /// Reads a value of the configuration file.
    ///
    /// # Errors
    /// What is wrong with the value, without saying what would be right.
    pub(super) fn read_toml(&self, value: &DeValue<'_>) -> Result<Value, String> {
        match (self, value) {
            (
                Self::Duration { .. }
                | Self::Word(_)
                | Self::Loopback
                | Self::Listen
                | Self::Text
                | Self::Url
                | Self::Folder,
                DeValue::String(text),
            ) => self.read_text(text),
            (Self::Count { most }, DeValue::Integer(number)) => {
                let number = i128::from_str_radix(number.as_str(), number.radix());
                count_value(number.map_err(|_| "the number is too large".to_owned())?, *most)
            }
            (Self::Rate, DeValue::Integer(number)) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => rate_value(number as f64),
                Err(_) => Err("the number is too large".to_owned()),
            },
            (Self::Rate, DeValue::Float(number)) => match number.as_str().parse::<f64>() {
                Ok(number) => rate_value(number),
                Err(_) => Err("this is not a number".to_owned()),
            },
            (Self::Argv | Self::Names | Self::Variables, DeValue::Array(items)) => {
                let strings = items.iter().enumerate().map(|(index, item)| match item.get_ref() {
                    DeValue::String(text) => Ok(text.to_string()),
                    // Some platforms number their people.
                    DeValue::Integer(number) if *self == Self::Names => Ok(number.to_string()),
                    other => Err(format!("element {} is {}", index + 1, described(other))),
                });
                self.strings_value(strings.collect::<Result<Vec<String>, String>>()?)
            }
            (_, other) => Err(format!("this is {}", described(other))),
        }
    }

    fn strings_value(&self, strings: Vec<String>) -> Result<Value, String> {
        match self {
            Self::Variables => variables_value(strings),
            Self::Names => names_value(strings),
            _ => argv_value(strings),
        }
    }
}

fn duration_value(text: &str, zero: Zero) -> Result<Value, String> {
    match duration::parse(text)? {
        Duration::ZERO if zero == Zero::Refused => Err("zero makes no sense here".to_owned()),
        duration => Ok(Value::Duration(duration)),
    }
}

fn count_value(number: i128, most: u64) -> Result<Value, String> {
    match u64::try_from(number) {
        Ok(0) => Err("0 makes no sense here".to_owned()),
        Ok(count) if count <= most => Ok(Value::Count(count)),
        Ok(_) => Err(format!("{number} is too large")),
        Err(_) if number < 0 => Err(format!("{number} is negative")),
        Err(_) => Err(format!("{number} is too large")),
    }
}

fn rate_value(number: f64) -> Result<Value, String> {
    if number == 0.0 {
        // Also for -0.0, which would be written back with its sign.
        return Ok(Value::Rate(0.0));
    }
    // A rate below a thousandth would mean pauses that no instant can hold.
    if (0.001..=1_000_000.0).contains(&number) {
        Ok(Value::Rate(number))
    } else {
        Err(format!("{number:?} is out of range"))
    }
}

fn address_value(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| {
        let name = text.contains("localhost");
        let hint = if name { " (a name such as localhost is none)" } else { "" };
        format!("this is not an IP address with a port{hint}")
    })
}

fn loopback_value(text: &str) -> Result<Value, String> {
    let address = address_value(text)?;
    if address.ip().is_loopback() {
        Ok(Value::Address(address))
    } else {
        Err("this address can be reached from other machines, and the local platform serves this one only \
             (from elsewhere use an SSH tunnel)"
            .to_owned())
    }
}

fn argv_value(argv: Vec<String>) -> Result<Value, String> {
    if argv.first().is_some_and(|program| program.trim().is_empty()) {
        return Err("the program's name is empty".to_owned());
    }
    without_nul(argv)
}

/// The values are not repeated: they may be secrets.
fn variables_value(variables: Vec<String>) -> Result<Value, String> {
    for (index, variable) in variables.iter().enumerate() {
        match variable.split_once('=') {
            None | Some(("", _)) => return Err(format!("element {} has no name before a =", index + 1)),
            Some((name, _)) if name.starts_with("EVERGATE_") => {
                return Err(format!("element {} is {name}, which the gateway sets itself", index + 1));
            }
            Some(_) => {}
        }
    }
    without_nul(variables)
}

/// The operating system ends a string at its first NUL.
fn without_nul(strings: Vec<String>) -> Result<Value, String> {
    match strings.iter().position(|string| string.contains('\0')) {
        Some(index) => Err(format!("element {} holds a NUL character", index + 1)),
        None => Ok(Value::Argv(strings)),
    }
}

fn folder_value(text: &str) -> Result<Value, String> {
    match Path::new(text) {
        _ if text.contains('\0') => Err("this holds a NUL character".to_owned()),
        path if path.is_absolute() || text.is_empty() => Ok(Value::Text(text.to_owned())),
        _ => Err("this path is not absolute".to_owned()),
    }
}

fn names_value(names: Vec<String>) -> Result<Value, String> {
    match names.iter().position(|name| name.trim().is_empty()) {
        Some(index) => Err(format!("element {} is empty", index + 1)),
        None => Ok(Value::Argv(names)),
    }
}

fn text_value(text: &str) -> Result<Value, String> {
    match text.chars().find(|letter| letter.is_control()) {
        Some(_) => Err("this holds a line break or another control character".to_owned()),
        None => Ok(Value::Text(text.to_owned())),
    }
}

fn url_value(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Text(String::new()));
    }
    match text.parse::<Base>() {
        Ok(_) => Ok(Value::Text(text.to_owned())),
        Err(why) => Err(format!("this {why}")),
    }
}

/// A TOML value in a message: what it is and, if short, which.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", excerpt(text)),
        DeValue::Integer(number) => format!("the integer {}", excerpt(&number.to_string()).trim_matches('"')),
        DeValue::Float(number) => format!("the float {}", excerpt(&number.to_string()).trim_matches('"')),
        DeValue::Boolean(truth) => format!("the boolean {truth}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A string as TOML and JSON both read it, on one line.
pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are a subset of TOML's, but TOML also wants DEL escaped.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

impl Value {
    /// The value as TOML, on one line.
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Count(_) | Self::Rate(_) => self.to_string(),
            Self::Argv(argv) => {
                let items: Vec<String> = argv.iter().map(|argument| quoted(argument)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Duration(_) | Self::Word(_) | Self::Address(_) | Self::Text(_) => quoted(&self.to_string()),
        }
    }

    /// The value as JSON; durations and addresses are strings, as in the file.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Count(count) => (*count).into(),
            Self::Rate(rate) => (*rate).into(),
            Self::Argv(argv) => argv.clone().into(),
            Self::Duration(_) | Self::Word(_) | Self::Address(_) | Self::Text(_) => self.to_string().into(),
        }
    }
}

impl fmt::Display for Value {
    /// The value as an environment variable would hold it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration(duration) => write!(out, "{}", duration::format(*duration)),
            Self::Count(count) => write!(out, "{count}"),
            Self::Rate(rate) => write!(out, "{rate}"),
            Self::Word(word) => write!(out, "{word}"),
            Self::Address(address) => write!(out, "{address}"),
            Self::Text(text) => write!(out, "{text}"),
            Self::Argv(_) => write!(out, "{}", self.toml()),
        }
    }
}

/// A field type of the typed configuration.
pub(super) trait FromValue: Sized {
    /// The field's value; `None` if the table gives the key another form.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for Duration {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Duration(duration) = value { Some(*duration) } else { None }
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Count(count) = value { Self::try_from(*count).ok() } else { None }
    }
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Count(count) = value { Some(*count) } else { None }
    }
}

impl FromValue for usize {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Count(count) = value { Self::try_from(*count).ok() } else { None }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Rate(rate) = value { Some(*rate) } else { None }
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Address(address) = value { Some(*address) } else { None }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Argv(argv) = value { Some(argv.clone()) } else { None }
    }
}
