//! `man`: a manual page for each command, from the definition that `--help` shows.

use super::arguments::CommandLine;
use super::exit::{CommandError, show_words};
use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use millpond_flow::base::files;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Writes the pages into `directory`, which is created if it is missing, and shows their names.
pub(super) fn run(directory: &Path) -> Result<(), CommandError> {
    let failed = |what: &Path, error: io::Error| {
        CommandError::Failed(format!("{}: cannot be written: {error}", what.display()))
    };
    files::create_directory(directory).map_err(|error| failed(directory, error))?;
    let mut names = String::new();
    for (name, page) in pages().map_err(|error| failed(directory, error))? {
        let path = directory.join(&name);
        files::replace_public(&path, &page).map_err(|error| failed(&path, error))?;
        let _ = writeln!(names, "{}", path.display());
    }
    show_words(&names)
}

/// Returns the name and the text of each page.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut all = CommandLine::command().disable_help_subcommand(true);
    all.build();
    let mut pages = Vec::new();
    collect(&all, None, &mut pages)?;
    Ok(pages)
}

fn collect(
    command: &clap::Command,
    above: Option<&str>,
    pages: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    pages.push((format!("{name}.1"), page(command, above)?));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, Some(&name), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, above: Option<&str>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .source(concat!("millpond ", env!("CARGO_PKG_VERSION")))
        .manual("millpond manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let below: Vec<&str> = shown.filter_map(clap::Command::get_display_name).collect();
    if !below.is_empty() {
        man.render_subcommands_section(&mut page)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (examples, notes) = parted(&help);
    let mut rest = Roff::default();
    as_it_stands(&mut rest, "EXAMPLES", &examples);
    as_it_stands(&mut rest, "NOTES", &notes);
    let others: Vec<String> =
        above.into_iter().chain(below).map(|name| format!("{name}(1)")).collect();
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(others.join(", "))]);
    rest.to_writer(&mut page)?;
    Ok(page)
}

/// Returns the lines of the examples, which are indented after a line with that word, and the
/// others.
fn parted(help: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut examples, mut notes, mut inside) = (Vec::new(), Vec::new(), false);
    for line in help.lines() {
        if let Some(rest) = ["Examples:", "Example:"].iter().find_map(|w| line.strip_prefix(w)) {
            inside = true;
            examples.extend(Some(rest.trim()).filter(|rest| !rest.is_empty()));
        } else if inside && line.starts_with(' ') {
            examples.push(line.trim());
        } else {
            inside = false;
            notes.push(line);
        }
    }
    let blank = |line: &&str| line.trim().is_empty();
    while notes.first().is_some_and(blank) {
        notes.remove(0);
    }
    (examples, notes)
}

/// Appends a section whose lines stay as they are, if there are any.
fn as_it_stands(roff: &mut Roff, title: &str, lines: &[&str]) {
    if lines.is_empty() {
        return;
    }
    roff.control("SH", [title]).control("nf", []);
    for line in lines {
        roff.text([roman(*line)]);
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_examples_that_names_its_neighbours() {
        let pages = pages().expect("in memory");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["millpond.1", "millpond-agent.1", "millpond-channel-put.1", "millpond-man.1"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        for (name, page) in &pages {
            let page = String::from_utf8_lossy(page);
            for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "\"SEE ALSO\""] {
                assert!(page.contains(&format!(".SH {section}\n")), "{name}: {section}\n{page}");
            }
        }
    }

    #[test]
    fn examples_and_notes_are_distinguished() {
        let (examples, notes) = parted("Of this\n\nExamples:\n  a -b\n  c\n\nAnd that.");
        assert_eq!(examples, ["a -b", "c"]);
        assert_eq!(notes, ["Of this", "", "", "And that."]);
        assert_eq!(parted("Example: (none)").0, ["(none)"]);
    }
}
