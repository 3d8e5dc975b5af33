//! The last configuration that an agent ran with, kept in the directory of `--backup-directory`, for a
//! start at which the place that it comes from cannot be reached.
//!
//! The file has Flume's name, `.AGENT.properties`, and may be read by its owner only. Unlike Flume's it
//! holds the text as it was written, so that a password from the environment is not in it.
//!
//! Invariant: what is kept is a configuration of which every part could run.

use super::AgentOptions;
use super::origin::OriginError;
use crate::base::files;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::codes;
use crate::config::Text;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a start waits until its configuration is kept.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

fn path(directory: &Path, agent: &str) -> PathBuf {
    // A name of an agent may hold anything but a dot; a file's name no slash.
    directory.join(format!(".{}.properties", agent.replace('/', "_")))
}

/// Keeps `texts` for a start without them, if that is wanted; not those of which `left_out` parts cannot
/// run: they may be what is left of a page that somebody broke, and what is kept is what a start without
/// its origin has instead.
pub(super) fn keep_for(options: &AgentOptions, texts: &[Text], left_out: usize) {
    let Some(directory) = &options.backup else { return };
    let shown = directory.display();
    if left_out > 0 {
        tracing::warn!(
            "{shown}: the configuration is not kept there, since parts of it cannot run ({left_out}, named above); what was kept before stays"
        );
    } else if let Err(error) = keep(directory, &options.name, texts) {
        tracing::warn!(
            "{shown}: the configuration could not be kept there: {error}; a start without its origin has what was kept before, if anything was"
        );
    }
}

/// Keeps configurations behind the agent's back: nobody waits for it, and a file system that hangs holds
/// up nothing. What waits for its turn is the newest only, however many come.
pub(super) struct Saver {
    newest: watch::Sender<Option<Arc<Kept>>>,
}

struct Kept {
    texts: Vec<Text>,
    left_out: usize,
}

impl Saver {
    pub(super) fn of(options: AgentOptions) -> Self {
        if options.backup.is_none() {
            return Self { newest: watch::Sender::new(None) };
        }
        Self::new(move |kept| keep_for(&options, &kept.texts, kept.left_out))
    }

    fn new(keep: impl Fn(&Kept) + Send + Sync + 'static) -> Self {
        let (newest, mut told) = watch::channel(None::<Arc<Kept>>);
        let keep = Arc::new(keep);
        tokio::spawn(async move {
            while told.changed().await.is_ok() {
                let Some(kept) = told.borrow_and_update().clone() else { continue };
                let keep = Arc::clone(&keep);
                let _ = tokio::task::spawn_blocking(move || keep(&kept)).await;
            }
        });
        Self { newest }
    }

    /// As [`keep_for`], in its turn.
    pub(super) fn keep(&self, texts: Vec<Text>, left_out: usize) {
        // Without a directory nothing is held either.
        if self.newest.receiver_count() > 0 {
            self.newest.send_replace(Some(Arc::new(Kept { texts, left_out })));
        }
    }
}

/// The configuration that is kept, in the place of one that was not had.
pub(super) fn in_place_of(error: OriginError, options: &AgentOptions) -> Result<Text, OriginError> {
    let Some(directory) = &options.backup else { return Err(error) };
    match kept(directory, &options.name) {
        Ok(text) => {
            tracing::warn!(
                code = %codes::CONFIGURATION_OUT_OF_REACH,
                "{error}; the agent runs with the last one it had, {}, until it can be read again",
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
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    fn text(bytes: &str) -> Text {
        Text { name: PathBuf::from("x"), bytes: bytes.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn while_the_file_system_hangs_only_the_newest_configuration_waits() {
        let (begun, begins) = channel();
        let (release, hung) = channel::<()>();
        let hung = Mutex::new(hung);
        let saver = Saver::new(move |kept| {
            begun.send(kept.texts[0].bytes.clone()).unwrap();
            let _ = hung.lock().unwrap().recv();
        });
        saver.keep(vec![text("0")], 0);
        let begins = tokio::task::spawn_blocking(move || {
            assert_eq!(begins.recv().unwrap(), b"0");
            begins
        });
        let begins = begins.await.unwrap();
        let reloads: Vec<_> = (1..1000)
            .map(|n| {
                saver.keep(vec![text(&n.to_string())], 0);
                Arc::downgrade(saver.newest.borrow().as_ref().unwrap())
            })
            .collect();
        assert_eq!(reloads.iter().filter(|kept| kept.upgrade().is_some()).count(), 1);
        release.send(()).unwrap();
        let newest = tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
        assert_eq!(newest, b"999");
        drop(release);
    }

    #[test]
    fn what_cannot_be_kept_leaves_nothing_half_done() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path(), "a", &[text("k = 1")]).unwrap();
        // A directory in the place of the file: what was written beside it cannot get its name.
        std::fs::create_dir_all(directory.path().join(".b.properties/x")).unwrap();
        assert!(keep(directory.path(), "b", &[text("k = 2")]).is_err());
        let names = files::list(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, [".a.properties", ".b.properties"]);
    }

    #[test]
    fn what_is_kept_is_for_its_owner_and_the_last_of_several_texts_counts() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("b");
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
