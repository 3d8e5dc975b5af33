//! Which of the two Kafka clients.

/// Which of the two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// Writes records.
    Producer,
    /// Reads records.
    Consumer,
}

impl ClientRole {
    /// Returns the prefix of its keys.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Producer => "kafka.producer.",
            Self::Consumer => "kafka.consumer.",
        }
    }
}
