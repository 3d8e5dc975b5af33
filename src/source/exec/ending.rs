//! What the end of a command means.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// Whether `words` follow a file, and so should never end: `tail -F`, also within a shell's command.
pub(super) fn follows(words: &[String]) -> bool {
    let mut tokens = words.iter().flat_map(|word| word.split([' ', '\t', '|', ';', '&', '(', ')']));
    let is_tail = |token: &str| Path::new(token).file_name().is_some_and(|name| name == "tail");
    let follow = |token: &str| {
        let short = token.strip_prefix('-').filter(|flags| !flags.starts_with('-'));
        short.is_some_and(|flags| flags.contains(['f', 'F'])) || token.starts_with("--follow")
    };
    tokens.any(is_tail) && tokens.any(follow)
}

/// Why the end of a command with this status is a failure; `None`: it has given all it had.
pub(super) fn fault(words: &[String], status: Option<ExitStatus>) -> Option<String> {
    let follows = follows(words);
    let status = status?;
    if status.success() && !follows {
        return None;
    }
    let meaning = match (status.code(), status.signal()) {
        (Some(0), _) => " although it follows a file".to_owned(),
        (Some(126), _) => ": it was found and cannot be executed".to_owned(),
        (Some(127), _) => ": a command was not found".to_owned(),
        (Some(code @ 129..=192), _) => format!(": signal {} ended it", code - 128),
        (_, Some(9)) => ": killed, by the system too when memory runs out".to_owned(),
        _ => String::new(),
    };
    Some(format!("the command ended with {status}{meaning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    fn ended(command: &str, raw: i32) -> Option<String> {
        fault(&words(command), Some(ExitStatus::from_raw(raw)))
    }

    #[test]
    fn only_a_command_that_ends_well_and_follows_nothing_is_done() {
        assert_eq!(ended("cat /var/log/a", 0), None);
        for (command, raw, expected) in [
            ("tail -F /var/log/a", 0, "exit status: 0 although it follows a file"),
            ("/usr/bin/tail -n 0 --follow=name a", 0, "although it follows a file"),
            ("cat a", 1 << 8, "the command ended with exit status: 1"),
            ("sh -c nosuch", 127 << 8, "exit status: 127: a command was not found"),
            ("sh -c x", 137 << 8, "exit status: 137: signal 9 ended it"),
            ("cat a", 9, "signal: 9 (SIGKILL): killed"),
            ("cat a", 15, "signal: 15 (SIGTERM)"),
        ] {
            let fault = ended(command, raw).expect(command);
            assert!(fault.contains(expected), "{command}: {fault}");
        }
        let shell = ["/bin/sh".to_owned(), "-c".to_owned(), "tail -F a | grep b".to_owned()];
        assert!(follows(&shell) && !follows(&words("tail -n 5 a")));
    }
}
