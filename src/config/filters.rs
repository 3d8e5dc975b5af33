//! Flume's config filters: `${FILTER[KEY]}` in the values of parts.
//!
//! The filter `env` is there; the filters that run a program or read a Hadoop key store are not,
//! and a configuration that lists one does not run.

use super::findings::Findings;
use super::parts;
use super::sections::Sections;
use super::settings::split_comment;

const SECTION: &str = "configfilters";
const ENV: [&str; 2] = ["env", "org.apache.flume.configfilter.EnvironmentVariableConfigFilter"];
const KNOWN: [&str; 4] = [
    "external",
    "hadoop",
    "org.apache.flume.configfilter.ExternalProcessConfigFilter",
    "org.apache.flume.configfilter.HadoopCredentialStoreConfigFilter",
];

/// Replaces the references of every listed filter.
pub(super) fn apply(
    agent: &str,
    sections: &mut Sections,
    environment: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings,
) {
    let Some(list) = sections.lists.get(SECTION).cloned() else { return };
    let mut usable = Vec::new();
    for name in parts::name_list(&format!("{agent}.{SECTION}"), &list, &mut Findings::default()) {
        let settings = sections.components.get(&(SECTION, name.clone()));
        let Some(kind) = settings.and_then(|settings| settings.entries.get("type")) else {
            let whole = format!("{agent}.{SECTION}.{name}.type");
            findings.leave_out(
                &list.place,
                &whole,
                "is not set, so the filter is left out, as in Flume",
            );
            continue;
        };
        let whole = format!("{agent}.{SECTION}.{name}.type");
        let text = split_comment(&kind.value).map_or(kind.value.as_str(), |(before, _)| before);
        if ENV.iter().any(|known| known.eq_ignore_ascii_case(text)) {
            usable.push(name);
        } else if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(text)) || text.contains('.') {
            let message = format!(
                "the config filter {text} is not available; use the filter env, or ${{env:NAME}} in the values"
            );
            findings.stop(&kind.place, &whole, message);
        } else {
            let message = format!("unknown config filter \"{text}\"; left out, as in Flume");
            findings.leave_out(&kind.place, &whole, message);
        }
    }
    let of_parts = sections.components.iter_mut().filter(|((section, _), _)| *section != SECTION);
    for settings in of_parts.map(|(_, settings)| settings) {
        let prefix = settings.prefix.clone();
        for (key, setting) in &mut settings.entries {
            for filter in &usable {
                let (text, missing) = replaced(&setting.value, filter, environment);
                setting.value = text;
                for name in missing {
                    findings.warn(
                        &setting.place,
                        &format!("{prefix}.{key}"),
                        format!("${{{filter}[{name}]}} stays as it stands, as in Flume: no such environment variable is set"),
                    );
                }
            }
        }
    }
}

/// `text` with the filter's references replaced, and the keys that were not found.
fn replaced(
    text: &str,
    filter: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (String, Vec<String>) {
    let opening = format!("${{{filter}[");
    let (mut out, mut missing) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find(&opening) {
        let (before, reference) = rest.split_at(at);
        out.push_str(before);
        let inner = &reference[opening.len()..];
        let Some((key, length)) = key_of(inner) else {
            out.push_str(&opening);
            rest = inner;
            continue;
        };
        let whole = opening.len() + length;
        match environment(key) {
            Some(value) => out.push_str(&value),
            None => {
                missing.push(key.to_owned());
                out.push_str(&reference[..whole]);
            }
        }
        rest = &reference[whole..];
    }
    out.push_str(rest);
    (out, missing)
}

/// The key before `]}`, with or without quotes, and the length up to behind the brace.
fn key_of(inner: &str) -> Option<(&str, usize)> {
    let of_key = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'\'' | b'"');
    let end = inner.bytes().position(|byte| !of_key(byte))?;
    if !inner[end..].starts_with("]}") {
        return None;
    }
    let key = &inner[..end];
    let bare = |quote| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    let key = bare('\'').or_else(|| bare('"')).unwrap_or(key);
    (!key.is_empty() && !key.contains(['\'', '"'])).then_some((key, end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_a_filter_are_replaced() {
        let environment = |name: &str| (name == "PASS_1").then(|| "secret".to_owned());
        for (text, expected) in [
            ("${f[PASS_1]}", "secret"),
            ("a${f['PASS_1']}b${f[\"PASS_1\"]}c", "asecretbsecretc"),
            ("${g[PASS_1]}", "${g[PASS_1]}"),
            ("${f[NOPE]}", "${f[NOPE]}"),
            ("${f[PASS 1]} ${f[PASS_1]}", "${f[PASS 1]} secret"),
            ("${f[", "${f["),
            ("${f[]}", "${f[]}"),
        ] {
            assert_eq!(replaced(text, "f", &environment).0, expected, "{text}");
        }
        assert_eq!(replaced("${f[NOPE]}", "f", &environment).1, ["NOPE"]);
    }
}
