//! An active alarm of an agent.

/// An active alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct AgentAlarm {
    /// Its name or number.
    pub name: String,
    /// Its severity.
    pub severity: String,
    /// Its component.
    pub component: String,
    /// Its message.
    pub words: String,
}
