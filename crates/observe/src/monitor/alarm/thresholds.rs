//! The settings of one alarm, for all components or for one.

use super::severity::{AlarmSeverity, SEVERITIES};
use millpond_flow::base::escape::Escaped;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, flume_names};
use std::net::IpAddr;
use std::time::Duration;

/// When an alarm is raised, and its severity. A limit without a setting is not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) enabled: bool,
    pub(crate) severity: AlarmSeverity,
    /// How long the problem must last.
    pub(crate) lasts: Duration,
    /// Percent or events from which it is a problem.
    pub(crate) limit: Option<u64>,
    /// Percent or events below which it is over.
    pub(crate) clear: Option<u64>,
    /// Bytes of a disk that must be free.
    pub(crate) bytes: u64,
    pub(crate) clients: ClientThresholds,
}

/// The expected clients of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientThresholds {
    /// Clients that the configuration names.
    pub(crate) expected: Vec<ClientPattern>,
    /// Clients that are never expected.
    pub(crate) ignored: Vec<ClientPattern>,
    /// Whether clients that come are expected from then on; by default, only if none are named.
    pub(crate) learn: Option<bool>,
    /// How long a client must have been coming.
    pub(crate) learn_after: Duration,
    /// How long a client must be silent to be forgotten; zero for never.
    pub(crate) forget_after: Duration,
    /// Whether only messages count, and not open connections.
    pub(crate) by_message: bool,
}

impl ClientThresholds {
    pub(crate) fn learns(&self) -> bool {
        self.learn.unwrap_or(self.expected.is_empty())
    }
}

/// A client as a configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClientPattern {
    Address(IpAddr),
    /// A name that a client gives itself, and the networks where it counts.
    Agent(String, TrustedNetworks),
    Sink(String, String, TrustedNetworks),
    /// A name from a verified certificate.
    Certificate(String),
}

/// From which addresses a self-given name counts: any client can claim any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TrustedNetworks {
    /// From the first address that used it; from another one only with a certificate for the name.
    First,
    /// From this address only.
    Address(IpAddr),
}

impl TrustedNetworks {
    fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::First => true,
            Self::Address(own) => own == address,
        }
    }
}

impl ClientPattern {
    /// Parses `10.0.0.1`, `AGENT` or `AGENT/SINK`, both also followed by `@10.0.0.1`, or
    /// `cert:NAME`.
    fn named(text: &str) -> Self {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Self::Address(address.to_canonical());
        }
        if let Some(name) = text.strip_prefix("cert:") {
            return Self::Certificate(name.to_owned());
        }
        let bound = text.rsplit_once('@').and_then(|(name, address)| {
            Some((name, TrustedNetworks::Address(address.parse::<IpAddr>().ok()?.to_canonical())))
        });
        let (name, from) = bound.unwrap_or((text, TrustedNetworks::First));
        match name.split_once('/') {
            Some((agent, sink)) => Self::Sink(agent.to_owned(), sink.to_owned(), from),
            None => Self::Agent(name.to_owned(), from),
        }
    }

    /// Returns whether a client that matches counts as the named one, whose name was first used
    /// from the address of `known`.
    pub(crate) fn counts(
        &self,
        client: &millpond_flow::metrics::ClientId,
        known: &millpond_flow::metrics::ClientId,
    ) -> bool {
        match self {
            Self::Agent(agent, TrustedNetworks::First)
            | Self::Sink(agent, _, TrustedNetworks::First) => {
                client.address == known.address || client.certificate == *agent
            }
            _ => true,
        }
    }

    pub(crate) fn is(&self, client: &millpond_flow::metrics::ClientId) -> bool {
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

impl std::fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Agent(agent, from) => write!(f, "{}{from}", Escaped(agent)),
            Self::Sink(agent, sink, from) => {
                write!(f, "{}/{}{from}", Escaped(agent), Escaped(sink))
            }
            Self::Certificate(name) => write!(f, "cert:{}", Escaped(name)),
        }
    }
}

impl std::fmt::Display for TrustedNetworks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::Address(address) => write!(f, "@{address}"),
        }
    }
}

/// One setting of an alarm.
#[derive(Clone, Copy)]
pub(super) struct AlarmParameter {
    pub(super) key: Key,
    pub(super) apply: ApplySetting,
}

pub(super) const fn param(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    apply: ApplySetting,
) -> AlarmParameter {
    let kind = match apply {
        ApplySetting::Number(..) => KeyKind::Number,
        ApplySetting::Truth(_) => KeyKind::Boolean,
        ApplySetting::Word(..) => KeyKind::Word,
        ApplySetting::Clients(_) => KeyKind::Names,
    };
    AlarmParameter { key: Key { name, kind, default, meaning }, apply }
}

/// How a setting is read, and what it changes.
#[derive(Clone, Copy)]
pub(super) enum ApplySetting {
    Number((u64, u64), fn(&mut Thresholds, u64)),
    Truth(fn(&mut Thresholds, bool)),
    Word(&'static [&'static str], fn(&mut Thresholds, &str)),
    Clients(fn(&mut Thresholds, Vec<ClientPattern>)),
}

