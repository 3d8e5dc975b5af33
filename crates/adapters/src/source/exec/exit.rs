//! Classifies the exit status of a command.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// A program that runs forever with certain flags.
struct EndlessProgram {
    program: &'static str,
    /// The word before its flags; empty for none.
    subcommand: &'static str,
    /// Letters that make it follow its input.
    flags: &'static str,
    /// Letters that take the rest of the word as a value.
    with_value: &'static str,
}

const FOLLOWERS: [EndlessProgram; 6] = [
    EndlessProgram { program: "tail", subcommand: "", flags: "fF", with_value: "cns" },
    EndlessProgram {
        program: "journalctl",
        subcommand: "",
        flags: "f",
        with_value: "cDFgIiMnopStuU",
    },
    EndlessProgram { program: "docker", subcommand: "logs", flags: "f", with_value: "n" },
    EndlessProgram { program: "podman", subcommand: "logs", flags: "f", with_value: "" },
    EndlessProgram { program: "kubectl", subcommand: "logs", flags: "f", with_value: "clns" },
    EndlessProgram { program: "dmesg", subcommand: "", flags: "wW", with_value: "fFlns" },
];

impl EndlessProgram {
    /// Returns whether `command` runs this program: the program, later the subcommand, then a flag that follows.
    fn is_in(&self, command: &[&str]) -> bool {
        let is_program =
            |word: &&str| Path::new(word).file_name().is_some_and(|n| n == self.program);
        let mut words = command.iter();
        let named = words.any(is_program)
            && (self.subcommand.is_empty() || words.any(|word| *word == self.subcommand));
        named && words.any(|word| self.makes_follow(word))
    }

    fn makes_follow(&self, word: &str) -> bool {
        if let Some(long) = word.strip_prefix("--") {
            return long.starts_with("follow") && long != "follow=false";
        }
        let Some(short) = word.strip_prefix('-') else { return false };
        short.chars().take_while(|c| !self.with_value.contains(*c)).any(|c| self.flags.contains(c))
    }
}

/// Returns whether `words` follow a file or log and so should never end, such as `tail -F`, also inside a shell's
/// command.
pub(super) fn follows(words: &[String]) -> bool {
    let whole = words.join(" ");
    // A quote may surround the command given to a shell.
    let commands = whole.split(['|', ';', '&', '(', ')', '\n', '"', '\'', '`']);
    commands
        .map(|command| command.split_whitespace().collect::<Vec<_>>())
        .any(|command| FOLLOWERS.iter().any(|follower| follower.is_in(&command)))
}

/// Returns why the exit of a command with this status is a failure; `None` when the command is complete.
pub(super) fn fault(words: &[String], status: Option<ExitStatus>) -> Option<String> {
    let follows = follows(words);
    let status = status?;
    if status.success() && !follows {
        return None;
    }
    let meaning = match (status.code(), status.signal()) {
        (Some(0), _) => " although it follows a file or a log".to_owned(),
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
    fn only_a_command_that_succeeds_and_follows_nothing_is_complete() {
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

    #[test]
    fn a_following_command_is_known_by_program_subcommand_and_flag() {
        for command in [
            "tail -n0 -F a",
            "tail -5f a",
            "journalctl -fu nginx",
            "journalctl -u nginx --follow",
            "docker logs -f web",
            "sudo podman --log-level=error logs --since 5m -f web",
            "/usr/local/bin/kubectl -n prod logs deploy/web --follow=true",
            "dmesg -w",
            "dmesg --follow-new",
            "sh -c 'cat a; journalctl -f'",
        ] {
            assert!(follows(&words(command)), "{command}");
        }
        for command in [
            "journalctl -ufoo",
            "docker ps -f name=web",
            "docker logs web",
            "kubectl logs web --follow=false",
            "kubectl apply -f a.yaml",
            "dmesg -f kern",
            "tail -n 5 a | grep -f patterns",
            "cat tail -- file",
        ] {
            assert!(!follows(&words(command)), "{command}");
        }
    }
}
