//! Versions, from the lock file that this was built with.

/// Returns the version of the store called `name`; empty for Flume and the floors.
#[must_use]
pub fn version(name: &str) -> String {
    if name == "sqlite" {
        return rusqlite::version().to_owned();
    }
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{name}\"\nversion = \"");
    let rest = lock.split(&entry).nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FLUME, STORES};

    #[test]
    fn every_store_has_a_version() {
        let own = |name: &str| name != FLUME && !name.starts_with("floor-");
        for store in STORES.iter().filter(|store| own(store.name)) {
            let version = version(store.name);
            assert!(version.contains('.'), "{}: {version:?}", store.name);
        }
    }
}
