//! The settings of Java's Kafka clients, and what they are for librdkafka.

use super::role::ClientRole;

/// What becomes of a Java setting.
#[derive(Clone, Copy)]
pub(super) enum Translation {
    /// librdkafka has it under the same name, with the same values.
    Same,
    /// librdkafka has it under this name, with the same values.
    Name(&'static str),
    /// librdkafka has it under this name; the function returns its value or what is wrong.
    Value(&'static str, fn(&str) -> Result<String, String>),
    /// Accepted without effect and without a finding, because nothing is lost by it.
    Silent,
    /// Without effect; why.
    None(&'static str),
    /// A line of JAAS.
    Jaas,
    /// A part of the trust store or of the key store.
    Store,
}

/// A Java setting.
pub(super) struct JavaSetting {
    pub(super) name: &'static str,
    /// The client that has it; `None` for both.
    pub(super) role: Option<ClientRole>,
    pub(super) translation: Translation,
}

const fn both(name: &'static str, translation: Translation) -> JavaSetting {
    JavaSetting { name, role: None, translation }
}

const fn producer(name: &'static str, translation: Translation) -> JavaSetting {
    JavaSetting { name, role: Some(ClientRole::Producer), translation }
}

const fn consumer(name: &'static str, translation: Translation) -> JavaSetting {
    JavaSetting { name, role: Some(ClientRole::Consumer), translation }
}

use Translation::{Jaas, Name, None as Nothing, Same, Silent, Store, Value};

/// All settings that are known.
pub(super) const TABLE: &[JavaSetting] = &[
    both("bootstrap.servers", Same),
    both("client.id", Same),
    both("client.dns.lookup", Value("client.dns.lookup", dns_lookup)),
    both("client.rack", Same),
    both("connections.max.idle.ms", Same),
    both("metadata.max.age.ms", Value("topic.metadata.refresh.interval.ms", whole)),
    both("receive.buffer.bytes", Value("socket.receive.buffer.bytes", buffer)),
    both("send.buffer.bytes", Value("socket.send.buffer.bytes", buffer)),
    both("reconnect.backoff.ms", Same),
    both("reconnect.backoff.max.ms", Same),
    both("retry.backoff.ms", Same),
    both("retry.backoff.max.ms", Same),
    both("socket.connection.setup.timeout.ms", Same),
    both("socket.connection.setup.timeout.max.ms", Silent),
    both("security.protocol", Value("security.protocol", lower)),
    both("sasl.mechanism", Value("sasl.mechanism", upper)),
    both("sasl.jaas.config", Jaas),
    both("sasl.kerberos.service.name", Same),
    both("sasl.kerberos.min.time.before.relogin", Same),
    both(
        "sasl.kerberos.kinit.cmd",
        Nothing("no command of a configuration is run; the client logs in by itself"),
    ),
    both("sasl.kerberos.ticket.renew.jitter", Silent),
    both("sasl.kerberos.ticket.renew.window.factor", Silent),
    both("ssl.protocol", Silent),
    both("ssl.enabled.protocols", Nothing("the versions are those that OpenSSL allows")),
    both("ssl.cipher.suites", Nothing("OpenSSL has other names for them; its own list is used")),
    both(
        "ssl.endpoint.identification.algorithm",
        Value("ssl.endpoint.identification.algorithm", identification),
    ),
    both("ssl.truststore.location", Store),
    both("ssl.truststore.password", Store),
    both("ssl.truststore.type", Store),
    both("ssl.truststore.certificates", Name("ssl.ca.pem")),
    both("ssl.keystore.location", Store),
    both("ssl.keystore.password", Store),
    both("ssl.keystore.type", Store),
    both("ssl.keystore.certificate.chain", Name("ssl.certificate.pem")),
    both("ssl.keystore.key", Name("ssl.key.pem")),
    both("ssl.key.password", Name("ssl.key.password")),
    both("ssl.keymanager.algorithm", Silent),
    both("ssl.trustmanager.algorithm", Silent),
    both("ssl.secure.random.implementation", Silent),
    both("ssl.provider", Silent),
    both("security.providers", Silent),
    both("interceptor.classes", Nothing("it names a Java class")),
    both("metric.reporters", Nothing("it names a Java class; see docs/monitoring.md")),
    both("metrics.num.samples", Silent),
    both("metrics.recording.level", Silent),
    both("metrics.sample.window.ms", Silent),
    both("auto.include.jmx.reporter", Silent),
    both("enable.metrics.push", Value("enable.metrics.push", truth)),
    // Producers.
    producer("acks", Value("acks", acks)),
    producer("retries", Same),
    producer("linger.ms", Same),
    producer("batch.size", Value("batch.size", at_least_one)),
    producer("compression.type", Value("compression.type", lower)),
    producer("compression.gzip.level", Name("compression.level")),
    producer("compression.lz4.level", Name("compression.level")),
    producer("compression.zstd.level", Name("compression.level")),
    producer("max.in.flight.requests.per.connection", Same),
    producer("max.request.size", Value("message.max.bytes", request_size)),
    producer("buffer.memory", Value("queue.buffering.max.kbytes", kibibytes)),
    producer("enable.idempotence", Value("enable.idempotence", truth)),
    producer("request.timeout.ms", Same),
    producer("delivery.timeout.ms", Same),
    producer("transaction.timeout.ms", Same),
    producer("transactional.id", Same),
    producer("partitioner.class", Value("partitioner", partitioner)),
    producer("partitioner.ignore.keys", Nothing("keys decide, as in Java's default")),
    producer("partitioner.adaptive.partitioning.enable", Silent),
    producer("partitioner.availability.timeout.ms", Silent),
    producer("metadata.max.idle.ms", Silent),
    producer("max.block.ms", Silent),
    producer("key.serializer", Silent),
    producer("value.serializer", Silent),
    // Consumers.
    consumer("group.id", Same),
    consumer("group.instance.id", Same),
    consumer("group.protocol", Value("group.protocol", lower)),
    consumer("group.remote.assignor", Same),
    consumer("session.timeout.ms", Same),
    consumer("heartbeat.interval.ms", Same),
    consumer("max.poll.interval.ms", Same),
    consumer("max.poll.records", Silent),
    consumer("auto.offset.reset", Value("auto.offset.reset", offset_reset)),
    consumer("isolation.level", Value("isolation.level", lower)),
    consumer("fetch.min.bytes", Same),
    consumer("fetch.max.bytes", Same),
    consumer("fetch.max.wait.ms", Name("fetch.wait.max.ms")),
    consumer("max.partition.fetch.bytes", Same),
    consumer("check.crcs", Value("check.crcs", truth)),
    consumer("partition.assignment.strategy", Value("partition.assignment.strategy", assignors)),
    consumer("allow.auto.create.topics", Value("allow.auto.create.topics", truth)),
    consumer("request.timeout.ms", Value("socket.timeout.ms", request_timeout)),
    consumer("default.api.timeout.ms", Silent),
    consumer("exclude.internal.topics", Silent),
    consumer("enable.auto.commit", Nothing("offsets are committed with the events, as in Flume")),
    consumer(
        "auto.commit.interval.ms",
        Nothing("offsets are committed with the events, as in Flume"),
    ),
    consumer("key.deserializer", Silent),
    consumer("value.deserializer", Silent),
];

fn lower(text: &str) -> Result<String, String> {
    Ok(text.to_ascii_lowercase())
}

fn upper(text: &str) -> Result<String, String> {
    Ok(text.to_ascii_uppercase())
}

fn truth(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        truth @ ("true" | "false") => Ok(truth.to_owned()),
        _ => Err("is neither true nor false".to_owned()),
    }
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "is not a whole number".to_owned())
}

fn whole(text: &str) -> Result<String, String> {
    number(text).map(|number| number.to_string())
}

/// Java's -1 is the system's default, librdkafka's is 0.
fn buffer(text: &str) -> Result<String, String> {
    number(text).map(|bytes| bytes.max(0).to_string())
}

fn at_least_one(text: &str) -> Result<String, String> {
    number(text).map(|bytes| bytes.max(1).to_string())
}

/// librdkafka takes 1000 bytes at least.
fn request_size(text: &str) -> Result<String, String> {
    number(text).map(|bytes| bytes.clamp(1000, 1_000_000_000).to_string())
}

fn kibibytes(text: &str) -> Result<String, String> {
    number(text).map(|bytes| (bytes / 1024).clamp(1, i64::from(i32::MAX)).to_string())
}

fn request_timeout(text: &str) -> Result<String, String> {
    number(text).map(|ms| ms.clamp(10, 300_000).to_string())
}

fn acks(text: &str) -> Result<String, String> {
    match text {
        "all" | "-1" => Ok("all".to_owned()),
        "0" | "1" => Ok(text.to_owned()),
        _ => Err("is none of all, -1, 1 and 0".to_owned()),
    }
}

fn dns_lookup(text: &str) -> Result<String, String> {
    match text {
        "use_all_dns_ips" | "resolve_canonical_bootstrap_servers_only" => Ok(text.to_owned()),
        "default" => Ok("use_all_dns_ips".to_owned()),
        _ => {
            Err("is neither use_all_dns_ips nor resolve_canonical_bootstrap_servers_only"
                .to_owned())
        }
    }
}

fn identification(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "none" => Ok("none".to_owned()),
        "https" => Ok("https".to_owned()),
        _ => Err("is neither https nor empty".to_owned()),
    }
}

