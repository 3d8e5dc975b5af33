//! The sink on a server of S3.

use crate::sink::*;
use millpond::SystemClock;
use millpond_flow::context::StopSignal;
use millpond_flow::settings::Settings;
use std::collections::BTreeMap;

/// `MILLPOND_S3` is the URL of a server of S3, with the bucket `pond`, that takes any key.
#[tokio::test]
async fn real_s3_the_next_start_uploads_what_a_kill_left() {
    let Ok(endpoint) = std::env::var("MILLPOND_S3") else {
        println!("left out a test of S3: MILLPOND_S3 names no server");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let property = |name: &str, value: &str| {
        format!("<property><name>{name}</name><value>{value}</value></property>")
    };
    let hadoop = property("fs.s3a.endpoint", &endpoint)
        + &property("fs.s3a.path.style.access", "true")
        + &property("fs.s3a.access.key", "key")
        + &property("fs.s3a.secret.key", "secret");
    let text = format!("<configuration>{hadoop}</configuration>");
    std::fs::write(place.path().join("core-site.xml"), text).unwrap();
    let directory = format!("/sink-{}", std::process::id());
    let (url, local) = (format!("s3a://pond{directory}"), place.path().to_str().unwrap());
    let pairs = [
        ("hdfs.path", url.as_str()),
        ("hdfs.fileType", "DataStream"),
        ("hdfs.rollCount", "7"),
        ("hdfs.rollSize", "0"),
        ("hdfs.rollInterval", "0"),
        ("hdfs.config", local),
        ("hdfs.stateDirectory", local),
    ];
    let settings = Settings::from_pairs("k1", &pairs);
    let context = SinkContext {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        stop: StopSignal::new().1,
        clock: Arc::new(SystemClock::default()),
        counters: Arc::default(),
        gives_up: false,
    };
    for life in 0..4 {
        let mut sink = HdfsSink::build(&mut SettingsReader::new(&settings)).unwrap();
        sink.start(&context).await.unwrap();
        for batch in 0..5 {
            let event = |n| Event::new(format!("{life}.{batch}.{n}"));
            let events: Vec<Event> = (0..10).map(event).collect();
            sink.deliver(&context, &events).await.unwrap();
        }
        if life == 3 {
            sink.stop(&context).await.unwrap();
        }
        // Otherwise it ends as in a kill: its tasks, uploads among them, end wherever they are.
    }
    let store = HdfsSettings::file_system(
        &HdfsSettings::read(&mut SettingsReader::new(&settings)).unwrap(),
    );
    let store = store.unwrap_or_else(|_| panic!("the client of the store"));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in store.list(&directory).await.unwrap() {
        assert!(!file.path.ends_with(".tmp"), "{}", file.path);
        let bytes = store.read(&file.path, 0, 1 << 20).await.unwrap();
        for line in std::str::from_utf8(&bytes).unwrap().lines() {
            *seen.entry(line.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 200);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
}
