//! What settings say about one alarm, for all components or for one.

use super::kind::{Kind, SEVERITIES, Severity};
use crate::base::visible::Visible;
use crate::config::names;
use crate::config::settings::{Key, Kind as KeyKind, SettingError, SettingsReader};
use std::net::IpAddr;
use std::time::Duration;

/// When an alarm is raised, and how it counts. What a kind has no setting for is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    pub(crate) enabled: bool,
    pub(crate) severity: Severity,
    /// How long the trouble must last.
    pub(crate) lasts: Duration,
    /// Percent or events from which it is trouble.
    pub(crate) limit: Option<u64>,
    /// Percent or events below which it is over.
    pub(crate) clear: Option<u64>,
    /// Bytes of a disk that have to be free.
    pub(crate) bytes: u64,
    pub(crate) clients: ClientTuning,
}

/// Which clients of a source are expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientTuning {
    /// Those that the configuration names.
    pub(crate) expected: Vec<Who>,
    /// Those that are never expected.
    pub(crate) ignored: Vec<Who>,
    /// Whether those that come are expected from then on; unless it is said, where none are named.
    pub(crate) learn: Option<bool>,
    /// How long one must have been coming.
    pub(crate) learn_after: Duration,
    /// How long one must be silent to be forgotten; zero for never.
    pub(crate) forget_after: Duration,
    /// Whether only messages count, and not that a connection is open.
    pub(crate) by_message: bool,
}

impl ClientTuning {
    pub(crate) fn learns(&self) -> bool {
        self.learn.unwrap_or(self.expected.is_empty())
    }
}

/// A client as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Address(IpAddr),
    /// A name that a client gives itself, and where it counts.
    Agent(String, From),
    Sink(String, String, From),
    /// A name of a certificate that was verified.
    Certificate(String),
}

/// From where a name counts that a client gives itself: anybody can give himself any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum From {
    /// From the address that had it first; from another one only with a certificate for that name.
    First,
    /// From this address only.
    Address(IpAddr),
}

impl From {
    fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::First => true,
            Self::Address(own) => own == address,
        }
    }
}

impl Who {
    /// `10.0.0.1`, `AGENT` or `AGENT/SINK`, both also with `@10.0.0.1` behind, or `cert:NAME`.
    fn named(text: &str) -> Self {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Address(address.to_canonical());
        }
        if let Some(name) = text.strip_prefix("cert:") {
            return Self::Certificate(name.to_owned());
        }
        let bound = text.rsplit_once('@').and_then(|(name, address)| {
            Some((name, From::Address(address.parse::<IpAddr>().ok()?.to_canonical())))
        });
        let (name, from) = bound.unwrap_or((text, From::First));
        match name.split_once('/') {
            Some((agent, sink)) => Self::Sink(agent.to_owned(), sink.to_owned(), from),
            None => Self::Agent(name.to_owned(), from),
        }
    }

    /// Whether a client that is it counts as it, which had it first from the address of `known`.
    pub(crate) fn counts(
        &self,
        client: &crate::metrics::Client,
        known: &crate::metrics::Client,
    ) -> bool {
        match self {
            Self::Agent(agent, From::First) | Self::Sink(agent, _, From::First) => {
                client.address == known.address || client.certificate == *agent
            }
            _ => true,
        }
    }

    pub(crate) fn is(&self, client: &crate::metrics::Client) -> bool {
        match self {
            Self::Address(address) => *address == client.address,
            Self::Agent(agent, from) => *agent == client.agent && from.admits(client.address),
            Self::Sink(agent, sink, from) => {
                *agent == client.agent && *sink == client.sink && from.admits(client.address)
            }
            Self::Certificate(name) => *name == client.certificate,
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Agent(agent, from) => write!(f, "{}{from}", Visible(agent)),
            Self::Sink(agent, sink, from) => {
                write!(f, "{}/{}{from}", Visible(agent), Visible(sink))
            }
            Self::Certificate(name) => write!(f, "cert:{}", Visible(name)),
        }
    }
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::Address(address) => write!(f, "@{address}"),
        }
    }
}

/// One setting of an alarm.
#[derive(Clone, Copy)]
pub(super) struct Param {
    pub(super) key: Key,
    pub(super) apply: Apply,
}

pub(super) const fn param(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    apply: Apply,
) -> Param {
    let kind = match apply {
        Apply::Number(..) => KeyKind::Number,
        Apply::Truth(_) => KeyKind::Boolean,
        Apply::Word(..) => KeyKind::Word,
        Apply::Clients(_) => KeyKind::Names,
    };
    Param { key: Key { name, kind, default, meaning }, apply }
}

/// How a setting is read, and what it changes.
#[derive(Clone, Copy)]
pub(super) enum Apply {
    Number((u64, u64), fn(&mut Tuning, u64)),
    Truth(fn(&mut Tuning, bool)),
    Word(&'static [&'static str], fn(&mut Tuning, &str)),
    Clients(fn(&mut Tuning, Vec<Who>)),
}

