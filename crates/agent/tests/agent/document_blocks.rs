//! Examples of the documents, for tests that run them.

use std::path::Path;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns the blocks of `language` in the section `heading` of a document in `docs`.
pub(crate) fn blocks(document: &str, heading: &str, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(TOP).join("docs").join(document)).expect(document);
    let (_, section) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    let section = section.split("\n## ").next().expect("a section");
    // Every second part is in a block.
    let blocks = section.split("\n```").skip(1).step_by(2);
    let of_the_language = blocks.filter_map(|block| block.split_once('\n'));
    let of_the_language = of_the_language.filter(|(first, _)| *first == language);
    of_the_language.map(|(_, rest)| format!("{rest}\n")).collect()
}
