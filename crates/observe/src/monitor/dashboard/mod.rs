//! The dashboard at `/`: the flow with its numbers, live.
//!
//! # Limits
//!
//! One page of some 50 KiB that fetches only this server's other pages, every 2 s while it is
//! visible, and keeps a minute of replies and an hour of samples. It changes nothing.
//!
//! # How it works
//!
//! [`PAGE`] is built from the files next to this one: `page.html`, `style.css`, and a script in the
//! order of its parts: `numbers.js` parses Prometheus' text, `agent.js` holds the replies,
//! `draw.js` makes elements and curves, `page.js` fills the page. There is no build step and
//! nothing from elsewhere.
//!
//! # Invariants
//!
//! - Names and texts of a configuration become text nodes, never markup (a test checks the script),
//!   and the [`policy`] forbids every script and style but these two, by their checksums.
//! - What the graph shows the table shows too.

use base64ct::{Base64, Encoding};
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};
use std::sync::LazyLock;

macro_rules! style {
    () => {
        include_str!("style.css")
    };
}

macro_rules! script {
    () => {
        concat!(
            include_str!("numbers.js"),
            include_str!("agent.js"),
            include_str!("draw.js"),
            include_str!("page.js"),
        )
    };
}

/// The page.
pub(super) const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<title>millpond</title>\n",
    "<link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E",
    "%3Cpath fill='none' stroke='%230b7a70' stroke-width='4' stroke-linecap='round' ",
    "d='M3 12c4.5-5 8.5-5 13 0s8.5 5 13 0M3 21c4.5-5 8.5-5 13 0s8.5 5 13 0'/%3E%3C/svg%3E\">\n",
    "<style>",
    style!(),
    "</style>\n",
    include_str!("page.html"),
    "<script type=\"module\">",
    script!(),
    "</script>\n</body>\n</html>\n",
);

/// Returns what a browser may do on the page: run its script, use its style, fetch from this
/// server.
pub(super) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let checksum =
            |text: &str| Base64::encode_string(digest(&SHA256, text.as_bytes()).as_ref());
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            checksum(script!()),
            checksum(style!()),
        );
        HeaderValue::try_from(policy).expect("letters, digits and signs of ASCII")
    });
    POLICY.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_makes_no_markup_of_texts() {
        let script: &str = script!();
        // The name of SVG's namespace is not an address that is fetched.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=\"//", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("]
        {
            assert!(!script.contains(word), "{word}");
        }
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("</script").count(), 1);
        assert!(
            !PAGE.contains(" style=") && !PAGE.contains(" onclick="),
            "the policy forbids them"
        );
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_by_their_checksums() {
        let policy = policy();
        let policy = policy.to_str().expect("ASCII");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let known = Base64::encode_string(digest(&SHA256, b"").as_ref());
        assert_eq!(known, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
