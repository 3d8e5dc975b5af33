//! The settings of the sink.

use super::hook::HookTarget;
use super::path::PathTemplate;
use super::time::{RoundUnit, Rounding, TimeRules, zone};
use crate::format::FormatSettings;
use jiff::tz::TimeZone;
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::path::PathBuf;
use std::time::Duration;

/// Which file system the files are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// This machine.
    Local,
    /// `fs.defaultFS` of Hadoop's configuration.
    Default,
    /// The cluster of this URL.
    Cluster(String),
    /// The object store of this URL.
    Store(String),
}

/// The settings.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "native"), allow(dead_code))] // those of the cluster
pub(super) struct HdfsSettings {
    pub(super) target: Target,
    pub(super) path: PathTemplate,
    pub(super) prefix: PathTemplate,
    /// The directory of events without a path; None if they are refused and become dead letters.
    pub(super) fallback: Option<String>,
    pub(super) names: NameRules,
    pub(super) time: TimeRules,
    pub(super) rolls: RollRules,
    pub(super) batch_events: usize,
    pub(super) open_files_max: usize,
    pub(super) calls_at_once: usize,
    pub(super) call_timeout: Duration,
    pub(super) close_tries: Option<u64>,
    pub(super) retry_interval: Duration,
    pub(super) format: FormatSettings,
    pub(super) config_directory: Option<PathBuf>,
    pub(super) principal: Option<String>,
    pub(super) keytab: Option<PathBuf>,
    pub(super) proxy_user: Option<String>,
    /// The place of the ledger, if one is configured.
    pub(super) state_directory: Option<PathBuf>,
    /// Whether each event is in the renamed files once.
    pub(super) exactly_once: bool,
    /// The most bytes of files that are not uploaded to an object store yet.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code))] // no store, no spool
    pub(super) spool_bytes_max: u64,
    /// What is called for each renamed file.
    pub(super) hook: Option<HookTarget>,
}

/// What names have besides prefix and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameRules {
    pub(super) suffix: String,
    pub(super) in_use_prefix: String,
    pub(super) in_use_suffix: String,
}

/// When a file is closed; None is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RollRules {
    pub(super) events: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) interval: Option<Duration>,
    pub(super) idle: Option<Duration>,
}

/// A call that may wait for ever in Flume ends after this time.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

impl HdfsSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// One is missing, out of range, or does not fit the others.
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        let (target, path) = split_url(reader.required_text("hdfs.path")?)
            .map_err(|message| reader.error("hdfs.path", message))?;
        let keeps_colons = target == Target::Local;
        let template = |key: &str, text: &str| {
            PathTemplate::read(text, keeps_colons).map_err(|message| reader.error(key, message))
        };
        let path = template("hdfs.path", &path)?;
        let prefix =
            template("hdfs.filePrefix", reader.text("hdfs.filePrefix").unwrap_or("FlumeData"))?;
        let fallback = fallback(reader, &target, &path)?;
        let format = FormatSettings::read(reader)?;
        let names = names(reader, &format)?;
        let exactly_once = reader.truth("hdfs.exactlyOnce", false)?;
        let is_marked = !names.in_use_prefix.is_empty() || !names.in_use_suffix.is_empty();
        let why = match &target {
            Target::Store(_) => Some("an object store gets a file when it is renamed"),
            _ if format.is_spooled() => Some("a Parquet file is made when it is renamed"),
            _ if exactly_once => Some("with hdfs.exactlyOnce a reader has to tell files in use"),
            _ => None,
        };
        if let Some(why) = why.filter(|_| !is_marked) {
            let message = format!("{why}: hdfs.inUsePrefix or hdfs.inUseSuffix is required");
            return Err(reader.error("hdfs.inUseSuffix", message));
        }
        let call_timeout = positive(reader, "hdfs.callTimeout", 30_000)?;
        let (close_tries, retry_interval) = retries(reader)?;
        let _ = reader.number("hdfs.minBlockReplicas", 0..=i64::MAX)?;
        let _ = reader.number("hdfs.rollTimerPoolSize", 1..=i64::MAX)?;
        let (principal, keytab) = kerberos(reader)?;
        let spool_bytes_max =
            reader.number("hdfs.spoolBytes", 1..=u64::MAX)?.unwrap_or(SPOOL_BYTES);
        let place = |key: &str| reader.text(key).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (config_directory, state_directory) =
            (place("hdfs.config"), place("hdfs.stateDirectory"));
        Ok(Self {
            target,
            path,
            prefix,
            fallback,
            names,
            time: time(reader)?,
            rolls: RollRules {
                events: positive(reader, "hdfs.rollCount", 10)?,
                bytes: positive(reader, "hdfs.rollSize", 1024)?,
                interval: positive(reader, "hdfs.rollInterval", 30)?.map(Duration::from_secs),
                idle: positive(reader, "hdfs.idleTimeout", 0)?.map(Duration::from_secs),
            },
            batch_events: reader.number("hdfs.batchSize", 1..=1_000_000)?.unwrap_or(100),
            open_files_max: reader.number("hdfs.maxOpenFiles", 1..=100_000)?.unwrap_or(5000),
            calls_at_once: reader.number("hdfs.threadsPoolSize", 1..=1000)?.unwrap_or(10),
            call_timeout: call_timeout
                .map_or(CALL_TIMEOUT_MAX, Duration::from_millis)
                .min(CALL_TIMEOUT_MAX),
            close_tries,
            retry_interval,
            format,
            config_directory,
            principal,
            keytab,
            proxy_user: reader
                .text("hdfs.proxyUser")
                .filter(|user| !user.is_empty())
                .map(str::to_owned),
            state_directory,
            exactly_once,
            spool_bytes_max,
            hook: HookTarget::read(reader)?,
        })
    }
}

