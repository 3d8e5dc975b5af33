//! The client's settings of Hadoop: `core-site.xml` and `hdfs-site.xml`.
//!
//! Limits: a file has at most 16 MiB, files include others at most 4 deep, and a value names others at most
//! 20 deep, as in Hadoop. Later files win; `final` is not looked at, since there is nothing after them that
//! could overrule.

use millpond_flow::base::small_file::{SmallFileError, read_whole};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE_BYTES_MAX: u64 = 16 << 20;
const INCLUDES_DEEP_MAX: usize = 4;
const NAMES_DEEP_MAX: usize = 20;

/// Settings by name, each value with the names in it replaced.
#[derive(Clone, Debug, Default)]
pub struct HadoopSettings {
    values: HashMap<String, String>,
}

/// Why settings of Hadoop could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HadoopSettingsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SmallFileError,
    },
    /// A file is not what Hadoop writes.
    #[error("{} is not a configuration of Hadoop: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl HadoopSettings {
    /// Returns the directory that a Hadoop client would read: `HADOOP_CONF_DIR`, else `etc/hadoop` in
    /// `HADOOP_HOME`.
    pub fn default_directory() -> Option<PathBuf> {
        let of = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        of("HADOOP_CONF_DIR").or_else(|| of("HADOOP_HOME").map(|home| home.join("etc/hadoop")))
    }

    /// Reads the files in `directory`; one that is missing has no settings.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub fn read(directory: &Path) -> Result<Self, HadoopSettingsError> {
        let mut settings = Self::default();
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let path = directory.join(name);
            settings.add_file(&path, 0)?;
        }
        Ok(settings)
    }

    /// Returns the value of `name`, with spaces around it removed.
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).map(|value| self.expand(value.trim(), 0))
    }

    /// Returns the value of `name` as a time: a number of milliseconds, or with a unit (`30s`, `2m`).
    pub fn time(&self, name: &str) -> Option<Duration> {
        let value = self.get(name)?.to_ascii_lowercase();
        let digits = value.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(value.len());
        let number: u64 = value[..digits].parse().ok()?;
        let milliseconds = match value[digits..].trim() {
            "" | "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Duration::from_millis(number.checked_mul(milliseconds)?))
    }

    /// Returns every setting, by name.
    pub fn all(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.values.iter().map(|(name, value)| (name.clone(), self.expand(value.trim(), 0)))
    }

    /// Adds the settings of one file; they win over those that are there.
    fn add_file(&mut self, path: &Path, depth: usize) -> Result<(), HadoopSettingsError> {
        let bytes = match read_whole(path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => return Ok(()),
            Err(source) => {
                return Err(HadoopSettingsError::Unreadable { path: path.to_owned(), source });
            }
        };
        let malformed =
            |reason: String| HadoopSettingsError::Malformed { path: path.to_owned(), reason };
        let text = std::str::from_utf8(&bytes).map_err(|error| malformed(error.to_string()))?;
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let tree = roxmltree::Document::parse_with_options(text, options)
            .map_err(|error| malformed(error.to_string()))?;
        let root = tree.root_element();
        if root.tag_name().name() != "configuration" {
            return Err(malformed(format!("its root is <{}>", root.tag_name().name())));
        }
        for element in root.children().filter(roxmltree::Node::is_element) {
            match element.tag_name().name() {
                "property" => self.add_property(&element),
                "include" if depth < INCLUDES_DEEP_MAX => {
                    let beside = path.parent().unwrap_or(Path::new("."));
                    if let Some(name) = element.attribute("href") {
                        self.add_file(&beside.join(name.trim_start_matches("file://")), depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds one `<property>`; one without a name or a value has no effect.
    fn add_property(&mut self, element: &roxmltree::Node<'_, '_>) {
        let text = |tag: &str| {
            let child = element.children().find(|child| child.tag_name().name() == tag)?;
            Some(child.text().unwrap_or_default().trim().to_owned())
        };
        let given = |tag: &str| text(tag).or_else(|| element.attribute(tag).map(str::to_owned));
        if let (Some(name), Some(value)) = (given("name"), given("value")) {
            self.values.insert(name, value);
        }
    }

    /// Returns `value` with `${name}` and `${env.NAME}` replaced; what is not known stays as it is.
    fn expand(&self, value: &str, depth: usize) -> String {
        let Some(begin) = value.find("${").filter(|_| depth < NAMES_DEEP_MAX) else {
            return value.to_owned();
        };
        let Some(length) = value[begin..].find('}') else { return value.to_owned() };
        let name = &value[begin + 2..begin + length];
        let found = match name.strip_prefix("env.") {
            Some(variable) => std::env::var(variable).ok(),
            None if name == "user.name" => std::env::var("USER").ok(),
            None => self.values.get(name).cloned(),
        };
        let (before, after) = (&value[..begin], &value[begin + length + 1..]);
        match found {
            Some(found) => self.expand(&format!("{before}{found}{after}"), depth + 1),
            None => format!("{before}${{{name}}}{}", self.expand(after, depth + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(core: &str, hdfs: &str) -> Result<HadoopSettings, HadoopSettingsError> {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in [("core-site.xml", core), ("hdfs-site.xml", hdfs)] {
            std::fs::write(place.path().join(name), text).unwrap();
        }
        std::fs::write(
            place.path().join("more.xml"),
            "<configuration><property><name>more</name><value>yes</value></property></configuration>",
        )
        .unwrap();
        HadoopSettings::read(place.path())
    }

    #[test]
    fn the_later_file_wins_and_names_in_values_are_replaced() {
        let core = "<?xml version=\"1.0\"?>\n<!-- c --><configuration>\
            <property><name>port</name><value> 8020 </value><final>true</final></property>\
            <property><name>fs.defaultFS</name><value>hdfs://nn:${port}/${absent}</value></property>\
            <property><name>loop</name><value>a${loop}</value></property>\
            <xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"more.xml\"/>\
            <property><name>dfs.replication</name><value>3</value></property></configuration>";
        let hdfs = "<configuration>\
            <property><name>dfs.replication</name><value>2</value></property>\
            <property><name>dfs.client.socket-timeout</name><value>30s</value></property>\
            </configuration>";
        let settings = settings_of(core, hdfs).unwrap();
        assert_eq!(settings.get("fs.defaultFS").as_deref(), Some("hdfs://nn:8020/${absent}"));
        assert_eq!(settings.get("dfs.replication").as_deref(), Some("2"));
        assert_eq!(settings.get("more").as_deref(), Some("yes"));
        assert_eq!(settings.time("dfs.client.socket-timeout"), Some(Duration::from_secs(30)));
        assert_eq!(settings.time("port"), Some(Duration::from_millis(8020)));
        assert!(settings.get("loop").is_some_and(|value| value.len() < 100));
        assert_eq!(settings.get("absent"), None);
    }

    #[test]
    fn a_file_that_is_not_a_configuration_is_an_error_with_its_name() {
        for wrong in ["", "<configuration>", "<other/>", "\u{1}"] {
            let error = settings_of("<configuration/>", wrong).unwrap_err().to_string();
            assert!(error.contains("hdfs-site.xml"), "{error}");
        }
        assert!(HadoopSettings::read(Path::new("/nonexistent")).is_ok());
    }
}
