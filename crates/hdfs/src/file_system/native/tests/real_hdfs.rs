//! Against a real cluster: `.ci/hdfs` starts one and runs these.
//!
//! `MILLPOND_HDFS` is the directory of its client's settings. `MILLPOND_HDFS_CONTROL` is a program that is
//! called as `PROGRAM kill|freeze|thaw|start namenode|datanode`, as `PROGRAM nodes N`, which starts further
//! DataNodes (`datanode2`, …) or ends them, and as `PROGRAM admin ARGUMENTS…` (`hdfs dfsadmin`). The tests
//! take turns at the servers.

use super::*;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex as TurnMutex, MutexGuard};

static TURN: TurnMutex<()> = TurnMutex::const_new(());

struct Real {
    cluster: Native,
    control: Option<String>,
    /// A directory of this test's own.
    place: String,
    _turn: MutexGuard<'static, ()>,
}

impl Real {
    /// Returns the cluster, or says that the test is left out.
    async fn connect(call_timeout_s: u64) -> Option<Self> {
        let Some(directory) = std::env::var_os("MILLPOND_HDFS") else {
            println!("left out tests of a real HDFS: MILLPOND_HDFS names no cluster");
            return None;
        };
        let turn = TURN.lock().await;
        let settings = NativeSettings {
            url: None,
            directory: Some(directory.into()),
            call_timeout: Duration::from_secs(call_timeout_s),
            principal: std::env::var("MILLPOND_HDFS_PRINCIPAL").ok(),
            keytab: std::env::var_os("MILLPOND_HDFS_KEYTAB").map(PathBuf::from),
            proxy_user: None,
        };
        let cluster = Native::open(settings).unwrap();
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = format!("/native-{}-{number}", std::process::id());
        cluster.mkdirs(&place).await.unwrap();
        let control = std::env::var("MILLPOND_HDFS_CONTROL").ok();
        Some(Self { cluster, control, place, _turn: turn })
    }

