//! Names of files, as Flume's path managers give them.

use crate::config::settings::{SettingError, SettingsReader};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::PathBuf;

/// How files are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// Milliseconds of the sink's start and a count.
    Series,
    /// Local time of the opening, to the second, and a count within it.
    RollTime,
}

impl Scheme {
    pub(super) fn read(reader: &SettingsReader<'_>, key: &str) -> Result<Self, SettingError> {
        let name = reader.text(key).unwrap_or("default");
        let is = |alias: &str, class: &str| {
            name.eq_ignore_ascii_case(alias) || name.strip_suffix("$Builder") == Some(class)
        };
        if is("default", "org.apache.flume.formatter.output.DefaultPathManager") {
            Ok(Self::Series)
        } else if is("rolltime", "org.apache.flume.formatter.output.RollTimePathManager") {
            Ok(Self::RollTime)
        } else {
            Err(reader.error(key, format!("\"{name}\" is neither DEFAULT nor ROLLTIME")))
        }
    }
}

/// Gives one name after the other.
#[derive(Debug)]
pub(super) struct Names {
    directory: PathBuf,
    scheme: Scheme,
    prefix: String,
    suffix: String,
    series: String,
    index: u64,
    zone: TimeZone,
}

impl Names {
    pub(super) fn new(directory: PathBuf, scheme: Scheme, prefix: &str, extension: &str) -> Self {
        let suffix = if extension.is_empty() { String::new() } else { format!(".{extension}") };
        let (prefix, series) = (prefix.to_owned(), String::new());
        Self { directory, scheme, prefix, suffix, series, index: 0, zone: TimeZone::system() }
    }

    /// Fixes the series' number at the sink's first start.
    pub(super) fn start_series(&mut self, now_ms: u64) {
        if self.scheme == Scheme::Series && self.series.is_empty() {
            self.series = now_ms.to_string();
        }
    }

    /// The next name.
    pub(super) fn next(&mut self, now_ms: u64) -> PathBuf {
        match self.scheme {
            Scheme::Series => self.start_series(now_ms),
            Scheme::RollTime => {
                let second = self.local_second(now_ms);
                if second != self.series {
                    self.series = second;
                    self.index = 0;
                }
            }
        }
        self.index += 1;
        // Not `join`: a prefix with a slash in front must not leave the directory.
        let mut path = self.directory.clone().into_os_string();
        path.push(format!("/{}{}-{}{}", self.prefix, self.series, self.index, self.suffix));
        PathBuf::from(path)
    }

    /// Whether a file of that name may be one of ours, of this life or an earlier one.
    pub(super) fn are_like(&self, name: &str) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A prefix may lead into a directory; then it is not this one's files that it begins.
        let middle = name.strip_prefix(&self.prefix).and_then(|n| n.strip_suffix(&self.suffix));
        middle.and_then(|m| m.split_once('-')).is_some_and(|(s, n)| number(s) && number(n))
    }

    fn local_second(&self, now_ms: u64) -> String {
        let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let now = now.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone());
        now.strftime("%Y%m%d%H%M%S").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    fn names(scheme: Scheme, prefix: &str, extension: &str) -> Names {
        let mut names = Names::new(PathBuf::from("/d"), scheme, prefix, extension);
        names.zone = TimeZone::fixed(jiff::tz::offset(8));
        names
    }

    #[test]
    fn a_series_keeps_its_number_and_counts_on() {
        let mut names = names(Scheme::Series, "", "");
        names.start_series(1_600_000_000_123);
        assert_eq!(names.next(1_700_000_000_000), PathBuf::from("/d/1600000000123-1"));
        names.start_series(1_800_000_000_000);
        assert_eq!(names.next(1_800_000_000_000), PathBuf::from("/d/1600000000123-2"));
    }

    #[test]
    fn roll_time_is_local_and_counts_within_a_second() {
        let mut names = names(Scheme::RollTime, "app-", "log");
        // 2020-09-13 12:26:40 UTC
        assert_eq!(names.next(1_600_000_000_000), PathBuf::from("/d/app-20200913202640-1.log"));
        assert_eq!(names.next(1_600_000_000_999), PathBuf::from("/d/app-20200913202640-2.log"));
        assert_eq!(names.next(1_600_000_001_000), PathBuf::from("/d/app-20200913202641-1.log"));
    }

    #[test]
    fn a_name_of_an_earlier_life_is_known() {
        let names = names(Scheme::Series, "app-", "avro");
        for (name, own) in [
            ("app-1600000000123-1.avro", true),
            ("app-20200913202640-17.avro", true),
            ("app-1600000000123-1.avro.bak", false),
            ("app-1600000000123-.avro", false),
            ("app-x-1.avro", false),
            ("1600000000123-1", false),
            ("_SUCCESS", false),
        ] {
            assert_eq!(names.are_like(name), own, "{name}");
        }
    }

    #[test]
    fn no_prefix_leaves_the_directory() {
        let mut names = names(Scheme::Series, "/etc/x", "");
        assert!(names.next(1).starts_with("/d"));
    }

    #[test]
    fn path_managers_are_found_by_alias_and_class() {
        let read = |name: &str| {
            let settings = Settings::from_pairs("k1", &[("p", name)]);
            Scheme::read(&SettingsReader::new(&settings), "p")
        };
        assert_eq!(read("Default").unwrap(), Scheme::Series);
        assert_eq!(read("ROLLTIME").unwrap(), Scheme::RollTime);
        let class = "org.apache.flume.formatter.output.RollTimePathManager$Builder";
        assert_eq!(read(class).unwrap(), Scheme::RollTime);
        assert!(read("other").is_err());
    }
}
