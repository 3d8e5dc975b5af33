//! Names of months and days, in English, as dates of every kind here have them.

/// January first. The first three letters are the short form.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Monday first. The first three letters are the short form.
pub const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The name that `text` begins with, whole or its first three letters, in any case: its number from 1, and
/// what stands behind it.
#[must_use]
pub fn named<'t>(text: &'t str, names: &[&str]) -> Option<(i8, &'t str)> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
    names.iter().zip(1..).find_map(|(name, number)| {
        let len = [name.len(), 3].into_iter().find(|len| begins(&name[..*len]))?;
        Some((number, &text[len..]))
    })
}
