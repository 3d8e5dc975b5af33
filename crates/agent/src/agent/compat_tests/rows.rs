//! The rows of a section's tables: keys, defaults, state and meaning.

use super::quoted;

/// A row of a table of keys.
pub(super) struct Row {
    /// The keys of the first cell.
    pub keys: Vec<&'static str>,
    /// The cell of defaults.
    pub default: &'static str,
    /// The cell of the state.
    pub state: &'static str,
    /// What the key does here.
    pub meaning: &'static str,
}

impl Row {
    /// Returns whether the cell gives `default` for the key at `at`. It has one default for each
    /// key, or one for the first, which others may share.
    pub(super) fn has_default(&self, at: usize, default: &str) -> bool {
        let defaults: Vec<&str> = quoted(self.default).collect();
        match defaults[..] {
            [] if self.default == "every address" => ["", "0.0.0.0"].contains(&default),
            [] => default.is_empty(),
            [one] if at > 0 => default.is_empty() || default == one,
            _ => defaults.get(at) == Some(&default),
        }
    }
}

/// Returns the `number` cells of a line; the last one may contain bars, and ends with the bar after
/// it.
fn cells(line: &'static str, number: usize) -> Option<Vec<&'static str>> {
    let cells: Vec<&str> = line.splitn(number + 1, '|').skip(1).map(str::trim).collect();
    let begins = cells.first().is_some_and(|cell| cell.starts_with('`'));
    let ends = cells.last().is_some_and(|cell| cell.ends_with('|'));
    (cells.len() == number && begins && ends).then_some(cells)
}

/// Returns the rows with four cells whose first one names keys.
pub(super) fn rows(section: &'static str) -> Vec<Row> {
    let row = |line: &'static str| match cells(line, 4)?[..] {
        [keys, default, state, meaning] => {
            Some(Row { keys: quoted(keys).collect(), default, state, meaning })
        }
        _ => None,
    };
    section.lines().filter_map(row).collect()
}

/// Returns the rows of a section's table of types: the types, their keys, and the differences from
/// Flume.
pub(super) fn type_rows(section: &'static str) -> Vec<[&'static str; 3]> {
    let row = |line: &'static str| <[&str; 3]>::try_from(cells(line, 3)?).ok();
    section.lines().filter_map(row).collect()
}
