//! The source that docs/external.md shows is built, runs, and stands there as it stands here.

#[allow(unreachable_pub)] // in the house it stands where others see it
#[path = "../../docs/examples/source.rs"]
mod example;

use super::trial::{Trial, bodies, build};

#[tokio::test]
async fn the_source_of_the_page_runs_and_stops_when_told() {
    let source = build(&example::TYPE, &[("every", "5")]).unwrap();
    let trial = Trial::new();
    trial.run(source.as_ref(), trial.until_events(3)).await.unwrap();
    let said = format!("{} is here", trial.context.name);
    assert!(bodies(&trial.events()).iter().all(|body| *body == said));
    assert!(build(&example::TYPE, &[("every", "0")]).is_err());
}

#[test]
fn the_page_shows_the_source_that_is_built() {
    let page = include_str!("../../docs/external.md");
    let source = include_str!("../../docs/examples/source.rs");
    assert!(
        page.contains(&format!("```rust\n{source}```\n")),
        "docs/external.md shows another one"
    );
}
