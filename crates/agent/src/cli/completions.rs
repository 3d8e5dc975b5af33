//! `completions`: the completion script of a shell for this command line.

use super::arguments::{CommandLine, Shell};
use super::exit::{CommandError, show};
use clap::CommandFactory;
use clap_complete::{generate, shells};

pub(super) fn run(shell: Shell) -> Result<(), CommandError> {
    show(&script(shell))
}

fn script(shell: Shell) -> String {
    let (mut command, mut script) = (CommandLine::command(), Vec::new());
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, "millpond", &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, "millpond", &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, "millpond", &mut script),
    }
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["agent", "validate", "channel", "stat", "data-dirs", "completions"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
