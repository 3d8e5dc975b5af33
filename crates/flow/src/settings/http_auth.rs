//! The keys of HTTP authentication, for servers and clients.

use crate::net::http_auth::{HttpAuth, Secret};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use std::path::PathBuf;

const fn key(name: &'static str, kind: KeyKind, meaning: &'static str) -> Key {
    Key { name, kind, default: "", meaning }
}

/// The keys, equal for servers and clients.
pub const AUTH_KEYS: [Key; 5] = [
    key("auth-user", KeyKind::Text, "The user's name for Basic authentication; needs a password."),
    key(
        "auth-password",
        KeyKind::Text,
        "The password of auth-user. Better in a file of its own, or from the environment: ${NAME}.",
    ),
    key(
        "auth-password-file",
        KeyKind::Path,
        "The file whose first line is that password; read again when it changes.",
    ),
    key("auth-token", KeyKind::Text, "The token for Bearer authentication."),
    key(
        "auth-token-file",
        KeyKind::Path,
        "The file whose first line is the token; read again when it changes.",
    ),
];

/// Reads the credentials that a server requires; `None` if it requires none.
///
/// # Errors
/// A key needs another one that is missing, or two keys contradict each other.
pub fn read(reader: &mut SettingsReader<'_>) -> Result<Option<HttpAuth>, SettingError> {
    let password = secret(reader, "auth-password", "auth-password-file")?;
    let bearer = secret(reader, "auth-token", "auth-token-file")?;
    let user = reader.text_as_written("auth-user").filter(|user| !user.is_empty());
    let basic = match (user, password) {
        (Some(user), Some(_)) if user.contains(':') || user.contains(char::is_control) => {
            return Err(
                reader.error("auth-user", "a user's name has no colon and no control characters")
            );
        }
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => {
            let message = "needs a password: auth-password-file, or auth-password";
            return Err(reader.error("auth-user", message));
        }
        (None, Some(_)) => {
            let set = ["auth-password", "auth-password-file"].into_iter();
            let key = set.into_iter().find(|key| reader.text(key).is_some());
            return Err(
                reader.error(key.unwrap_or("auth-password"), "needs a user's name: auth-user")
            );
        }
    };
    let auth = HttpAuth { basic, bearer };
    Ok((auth != HttpAuth::default()).then_some(auth))
}

/// Reads the credentials that a client sends: a user or a token.
///
/// # Errors
/// As [`read`], or both are set.
pub fn read_of_client(reader: &mut SettingsReader<'_>) -> Result<Option<HttpAuth>, SettingError> {
    let auth = read(reader)?;
    match &auth {
        Some(HttpAuth { basic: Some(_), bearer: Some(_) }) => {
            Err(reader
                .error("auth-user", "a request shows a user or a token; leave one of them out"))
        }
        _ => Ok(auth),
    }
}

/// Warns of secrets that are sent over a network without TLS.
pub fn warn_in_the_clear(reader: &mut SettingsReader<'_>, auth: &HttpAuth, remedy: &str) {
    let message = format!(
        "is sent without TLS, and anyone on the network path can read and use it: {remedy}"
    );
    let key = if auth.bearer.is_some() { "auth-token" } else { "auth-password" };
    reader.find(Severity::Warning, key, message);
}

fn secret(
    reader: &mut SettingsReader<'_>,
    itself: &str,
    file: &str,
) -> Result<Option<Secret>, SettingError> {
    let path = reader.text(file).filter(|path| !path.is_empty());
    match (reader.text_as_written(itself), path) {
        (Some(_), Some(_)) => {
            Err(reader.error(file, format!("cannot be combined with {itself}; leave one out")))
        }
        (Some(text), None) if text.is_empty() || text.contains(char::is_control) => {
            Err(reader.error(itself, "is empty, or has control characters"))
        }
        (Some(text), None) => Ok(Some(Secret::Text(text))),
        (None, Some(path)) => Ok(Some(Secret::File(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Option<HttpAuth>, String> {
        let settings = Settings::from_pairs("r1", pairs);
        let mut reader = SettingsReader::new(&settings);
        read_of_client(&mut reader).map_err(|error| error.to_string())
    }

    #[test]
    fn a_user_has_a_password_and_a_secret_is_set_once() {
        assert_eq!(read_pairs(&[]), Ok(None));
        let user = ("auth-user", "me");
        let password = ("auth-password", "pw");
        let both = read_pairs(&[user, password]).unwrap().unwrap();
        assert_eq!(both.basic, Some(("me".to_owned(), Secret::Text("pw".to_owned()))));
        let token = read_pairs(&[("auth-token-file", "/t")]).unwrap().unwrap();
        assert_eq!(token.bearer, Some(Secret::File(PathBuf::from("/t"))));
        for (pairs, words) in [
            (&[user][..], "auth-user: needs a password"),
            (&[password], "auth-password: needs a user"),
            (&[("auth-password-file", "/p")], "auth-password-file: needs a user"),
            (&[("auth-user", "a:b"), password], "no colon"),
            (&[user, password, ("auth-password-file", "/p")], "leave one out"),
            (&[("auth-token", "")], "is empty"),
            (&[user, password, ("auth-token", "t")], "leave one of them out"),
        ] {
            let error = read_pairs(pairs).unwrap_err();
            assert!(error.contains(words) && !error.contains("pw"), "{pairs:?}: {error}");
        }
    }
}
