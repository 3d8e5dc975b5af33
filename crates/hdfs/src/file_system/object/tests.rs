//! With a store in memory, and with an S3 server where `MILLPOND_S3` names one.

use super::*;
use millpond_flow::base::files;
use object_store::memory::InMemory;
use std::io::Write;

struct Place {
    system: Object,
    directory: tempfile::TempDir,
}

fn place_with(store: Arc<dyn ObjectStore>) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path().join("spool"), 1 << 30);
    let call_timeout = Duration::from_secs(20);
    Place { system: Object { store, spool, call_timeout }, directory }
}

async fn written(system: &Object, path: &str, bytes: &[u8]) -> Box<dyn OpenFile> {
    let mut file = system.create(path).await.unwrap();
    file.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    file.hsync().await.unwrap();
    file
}

/// What the sink relies on, with any store.
async fn check_store(system: &Object, place: &str) {
    let path = |name: &str| format!("{place}/{name}");
    let mut file = written(system, &path("a.tmp"), b"one").await;
    assert_eq!(system.status(&path("a.tmp")).await.unwrap().unwrap().length, 3);
    assert_eq!(system.head(&path("a.tmp")).await.unwrap(), None, "seen before it is complete");
    assert_eq!(
        system.create(&path("a.tmp")).await.err().map(|error| error.kind),
        Some(FaultKind::AlreadyExists)
    );
    file.close().await.unwrap();
    assert!(system.recover_lease(&path("a.tmp")).await.unwrap());
    system.rename(&path("a.tmp"), &path("a")).await.unwrap();
    assert_eq!(system.status(&path("a.tmp")).await.unwrap(), None);
    assert_eq!(system.read(&path("a"), 1, 99).await.unwrap(), "ne");
    written(system, &path("b.tmp"), b"two").await.close().await.unwrap();
    let refused = system.rename(&path("b.tmp"), &path("a")).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::AlreadyExists, "{refused}");
    assert_eq!(system.read(&path("a"), 0, 99).await.unwrap(), "one");
    let mut names: Vec<_> =
        system.list(place).await.unwrap().into_iter().map(|found| found.path).collect();
    names.sort();
    assert_eq!(names, [path("a"), path("b.tmp")]);
    let mut file = system.append(&path("b.tmp")).await.unwrap();
    file.write(Bytes::from_static(b" more")).await.unwrap();
    file.close().await.unwrap();
    system.rename(&path("b.tmp"), &path("ü %20*?{}")).await.unwrap();
    assert_eq!(system.read(&path("ü %20*?{}"), 0, 99).await.unwrap(), "two more");
    let large: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    written(system, &path("large.tmp"), &large).await.close().await.unwrap();
    system.rename(&path("large.tmp"), &path("large")).await.unwrap();
    let read = system.read(&path("large"), 0, large.len() + 1).await.unwrap();
    assert!(read == large, "{} bytes", read.len());
    assert!(system.delete(&path("large")).await.unwrap());
    assert!(!system.delete(&path("large")).await.unwrap());
}

#[tokio::test]
async fn a_file_is_in_the_store_only_when_it_is_complete() {
    let place = place_with(Arc::new(InMemory::new()));
    check_store(&place.system, "/logs/day").await;
    let left = std::fs::read_dir(place.directory.path().join("spool")).unwrap().count();
    assert_eq!(left, 0, "files or directories left in the spool");
}

#[tokio::test]
async fn files_that_wait_for_the_store_have_a_limit_together() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("spool");
    let mut file = Spool::new(root.clone(), 10).create("/x/a.tmp").unwrap();
    file.write_all(b"123456").unwrap();
    // As after a restart: what is there counts.
    let spool = Spool::new(root, 10);
    let mut other = SpooledFile::new("/x/b.tmp", spool.create("/x/b.tmp").unwrap(), spool.clone());
    other.write(Bytes::from_static(b"7890")).await.unwrap();
    let full = other.write(Bytes::from_static(b"1")).await.unwrap_err();
    assert_eq!(full.kind, FaultKind::QuotaExceeded);
    assert!(full.to_string().contains("hdfs.spoolBytes"), "{full}");
    assert!(spool.remove("/x/a.tmp").unwrap());
    spool.claim(6).unwrap();
    assert!(spool.claim(1).is_err());
}

#[test]
fn the_names_of_a_file_and_of_its_directories_are_durable() {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::new(directory.path().join("spool"), 10);
    let synced = || files::DIRECTORIES_SYNCED.with(std::cell::Cell::get);
    let before = synced();
    spool.create("/day/hour/a.tmp").unwrap();
    assert_eq!(synced() - before, 4, "of the file, hour, day and the spool");
}

