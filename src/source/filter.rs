//! Who may come in: Flume's `ipFilterRules`, as Netty reads them, for every source that listens.
//!
//! The first rule that fits decides; where none does, a client may come in. A rule is about the address (`ip`), the name
//! by DNS (`name`) or the names of the certificate that the client has shown (`cert`). What is not known yet may fit or
//! not: a client is turned away, or let in, as soon as no rule can decide otherwise, so that no name is looked up and no
//! handshake made for nothing.
//!
//! A name that is not found in time fits nothing and rules nothing out: the client is turned away where a rule that may
//! fit denies.

use super::client_names::ClientNames;
use super::rule_patterns::{check_address, fits, fits_address};
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::net::tls::{Certificate, ServerTls};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// The keys of a source that listens.
pub(crate) const FILTER_KEYS: [Key; 2] = [
    Key {
        name: "ipFilter",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Whether ipFilterRules decide who may connect. Of Flume's sources only avro has it.",
    },
    Key {
        name: "ipFilterRules",
        kind: Kind::Text,
        default: "",
        meaning: "Who may connect, where ipFilter is true: rules such as allow:ip:10.*, deny:name:*.org or allow:cert:web*, separated by commas, or networks such as allow:ip:10.0.0.0/8; the first that fits counts, and where none does, the client may.",
    },
];

/// Rules, and where names come from.
#[derive(Debug)]
pub(crate) struct Filter {
    rules: Vec<Rule>,
    names: Arc<ClientNames>,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    subject: Subject,
    pattern: String,
}

/// What the pattern of a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Address,
    /// `name:localhost`: this machine, whatever its name is.
    ThisMachine,
    Name,
    Certificate,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.allows { "allow" } else { "deny" };
        write!(f, "{access}:{}:{}", self.subject.word(), self.pattern)
    }
}

impl Subject {
    fn word(self) -> &'static str {
        match self {
            Self::Address => "ip",
            Self::ThisMachine | Self::Name => "name",
            Self::Certificate => "cert",
        }
    }
}

/// A client, and what is known of it by now.
#[derive(Debug)]
pub(crate) struct Visitor<'f> {
    filter: &'f Filter,
    address: IpAddr,
    name: Option<Arc<str>>,
    /// Whether its name was asked for and did not come in time.
    is_late: bool,
    certificate: Shown,
}

/// What a client has shown in its handshake.
#[derive(Debug)]
enum Shown {
    /// There was no handshake yet.
    NotYet,
    /// Also where it has shown no certificate.
    Certificate(Certificate),
}

/// Why a client may not come in.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    /// Names the rule.
    pub(crate) cause: String,
    /// What the client is, as far as rules asked for it: empty where they did not.
    pub(crate) name: String,
    pub(crate) certificate: String,
}

/// What the rules come to.
struct Outcome<'f> {
    may_enter: bool,
    /// The first rule that denies, or would if it fitted.
    denial: Option<&'f Rule>,
    needs_name: bool,
}

impl Filter {
    /// Reads who may come in, where `ipFilter` says that not everybody may. `tls` is what the source has of TLS.
    ///
    /// # Errors
    /// The rules are missing, one is none, or one asks for certificates that nobody shows.
    pub(crate) fn read(
        reader: &mut SettingsReader<'_>,
        tls: Option<&ServerTls>,
    ) -> Result<Option<Self>, SettingError> {
        let Some(filter) = Self::read_rules(reader)? else { return Ok(None) };
        let shows = tls.is_some_and(|tls| tls.clients.is_some());
        if let Some(rule) = filter.rule_about(Subject::Certificate).filter(|_| !shows) {
            let message = format!(
                "the rule {rule} needs clients that show certificates: a source that has TLS, with need-client-auth or want-client-auth"
            );
            return Err(reader.error("ipFilterRules", message));
        }
        Ok(Some(filter))
    }

