//! Texts that are not ASCII.

use super::*;

#[test]
fn characters_beyond_ascii_are_read_as_java_reads_them_and_warned_about() {
    let text = whole(
        "a1.sources.r1.type = exec\na1.sources.r1.command = tail /日志\na1.sources.r1.bind=\na1.sources.r1.port=",
    );
    let LoadedConfig { agent, findings, .. } = loaded(&text);
    let value = &agent.sources[0].component.settings.entries["command"].value;
    assert_eq!(value, "tail /\u{e6}\u{97}\u{a5}\u{e5}\u{bf}\u{97}");
    let said = shown(&findings);
    assert!(
        said.contains(
            "flume.conf:2: warning: a1.sources.r1.command: holds characters beyond ASCII"
        ),
        "{said}"
    );
    assert!(said.contains("write \\u65e5\\u5fd7… for 日志…"), "{said}");
    let bom = format!("\u{feff}{}", whole(""));
    let error = read(bom.as_bytes(), "a1");
    let findings = match &error {
        Ok(loaded) => &loaded.findings,
        Err(error) => error.findings(),
    };
    assert!(shown(findings).contains("byte order mark"), "{}", shown(findings));
}

#[test]
fn a_byte_order_mark_before_a_comment_is_one_finding() {
    for line in ["# what a.b.c = is", "#a1.sources = r9", "! x", ""] {
        let marked = format!("\u{feff}{line}\n{}", whole(""));
        let loaded =
            read(marked.as_bytes(), "a1").unwrap_or_else(|error| panic!("{line}: {error}"));
        let said = shown(&loaded.findings);
        assert!(said.lines().count() == 1 && said.contains("byte order mark"), "{line}: {said}");
    }
}

#[test]
fn a_text_in_utf_16_is_refused_by_its_encoding() {
    let text = format!("# Kanäle 日志\n{}", whole(""));
    let units = || text.encode_utf16();
    let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
    for (mark, bytes) in
        [(&[0xFF, 0xFE][..], &little), (&[0xFE, 0xFF], &big), (&[], &little), (&[], &big)]
    {
        let error = read(&[mark, bytes].concat(), "a1").expect_err("not readable").to_string();
        assert!(error.contains("UTF-16; save it as UTF-8"), "{error}");
    }
    assert!(read(text.as_bytes(), "a1").is_ok());
}
