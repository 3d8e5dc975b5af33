//! `-Dkey=value` from every place that Flume's start script takes it from.
//!
//! Later places win: `millpond.properties` in the configuration directory, `JAVA_OPTS`, `FLUME_JAVA_OPTS` (each from the environment or, if it assigns
//! them, from `flume-env.sh` in the configuration directory), then the command line.

use super::shell_assignments;
use super::words::Stop;
use crate::agent::own_settings;
use crate::base::read_whole::{ReadWholeError, read_whole};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes of `flume-env.sh` at most: it is written by hand.
const ENVIRONMENT_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Settings from `-D` options, and what there is to say about the places they came from.
#[derive(Debug, Default)]
pub(super) struct JavaOptions {
    /// Keys and values.
    pub properties: BTreeMap<String, String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// The configuration directory: `conf`, or where the environment says it is.
pub(super) fn conf_directory(conf: Option<&Path>) -> Option<PathBuf> {
    let variable = || std::env::var("FLUME_CONF_DIR").ok().filter(|d| !d.is_empty());
    conf.map(Path::to_owned).or_else(|| variable().map(PathBuf::from))
}

/// Collects the settings of the command line (`given`) and those from around it.
pub(super) fn collect(given: &[String], conf: Option<&Path>) -> Result<JavaOptions, Stop> {
    let mut options = collect_java(given, conf)?;
    if let Some(conf) = conf_directory(conf) {
        let (mut properties, mut warnings) = own_settings::read(&conf);
        properties.extend(options.properties);
        warnings.extend(options.warnings);
        options = JavaOptions { properties, warnings };
    }
    Ok(options)
}

/// The same without `millpond.properties`, which an agent reads whenever it reads its configuration.
pub(super) fn collect_java(given: &[String], conf: Option<&Path>) -> Result<JavaOptions, Stop> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut options = JavaOptions::default();
    let assigned = match conf_directory(conf) {
        Some(conf) => options.read_environment_file(&conf.join("flume-env.sh"), &environment),
        None => BTreeMap::new(),
    };
    for name in ["JAVA_OPTS", "FLUME_JAVA_OPTS"] {
        if let Some(words) = assigned.get(name).cloned().or_else(|| environment(name)) {
            options.take_words(name, &words);
        }
    }
    for pair in given {
        if pair.is_empty() || pair.starts_with('=') {
            return Err(Stop::Usage(format!("-D{pair} names no key; write -Dkey=value")));
        }
        options.take_pair(pair);
    }
    Ok(options)
}

impl JavaOptions {
    fn read_environment_file(
        &mut self,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> BTreeMap<String, String> {
        let bytes = match read_whole(path, ENVIRONMENT_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ReadWholeError::Missing) => return BTreeMap::new(),
            Err(error) => {
                self.warnings.push(format!("{}: not used: {error}", path.display()));
                return BTreeMap::new();
            }
        };
        let found = shell_assignments::read(&String::from_utf8_lossy(&bytes), environment);
        for (line, why) in found.left_out {
            self.warnings.push(format!("{}:{line}: left out: {why}", path.display()));
        }
        for line in found.misspelt {
            self.warnings.push(format!(
                "{}:{line}: taken as if it said export; a shell, and so Flume, does not know the word in capitals",
                path.display()
            ));
        }
        found.values
    }

    fn take_words(&mut self, place: &str, words: &str) {
        let mut without_effect = Vec::new();
        let mut words = words.split_whitespace();
        while let Some(word) = words.next() {
            match word.strip_prefix("-D") {
                Some("") => words.next().into_iter().for_each(|pair| self.take_pair(pair)),
                Some(pair) => self.take_pair(pair),
                None => without_effect.push(word),
            }
        }
        if !without_effect.is_empty() {
            let words = without_effect.join(" ");
            self.warnings.push(format!("{place}: {words}: no effect, there is no Java here"));
        }
    }

    fn take_pair(&mut self, pair: &str) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // log4j documents `-Dflume.root.logger==DEBUG,console`; the second `=` is no part of it.
        let logs = key.starts_with("flume.") || key.starts_with("log4j");
        let value = if logs { value.strip_prefix('=').unwrap_or(value) } else { value };
        self.properties.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], conf: &Path, expected: &[(&str, &str)], warnings: usize) {
        let given: Vec<String> = given.iter().map(|g| (*g).to_owned()).collect();
        let options = collect(&given, Some(conf)).expect("good options");
        for (key, value) in expected {
            assert_eq!(options.properties.get(*key).map(String::as_str), Some(*value), "{key}");
        }
        assert_eq!(options.warnings.len(), warnings, "{:?}", options.warnings);
    }

    #[test]
    fn the_command_line_wins_over_the_environment_file() {
        let conf = tempfile::tempdir().expect("a directory");
        std::fs::write(
            conf.path().join("flume-env.sh"),
            "export JAVA_OPTS=\"-Dflume.monitoring.type=ganglia -Dflume.monitoring.hosts=h:8649 \n\
             -Xms100m -Xmx200m\"\n",
        )
        .expect("written");
        // The quotes go over two lines.
        let monitored =
            [("flume.monitoring.type", "ganglia"), ("flume.monitoring.hosts", "h:8649")];
        check(&["a=b"], conf.path(), &[&monitored[..], &[("a", "b")]].concat(), 1);

        // As a guide has it that many follow: in capitals, over four lines.
        std::fs::write(
            conf.path().join("flume-env.sh"),
            "EXPORT JAVA_OPTS=\"-Dflume.monitoring.type=ganglia\n\
             -Dflume.monitoring.hosts=192.168.1.102:8649\n-Xms100m\n-Xmx200m\"\n",
        )
        .expect("written");
        let monitored = [
            ("flume.monitoring.type", "ganglia"),
            ("flume.monitoring.hosts", "192.168.1.102:8649"),
        ];
        check(&[], conf.path(), &monitored, 2);

        std::fs::write(
            conf.path().join("flume-env.sh"),
            "export JAVA_OPTS=\"-Da=1 -D b=2 -Xmx200m\"\nexport FLUME_JAVA_OPTS='-Db=3 -Dc=4'\n",
        )
        .expect("written");
        check(&["c=5"], conf.path(), &[("a", "1"), ("b", "3"), ("c", "5")], 1);
    }

    #[test]
    fn an_option_wins_over_millponds_own_file() {
        let conf = tempfile::tempdir().expect("a directory");
        std::fs::write(
            conf.path().join(own_settings::NAME),
            "external.a.B = 1\nexternal.a.C = 2\n",
        )
        .expect("written");
        let expected = [("millpond.external.a.B", "3"), ("millpond.external.a.C", "2")];
        check(&["millpond.external.a.B=3"], conf.path(), &expected, 0);
    }

    #[test]
    fn the_second_equals_sign_of_log4j_is_understood() {
        let conf = Path::new("/nonexistent");
        check(
            &["flume.root.logger==DEBUG,console"],
            conf,
            &[("flume.root.logger", "DEBUG,console")],
            0,
        );
        check(&["x==y", "z"], conf, &[("x", "=y"), ("z", "")], 0);
    }

    #[test]
    fn an_option_without_a_key_is_refused() {
        for given in ["", "=x"] {
            let refused = collect(&[given.to_owned()], None);
            assert!(matches!(refused, Err(Stop::Usage(_))), "{given}");
        }
    }
}