/// What every alarm has.
pub(super) const SHARED: &[Param] = &[
    param(
        "enabled",
        "true",
        "Whether there is this alarm.",
        Apply::Truth(|tuning, enabled| tuning.enabled = enabled),
    ),
    param(
        "severity",
        "",
        "critical, major, minor or warning, in the place of its own.",
        Apply::Word(SEVERITIES, |tuning, word| {
            tuning.severity = Severity::named(word).unwrap_or(tuning.severity);
        }),
    ),
];

/// Seconds at most for anything about a client: ten years.
const SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// Of the alarm about clients.
pub(super) const CLIENT: &[Param] = &[
    param(
        "seconds",
        "180",
        "Seconds without a connection or an event after which a client counts as silent.",
        Apply::Number((1, SECONDS_MAX), |tuning, n| tuning.lasts = Duration::from_secs(n)),
    ),
    param(
        "clients",
        "",
        "Clients that are expected: addresses, names of agents, AGENT/SINK, both also with @ADDRESS at the end, or cert:NAME, separated by blanks or commas. A name without an address counts from the address that had it first, or with a certificate for it.",
        Apply::Clients(|tuning, who| tuning.clients.expected = who),
    ),
    param(
        "learn",
        "",
        "Whether clients that come are expected from then on: true, or false where clients names some.",
        Apply::Truth(|tuning, learn| tuning.clients.learn = Some(learn)),
    ),
    param(
        "learnAfter",
        "180",
        "Seconds over which a client must have been coming, with events that were accepted, before it is expected.",
        Apply::Number((0, SECONDS_MAX), |tuning, n| {
            tuning.clients.learn_after = Duration::from_secs(n);
        }),
    ),
    param(
        "forgetAfter",
        "604800",
        "Seconds of silence after which a learned client is forgotten and its alarm cleared; 0 for never.",
        Apply::Number((0, SECONDS_MAX), |tuning, n| {
            tuning.clients.forget_after = Duration::from_secs(n);
        }),
    ),
    param(
        "ignore",
        "",
        "Clients that are never learned, and forgotten if they were; written as for clients.",
        Apply::Clients(|tuning, who| tuning.clients.ignored = who),
    ),
    param(
        "sign",
        "connection",
        "What shows that a client is there: connection, for an open connection that has been used, or message, for a request only.",
        Apply::Word(&["connection", "message"], |tuning, word| {
            tuning.clients.by_message = word == "message";
        }),
    ),
];

impl Param {
    /// Changes `tuning` as the key says, which ends with this setting's name.
    pub(super) fn read(
        &self,
        reader: &mut SettingsReader<'_>,
        key: &str,
        tuning: &mut Tuning,
    ) -> Result<(), SettingError> {
        match self.apply {
            Apply::Number((least, most), set) => {
                reader
                    .number(key, least..=most)?
                    .into_iter()
                    .for_each(|number| set(tuning, number));
            }
            Apply::Truth(set) => {
                if reader.text(key).is_some() {
                    set(tuning, reader.truth(key, false)?);
                }
            }
            Apply::Word(words, set) => {
                reader.word(key, words)?.into_iter().for_each(|word| set(tuning, word));
            }
            Apply::Clients(set) => {
                let list = reader.text_as_written(key).unwrap_or_default().replace(',', " ");
                set(tuning, names::split(&list).into_iter().map(Who::named).collect());
            }
        }
        Ok(())
    }

    /// Its default, which is written as in a file.
    fn begin(&self, tuning: &mut Tuning) {
        match self.apply {
            Apply::Number(_, set) => {
                self.key.default.parse().into_iter().for_each(|number| set(tuning, number));
            }
            Apply::Truth(set) if !self.key.default.is_empty() => {
                set(tuning, self.key.default == "true");
            }
            Apply::Word(_, set) if !self.key.default.is_empty() => set(tuning, self.key.default),
            Apply::Truth(_) | Apply::Word(..) | Apply::Clients(_) => {}
        }
    }
}

impl Tuning {
    /// Of an alarm that no setting speaks of.
    pub(super) fn new(kind: Kind) -> Self {
        let entry = kind.entry();
        let mut tuning = Self {
            enabled: true,
            severity: entry.severity,
            lasts: Duration::ZERO,
            limit: None,
            clear: None,
            bytes: 0,
            clients: ClientTuning::default(),
        };
        SHARED.iter().chain(entry.params).for_each(|param| param.begin(&mut tuning));
        tuning
    }

    /// The percent from which a channel counts as full, and below which that is over.
    pub(super) fn percents(&self) -> (u64, u64) {
        let limit = self.limit.unwrap_or(100);
        (limit, self.clear.unwrap_or(limit.saturating_sub(10)))
    }

    /// The events from which there are too many, and below which that is over.
    pub(super) fn events(&self) -> Option<(u64, u64)> {
        let limit = self.limit?;
        Some((limit, self.clear.unwrap_or(limit - limit / 10)))
    }
}
