//! The file that stores alarms from one run of an agent to the next.
//!
//! It is written whole under another name, and renamed over the old one. Its directory is created
//! with the first alarm, and is locked while an agent uses it.

use super::alarm_record::Alarm;
use super::evaluator::PersistedAlarms;
use super::expected_clients::LearnedClient;
use super::limits::STORE_BYTES_MAX;
use millpond::internal::disk::real::RealDisk;
use millpond::internal::disk::{Disk, Lock, LockError};
use millpond_flow::base::files;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::metrics::ClientId;
use serde_json::{Value as Json, json};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "alarms.json";
/// The name that an undecodable file is renamed to.
const ASIDE: &str = "alarms.json.unreadable";
const LOCK: &str = "in_use.lock";
/// The format that is written. A later format is read as far as it is understood.
const FORMAT: u64 = 1;
/// No agent has had so many alarms: such a number was not written by an agent.
const SERIAL_MAX: u64 = 1 << 53;

/// Why alarms cannot be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum AlarmStoreError {
    #[error("{0}")]
    Lock(#[from] LockError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: SmallFileError },
    /// The undecodable file cannot be renamed, because something has its new name.
    #[error("{} cannot be understood ({why}), and {ASIDE} next to it, the name it is to be kept under, cannot be replaced: {source}; move both away, and start again", path.display())]
    Aside { path: PathBuf, why: String, source: io::Error },
}

/// The directory where alarms are stored.
pub(super) struct AlarmStore {
    directory: PathBuf,
    /// Held from the first use on.
    lock: Option<Box<dyn Lock>>,
}

impl AlarmStore {
    /// Returns a store that has read nothing and holds nothing yet.
    pub(super) fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), lock: None }
    }

    /// Returns whether it is in this directory.
    pub(super) fn is_at(&self, directory: Option<&PathBuf>) -> bool {
        directory == Some(&self.directory)
    }

    /// Opens the store in `directory`; returns what was stored, and a message to log. Creates
    /// nothing. Blocks.
    ///
    /// # Errors
    /// It is in use, or cannot be read; then it must not be written either.
    pub(super) fn open(
        directory: &Path,
    ) -> Result<(Self, PersistedAlarms, Option<String>), AlarmStoreError> {
        let mut store = Self::at(directory);
        if !directory.is_dir() {
            return Ok((store, PersistedAlarms::default(), None));
        }
        store.hold(false)?;
        let path = directory.join(NAME);
        let bytes = match read_whole(&path, STORE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => return Ok((store, PersistedAlarms::default(), None)),
            Err(source @ SmallFileError::Io(_)) => {
                return Err(AlarmStoreError::Read { path, source });
            }
            Err(error) => {
                let words = store.set_aside(&error.to_string())?;
                return Ok((store, PersistedAlarms::default(), Some(words)));
            }
        };
        match decode(&bytes) {
            Some(kept) => Ok((store, kept, None)),
            None => {
                let words = store.set_aside("it is not a list of alarms")?;
                Ok((store, PersistedAlarms::default(), Some(words)))
            }
        }
    }

    /// Replaces the stored state by `kept`. Blocks until it is durable.
    ///
    /// # Errors
    /// It cannot be written; then the earlier state is still there.
    pub(super) fn save(&mut self, kept: &PersistedAlarms) -> Result<(), AlarmStoreError> {
        self.hold(true)?;
        let path = self.directory.join(NAME);
        files::replace(&path, &encode(kept)).map_err(|source| AlarmStoreError::Io { path, source })
    }

    /// Locks the directory; with `create` it is created first.
    fn hold(&mut self, create: bool) -> Result<(), AlarmStoreError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let failed = |source| AlarmStoreError::Io { path: self.directory.clone(), source };
        let directory = RealDisk::buffered().open_dir(&self.directory, create).map_err(failed)?;
        self.lock = Some(directory.lock(LOCK)?);
        Ok(())
    }

    /// Renames a file that cannot be decoded, so that nothing is lost.
    fn set_aside(&self, why: &str) -> Result<String, AlarmStoreError> {
        let (path, aside) = (self.directory.join(NAME), self.directory.join(ASIDE));
        let failed = |source| AlarmStoreError::Io { path: path.clone(), source };
        match files::remove(&aside) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(AlarmStoreError::Aside { path, why: why.to_owned(), source });
            }
            _ => {}
        }
        files::rename_new(&path, &aside).map_err(failed)?;
        Ok(format!("{}: {why}; it is {ASIDE} now, and alarms begin anew", path.display()))
    }
}

