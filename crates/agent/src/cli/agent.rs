//! `agent`: resolves Flume's command line, then runs the agent.

use super::allocator;
use super::arguments::{
    AgentArguments, ConfigurationArguments, IgnoredOptions, UnsupportedOptions,
};
use super::exit::{CommandError, say, show};
use super::java_options::{self, JavaOptions};
use crate::agent::config_origin::{ConfigOrigin, OriginAccess};
use crate::agent::{self, AgentOptions, POLL, STOP_DEADLINE};
use millpond_config::effective_settings;
use millpond_flow::net::endpoint::{Endpoint, shown};
use millpond_flow::net::http_auth::Secret;
use millpond_zookeeper::address::{AddressError, BASE, NodeAddress};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Runs `agent`. `notes` are the messages about the command line; with the warnings found here they
/// become lines of the agent's log. An error before the log begins writes them to stderr as they
/// are.
pub(super) fn run(arguments: &AgentArguments, mut notes: Vec<String>) -> Result<(), CommandError> {
    match prepare(arguments, &mut notes) {
        Ok(Some(options)) => agent::run(&options).map_err(|_| CommandError::Logged),
        ended => {
            notes.iter().for_each(|note| say(note));
            ended.map(|_| ())
        }
    }
}

/// Returns the options of the agent; `None` if only a report was asked for.
fn prepare(
    arguments: &AgentArguments,
    notes: &mut Vec<String>,
) -> Result<Option<AgentOptions>, CommandError> {
    refuse_absent(&arguments.absent)?;
    let origins = origins(&arguments.configuration)?;
    let outside = &arguments.configuration.outside;
    let conf = outside.conf.as_deref();
    let options = java_options::collect_java(&outside.properties, conf)?;
    notes.extend(options.warnings.iter().map(|warning| format!("warning: {warning}")));
    notes.extend(without_effect(&arguments.without_effect));
    if arguments.dryrun {
        let options = java_options::collect(&outside.properties, conf)?;
        return show(&command(arguments, &origins, &options)).map(|()| None);
    }
    agent_options(arguments, origins, options, notes).map(Some)
}

fn agent_options(
    arguments: &AgentArguments,
    origins: Vec<ConfigOrigin>,
    options: JavaOptions,
    notes: &mut Vec<String>,
) -> Result<AgentOptions, CommandError> {
    allocator::share_one_arena();
    let configuration = &arguments.configuration;
    let name = configuration.name.clone();
    let properties = options.properties;
    let access = access(configuration, &origins, &properties, notes)?;
    let every = arguments.poll_interval.map_or(POLL, Duration::from_secs);
    let poll = (!arguments.no_reload_conf).then_some(every);
    Ok(AgentOptions {
        name,
        origins,
        access,
        backup: arguments.backup_directory.clone(),
        own_settings: java_options::conf_directory(configuration.outside.conf.as_deref()),
        properties,
        stop_deadline: STOP_DEADLINE,
        poll,
        warnings: std::mem::take(notes),
    })
}

/// Returns the origins that `-z`, `-f` or `-u` name.
pub(super) fn origins(
    arguments: &ConfigurationArguments,
) -> Result<Vec<ConfigOrigin>, CommandError> {
    if let Some(connect) = &arguments.zookeeper {
        let base = arguments.zookeeper_path.as_deref().unwrap_or(BASE);
        let node = NodeAddress::parse(connect, base, &arguments.name);
        return match node {
            Ok(node) => Ok(vec![ConfigOrigin::ZooKeeper(node)]),
            Err(error @ AddressError::Path { .. }) => {
                Err(CommandError::Usage(format!("--zkConnString, --zkBasePath, --name: {error}")))
            }
            Err(error) => Err(CommandError::Usage(format!("--zkConnString: {error}"))),
        };
    }
    if !arguments.conf_files.is_empty() {
        return Ok(arguments.conf_files.iter().cloned().map(ConfigOrigin::File).collect());
    }
    arguments.conf_uri.iter().map(|uri| origin(uri)).collect()
}

