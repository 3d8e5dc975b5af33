//! Forms of options that Flume's start script accepts and the parser does not.
//!
//! * A typographic dash (`–f`, as text processors make of `-f`) is replaced by the intended dash,
//!   with a warning.
//! * A long option with one dash (`-conf-file`, `-pwd`) is what Flume's parser reads as the long
//!   option.
//! * Options of the Java machine (`-javaagent:…`) become options with a name of their own, which
//!   are then reported to have no effect.

use std::ffi::OsString;

/// Long options of Flume's commands, as its parser accepts them after one dash.
const LONG_OPTIONS: &[&str] = &[
    "name",
    "conf",
    "conf-file",
    "conf-uri",
    "conf-provider",
    "prov",
    "auth-provider",
    "conf-user",
    "user",
    "conf-password",
    "conf-password-file",
    "pwd",
    "zkConnString",
    "zkBasePath",
    "poll-interval",
    "backup-directory",
    "no-reload-conf",
    "classpath",
    "dryrun",
    "plugins-path",
    "help",
    "rpcProps",
    "host",
    "port",
    "filename",
    "dirname",
    "headerFile",
    "dataDirs",
    "eventValidator",
];

const JAVA_OPTIONS: &[&str] = &["javaagent", "agentlib", "agentpath"];

/// Returns the words in their intended form, and a warning for each changed one.
pub(super) fn normalized(words: Vec<OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut warnings = Vec::new();
    let meant = words
        .into_iter()
        .enumerate()
        .map(|(i, word)| match word.to_str() {
            Some(text) if i > 0 => one(text, &mut warnings).map_or(word, OsString::from),
            _ => word,
        })
        .collect();
    (meant, warnings)
}

/// Returns the intended form of `word`, if it differs.
fn one(word: &str, warnings: &mut Vec<String>) -> Option<String> {
    if let Some(meant) = plain_dashes(word) {
        warnings.push(format!(
            "\"{word}\" begins with a typographic dash; taken as \"{meant}\" (write a plain \"-\")"
        ));
        return Some(one(&meant, warnings).unwrap_or(meant));
    }
    let name = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    if let Some(java) = JAVA_OPTIONS.iter().find(|j| name.starts_with(**j)) {
        let value = name[java.len()..].trim_start_matches([':', '=']);
        return Some(format!("--{java}={value}"));
    }
    let long = name.split('=').next().unwrap_or(name);
    LONG_OPTIONS.contains(&long).then(|| format!("--{name}"))
}

/// Returns `–f` as `-f`, `—name` and `–name` as `--name`; `None` if the word does not begin with a
/// typographic dash.
fn plain_dashes(word: &str) -> Option<String> {
    let typographic = |c: char| {
        matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
    };
    let after_plain = word.strip_prefix('-').is_some_and(|w| w.starts_with(typographic));
    if !(word.starts_with(typographic) || after_plain) {
        return None;
    }
    let name = word.trim_start_matches(|c| c == '-' || typographic(c));
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let java =
        name.len() > 1 && (name.starts_with('X') || (name.starts_with('D') && name.contains('=')));
    let dashes = if name.len() == 1 || java { "-" } else { "--" };
    Some(format!("{dashes}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], meant: &[&str], warned: usize) {
        let words = given.iter().map(OsString::from).collect();
        let (words, warnings) = normalized(words);
        assert_eq!(words, meant, "{given:?}");
        assert_eq!(warnings.len(), warned, "{warnings:?}");
    }

    #[test]
    fn typographic_dashes_are_taken_as_meant_with_a_warning() {
        check(
            &["flume-ng", "agent", "-n", "a1", "\u{2013}f", "job/x.conf"],
            &["flume-ng", "agent", "-n", "a1", "-f", "job/x.conf"],
            1,
        );
        check(&["m", "\u{2014}conf-file", "x"], &["m", "--conf-file", "x"], 1);
        check(&["m", "\u{2013}\u{2013}name", "x"], &["m", "--name", "x"], 1);
        check(&["m", "-\u{2013}name", "x"], &["m", "--name", "x"], 1);
        check(
            &["m", "\u{2013}Dflume.root.logger=INFO,console"],
            &["m", "-Dflume.root.logger=INFO,console"],
            1,
        );
        check(&["m", "\u{2212}Xmx20m"], &["m", "-Xmx20m"], 1);
    }

    #[test]
    fn what_is_no_option_stays() {
        check(
            &["m", "\u{2013}", "\u{2013}5", "a\u{2013}b"],
            &["m", "\u{2013}", "\u{2013}5", "a\u{2013}b"],
            0,
        );
        check(
            &["\u{2013}f", "--name=a1", "-n", "-na1"],
            &["\u{2013}f", "--name=a1", "-n", "-na1"],
            0,
        );
    }

    #[test]
    fn one_dash_before_a_long_name_and_java_agents() {
        check(&["m", "-conf-file", "x", "-pwd=y"], &["m", "--conf-file", "x", "--pwd=y"], 0);
        check(
            &["m", "-javaagent:/a.jar=7070:c.yaml", "-agentlib:jdwp=x"],
            &["m", "--javaagent=/a.jar=7070:c.yaml", "--agentlib=jdwp=x"],
            0,
        );
    }

    #[cfg(unix)]
    #[test]
    fn words_that_are_no_text_stay() {
        use std::os::unix::ffi::OsStringExt;
        let word = OsString::from_vec(vec![b'-', 0xff]);
        assert_eq!(normalized(vec!["m".into(), word.clone()]).0[1], word);
    }
}
