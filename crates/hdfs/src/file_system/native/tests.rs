//! The settings, and servers that do not reply. `real_hdfs` runs against a real cluster.

use super::*;

mod real_hdfs;

fn settings(url: &str) -> NativeSettings {
    NativeSettings {
        url: Some(url.to_owned()),
        directory: Some(PathBuf::from("/nonexistent")),
        call_timeout: Duration::from_millis(400),
        principal: None,
        keytab: None,
        proxy_user: None,
    }
}

fn hadoop(properties: &[(&str, &str)]) -> HadoopSettings {
    let place = tempfile::tempdir().unwrap();
    let mut text = String::from("<configuration>");
    for (name, value) in properties {
        text += &format!("<property><name>{name}</name><value>{value}</value></property>");
    }
    std::fs::write(place.path().join("core-site.xml"), text + "</configuration>").unwrap();
    HadoopSettings::read(place.path()).unwrap()
}

#[test]
fn a_url_gets_the_authority_and_the_port_that_it_lacks() {
    let none = hadoop(&[]);
    let plain = hadoop(&[("fs.defaultFS", "hdfs://nn:9000/")]);
    let service = hadoop(&[("dfs.ha.namenodes.ns", "a,b")]);
    let federated = hadoop(&[("dfs.namenode.rpc-address.west", "w:8020")]);
    for (given, hadoop, url) in [
        (Some("hdfs://nn/x"), &none, "hdfs://nn:8020"),
        (Some("hdfs://nn:1/x"), &plain, "hdfs://nn:1"),
        (Some("hdfs:///x"), &plain, "hdfs://nn:9000"),
        (None, &plain, "hdfs://nn:9000"),
        (Some("hdfs://ns/x"), &service, "hdfs://ns"),
        (Some("hdfs://west/x"), &federated, "hdfs://w:8020"),
        (Some("viewfs://table/x"), &none, "viewfs://table"),
    ] {
        assert_eq!(cluster_url(given, hadoop).unwrap(), url, "{given:?}");
    }
    for wrong in [None, Some("hdfs:///x"), Some("/x"), Some("s3a://bucket/x"), Some("")] {
        let error = cluster_url(wrong, &none).unwrap_err();
        assert_eq!(error.kind, FaultKind::Misconfigured, "{error}");
    }
}

#[test]
fn namenodes_are_asked_in_another_order_after_one_that_hung() {
    assert_eq!(shifted("a, b,c", 0), "a,b,c");
    assert_eq!(shifted("a, b,c", 1), "b,c,a");
    assert_eq!(shifted("a, b,c", 5), "c,a,b");
    assert_eq!(shifted("", 3), "");
}

#[test]
fn block_sizes_have_the_units_of_hadoop() {
    assert_eq!(byte_count("134217728"), Some(134_217_728));
    assert_eq!(byte_count(" 128M "), Some(134_217_728));
    assert_eq!(byte_count("2g"), Some(2 << 30));
    assert_eq!(byte_count("x"), None);
    assert_eq!(byte_count("99999999999999999999"), None);
    assert_eq!(byte_count("17000000t"), None);
}

#[test]
fn a_key_table_that_cannot_work_is_refused_with_its_reason() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("keytab");
    let refused = |principal: Option<&str>, keytab: &Path| {
        let mut settings = settings("hdfs://localhost:1");
        settings.principal = principal.map(str::to_owned);
        settings.keytab = Some(keytab.to_owned());
        Native::open(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(Some("a@B"), &file).contains("no such file"));
    std::fs::write(&file, "password").unwrap();
    assert!(refused(Some("a@B"), &file).contains("not a key table"));
    std::fs::write(&file, [5, 2]).unwrap();
    assert!(refused(None, &file).contains("kerberosPrincipal"));
    assert_eq!(refused(Some("a/_HOST@B"), &file), "");
    assert!(!of_this_machine("a/_HOST@B").contains("_HOST"));
}

#[tokio::test]
async fn an_absent_namenode_is_unavailable() {
    // A port that was just free: nothing listens there.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut settings = settings(&format!("hdfs://{port}"));
    settings.call_timeout = Duration::from_secs(20);
    let cluster = Native::open(settings).unwrap();
    let error = cluster.create("/a").await.err().unwrap();
    assert_eq!(error.kind, FaultKind::Unavailable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_replies_holds_up_no_call_for_longer_than_its_limit() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cluster = Native::open(settings(&format!("hdfs://{address}"))).unwrap();
    for _ in 0..3 {
        let error = cluster.status("/a").await.unwrap_err();
        assert_eq!(error.kind, FaultKind::TimedOut, "{error}");
        assert!(error.to_string().contains("hdfs.callTimeout"), "{error}");
    }
}

#[tokio::test]
async fn a_path_that_is_too_long_is_invalid_without_asking() {
    let cluster = Native::open(settings("hdfs://localhost:1")).unwrap();
    let error = cluster.mkdirs(&"/a".repeat(PATH_BYTES_MAX)).await.unwrap_err();
    assert!(error.kind.is_final_for_path(), "{}", error.kind);
}
