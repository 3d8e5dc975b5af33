//! A backup of the last configuration that an agent ran with, in the directory of
//! `--backup-directory`, for a start at which the configuration's origin cannot be reached.
//!
//! The file has Flume's name, `.AGENT.properties`, and is readable by its owner only. Unlike
//! Flume's it holds the text as it was written, so that a password from the environment is not in
//! it.
//!
//! Invariant: the backup is a configuration of which every part could run.

use super::options::AgentOptions;
use millpond_config::ConfigText;
use millpond_flow::base::files;
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::codes;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long a start waits until its configuration is stored.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

fn path(directory: &Path, agent: &str) -> PathBuf {
    // An agent's name may contain anything but a dot; a file's name no slash.
    directory.join(format!(".{}.properties", agent.replace('/', "_")))
}

/// Stores `texts` for a start without their origin, if a backup is configured; not if `left_out`
/// parts cannot run: the texts may come from a broken page, and the backup replaces the origin at
/// such a start.
pub(super) fn keep_for(options: &AgentOptions, texts: &[ConfigText], left_out: usize) {
    let Some(directory) = &options.backup else { return };
    let shown = directory.display();
    if left_out > 0 {
        tracing::warn!(
            "{shown}: the configuration is not kept there, since parts of it cannot run ({left_out}, named above); the earlier backup stays"
        );
    } else if let Err(error) = keep(directory, &options.name, texts) {
        tracing::warn!(
            "{shown}: the configuration could not be kept there: {error}; a start without its origin uses the earlier backup, if there is one"
        );
    }
}

/// Stores configurations in the background: nothing waits for it, and a file system that hangs
/// delays nothing. Only the newest one waits for its turn.
pub(super) struct ConfigBackup {
    newest: watch::Sender<Option<Arc<BackupState>>>,
}

struct BackupState {
    texts: Vec<ConfigText>,
    left_out: usize,
}

impl ConfigBackup {
    pub(super) fn of(options: AgentOptions) -> Self {
        if options.backup.is_none() {
            return Self { newest: watch::Sender::new(None) };
        }
        Self::new(move |kept| keep_for(&options, &kept.texts, kept.left_out))
    }

    fn new(keep: impl Fn(&BackupState) + Send + Sync + 'static) -> Self {
        let (newest, mut told) = watch::channel(None::<Arc<BackupState>>);
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

    /// Does what [`keep_for`] does, in its turn.
    pub(super) fn keep(&self, texts: Vec<ConfigText>, left_out: usize) {
        // Without a directory nothing is stored either.
        if self.newest.receiver_count() > 0 {
            self.newest.send_replace(Some(Arc::new(BackupState { texts, left_out })));
        }
    }
}

/// Returns the stored configuration instead of one that cannot be read or used.
pub(super) fn in_place_of<E: Display>(error: E, options: &AgentOptions) -> Result<ConfigText, E> {
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

/// Stores `texts` durably, replacing the earlier backup.
fn keep(directory: &Path, agent: &str, texts: &[ConfigText]) -> io::Result<()> {
    files::create_directory(directory)?;
    // An empty line ends whatever the last line of a text leaves open; of a key that is in several
    // texts the last one counts, in one file as in several.
    let whole = texts.iter().map(|text| &text.bytes[..]).collect::<Vec<_>>().join(&b"\n\n"[..]);
    files::replace_private(&path(directory, agent), &whole)
}

/// Returns the stored configuration.
fn kept(directory: &Path, agent: &str) -> Result<ConfigText, SmallFileError> {
    let name = path(directory, agent);
    let bytes = read_whole(&name, CONFIG_BYTES_MAX)?;
    Ok(ConfigText { name, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    fn text(bytes: &str) -> ConfigText {
        ConfigText { name: PathBuf::from("x"), bytes: bytes.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn while_the_file_system_hangs_only_the_newest_configuration_waits() {
        let (begun, begins) = channel();
        let (release, hung) = channel::<()>();
        let hung = Mutex::new(hung);
        let saver = ConfigBackup::new(move |kept| {
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
        // A directory at the file's path: the new file, written under another name, cannot be
        // renamed.
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
        assert!(matches!(kept(&inner, "other"), Err(SmallFileError::Missing)));
    }
}
