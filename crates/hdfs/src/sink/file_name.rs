//! The names of one file: while it is open, and when it is closed.

/// The names of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    /// Its path while it is open.
    pub(super) in_use: String,
    /// Its path when it is closed, without the suffix.
    pub(super) stem: String,
    pub(super) suffix: String,
}

impl FileName {
    /// Returns the path of the closed file; `n` counts the names that were taken.
    pub(super) fn closed(&self, n: u32) -> String {
        match n {
            0 => format!("{}{}", self.stem, self.suffix),
            n => format!("{}.{n}{}", self.stem, self.suffix),
        }
    }

    /// Returns true if the file has its last name from the beginning.
    pub(super) fn is_never_renamed(&self) -> bool {
        self.in_use == self.closed(0)
    }

    /// Returns the path of a copy of its beginning, which a reader takes for a file in use too.
    pub(super) fn copy(&self) -> String {
        let closed = self.closed(0);
        let name = closed.rsplit('/').next().unwrap_or_default();
        match self.in_use.rsplit_once(name) {
            Some((before, after)) => format!("{before}{name}.copy{after}"),
            None => format!("{}.copy", self.in_use),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_prefix_and_the_suffix_of_a_file_in_use() {
        for (in_use, copy) in [
            ("/d/x.1.log.tmp", "/d/x.1.log.copy.tmp"),
            ("/d/_x.1.log", "/d/_x.1.log.copy"),
            ("/d/_x.1.log.open", "/d/_x.1.log.copy.open"),
        ] {
            let name = FileName {
                in_use: in_use.to_owned(),
                stem: "/d/x.1".to_owned(),
                suffix: ".log".to_owned(),
            };
            assert_eq!(name.copy(), copy);
        }
    }
}
