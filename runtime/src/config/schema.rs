//! The one table of keys: name, type, default, rule and meaning of each setting, once. The typed
//! sections, the environment names, `config show` and the suggestions for misspelt names all come
//! from it. It reads nothing itself.

use std::net::SocketAddr;
use std::time::Duration;

use super::Settings;
use super::value::{Form, FromValue, Value, Zero, quoted};

/// One setting that an operator can make.
#[derive(Debug, PartialEq)]
pub struct Key {
    /// The full name, such as `drain.budget`.
    pub name: &'static str,
    /// The TOML table it stands in, such as `agent.demo`.
    pub section: &'static str,
    /// Its name within the section.
    pub field: &'static str,
    /// The default, written as in an environment variable.
    pub default: &'static str,
    /// What a value must look like.
    pub form: Form,
    doc: &'static str,
}

/// When a change of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// As soon as the configuration is read again (`evergate reload`, SIGHUP).
    OnReload,
    /// With the next generation: doors are opened, the log is set up and the watchdog is set once.
    AtRestart,
}

/// The settings that a running gateway cannot change. All others take effect on a reload.
const AT_RESTART: [&str; 9] = [
    "local.listen",
    "watchdog.freeze",
    "watchdog.disk",
    "watchdog.start",
    "watchdog.platform",
    "debug.hooks",
    "debug.start_fails",
    "debug.start_fault",
    "log.format",
];

/// The sections of which none can be changed while a gateway runs: a platform is entered once, with its limits.
const SECTIONS_AT_RESTART: [&str; 3] = ["files", "telegram", "matrix"];

impl Key {
    /// When a change of it takes effect.
    #[must_use]
    pub fn takes(&self) -> Takes {
        if AT_RESTART.contains(&self.name) || SECTIONS_AT_RESTART.contains(&self.section) {
            Takes::AtRestart
        } else {
            Takes::OnReload
        }
    }

    /// The sentence that says what the setting does.
    pub fn about(&self) -> &'static str {
        self.doc.trim()
    }

    /// The environment variable that sets it, such as `EVERGATE_DRAIN_BUDGET`.
    pub fn environment(&self) -> String {
        format!("EVERGATE_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The value it has when nobody says anything.
    pub fn default_value(&self) -> Value {
        self.form.read_text(self.default).expect("a test reads the default of every key")
    }

    /// The value as a line of the configuration file, without its section.
    pub(super) fn toml_line(&self, value: &Value) -> String {
        format!("{} = {}", self.field, value.toml())
    }

    /// A line of the configuration file that would be right.
    pub(super) fn toml_example(&self) -> String {
        self.toml_line(&self.example_value())
    }

    /// A setting of the environment that would be right.
    pub(super) fn environment_example(&self) -> String {
        match self.example_value() {
            Value::Argv(argv) => format!("{}='{}'", self.environment(), Value::Argv(argv).toml()),
            value => format!("{}={value}", self.environment()),
        }
    }

    /// The flag as far as a message needs it: `--listen` for `local.listen`.
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.field.replace('_', "-"))
    }

    /// A flag that would be right.
    pub(super) fn flag_example(&self) -> String {
        format!("{} {}", self.flag(), self.example_value())
    }

    fn example_value(&self) -> Value {
        match self.default_value() {
            Value::Argv(_) if self.form == Form::Variables => Value::Argv(vec!["NAME=value".into()]),
            Value::Argv(_) => Value::Argv(vec!["my-agent".into(), "--stdio".into()]),
            Value::Text(_) if self.form == Form::Folder => Value::Text("/srv/agent".into()),
            value => value,
        }
    }
}

/// The key with this section and this name in it.
pub(super) fn key_in(section: &str, field: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.field == field)
}

/// All sections, in the order of the table, with a key of each for an example. `agent` holds
/// sections as well as a key.
pub(super) fn sections() -> Vec<(&'static str, &'static Key)> {
    let mut sections: Vec<(&str, &Key)> = KEYS.iter().map(|key| (key.section, key)).collect();
    sections.dedup_by_key(|(section, _)| *section);
    sections
}

