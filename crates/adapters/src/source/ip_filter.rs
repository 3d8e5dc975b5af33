//! Client filter: Flume's `ipFilterRules`, as Netty interprets them, for every listening source.
//!
//! The first matching rule decides; without a match the client is allowed. A rule tests the address (`ip`), the name
//! by DNS (`name`) or the names in the client's certificate (`cert`). A property that is not known yet may match or
//! not: a client is denied or allowed as soon as no rule can decide otherwise, so that no name is looked up and no
//! handshake performed needlessly.
//!
//! A name that is not found in time matches nothing and excludes nothing: the client is denied if a rule that may
//! match denies.

use super::client_names::ClientNames;
use super::ip_filter_patterns::{check_address, fits, fits_address};
use millpond_flow::net::tls::{Certificate, ServerTls};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The keys of a listening source.
pub(crate) const FILTER_KEYS: [Key; 2] = [
    Key {
        name: "ipFilter",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether ipFilterRules decide who may connect. Of Flume's sources only avro has it.",
    },
    Key {
        name: "ipFilterRules",
        kind: KeyKind::Text,
        default: "",
        meaning: "Who may connect, where ipFilter is true: rules such as allow:ip:10.*, deny:name:*.org or allow:cert:web*, separated by commas, or networks such as allow:ip:10.0.0.0/8; the first that fits counts, and where none does, the client may.",
    },
];

/// Rules, and the resolver of names.
#[derive(Debug)]
pub(crate) struct IpFilter {
    rules: Vec<IpFilterRule>,
    names: Arc<ClientNames>,
}

#[derive(Debug, PartialEq, Eq)]
struct IpFilterRule {
    allows: bool,
    subject: RuleSubject,
    pattern: String,
}

/// The property that a rule tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleSubject {
    Address,
    /// `name:localhost`: this machine, whatever its name.
    ThisMachine,
    Name,
    Certificate,
}

impl fmt::Display for IpFilterRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.allows { "allow" } else { "deny" };
        write!(f, "{access}:{}:{}", self.subject.word(), self.pattern)
    }
}

impl RuleSubject {
    fn word(self) -> &'static str {
        match self {
            Self::Address => "ip",
            Self::ThisMachine | Self::Name => "name",
            Self::Certificate => "cert",
        }
    }
}

/// A client, and what is known of it so far.
#[derive(Debug)]
pub(crate) struct FilterCheck<'f> {
    filter: &'f IpFilter,
    address: IpAddr,
    name: Option<Arc<str>>,
    /// Whether its name was looked up and not found in time.
    is_late: bool,
    certificate: CertificateNames,
}

/// The client's certificate in its handshake.
#[derive(Debug)]
enum CertificateNames {
    /// There was no handshake yet.
    NotYet,
    /// The handshake is done, with or without a certificate.
    Certificate(Certificate),
}

/// The reason why a client is denied.
#[derive(Debug)]
pub(crate) struct FilterDenied {
    /// Names the rule.
    pub(crate) cause: String,
    /// The client's properties that rules tested; otherwise empty.
    pub(crate) name: String,
    pub(crate) certificate: String,
}

/// The result of the rules.
struct RuleOutcome<'f> {
    may_enter: bool,
    /// The first rule that denies, or would if it matched.
    denial: Option<&'f IpFilterRule>,
    needs_name: bool,
}

impl IpFilter {
    /// Reads the rules if `ipFilter` is true. `tls` are the source's TLS settings.
    ///
    /// # Errors
    /// The rules are missing, one is invalid, or one tests certificates that no client presents.
    pub(crate) fn read(
        reader: &mut SettingsReader<'_>,
        tls: Option<&ServerTls>,
    ) -> Result<Option<Self>, SettingError> {
        let Some(filter) = Self::read_rules(reader)? else { return Ok(None) };
        let shows = tls.is_some_and(|tls| tls.clients.is_some());
        if let Some(rule) = filter.rule_about(RuleSubject::Certificate).filter(|_| !shows) {
            let message = format!(
                "the rule {rule} needs clients that show certificates: a source that has TLS, with need-client-auth or want-client-auth"
            );
            return Err(reader.error("ipFilterRules", message));
        }
        Ok(Some(filter))
    }

