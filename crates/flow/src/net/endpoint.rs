//! The server and path that an `http` or `https` URL names.
//!
//! Invariant: a URL is shown without user name, password and values of its query, which may be tokens.

use hyper::Uri;
use std::net::IpAddr;

/// Most redirections of one request that are followed, as in Java.
pub const REDIRECTIONS_MAX: usize = 20;

/// The `User-Agent` of requests.
pub const AGENT: &str = concat!("millpond/", env!("CARGO_PKG_VERSION"));

/// The server and path of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    is_tls: bool,
}

impl Endpoint {
    /// Parses `http://host:port/path?query`; `None` if `text` is not such a URL.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let server = uri.authority()?.as_str().rsplit('@').next()?;
        // The parser would silently drop a port that is not a number.
        let port = match server.strip_prefix(uri.host()?)? {
            "" | ":" => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            _ => uri.port_u16()?,
        };
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        Some(Self { uri, host, port, is_tls })
    }

    /// Resolves `location` against this URL; `None` if it cannot be followed, as with another protocol.
    #[must_use]
    pub fn redirected(&self, location: &str) -> Option<Self> {
        let scheme = self.uri.scheme_str()?;
        let authority = self.uri.authority()?;
        let location = location.split('#').next()?;
        // A `:` within a path or a query does not begin a scheme.
        let is_whole = location.split(['/', '?']).next()?.contains(':');
        let whole = if is_whole {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else {
            format!("{scheme}://{authority}{}", self.resolve_path(location))
        };
        Self::named(&whole).filter(|to| to.is_tls == self.is_tls)
    }

    /// Resolves a reference without a server to a path with query (RFC 3986, 5.2.2).
    fn resolve_path(&self, reference: &str) -> String {
        let (own, path) = (self.path(), self.uri.path());
        let (to, query) = match reference.split_once('?') {
            Some((to, query)) => (to, Some(query)),
            None => (reference, None),
        };
        let path = match to {
            "" if query.is_none() => return own.to_owned(),
            "" => path.to_owned(),
            to if to.starts_with('/') => without_dots(to),
            to => without_dots(&format!("{}/{to}", path.rsplit_once('/').map_or("", |(d, _)| d))),
        };
        query.map_or(path.clone(), |query| format!("{path}?{query}"))
    }

    /// Returns true if both can use the same connection.
    #[must_use]
    pub fn shares_connections_with(&self, other: &Self) -> bool {
        (&self.host, self.port, self.is_tls) == (&other.host, other.port, other.is_tls)
    }

    /// Returns true for `https`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the server's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path on the server, with the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// Returns the value of a request's `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_tls { 443 } else { 80 };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns true if the host is this machine, by its name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Returns true if the URL contains a user name and password.
    #[must_use]
    pub fn has_user(&self) -> bool {
        self.uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let (user, server) = authority.rsplit_once('@').map_or(("", authority), |(_, s)| ("…@", s));
        write!(f, "{}://{user}{server}{}", self.uri.scheme_str().unwrap_or(""), self.uri.path())?;
        self.uri.query().map_or(Ok(()), |query| f.write_str(&shown_query(query)))
    }
}

/// Returns true if a host, without brackets, is this machine: a loopback address, `localhost` or a name below it
/// (RFC 6761).
///
/// # Examples
/// ```
/// # use millpond_flow::net::endpoint::is_loopback;
/// assert!(is_loopback("127.0.0.1") && is_loopback("::1") && is_loopback("LocalHost"));
/// assert!(!is_loopback("localhost.example.org") && !is_loopback("10.0.0.1"));
/// ```
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

/// Returns a URL from the configuration as it may be shown.
///
/// # Examples
/// ```
/// # use millpond_flow::net::endpoint::shown;
/// assert_eq!(shown("https://me:secret@h/a?token=secret&b"), "https://…@h/a?token=…&…");
/// ```
#[must_use]
pub fn shown(url: &str) -> String {
    if let Some(endpoint) = Endpoint::named(url) {
        return endpoint.to_string();
    }
    // In a text that is not a URL the end of user name and password is unknown.
    let (place, query) = url.split_once('?').map_or((url, ""), |(p, q)| (p, q));
    let scheme = place.find("://").map_or("", |at| &place[..at + 3]);
    if query.contains('@') {
        return format!("{scheme}…");
    }
    let place = match place.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}…@{rest}"),
        None => place.to_owned(),
    };
    if query.is_empty() { place } else { place + &shown_query(query) }
}

/// Returns a query with the names of its values only.
fn shown_query(query: &str) -> String {
    let one = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None => "…".to_owned(),
    };
    format!("?{}", query.split('&').map(one).collect::<Vec<_>>().join("&"))
}

/// Returns an absolute path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // They resolve to a directory.
                kept.extend(is_last.then_some(""));
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
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
        for text in [
            "",
            "example.org",
            "ftp://example.org/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a:b/",
            "http://a:70000/",
        ] {
            assert_eq!(Endpoint::named(text), None, "{text}");
        }
    }

    #[test]
    fn a_redirection_is_followed_with_the_same_protocol_only() {
        let from = Endpoint::named("http://a:81/in/let?x").unwrap();
        for (location, expected) in [
            ("/other", Some("http://a:81/other")),
            ("other#part", Some("http://a:81/in/other")),
            ("/x?next=http://b/", Some("http://a:81/x?next=http://b/")),
            ("x/y:z?next=http://b/", Some("http://a:81/in/x/y:z?next=http://b/")),
            ("?next=http://b/", Some("http://a:81/in/let?next=http://b/")),
            ("", Some("http://a:81/in/let?x")),
            ("#part", Some("http://a:81/in/let?x")),
            (".", Some("http://a:81/in/")),
            ("..", Some("http://a:81/")),
            ("../../x/./y/../z", Some("http://a:81/x/z")),
            ("/b/../c/", Some("http://a:81/c/")),
            ("./let?../y", Some("http://a:81/in/let?../y")),
            ("http://b/", Some("http://b/")),
            ("//b/c", Some("http://b/c")),
            ("https://a:81/in/let", None),
            ("ftp://b/", None),
        ] {
            let to = from.redirected(location);
            assert_eq!(to, expected.and_then(Endpoint::named), "{location}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_secret() {
        for (url, expected) in [
            ("http://h/a", "http://h/a"),
            ("http://h/a?token=secret&x", "http://h/a?token=…&…"),
            ("http://me:secret@h/a?secret", "http://…@h/a?…"),
            ("https://me:p@ss@h/", "https://…@h/"),
            ("me:secret@h", "…@h"),
            ("http://me:se?cret@h/", "http://…"),
            ("ftp://me:secret@h/a?token=secret", "ftp://…@h/a?token=…"),
            ("http://h/a?mail=secret@h", "http://h/a?mail=…"),
            ("http://h/a?t=a=b?c#secret", "http://h/a?t=…"),
        ] {
            assert_eq!(shown(url), expected);
        }
        let endpoint = Endpoint::named("http://h/a?token=secret").unwrap();
        assert!(!format!("{endpoint} {endpoint:?}").contains("secret"));
    }
}