fn origin(uri: &str) -> Result<ConfigOrigin, CommandError> {
    let wrong = |why: &str| Err(CommandError::Usage(format!("--conf-uri {}: {why}", shown(uri))));
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    if [".json", ".yaml", ".xml"].iter().any(|end| path.ends_with(end)) {
        return wrong("a configuration is a text of properties, as for Flume");
    }
    let scheme = uri.split(':').next().unwrap_or_default().to_lowercase();
    match scheme.as_str() {
        "http" | "https" => match Endpoint::named(uri) {
            Some(endpoint) if endpoint.has_user() => {
                wrong("say who asks with --conf-user and --conf-password")
            }
            Some(endpoint) => Ok(ConfigOrigin::Web(endpoint)),
            None => wrong("is not a URL with a host"),
        },
        "file" => file(uri),
        "classpath" => wrong("there is no Java here, and no class path; use file: or -f FILE"),
        _ => wrong("there are file:, http: and https:; or use -f FILE"),
    }
}

/// Returns the path of a URI with `file:`.
fn file(uri: &str) -> Result<ConfigOrigin, CommandError> {
    let rest = uri.split_once(':').map_or("", |(_, rest)| rest);
    // file:///a and file:/a are the same path; a host other than localhost is another machine.
    let path = match rest.strip_prefix("//") {
        Some(host) => host.strip_prefix("localhost").unwrap_or(host),
        None => rest,
    };
    if path.starts_with('/') && !path.contains(['%', '?', '#']) {
        Ok(ConfigOrigin::File(PathBuf::from(path)))
    } else {
        Err(CommandError::Usage(format!(
            "--conf-uri {}: not file:///PATH; use -f FILE",
            shown(uri)
        )))
    }
}

/// Returns how web servers are accessed for the configuration.
pub(super) fn access(
    arguments: &ConfigurationArguments,
    origins: &[ConfigOrigin],
    properties: &BTreeMap<String, String>,
    notes: &mut Vec<String>,
) -> Result<OriginAccess, CommandError> {
    let given = arguments.conf_password.is_some() || arguments.conf_password_file.is_some();
    let user = match &arguments.conf_user {
        Some(name) if given && name.contains(':') => {
            return Err(CommandError::Usage("--conf-user: a name has no colon".to_owned()));
        }
        Some(name) if given => Some((name.as_str(), password(arguments)?)),
        None if !given => None,
        _ => {
            let words = "--conf-user and --conf-password (or --conf-password-file): one says nothing without the other";
            return Err(CommandError::Usage(words.to_owned()));
        }
    };
    let user = user.as_ref().map(|(name, password)| (*name, password.as_str()));
    for endpoint in origins.iter().filter_map(in_the_clear) {
        if user.is_some() {
            return Err(CommandError::Usage(format!(
                "--conf-password: {endpoint} has no TLS, and anyone on the network path could read the password; use https"
            )));
        }
        notes.push(format!(
            "warning: --conf-uri {endpoint}: without TLS, anyone on the network path can send another configuration, and with it commands that this agent runs; use https"
        ));
    }
    if user.is_some() && origins.iter().all(|origin| matches!(origin, ConfigOrigin::File(_))) {
        let words = "--conf-user, --conf-password: no effect, the configuration is read from files";
        notes.push(format!("warning: {words}"));
    }
    let access = OriginAccess::new(user, properties);
    notes.extend(zookeeper_warnings(arguments, origins, user.is_some(), access.has_ensemble_tls()));
    Ok(access)
}

/// Returns the warnings about a configuration in ZooKeeper.
fn zookeeper_warnings(
    arguments: &ConfigurationArguments,
    origins: &[ConfigOrigin],
    has_user: bool,
    has_tls: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if arguments.zookeeper.is_none() && arguments.zookeeper_path.is_some() {
        warnings.push("--zkBasePath: no effect without --zkConnString".to_owned());
    }
    if arguments.zookeeper.is_some() {
        let given =
            [("-f", arguments.conf_files.is_empty()), ("-u", arguments.conf_uri.is_empty())];
        for (option, _) in given.into_iter().filter(|(_, is_absent)| !is_absent) {
            warnings.push(format!("{option}: no effect, the configuration is in ZooKeeper (-z)"));
        }
    }
    for origin in origins {
        let ConfigOrigin::ZooKeeper(node) = origin else { continue };
        if has_tls || node.is_loopback() {
            continue;
        }
        let password = if has_user { "read the password, and can " } else { "" };
        warnings.push(format!(
            "-z {node}: without TLS, anyone on the network path can {password}send another configuration, and with it commands that this agent runs; use -Dzookeeper.client.secure=true"
        ));
    }
    warnings.into_iter().map(|words| format!("warning: {words}")).collect()
}

