//! What a table of keys is read with.

use super::external_filter;
use super::file::KeyTable;
use super::interpolation::Lookups;
use jiff::Zoned;
use std::collections::BTreeMap;
use std::path::Path;

/// The inputs of reading a table of keys.
pub(super) struct LoadContext<'a> {
    pub(super) path: &'a Path,
    pub(super) agent: &'a str,
    pub(super) system: &'a BTreeMap<String, String>,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Runs the program of a config filter, see [`external_filter::program`].
    pub(super) program: &'a external_filter::AskProgram,
}

impl<'a> LoadContext<'a> {
    /// Returns the context with the environment and the programs of this machine.
    pub(super) fn here(
        path: &'a Path,
        agent: &'a str,
        system: &'a BTreeMap<String, String>,
    ) -> Self {
        let environment = &|name: &str| std::env::var(name).ok();
        Self { path, agent, system, environment, program: &external_filter::program }
    }

    /// Returns the lookups for `${…}` in the values of `table`.
    pub(super) fn lookups(&self, table: &'a KeyTable, now: &'a Zoned) -> Lookups<'a> {
        Lookups {
            system: self.system,
            environment: self.environment,
            now,
            keys: &table.entries,
            environment_by_name: self
                .system
                .get("propertiesImplementation")
                .is_some_and(|class| class == "org.apache.flume.node.EnvVarResolverProperties"),
        }
    }
}
