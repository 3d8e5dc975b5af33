//! External sources, sinks and interceptors: each is a user's process that speaks the protocol of
//! [`crate::wire::external`]. docs/external.md describes it for their authors.
//!
//! Limits, all of them settings: `lineBytes` for a line, `batchSize` events for a batch, `answerTimeout` for a
//! reply, `stopGrace` for an end. One batch is in progress at a time.
//!
//! [`ExternalOptions`] are read from a component's settings. A [`ProcessSupervisor`] starts the process when it
//! is first needed, performs the greeting and sends requests. When the process breaks the protocol, exits or is
//! late, the supervisor kills the rest of its group and starts it again, with growing pauses. A [`connection`] is
//! one such process. The adapters of sources, sinks and interceptors interpret the replies.
//!
//! Invariants: whatever a process writes or omits ends in a value, and an unconfirmed request counts as not done;
//! no process of its group outlives the component; at most one process runs per component, except killed ones
//! that the kernel does not reap ([`crate::base::limits::PROCESSES_UNENDED_MAX`]).

mod connection;
mod supervisor;

#[cfg(test)]
mod tests;

pub use connection::ProcessFault;
pub use supervisor::{BatchReply, ProcessSupervisor, SourceMessage};

use super::process;
use crate::base::limits::{EXTERNAL_EVENTS_MAX, EXTERNAL_LINE_BYTES_MAX};
use crate::settings::class_settings;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, joined};
use std::collections::BTreeMap;
use std::time::Duration;

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    /// It hands events to the agent.
    Source,
    /// It takes batches of events.
    Sink,
    /// It changes or drops events.
    Interceptor,
}

impl ProcessRole {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Interceptor => "interceptor",
        }
    }

    /// Returns the settings of a component with this role.
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Self::Source => &SOURCE_KEYS,
            Self::Sink => &SINK_KEYS,
            Self::Interceptor => &INTERCEPTOR_KEYS,
        }
    }

    /// Returns true for keys of the agent itself, which are not passed to the process.
    fn keeps(self, key: &str) -> bool {
        let shared = match self {
            Self::Source => {
                key == "channels" || key.starts_with("selector.") || key.starts_with("interceptors")
            }
            Self::Sink => key == "channel" || key.starts_with("deadLetter."),
            Self::Interceptor => false,
        };
        shared || key == "config"
    }
}

const OTHERS: Key = Key {
    name: "*",
    kind: KeyKind::Text,
    default: "",
    meaning: "Every other key is passed to the process in its greeting.",
};

const fn answer_timeout(default: &'static str) -> Key {
    Key {
        name: "answerTimeout",
        kind: KeyKind::Number,
        default,
        meaning: "Milliseconds for a reply; a process that takes longer is killed and started again.",
    }
}

const SOURCE_KEYS: [Key; 10] = joined(&[
    &OWN_KEYS,
    &[
        answer_timeout("30000"),
        Key {
            name: "silenceTimeout",
            kind: KeyKind::Number,
            default: "0",
            meaning: "Milliseconds without a batch after which the process counts as hung; 0 for never.",
        },
        OTHERS,
    ],
]);

const SINK_KEYS: [Key; 9] = joined(&[&OWN_KEYS, &[answer_timeout("30000"), OTHERS]]);

const INTERCEPTOR_KEYS: [Key; 10] = joined(&[
    &OWN_KEYS,
    &[
        answer_timeout("5000"),
        Key {
            name: "answerEvents",
            kind: KeyKind::Number,
            default: "10000",
            meaning: "Events that the reply to one batch may have at most.",
        },
        OTHERS,
    ],
]);