/// Returns the password for a web server, from an option or a file.
fn password(arguments: &ConfigurationArguments) -> Result<String, CommandError> {
    match (&arguments.conf_password, &arguments.conf_password_file) {
        (Some(word), _) => Ok(word.clone()),
        (None, Some(file)) => Secret::File(file.clone())
            .read()
            .map_err(|error| CommandError::Failed(format!("--conf-password-file: {error}"))),
        (None, None) => Ok(String::new()),
    }
}

/// Returns the first origin on another machine that is read without TLS.
fn in_the_clear(origin: &ConfigOrigin) -> Option<&Endpoint> {
    match origin {
        ConfigOrigin::Web(endpoint) if !endpoint.is_tls() && !endpoint.is_loopback() => {
            Some(endpoint)
        }
        ConfigOrigin::Web(_) | ConfigOrigin::File(_) | ConfigOrigin::ZooKeeper(_) => None,
    }
}

fn refuse_absent(absent: &UnsupportedOptions) -> Result<(), CommandError> {
    let given = [
        (
            "--conf-provider",
            absent.conf_provider.is_some(),
            "it names a Java class; use -f FILE or -u URI",
        ),
        (
            "--auth-provider",
            absent.auth_provider.is_some(),
            "it names a Java class; --conf-user and --conf-password are there",
        ),
    ];
    match given.iter().find(|(_, is_given, _)| *is_given) {
        Some((option, _, why)) => Err(CommandError::Usage(format!("{option}: {why}"))),
        None => Ok(()),
    }
}

/// Returns the warnings about options that only Java has.
pub(super) fn without_effect(options: &IgnoredOptions) -> Vec<String> {
    let given = [
        ("--classpath", &options.classpath),
        ("--plugins-path", &options.plugins_path),
        ("-X", &options.java_machine),
        ("-javaagent", &options.javaagent),
        ("-agentlib", &options.agentlib),
        ("-agentpath", &options.agentpath),
    ];
    let given = given.into_iter().filter(|(_, values)| !values.is_empty());
    let note = |(option, values): (&str, &Vec<String>)| {
        format!("warning: {option} {}: no effect, there is no Java here", values.join(" "))
    };
    given.map(note).collect()
}

/// Returns the command with everything that the environment added, for `--dryrun`; passwords are
/// not shown.
fn command(arguments: &AgentArguments, origins: &[ConfigOrigin], options: &JavaOptions) -> String {
    let mut words = vec!["millpond agent -n".to_owned(), quoted(&arguments.configuration.name)];
    for origin in origins {
        let (option, value) = match origin {
            ConfigOrigin::File(_) => ("-f", origin.to_string()),
            ConfigOrigin::Web(_) => ("-u", origin.to_string()),
            ConfigOrigin::ZooKeeper(node) => ("-z", node.servers_text()),
        };
        words.push(format!("{option} {}", quoted(&value)));
        if let ConfigOrigin::ZooKeeper(node) = origin {
            words.push(format!("-p {}", quoted(node.base())));
        }
    }
    if let Some(directory) = &arguments.backup_directory {
        words.push(format!("-b {}", quoted(&directory.display().to_string())));
    }
    if arguments.no_reload_conf {
        words.push("--no-reload-conf".to_owned());
    }
    for (key, value) in &options.properties {
        let name = key.rsplit('.').next().unwrap_or(key);
        words.push(quoted(&format!("-D{key}={}", effective_settings::shown(key, name, value))));
    }
    words.join(" ") + "\n"
}

