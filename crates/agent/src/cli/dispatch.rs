//! Dispatches the command line to a command, and maps its result to an exit code.

use super::arguments::{CliCommand, CommandLine};
use super::exit::{CommandError, say, show};
use super::{
    agent, avro_client, bench, channel, compat_args, completions, explain, flume_tool, graph, man,
    options_file, tap, top, torture, validate,
};
use clap::Parser;
use millpond::internal::base::{setting, threads};
use millpond_flow::base::limits::DESCRIPTORS_WANTED;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::signal::unix::SignalKind;

/// Runs the command line `words` (the first is the program's own name) and returns the exit code: 0
/// done, 1 failed, 2 wrong usage.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    setting::name_by_key();
    raise_descriptors();
    outlive_file_size_limit();
    let (words, warnings) = compat_args::normalized(words.into_iter().collect());
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
            if !matches!(stop, CommandError::BrokenPipe | CommandError::Logged) {
                say(&stop.to_string());
            }
            ExitCode::from(stop.exit_code())
        }
    }
}

/// Raises the limit on open files of this process to its hard limit: a shell gives 1,024 of them,
/// and a channel with a backlog needs two for each segment.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(DESCRIPTORS_WANTED).min(DESCRIPTORS_WANTED);
    if current.is_some_and(|current| current < wanted) {
        // If refused, the limit stays: what needs more files reports it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`, `LimitFSIZE=`) fail as on a
/// full disk. The system's default is to end the process without a message.
fn outlive_file_size_limit() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let _inside = runtime.enter();
    // The handler stays for as long as the process lives.
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    drop(tokio::signal::unix::signal(too_large));
}

/// Writes help and version to stdout with exit code 0, errors to stderr with 2.
fn parser_answer(answer: &clap::Error) -> ExitCode {
    // A closed stdout ends quietly.
    let _ = answer.print();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2))
}

/// Runs a command. `notes` are the messages about the command line. An agent logs them.
fn carry_out(command: CliCommand, notes: Vec<String>) -> Result<(), CommandError> {
    let command = match command {
        CliCommand::Agent(arguments) => return agent::run(&arguments, notes),
        other => other,
    };
    notes.iter().for_each(|note| say(note));
    match command {
        CliCommand::Agent(arguments) => agent::run(&arguments, Vec::new()),
        CliCommand::Validate(arguments) => validate::run(&arguments),
        CliCommand::Explain(arguments) => explain::run(&arguments),
        CliCommand::Graph(arguments) => graph::run(&arguments),
        CliCommand::Top(arguments) => top::run(&arguments),
        CliCommand::Tap(arguments) => tap::run(&arguments),
        CliCommand::Channel { command } => channel::run(&command),
        CliCommand::Bench(arguments) => aside("bench", move || bench::run(&arguments)),
        CliCommand::Torture(arguments) => aside("torture", move || torture::run(&arguments)),
        CliCommand::AvroClient(arguments) => avro_client::run(&arguments),
        CliCommand::Tool(arguments) => flume_tool::run(&arguments.words),
        CliCommand::Man { directory } => man::run(&directory),
        CliCommand::Completions { shell } => completions::run(shell),
        CliCommand::Version(_) => show(&version()),
    }
}

/// Runs a command on a thread of its own. A signal is delivered to the first thread, which must not
/// wait for a disk that hangs.
fn aside(
    name: &str,
    command: impl FnOnce() -> Result<(), CommandError> + Send + 'static,
) -> Result<(), CommandError> {
    let thread = threads::spawn(name, command);
    let thread =
        thread.map_err(|error| CommandError::Usage(format!("cannot start a thread: {error}")))?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn version() -> String {
    format!(
        "millpond {}\nReads Apache Flume 1.11 configurations.\nLicensed under Apache-2.0.\n",
        env!("CARGO_PKG_VERSION")
    )
}
