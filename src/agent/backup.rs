//! The last configuration that an agent ran with, kept in the directory of `--backup-directory`, for a
//! start at which the place that it comes from cannot be reached.
//!
//! The file has Flume's name, `.AGENT.properties`, and may be read by its owner only. Unlike Flume's it
//! holds the text as it was written, so that a password from the environment is not in it.

use super::AgentOptions;
use super::origin::OriginError;
use crate::base::files;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::config::Text;
use std::io;
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

fn path(directory: &Path, agent: &str) -> PathBuf {
    // A name of an agent may hold anything but a dot; a file's name no slash.
    directory.join(format!(".{}.properties", agent.replace('/', "_")))
}

/// Keeps `texts` for a start without them, if that is wanted.
pub(super) fn keep_for(options: &AgentOptions, texts: &[Text]) {
    let Some(directory) = &options.backup else { return };
    if let Err(error) = keep(directory, &options.name, texts) {
        tracing::warn!(
            "{}: the configuration is not kept there, a start without its origin would fail: {error}",
            directory.display()
        );
    }
}

/// Keeps `texts` as well, behind those that are being kept, so that the newest are what stays. Nobody waits
/// for it: a file system that hangs holds up nothing.
pub(super) fn keep_behind(
    earlier: Option<JoinHandle<()>>,
    options: AgentOptions,
    texts: Vec<Text>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Some(earlier) = earlier {
            let _ = earlier.await;
        }
        let _ = tokio::task::spawn_blocking(move || keep_for(&options, &texts)).await;
    })
}

/// The configuration that is kept, in the place of one that was not had.
pub(super) fn in_place_of(error: OriginError, options: &AgentOptions) -> Result<Text, OriginError> {
    let Some(directory) = &options.backup else { return Err(error) };
    match kept(directory, &options.name) {
        Ok(text) => {
            tracing::warn!(
                "{error}; the agent runs with the last one it had, {}, until it can be had again",
                text.name.display()
            );
            Ok(text)
        }
        Err(none) => {
            tracing::warn!("{}: nothing usable is kept there: {none}", directory.display());
            Err(error)
        }
    }
}

/// Keeps `texts`, durably, in the place of what was kept before.
fn keep(directory: &Path, agent: &str, texts: &[Text]) -> io::Result<()> {
    files::create_directory(directory)?;
    // An empty line ends whatever the last line of a text leaves open; of a key that is in several texts
    // the last one counts, in one file as in several.
    let whole = texts.iter().map(|text| &text.bytes[..]).collect::<Vec<_>>().join(&b"\n\n"[..]);
    files::replace_private(&path(directory, agent), &whole)
}

/// What is kept.
fn kept(directory: &Path, agent: &str) -> Result<Text, ReadWholeError> {
    let name = path(directory, agent);
    let bytes = read_whole(&name, CONFIG_BYTES_MAX)?;
    Ok(Text { name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_kept_is_for_its_owner_and_the_last_of_several_texts_counts() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("b");
        let text =
            |bytes: &str| Text { name: PathBuf::from("x"), bytes: bytes.as_bytes().to_vec() };
        keep(&inner, "a/1", &[text("old = 1")]).unwrap();
        keep(&inner, "a/1", &[text("k = 1\\"), text("k = 2")]).unwrap();
        let found = kept(&inner, "a/1").unwrap();
        assert_eq!(found.bytes, b"k = 1\\\n\nk = 2");
        assert_eq!(found.name, inner.join(".a_1.properties"));
        let mode = std::fs::metadata(&found.name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(kept(&inner, "other"), Err(ReadWholeError::Missing)));
    }
}