/// Quotes `word` for a shell.
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
    use super::super::arguments::{CliCommand, CommandLine};
    use super::*;
    use clap::Parser;

    fn read(line: &str) -> AgentArguments {
        let line = CommandLine::try_parse_from(line.split(' ')).expect("a good command line");
        match line.command {
            CliCommand::Agent(arguments) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_that_are_not_there_are_refused_by_name() {
        for (option, value) in [
            ("--conf-provider", "x"),
            ("--auth-provider", "x"),
            ("-z", ":2181"),
            ("-z", "h -p flume"),
        ] {
            let line = format!("flume-ng agent -n a -f x {option} {value}");
            let stop = run(&read(&line), Vec::new());
            assert!(
                matches!(stop, Err(CommandError::Usage(words)) if words.starts_with("--")),
                "{option}"
            );
        }
    }

    #[test]
    fn uris_are_files_and_pages_and_others_are_refused() {
        let named = |uri: &str| origins(&read(&format!("m agent -n a -u {uri}")).configuration);
        let file = |path: &str| vec![ConfigOrigin::File(PathBuf::from(path))];
        assert_eq!(named("file:///a/b.conf").expect("a file"), file("/a/b.conf"));
        assert_eq!(named("file:/a/b.conf").expect("a file"), file("/a/b.conf"));
        assert_eq!(named("file://localhost/a").expect("a file"), file("/a"));
        for uri in ["http://h/a", "https://h:8443/a/b.conf?x=y"] {
            let page = vec![ConfigOrigin::Web(Endpoint::named(uri).expect("a page"))];
            assert_eq!(named(uri).expect("a page"), page);
        }
        for uri in [
            "file://host/a",
            "classpath:///a",
            "a.conf",
            "file:///a%20b",
            "http://",
            "https://me:secret@h/a",
            "https://me:secret@h/a.json",
            "https://me:secret@",
            "http://h/a.json?token=secret",
            "ftp://h/a?secret",
            "file:///a?secret",
        ] {
            let Err(CommandError::Usage(words)) = named(uri) else { panic!("{uri}") };
            assert!(!words.contains("secret"), "{words}");
        }
    }

    #[test]
    fn a_node_of_zookeeper_comes_before_files_and_says_so() {
        let arguments = read("m agent -n a -f x.conf -z h:1,i/c -p /b").configuration;
        let found = origins(&arguments).expect("a node");
        assert_eq!(found[0].to_string(), "zookeeper://h:1,i:2181/c/b/a");
        let mut notes = Vec::new();
        let secure = "zookeeper.client.secure".to_owned();
        access(&arguments, &found, &BTreeMap::new(), &mut notes).expect("an access");
        assert!(notes.len() == 2 && notes[0].contains("-f: no effect"), "{notes:?}");
        assert!(notes[1].contains("without TLS"), "{notes:?}");
        notes.clear();
        let properties = BTreeMap::from([(secure, "true".to_owned())]);
        access(&arguments, &found, &properties, &mut notes).expect("an access");
        assert_eq!(notes.len(), 1, "{notes:?}");
        let arguments = read("m agent -n a -f x.conf -p /b").configuration;
        notes.clear();
        access(&arguments, &[], &BTreeMap::new(), &mut notes).expect("an access");
        assert!(notes[0].contains("--zkBasePath"), "{notes:?}");
        let arguments = read("m agent -n a1 -z h:1,i/c -p /b");
        let found = origins(&arguments.configuration).expect("a node");
        let shown = command(&arguments, &found, &JavaOptions::default());
        assert_eq!(shown, "millpond agent -n a1 -z h:1,i:2181 -p /c/b\n");
    }

    #[test]
    fn who_asks_is_a_name_and_a_password() {
        let asks = |more: &str| {
            let read = read(&format!("m agent -n a -u http://h/a{more}"));
            access(&read.configuration, &[], &BTreeMap::new(), &mut Vec::new()).is_ok()
        };
        assert!(asks("") && asks(" --conf-user u --conf-password p"));
        assert!(!asks(" --conf-user u") && !asks(" --conf-password p"));
        assert!(!asks(" --conf-user u:v --conf-password p"));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, "geheim\n").expect("written");
        let path = file.path().display();
        assert!(asks(&format!(" --conf-user u --conf-password-file {path}")));
        assert!(!asks(&format!(" --conf-password-file {path}")));
        assert!(!asks(" --conf-user u --conf-password-file /nowhere/password"));
        let arguments =
            read(&format!("m agent -n a -u http://h/a --conf-user u --conf-password-file {path}"));
        assert_eq!(password(&arguments.configuration).ok().as_deref(), Some("geheim"));
    }

    #[test]
    fn a_dry_run_shows_what_would_run() {
        let arguments = read("m agent -n a -f x.conf --no-reload-conf");
        let mut options = JavaOptions::default();
        options.properties.insert("k".to_owned(), "it's v".to_owned());
        for key in ["x.trustStorePassword", "x.DB_PASSWORD"] {
            options.properties.insert(key.to_owned(), "geheim".to_owned());
        }
        let url = "https://me:geheim@h/a?token=geheim";
        options.properties.insert("u".to_owned(), url.to_owned());
        let shown = command(&arguments, &[ConfigOrigin::File(PathBuf::from("x.conf"))], &options);
        let masked =
            "'-Du=https://…@h/a?token=…' '-Dx.DB_PASSWORD=***' '-Dx.trustStorePassword=***'";
        let whole =
            format!("millpond agent -n a -f x.conf --no-reload-conf '-Dk=it'\\''s v' {masked}\n");
        assert_eq!(shown, whole);
    }
}
