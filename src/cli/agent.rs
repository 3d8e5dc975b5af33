//! `agent`: what is Flume's about the command line is settled here, then the agent runs.

use super::arguments::{Absent, AgentArguments, ConfigurationArguments, WithoutEffect};
use super::java_options::{self, JavaOptions};
use super::words::{Stop, say, show};
use crate::agent::{self, AgentOptions, POLL, STOP_DEADLINE};
use std::path::PathBuf;
use std::time::Duration;

pub(super) fn run(arguments: &AgentArguments) -> Result<(), Stop> {
    refuse_absent(&arguments.absent)?;
    let files = configuration_files(&arguments.configuration)?;
    let outside = &arguments.configuration.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    say_without_effect(&arguments.without_effect);
    monitoring_is_absent(&options).iter().for_each(|warning| say(warning));
    if arguments.dryrun {
        return show(&command(arguments, &files, &options));
    }
    start(arguments, files, options)
}

fn start(
    arguments: &AgentArguments,
    files: Vec<PathBuf>,
    options: JavaOptions,
) -> Result<(), Stop> {
    let name = arguments.configuration.name.clone();
    let properties = options.properties;
    let every = arguments.poll_interval.map_or(POLL, Duration::from_secs);
    let poll = (!arguments.no_reload_conf).then_some(every);
    let options = AgentOptions { name, files, properties, stop_deadline: STOP_DEADLINE, poll };
    agent::run(&options).map_err(|error| Stop::Failed(error.to_string()))
}

/// The files that `-f` or `-u` name.
pub(super) fn configuration_files(
    arguments: &ConfigurationArguments,
) -> Result<Vec<PathBuf>, Stop> {
    if !arguments.conf_files.is_empty() {
        return Ok(arguments.conf_files.clone());
    }
    let path = |uri: &String| {
        let rest = uri.strip_prefix("file:").ok_or_else(|| {
            Stop::Usage(format!("--conf-uri {uri}: only file: is there; fetch it and use -f FILE"))
        })?;
        // file:///a and file:/a are the same path; a host other than localhost is another machine.
        let path = match rest.strip_prefix("//") {
            Some(host) => host.strip_prefix("localhost").unwrap_or(host),
            None => rest,
        };
        if path.starts_with('/') && !path.contains('%') {
            Ok(PathBuf::from(path))
        } else {
            Err(Stop::Usage(format!("--conf-uri {uri}: not file:///PATH; use -f FILE")))
        }
    };
    arguments.conf_uri.iter().map(path).collect()
}

fn refuse_absent(absent: &Absent) -> Result<(), Stop> {
    let given = [
        ("--conf-provider", absent.conf_provider.is_some(), "it names a Java class; use -f FILE"),
        ("--auth-provider", absent.auth_provider.is_some(), "it names a Java class"),
        ("--conf-user", absent.conf_user.is_some(), "configurations come from files; use -f FILE"),
        (
            "--conf-password",
            absent.conf_password.is_some(),
            "configurations come from files; use -f FILE",
        ),
        (
            "--zkConnString",
            absent.zookeeper.is_some(),
            "configurations in ZooKeeper are not there yet; use -f FILE",
        ),
        (
            "--zkBasePath",
            absent.zookeeper_path.is_some(),
            "configurations in ZooKeeper are not there yet; use -f FILE",
        ),
        (
            "--backup-directory",
            absent.backup_directory.is_some(),
            "no copy of the configuration is kept; leave it out",
        ),
    ];
    match given.iter().find(|(_, is_given, _)| *is_given) {
        Some((option, _, why)) => Err(Stop::Usage(format!("{option}: {why}"))),
        None => Ok(()),
    }
}

/// Flume's counters on HTTP or in Ganglia are switched on by options, and are not there yet.
fn monitoring_is_absent(options: &JavaOptions) -> Vec<String> {
    let asked = options.properties.iter().filter(|(key, _)| key.starts_with("flume.monitoring."));
    asked
        .map(|(key, value)| {
            format!("warning: -D{key}={value}: no effect, monitoring is not there yet")
        })
        .collect()
}

