//! From the words to a command, and from how it ended to an exit code.

use super::arguments::{Command, CommandLine};
use super::words::{Stop, say, show};
use super::{
    agent, avro_client, bench, channel, completions, explain, graph, man, options_file, spelling,
    tap, tool, top, torture, validate,
};
use crate::base::limits::DESCRIPTORS_WANTED;
use crate::base::setting;
use crate::base::threads;
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::signal::unix::SignalKind;

/// Does what the command line `words` says (the first is the program's own name) and answers with
/// the exit code: 0 done, 1 failed, 2 wrong usage.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    setting::name_by_key();
    raise_descriptors();
    outlive_file_size_limit();
    let (words, warnings) = spelling::as_meant(words.into_iter().collect());
    let mut notes: Vec<String> = warnings.iter().map(|w| format!("warning: {w}")).collect();
    if words.get(1).is_some_and(|word| word == "node") {
        notes.push("warning: node is Flume's old word for agent".to_owned());
    }
    let words = match options_file::added(words) {
        Ok((words, said)) => {
            notes.extend(said);
            words
        }
        Err(stop) => {
            notes.iter().for_each(|note| say(note));
            say(&stop.to_string());
            return ExitCode::from(stop.exit_code());
        }
    };
    let line = match CommandLine::try_parse_from(words) {
        Ok(line) => line,
        Err(answer) => {
            notes.iter().for_each(|note| say(note));
            return parser_answer(&answer);
        }
    };
    match carry_out(line.command, notes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if !matches!(stop, Stop::Unheard | Stop::Logged) {
                say(&stop.to_string());
            }
            ExitCode::from(stop.exit_code())
        }
    }
}

/// Raises the number of files that this process may have open to what its owner allows: a shell gives
/// 1,024 of them, and a channel with a backlog needs two for each segment.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(DESCRIPTORS_WANTED).min(DESCRIPTORS_WANTED);
    if current.is_some_and(|current| current < wanted) {
        // Refused, it is as it was: what needs more says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Has a write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`) fail as one on a full disk does. The
/// system's default is to end the process without a word.
fn outlive_file_size_limit() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let _inside = runtime.enter();
    // The handler stays for as long as the process lives.
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    drop(tokio::signal::unix::signal(too_large));
}

/// Help and version go to stdout with exit code 0, complaints to stderr with 2.
fn parser_answer(answer: &clap::Error) -> ExitCode {
    // A closed stdout ends quietly.
    let _ = answer.print();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}

/// `notes` are what is to be said of the command line. An agent says it in its log.
fn carry_out(command: Command, notes: Vec<String>) -> Result<(), Stop> {
    let command = match command {
        Command::Agent(arguments) => return agent::run(&arguments, notes),
        other => other,
    };
    notes.iter().for_each(|note| say(note));
    match command {
        Command::Agent(arguments) => agent::run(&arguments, Vec::new()),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Graph(arguments) => graph::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Tap(arguments) => tap::run(&arguments),
        Command::Channel { command } => channel::run(&command),
        Command::Bench(arguments) => aside("bench", move || bench::run(&arguments)),
        Command::Torture(arguments) => aside("torture", move || torture::run(&arguments)),
        Command::AvroClient(arguments) => avro_client::run(&arguments),
        Command::Tool(arguments) => tool::run(&arguments.words),
        Command::Man { directory } => man::run(&directory),
        Command::Completions { shell } => completions::run(shell),
        Command::Version(_) => show(&version()),
    }
}

/// Carries a command out on a thread of its own. A signal goes to the first thread, and is not heard as
/// long as that waits for a disk that hangs.
fn aside(
    name: &str,
    command: impl FnOnce() -> Result<(), Stop> + Send + 'static,
) -> Result<(), Stop> {
    let thread = threads::spawn(name, command);
    let thread = thread.map_err(|error| Stop::Usage(format!("cannot start a thread: {error}")))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn version() -> String {
    format!(
        "millpond {}\nReads Apache Flume 1.11 configurations.\nLicensed under Apache-2.0.\n",
        env!("CARGO_PKG_VERSION")
    )
}
