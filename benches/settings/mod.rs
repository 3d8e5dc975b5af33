//! Command-line options of the programs that measure the channel: `--dir DIR --rounds N --seconds S --only NAME`.

use std::path::PathBuf;
use std::time::Duration;

/// The chosen options.
pub(crate) struct Settings {
    /// Directory for files: on the disk to measure; created if missing.
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    /// Duration of one measurement.
    pub(crate) time: Duration,
    /// Runs only cases with these words in their name.
    pub(crate) only: Option<String>,
    /// Further options, each with its value.
    pub(crate) more: Vec<(String, String)>,
}

impl Settings {
    /// Reads the command line. Options without a value, such as the `--bench` of cargo, are ignored.
    pub(crate) fn read(rounds: usize, seconds: f64) -> Self {
        let mut settings = Self {
            dir: std::env::temp_dir(),
            rounds,
            time: Duration::from_secs_f64(seconds),
            only: None,
            more: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1).peekable();
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                println!(
                    "Options: --dir DIR --rounds N --seconds S --only WORDS; docs/performance.md says what is measured"
                );
                std::process::exit(0);
            }
            let Some(value) = arguments.next_if(|next| !next.starts_with("--")) else { continue };
            match name.as_str() {
                "--dir" => settings.dir = value.into(),
                "--rounds" => settings.rounds = value.parse().unwrap(),
                "--seconds" => settings.time = Duration::from_secs_f64(value.parse().unwrap()),
                "--only" => settings.only = Some(value),
                _ => settings.more.push((name, value)),
            }
        }
        std::fs::create_dir_all(&settings.dir).unwrap();
        settings
    }

    pub(crate) fn chooses(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| name.contains(only))
    }

    #[allow(dead_code, reason = "not every program has further options")]
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.more.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Returns the median, 0 of none.
#[allow(dead_code, reason = "not every program has rounds")]
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
