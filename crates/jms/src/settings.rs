//! The keys of the source `jms`.

use super::broker::Destination;
use super::charset::Charset;
use super::provider_url::{self, BrokerAddress};
use millpond_flow::net::tls::ClientTls;
use millpond_flow::settings::tls::{self, CLIENT_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use std::path::PathBuf;
use std::time::Duration;

/// The default of `maxMessageBytes`.
const MESSAGE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// All keys.
pub(crate) const KEYS: &[Key] = &joined::<30>(&[&OWN_KEYS, CLIENT_KEYS.split_at(1).1]);

const OWN_KEYS: [Key; 18] = [
    Key {
        name: "providerURL",
        kind: KeyKind::Text,
        default: "",
        meaning: "The broker, amqp://HOST:PORT or amqps://HOST:PORT; several with commas are tried in turn. Required.",
    },
    Key {
        name: "destinationName",
        kind: KeyKind::Text,
        default: "",
        meaning: "The queue or topic. Required.",
    },
    Key {
        name: "destinationType",
        kind: KeyKind::Word,
        default: "",
        meaning: "queue or topic. Required.",
    },
    Key {
        name: "destinationLocator",
        kind: KeyKind::Word,
        default: "CDI",
        meaning: "CDI: destinationName is the name. JNDI: dynamicQueues/ or dynamicTopics/ before it is removed; there is no JNDI here.",
    },
    Key {
        name: "initialContextFactory",
        kind: KeyKind::Text,
        default: "",
        meaning: "A Java class; accepted without effect.",
    },
    Key {
        name: "connectionFactory",
        kind: KeyKind::Text,
        default: "ConnectionFactory",
        meaning: "A name in JNDI; accepted without effect.",
    },
    Key {
        name: "messageSelector",
        kind: KeyKind::Text,
        default: "",
        meaning: "Only messages that this condition of JMS selects are read; the broker evaluates it.",
    },
    Key {
        name: "userName",
        kind: KeyKind::Text,
        default: "",
        meaning: "The user at the broker; without it the login is anonymous.",
    },
    Key {
        name: "passwordFile",
        kind: KeyKind::Path,
        default: "",
        meaning: "A file whose first line is the user's password, read at each connection.",
    },
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Messages of one transaction at most; at most the channel's transactionCapacity are used.",
    },
    Key {
        name: "pollTimeout",
        kind: KeyKind::Number,
        default: "1000",
        meaning: "Milliseconds that the first message of a batch is waited for before the room in the channel is looked at again.",
    },
    Key {
        name: "errorThreshold",
        kind: KeyKind::Number,
        default: "10",
        meaning: "Accepted without effect: a lost connection is replaced after the first error.",
    },
    Key {
        name: "clientId",
        kind: KeyKind::Text,
        default: "",
        meaning: "The name of this client at the broker; required for a durable subscription. Without it each connection has a name of its own.",
    },
    Key {
        name: "createDurableSubscription",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether the broker keeps a topic's messages while the agent is away; needs destinationType topic, clientId and durableSubscriptionName.",
    },
    Key {
        name: "durableSubscriptionName",
        kind: KeyKind::Text,
        default: "",
        meaning: "The name of the durable subscription.",
    },
    Key {
        name: "converter.type",
        kind: KeyKind::Text,
        default: "DEFAULT",
        meaning: "DEFAULT or its class name; converters are Java classes, and there are no others here.",
    },
    Key {
        name: "converter.charset",
        kind: KeyKind::Text,
        default: "UTF-8",
        meaning: "The charset of the bodies of text messages, by its Java name. Flume ignores it.",
    },
    Key {
        name: "maxMessageBytes",
        kind: KeyKind::Number,
        default: "67108864",
        meaning: "Bytes of a message at most, 1024 to 1073741824. A longer one is rejected, so that the broker sets it aside. Not in Flume.",
    },
];

const DEFAULT_CONVERTER: [&str; 3] = [
    "DEFAULT",
    "org.apache.flume.source.jms.DefaultJMSMessageConverter",
    "org.apache.flume.source.jms.DefaultJMSMessageConverter$Builder",
];

/// The settings of a source.
pub(crate) struct JmsSettings {
    pub(crate) brokers: Vec<BrokerAddress>,
    pub(crate) destination: Destination,
    /// A user, and the file with its password.
    pub(crate) user: Option<(String, Option<PathBuf>)>,
    pub(crate) client: Option<String>,
    pub(crate) tls: ClientTls,
    pub(crate) batch: usize,
    pub(crate) poll_timeout: Duration,
    pub(crate) charset: Charset,
    pub(crate) message_bytes_max: u64,
}

