//! `flume.opts`: further options of `agent`, from where Flume looks for them.
//!
//! Flume reads `/etc/flume/flume.opts`, else the first `flume.opts` on its class path, which begins
//! with the configuration directory. A key is an option by its short or long name. The command line
//! overrides it.

use super::arguments::CommandLine;
use super::exit::CommandError;
use super::java_options;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory};
use millpond_config::properties;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const OF_THE_MACHINE: &str = "/etc/flume/flume.opts";
/// The name in the configuration directory.
const NAME: &str = "flume.opts";
/// Size limit of the file, bytes: it is written by hand.
const BYTES_MAX: u64 = 1024 * 1024;
/// How Flume's parser spells that an option without a value is given.
const GIVEN: [&str; 3] = ["true", "yes", "1"];

/// Returns the words with the options that the file adds, and messages about them.
pub(super) fn added(words: Vec<OsString>) -> Result<(Vec<OsString>, Option<String>), CommandError> {
    added_from(Path::new(OF_THE_MACHINE), words)
}

fn added_from(
    of_the_machine: &Path,
    mut words: Vec<OsString>,
) -> Result<(Vec<OsString>, Option<String>), CommandError> {
    if !words.get(1).is_some_and(|word| word == "agent" || word == "node") {
        return Ok((words, None));
    }
    let mut line = CommandLine::command().ignore_errors(true);
    line.build();
    let agent = line.find_subcommand("agent").cloned();
    let matches = line.try_get_matches_from(words.clone()).ok();
    let given = matches.as_ref().and_then(|matches| matches.subcommand_matches("agent"));
    let (Some(agent), Some(given)) = (agent, given) else { return Ok((words, None)) };
    let conf = given.get_one::<PathBuf>("conf").map(PathBuf::as_path);
    let in_conf = java_options::conf_directory(conf).map(|conf| conf.join(NAME));
    for path in [Some(of_the_machine.to_owned()), in_conf].into_iter().flatten() {
        let bytes = match read_whole(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => continue,
            Err(error) => return Err(CommandError::Usage(format!("{}: {error}", path.display()))),
        };
        let more = options(&path, &bytes, &agent, given)?;
        let options = if more.len() == 1 { "option" } else { "options" };
        let said = format!("{} adds {} {options} to the command line", path.display(), more.len());
        words.extend(more);
        return Ok((words, Some(said)));
    }
    Ok((words, None))
}

/// Returns the options of a file that were not given, as words.
fn options(
    path: &Path,
    bytes: &[u8],
    agent: &Command,
    given: &ArgMatches,
) -> Result<Vec<OsString>, CommandError> {
    let wrong =
        |line: u32, what: String| CommandError::Usage(format!("{}:{line}: {what}", path.display()));
    let on_the_line = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
    let mut words: Vec<(&str, OsString)> = Vec::new();
    for entry in properties::entries(bytes) {
        let entry = entry.map_err(|error| wrong(error.line, error.to_string()))?;
        let (key, value) = (entry.key.trim(), entry.value.trim());
        let Some((option, long)) = agent.get_arguments().find_map(|arg| named(arg, key)) else {
            return Err(wrong(entry.line, format!("agent has no option {key}")));
        };
        let id = option.get_id().as_str();
        // Two forms of one option: the one on the command line wins over either.
        let other = match id {
            "conf_files" => Some("conf_uri"),
            "conf_uri" => Some("conf_files"),
            "conf_password" => Some("conf_password_file"),
            "conf_password_file" => Some("conf_password"),
            _ => None,
        };
        // Of several equal keys the last counts, as in every properties file.
        words.retain(|(earlier, _)| *earlier != id);
        if on_the_line(id) || other.is_some_and(on_the_line) {
            continue;
        }
        if words.iter().any(|(earlier, _)| Some(*earlier) == other) {
            let both = match id {
                "conf_files" | "conf_uri" => {
                    "the file has conf-file and conf-uri; one of them says where the configuration is"
                }
                _ => {
                    "the file has conf-password and conf-password-file; one of them is the password"
                }
            };
            return Err(wrong(entry.line, both.to_owned()));
        }
        let word = match option.get_action() {
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => {
                return Err(wrong(entry.line, format!("{key} is for the command line only")));
            }
            ArgAction::SetTrue => GIVEN.contains(&value).then(|| format!("--{long}")),
            _ => Some(format!("--{long}={value}")),
        };
        words.extend(word.map(|word| (id, word.into())));
    }
    Ok(words.into_iter().map(|(_, word)| word).collect())
}

/// Returns the long name of the option, if `key` is a name of it.
fn named<'a>(arg: &'a Arg, key: &str) -> Option<(&'a Arg, &'a str)> {
    let long = arg.get_long()?;
    let short = arg.get_short().is_some_and(|short| key.chars().eq([short]));
    let alias = arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&key));
    (key == long || short || alias).then_some((arg, long))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, line: &str, expected: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        std::fs::write(&path, file).expect("written");
        let words = line.split(' ').map(OsString::from).collect();
        let said = match added_from(&path, words) {
            Ok((words, _)) => {
                words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
            }
            Err(stop) => stop.to_string(),
        };
        assert!(said.ends_with(expected), "{file} {line}: {said}");
    }

    #[test]
    fn the_file_has_what_the_command_line_lacks() {
        check("name = a1\nf = x.conf\n", "flume-ng agent", "agent --name=a1 --conf-file=x.conf");
        check("name = a1\nf = x.conf\n", "m agent -n b -fy.conf", "agent -n b -fy.conf");
        check("n = a1\nn = a2\n", "m node --poll-interval 5", "node --poll-interval 5 --name=a2");
        check("no-reload-conf = yes\nuser = me\n", "m agent", "--no-reload-conf --conf-user=me");
        check("no-reload-conf = no\n", "m agent -n a", "agent -n a");
        check("f = x.conf\n", "m agent -n a -u file:/y", "agent -n a -u file:/y");
        check("conf-uri = file:/y\n", "m agent -n a -f x.conf", "agent -n a -f x.conf");
        check("f = x\nu = file:/y\n", "m agent -n a -f z", "agent -n a -f z");
        check("name = a1\n", "m validate -f x", "validate -f x");
    }

    #[test]
    fn what_is_no_option_is_named_with_its_line() {
        check("help = true\n", "m agent", "flume.opts:1: help is for the command line only");
        let both = "flume.opts:2: the file has conf-file and conf-uri; one of them says where the configuration is";
        check("f = x\nconf-uri = file:/y\n", "m agent -n a", both);
        check("u = file:/y\nf = x\n", "m agent -n a", both);
        check("name = a1\n\ncolour = red\n", "m agent", "flume.opts:3: agent has no option colour");
    }

    #[test]
    fn how_many_options_were_added_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(NAME);
        for (file, says) in
            [("n = a\n", "adds 1 option to"), ("n = a\nf = x\n", "adds 2 options to")]
        {
            std::fs::write(&path, file).expect("written");
            let (_, said) = added_from(&path, vec!["m".into(), "agent".into()]).expect("sound");
            assert!(said.is_some_and(|said| said.contains(says)), "{says}");
        }
    }
}
