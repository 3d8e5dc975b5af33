//! HDFS and view file systems, by the protocols of the NameNode and the DataNodes.
//!
//! Limits: every call ends within [`NativeSettings::call_timeout`]; a first write of a new file tries up to
//! five sets of DataNodes in it. Settings are read once, when it is opened.
//!
//! After a call that got no reply in time a new session takes the place of the old one, and asks the
//! NameNodes of a name service in another order: one that hangs without closing its connections would
//! otherwise be asked for ever.

mod fault;
mod open_file;
mod session;

use super::hadoop_settings::{HadoopSettings, HadoopSettingsError};
use super::{
    FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile, PATH_BYTES_MAX,
};
use bytes::Bytes;
use fault::{fault, with};
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use millpond_flow::base::small_file::read_whole;
use open_file::NativeFile;
use session::{Session, ended};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The port of a NameNode's RPC where a URL names none.
const PORT: u16 = 8020;
/// The longest key table of Kerberos.
const KEYTAB_BYTES_MAX: u64 = 1 << 20;
/// How often the client asks the NameNodes before it reports an error, unless Hadoop's settings say
/// otherwise: its own default takes minutes, and the sink tries again anyway.
const FAILOVER_ATTEMPTS: &str = "4";
const FAILOVER_SLEEP_BASE_MS: &str = "100";
const FAILOVER_SLEEP_MAX_MS: &str = "1000";

/// What is configured for a cluster.
#[derive(Clone, Debug)]
pub struct NativeSettings {
    /// `hdfs://host:port`, `hdfs://nameservice` or `viewfs://table`; a path after it is not looked at. None or
    /// `hdfs:///`: `fs.defaultFS`.
    pub url: Option<String>,
    /// The directory of core-site.xml and hdfs-site.xml. None: see [`HadoopSettings::default_directory`].
    pub directory: Option<PathBuf>,
    /// How long a call may take.
    pub call_timeout: Duration,
    /// The principal of Kerberos; `_HOST` in it is the name of this machine.
    pub principal: Option<String>,
    /// The key table of Kerberos, for the principal.
    pub keytab: Option<PathBuf>,
    /// The user to act for.
    pub proxy_user: Option<String>,
}

/// A cluster.
pub struct Native {
    cluster: Cluster,
    session: Mutex<Current>,
}

/// What a session is made of.
struct Cluster {
    url: String,
    settings: NativeSettings,
    hadoop: HadoopSettings,
}

struct Current {
    session: Arc<Session>,
    /// How often it was replaced.
    replaced: usize,
}

impl Native {
    /// Reads the settings and makes the client; contacts no server.
    ///
    /// # Errors
    /// [`FaultKind::Misconfigured`], with what is wrong.
    pub fn open(settings: NativeSettings) -> Result<Self, FileSystemError> {
        let directory = settings.directory.clone().or_else(HadoopSettings::default_directory);
        let hadoop = directory.as_deref().map_or_else(
            || Ok(HadoopSettings::default()),
            |directory| HadoopSettings::read(directory).map_err(|error| misread(directory, &error)),
        )?;
        let url = cluster_url(settings.url.as_deref(), &hadoop)?;
        check_keytab(&settings)?;
        let cluster = Cluster { url, settings, hadoop };
        let session = cluster.session(0)?;
        Ok(Self { cluster, session: Mutex::new(Current { session, replaced: 0 }) })
    }

    fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner).session)
    }

    /// Puts a new session in the place of `hung`; open files keep theirs.
    fn replace(&self, hung: &Arc<Session>) {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current.session, hung) {
            return;
        }
        match self.cluster.session(current.replaced + 1) {
            Ok(session) => {
                *current = Current { session, replaced: current.replaced + 1 };
            }
            Err(error) => tracing::warn!("{error}; the session that does not reply is kept"),
        }
    }

    /// Runs `work` with the client of `session`, within the limit of a call.
    async fn call<T, F>(
        &self,
        session: &Arc<Session>,
        action: &'static str,
        path: &str,
        work: impl FnOnce(Client, String) -> F,
    ) -> Result<T, FileSystemError>
    where
        T: Send + 'static,
        F: Future<Output = hdfs_native::Result<T>> + Send + 'static,
    {
        if path.len() > PATH_BYTES_MAX {
            let reason = format!("it is longer than {PATH_BYTES_MAX} bytes");
            return Err(with(action, path, FaultKind::InvalidPath, &reason, None));
        }
        let limit = self.cluster.settings.call_timeout;
        match session.run(limit, work(session.client(), path.to_owned())).await {
            Ok(result) => result.map_err(|error| fault(action, path, error)),
            Err(why) => {
                self.replace(session);
                Err(ended(action, path, limit, why))
            }
        }
    }
}

