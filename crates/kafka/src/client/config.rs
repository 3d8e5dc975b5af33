//! Settings as librdkafka takes them.

use super::error::{ClientError, ErrorKind};
use crate::settings::ClientSettings;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// Returns librdkafka's configuration. Blocks while it reads stores.
pub(super) fn configured(settings: &ClientSettings) -> Result<ClientConfig, ClientError> {
    let native = settings.resolve().map_err(|error| {
        ClientError::new(ErrorKind::Retriable, "reading the settings of the client", &error)
    })?;
    let mut config = ClientConfig::new();
    for (name, value) in native {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

/// Checks the values of settings without connecting: returns the key of the configuration of the first one that
/// librdkafka does not take, and what is wrong with it.
///
/// # Errors
/// A value is not one that librdkafka takes.
pub fn check(settings: &ClientSettings) -> Result<(), (String, String)> {
    // Stores are read when the client is made: they may come later.
    let mut config = ClientConfig::new();
    for (name, value) in settings.without_files() {
        config.set(name, value);
    }
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(rdkafka::error::KafkaError::ClientConfig(_, what, name, _)) => {
            let key = settings.key_of(&name).unwrap_or(&name).to_owned();
            Err((key, what))
        }
        Err(error) => Err(("kafka.bootstrap.servers".to_owned(), error.to_string())),
    }
}
