//! Sources, sinks and interceptors of a user's own, each a process that speaks the protocol of
//! [`crate::wire::external`]. docs/external.md is the page for those who write one.
//!
//! Limits, all of them settings: `lineBytes` a line, `batchSize` events a batch, `answerTimeout` for an
//! answer, `stopGrace` for an end. One batch is on its way at a time.
//!
//! The story: [`Options`] are read from a component's settings. A [`Companion`] starts the process when
//! it is first needed, greets it, asks it, and when it breaks the protocol, ends or is late, kills what
//! is left of its group and starts it again, with pauses that grow. [`speaker`] is one such process. The
//! adapters beside the other sources, sinks and interceptors say what its answers mean.
//!
//! What always holds: whatever a process writes or leaves unwritten ends in a value, and what it was
//! asked then counts as not done; no process of its group outlives the component; no more than one
//! process runs for one component, beside those that were killed and of which the kernel does not let go
//! ([`crate::base::limits::PROCESSES_UNENDED_MAX`]).

mod companion;
mod speaker;

#[cfg(test)]
mod tests;

pub(crate) use companion::{Answer, Companion, Given};
pub(crate) use speaker::Fault;

use super::process;
use crate::base::limits::{EXTERNAL_EVENTS_MAX, EXTERNAL_LINE_BYTES_MAX};
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, joined};
use crate::config::stand_ins;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a process is to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Sink,
    Interceptor,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Interceptor => "interceptor",
        }
    }

    /// Its keys.
    pub(crate) const fn keys(self) -> &'static [Key] {
        match self {
            Self::Source => &SOURCE_KEYS,
            Self::Sink => &SINK_KEYS,
            Self::Interceptor => &INTERCEPTOR_KEYS,
        }
    }

    /// Keys of the configuration that are the agent's own and not handed on.
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
    kind: Kind::Text,
    default: "",
    meaning: "Every other key is handed to the process with its greeting.",
};

const fn answer_timeout(default: &'static str) -> Key {
    Key {
        name: "answerTimeout",
        kind: Kind::Number,
        default,
        meaning: "Milliseconds for an answer; a process that is later is killed and started again.",
    }
}

const SOURCE_KEYS: [Key; 10] = joined(&[
    &OWN_KEYS,
    &[
        answer_timeout("30000"),
        Key {
            name: "silenceTimeout",
            kind: Kind::Number,
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
            kind: Kind::Number,
            default: "10000",
            meaning: "Events that the answer to one batch may have at most.",
        },
        OTHERS,
    ],
]);

const OWN_KEYS: [Key; 7] = [
    Key {
        name: "command",
        kind: Kind::Text,
        default: "",
        meaning: "What to run. Without shell it is split at blanks, with no quoting.",
    },
    Key {
        name: "shell",
        kind: Kind::Text,
        default: "",
        meaning: "A shell that gets the command as its last argument, such as /bin/sh -c.",
    },
    Key {
        name: "batchSize",
        kind: Kind::Number,
        default: "100",
        meaning: "Events of one batch at most; no more than the channels' transactionCapacity are used.",
    },
    Key {
        name: "lineBytes",
        kind: Kind::Number,
        default: "16777216",
        meaning: "Bytes of one line at most, in either direction.",
    },
    Key {
        name: "stopGrace",
        kind: Kind::Number,
        default: "2000",
        meaning: "Milliseconds that a process has to end when it is told to, and again at SIGTERM, before SIGKILL.",
    },
    Key {
        name: "restartPause",
        kind: Kind::Number,
        default: "1000",
        meaning: "Milliseconds before a process that failed is started again; twice as long with each failure in a row.",
    },
    Key {
        name: "restartPauseMax",
        kind: Kind::Number,
        default: "30000",
        meaning: "Milliseconds of that pause at most.",
    },
];

/// What a component is configured with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    role: Role,
    /// The component's whole name, `a1.sources.r1`.
    pub(crate) name: String,
    words: Vec<String>,
    /// The process's own keys.
    settings: BTreeMap<String, String>,
    /// Events of one batch at most.
    pub(crate) batch_events: usize,
    answer_events: usize,
    line_bytes: usize,
    answer: Duration,
    /// How long a source may say nothing.
    pub(crate) silence: Option<Duration>,
    /// How long an end may take.
    stop_grace: Duration,
    pause: Duration,
    pause_max: Duration,
}

impl Options {
    /// Reads the settings of a component of the type `external`, or of one in whose place a process
    /// stands: then all of its keys are the process's, and the agent's own come from the map.
    pub(crate) fn read(reader: &mut SettingsReader<'_>, role: Role) -> Result<Self, SettingError> {
        let settings = reader.settings();
        let mapped = stand_ins::own_settings(settings);
        let is_own = |key: &str| match &mapped {
            Some(_) => stand_ins::is_own(key),
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
        role: Role,
        name: String,
        settings: BTreeMap<String, String>,
    ) -> Result<Self, SettingError> {
        const LIMITS: std::ops::RangeInclusive<u64> = 1..=24 * 3600 * 1000;
        let answer = match role {
            Role::Interceptor => 5000,
            Role::Source | Role::Sink => 30_000,
        };
        let millis = Duration::from_millis;
        let silence = match role {
            Role::Source => own.millis("silenceTimeout", 0..=*LIMITS.end())?,
            Role::Sink | Role::Interceptor => None,
        };
        let answer_events = match role {
            Role::Interceptor => own.number("answerEvents", 1..=EXTERNAL_EVENTS_MAX)?,
            Role::Source | Role::Sink => None,
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