/// Returns a number above 0; None for what Flume takes for "never".
fn positive(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: u64,
) -> Result<Option<u64>, SettingError> {
    let given = reader.integer(key)?;
    let number = given.map_or(default, |number| u64::try_from(number).unwrap_or(0));
    Ok(Some(number).filter(|number| *number > 0))
}

/// The last name of the default of `hdfs.fallbackPath`; jobs of Hadoop and Hive skip names that begin with `_`.
const NO_PATH: &str = "_no_path";

fn fallback(
    reader: &SettingsReader<'_>,
    target: &Target,
    path: &PathTemplate,
) -> Result<Option<String>, SettingError> {
    let key = "hdfs.fallbackPath";
    let set = |key: &str| reader.text(key).filter(|text| !text.is_empty());
    let Some(text) = set(key) else {
        let refuses =
            ["deadLetter.directory", "deadLetter.channel"].iter().any(|key| set(key).is_some());
        return Ok((!refuses).then(|| format!("{}/{NO_PATH}", path.fixed_directory())));
    };
    let (other, path) = split_url(text).map_err(|message| reader.error(key, message))?;
    if other != *target && other != Target::Default {
        return Err(reader.error(key, "must be on the file system of hdfs.path"));
    }
    PathTemplate::read(&path, *target == Target::Local).map_err(|why| reader.error(key, why))?;
    Ok(Some(path))
}

fn names(
    reader: &mut SettingsReader<'_>,
    format: &FormatSettings,
) -> Result<NameRules, SettingError> {
    for key in ["hdfs.fileSuffix", "hdfs.inUsePrefix", "hdfs.inUseSuffix"] {
        let text = reader.text(key).unwrap_or_default();
        if text.chars().any(char::is_control) || text.split('/').any(|name| name == "..") {
            return Err(reader.error(key, "has a control character or \"..\""));
        }
    }
    let suffix = reader.text("hdfs.fileSuffix").filter(|text| !text.is_empty());
    let empty = reader.boolean("hdfs.emptyInUseSuffix", false);
    if empty && reader.text("hdfs.inUseSuffix").is_some() {
        let message = "has no effect: hdfs.emptyInUseSuffix is true";
        reader.find(Severity::Warning, "hdfs.inUseSuffix", message);
    }
    let in_use_suffix = reader.text("hdfs.inUseSuffix").unwrap_or(".tmp");
    Ok(NameRules {
        suffix: suffix.or(format.extension()).unwrap_or_default().to_owned(),
        in_use_prefix: reader.text("hdfs.inUsePrefix").unwrap_or_default().to_owned(),
        in_use_suffix: if empty { String::new() } else { in_use_suffix.to_owned() },
    })
}

fn time(reader: &mut SettingsReader<'_>) -> Result<TimeRules, SettingError> {
    let zone = match reader.text("hdfs.timeZone").filter(|name| !name.is_empty()) {
        None => TimeZone::system(),
        Some(name) => zone(name).unwrap_or_else(|| {
            let message = format!("\"{name}\" is not a known zone: GMT is used, as in Flume");
            reader.find(Severity::Warning, "hdfs.timeZone", message);
            TimeZone::UTC
        }),
    };
    let uses_clock = reader.boolean("hdfs.useLocalTimeStamp", false);
    Ok(TimeRules { zone, rounding: rounding(reader)?, uses_clock })
}

