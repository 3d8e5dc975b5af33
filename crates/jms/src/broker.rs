//! A connection to a broker, with the one link that brings messages.
//!
//! Limits: [`CONNECT_TIMEOUT`] for everything up to the link. The broker is given up after [`IDLE_TIMEOUT`] without a
//! byte. The link ends at the frame with which a message would exceed [`LINK_BYTES_MAX`]; the broker does not count
//! that as an attempt, so longer messages than `maxMessageBytes` are received and rejected one by one.

use super::message::AmqpMessage;
use super::provider_url::BrokerAddress;
use fe2o3_amqp::connection::{ConnectionHandle, OpenError};
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::link::{DispositionError, IllegalLinkStateError, ReceiverAttachError, RecvError};
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Delivery, Receiver, Session};
use fe2o3_amqp_types::definitions::{AmqpError, Error, ErrorCondition, ReceiverSettleMode};
use fe2o3_amqp_types::messaging::{Body, Source, TerminusDurability, TerminusExpiryPolicy};
use millpond_flow::net::connect::{ConnectError, Layers, connect};
use millpond_flow::net::tls::{ClientTls, StoreReloader, TlsError};
use serde_amqp::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use serde_amqp::primitives::Symbol;
use std::time::Duration;
use tokio::time::timeout;

/// How long the connection, the login and the link may take together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// After so long without a byte of it the broker is given up; it sends something twice in this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the orderly end of a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a frame at most; a longer message has several.
const FRAME_BYTES_MAX: u32 = 256 * 1024;

/// Bytes of a message that the link takes at most: the largest `maxMessageBytes`.
const LINK_BYTES_MAX: u64 = 1 << 30;

/// The filter that brokers know for a selector of JMS.
const SELECTOR: &str = "apache.org:selector-filter:string";
const SELECTOR_CODE: u64 = 0x0000_468C_0000_0004;

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The name of the queue or topic.
    pub(crate) name: String,
    pub(crate) is_topic: bool,
    pub(crate) selector: Option<String>,
    /// The name of the durable subscription.
    pub(crate) subscription: Option<String>,
}

/// How the broker is asked.
pub(crate) struct Login<'a> {
    pub(crate) user: Option<(String, String)>,
    /// The name of this client, unique at the broker.
    pub(crate) client: String,
    /// The name of the link.
    pub(crate) link: String,
    pub(crate) tls: &'a StoreReloader<ClientTls>,
}

/// Why there is no link, or no longer one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error("{0}")]
    Connect(#[source] ConnectError),
    #[error("TLS cannot be used: {0}")]
    Tls(#[source] TlsError),
    #[error("the broker refuses the user or its password; check userName and passwordFile")]
    Login,
    #[error("no AMQP with the broker: {0}; is the port one for AMQP 1.0, with or without TLS?")]
    Open(#[source] OpenError),
    #[error("the broker begins no session: {0}")]
    Session(String),
    #[error("the broker refuses to read {destination}: {why}")]
    Attach { destination: String, why: String },
    #[error("the broker has not replied within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection is lost: {0}")]
    Lost(String),
    #[error(
        "a message is longer than {LINK_BYTES_MAX} bytes and cannot be read; remove it at the broker"
    )]
    TooLong,
}

/// What arrives.
pub(crate) enum Incoming {
    /// A message.
    Message(DeliveryInfo, Box<AmqpMessage>),
    /// A message that is not one of AMQP, and why.
    Undecodable(DeliveryInfo, String),
}

/// A connection with its link.
pub(crate) struct BrokerLink {
    connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
    receiver: Receiver,
    is_subscription: bool,
}

impl BrokerLink {
    /// Connects to the broker and opens the link.
    pub(crate) async fn open(
        broker: &BrokerAddress,
        destination: &Destination,
        login: Login<'_>,
    ) -> Result<Self, BrokerError> {
        let opened = timeout(CONNECT_TIMEOUT, Self::open_unlimited(broker, destination, login));
        opened.await.unwrap_or(Err(BrokerError::Timeout))
    }

