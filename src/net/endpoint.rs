//! The place that a URL with `http` or `https` names.

use hyper::Uri;

/// Redirections of one request that are followed, as in Java.
pub const REDIRECTIONS_MAX: usize = 20;

/// How a request of ours calls itself.
pub const AGENT: &str = concat!("millpond/", env!("CARGO_PKG_VERSION"));

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Endpoint {
    /// The place that `text` names: `http://host:port/path?query`; `None` when it is none.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { uri, host, port, is_tls })
    }

    /// Where `location` leads from here, if it can be followed: with the same protocol only.
    #[must_use]
    pub fn redirected(&self, location: &str) -> Option<Self> {
        let scheme = self.uri.scheme_str()?;
        let authority = self.uri.authority()?;
        let path = self.uri.path();
        // What stands in a path or a query begins no URL.
        let is_whole = location.split(['/', '?', '#']).next()?.contains(':');
        let whole = if is_whole {
            location.to_owned()
        } else if let Some(behind) = location.strip_prefix("//") {
            format!("{scheme}://{behind}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            let root = if directory.is_empty() { "/" } else { directory };
            format!("{scheme}://{authority}{root}{location}")
        };
        Self::named(whole.split('#').next()?).filter(|to| to.is_tls == self.is_tls)
    }

    /// Whether a connection to the one serves requests to the other.
    #[must_use]
    pub fn shares_connections_with(&self, other: &Self) -> bool {
        (&self.host, self.port, self.is_tls) == (&other.host, other.port, other.is_tls)
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The server's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The place on the server, with the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The server as a request's `Host` names it.
    #[must_use]
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether a name and a password stand in it.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_with_a_host() {
        let to = Endpoint::named("http://example.org/in/let?x=y").unwrap();
        assert_eq!((to.host.as_str(), to.port, to.is_tls), ("example.org", 80, false));
        let to = Endpoint::named("https://[::1]:8443").unwrap();
        assert_eq!((to.host.as_str(), to.port, to.is_tls), ("::1", 8443, true));
        for text in ["", "example.org", "ftp://example.org/", "http://", "http:///x", "http://a b/"]
        {
            assert_eq!(Endpoint::named(text), None, "{text}");
        }
    }

    #[test]
    fn a_redirection_leads_elsewhere_with_the_same_protocol() {
        let from = Endpoint::named("http://a:81/in/let?x").unwrap();
        for (location, expected) in [
            ("/other", Some("http://a:81/other")),
            ("other#part", Some("http://a:81/in/other")),
            ("/x?next=http://b/", Some("http://a:81/x?next=http://b/")),
            ("x/y:z?next=http://b/", Some("http://a:81/in/x/y:z?next=http://b/")),
            ("?next=http://b/", Some("http://a:81/in/?next=http://b/")),
            ("http://b/", Some("http://b/")),
            ("//b/c", Some("http://b/c")),
            ("https://a:81/in/let", None),
            ("ftp://b/", None),
        ] {
            let to = from.redirected(location);
            assert_eq!(to, expected.and_then(Endpoint::named), "{location}");
        }
    }
}