const OWN_KEYS: [Key; 7] = [
    Key {
        name: "command",
        kind: KeyKind::Text,
        default: "",
        meaning: "What to run. Without shell it is split at blanks, with no quoting.",
    },
    Key {
        name: "shell",
        kind: KeyKind::Text,
        default: "",
        meaning: "A shell that gets the command as its last argument, such as /bin/sh -c.",
    },
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Events of one batch at most; no more than the channels' transactionCapacity are used.",
    },
    Key {
        name: "lineBytes",
        kind: KeyKind::Number,
        default: "16777216",
        meaning: "Bytes of one line at most, in either direction.",
    },
    Key {
        name: "stopGrace",
        kind: KeyKind::Number,
        default: "2000",
        meaning: "Milliseconds that a process has to end after the stop request, and again after SIGTERM, before SIGKILL.",
    },
    Key {
        name: "restartPause",
        kind: KeyKind::Number,
        default: "1000",
        meaning: "Milliseconds before a process that failed is started again; twice as long with each failure in a row.",
    },
    Key {
        name: "restartPauseMax",
        kind: KeyKind::Number,
        default: "30000",
        meaning: "Milliseconds of that pause at most.",
    },
];

/// The settings of an external component.
#[derive(Clone, Debug)]
pub struct ExternalOptions {
    role: ProcessRole,
    /// The component's full name, `a1.sources.r1`.
    pub(crate) name: String,
    words: Vec<String>,
    /// The process's own settings.
    settings: BTreeMap<String, String>,
    /// Most events of one batch.
    pub batch_events: usize,
    answer_events: usize,
    line_bytes: usize,
    answer: Duration,
    /// Longest time without a message from a source; `None` for no limit.
    pub silence: Option<Duration>,
    /// Time for an ordered end.
    stop_grace: Duration,
    pause: Duration,
    pause_max: Duration,
}

impl ExternalOptions {
    /// Reads the settings of a component of the type `external`, or of one that a process replaces: then all of
    /// its keys are passed to the process, and the agent's own come from the map.
    pub fn read(reader: &mut SettingsReader<'_>, role: ProcessRole) -> Result<Self, SettingError> {
        let settings = reader.settings();
        let mapped = class_settings::own_settings(settings);
        let is_own = |key: &str| match &mapped {
            Some(_) => class_settings::is_own(key),
            None => role.keys().iter().any(|own| own.name == key),
        };
        let handed_on = settings.entries.iter().filter(|(key, _)| !is_own(key) && !role.keeps(key));
        let handed_on = handed_on.map(|(key, setting)| (key.clone(), setting.value.clone()));
        let (name, handed_on) = (settings.prefix.clone(), handed_on.collect());
        match &mapped {
            Some(own) => {
                let mut own = SettingsReader::new(own);
                let read = Self::of(&mut own, role, name, handed_on);
                reader.absorb(own);
                read
            }
            None => Self::of(reader, role, name, handed_on),
        }
    }

    fn of(
        own: &mut SettingsReader<'_>,
        role: ProcessRole,
        name: String,
        settings: BTreeMap<String, String>,
    ) -> Result<Self, SettingError> {
        const LIMITS: std::ops::RangeInclusive<u64> = 1..=24 * 3600 * 1000;
        let answer = match role {
            ProcessRole::Interceptor => 5000,
            ProcessRole::Source | ProcessRole::Sink => 30_000,
        };
        let millis = Duration::from_millis;
        let silence = match role {
            ProcessRole::Source => own.millis("silenceTimeout", 0..=*LIMITS.end())?,
            ProcessRole::Sink | ProcessRole::Interceptor => None,
        };
        let answer_events = match role {
            ProcessRole::Interceptor => own.number("answerEvents", 1..=EXTERNAL_EVENTS_MAX)?,
            ProcessRole::Source | ProcessRole::Sink => None,
        };
        let pause = own.millis("restartPause", LIMITS)?.unwrap_or(millis(1000));
        Ok(Self {
            words: process::words(own)?,
            batch_events: own.number("batchSize", 1..=EXTERNAL_EVENTS_MAX)?.unwrap_or(100),
            answer_events: answer_events.unwrap_or(10_000),
            line_bytes: own
                .number("lineBytes", 1024..=EXTERNAL_LINE_BYTES_MAX)?
                .unwrap_or(16 << 20),
            answer: own.millis("answerTimeout", LIMITS)?.unwrap_or(millis(answer)),
            silence: silence.filter(|silence| !silence.is_zero()),
            stop_grace: own.millis("stopGrace", 0..=60_000)?.unwrap_or(millis(2000)),
            pause,
            pause_max: own.millis("restartPauseMax", LIMITS)?.unwrap_or(millis(30_000)).max(pause),
            role,
            name,
            settings,
        })
    }
}