/// Returns the value of a key that is not empty.
fn text<'a>(reader: &SettingsReader<'a>, key: &str) -> Option<&'a str> {
    reader.text(key).filter(|text| !text.is_empty())
}

/// Reads the settings.
pub(crate) fn read(reader: &mut SettingsReader<'_>) -> Result<JmsSettings, SettingError> {
    let url = provider_url::parse(reader.required_text("providerURL")?)
        .map_err(|why| reader.error("providerURL", why))?;
    if url.has_options {
        let message = "the options after ? are those of a Java client and have no effect";
        reader.find(Severity::Warning, "providerURL", message);
    }
    let user = user(reader)?;
    let is_open = |broker: &BrokerAddress| !broker.is_tls && !broker.is_loopback();
    if user.is_some()
        && let Some(broker) = url.brokers.iter().find(|broker| is_open(broker))
    {
        let message = format!(
            "the password is sent to {broker} without TLS, and anyone on the network path can read it; use amqps"
        );
        reader.find(Severity::Warning, "providerURL", message);
    }
    let converter = reader.text("converter.type").unwrap_or(DEFAULT_CONVERTER[0]);
    if !DEFAULT_CONVERTER.iter().any(|known| known.eq_ignore_ascii_case(converter)) {
        let message = "is a Java class; there is only DEFAULT here. A program of your own can read the broker (type external)";
        return Err(reader.error("converter.type", message));
    }
    let charset = reader.text("converter.charset").unwrap_or("UTF-8");
    let charset = Charset::named(charset).ok_or_else(|| {
        reader.error(
            "converter.charset",
            format!("unknown charset \"{charset}\"; UTF-8 is the default"),
        )
    })?;
    let destination = destination(reader)?;
    // Read so that a value that is not a number is said.
    reader.number("errorThreshold", 0..=i64::MAX)?;
    Ok(JmsSettings {
        brokers: url.brokers,
        destination,
        user,
        client: text(reader, "clientId").map(str::to_owned),
        tls: tls::client_always(reader)?,
        batch: reader.number("batchSize", 1..=100_000)?.unwrap_or(100),
        poll_timeout: reader.millis("pollTimeout", 1..=60_000)?.unwrap_or(Duration::from_secs(1)),
        charset,
        message_bytes_max: reader
            .number("maxMessageBytes", 1024..=1 << 30)?
            .unwrap_or(MESSAGE_BYTES_DEFAULT),
    })
}