impl Cluster {
    /// Makes a client; `turn` shifts the order of the NameNodes of a name service.
    fn session(&self, turn: usize) -> Result<Arc<Session>, FileSystemError> {
        let mut values: Vec<(String, String)> = Vec::new();
        let limit = |name: &str, value: &str| {
            let given = self.hadoop.get(name);
            (name.to_owned(), given.unwrap_or_else(|| value.to_owned()))
        };
        for (name, value) in self.hadoop.all() {
            let value =
                if name.starts_with("dfs.ha.namenodes.") { shifted(&value, turn) } else { value };
            values.push((name, value));
        }
        values.push(limit("dfs.client.failover.max.attempts", FAILOVER_ATTEMPTS));
        values.push(limit("dfs.client.failover.sleep.base.millis", FAILOVER_SLEEP_BASE_MS));
        values.push(limit("dfs.client.failover.sleep.max.millis", FAILOVER_SLEEP_MAX_MS));
        let name = "dfs.client.socket-timeout";
        let half = self.settings.call_timeout / 2;
        let timeout = self.hadoop.time(name).filter(|given| !given.is_zero() && *given < half);
        values.push((name.to_owned(), timeout.unwrap_or(half).as_millis().max(1).to_string()));
        Session::new(
            |handle| {
                let mut builder = ClientBuilder::new()
                    .with_url(&self.url)
                    .with_config(values)
                    .with_io_runtime(handle);
                // Keeps the client from reading the files by itself: they are in `values`, with names replaced.
                builder = builder.with_config_dir("/dev/null");
                if let Some(user) = &self.settings.proxy_user {
                    builder = builder.with_user(user);
                }
                if let Some(principal) = &self.settings.principal {
                    builder = builder.with_kerberos_principal(of_this_machine(principal));
                }
                if let Some(keytab) = &self.settings.keytab {
                    builder = builder.with_kerberos_keytab(keytab.to_string_lossy());
                }
                builder.build()
            },
            &self.url,
        )
    }

    /// Returns the bits of access that the umask leaves of `all`.
    fn access(&self, all: u32) -> u32 {
        let given = self.hadoop.get("fs.permissions.umask-mode");
        let umask = given.and_then(|mask| u32::from_str_radix(&mask, 8).ok()).unwrap_or(0o022);
        all & !umask
    }

    /// Returns how files are created; what the settings leave open the server decides.
    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default().permission(self.access(0o666));
        options.replication = self.hadoop.get("dfs.replication").and_then(|n| n.parse().ok());
        options.block_size = self.hadoop.get("dfs.blocksize").and_then(|text| byte_count(&text));
        options
    }
}

impl FileSystem for Native {
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            let session = self.session();
            let options = self.cluster.write_options();
            let chosen = options.clone();
            let created = self.call(&session, "create", path, |client, path| async move {
                client.create(&path, chosen).await
            });
            let writer = created.await?;
            let limit = self.cluster.settings.call_timeout;
            let file = NativeFile::created(session, path, limit, writer, options);
            Ok(Box::new(file) as Box<dyn OpenFile>)
        })
    }

    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        Box::pin(async move {
            let session = self.session();
            let opened = self.call(&session, "append", path, |client, path| async move {
                client.append(&path).await
            });
            let writer = opened.await?;
            let limit = self.cluster.settings.call_timeout;
            Ok(Box::new(NativeFile::appended(session, path, limit, writer)) as Box<dyn OpenFile>)
        })
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
        length: usize,
    ) -> FileSystemFuture<'a, Bytes> {
        Box::pin(async move {
            let session = self.session();
            let read = self.call(&session, "read", path, move |client, path| async move {
                let file = client.read(&path).await?;
                let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(file.file_length());
                file.read_range(begin, length.min(file.file_length() - begin)).await
            });
            read.await
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()> {
        Box::pin(async move {
            let (session, target) = (self.session(), to.to_owned());
            let renamed = self.call(&session, "rename", from, |client, from| async move {
                client.rename(&from, &target, false).await
            });
            renamed.await
        })
    }

    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>> {
        Box::pin(async move {
            let session = self.session();
            let found = self.call(&session, "look at", path, |client, path| async move {
                found(client.get_file_info(&path).await)
            });
            Ok(found.await?.map(status_of))
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>> {
        Box::pin(async move {
            let session = self.session();
            let listed = self.call(&session, "list", path, |client, path| async move {
                found(client.list_status(&path, false).await)
            });
            Ok(listed.await?.unwrap_or_default().into_iter().map(status_of).collect())
        })
    }

    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            let session = self.session();
            let deleted = self.call(&session, "delete", path, |client, path| async move {
                client.delete(&path, false).await
            });
            deleted.await
        })
    }

    fn mkdirs<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, ()> {
        Box::pin(async move {
            let (session, access) = (self.session(), self.cluster.access(0o777));
            let made =
                self.call(&session, "make the directory", path, move |client, path| async move {
                    client.mkdirs(&path, access, true).await
                });
            made.await
        })
    }

    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        Box::pin(async move {
            let session = self.session();
            let recovered = self.call(&session, "recover", path, |client, path| async move {
                client.recover_lease(&path).await
            });
            recovered.await
        })
    }
}

