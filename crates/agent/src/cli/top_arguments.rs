//! The arguments of `top`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `top`.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// An agent: HOST:PORT of its monitoring, HOST for port 41414, or a URL; default: this machine
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Seconds between queries, 0.5 to 3600
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    pub interval: f64,
    /// Column by which the rows are sorted
    #[arg(short, long, value_enum, default_value = "flow")]
    pub sort: TopSort,
    /// Query twice, print one table and end: for scripts, needs no terminal
    #[arg(long)]
    pub once: bool,
    /// Like --once, as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub access: AccessArguments,
}

/// Credentials and certificates for the targets; the same for all of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArguments {
    /// User name (Basic), for agents with -Dflume.monitoring.auth-user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File whose first line is the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// File whose first line is a token (Bearer), for agents with -Dflume.monitoring.auth-token
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub token_file: Option<PathBuf>,
    /// Trust store for https targets (PEM, PKCS12 or JKS); the system's without it
    #[arg(long, value_name = "FILE")]
    pub truststore: Option<PathBuf>,
    /// File whose first line is the trust store's password
    #[arg(long, value_name = "FILE", requires = "truststore")]
    pub truststore_password_file: Option<PathBuf>,
    /// Key store with the certificate to show, for agents with need-client-auth
    #[arg(long, value_name = "FILE")]
    pub keystore: Option<PathBuf>,
    /// File whose first line is the key store's password
    #[arg(long, value_name = "FILE", requires = "keystore")]
    pub keystore_password_file: Option<PathBuf>,
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
