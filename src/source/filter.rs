//! Who may come in: Flume's `ipFilterRules`, as Netty reads them.

use std::net::IpAddr;

/// Rules, the first that fits decides; where none does, a client may come in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    /// Whether the pattern is one for names, which have to be looked up.
    is_name: bool,
    pattern: String,
}

impl Filter {
    /// Reads rules such as `allow:ip:10.*,deny:name:*.example.org`.
    ///
    /// # Errors
    /// One of them is none; which, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a client at `address` may come in. A name that cannot be found fits no pattern.
    pub(crate) async fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut name = None;
        for rule in &self.0 {
            let fits = if rule.is_name {
                if name.is_none() {
                    let found =
                        tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address));
                    name = Some(found.await.ok().and_then(Result::ok).unwrap_or_default());
                }
                rule.fits_name(address, name.as_deref().unwrap_or_default())
            } else {
                fits(&rule.pattern, &address.to_string())
            };
            if fits {
                return rule.allows;
            }
        }
        true
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no rule: allow or deny, ip or name, and a pattern, as in allow:ip:10.*"
            )
        };
        let (access, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (kind, pattern) = rest.split_once(':').ok_or_else(wrong)?;
        let allows = match access {
            "allow" => true,
            "deny" => false,
            _ => return Err(wrong()),
        };
        let is_name = match kind {
            "ip" => false,
            "name" => true,
            _ => return Err(wrong()),
        };
        if pattern.is_empty() {
            return Err(wrong());
        }
        Ok(Self { allows, is_name, pattern: pattern.to_owned() })
    }

    fn fits_name(&self, address: IpAddr, name: &str) -> bool {
        (self.pattern == "localhost" && address.is_loopback())
            || (!name.is_empty() && fits(&self.pattern.to_lowercase(), &name.to_lowercase()))
    }
}

/// Whether `text` is what `pattern` says: `*` is anything, `?` one character.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            // The last star takes one more.
            _ => match &mut back {
                Some((star, from)) => {
                    *from += 1;
                    (p, t) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_what_they_stand_for() {
        for (pattern, text, expected) in [
            ("127.*", "127.0.0.1", true),
            ("127.*", "12.7.0.1", false),
            ("*", "", true),
            ("10.?.0.*", "10.1.0.255", true),
            ("10.?.0.*", "10.12.0.255", false),
            ("*.1*2", "a.1b.12", true),
            ("*a*a*a*b", &"a".repeat(50), false),
            ("::1", "::1", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides_and_without_one_everybody_may() {
        let admits = async |rules: &str, address: &str| {
            Filter::parse(rules).unwrap().admits(address.parse().unwrap()).await
        };
        assert!(admits("allow:ip:127.*,deny:ip:*", "127.0.0.1").await);
        assert!(admits("allow:ip:127.*,deny:ip:*", "::ffff:127.0.0.1").await);
        assert!(!admits("allow:ip:127.*, deny:ip:*", "10.0.0.1").await);
        assert!(!admits("deny:name:localhost,allow:ip:*", "127.0.0.1").await);
        assert!(admits("deny:ip:10.*", "11.0.0.1").await);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in
            ["", "allow", "allow:ip", "allow:ip:", "permit:ip:*", "deny:host:*", "allow:ip:*,"]
        {
            assert!(Filter::parse(text).unwrap_err().contains("no rule"), "{text}");
        }
    }
}
