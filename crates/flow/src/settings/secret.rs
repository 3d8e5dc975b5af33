//! Which values are secret, and how they are masked.

/// The replacement of a secret value.
pub const MASK: &str = "***";

/// Parts of the last component of a key with a secret value, ignoring case, `-`, `_` and `.`.
const SECRET: [&str; 7] =
    ["password", "passwd", "secret", "token", "passphrase", "apikey", "authorization"];

/// Ends of keys of Kafka's clients whose value has a password or a private key in it, likewise.
const WITH_SECRETS: [&str; 2] = ["sasl.jaas.config", "ssl.keystore.key"];

/// Suffixes of keys whose value only says where a secret is, or how it is kept.
const ABOUT_SECRETS: [&str; 4] = ["file", "path", "type", "header"];

/// Returns true if the value of `key` is secret by its name: a password, a token, an API key. `passwordFile`,
/// which names a file, is not.
///
/// ```
/// use millpond_flow::settings::secret::is_secret;
/// assert!(is_secret("a1.sources.r1.keystore-password") && is_secret("db.API_KEY"));
/// assert!(!is_secret("a1.sources.r1.keystore") && !is_secret("a1.sinks.k1.bearerTokenFile"));
/// ```
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    let plain = plain.to_lowercase();
    if WITH_SECRETS.iter().any(|end| plain.ends_with(end)) {
        return true;
    }
    let last = plain.rsplit('.').next().unwrap_or(&plain);
    let named = SECRET.iter().any(|word| last.contains(word));
    named && !ABOUT_SECRETS.iter().any(|word| last.ends_with(word))
}

/// Returns `value` as it may be shown: itself, or [`MASK`] if `key` is secret.
#[must_use]
pub fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { MASK } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_keys_are_known_by_their_last_part() {
        for key in [
            "a.sinks.k.truststore-password",
            "javax.net.ssl.keyStorePassword",
            "DB_PASSWORD",
            "a.sinks.k.bearerToken",
            "a.alarms.targets.d.secret",
            "a.sinks.k.headers.Authorization",
            "token",
            "a.sinks.k.kafka.producer.sasl.jaas.config",
            "a.sinks.k.kafka.producer.ssl.keystore.key",
        ] {
            assert!(is_secret(key) && shown(key, "x") == MASK, "{key}");
        }
        for key in ["a.sinks.k.port", "a.sources.token.port", "passwordFile", "password-file", ""] {
            assert!(!is_secret(key) && shown(key, "x") == "x", "{key}");
        }
    }
}