fn encode(kept: &PersistedAlarms) -> Vec<u8> {
    let all = |alarms: &[Arc<Alarm>]| alarms.iter().map(|alarm| alarm.json()).collect::<Vec<_>>();
    let clients = kept.clients.iter().map(|learned| {
        json!({
            "source": learned.source,
            "address": learned.client.address.to_string(),
            "agent": learned.client.agent,
            "sink": learned.client.sink,
            "certificate": learned.client.certificate,
            "firstMs": learned.first_ms,
            "lastMs": learned.last_ms,
            "silentSeconds": learned.silence.as_secs(),
        })
    });
    let json = json!({
        "format": FORMAT,
        "next": kept.next,
        "active": all(&kept.active),
        "history": all(&kept.history),
        "clients": clients.collect::<Vec<_>>(),
    });
    let mut bytes = json.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

/// Decodes the stored state without the entries that are not understood. `None` if it is something
/// else.
fn decode(bytes: &[u8]) -> Option<PersistedAlarms> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    let list = |key: &str| json[key].as_array().map(Vec::as_slice);
    let alarms = |list: &[Json]| -> Vec<Arc<Alarm>> {
        list.iter().filter_map(Alarm::of_json).map(Arc::new).collect()
    };
    let client = |json: &Json| {
        let text = |key: &str| json[key].as_str();
        let address = text("address")?.parse().ok()?;
        Some(LearnedClient {
            source: text("source")?.to_owned(),
            client: ClientId::new(address, text("agent")?, text("sink")?)
                .with_certificate(text("certificate").unwrap_or_default()),
            first_ms: json["firstMs"].as_u64()?,
            last_ms: json["lastMs"].as_u64()?,
            // Files of earlier versions do not have it.
            silence: Duration::from_secs(json["silentSeconds"].as_u64().unwrap_or(0)),
        })
    };
    Some(PersistedAlarms {
        next: json["next"].as_u64().filter(|next| *next <= SERIAL_MAX)?,
        active: alarms(list("active")?),
        history: alarms(list("history")?),
        clients: list("clients")?.iter().filter_map(client).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alarm::alarm_record::ClearedAlarm;
    use crate::monitor::alarm::kind::AlarmKind;
    use crate::monitor::alarm::severity::AlarmSeverity;

    fn alarm(serial: u64, cleared: Option<ClearedAlarm>) -> Arc<Alarm> {
        Arc::new(Alarm {
            serial,
            kind: AlarmKind::ClientSilent,
            severity: AlarmSeverity::Major,
            component: "SOURCE.r1".to_owned(),
            subject: "10.0.0.1 web/k1".to_owned(),
            message: "client \"x\"".to_owned(),
            parameters: [("clientIp".to_owned(), "10.0.0.1".to_owned())].into(),
            raised_ms: 1_700_000_000_123,
            cleared,
        })
    }

    fn kept() -> PersistedAlarms {
        let cleared =
            ClearedAlarm { at_ms: 1_700_000_000_456, why: "the problem is over".to_owned() };
        let client = ClientId::new("10.0.0.1".parse().unwrap(), "web", "k1");
        PersistedAlarms {
            next: 3,
            active: vec![alarm(2, None)],
            history: vec![alarm(1, Some(cleared))],
            clients: vec![LearnedClient {
                source: "r1".to_owned(),
                client,
                first_ms: 1,
                last_ms: 2,
                silence: Duration::from_secs(3),
            }],
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_one_agent_has_it_at_a_time() {
        let top = tempfile::tempdir().unwrap();
        let directory = top.path().join("a/b");
        let (mut store, none, words) = AlarmStore::open(&directory).unwrap();
        assert_eq!((none, words), (PersistedAlarms::default(), None));
        assert!(!directory.exists(), "nothing is made before there is something to keep");
        store.save(&kept()).unwrap();
        let in_use = AlarmStore::open(&directory).err().unwrap().to_string();
        assert!(in_use.contains("in use"), "{in_use}");
        store.save(&PersistedAlarms { next: 9, ..kept() }).unwrap();
        drop(store);
        let (_store, again, words) = AlarmStore::open(&directory).unwrap();
        assert_eq!((again, words), (PersistedAlarms { next: 9, ..kept() }, None));
    }

    #[test]
    fn what_cannot_be_understood_is_set_aside_and_not_lost() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        for bytes in [
            &b"{\"next\":"[..],
            b"[]",
            b"\xff",
            b"{\"next\":1,\"active\":7}",
            b"{\"next\":18446744073709551614,\"active\":[],\"history\":[],\"clients\":[]}",
        ] {
            std::fs::write(at(NAME), bytes).unwrap();
            let (_, kept, words) = AlarmStore::open(top.path()).unwrap();
            assert_eq!(kept, PersistedAlarms::default());
            assert!(words.unwrap().contains(ASIDE));
            assert_eq!(std::fs::read(at(ASIDE)).unwrap(), bytes);
            assert!(!at(NAME).exists());
        }
        // If a directory has the new name, the error says what to do, and nothing is lost.
        std::fs::remove_file(at(ASIDE)).unwrap();
        std::fs::create_dir(at(ASIDE)).unwrap();
        std::fs::write(at(NAME), b"[]").unwrap();
        let refused = AlarmStore::open(top.path()).err().unwrap().to_string();
        for words in [NAME, ASIDE, "not a list of alarms", "cannot be replaced", "move both away"] {
            assert!(refused.contains(words), "{refused}");
        }
        assert_eq!(std::fs::read(at(NAME)).unwrap(), b"[]");
        std::fs::remove_dir(at(ASIDE)).unwrap();
        // One entry of a later version is left out, the others are not.
        let text = String::from_utf8(encode(&kept())).unwrap();
        std::fs::write(at(NAME), text.replacen("\"id\":24003", "\"id\":99999", 1)).unwrap();
        let (_, kept, words) = AlarmStore::open(top.path()).unwrap();
        assert_eq!((kept.active.len() + kept.history.len(), words), (1, None));
    }
}
