//! The layer between a process and the C library's calls to the disk: built from `shim/fault.c`, configured by
//! environment variables, with counts to read afterwards.

use crate::life::Order;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("../shim/fault.c");

/// Builds it into `root`.
pub(crate) fn build(root: &Path) -> Result<PathBuf, String> {
    let (source, library) = (root.join("fault.c"), root.join("fault.so"));
    let built = std::fs::write(&source, SOURCE).and_then(|()| {
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).arg("-ldl");
        compile.output()
    });
    match built {
        Ok(output) if output.status.success() => Ok(library),
        Ok(output) => Err(format!("cc failed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("cc could not be started: {error}")),
    }
}

/// One fault to inject.
#[derive(Debug)]
pub(crate) struct Plan {
    count: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Plan {
    /// Returns a plan: call number `at`, from 1, of the kind `fault` fails; with 0 they are only counted.
    pub(crate) fn new(
        root: &Path,
        store: &Path,
        fault: &str,
        at: u64,
        part: u64,
    ) -> io::Result<Self> {
        let count = root.join("count");
        std::fs::write(&count, [0; 16])?;
        let variables = vec![
            ("LEAGUE_FAULT", fault.to_owned()),
            ("LEAGUE_ROOT", store.canonicalize()?.display().to_string()),
            ("LEAGUE_COUNT", count.display().to_string()),
            ("LEAGUE_AT", at.to_string()),
            ("LEAGUE_PART", part.to_string()),
        ];
        Ok(Self { count, variables })
    }

    /// Returns the same order, with this layer.
    pub(crate) fn on<'a>(&'a self, order: Order<'a>) -> Order<'a> {
        Order { shim: &self.variables, ..order }
    }

    /// Returns the calls counted and the faults injected.
    pub(crate) fn seen(&self) -> (u64, u64) {
        let bytes = std::fs::read(&self.count).unwrap_or_default();
        let word = |at: usize| {
            bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        (word(0), word(8))
    }
}
