//! English names of months and days, as all date formats here use them.

/// January first. The first three letters are the short form.
pub(super) const MONTHS: [&str; 12] = [
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
pub(super) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Parses the name at the start of `text`, in full or its first three letters, in any case. Returns its number from 1
/// and the rest of the text.
#[must_use]
pub(super) fn named<'t>(text: &'t str, names: &[&str]) -> Option<(i8, &'t str)> {
    let begins = |name: &str| text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
    names.iter().zip(1..).find_map(|(name, number)| {
        let len = [name.len(), 3].into_iter().find(|len| begins(&name[..*len]))?;
        Some((number, &text[len..]))
    })
}