pub(super) fn say_without_effect(options: &WithoutEffect) {
    let given = [
        ("--classpath", &options.classpath),
        ("--plugins-path", &options.plugins_path),
        ("-X", &options.java_machine),
        ("-javaagent", &options.javaagent),
        ("-agentlib", &options.agentlib),
        ("-agentpath", &options.agentpath),
    ];
    for (option, values) in given {
        if !values.is_empty() {
            let values = values.join(" ");
            say(&format!("warning: {option} {values}: no effect, there is no Java here"));
        }
    }
}

/// The command with everything that the environment added, for `--dryrun`.
fn command(arguments: &AgentArguments, files: &[PathBuf], options: &JavaOptions) -> String {
    let mut words = vec!["millpond agent -n".to_owned(), quoted(&arguments.configuration.name)];
    for file in files {
        words.push(format!("-f {}", quoted(&file.display().to_string())));
    }
    if arguments.no_reload_conf {
        words.push("--no-reload-conf".to_owned());
    }
    for (key, value) in &options.properties {
        words.push(quoted(&format!("-D{key}={value}")));
    }
    words.join(" ") + "\n"
}

/// `word` as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=,:@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::arguments::{Command, CommandLine};
    use super::*;
    use clap::Parser;

    fn read(line: &str) -> AgentArguments {
        let line = CommandLine::try_parse_from(line.split(' ')).expect("a good command line");
        match line.command {
            Command::Agent(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_that_are_not_there_are_refused_by_name() {
        for (option, value) in [
            ("--conf-provider", "x"),
            ("--auth-provider", "x"),
            ("--conf-user", "x"),
            ("--conf-password", "x"),
            ("-z", "h:2181"),
            ("-p", "/flume"),
            ("-b", "dir"),
        ] {
            let stop = run(&read(&format!("flume-ng agent -n a -f x {option} {value}")));
            assert!(matches!(stop, Err(Stop::Usage(words)) if words.starts_with("--")), "{option}");
        }
    }

    #[test]
    fn monitoring_that_is_asked_for_is_not_ignored_in_silence() {
        let mut options = JavaOptions::default();
        options.properties.insert("flume.root.logger".to_owned(), "INFO".to_owned());
        assert!(monitoring_is_absent(&options).is_empty());
        options.properties.insert("flume.monitoring.type".to_owned(), "http".to_owned());
        assert!(monitoring_is_absent(&options)[0].contains("-Dflume.monitoring.type=http"));
    }

    #[test]
    fn file_uris_are_files_and_others_are_refused() {
        let files =
            |uri: &str| configuration_files(&read(&format!("m agent -n a -u {uri}")).configuration);
        assert_eq!(files("file:///a/b.conf").expect("a file"), [PathBuf::from("/a/b.conf")]);
        assert_eq!(files("file:/a/b.conf").expect("a file"), [PathBuf::from("/a/b.conf")]);
        assert_eq!(files("file://localhost/a").expect("a file"), [PathBuf::from("/a")]);
        for uri in ["http://h/a", "file://host/a", "classpath:///a", "a.conf", "file:///a%20b"] {
            assert!(matches!(files(uri), Err(Stop::Usage(_))), "{uri}");
        }
    }

    #[test]
    fn a_dry_run_shows_what_would_run() {
        let arguments = read("m agent -n a -f x.conf --no-reload-conf");
        let mut options = JavaOptions::default();
        options.properties.insert("k".to_owned(), "it's v".to_owned());
        let shown = command(&arguments, &[PathBuf::from("x.conf")], &options);
        assert_eq!(shown, "millpond agent -n a -f x.conf --no-reload-conf '-Dk=it'\\''s v'\n");
    }
}
