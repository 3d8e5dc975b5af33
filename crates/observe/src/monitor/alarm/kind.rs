//! The table of alarms: number, name, severity and settings of each.
//!
//! docs/alarms.md has a section for each and a table of the settings; a test holds them together.

use super::severity::AlarmSeverity;
use super::thresholds::{
    AlarmParameter, ApplySetting, ClientThresholds, SHARED, Thresholds, param,
};
use millpond_flow::codes::{self, Code};
use std::time::Duration;

/// Which components an alarm can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlarmSubject {
    Channel,
    /// A source that can tell its clients apart.
    Listener,
    Source,
    /// Any source, channel or sink.
    Component,
    /// A sink without a group, or a group.
    Outlet,
    /// A sink of a group.
    Member,
    /// A source or a sink.
    Peer,
    Agent,
}

/// A kind of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AlarmKind {
    ClientSilent,
    ChannelFill,
    ChannelSize,
    OldestEvent,
    SinkStalled,
    StripeSuspended,
    DiskSpace,
    Quarantine,
    SourceFailing,
    ReloadRefused,
    ChannelFailing,
    EventsLost,
    SourceSilent,
    SinkFailing,
    CertificateExpires,
}

/// What is known of a kind.
#[derive(Clone, Copy)]
pub(crate) struct AlarmKindEntry {
    /// Its code; the number is the one that operators know, or one of ours from 90001.
    pub(crate) code: &'static Code,
    /// Its name in settings, metrics and pages.
    pub(crate) name: &'static str,
    /// Its severity unless a setting says otherwise.
    pub(crate) severity: AlarmSeverity,
    pub(crate) about: AlarmSubject,
    /// Its settings in addition to those that every alarm has.
    pub(super) params: &'static [AlarmParameter],
}

impl AlarmKindEntry {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.code.number
    }

    /// Its name for people.
    pub(crate) fn title(&self) -> &'static str {
        self.code.title
    }
}

const fn entry(
    code: &'static Code,
    name: &'static str,
    severity: AlarmSeverity,
    about: AlarmSubject,
    params: &'static [AlarmParameter],
) -> AlarmKindEntry {
    AlarmKindEntry { code, name, severity, about, params }
}

/// Seconds of a day.
const DAY: u64 = 86_400;

const fn lasts(default: &'static str, meaning: &'static str) -> AlarmParameter {
    number("seconds", default, (0, 365 * DAY), set_seconds, meaning)
}

const fn number(
    name: &'static str,
    default: &'static str,
    range: (u64, u64),
    set: fn(&mut Thresholds, u64),
    meaning: &'static str,
) -> AlarmParameter {
    param(name, default, meaning, ApplySetting::Number(range, set))
}

fn set_seconds(limits: &mut Thresholds, seconds: u64) {
    limits.lasts = Duration::from_secs(seconds);
}

fn set_limit(limits: &mut Thresholds, limit: u64) {
    limits.limit = Some(limit);
}

fn set_clear(limits: &mut Thresholds, clear: u64) {
    limits.clear = Some(clear);
}

fn set_bytes(limits: &mut Thresholds, bytes: u64) {
    limits.bytes = bytes;
}

const FILL: &[AlarmParameter] = &[
    number(
        "percent",
        "80",
        (1, 100),
        set_limit,
        "Percent of its capacity from which a channel counts as full.",
    ),
    number(
        "clearPercent",
        "",
        (0, 99),
        set_clear,
        "Percent below which the alarm is cleared; by default 10 less than percent.",
    ),
    lasts("30", "Seconds for which it must be this full before the alarm is raised."),
];

const SIZE: &[AlarmParameter] = &[
    number(
        "events",
        "",
        (1, u64::MAX),
        set_limit,
        "Events (ChannelSize) from which it is raised; without this key there is no such alarm.",
    ),
    number(
        "clearEvents",
        "",
        (0, u64::MAX),
        set_clear,
        "Events below which it is cleared; by default nine tenths of events.",
    ),
    lasts("30", "Seconds for which there must be that many before the alarm is raised."),
];

const OLDEST: &[AlarmParameter] =
    &[lasts("3600", "Seconds that the oldest event of a channel may have waited.")];

const STALLED: &[AlarmParameter] = &[lasts(
    "60",
    "Seconds without a delivered event, while the channel has some, after which it is raised.",
)];

const SUSPENDED: &[AlarmParameter] =
    &[lasts("10", "Seconds for which a stripe must be suspended before the alarm is raised.")];

const SPACE: &[AlarmParameter] = &[
    number(
        "freePercent",
        "5",
        (0, 99),
        set_limit,
        "Percent of a disk that must be free. If both this and freeBytes apply, the smaller counts; if one is set, it alone. 0 for none.",
    ),
    number(
        "freeBytes",
        "1073741824",
        (0, u64::MAX),
        set_bytes,
        "Bytes of a disk that must be free, 0 for none; at least the channel's minimumRequiredSpace, below which it refuses events.",
    ),
    lasts("10", "Seconds for which less than that must be free before the alarm is raised."),
];