    async fn open_unlimited(
        broker: &BrokerAddress,
        destination: &Destination,
        login: Login<'_>,
    ) -> Result<Self, BrokerError> {
        let connector = if broker.is_tls {
            Some(login.tls.current("the jms source").await.map_err(BrokerError::Tls)?)
        } else {
            None
        };
        let layers = Layers { tls: connector.as_ref(), zlib: None };
        let stream = connect(&broker.host, broker.port, layers, CONNECT_TIMEOUT)
            .await
            .map_err(BrokerError::Connect)?;
        let profile = match login.user {
            Some((username, password)) => SaslProfile::Plain { username, password },
            None => SaslProfile::Anonymous,
        };
        let mut connection = Connection::builder()
            .container_id(login.client)
            .hostname(broker.host.as_str())
            .scheme("amqp")
            .max_frame_size(FRAME_BYTES_MAX)
            .idle_time_out(u32::try_from(IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX))
            .sasl_profile(profile)
            .open_with_stream(stream)
            .await
            .map_err(|error| match error {
                OpenError::SaslError { .. } => BrokerError::Login,
                error => BrokerError::Open(error),
            })?;
        let mut session = Session::begin(&mut connection)
            .await
            .map_err(|error| BrokerError::Session(error.to_string()))?;
        let receiver = Receiver::builder()
            .name(login.link)
            .source(source(destination))
            .receiver_settle_mode(ReceiverSettleMode::First)
            .credit_mode(CreditMode::Manual)
            .max_message_size(LINK_BYTES_MAX)
            .attach(&mut session)
            .await
            .map_err(|error| refused(destination, &error))?;
        Ok(Self {
            connection,
            session,
            receiver,
            is_subscription: destination.subscription.is_some(),
        })
    }

    /// Allows the broker to have `credit` messages on the way.
    pub(crate) async fn allow(&mut self, credit: u32) -> Result<(), BrokerError> {
        self.receiver.set_credit(credit).await.map_err(|error: IllegalLinkStateError| lost(&error))
    }

    /// Returns the next message. May be cancelled.
    pub(crate) async fn next(&mut self) -> Result<Incoming, BrokerError> {
        match self.receiver.recv::<Body<Value>>().await {
            Ok(delivery) => {
                let delivery: Delivery<Body<Value>> = delivery;
                let (info, message) = delivery.into_parts();
                Ok(Incoming::Message(info, Box::new(message)))
            }
            Err(RecvError::MessageDecode(error)) => {
                Ok(Incoming::Undecodable(error.info, error.source.to_string()))
            }
            Err(RecvError::MessageSizeExceeded(_)) => Err(BrokerError::TooLong),
            Err(error) => Err(lost(&error)),
        }
    }

    /// Accepts messages: the broker forgets them.
    pub(crate) async fn accept(&self, messages: Vec<DeliveryInfo>) -> Result<(), BrokerError> {
        self.receiver.accept_all(messages).await.map_err(|error: DispositionError| lost(&error))
    }

    /// Refuses a message for good: the broker sets it aside.
    pub(crate) async fn reject(&self, message: DeliveryInfo, why: &str) -> Result<(), BrokerError> {
        let condition = ErrorCondition::AmqpError(AmqpError::NotAllowed);
        let error = Error::new(condition, Some(why.to_owned()), None);
        self.receiver.reject(message, error).await.map_err(|error: DispositionError| lost(&error))
    }

    /// Ends the link and the connection; messages that were not accepted stay at the broker. `back` are returned to
    /// it without counting as attempts.
    pub(crate) async fn close(mut self, back: Vec<DeliveryInfo>) {
        let closed = timeout(CLOSE_TIMEOUT, async {
            if !back.is_empty() {
                let _ = self.receiver.release_all(back).await;
            }
            // A durable subscription goes on while this client is away; closing would end it.
            if self.is_subscription {
                let _ = self.receiver.detach().await;
            } else {
                let _ = self.receiver.close().await;
            }
            let _ = self.session.end().await;
            let _ = self.connection.close().await;
        });
        let _ = closed.await;
    }
}

/// Returns the source of the link.
fn source(destination: &Destination) -> Source {
    let kind = if destination.is_topic { "topic" } else { "queue" };
    let mut source =
        Source::builder().address(destination.name.as_str()).capabilities(vec![Symbol::from(kind)]);
    if let Some(selector) = &destination.selector {
        let described = Described {
            descriptor: Descriptor::Code(SELECTOR_CODE),
            value: Value::String(selector.clone()),
        };
        source = source.add_to_filter(Symbol::from(SELECTOR), described);
    }
    if destination.subscription.is_some() {
        source = source
            .durable(TerminusDurability::UnsettledState)
            .expiry_policy(TerminusExpiryPolicy::Never);
    }
    source.build()
}

fn refused(destination: &Destination, error: &ReceiverAttachError) -> BrokerError {
    let kind = if destination.is_topic { "topic" } else { "queue" };
    let why = match error {
        ReceiverAttachError::RemoteClosedWithError(error) => {
            error.description.clone().unwrap_or_else(|| error.to_string())
        }
        ReceiverAttachError::DesiredFilterNotSupported(_) => {
            "it does not know the filter of messageSelector".to_owned()
        }
        error => error.to_string(),
    };
    BrokerError::Attach { destination: format!("{kind} {}", destination.name), why }
}

fn lost(error: &dyn std::fmt::Display) -> BrokerError {
    BrokerError::Lost(error.to_string())
}
