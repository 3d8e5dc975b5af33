//! Corrections of single values where Flume corrects them; each gives a warning.

use crate::channel_keys::{self, NO_ENCRYPTION, Treatment};
use millpond_flow::base::{files, limits};
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CHECKPOINT_INTERVAL_MS_DEFAULT: u64 = 30_000;
const CHECKPOINT_INTERVAL_MS_MIN: u64 = 1_000;
/// Flume's default size of a log file: 2^31 - 1 less 500 MiB.
const MAX_FILE_SIZE_DEFAULT: u64 = 1_623_195_647;
const MINIMUM_REQUIRED_SPACE_DEFAULT: u64 = 524_288_000;
const MINIMUM_REQUIRED_SPACE_MIN: u64 = 1_048_576;
const BYTE_CAPACITY_BUFFER_PERCENT_DEFAULT: u64 = 20;
/// Longer waits than this (a year) are typing errors.
const SECONDS_MAX: u64 = 366 * 86_400;

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

pub(super) fn taken_default(
    reader: &mut SettingsReader<'_>,
    key: &str,
    why: &str,
    default: u64,
) -> u64 {
    reader.find(
        Severity::Warning,
        key,
        format!("{why}; the default {default} is taken, as in Flume"),
    );
    default
}

/// Returns a number above 0; otherwise the default, with a warning.
pub(super) fn positive(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: u64,
) -> Result<u64, SettingError> {
    let Some(number) = reader.integer(key)? else { return Ok(default) };
    Ok(match u64::try_from(number) {
        Ok(number) if number > 0 => number,
        _ => taken_default(reader, key, &format!("{number} is not above 0"), default),
    })
}

/// Returns a number from 0; otherwise the default, with a warning.
pub(super) fn not_negative(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: u64,
) -> Result<u64, SettingError> {
    let Some(number) = reader.integer(key)? else { return Ok(default) };
    Ok(u64::try_from(number)
        .unwrap_or_else(|_| taken_default(reader, key, &format!("{number} is below 0"), default)))
}

/// Returns a wait in seconds; a negative number means no wait, as in Flume.
pub(super) fn wait_seconds(
    reader: &mut SettingsReader<'_>,
    key: &str,
    default: u64,
) -> Result<Duration, SettingError> {
    let Some(number) = reader.integer(key)? else { return Ok(Duration::from_secs(default)) };
    let seconds = match u64::try_from(number) {
        Ok(seconds) if seconds <= SECONDS_MAX => seconds,
        Ok(_) => {
            reader.find(Severity::Warning, key, format!("{number} s is taken as {SECONDS_MAX} s"));
            SECONDS_MAX
        }
        Err(_) => {
            reader.find(Severity::Warning, key, format!("{number} is below 0: there is no wait"));
            0
        }
    };
    Ok(Duration::from_secs(seconds))
}

pub(super) fn percentage(reader: &mut SettingsReader<'_>, key: &str, default: u64) -> u8 {
    let percent = match reader.number(key, 0..=100) {
        Ok(percent) => percent.unwrap_or(default),
        Err(error) => taken_default(reader, key, &error.message, default),
    };
    u8::try_from(percent).expect("a percentage is 100 at most")
}

pub(super) fn byte_capacity_buffer(reader: &mut SettingsReader<'_>) -> u8 {
    percentage(reader, "byteCapacityBufferPercentage", BYTE_CAPACITY_BUFFER_PERCENT_DEFAULT)
}

/// Returns `byteCapacity`; if less than one slot remains after the share for headers, Flume treats it as
/// unbounded.
pub(super) fn byte_capacity(
    reader: &mut SettingsReader<'_>,
    percent: u8,
    slot_bytes: u64,
) -> Option<u64> {
    let default = limits::MEMORY_BYTE_CAPACITY_DEFAULT;
    let bytes = match reader.integer("byteCapacity") {
        Ok(Some(number)) => u64::try_from(number).unwrap_or(0),
        Ok(None) => default,
        Err(error) => taken_default(reader, "byteCapacity", &error.message, default),
    };
    let usable = u128::from(bytes) * u128::from(100 - percent) / 100;
    if usable >= u128::from(slot_bytes) {
        return Some(bytes);
    }
    if bytes > 0 {
        reader.find(
            Severity::Warning,
            "byteCapacity",
            format!("{bytes} leaves no room for one event and is taken as no bound, as in Flume"),
        );
    }
    None
}

pub(super) fn require_fit(
    reader: &SettingsReader<'_>,
    transaction_capacity: u64,
    capacity: u64,
    capacity_key: &str,
) -> Result<(), SettingError> {
    if transaction_capacity <= capacity {
        return Ok(());
    }
    // If only the capacity is set, the finding points to its line.
    let key = if reader.text("transactionCapacity").is_some() || reader.text(capacity_key).is_none()
    {
        "transactionCapacity"
    } else {
        capacity_key
    };
    let advice = match reader.text("transactionCapacity") {
        Some(_) => format!("make it {capacity} or less"),
        None => format!(
            "{transaction_capacity} is the default, which is not in the file; set transactionCapacity to {capacity} or less"
        ),
    };
    let message = format!(
        "transactionCapacity {transaction_capacity} is larger than {capacity_key} {capacity}; {advice}"
    );
    Err(reader.error(key, message))
}