    /// Like `connect`, for tests that stop servers.
    async fn connect_with_control(call_timeout_s: u64) -> Option<Self> {
        let real = Self::connect(call_timeout_s).await?;
        if real.control.is_none() {
            println!("left out tests of HDFS with faults: MILLPOND_HDFS_CONTROL names no program");
            return None;
        }
        Some(real)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// Calls the program that controls the servers.
    async fn control(&self, arguments: &str) {
        let mut command = Command::new(self.control.as_ref().unwrap());
        command.args(arguments.split(' '));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {text}");
    }

    async fn open_with(&self, name: &str, bytes: &'static [u8]) -> Box<dyn OpenFile> {
        let mut file = self.cluster.create(&self.path(name)).await.unwrap();
        file.write(Bytes::from_static(bytes)).await.unwrap();
        file.hsync().await.unwrap();
        file
    }

    async fn content(&self, name: &str) -> Bytes {
        self.cluster.read(&self.path(name), 0, 1 << 20).await.unwrap()
    }

    /// Asks for the lease until the file is closed.
    async fn recover(&self, name: &str) {
        for _ in 0..900 {
            if self.cluster.recover_lease(&self.path(name)).await.unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("{name} is not closed after three minutes");
    }
}

#[tokio::test]
async fn bytes_that_are_synced_are_seen_and_a_closed_file_is_read_and_appended_to() {
    let Some(real) = Real::connect(30).await else { return };
    let mut file = real.open_with("a", b"one ").await;
    let seen = real.cluster.status(&real.path("a")).await.unwrap().unwrap();
    assert_eq!((seen.length, seen.is_directory), (4, false));
    file.write(Bytes::from_static(b"two ")).await.unwrap();
    file.hsync().await.unwrap();
    file.hsync().await.unwrap();
    file.close().await.unwrap();
    file.close().await.unwrap();
    assert_eq!(file.write(Bytes::from_static(b"x")).await.unwrap_err().kind, FaultKind::Broken);
    assert_eq!(real.content("a").await, "one two ");
    let mut file = real.cluster.append(&real.path("a")).await.unwrap();
    file.write(Bytes::from_static(b"three")).await.unwrap();
    file.hsync().await.unwrap();
    file.close().await.unwrap();
    assert_eq!(real.content("a").await, "one two three");
    assert_eq!(real.cluster.read(&real.path("a"), 4, 3).await.unwrap(), "two");
    assert_eq!(real.cluster.read(&real.path("a"), 999, 3).await.unwrap(), "");
}

#[tokio::test]
async fn create_and_rename_overwrite_nothing() {
    let Some(real) = Real::connect(30).await else { return };
    let mut open = real.open_with("a", b"a").await;
    let kind = |error: FileSystemError| error.kind;
    assert_eq!(
        real.cluster.create(&real.path("a")).await.err().map(kind),
        Some(FaultKind::AlreadyExists)
    );
    assert_eq!(
        real.cluster.append(&real.path("a")).await.err().map(kind),
        Some(FaultKind::LeaseHeld)
    );
    open.close().await.unwrap();
    real.open_with("b", b"b").await.close().await.unwrap();
    let (a, b, none) = (real.path("a"), real.path("b"), real.path("none"));
    let refused = real.cluster.rename(&a, &b).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::AlreadyExists, "{refused}");
    assert_eq!(real.content("b").await, "b");
    assert_eq!(
        real.cluster.rename(&none, &real.path("c")).await.unwrap_err().kind,
        FaultKind::NotFound
    );
    assert_eq!(
        real.cluster.rename(&a, &real.path("d/c")).await.unwrap_err().kind,
        FaultKind::NotFound
    );
    real.cluster.rename(&a, &real.path("c")).await.unwrap();
    assert_eq!(real.cluster.status(&a).await.unwrap(), None);
    assert_eq!(real.cluster.list(&real.place).await.unwrap().len(), 2);
    assert_eq!(real.cluster.list(&none).await.unwrap(), []);
    assert!(real.cluster.delete(&b).await.unwrap());
    assert!(!real.cluster.delete(&b).await.unwrap());
    assert_eq!(real.cluster.delete(&real.place).await.unwrap_err().kind, FaultKind::AlreadyExists);
}

#[tokio::test]
async fn names_that_hdfs_refuses_are_final_and_odd_ones_are_not() {
    let Some(real) = Real::connect(30).await else { return };
    for refused in ["a:b", "../x", "a//b:c"] {
        let error = real.cluster.create(&real.path(refused)).await.err().unwrap();
        assert!(error.kind.is_final_for_path(), "{error}");
    }
    for fine in ["with blank", "ü", "%20", "*?", "{}", "=&#"] {
        real.open_with(fine, b"x").await.close().await.unwrap();
        assert_eq!(real.content(fine).await, "x", "{fine}");
    }
    let below_a_file = real.cluster.create(&real.path("ü/y")).await.err().unwrap();
    assert!(below_a_file.kind.is_final_for_path(), "{below_a_file}");
}

#[tokio::test]
async fn a_file_whose_writer_is_gone_is_closed_with_what_was_synced() {
    let Some(real) = Real::connect(30).await else { return };
    drop(real.open_with("a", b"synced").await);
    real.cluster.rename(&real.path("a"), &real.path("b")).await.unwrap();
    real.recover("b").await;
    assert_eq!(real.content("b").await, "synced");
    let missing = real.cluster.recover_lease(&real.path("none")).await.unwrap_err();
    assert_eq!(missing.kind, FaultKind::NotFound, "{missing}");
}

#[tokio::test]
async fn quota_permission_and_safe_mode_have_their_kinds() {
    let Some(real) = Real::connect_with_control(30).await else { return };
    real.control(&format!("admin -setQuota 1 {}", real.place)).await;
    let full = real.cluster.create(&real.path("a")).await.err().unwrap();
    assert_eq!(full.kind, FaultKind::QuotaExceeded, "{full}");
    real.control(&format!("admin -clrQuota {}", real.place)).await;
    real.control(&format!("admin -setSpaceQuota 1m {}", real.place)).await;
    let mut file = real.cluster.create(&real.path("a")).await.unwrap();
    let full = file.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(full.kind, FaultKind::QuotaExceeded, "{full}");
    // The client would say that this succeeded, with nothing written.
    assert_eq!(file.hsync().await.unwrap_err().kind, FaultKind::Broken);
    drop(file);
    real.control(&format!("admin -clrSpaceQuota {}", real.place)).await;
    real.control("admin -safemode enter").await;
    let refused = real.cluster.create(&real.path("b")).await.err();
    real.control("admin -safemode leave").await;
    assert_eq!(refused.map(|error| error.kind), Some(FaultKind::ReadOnly));
    if std::env::var_os("MILLPOND_HDFS_PRINCIPAL").is_none() {
        let mut settings = real.cluster.cluster.settings.clone();
        settings.proxy_user = Some("stranger".into());
        let stranger = Native::open(settings).unwrap();
        let error = stranger.create(&real.path("c")).await.err().unwrap();
        assert_eq!(error.kind, FaultKind::PermissionDenied, "{error}");
    }
}

#[tokio::test]
async fn a_killed_datanode_breaks_the_open_file_and_its_bytes_come_back_with_it() {
    let Some(real) = Real::connect_with_control(10).await else { return };
    let mut file = real.open_with("a", b"synced").await;
    real.control("kill datanode").await;
    let write = file.write(Bytes::from_static(b"lost")).await;
    let failed = match write {
        Ok(()) => file.hsync().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(failed.kind, FaultKind::Broken, "{failed}");
    assert_eq!(file.hsync().await.unwrap_err().kind, FaultKind::Broken);
    drop(file);
    let mut other = real.cluster.create(&real.path("b")).await.unwrap();
    let refused = match other.write(Bytes::from_static(b"x")).await {
        Ok(()) => other.hsync().await.unwrap_err(),
        Err(error) => error,
    };
    let kinds = [FaultKind::Unavailable, FaultKind::Broken, FaultKind::TimedOut];
    assert!(kinds.contains(&refused.kind), "{refused}");
    real.control("start datanode").await;
    real.recover("a").await;
    assert!(real.content("a").await.starts_with(b"synced"));
    real.open_with("c", b"again").await.close().await.unwrap();
}

#[tokio::test]
async fn a_frozen_datanode_and_a_frozen_namenode_time_out() {
    let Some(real) = Real::connect_with_control(5).await else { return };
    let mut file = real.open_with("a", b"synced").await;
    real.control("freeze datanode").await;
    let write = file.write(Bytes::from_static(b"x")).await;
    let failed = match write {
        Ok(()) => file.hsync().await.err(),
        Err(error) => Some(error),
    };
    real.control("thaw datanode").await;
    assert_eq!(failed.map(|error| error.kind), Some(FaultKind::TimedOut));
    drop(file);
    real.control("freeze namenode").await;
    let failed = real.cluster.create(&real.path("b")).await.err();
    real.control("thaw namenode").await;
    assert_eq!(failed.map(|error| error.kind), Some(FaultKind::TimedOut));
    real.recover("a").await;
    assert!(real.content("a").await.starts_with(b"synced"));
    real.open_with("c", b"again").await.close().await.unwrap();
}

#[tokio::test]
async fn a_killed_namenode_is_unavailable_and_everything_synced_is_there_afterwards() {
    let Some(real) = Real::connect_with_control(10).await else { return };
    let mut file = real.open_with("a", b"synced").await;
    real.control("kill namenode").await;
    let refused = real.cluster.create(&real.path("b")).await.err();
    file.write(Bytes::from_static(b"more")).await.ok();
    let synced = file.hsync().await;
    real.control("start namenode").await;
    assert_eq!(refused.map(|error| error.kind), Some(FaultKind::Unavailable));
    assert!(synced.is_err());
    drop(file);
    real.recover("a").await;
    assert!(real.content("a").await.starts_with(b"synced"));
    real.open_with("c", b"again").await.close().await.unwrap();
}

/// Returns the settings in `directory` with another number of replicas, in a directory of their own.
fn with_replicas(directory: &Path, replicas: u32) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    for name in ["core-site.xml", "hdfs-site.xml"] {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        let property = format!(
            "<property><name>dfs.replication</name><value>{replicas}</value></property>\
             </configuration>"
        );
        std::fs::write(place.path().join(name), text.replace("</configuration>", &property))
            .unwrap();
    }
    place
}

#[tokio::test]
async fn new_files_are_written_while_a_datanode_of_three_is_dead_or_frozen_unnoticed() {
    let Some(real) = Real::connect_with_control(20).await else { return };
    real.control("nodes 3").await;
    let mut settings = real.cluster.cluster.settings.clone();
    let directory = with_replicas(settings.directory.as_deref().unwrap(), 3);
    settings.directory = Some(directory.path().to_owned());
    let cluster = Native::open(settings).unwrap();
    for (fault, repair) in
        [("freeze datanode2", "thaw datanode2"), ("kill datanode3", "start datanode3")]
    {
        real.control(fault).await;
        for number in 0..4 {
            let path = real.path(&format!("{number}-{}", &fault[..4]));
            let mut file = cluster.create(&path).await.unwrap();
            file.write(Bytes::from_static(b"written")).await.unwrap();
            file.hsync().await.unwrap();
            file.write(Bytes::from_static(b" twice")).await.unwrap();
            file.hsync().await.unwrap();
            file.close().await.unwrap();
            assert_eq!(cluster.read(&path, 0, 99).await.unwrap(), "written twice", "{fault}");
        }
        real.control(repair).await;
    }
    real.control("nodes 1").await;
}
