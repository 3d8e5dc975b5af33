//! Patterns of client rules: `*` is anything and `?` one character, for names and addresses; an address rule may also
//! be a literal address or a network.
//!
//! An IPv6 address has many notations. Java, and so Flume, writes all eight groups, `2001:db8:0:0:0:0:0:1`; most
//! other software writes `2001:db8::1`. A pattern with wildcards matches if it matches any usual notation; an address
//! or network without wildcards is compared as a number, so that its notation does not matter.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// Returns whether `text` matches `pattern`.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
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

/// Returns whether `address` matches `pattern`: an address, a network such as `10.0.0.0/8`, or text.
pub(super) fn fits_address(pattern: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if let Some(network) = Network::of(pattern) {
        return network.contains(address);
    }
    let pattern = pattern.to_ascii_lowercase();
    match address {
        IpAddr::V4(address) => fits(&pattern, &address.to_string()),
        IpAddr::V6(address) => notations(address).iter().any(|text| fits(&pattern, text)),
    }
}

/// Validates a pattern of addresses.
///
/// # Errors
/// It matches no address; explains why.
pub(super) fn check_address(pattern: &str) -> Result<(), String> {
    if pattern.contains('/') && Network::of(pattern).is_none() {
        return Err(format!("\"{pattern}\" is not a network, such as 10.0.0.0/8 or 2001:db8::/32"));
    }
    if pattern.contains('%') {
        return Err(format!(
            "\"{pattern}\" has a zone, which addresses do not have here; leave it out"
        ));
    }
    Ok(())
}

/// Returns an IPv6 address in the short form, with all groups, and with all digits.
fn notations(address: Ipv6Addr) -> [String; 3] {
    let (mut groups, mut digits) = (String::new(), String::new());
    for (at, group) in address.segments().into_iter().enumerate() {
        let colon = if at == 0 { "" } else { ":" };
        // Writing to a string does not fail.
        let _ = write!(groups, "{colon}{group:x}");
        let _ = write!(digits, "{colon}{group:04x}");
    }
    [address.to_string(), groups, digits]
}

/// Addresses with a common prefix; a single address is one of full length.
struct Network {
    first: IpAddr,
    bits: u32,
}

impl Network {
    /// Parses a network; `None` if `text` is not a network.
    fn of(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(whole);
        if bits > whole {
            return None;
        }
        // Clients with a mapped address count as IPv4.
        match first.to_canonical() {
            IpAddr::V4(v4) if first.is_ipv6() => {
                Some(Self { first: v4.into(), bits: bits.checked_sub(96)? })
            }
            first => Some(Self { first, bits }),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differs = u32::from(first) ^ u32::from(address);
                differs.leading_zeros() >= self.bits
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differs = u128::from(first) ^ u128::from(address);
                differs.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_text_and_a_question_mark_one_character() {
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

    #[test]
    fn an_address_matches_in_every_notation() {
        for (pattern, address, expected) in [
            ("::1", "::1", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("0000:0000:0000:0000:0000:0000:0000:0001", "::1", true),
            ("::1", "::2", false),
            ("2001:DB8::1", "2001:db8::1", true),
            ("2001:db8:*", "2001:db8::1", true),
            ("2001:db8::*", "2001:db8::1", true),
            ("2001:db8:0:0:*", "2001:db8::1", true),
            ("2001:0DB8:*", "2001:db8::1", true),
            ("2001:db8:0:?::1", "2001:db8:0:5::1", true),
            ("2001:db8:1:*", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
            ("::/0", "10.0.0.1", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("10.*", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.10", false),
            ("*", "::1", true),
        ] {
            let found = fits_address(pattern, address.parse().unwrap());
            assert_eq!(found, expected, "{pattern} {address}");
        }
    }

    #[test]
    fn a_pattern_that_matches_no_address_is_refused() {
        for pattern in ["10.0.0.0/33", "2001:db8::/129", "10.*/8", "10.0.0.0/", "fe80::1%eth0"] {
            assert!(check_address(pattern).is_err(), "{pattern}");
        }
        for pattern in ["10.0.0.0/32", "2001:db8::/128", "10.*", "fe80:*", "*"] {
            assert_eq!(check_address(pattern), Ok(()), "{pattern}");
        }
    }
}