    /// Reads the rules for datagrams, of which only the sender's address is known.
    ///
    /// # Errors
    /// The rules are missing, one is invalid, or one tests more than an address.
    pub(crate) fn read_for_datagrams(
        reader: &mut SettingsReader<'_>,
    ) -> Result<Option<Self>, SettingError> {
        let Some(filter) = Self::read_rules(reader)? else { return Ok(None) };
        let [name, certificate] = [RuleSubject::Name, RuleSubject::Certificate];
        if let Some(rule) = filter.rule_about(name).or_else(|| filter.rule_about(certificate)) {
            let message = format!(
                "the rule {rule} is not for datagrams, of which only the sender's address is known; use allow:ip: and deny:ip:"
            );
            return Err(reader.error("ipFilterRules", message));
        }
        Ok(Some(filter))
    }

    fn read_rules(reader: &mut SettingsReader<'_>) -> Result<Option<Self>, SettingError> {
        if !reader.truth("ipFilter", false)? {
            if reader.text("ipFilterRules").is_some() {
                let message = "has no effect without ipFilter = true: every client may come in";
                reader.find(Severity::Warning, "ipFilterRules", message);
            }
            return Ok(None);
        }
        let rules = reader.required_text("ipFilterRules")?;
        Self::parse(rules).map(Some).map_err(|message| reader.error("ipFilterRules", message))
    }

    /// Parses rules such as `allow:ip:10.*,deny:name:*.example.org`.
    ///
    /// # Errors
    /// One of them is invalid; names it.
    fn parse(text: &str) -> Result<Self, String> {
        let rules =
            text.split(',').map(str::trim).map(IpFilterRule::parse).collect::<Result<_, _>>()?;
        Ok(Self { rules, names: ClientNames::of_process() })
    }

    fn rule_about(&self, subject: RuleSubject) -> Option<&IpFilterRule> {
        self.rules.iter().find(|rule| rule.subject == subject)
    }

    /// Begins the check of a client at `address`, of which nothing else is known.
    pub(crate) fn filter_check(&self, address: IpAddr) -> FilterCheck<'_> {
        let address = address.to_canonical();
        FilterCheck {
            filter: self,
            address,
            name: None,
            is_late: false,
            certificate: CertificateNames::NotYet,
        }
    }

    /// Decides by the address alone, for rules of [`read_for_datagrams`](Self::read_for_datagrams).
    pub(crate) fn admits(&self, address: IpAddr) -> Result<(), FilterDenied> {
        let mut filter_check = self.filter_check(address);
        filter_check.certificate = CertificateNames::Certificate(Certificate::default());
        filter_check.decided()
    }
}

impl FilterCheck<'_> {
    /// Decides what the address alone decides, before the client takes any resource.
    ///
    /// # Errors
    /// The client is denied, whatever its name and certificate.
    pub(crate) fn check_address(&self) -> Result<(), FilterDenied> {
        let outcome = self.outcome();
        match outcome.denial {
            Some(rule) if !outcome.may_enter => Err(self.denied_by(rule)),
            _ => Ok(()),
        }
    }

    /// Decides what can be decided before a handshake, waiting for the client's name if rules test it.
    ///
    /// # Errors
    /// The client is denied, whatever its certificate.
    pub(crate) async fn check_name(&mut self) -> Result<(), FilterDenied> {
        if self.outcome().needs_name {
            self.name = self.filter.names.name_of(self.address).await;
            self.is_late = self.name.is_none();
        }
        self.check_address()
    }

    /// Decides after the handshake, if there is one.
    ///
    /// # Errors
    /// The client is denied.
    pub(crate) fn check_certificate(
        &mut self,
        certificate: Option<Certificate>,
    ) -> Result<(), FilterDenied> {
        self.certificate = CertificateNames::Certificate(certificate.unwrap_or_default());
        self.decided()
    }

    /// Decides now: unknown properties count against the client.
    fn decided(&self) -> Result<(), FilterDenied> {
        self.outcome().denial.map_or(Ok(()), |rule| Err(self.denied_by(rule)))
    }

    fn outcome(&self) -> RuleOutcome<'_> {
        let mut outcome = RuleOutcome { may_enter: false, denial: None, needs_name: false };
        for rule in &self.filter.rules {
            let fits = self.fits(rule);
            if fits == Some(false) {
                continue;
            }
            outcome.needs_name |=
                fits.is_none() && rule.subject == RuleSubject::Name && !self.is_late;
            if rule.allows {
                outcome.may_enter = true;
            } else {
                outcome.denial = outcome.denial.or(Some(rule));
            }
            if fits == Some(true) {
                outcome.needs_name &= outcome.may_enter && outcome.denial.is_some();
                return outcome;
            }
        }
        outcome.may_enter = true;
        outcome.needs_name &= outcome.denial.is_some();
        outcome
    }

    /// Returns whether the rule matches; `None` if that is unknown.
    fn fits(&self, rule: &IpFilterRule) -> Option<bool> {
        match rule.subject {
            RuleSubject::Address => Some(fits_address(&rule.pattern, self.address)),
            RuleSubject::ThisMachine => Some(self.address.is_loopback()),
            RuleSubject::Name => {
                let name = self.name.as_ref()?.to_lowercase();
                Some(fits(&rule.pattern.to_lowercase(), &name))
            }
            RuleSubject::Certificate => match &self.certificate {
                CertificateNames::NotYet => None,
                // A rule that denies tests every name.
                CertificateNames::Certificate(certificate) if rule.allows => {
                    Some(certificate.is_named(&rule.pattern))
                }
                CertificateNames::Certificate(certificate) => {
                    Some(certificate.has_name(&rule.pattern))
                }
            },
        }
    }

    fn denied_by(&self, rule: &IpFilterRule) -> FilterDenied {
        let undecided = if self.fits(rule).is_none() {
            "; whether it fits is not known, for the name was not found in time"
        } else {
            ""
        };
        let certificate = match &self.certificate {
            CertificateNames::NotYet => "",
            CertificateNames::Certificate(certificate) => certificate.name(),
        };
        FilterDenied {
            cause: format!(
                "a client is turned away by the rule {rule} of ipFilterRules{undecided}"
            ),
            name: self.name.as_deref().unwrap_or_default().to_owned(),
            certificate: certificate.to_owned(),
        }
    }
}