fn rounding(reader: &mut SettingsReader<'_>) -> Result<Option<Rounding>, SettingError> {
    if !reader.boolean("hdfs.round", false) {
        return Ok(None);
    }
    let unit = match reader.text("hdfs.roundUnit").map(str::to_ascii_lowercase).as_deref() {
        None | Some("second") => RoundUnit::Second,
        Some("minute") => RoundUnit::Minute,
        Some("hour") => RoundUnit::Hour,
        Some(_) => {
            let message = "is none of second, minute and hour: times are not rounded, as in Flume";
            reader.find(Severity::Warning, "hdfs.roundUnit", message);
            return Ok(None);
        }
    };
    let most = if unit == RoundUnit::Hour { 24 } else { 60 };
    let value = reader.number("hdfs.roundValue", 1..=most)?.unwrap_or(1);
    Ok(Some(Rounding { unit, value }))
}

fn retries(reader: &mut SettingsReader<'_>) -> Result<(Option<u64>, Duration), SettingError> {
    let tries = positive(reader, "hdfs.closeTries", 0)?;
    Ok(match positive(reader, "hdfs.retryInterval", 180)? {
        Some(seconds) => (tries, Duration::from_secs(seconds)),
        None => (Some(1), Duration::from_secs(1)),
    })
}

fn kerberos(
    reader: &SettingsReader<'_>,
) -> Result<(Option<String>, Option<PathBuf>), SettingError> {
    let set = |key: &str| reader.text(key).filter(|text| !text.is_empty());
    let (principal, keytab) = (set("hdfs.kerberosPrincipal"), set("hdfs.kerberosKeytab"));
    match (principal, keytab) {
        (Some(_), None) => {
            Err(reader.error("hdfs.kerberosKeytab", "is required with hdfs.kerberosPrincipal"))
        }
        (None, Some(_)) => {
            Err(reader.error("hdfs.kerberosPrincipal", "is required with hdfs.kerberosKeytab"))
        }
        _ => Ok((principal.map(str::to_owned), keytab.map(PathBuf::from))),
    }
}

/// The default of `hdfs.spoolBytes`: 10 GiB.
const SPOOL_BYTES: u64 = 10 << 30;
/// The schemes of object stores.
const STORES: &[&str] = &["s3a", "s3", "s3n", "gs", "abfs", "abfss"];