fn user(
    reader: &mut SettingsReader<'_>,
) -> Result<Option<(String, Option<PathBuf>)>, SettingError> {
    let file = text(reader, "passwordFile").map(PathBuf::from);
    match (text(reader, "userName"), file) {
        (Some(name), file) => Ok(Some((name.to_owned(), file))),
        (None, Some(_)) => {
            let message = "has no effect without userName: the login is anonymous";
            reader.find(Severity::Warning, "passwordFile", message);
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

fn destination(reader: &mut SettingsReader<'_>) -> Result<Destination, SettingError> {
    let mut name = reader.required_text("destinationName")?;
    reader.required_text("destinationType")?;
    let kind = reader.word("destinationType", &["queue", "topic"])?;
    let is_topic = kind == Some("topic");
    if reader.word("destinationLocator", &["CDI", "JNDI"])? == Some("JNDI") {
        let prefix = if is_topic { "dynamicTopics/" } else { "dynamicQueues/" };
        match name.strip_prefix(prefix) {
            Some(rest) => name = rest,
            None => {
                let message =
                    format!("there is no JNDI here: \"{name}\" is taken as the name at the broker");
                reader.find(Severity::Warning, "destinationName", message);
            }
        }
    }
    let is_durable = reader.truth("createDurableSubscription", false)?;
    let subscription = text(reader, "durableSubscriptionName").map(str::to_owned);
    if is_durable {
        let missing = [
            ("destinationType", !is_topic, "must be topic"),
            ("clientId", text(reader, "clientId").is_none(), "is missing"),
            ("durableSubscriptionName", subscription.is_none(), "is missing"),
        ];
        if let Some((key, _, how)) = missing.iter().find(|(_, is_wrong, _)| *is_wrong) {
            return Err(reader.error(key, format!("{how}, for createDurableSubscription")));
        }
    } else if subscription.is_some() {
        let message = "has no effect without createDurableSubscription";
        reader.find(Severity::Warning, "durableSubscriptionName", message);
    }
    Ok(Destination {
        name: name.to_owned(),
        is_topic,
        selector: text(reader, "messageSelector").map(str::to_owned),
        subscription: subscription.filter(|_| is_durable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::Settings;

    const NEEDED: [(&str, &str); 3] =
        [("providerURL", "amqp://h:1"), ("destinationName", "q"), ("destinationType", "queue")];

    /// Returns the settings of these keys in addition to the needed ones, and the warnings.
    fn with(pairs: &[(&str, &str)]) -> (Result<JmsSettings, SettingError>, Vec<String>) {
        let is_given = |key: &str| pairs.iter().any(|(given, _)| *given == key);
        let needed = NEEDED.into_iter().filter(|(key, _)| !is_given(key));
        let all: Vec<_> = needed.chain(pairs.iter().copied()).filter(|(_, v)| *v != "-").collect();
        let settings = Settings::from_pairs("r1", &all);
        let mut reader = SettingsReader::new(&settings);
        let read = read(&mut reader);
        (read, reader.into_findings().iter().map(ToString::to_string).collect())
    }

    fn refused(pairs: &[(&str, &str)], key: &str, word: &str) {
        let Err(error) = with(pairs).0 else { panic!("{pairs:?} is taken") };
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(word), "{text}");
    }

    #[test]
    fn the_keys_of_flume_are_taken() {
        let (read, warnings) = with(&[
            ("initialContextFactory", "org.example.Factory"),
            ("connectionFactory", "ConnectionFactory"),
            ("messageSelector", "a = 'b'"),
            ("userName", "u"),
            ("passwordFile", "/p"),
            ("batchSize", "7"),
            ("pollTimeout", "50"),
            ("errorThreshold", "3"),
            ("converter.type", "default"),
            ("converter.charset", "UTF-16"),
            ("destinationLocator", "JNDI"),
            ("destinationName", "dynamicQueues/q"),
            ("providerURL", "amqp://localhost:1"),
        ]);
        let settings = read.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!((settings.batch, settings.poll_timeout), (7, Duration::from_millis(50)));
        assert_eq!(settings.destination.name, "q");
        assert_eq!(settings.destination.selector.as_deref(), Some("a = 'b'"));
        assert_eq!(settings.user, Some(("u".to_owned(), Some(PathBuf::from("/p")))));
    }

    #[test]
    fn a_durable_subscription_needs_a_topic_and_its_names() {
        let topic = [
            ("destinationType", "topic"),
            ("createDurableSubscription", "true"),
            ("clientId", "c"),
            ("durableSubscriptionName", "s"),
        ];
        assert_eq!(with(&topic).0.unwrap().destination.subscription.as_deref(), Some("s"));
        for at in [2, 3] {
            let mut fewer = topic;
            fewer[at].1 = "-";
            refused(&fewer, topic[at].0, "createDurableSubscription");
        }
        let queue = [("destinationType", "queue"), topic[1], topic[2], topic[3]];
        refused(&queue, "destinationType", "must be topic");
        let (read, warnings) = with(&[topic[3]]);
        assert!(read.unwrap().destination.subscription.is_none() && warnings.len() == 1);
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused_by_its_key() {
        for (key, _) in NEEDED {
            refused(&[(key, "-")], key, "");
        }
        refused(&[("providerURL", "tcp://h:61616")], "providerURL", "amqp://HOST:PORT");
        refused(&[("destinationType", "exchange")], "destinationType", "queue, topic");
        refused(&[("converter.type", "com.example.Mine")], "converter.type", "Java class");
        refused(&[("converter.charset", "no-such")], "converter.charset", "no-such");
        refused(&[("batchSize", "0")], "batchSize", "1");
        refused(&[("maxMessageBytes", "5")], "maxMessageBytes", "1024");
    }

    #[test]
    fn a_password_without_tls_and_keys_without_effect_are_warned_of() {
        for (pairs, word) in [
            (vec![("userName", "u")], "without TLS"),
            (vec![("passwordFile", "/p")], "without userName"),
            (vec![("providerURL", "amqp://localhost:1?a=b")], "no effect"),
            (vec![("destinationLocator", "JNDI")], "no JNDI"),
        ] {
            let (_, warnings) = with(&pairs);
            assert!(warnings.len() == 1 && warnings[0].contains(word), "{warnings:?}");
        }
        assert!(with(&[("userName", "u"), ("providerURL", "amqps://h")]).1.is_empty());
    }
}