#[tokio::test]
async fn an_upload_whose_reply_was_lost_is_not_repeated_and_is_not_a_name_taken() {
    let place = place_with(Arc::new(InMemory::new()));
    let system = &place.system;
    written(system, "/a.tmp", b"one").await.close().await.unwrap();
    let spool = place.directory.path().join("spool");
    let kept = std::fs::read(spool.join("a.tmp")).unwrap();
    system.rename("/a.tmp", "/a").await.unwrap();
    // As a crash between the upload and the removal would leave it.
    std::fs::write(spool.join("a.tmp"), kept).unwrap();
    std::fs::write(spool.join("a.tmp.upload"), "/a").unwrap();
    system.rename("/a.tmp", "/a").await.unwrap();
    assert_eq!(system.status("/a.tmp").await.unwrap(), None);
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
}

#[tokio::test]
async fn a_path_cannot_leave_the_spool_and_the_store() {
    let place = place_with(Arc::new(InMemory::new()));
    for path in ["/a/../../x", "/..", "/", "", "/a//b", "/./a", "/a.upload"] {
        let error = place.system.create(path).await.err().unwrap();
        assert!(error.kind.is_final_for_path(), "{path}: {error}");
    }
    let parent = std::fs::read_dir(place.directory.path()).unwrap().count();
    assert_eq!(parent, 0);
}

fn opened(url: &str, properties: &str) -> Result<Object, FileSystemError> {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("<configuration>{properties}</configuration>");
    std::fs::write(directory.path().join("core-site.xml"), text).unwrap();
    Object::open(ObjectSettings {
        url: url.to_owned(),
        directory: Some(directory.path().to_owned()),
        call_timeout: Duration::from_secs(5),
        spool: directory.path().join("spool"),
        spool_bytes_max: 1 << 30,
    })
}

fn property(name: &str, value: &str) -> String {
    format!("<property><name>{name}</name><value>{value}</value></property>")
}

#[test]
fn stores_are_configured_by_the_keys_of_hadoop() {
    let of_one = property("fs.s3a.bucket.logs.endpoint", "other.example")
        + &property("fs.s3a.endpoint", "http://127.0.0.1:9")
        + &property("fs.s3a.path.style.access", "true");
    let text = |url: &str| format!("{:?}", opened(url, &of_one).map(|object| object.store));
    assert!(text("s3a://logs/x").contains("https://other.example"));
    assert!(text("s3://all/x").contains("http://127.0.0.1:9/all"));
    let key = property("fs.azure.account.key.acc.dfs.core.windows.net", "a2V5");
    assert!(opened("abfs://box@acc.dfs.core.windows.net/x", &key).is_ok());
    for wrong in ["s3a:///x", "ftp://x/y", "s3a", ""] {
        let error = opened(wrong, "").err().unwrap();
        assert_eq!(error.kind, FaultKind::Misconfigured, "{error}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_the_file_stays_in_the_spool() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let keys = property("fs.s3a.endpoint", &format!("http://{address}"))
        + &property("fs.s3a.path.style.access", "true")
        + &property("fs.s3a.access.key", "key")
        + &property("fs.s3a.secret.key", "very-secret");
    let away = opened("s3a://logs", &keys).unwrap();
    let place = place_with(Arc::clone(&away.store));
    let mut file = place.system.spool.on_disk("create", "/a.tmp", Spool::create).await.unwrap();
    file.write_all(b"one").unwrap();
    let error = place.system.rename("/a.tmp", "/a").await.unwrap_err();
    assert!(matches!(error.kind, FaultKind::Unavailable | FaultKind::TimedOut), "{error}");
    assert!(!error.to_string().contains("very-secret"), "{error}");
    assert_eq!(place.system.spool.look_at("/a.tmp").await.unwrap().unwrap().length, 3);
}

/// `MILLPOND_S3` is the URL of a server of S3, with the bucket `pond`, that takes any key.
#[tokio::test]
async fn real_s3_takes_files_whole() {
    let Ok(endpoint) = std::env::var("MILLPOND_S3") else {
        println!("left out a test of S3: MILLPOND_S3 names no server");
        return;
    };
    let keys = property("fs.s3a.endpoint", &endpoint)
        + &property("fs.s3a.path.style.access", "true")
        + &property("fs.s3a.access.key", "key")
        + &property("fs.s3a.secret.key", "secret");
    let store = opened("s3a://pond/logs", &keys).unwrap().store;
    let place = place_with(store);
    check_store(&place.system, &format!("/logs-{}", std::process::id())).await;
}