/// Returns the file system and the absolute path of a URL.
fn split_url(text: &str) -> Result<(Target, String), String> {
    let scheme = text.split_once(':').map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let is_scheme =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
    let (target, path) = match scheme.filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, rest)) if scheme == "file" => {
            (Target::Local, rest.strip_prefix("//").unwrap_or(rest))
        }
        Some((scheme, rest)) if scheme == "hdfs" || scheme == "viewfs" => {
            if !cfg!(feature = "native") {
                return Err(format!(
                    "{scheme}: this build has no client of HDFS; build with the feature hdfs"
                ));
            }
            let rest = rest.strip_prefix("//").ok_or("needs // after the scheme")?;
            let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
            if authority.contains('%') {
                return Err("has an escape in the name of the server".to_owned());
            }
            (Target::Cluster(format!("{scheme}://{authority}")), &rest[authority.len()..])
        }
        Some((scheme, rest)) if STORES.contains(&scheme.as_str()) => {
            if !cfg!(feature = "object-store") {
                return Err(format!(
                    "{scheme}: this build has no client of object stores; build with the feature object-store"
                ));
            }
            let rest = rest.strip_prefix("//").ok_or("needs // after the scheme")?;
            let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
            if authority.is_empty() || authority.contains('%') {
                return Err("needs the name of a bucket, without escapes".to_owned());
            }
            (Target::Store(format!("{scheme}://{authority}")), &rest[authority.len()..])
        }
        Some((scheme, _)) => {
            return Err(format!(
                "\"{scheme}\" is none of hdfs, viewfs, file, s3a, s3, gs and abfs"
            ));
        }
        None => (Target::Default, text),
    };
    if path.is_empty() && matches!(target, Target::Cluster(_) | Target::Store(_)) {
        return Ok((target, "/".to_owned()));
    }
    if !path.starts_with('/') {
        return Err("is relative; write the whole path, such as /user/NAME/…".to_owned());
    }
    Ok((target, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::{ConfigFinding, Settings};

    fn read(pairs: &[(&str, &str)]) -> (Result<HdfsSettings, SettingError>, Vec<ConfigFinding>) {
        let mut all = vec![("hdfs.path", "file:///x/%Y")];
        all.extend(pairs);
        let settings = Settings::from_pairs("k1", &all);
        let mut reader = SettingsReader::new(&settings);
        (HdfsSettings::read(&mut reader), reader.into_findings())
    }

    #[test]
    fn defaults_are_those_of_flume() {
        let (settings, findings) = read(&[]);
        let settings = settings.unwrap();
        let (interval, idle) = (Some(Duration::from_secs(30)), None);
        let expected = RollRules { events: Some(10), bytes: Some(1024), interval, idle };
        assert_eq!(settings.rolls, expected);
        assert_eq!((settings.batch_events, settings.open_files_max), (100, 5000));
        assert_eq!((settings.close_tries, settings.retry_interval.as_secs()), (None, 180));
        assert_eq!(settings.names.in_use_suffix, ".tmp");
        assert_eq!(findings, []);
    }

    #[test]
    fn settings_that_cannot_work_name_their_key() {
        for (key, value) in [
            ("hdfs.path", "ftp://server/x"),
            ("hdfs.path", "s3a:///x"),
            ("hdfs.path", "x/y"),
            ("hdfs.path", "file:///x/../y"),
            ("hdfs.batchSize", "0"),
            ("hdfs.rollCount", "many"),
            ("hdfs.maxOpenFiles", "0"),
            ("hdfs.fileSuffix", "/../x"),
            ("hdfs.fallbackPath", "hdfs://other/x"),
            ("hdfs.codeC", "lzo"),
        ] {
            let error = read(&[(key, value)]).0.err().unwrap_or_else(|| panic!("{key}={value}"));
            assert_eq!(error.key, format!("k1.{key}"), "{value}");
        }
        let error = read(&[("hdfs.kerberosPrincipal", "a@B")]).0.unwrap_err();
        assert_eq!(error.key, "k1.hdfs.kerberosKeytab");
        let round = [("hdfs.round", "true"), ("hdfs.roundUnit", "hour"), ("hdfs.roundValue", "25")];
        assert_eq!(read(&round).0.unwrap_err().key, "k1.hdfs.roundValue");
        assert!(read(&round[1..]).0.is_ok(), "the value counts only with hdfs.round");
    }

    #[test]
    fn events_without_a_path_have_a_directory_unless_they_are_dead_letters() {
        let fallback = |pairs: &[(&str, &str)]| read(pairs).0.unwrap().fallback;
        assert_eq!(fallback(&[]).as_deref(), Some("/x/_no_path"));
        assert_eq!(fallback(&[("hdfs.fallbackPath", "/lost")]).as_deref(), Some("/lost"));
        assert_eq!(fallback(&[("deadLetter.directory", "/dead")]), None);
        assert_eq!(fallback(&[("deadLetter.channel", "c2")]), None);
    }

    #[cfg(feature = "object-store")]
    #[test]
    fn an_object_store_has_a_bucket_and_names_of_files_in_use() {
        let path = ("hdfs.path", "s3a://bucket/x/%Y");
        let settings = read(&[path]).0.unwrap();
        assert_eq!(settings.target, Target::Store("s3a://bucket".to_owned()));
        let error = read(&[path, ("hdfs.emptyInUseSuffix", "true")]).0.unwrap_err();
        assert_eq!(error.key, "k1.hdfs.inUseSuffix");
        assert!(
            read(&[path, ("hdfs.emptyInUseSuffix", "true"), ("hdfs.inUsePrefix", "_")]).0.is_ok()
        );
    }

    #[test]
    fn what_flume_corrects_is_corrected_and_reported() {
        for (key, value) in [
            ("hdfs.timeZone", "Mars/Olympus"),
            ("hdfs.emptyInUseSuffix", "true"),
            ("hdfs.roundUnit", "week"),
        ] {
            let pairs = [(key, value), ("hdfs.inUseSuffix", ".open"), ("hdfs.round", "true")];
            let (settings, findings) = read(&pairs);
            assert!(settings.is_ok() && findings.len() == 1, "{key}: {findings:?}");
        }
        let never = read(&[("hdfs.rollInterval", "-1"), ("hdfs.retryInterval", "0")]).0.unwrap();
        assert_eq!((never.rolls.interval, never.close_tries), (None, Some(1)));
    }
}