pub(super) fn non_empty<'a>(reader: &SettingsReader<'a>, key: &str) -> Option<&'a str> {
    reader.text(key).filter(|text| !text.is_empty())
}

/// Returns Flume's default path of a directory that is not configured.
pub(super) fn in_home_directory(
    reader: &SettingsReader<'_>,
    key: &str,
    directory: &str,
) -> Result<PathBuf, SettingError> {
    let home = files::home_directory().ok_or_else(|| {
        reader.error(key, "is not set, and without a home directory there is no default; set it")
    })?;
    Ok(home.join(".flume/file-channel").join(directory))
}

pub(super) fn data_dirs(
    reader: &mut SettingsReader<'_>,
    checkpoint_dir: &Path,
) -> Result<Vec<PathBuf>, SettingError> {
    let key = "dataDirs";
    let Some(text) = non_empty(reader, key) else {
        return Ok(vec![in_home_directory(reader, key, "data")?]);
    };
    let mut dirs: Vec<PathBuf> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let dir = PathBuf::from(name);
        if dirs.contains(&dir) {
            return Err(reader.error(
                key,
                format!("names {name} twice; every stripe needs a directory of its own"),
            ));
        }
        if dir == *checkpoint_dir {
            return Err(reader.error(
                key,
                format!("{name} is also the checkpointDir; give one of them another directory"),
            ));
        }
        dirs.push(dir);
    }
    if dirs.is_empty() {
        return Err(reader.error(key, format!("\"{text}\" names no directory")));
    }
    if dirs.len() > limits::STRIPES_MAX {
        let message =
            format!("names {} directories; {} are the most", dirs.len(), limits::STRIPES_MAX);
        return Err(reader.error(key, message));
    }
    Ok(dirs)
}

pub(super) fn checkpoint_interval(
    reader: &mut SettingsReader<'_>,
) -> Result<Duration, SettingError> {
    let key = "checkpointInterval";
    let mut ms = positive(reader, key, CHECKPOINT_INTERVAL_MS_DEFAULT)?;
    if ms < CHECKPOINT_INTERVAL_MS_MIN {
        reader.find(
            Severity::Warning,
            key,
            format!("{ms} ms is taken as {CHECKPOINT_INTERVAL_MS_MIN} ms, as in Flume"),
        );
        ms = CHECKPOINT_INTERVAL_MS_MIN;
    }
    Ok(Duration::from_millis(ms.min(SECONDS_MAX * 1000)))
}

pub(super) fn segment_bytes(reader: &mut SettingsReader<'_>) -> Result<u64, SettingError> {
    let key = "maxFileSize";
    let bytes = match reader.integer(key)? {
        Some(number) => u64::try_from(number).unwrap_or(0),
        None => MAX_FILE_SIZE_DEFAULT,
    };
    if bytes < limits::SEGMENT_BYTES_MIN {
        let message =
            format!("{bytes} is taken as {}, the smallest segment", limits::SEGMENT_BYTES_MIN);
        reader.find(Severity::Warning, key, message);
    }
    Ok(bytes.clamp(limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_DEFAULT))
}

pub(super) fn minimum_required_space(reader: &mut SettingsReader<'_>) -> Result<u64, SettingError> {
    let key = "minimumRequiredSpace";
    let bytes = match reader.integer(key)? {
        Some(number) => u64::try_from(number).unwrap_or(0),
        None => MINIMUM_REQUIRED_SPACE_DEFAULT,
    };
    if bytes < MINIMUM_REQUIRED_SPACE_MIN {
        let message = format!("{bytes} is taken as {MINIMUM_REQUIRED_SPACE_MIN}, as in Flume");
        reader.find(Severity::Warning, key, message);
    }
    Ok(bytes.max(MINIMUM_REQUIRED_SPACE_MIN))
}

pub(super) fn refuse_encryption(reader: &SettingsReader<'_>) -> Result<(), SettingError> {
    let asked = |key: &&String| *key == "encryption" || key.starts_with("encryption.");
    match reader.settings().entries.keys().find(asked) {
        Some(key) => Err(reader.error(key, NO_ENCRYPTION)),
        None => Ok(()),
    }
}

pub(super) fn warn_of_keys_without_effect(reader: &mut SettingsReader<'_>) {
    for entry in &channel_keys::FILE {
        let Treatment::Accepted(usual, why) = entry.treatment else { continue };
        let name = entry.key.name;
        if reader.text(name).is_some_and(|text| !text.eq_ignore_ascii_case(usual)) {
            reader.find(Severity::Warning, name, why);
        }
    }
}