/// One step of a TOML path as it is written: quoted only if it must be.
pub(super) fn step(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// Writes the table once, as data ([`KEYS`]) and as one typed struct a section. The doc comment of
/// a field is the sentence that `config show` prints.
macro_rules! sections {
    ($( $(#[doc = $section_doc:literal])+ $visibility:vis $section:ident $path:literal {
        $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:literal, $form:expr; )+
    } )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            $visibility struct $section {
                $( $(#[doc = $doc])+ pub $field: $type, )+
            }

            impl $section {
                pub(super) fn from_settings(settings: &Settings) -> Self {
                    Self {
                        $( $field: <$type>::from_value(
                            &settings.get(concat!($path, ".", stringify!($field))).value
                        ).expect("a test reads every key into its field"), )+
                    }
                }
            }
        )+

        /// Every setting there is, section by section.
        pub static KEYS: &[Key] = &[
            $( $( Key {
                name: concat!($path, ".", stringify!($field)),
                section: $path,
                field: stringify!($field),
                default: $default,
                form: $form,
                doc: concat!($($doc),+),
            }, )+ )+
        ];
    };
}

/// Writes an enum whose values are words of the configuration.
macro_rules! words {
    ($( $(#[doc = $doc:literal])+ $name:ident {
        $( $(#[doc = $word_doc:literal])+ $variant:ident = $word:literal, )+
    } )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $word_doc])+ $variant, )+
        }

        impl $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl FromValue for $name {
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    $( Value::Word($word) => Some(Self::$variant), )+
                    _ => None,
                }
            }
        }
    )+ };
}

