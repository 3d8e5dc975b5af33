//! The words of `top`.

use clap::{Args, ValueEnum};

/// `top`.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// An agent: HOST:PORT of its pages, HOST for port 41414, or a URL; this machine's without any
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Seconds from one look to the next, 0.5 to 3600
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub interval: f64,
    /// What the rows are in order of
    #[arg(short, long, value_enum, default_value = "flow")]
    pub sort: TopSort,
    /// Look twice, print one table and end: for scripts, needs no terminal
    #[arg(long)]
    pub once: bool,
    /// The same as JSON
    #[arg(long)]
    pub json: bool,
}

/// The order of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TopSort {
    Flow,
    State,
    Rate,
    Waiting,
    Fill,
    Name,
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n| (0.5..=3600.0).contains(n));
    number.ok_or_else(|| "must be a number of seconds from 0.5 to 3600".to_owned())
}
