//! Tests that the source shown in docs/external.md compiles and runs, and equals the code here.

#[allow(unreachable_pub)] // in a crate of its own it is public
#[path = "../../../../docs/examples/source.rs"]
mod example;

use super::test_support::{SourceHarness, bodies, build};

#[tokio::test]
async fn the_source_of_the_page_runs_and_stops_on_request() {
    let source = build(&example::TYPE, &[("every", "5")]).unwrap();
    let harness = SourceHarness::new();
    harness.run(source.as_ref(), harness.until_events(3)).await.unwrap();
    let said = format!("{} is here", harness.context.name);
    assert!(bodies(&harness.events()).iter().all(|body| *body == said));
    assert!(build(&example::TYPE, &[("every", "0")]).is_err());
}

#[test]
fn the_page_shows_the_source_that_is_built() {
    let page = include_str!("../../../../docs/external.md");
    let source = include_str!("../../../../docs/examples/source.rs");
    assert!(
        page.contains(&format!("```rust\n{source}```\n")),
        "docs/external.md shows another one"
    );
}