    /// The same for datagrams, of which only the sender's address is known.
    ///
    /// # Errors
    /// The rules are missing, one is none, or one asks for more than an address.
    pub(crate) fn read_for_datagrams(
        reader: &mut SettingsReader<'_>,
    ) -> Result<Option<Self>, SettingError> {
        let Some(filter) = Self::read_rules(reader)? else { return Ok(None) };
        let [name, certificate] = [Subject::Name, Subject::Certificate];
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

    /// Reads rules such as `allow:ip:10.*,deny:name:*.example.org`.
    ///
    /// # Errors
    /// One of them is none; which, in words.
    fn parse(text: &str) -> Result<Self, String> {
        let rules = text.split(',').map(str::trim).map(Rule::parse).collect::<Result<_, _>>()?;
        Ok(Self { rules, names: ClientNames::of_process() })
    }

    fn rule_about(&self, subject: Subject) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.subject == subject)
    }

    /// A client at `address`, of which nothing else is known.
    pub(crate) fn visitor(&self, address: IpAddr) -> Visitor<'_> {
        let address = address.to_canonical();
        Visitor { filter: self, address, name: None, is_late: false, certificate: Shown::NotYet }
    }

    /// Decides by the address alone, for rules of [`read_for_datagrams`](Self::read_for_datagrams).
    pub(crate) fn admits(&self, address: IpAddr) -> Result<(), TurnedAway> {
        let mut visitor = self.visitor(address);
        visitor.certificate = Shown::Certificate(Certificate::default());
        visitor.decided()
    }
}

impl Visitor<'_> {
    /// Decides what the address alone decides, before the client takes anything of anybody.
    ///
    /// # Errors
    /// The client may not come in, whatever its name and certificate are.
    pub(crate) fn knocks(&self) -> Result<(), TurnedAway> {
        let outcome = self.outcome();
        match outcome.denial {
            Some(rule) if !outcome.may_enter => Err(self.turned_away(rule)),
            _ => Ok(()),
        }
    }

    /// Decides what can be decided before a handshake, and waits for the client's name where rules ask for it.
    ///
    /// # Errors
    /// The client may not come in, whatever certificate it has.
    pub(crate) async fn arrives(&mut self) -> Result<(), TurnedAway> {
        if self.outcome().needs_name {
            self.name = self.filter.names.name_of(self.address).await;
            self.is_late = self.name.is_none();
        }
        self.knocks()
    }

    /// Decides, once the handshake is done, if there is one.
    ///
    /// # Errors
    /// The client may not come in.
    pub(crate) fn shows(&mut self, certificate: Option<Certificate>) -> Result<(), TurnedAway> {
        self.certificate = Shown::Certificate(certificate.unwrap_or_default());
        self.decided()
    }

    /// What is still not known counts against the client.
    fn decided(&self) -> Result<(), TurnedAway> {
        self.outcome().denial.map_or(Ok(()), |rule| Err(self.turned_away(rule)))
    }

    fn outcome(&self) -> Outcome<'_> {
        let mut outcome = Outcome { may_enter: false, denial: None, needs_name: false };
        for rule in &self.filter.rules {
            let fits = self.fits(rule);
            if fits == Some(false) {
                continue;
            }
            outcome.needs_name |= fits.is_none() && rule.subject == Subject::Name && !self.is_late;
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

    /// Whether the rule fits; `None` where that is not known.
    fn fits(&self, rule: &Rule) -> Option<bool> {
        match rule.subject {
            Subject::Address => Some(fits_address(&rule.pattern, self.address)),
            Subject::ThisMachine => Some(self.address.is_loopback()),
            Subject::Name => {
                let name = self.name.as_ref()?.to_lowercase();
                Some(fits(&rule.pattern.to_lowercase(), &name))
            }
            Subject::Certificate => match &self.certificate {
                Shown::NotYet => None,
                // What keeps out looks at every name.
                Shown::Certificate(certificate) if rule.allows => {
                    Some(certificate.is_named(&rule.pattern))
                }
                Shown::Certificate(certificate) => Some(certificate.has_name(&rule.pattern)),
            },
        }
    }

    fn turned_away(&self, rule: &Rule) -> TurnedAway {
        let undecided = if self.fits(rule).is_none() {
            "; whether it fits is not known, for the name was not found in time"
        } else {
            ""
        };
        let certificate = match &self.certificate {
            Shown::NotYet => "",
            Shown::Certificate(certificate) => certificate.name(),
        };
        TurnedAway {
            cause: format!(
                "a client is turned away by the rule {rule} of ipFilterRules{undecided}"
            ),
            name: self.name.as_deref().unwrap_or_default().to_owned(),
            certificate: certificate.to_owned(),
        }
    }
}