const QUARANTINED: &[AlarmParameter] = &[number(
    "events",
    "0",
    (0, u64::MAX),
    set_limit,
    "Quarantined events that have been dealt with: only more than this raise the alarm.",
)];

const SOURCE: &[AlarmParameter] = &[lasts(
    "60",
    "Seconds for which a source must be down, or fail repeatedly, before the alarm is raised.",
)];

const CHANNEL: &[AlarmParameter] = &[lasts(
    "60",
    "Seconds for which a channel must be closed, or refuse events for a reason other than its capacity, before the alarm is raised.",
)];

const LOST: &[AlarmParameter] = &[
    number(
        "events",
        "1",
        (1, u64::MAX),
        set_limit,
        "Events lost for the same reason, with less than seconds between them, from which it is raised.",
    ),
    lasts("600", "Seconds without a further loss after which it is cleared, at least 10."),
];

const SILENT: &[AlarmParameter] = &[number(
    "seconds",
    "",
    (1, 365 * DAY),
    set_limit,
    "Seconds without an event from the source after which it is raised; without this key there is no such alarm.",
)];

const MEMBER: &[AlarmParameter] = &[lasts(
    "60",
    "Seconds for which a sink of a group must have failed, whatever the others do, before the alarm is raised.",
)];

const CERTIFICATE: &[AlarmParameter] = &[number(
    "days",
    "14",
    (1, 3650),
    set_limit,
    "Days before a certificate expires at which the alarm is raised.",
)];

impl AlarmKind {
    pub(crate) const ALL: [Self; 15] = [
        Self::ClientSilent,
        Self::ChannelFill,
        Self::ChannelSize,
        Self::OldestEvent,
        Self::SinkStalled,
        Self::StripeSuspended,
        Self::DiskSpace,
        Self::Quarantine,
        Self::SourceFailing,
        Self::ReloadRefused,
        Self::ChannelFailing,
        Self::EventsLost,
        Self::SourceSilent,
        Self::SinkFailing,
        Self::CertificateExpires,
    ];

    /// Returns the thresholds of an alarm without settings.
    pub(super) fn thresholds(self) -> Thresholds {
        let entry = self.entry();
        let mut limits = Thresholds {
            enabled: true,
            severity: entry.severity,
            lasts: Duration::ZERO,
            limit: None,
            clear: None,
            bytes: 0,
            clients: ClientThresholds::default(),
        };
        SHARED.iter().chain(entry.params).for_each(|param| param.begin(&mut limits));
        limits
    }

    pub(crate) const fn entry(self) -> AlarmKindEntry {
        use AlarmSeverity::{Critical, Major};
        use AlarmSubject::{Agent, Channel, Component, Listener, Member, Outlet, Peer, Source};
        match self {
            Self::ClientSilent => entry(
                &codes::ALARM_CLIENT_SILENT,
                "clientSilent",
                Major,
                Listener,
                super::thresholds::CLIENT,
            ),
            Self::ChannelFill => {
                entry(&codes::ALARM_CHANNEL_FILL, "channelFill", Major, Channel, FILL)
            }
            Self::ChannelSize => {
                entry(&codes::ALARM_CHANNEL_SIZE, "channelSize", Major, Channel, SIZE)
            }
            Self::OldestEvent => {
                entry(&codes::ALARM_OLDEST_EVENT, "oldestEvent", Major, Channel, OLDEST)
            }
            Self::SinkStalled => {
                entry(&codes::ALARM_SINK_STALLED, "sinkStalled", Critical, Outlet, STALLED)
            }
            Self::StripeSuspended => entry(
                &codes::ALARM_STRIPE_SUSPENDED,
                "stripeSuspended",
                Critical,
                Channel,
                SUSPENDED,
            ),
            Self::DiskSpace => entry(&codes::ALARM_DISK_SPACE, "diskSpace", Major, Channel, SPACE),
            Self::Quarantine => {
                entry(&codes::ALARM_QUARANTINE, "quarantine", Critical, Channel, QUARANTINED)
            }
            Self::SourceFailing => {
                entry(&codes::ALARM_SOURCE_FAILING, "sourceFailing", Major, Source, SOURCE)
            }
            Self::ReloadRefused => {
                entry(&codes::ALARM_RELOAD_REFUSED, "reloadRefused", Major, Agent, &[])
            }
            Self::ChannelFailing => {
                entry(&codes::ALARM_CHANNEL_FAILING, "channelFailing", Critical, Channel, CHANNEL)
            }
            Self::EventsLost => {
                entry(&codes::ALARM_EVENTS_LOST, "eventsLost", Major, Component, LOST)
            }
            Self::SourceSilent => {
                entry(&codes::ALARM_SOURCE_SILENT, "sourceSilent", Major, Source, SILENT)
            }
            Self::SinkFailing => {
                entry(&codes::ALARM_SINK_FAILING, "sinkFailing", Major, Member, MEMBER)
            }
            Self::CertificateExpires => entry(
                &codes::ALARM_CERTIFICATE_EXPIRES,
                "certificateExpires",
                Major,
                Peer,
                CERTIFICATE,
            ),
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.entry().name == name)
    }

    pub(crate) fn numbered(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.entry().id() == id)
    }
}