/// Returns `None` for what is not there.
fn found<T>(result: hdfs_native::Result<T>) -> hdfs_native::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(HdfsError::FileNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn status_of(status: hdfs_native::client::FileStatus) -> FileStatus {
    FileStatus {
        path: status.path,
        length: status.length as u64,
        is_directory: status.isdir,
        modified_ms: status.modification_time,
    }
}

/// Returns the URL of the cluster for the client: with an authority, and with a port unless it is a name
/// service.
fn cluster_url(given: Option<&str>, hadoop: &HadoopSettings) -> Result<String, FileSystemError> {
    let given = given.filter(|url| !authority(url).1.is_empty()).map(str::to_owned);
    let Some(url) = given.or_else(|| hadoop.get("fs.defaultFS")) else {
        let reason = "neither hdfs.path nor fs.defaultFS names a NameNode";
        let hint = "write hdfs://host:port/…, or set HADOOP_CONF_DIR or hdfs.config to the directory \
                    of core-site.xml";
        return Err(with("open", "hdfs", FaultKind::Misconfigured, reason, Some(hint)));
    };
    let (scheme, host) = authority(&url);
    if !matches!(scheme, "hdfs" | "viewfs") || host.is_empty() {
        let reason = "it is not a URL of the form hdfs://host:port or viewfs://table";
        return Err(with("open", &url, FaultKind::Misconfigured, reason, None));
    }
    let is_service = hadoop.get(&format!("dfs.ha.namenodes.{host}")).is_some();
    if scheme == "viewfs" || is_service || host.contains(':') {
        return Ok(format!("{scheme}://{host}"));
    }
    let address = hadoop.get(&format!("dfs.namenode.rpc-address.{host}"));
    Ok(format!("hdfs://{}", address.unwrap_or_else(|| format!("{host}:{PORT}"))))
}

/// Returns the scheme and the authority of `url`.
fn authority(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    (scheme, rest.split('/').next().unwrap_or_default())
}

/// Returns the comma-separated `names` with the first `turn` of them at the end.
fn shifted(names: &str, turn: usize) -> String {
    let mut names: Vec<&str> = names.split(',').map(str::trim).collect();
    let by = turn % names.len();
    names.rotate_left(by);
    names.join(",")
}

/// Returns a number of bytes, as Hadoop writes it: `134217728`, `128m`.
fn byte_count(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].trim() {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Returns `principal` with `_HOST` replaced by the name of this machine.
fn of_this_machine(principal: &str) -> String {
    if !principal.contains("_HOST") {
        return principal.to_owned();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    principal.replace("_HOST", &name)
}

/// Kerberos says only "No credentials cache found" where its key table is the reason.
fn check_keytab(settings: &NativeSettings) -> Result<(), FileSystemError> {
    let wrong = |path: &Path, reason: &str| {
        let path = path.display().to_string();
        with("use the key table", &path, FaultKind::Misconfigured, reason, None)
    };
    let Some(keytab) = &settings.keytab else { return Ok(()) };
    if settings.principal.is_none() {
        return Err(wrong(keytab, "hdfs.kerberosPrincipal is not set"));
    }
    let bytes =
        read_whole(keytab, KEYTAB_BYTES_MAX).map_err(|error| wrong(keytab, &error.to_string()))?;
    match bytes.first() {
        Some(5) => Ok(()),
        _ => Err(wrong(keytab, "it is not a key table of Kerberos")),
    }
}

fn misread(directory: &Path, error: &HadoopSettingsError) -> FileSystemError {
    let path = directory.display().to_string();
    with("open", &path, FaultKind::Misconfigured, &error.to_string(), None)
}

#[cfg(test)]
mod tests;