fn offset_reset(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok("error".to_owned()),
        word @ ("earliest" | "latest") => Ok(word.to_owned()),
        _ => Err("is none of earliest, latest and none".to_owned()),
    }
}

/// Java's classes by their last part.
fn class(text: &str) -> &str {
    text.trim().rsplit('.').next().unwrap_or_default()
}

fn assignors(text: &str) -> Result<String, String> {
    let mut names: Vec<&str> = Vec::new();
    for name in text.split(',').filter(|name| !name.trim().is_empty()) {
        let name = match class(name) {
            "RangeAssignor" | "range" => "range",
            "RoundRobinAssignor" | "roundrobin" => "roundrobin",
            "CooperativeStickyAssignor" | "cooperative-sticky" => "cooperative-sticky",
            // The group's members agree on one that all have; this client has no sticky one.
            "StickyAssignor" | "sticky" => continue,
            _ => {
                return Err(
                    "names a Java class; RangeAssignor, RoundRobinAssignor and CooperativeStickyAssignor are there"
                        .to_owned(),
                );
            }
        };
        names.push(name);
    }
    // One group cannot have both kinds; those with the eager protocol are first in Java's default.
    let first = names.first().copied().unwrap_or("range");
    names.retain(|name| (*name == "cooperative-sticky") == (first == "cooperative-sticky"));
    Ok(if names.is_empty() { "range".to_owned() } else { names.join(",") })
}

fn partitioner(text: &str) -> Result<String, String> {
    match class(text) {
        "" | "DefaultPartitioner" | "UniformStickyPartitioner" => Ok("murmur2_random".to_owned()),
        "RoundRobinPartitioner" => Ok("random".to_owned()),
        _ => {
            Err("names a Java class; DefaultPartitioner and RoundRobinPartitioner are there"
                .to_owned())
        }
    }
}
