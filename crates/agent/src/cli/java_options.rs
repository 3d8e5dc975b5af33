//! `-Dkey=value` from every place that Flume's start script reads.
//!
//! Later places win: `millpond.properties` in the configuration directory, `JAVA_OPTS`,
//! `FLUME_JAVA_OPTS` (each from the environment or, if it assigns them, from `flume-env.sh` in the
//! configuration directory), then the command line.

use super::exit::CommandError;
use super::shell_assignments;
use crate::agent::own_settings;
use millpond_flow::base::files;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::settings::flume_names;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Size limit of `flume-env.sh`, bytes: it is written by hand.
const ENVIRONMENT_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Settings from `-D` options, and warnings about their places.
#[derive(Debug, Default)]
pub(super) struct JavaOptions {
    /// Keys and values.
    pub properties: BTreeMap<String, String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Returns the configuration directory: `conf`, or the one that the environment names.
pub(super) fn conf_directory(conf: Option<&Path>) -> Option<PathBuf> {
    let variable = || std::env::var("FLUME_CONF_DIR").ok().filter(|d| !d.is_empty());
    conf.map(Path::to_owned).or_else(|| variable().map(PathBuf::from))
}

/// Collects the settings of the command line (`given`) and those of its environment.
pub(super) fn collect(given: &[String], conf: Option<&Path>) -> Result<JavaOptions, CommandError> {
    let mut options = collect_java(given, conf)?;
    if let Some(conf) = conf_directory(conf) {
        let (mut properties, mut warnings) = own_settings::read(&conf);
        properties.extend(options.properties);
        warnings.extend(options.warnings);
        options = JavaOptions { properties, warnings };
    }
    Ok(options)
}

/// Collects them without `millpond.properties`, which an agent reads whenever it reads its
/// configuration.
pub(super) fn collect_java(
    given: &[String],
    conf: Option<&Path>,
) -> Result<JavaOptions, CommandError> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut options = JavaOptions::default();
    if let Some(conf) = conf
        && let Err(error) = files::list(conf)
    {
        let shown = conf.display();
        options.warnings.push(format!(
            "--conf {shown}: {error}; flume-env.sh, flume.opts and millpond.properties are looked for there"
        ));
    }
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
            return Err(CommandError::Usage(format!("-D{pair} names no key; write -Dkey=value")));
        }
        options.take_pair(pair);
    }
    options.warnings.extend(options.properties.keys().filter_map(|key| misspelt(key)));
    Ok(options)
}

/// Known options, except those of monitoring, which are checked where they are read.
const KNOWN: [&str; 21] = [
    "flume.root.logger",
    "flume.log.dir",
    "flume.log.file",
    "flume.ssl.include.protocols",
    "flume.ssl.exclude.protocols",
    "flume.ssl.include.cipherSuites",
    "flume.ssl.exclude.cipherSuites",
    "flume.monitoring.type",
    "flume.monitoring.port",
    "flume.monitoring.hosts",
    "flume.monitoring.pollFrequency",
    "millpond.log.format",
    "millpond.log.fileBytesMax",
    "millpond.log.filesMax",
    "millpond.admin.socket",
    "propertiesImplementation",
    "javax.net.ssl.keyStore",
    "javax.net.ssl.keyStorePassword",
    "javax.net.ssl.keyStoreType",
    "javax.net.ssl.trustStore",
    "javax.net.ssl.trustStorePassword",
];
/// Options whose last part may vary.
const FAMILIES: [&str; 3] = ["flume.monitoring.", "millpond.external.", "javax.net.ssl."];

/// Returns a warning about an option that resembles a known one. Any other may be for
/// `${sys:NAME}`.
fn misspelt(key: &str) -> Option<String> {
    if KNOWN.contains(&key) || FAMILIES.iter().any(|family| key.starts_with(family)) {
        return None;
    }
    let meant = flume_names::nearest(key, KNOWN);
    let hint = meant.map(|name| format!("; did you mean -D{name}?")).unwrap_or_default();
    let is_ours = key.starts_with("millpond.");
    (is_ours || meant.is_some()).then(|| format!("-D{key}: no such option{hint}"))
}

impl JavaOptions {
    fn read_environment_file(
        &mut self,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> BTreeMap<String, String> {
        let bytes = match read_whole(path, ENVIRONMENT_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => return BTreeMap::new(),
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
        // log4j documents `-Dflume.root.logger==DEBUG,console`; the second `=` is not part of it.
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
    fn an_option_that_looks_like_a_known_one_is_named_with_it() {
        for (key, meant) in [
            ("flume.monitring.type", Some("did you mean -Dflume.monitoring.type?")),
            ("flume.root.loger", Some("did you mean -Dflume.root.logger?")),
            ("millpond.log.fromat", Some("did you mean -Dmillpond.log.format?")),
            ("millpond.nonsense", Some("no such option")),
            ("flume.monitoring.tpye", None),
            ("millpond.external.com.x.Y", None),
            ("javax.net.ssl.trustStore", None),
            ("flume.root.logger", None),
            ("foo", None),
            ("flume.home", None),
        ] {
            let said = misspelt(key);
            assert_eq!(said.is_some(), meant.is_some(), "{key}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(meant.unwrap_or_default())), "{key}");
        }
    }

    #[test]
    fn a_configuration_directory_that_is_not_there_is_named() {
        let options = collect_java(&[], Some(Path::new("/nonexistent/conf"))).expect("options");
        assert!(options.warnings[0].starts_with("--conf /nonexistent/conf: "), "{options:?}");
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
        // The quotes span two lines.
        let monitored =
            [("flume.monitoring.type", "ganglia"), ("flume.monitoring.hosts", "h:8649")];
        check(&["a=b"], conf.path(), &[&monitored[..], &[("a", "b")]].concat(), 1);

        // As in a widely used guide: in capitals, over four lines.
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
        let conf = Path::new("/");
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
            assert!(matches!(refused, Err(CommandError::Usage(_))), "{given}");
        }
    }
}
