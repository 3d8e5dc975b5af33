//! The time of an event, rounded, in a zone, as the letters of a path write it.

use super::place_error::PlaceError;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use millpond::Event;
use millpond_flow::date::path_letter;

/// The unit to which times are rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundUnit {
    Second,
    Minute,
    Hour,
}

/// Rounding down, beginning anew at each minute, hour or day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rounding {
    pub(super) unit: RoundUnit,
    /// 1 to 60, or 1 to 24 hours.
    pub(super) value: i8,
}

/// Which time an event has.
#[derive(Clone, Debug)]
pub(super) struct TimeRules {
    pub(super) zone: TimeZone,
    pub(super) rounding: Option<Rounding>,
    /// Whether the clock counts and not the header `timestamp`.
    pub(super) uses_clock: bool,
}

/// The time of one event.
pub(super) struct TimeText {
    /// Milliseconds as the event has them.
    raw: String,
    rounded: Zoned,
}

impl TimeRules {
    /// Returns the time of `event`.
    pub(super) fn of(&self, event: &Event, now_ms: u64) -> Result<TimeText, PlaceError> {
        let raw = if self.uses_clock {
            now_ms.to_string()
        } else {
            event.headers.get("timestamp").ok_or(PlaceError::NoTimestamp)?.to_owned()
        };
        let time = raw.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let Some(time) = time else { return Err(PlaceError::BadTimestamp(raw)) };
        let zoned = time.to_zoned(self.zone.clone());
        let rounded = match self.rounding {
            Some(rounding) => rounding.down(&zoned).unwrap_or(zoned),
            None => zoned,
        };
        Ok(TimeText { raw, rounded })
    }
}

impl Rounding {
    fn down(self, time: &Zoned) -> Option<Zoned> {
        let step = self.value.max(1);
        let down = |field: i8| field - field % step;
        let with = time.with().subsec_nanosecond(0);
        let with = match self.unit {
            RoundUnit::Second => with.second(down(time.second())),
            RoundUnit::Minute => with.second(0).minute(down(time.minute())),
            RoundUnit::Hour => with.second(0).minute(0).hour(down(time.hour())),
        };
        with.build().ok()
    }
}

impl TimeText {
    /// Returns what `letter` stands for.
    pub(super) fn letter(&self, letter: char) -> String {
        path_letter::text(letter, &self.raw, &self.rounded)
    }
}

/// Returns the zone of a name that Java knows: of the database of zones, or `GMT+8`, `GMT-03:30`.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if let Some(rest) = name.strip_prefix("GMT").filter(|rest| rest.starts_with(['+', '-'])) {
        let (sign, digits) = rest.split_at(1);
        let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
        let hours: i32 = hours.parse().ok().filter(|h| (0..24).contains(h))?;
        let minutes: i32 = minutes.parse().ok().filter(|m| (0..60).contains(m))?;
        let seconds = (hours * 60 + minutes) * 60 * if sign == "-" { -1 } else { 1 };
        return Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?));
    }
    TimeZone::get(name).ok()
}
