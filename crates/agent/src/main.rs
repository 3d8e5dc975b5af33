//! The binary: hands the arguments to the command line and ends with its exit code.

fn main() -> std::process::ExitCode {
    millpond_agent::cli::run(std::env::args_os())
}
