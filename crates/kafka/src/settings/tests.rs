use super::*;
use millpond_flow::settings::{ConfigFinding, Settings};

fn read(
    role: ClientRole,
    pairs: &[(&str, &str)],
) -> (Result<ClientSettings, SettingError>, Vec<ConfigFinding>) {
    let mut all = vec![(BOOTSTRAP, "h1:9092, h2:9092")];
    all.extend(pairs);
    let settings = Settings::from_pairs("k1", &all);
    let mut reader = SettingsReader::new(&settings);
    (ClientSettings::read(&mut reader, role), reader.into_findings())
}

#[test]
fn javas_settings_become_those_of_librdkafka() {
    for (role, key, value, name, native) in [
        (ClientRole::Producer, "acks", "-1", "acks", "all"),
        (ClientRole::Producer, "max.request.size", "2097152", "message.max.bytes", "2097152"),
        (ClientRole::Producer, "buffer.memory", "4000000", "queue.buffering.max.kbytes", "3906"),
        (ClientRole::Producer, "compression.type", "GZIP", "compression.type", "gzip"),
        (ClientRole::Consumer, "auto.offset.reset", "none", "auto.offset.reset", "error"),
        (ClientRole::Consumer, "fetch.max.wait.ms", "20", "fetch.wait.max.ms", "20"),
        (
            ClientRole::Consumer,
            "partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.RangeAssignor,org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
            "partition.assignment.strategy",
            "range",
        ),
        (
            ClientRole::Consumer,
            "metadata.max.age.ms",
            "500",
            "topic.metadata.refresh.interval.ms",
            "500",
        ),
    ] {
        let key = format!("{}{key}", role.prefix());
        let (settings, findings) = read(role, &[(&key, value)]);
        let settings = settings.unwrap();
        assert_eq!(settings.get(name), Some(native), "{key}");
        assert_eq!(settings.key_of(name), Some(key.as_str()));
        assert_eq!(findings, [], "{key}");
    }
    let settings = read(ClientRole::Producer, &[]).0.unwrap();
    assert_eq!(settings.servers(), "h1:9092,h2:9092");
    assert_eq!(settings.get("acks"), Some("all"));
    assert_eq!(settings.get("enable.idempotence"), Some("true"));
    assert_eq!(settings.get("partitioner"), Some("murmur2_random"));
}

#[test]
fn a_setting_without_a_counterpart_is_reported_with_its_key() {
    for (role, key, words) in [
        (ClientRole::Producer, "kafka.producer.no.such.property", "no such setting"),
        (ClientRole::Producer, "kafka.producer.interceptor.classes", "Java class"),
        (ClientRole::Consumer, "kafka.consumer.enable.auto.commit", "with the events"),
        (ClientRole::Producer, "kafka.producer.plugin.library.paths", "no such setting"),
    ] {
        let (settings, findings) = read(role, &[(key, "x")]);
        assert!(settings.is_ok());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].key, format!("k1.{key}"));
        assert!(findings[0].message.contains(words), "{}", findings[0].message);
    }
    let silent = [
        ("kafka.producer.key.serializer", "org.apache.kafka.common.serialization.StringSerializer"),
        ("kafka.producer.max.block.ms", "5000"),
    ];
    assert_eq!(read(ClientRole::Producer, &silent).1, []);
}

#[test]
fn values_that_cannot_be_used_name_their_key() {
    for (role, key, value) in [
        (ClientRole::Producer, "kafka.producer.acks", "some"),
        (ClientRole::Producer, "kafka.producer.security.protocol", "TLS"),
        (ClientRole::Producer, "kafka.producer.partitioner.class", "my.Own"),
        (ClientRole::Producer, "kafka.producer.enable.idempotence", "yes"),
        (ClientRole::Consumer, "kafka.consumer.auto.offset.reset", "begin"),
        (ClientRole::Consumer, "kafka.consumer.sasl.jaas.config", "a.PlainLoginModule required"),
    ] {
        let error = read(role, &[(key, value)]).0.unwrap_err();
        assert_eq!(error.key, format!("k1.{key}"), "{value}");
    }
    let both = [("kafka.producer.acks", "1"), ("kafka.producer.enable.idempotence", "true")];
    assert_eq!(read(ClientRole::Producer, &both).0.unwrap_err().key, "k1.kafka.producer.acks");
}

#[test]
fn fewer_acks_are_taken_with_a_warning_and_without_idempotence() {
    let (settings, findings) = read(ClientRole::Producer, &[("kafka.producer.acks", "1")]);
    assert_eq!(settings.unwrap().get("enable.idempotence"), Some("false"));
    assert_eq!(findings[0].key, "k1.kafka.producer.acks");
}

#[test]
fn a_jaas_line_becomes_a_user_and_shows_no_password() {
    let plain = [
        ("kafka.producer.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.producer.sasl.mechanism", "PLAIN"),
        (
            "kafka.producer.sasl.jaas.config",
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"pond\" password=\"top-secret\";",
        ),
    ];
    let settings = read(ClientRole::Producer, &plain).0.unwrap();
    let native = settings.resolve().unwrap();
    assert_eq!(
        (native["sasl.username"].as_str(), native["sasl.password"].as_str()),
        ("pond", "top-secret")
    );
    assert!(!format!("{settings:?}").contains("top-secret"));
    let broken =
        [plain[0], plain[1], (plain[2].0, "x.PlainLoginModule required password=\"top-secret\";")];
    let error = read(ClientRole::Producer, &broken).0.unwrap_err();
    assert!(
        error.message.contains("no username") && !error.message.contains("top-secret"),
        "{error}"
    );
}

#[test]
fn a_jaas_file_of_the_process_is_read_when_the_client_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jaas.conf");
    let name = path.display().to_string();
    let pairs = [
        ("kafka.consumer.security.protocol", "SASL_PLAINTEXT"),
        ("kafka.consumer.sasl.mechanism", "PLAIN"),
        (JAAS_FILE, name.as_str()),
    ];
    let settings = read(ClientRole::Consumer, &pairs).0.unwrap();
    let missing = settings.resolve().unwrap_err().to_string();
    assert!(missing.contains(&name), "{missing}");
    std::fs::write(&path, "KafkaClient { a.b.PlainLoginModule required username=u password=p; };")
        .unwrap();
    assert_eq!(settings.resolve().unwrap()["sasl.password"], "p");
}

#[test]
fn a_store_that_cannot_be_read_is_named() {
    if !cfg!(feature = "ssl") {
        let tls = [("kafka.producer.security.protocol", "SSL")];
        let error = read(ClientRole::Producer, &tls).0.unwrap_err();
        assert!(error.message.contains("kafka-ssl"), "{error}");
        return;
    }
    let tls = [
        ("kafka.producer.security.protocol", "SSL"),
        ("kafka.producer.ssl.truststore.location", "/no/such/trust.jks"),
    ];
    let settings = read(ClientRole::Producer, &tls).0.unwrap();
    let error = settings.resolve().unwrap_err().to_string();
    assert!(error.contains("/no/such/trust.jks"), "{error}");
}
