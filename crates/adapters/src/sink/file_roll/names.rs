//! File names, as given by Flume's path managers.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use millpond_flow::settings::{SettingError, SettingsReader};
use std::path::{Path, PathBuf};

/// The naming scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamingScheme {
    /// Milliseconds of the sink's start and a count.
    Series,
    /// Local time of the opening, to the second, and a count within it.
    RollTime,
}

impl NamingScheme {
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

/// Generates consecutive names.
#[derive(Debug)]
pub(super) struct FileNames {
    directory: PathBuf,
    scheme: NamingScheme,
    prefix: String,
    suffix: String,
    series: String,
    index: u64,
    zone: TimeZone,
}

impl FileNames {
    pub(super) fn new(
        directory: PathBuf,
        scheme: NamingScheme,
        prefix: &str,
        extension: &str,
    ) -> Self {
        let suffix = if extension.is_empty() { String::new() } else { format!(".{extension}") };
        let (prefix, series) = (prefix.to_owned(), String::new());
        Self { directory, scheme, prefix, suffix, series, index: 0, zone: TimeZone::system() }
    }

    /// Returns the directory of the files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Fixes the series' number at the sink's first start.
    pub(super) fn start_series(&mut self, now_ms: u64) {
        if self.scheme == NamingScheme::Series && self.series.is_empty() {
            self.series = now_ms.to_string();
        }
    }

    /// Returns the next name.
    pub(super) fn next(&mut self, now_ms: u64) -> PathBuf {
        match self.scheme {
            NamingScheme::Series => self.start_series(now_ms),
            NamingScheme::RollTime => {
                let second = self.local_second(now_ms);
                if second != self.series {
                    self.series = second;
                    self.index = 0;
                }
            }
        }
        self.index += 1;
        // Not `join`: a prefix with a leading slash must not leave the directory.
        let mut path = self.directory.clone().into_os_string();
        path.push(format!("/{}{}-{}{}", self.prefix, self.series, self.index, self.suffix));
        PathBuf::from(path)
    }

    /// Returns whether a file of that name may belong to this sink, from this run or an earlier one.
    pub(super) fn are_like(&self, name: &str) -> bool {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A prefix may name a subdirectory; its files are then not in this directory.
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
    use millpond_flow::settings::Settings;

    fn names(scheme: NamingScheme, prefix: &str, extension: &str) -> FileNames {
        let mut names = FileNames::new(PathBuf::from("/d"), scheme, prefix, extension);
        names.zone = TimeZone::fixed(jiff::tz::offset(8));
        names
    }

    #[test]
    fn a_series_keeps_its_number_and_continues_its_count() {
        let mut names = names(NamingScheme::Series, "", "");
        names.start_series(1_600_000_000_123);
        assert_eq!(names.next(1_700_000_000_000), PathBuf::from("/d/1600000000123-1"));
        names.start_series(1_800_000_000_000);
        assert_eq!(names.next(1_800_000_000_000), PathBuf::from("/d/1600000000123-2"));
    }

    #[test]
    fn roll_time_is_local_and_counts_within_a_second() {
        let mut names = names(NamingScheme::RollTime, "app-", "log");
        // 2020-09-13 12:26:40 UTC
        assert_eq!(names.next(1_600_000_000_000), PathBuf::from("/d/app-20200913202640-1.log"));
        assert_eq!(names.next(1_600_000_000_999), PathBuf::from("/d/app-20200913202640-2.log"));
        assert_eq!(names.next(1_600_000_001_000), PathBuf::from("/d/app-20200913202641-1.log"));
    }

    #[test]
    fn a_name_of_an_earlier_run_is_recognised() {
        let names = names(NamingScheme::Series, "app-", "avro");
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
        let mut names = names(NamingScheme::Series, "/etc/x", "");
        assert!(names.next(1).starts_with("/d"));
    }

    #[test]
    fn path_managers_are_found_by_alias_and_class() {
        let read = |name: &str| {
            let settings = Settings::from_pairs("k1", &[("p", name)]);
            NamingScheme::read(&SettingsReader::new(&settings), "p")
        };
        assert_eq!(read("Default").unwrap(), NamingScheme::Series);
        assert_eq!(read("ROLLTIME").unwrap(), NamingScheme::RollTime);
        let class = "org.apache.flume.formatter.output.RollTimePathManager$Builder";
        assert_eq!(read(class).unwrap(), NamingScheme::RollTime);
        assert!(read("other").is_err());
    }
}