impl Rule {
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
            "ip" => Subject::Address,
            "name" if pattern == "localhost" => Subject::ThisMachine,
            "name" => Subject::Name,
            "cert" => Subject::Certificate,
            _ => return Err(wrong()),
        };
        if pattern.is_empty() {
            return Err(wrong());
        }
        if subject == Subject::Address {
            check_address(pattern)?;
        }
        Ok(Self { allows, subject, pattern: pattern.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::client_names::tests::in_zone;

    /// Whether a client may come in, and else why not.
    async fn enters(rules: &str, address: &str, names: &[&str]) -> Result<(), TurnedAway> {
        let (zone, over) = in_zone();
        let filter = Filter { names: zone, ..Filter::parse(rules).unwrap() };
        let mut visitor = filter.visitor(address.parse().unwrap());
        let arrived = visitor.arrives().await;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let entered = arrived
            .and_then(|()| visitor.shows(Some(Certificate { names, ..Certificate::default() })));
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        entered
    }

    #[tokio::test]
    async fn the_first_rule_that_fits_decides_and_without_one_everybody_may() {
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
        // It has no entry in the reverse zone, and one that does not lead back.
        for address in ["192.0.2.3", "192.0.2.2"] {
            let refused = enters("allow:name:web1.example,deny:name:*", address, &[]).await;
            let refused = refused.unwrap_err();
            assert!(refused.cause.contains("the rule deny:name:* of"), "{}", refused.cause);
            assert_eq!(refused.name, address);
            assert!(enters("allow:name:192.0.2.*,deny:name:*", address, &[]).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_come_in_time_lets_nobody_in_who_may_be_denied() {
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
    async fn no_name_is_looked_up_where_it_decides_nothing() {
        for rules in ["allow:name:*.a,allow:name:b", "deny:name:*.a,deny:ip:*", "deny:ip:10.*"] {
            let (zone, _) = in_zone();
            let filter = Filter { names: zone, ..Filter::parse(rules).unwrap() };
            let visitor = filter.visitor("192.0.2.1".parse().unwrap());
            assert!(!visitor.outcome().needs_name, "{rules}");
        }
    }

    #[tokio::test]
    async fn certificates_decide_once_they_are_shown() {
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
        let filter = Filter::parse("deny:ip:10.*,allow:cert:web*").unwrap();
        let mut visitor = filter.visitor("10.0.0.1".parse().unwrap());
        assert!(visitor.arrives().await.is_err(), "no handshake is made for nothing");
    }

    #[test]
    fn rules_for_which_nothing_is_known_are_refused() {
        let read = |rules: &str, tls: Option<&ServerTls>| {
            let pairs = [("ipFilter", "true"), ("ipFilterRules", rules)];
            let settings = crate::config::settings::Settings::from_pairs("r1", &pairs);
            let mut reader = SettingsReader::new(&settings);
            let datagrams = Filter::read_for_datagrams(&mut reader).map(|_| ());
            let sessions = Filter::read(&mut reader, tls).map(|_| ());
            [sessions, datagrams].map(|read| read.map_err(|error| error.message))
        };
        let clients = crate::net::tls::ClientAuth {
            truststore: "t".into(),
            password: String::new(),
            required: true,
            names: Vec::new(),
        };
        let tls = ServerTls {
            keystore: "k".into(),
            password: String::new(),
            clients: None,
            choice: crate::net::tls::Choice::default(),
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
    fn what_is_no_rule_is_refused() {
        assert!(Filter::parse("allow:ip:10.0.0.0/40").unwrap_err().contains("not a network"));
        for text in
            ["", "allow", "allow:ip", "allow:ip:", "permit:ip:*", "deny:host:*", "allow:ip:*,"]
        {
            assert!(Filter::parse(text).unwrap_err().contains("not a rule"), "{text}");
        }
    }
}