/// The settings of every alarm.
pub(super) const SHARED: &[AlarmParameter] = &[
    param(
        "enabled",
        "true",
        "Whether this alarm is enabled.",
        ApplySetting::Truth(|limits, enabled| limits.enabled = enabled),
    ),
    param(
        "severity",
        "",
        "critical, major, minor or warning, instead of its own.",
        ApplySetting::Word(SEVERITIES, |limits, word| {
            limits.severity = AlarmSeverity::named(word).unwrap_or(limits.severity);
        }),
    ),
];

/// Longest time of a setting about clients, seconds: ten years.
const SECONDS_MAX: u64 = 10 * 365 * 86_400;

/// The settings of the alarm about clients.
pub(super) const CLIENT: &[AlarmParameter] = &[
    param(
        "seconds",
        "180",
        "Seconds without a connection or an event after which a client counts as silent.",
        ApplySetting::Number((1, SECONDS_MAX), |limits, n| limits.lasts = Duration::from_secs(n)),
    ),
    param(
        "clients",
        "",
        "Clients that are expected: addresses, names of agents, AGENT/SINK, both also with @ADDRESS at the end, or cert:NAME, separated by blanks or commas. A name without an address counts from the address that had it first, or with a certificate for it.",
        ApplySetting::Clients(|limits, who| limits.clients.expected = who),
    ),
    param(
        "learn",
        "",
        "Whether clients that connect are expected from then on: true by default, false if clients names some.",
        ApplySetting::Truth(|limits, learn| limits.clients.learn = Some(learn)),
    ),
    param(
        "learnAfter",
        "180",
        "Seconds over which a client must have sent accepted events before it is expected.",
        ApplySetting::Number((0, SECONDS_MAX), |limits, n| {
            limits.clients.learn_after = Duration::from_secs(n);
        }),
    ),
    param(
        "forgetAfter",
        "604800",
        "Seconds of silence after which a learned client is forgotten and its alarm cleared; 0 for never.",
        ApplySetting::Number((0, SECONDS_MAX), |limits, n| {
            limits.clients.forget_after = Duration::from_secs(n);
        }),
    ),
    param(
        "ignore",
        "",
        "Clients that are never learned, and are forgotten if they were; written as in clients.",
        ApplySetting::Clients(|limits, who| limits.clients.ignored = who),
    ),
    param(
        "sign",
        "connection",
        "The sign that a client is alive: connection, an open connection that has been used, or message, a request only.",
        ApplySetting::Word(&["connection", "message"], |limits, word| {
            limits.clients.by_message = word == "message";
        }),
    ),
];

impl AlarmParameter {
    /// Changes `limits` as the key says, which ends with this setting's name.
    pub(super) fn read(
        &self,
        reader: &mut SettingsReader<'_>,
        key: &str,
        limits: &mut Thresholds,
    ) -> Result<(), SettingError> {
        match self.apply {
            ApplySetting::Number((least, most), set) => {
                reader
                    .number(key, least..=most)?
                    .into_iter()
                    .for_each(|number| set(limits, number));
            }
            ApplySetting::Truth(set) => {
                if reader.text(key).is_some() {
                    set(limits, reader.truth(key, false)?);
                }
            }
            ApplySetting::Word(words, set) => {
                reader.word(key, words)?.into_iter().for_each(|word| set(limits, word));
            }
            ApplySetting::Clients(set) => {
                let list = reader.text_as_written(key).unwrap_or_default().replace(',', " ");
                set(
                    limits,
                    flume_names::split(&list).into_iter().map(ClientPattern::named).collect(),
                );
            }
        }
        Ok(())
    }

    /// Sets its default, which is written as in a file.
    pub(super) fn begin(&self, limits: &mut Thresholds) {
        match self.apply {
            ApplySetting::Number(_, set) => {
                self.key.default.parse().into_iter().for_each(|number| set(limits, number));
            }
            ApplySetting::Truth(set) if !self.key.default.is_empty() => {
                set(limits, self.key.default == "true");
            }
            ApplySetting::Word(_, set) if !self.key.default.is_empty() => {
                set(limits, self.key.default);
            }
            ApplySetting::Truth(_) | ApplySetting::Word(..) | ApplySetting::Clients(_) => {}
        }
    }
}

impl Thresholds {
    /// Returns the percentage from which a channel counts as full, and the one below which that is
    /// over.
    pub(super) fn percents(&self) -> (u64, u64) {
        let limit = self.limit.unwrap_or(100);
        (limit, self.clear.unwrap_or(limit.saturating_sub(10)))
    }

    /// Returns the number of events from which there are too many, and the number below which that
    /// is over.
    pub(super) fn events(&self) -> Option<(u64, u64)> {
        let limit = self.limit?;
        Some((limit, self.clear.unwrap_or(limit - limit / 10)))
    }
}
