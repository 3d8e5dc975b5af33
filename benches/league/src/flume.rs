//! Flume's file channel with the league's driver.

use crate::draw::{body, hash, mix};
use crate::worker::BODY_MOST;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use stores::flume::{Flume, words_of};

const DRIVER: &str = include_str!("../java/Driver.java");

/// Finds Flume. `libraries`: directories with Flume's jars, separated by `:`.
///
/// # Errors
/// Why it does not run, as text.
pub(crate) fn find(libraries: Option<&OsStr>, root: &Path) -> Result<Flume, String> {
    let flume = Flume::new(libraries, root, "Driver", DRIVER)?;
    draws_as_we_do(&flume)?;
    Ok(flume)
}

/// Checks that the driver draws the same bodies: otherwise everything would look altered.
fn draws_as_we_do(flume: &Flume) -> Result<(), String> {
    let mut figures = command(flume);
    figures.arg("figures");
    let (theirs, body) = (words_of(figures)?, body(42, 5, BODY_MOST));
    let ours = format!("{:x} {} {:x}", mix(1), body.len(), hash(&body));
    match theirs == ours {
        true => Ok(()),
        false => Err(format!("the driver draws {theirs} and not {ours}")),
    }
}

/// Returns the command of a virtual machine that starts quickly: most of a short run is its start.
pub(crate) fn command(flume: &Flume) -> Command {
    flume.command(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
}