impl IpFilterRule {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a rule: allow or deny, then ip, name or cert, then a pattern, as in allow:ip:10.*"
            )
        };
        let (access, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (kind, pattern) = rest.split_once(':').ok_or_else(wrong)?;
        let allows = match access {
            "allow" => true,
            "deny" => false,
            _ => return Err(wrong()),
        };
        let subject = match kind {
            "ip" => RuleSubject::Address,
            "name" if pattern == "localhost" => RuleSubject::ThisMachine,
            "name" => RuleSubject::Name,
            "cert" => RuleSubject::Certificate,
            _ => return Err(wrong()),
        };
        if pattern.is_empty() {
            return Err(wrong());
        }
        if subject == RuleSubject::Address {
            check_address(pattern)?;
        }
        Ok(Self { allows, subject, pattern: pattern.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::client_names::tests::in_zone;

    /// Returns whether a client is allowed, and otherwise why not.
    async fn enters(rules: &str, address: &str, names: &[&str]) -> Result<(), FilterDenied> {
        let (zone, over) = in_zone();
        let filter = IpFilter { names: zone, ..IpFilter::parse(rules).unwrap() };
        let mut filter_check = filter.filter_check(address.parse().unwrap());
        let arrived = filter_check.check_name().await;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let entered = arrived.and_then(|()| {
            filter_check.check_certificate(Some(Certificate { names, ..Certificate::default() }))
        });
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        entered
    }

    #[tokio::test]
    async fn the_first_matching_rule_decides_and_without_one_all_are_allowed() {
        for (rules, address, may) in [
            ("allow:ip:127.*,deny:ip:*", "127.0.0.1", true),
            ("allow:ip:127.*,deny:ip:*", "::ffff:127.0.0.1", true),
            ("allow:ip:127.*, deny:ip:*", "10.0.0.1", false),
            ("deny:name:localhost,allow:ip:*", "127.0.0.1", false),
            ("deny:ip:10.*", "11.0.0.1", true),
            ("deny:ip:0:0:0:0:0:0:0:1", "::1", false),
            ("allow:ip:2001:db8::/32,deny:ip:*", "2001:db8:1::1", true),
            ("allow:name:*.EXAMPLE,deny:name:*", "192.0.2.1", true),
            ("deny:name:web?.example", "192.0.2.1", false),
        ] {
            assert_eq!(enters(rules, address, &[]).await.is_ok(), may, "{rules} {address}");
        }
    }

    #[tokio::test]
    async fn a_client_without_a_name_is_named_by_its_address() {
        // It has no entry in the reverse zone, and one that does not resolve back.
        for address in ["192.0.2.3", "192.0.2.2"] {
            let refused = enters("allow:name:web1.example,deny:name:*", address, &[]).await;
            let refused = refused.unwrap_err();
            assert!(refused.cause.contains("the rule deny:name:* of"), "{}", refused.cause);
            assert_eq!(refused.name, address);
            assert!(enters("allow:name:192.0.2.*,deny:name:*", address, &[]).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_late_name_admits_no_client_that_a_rule_may_deny() {
        for (rules, may) in [
            ("deny:name:*.evil.example", false),
            ("allow:name:*.example,deny:ip:*", false),
            ("allow:name:*.example", true),
            ("deny:name:a,allow:name:b,deny:ip:1.*", false),
            ("allow:ip:192.*,deny:name:*", true),
            ("allow:name:a,allow:cert:ops,deny:ip:*", true),
        ] {
            let entered = enters(rules, "192.0.2.9", &["ops"]).await;
            assert_eq!(entered.is_ok(), may, "{rules}");
            let cause = entered.err().map(|away| away.cause).unwrap_or_default();
            let is_said = cause.contains("not found in time");
            assert_eq!(is_said, rules.starts_with("deny"), "{rules}: {cause}");
        }
    }

    #[tokio::test]
    async fn no_name_is_looked_up_if_it_decides_nothing() {
        for rules in ["allow:name:*.a,allow:name:b", "deny:name:*.a,deny:ip:*", "deny:ip:10.*"] {
            let (zone, _) = in_zone();
            let filter = IpFilter { names: zone, ..IpFilter::parse(rules).unwrap() };
            let filter_check = filter.filter_check("192.0.2.1".parse().unwrap());
            assert!(!filter_check.outcome().needs_name, "{rules}");
        }
    }

    #[tokio::test]
    async fn certificates_decide_once_they_are_presented() {
        let rules = "deny:cert:*.old, allow:cert:WEB?, deny:ip:*";
        for (names, may) in
            [(&["web1"][..], true), (&["web1", "web1.old"], false), (&["db1"], false), (&[], false)]
        {
            let entered = enters(rules, "10.0.0.1", names).await;
            assert_eq!(entered.is_ok(), may, "{names:?}");
            if let (Err(away), Some(name)) = (entered, names.first()) {
                assert_eq!(away.certificate, *name);
            }
        }
        let filter = IpFilter::parse("deny:ip:10.*,allow:cert:web*").unwrap();
        let mut filter_check = filter.filter_check("10.0.0.1".parse().unwrap());
        assert!(filter_check.check_name().await.is_err(), "no handshake is made for nothing");
    }

    #[test]
    fn rules_that_can_never_be_tested_are_refused() {
        let read = |rules: &str, tls: Option<&ServerTls>| {
            let pairs = [("ipFilter", "true"), ("ipFilterRules", rules)];
            let settings = millpond_flow::settings::Settings::from_pairs("r1", &pairs);
            let mut reader = SettingsReader::new(&settings);
            let datagrams = IpFilter::read_for_datagrams(&mut reader).map(|_| ());
            let sessions = IpFilter::read(&mut reader, tls).map(|_| ());
            [sessions, datagrams].map(|read| read.map_err(|error| error.message))
        };
        let clients = millpond_flow::net::tls::ClientAuth {
            truststore: "t".into(),
            password: String::new(),
            required: true,
            names: Vec::new(),
        };
        let tls = ServerTls {
            keystore: "k".into(),
            password: String::new(),
            clients: None,
            choice: millpond_flow::net::tls::SuiteFilter::default(),
        };
        let [sessions, datagrams] = read("allow:cert:web*", Some(&tls));
        assert!(sessions.unwrap_err().contains("need-client-auth"));
        assert!(datagrams.unwrap_err().contains("allow:cert:web*"));
        let tls = ServerTls { clients: Some(clients), ..tls };
        assert_eq!(read("allow:cert:web*", Some(&tls))[0], Ok(()));
        assert!(read("deny:name:a", None)[1].is_err());
        assert_eq!(read("deny:name:localhost, deny:ip:1.*", None), [Ok(()), Ok(())]);
    }

    #[test]
    fn an_invalid_rule_is_refused() {
        assert!(IpFilter::parse("allow:ip:10.0.0.0/40").unwrap_err().contains("not a network"));
        for text in
            ["", "allow", "allow:ip", "allow:ip:", "permit:ip:*", "deny:host:*", "allow:ip:*,"]
        {
            assert!(IpFilter::parse(text).unwrap_err().contains("not a rule"), "{text}");
        }
    }
}
