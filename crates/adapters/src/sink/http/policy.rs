//! The effect of a response status on the event: Flume's three tables.

use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::collections::BTreeMap;

/// What happens to an event after a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusAction {
    /// It goes back to the channel.
    pub(super) rollback: bool,
    /// The sink pauses before the next event.
    pub(super) backoff: bool,
    /// It counts as delivered.
    pub(super) counts: bool,
}

/// The tables.
#[derive(Clone, Debug)]
pub(super) struct StatusPolicy {
    rollback: StatusTable,
    backoff: StatusTable,
    counts: StatusTable,
}

/// A value for each status or class of statuses that has one, and one for all others.
#[derive(Clone, Debug)]
struct StatusTable {
    default: bool,
    statuses: BTreeMap<u16, bool>,
    classes: BTreeMap<u16, bool>,
}

impl StatusPolicy {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            rollback: StatusTable::read(reader, "defaultRollback", true, "rollback.")?,
            backoff: StatusTable::read(reader, "defaultBackoff", true, "backoff.")?,
            counts: StatusTable::read(
                reader,
                "defaultIncrementMetrics",
                false,
                "incrementMetrics.",
            )?,
        })
    }

    pub(super) fn verdict(&self, status: u16) -> StatusAction {
        StatusAction {
            rollback: self.rollback.of(status),
            backoff: self.backoff.of(status),
            counts: self.counts.of(status),
        }
    }
}

impl StatusTable {
    fn read(
        reader: &mut SettingsReader<'_>,
        default_key: &str,
        default: bool,
        prefix: &str,
    ) -> Result<Self, SettingError> {
        let mut table = Self {
            default: reader.truth(default_key, default)?,
            statuses: BTreeMap::new(),
            classes: BTreeMap::new(),
        };
        let keys = reader.settings().entries.keys();
        let keys: Vec<_> = keys.filter(|key| key.starts_with(prefix)).cloned().collect();
        for key in keys {
            let name = &key[prefix.len()..];
            let number = |digits: &str| digits.parse::<u16>().ok().filter(|n| *n > 0);
            let (list, number) = match name.strip_suffix("XX") {
                Some(class) if class.len() == 1 => (&mut table.classes, number(class)),
                _ if name.len() == 3 => (&mut table.statuses, number(name)),
                _ => (&mut table.statuses, None),
            };
            let Some(number) = number else {
                let message =
                    "is not used, as in Flume: a status has three digits, a class is written 4XX";
                reader.find(Severity::Warning, &key, message);
                continue;
            };
            list.insert(number, reader.truth(&key, default)?);
        }
        Ok(table)
    }

    /// Returns the value of the status, of its class, or the default.
    fn of(&self, status: u16) -> bool {
        let exact = self.statuses.get(&status).or_else(|| self.classes.get(&(status / 100)));
        exact.copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::Settings;

    fn policy(pairs: &[(&str, &str)]) -> (Result<StatusPolicy, SettingError>, usize) {
        let settings = Settings::from_pairs("k1", pairs);
        let mut reader = SettingsReader::new(&settings);
        (StatusPolicy::read(&mut reader), reader.into_findings().len())
    }

    #[test]
    fn a_status_precedes_its_class_and_that_precedes_the_default() {
        let verdict = |rollback, backoff, counts| StatusAction { rollback, backoff, counts };
        let (plain, _) = policy(&[]);
        assert_eq!(plain.unwrap().verdict(200), verdict(true, true, false), "as in Flume");
        let pairs = [
            ("rollback.2XX", "false"),
            ("backoff.2XX", "false"),
            ("incrementMetrics.2XX", "true"),
            ("rollback.4XX", "false"),
            ("rollback.429", "true"),
            ("defaultBackoff", "false"),
            ("backoff.429", "true"),
        ];
        let policy = policy(&pairs).0.unwrap();
        assert_eq!(policy.verdict(204), verdict(false, false, true));
        assert_eq!(policy.verdict(404), verdict(false, false, false));
        assert_eq!(policy.verdict(429), verdict(true, true, false));
        assert_eq!(policy.verdict(500), verdict(true, false, false));
    }

    #[test]
    fn an_invalid_status_is_named_and_an_invalid_boolean_refused() {
        let (read, found) = policy(&[("rollback.2xx", "false"), ("backoff.99", "true")]);
        assert!(read.unwrap().verdict(200).rollback);
        assert_eq!(found, 2);
        assert!(policy(&[("rollback.2XX", "no")]).0.unwrap_err().message.contains("true or false"));
    }
}