words! {
    /// Which agent answers.
    AgentKind {
        /// The built-in agent.
        Demo = "demo",
        /// A program of the operator's.
        Command = "command",
        /// A program that speaks the Agent Client Protocol.
        Acp = "acp",
        /// A model behind an OpenAI-compatible endpoint.
        OpenAi = "openai",
    }

    /// What an agent is answered that asks before it does something.
    Permission {
        /// No.
        Deny = "deny",
        /// Yes.
        Allow = "allow",
        /// What somebody in its chat says.
        Ask = "ask",
    }

    /// What an agent may do with files through the gateway.
    FileAccess {
        /// Nothing.
        Off = "off",
        /// Read them.
        Read = "read",
        /// Read and write them.
        Write = "write",
    }

    /// Whether an agent may run commands through the gateway.
    Terminals {
        /// No.
        Off = "off",
        /// Yes.
        On = "on",
    }

    /// Who in a chat may answer an agent's questions.
    AnsweredBy {
        /// Whoever may talk to the agent.
        Everybody = "everybody",
        /// Operators.
        Operators = "operators",
    }

    /// What is done about a text that a platform may or may not have, and cannot be asked.
    Uncertain {
        /// It is sent again, marked as perhaps not the first.
        Report = "report",
        /// It is not sent again, and the chat is told that an answer may be missing.
        Drop = "drop",
    }

    /// What a message does that arrives during a turn.
    Busy {
        /// It waits for a turn of its own.
        Queue = "queue",
        /// It ends the running turn, and the next one begins with it.
        Interrupt = "interrupt",
        /// It shares the next turn with all others that arrive meanwhile.
        Collect = "collect",
    }

    /// The least important message that is still logged.
    LogLevel {
        /// Nothing at all.
        Off = "off",
        /// What failed.
        Error = "error",
        /// What may fail soon.
        Warn = "warn",
        /// What an operator wants to read the next morning.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }

    /// Whether parts of the gateway can be made to stand still on request.
    Hooks {
        /// No.
        Off = "off",
        /// Yes, through the control socket: for trying out what happens then.
        On = "on",
    }

    /// How far a start has come.
    StartStage {
        /// Nowhere.
        Off = "off",
        /// The state directory is there, and not claimed yet.
        BeforeLock = "before-lock",
        /// It is claimed.
        AfterLock = "after-lock",
        /// The network door is open.
        AfterBinding = "after-binding",
        /// The journal is open.
        AfterJournal = "after-journal",
        /// All is there but the word that it serves.
        BeforeReady = "before-ready",
    }

    /// How a start goes wrong.
    StartFault {
        /// The process dies, as by kill -9.
        Die = "die",
        /// It goes no further.
        Hang = "hang",
        /// It breaks, as by a mistake in the program.
        Break = "break",
    }

    /// What a log line looks like.
    LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// Text for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// One gibibyte: a reply is held in memory before it is stored.
const LARGEST_REPLY: u64 = 1 << 30;

sections! {
    /// `[drain]`: how long the gateway waits for work when it goes down.
    pub Drain "drain" {
        /// How long work may go on after a restart or a stop was accepted; 0s interrupts it at once.
        budget: Duration = "30s", Form::Duration { zero: Zero::Allowed };
        /// How long the turn that asked for the restart may go on, so that it can say goodbye.
        requester_grace: Duration = "2s", Form::Duration { zero: Zero::Allowed };
        /// How long an agent that was told to end may take before it is killed.
        interrupt_grace: Duration = "5s", Form::Duration { zero: Zero::Allowed };
        /// How long closing platforms and handing over replies may take at the end.
        close_grace: Duration = "5s", Form::Duration { zero: Zero::Refused };
        /// A turn without any progress for this long is not waited for.
        stall_after: Duration = "5m", Form::Duration { zero: Zero::Refused };
    }

    /// `[recovery]`: what a cut turn is worth.
    pub Recovery "recovery" {
        /// How often a turn may be cut by a crash before its session is set aside.
        attempts: u32 = "5", Form::Count { most: 1000 };
    }

    /// `[delivery]`: what is owed to chats.
    pub Delivery "delivery" {
        /// A text that may have arrived, on a platform that cannot tell a repeat: "report" sends it again and says so, "drop" does not.
        uncertain: Uncertain = "report", Form::Word(Uncertain::WORDS);
    }

    /// `[questions]`: what agents ask their chats.
    pub Questions "questions" {
        /// How long a question waits for an answer while the agent does; after that the agent is told no.
        expire: Duration = "10m", Form::Duration { zero: Zero::Refused };
        /// Who in a chat may answer: "everybody" who may talk to the agent there, or "operators".
        answered_by: AnsweredBy = "everybody", Form::Word(AnsweredBy::WORDS);
    }

    /// `[sessions]`: conversations.
    pub Sessions "sessions" {
        /// What a message does that arrives during a turn, unless its chat has said otherwise with /busy: "queue" has it wait for a turn of its own, "interrupt" end the running one, "collect" share the next one with all others.
        busy: Busy = "queue", Form::Word(Busy::WORDS);
    }

    /// `[limits]`: where the gateway says "busy" instead of growing.
    pub Limits "limits" {
        /// How many sessions may have something unanswered; a new one beyond that is refused as busy.
        sessions: usize = "100000", Form::Count { most: 100_000_000 };
        /// How many messages may wait in all sessions together.
        queued: usize = "10000", Form::Count { most: 100_000_000 };
        /// How many messages may wait in one session.
        queued_per_session: usize = "100", Form::Count { most: 100_000_000 };
        /// How many turns may run at the same time; further ones wait.
        turns: usize = "256", Form::Count { most: 1_000_000 };
    }

    /// `[agent]`: which agent answers.
    pub(super) AgentChoice "agent" {
        /// What answers: the built-in "demo"; "command", a program of yours; "acp", one that speaks the Agent Client Protocol; or "openai", a model.
        kind: AgentKind = "demo", Form::Word(AgentKind::WORDS);
    }

    /// `[agent.demo]`: the built-in agent.
    pub DemoAgent "agent.demo" {
        /// How many words a second the demo agent writes; 0 writes the whole answer at once.
        words_per_second: f64 = "8", Form::Rate;
    }

    /// `[agent.command]`: one child process a turn.
    pub CommandAgent "agent.command" {
        /// The program and its arguments; the prompt is its standard input, the reply its output.
        argv: Vec<String> = "[]", Form::Argv;
        /// The longest reply in bytes; a program that writes more fails its turn.
        max_reply_bytes: usize = "1048576", Form::Count { most: LARGEST_REPLY };
        /// A program that writes nothing for this long fails its turn.
        silence: Duration = "15m", Form::Duration { zero: Zero::Refused };
    }

    /// `[agent.acp]`: one process for all turns, spoken to in the Agent Client Protocol.
    pub AcpAgent "agent.acp" {
        /// The program and its arguments; it speaks the protocol's version 1 on its standard input and output.
        argv: Vec<String> = "[]", Form::Argv;
        /// The folder that the agent works in; "" is the home of the gateway's user.
        cwd: String = "", Form::Folder;
        /// Variables of its environment, as "NAME=value", beside the gateway's own, which it inherits.
        env: Vec<String> = "[]", Form::Variables;
        /// How long it may take to introduce itself after its start, and to open a conversation.
        start: Duration = "1m", Form::Duration { zero: Zero::Refused };
        /// A turn in which it says and does nothing for this long has failed.
        silence: Duration = "15m", Form::Duration { zero: Zero::Refused };
        /// The longest reply in bytes; an agent that says more fails its turn.
        max_reply_bytes: usize = "1048576", Form::Count { most: LARGEST_REPLY };
        /// What it is answered when it asks before it does something: "deny", "allow", or "ask", which puts it to its chat.
        permission: Permission = "deny", Form::Word(Permission::WORDS);
        /// What it may do through the gateway with text files below the folder that it works in: "off" is nothing, "read" read them, "write" read and write them.
        files: FileAccess = "off", Form::Word(FileAccess::WORDS);
        /// Whether it may run commands through the gateway, beginning in the folder that it works in: "off" or "on".
        terminals: Terminals = "off", Form::Word(Terminals::WORDS);
    }

    /// `[agent.openai]`: a model behind an OpenAI-compatible endpoint for chat completions.
    pub OpenAiAgent "agent.openai" {
        /// The endpoint, such as "https://api.openai.com/v1"; "/chat/completions" is put behind it.
        base_url: String = "", Form::Url;
        /// The model's name, as the endpoint calls it.
        model: String = "", Form::Text;
        /// The file with the key; read anew for each turn. An endpoint of your own may want none.
        key_file: String = "", Form::Text;
        /// The environment variable that holds the key, instead of a file.
        key_env: String = "", Form::Text;
        /// What the model is told before everything else.
        system: String = "", Form::Text;
        /// A file with that, instead, where it has more than a line.
        system_file: String = "", Form::Text;
        /// The most tokens of one answer.
        max_tokens: u64 = "4096", Form::Count { most: 10_000_000 };
        /// The tokens that a question may have together with the conversation before it, three bytes counted as one; what is older is left out.
        context_tokens: u64 = "32000", Form::Count { most: 100_000_000 };
        /// How long connecting may take.
        connect: Duration = "10s", Form::Duration { zero: Zero::Refused };
        /// How long the first words of an answer may take.
        first_token: Duration = "2m", Form::Duration { zero: Zero::Refused };
        /// How long an answer may stand still.
        silence: Duration = "1m", Form::Duration { zero: Zero::Refused };
        /// How long a turn may take, with all its repetitions.
        turn: Duration = "10m", Form::Duration { zero: Zero::Refused };
        /// How often a request that failed is repeated in a turn.
        retries: u32 = "5", Form::Count { most: 1000 };
        /// The longest reply in bytes; a model that says more fails its turn.
        max_reply_bytes: usize = "1048576", Form::Count { most: LARGEST_REPLY };
    }

    /// `[files]`: files that come with messages and go with answers.
    pub Files "files" {
        /// The largest file in bytes that is taken from a chat or from an agent. Platforms have limits of their own.
        limit: u64 = "20971520", Form::Count { most: 1 << 30 };
        /// How long files are kept in the state directory; what is unanswered or not sent yet keeps its files.
        age: Duration = "7d", Form::Duration { zero: Zero::Refused };
    }

    /// `[local]`: the local platform.
    pub Local "local" {
        /// Where the chat page and the API listen; loopback only; port 0 takes any free port.
        listen: SocketAddr = "127.0.0.1:8787", Form::Loopback;
    }

    /// `[telegram]`: chats of a bot on Telegram.
    pub Telegram "telegram" {
        /// The file with the bot's token, as @BotFather gave it; "" leaves Telegram out, unless telegram.token_env is set.
        token_file: String = "", Form::Text;
        /// The environment variable that holds the token, instead of a file.
        token_env: String = "", Form::Text;
        /// Where the Bot API server is.
        api_base: String = "https://api.telegram.org", Form::Url;
        /// Who may talk to the agent, by numeric user id; nobody else is heard.
        allowed_users: Vec<String> = "[]", Form::Names;
        /// Who may also restart the gateway, by numeric user id.
        operators: Vec<String> = "[]", Form::Names;
        /// What anybody else is told, once in the life of the process; "" for nothing.
        stranger_reply: String = "", Form::Text;
        /// How long one poll for messages waits at the server, in whole seconds from 1s to 50s.
        poll: Duration = "25s", Form::Duration { zero: Zero::Refused };
        /// The public address, "https://…", to which the server is to bring messages instead of being polled for them; "" polls.
        webhook: String = "", Form::Url;
        /// Where the gateway listens for them, behind whatever answers at that address.
        webhook_listen: SocketAddr = "127.0.0.1:8788", Form::Listen;
    }

    /// `[matrix]`: chats on a Matrix homeserver.
    pub Matrix "matrix" {
        /// The homeserver, such as "https://matrix.example.org"; "" leaves Matrix out.
        homeserver: String = "", Form::Url;
        /// The user that the gateway signs in as: its full id or the part before the colon. Not needed with an access token.
        user: String = "", Form::Text;
        /// The file with that user's password.
        password_file: String = "", Form::Text;
        /// The file with an access token, instead of a password.
        token_file: String = "", Form::Text;
        /// Who may talk to the agent, by full user id; nobody else is heard, and nobody else's invitation is followed.
        allowed_users: Vec<String> = "[]", Form::Names;
        /// Who may also restart the gateway, by full user id.
        operators: Vec<String> = "[]", Form::Names;
    }

    /// `[watchdog]`: when a part that gets nowhere is taken for stuck.
    pub Watchdog "watchdog" {
        /// A part that has something to do and gets nowhere for this long is stuck; the gateway is then ended and started again.
        freeze: Duration = "20s", Form::Duration { zero: Zero::Refused };
        /// A loop that gets nowhere and waits for a disk is slow, not stuck; it is ended and started again after this long.
        disk: Duration = "10m", Form::Duration { zero: Zero::Refused };
        /// A gateway that is not ready this long after its start is ended and started again.
        start: Duration = "5m", Form::Duration { zero: Zero::Refused };
        /// A platform's adapter that gets nowhere for this long, beyond the time that it said it waits, is started again, it alone.
        platform: Duration = "3m", Form::Duration { zero: Zero::Refused };
    }

    /// `[debug]`: for trying out what happens when something goes wrong.
    pub Debug "debug" {
        /// "on" lets `POST /v1/debug/freeze` make a part of the gateway stand still, through the control socket only.
        hooks: Hooks = "off", Form::Word(Hooks::WORDS);
        /// With hooks "on": the stage of a start at which it goes wrong.
        start_fails: StartStage = "off", Form::Word(StartStage::WORDS);
        /// How it goes wrong there: "die", as by kill -9, "hang", or "break", as by a mistake in the program.
        start_fault: StartFault = "die", Form::Word(StartFault::WORDS);
    }

    /// `[log]`: what is logged, and how it looks.
    pub Log "log" {
        /// The least important message that is still logged.
        level: LogLevel = "info", Form::Word(LogLevel::WORDS);
        /// What a line looks like: "text", "json", or "auto" (text on a terminal, JSON otherwise).
        format: LogFormat = "auto", Form::Word(LogFormat::WORDS);
    }
}
