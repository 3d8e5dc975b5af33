//! The notice that is sent to a target.

use crate::monitor::alarm::alarm_record::{Alarm, AlarmSender};
use millpond::internal::base::quantity::Quantity;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;

/// A notice about an alarm, or about dropped notices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The alarm was raised.
    Raised(Arc<Alarm>),
    /// It was raised before the agent was restarted, and is still active.
    Still(Arc<Alarm>),
    /// It is cleared.
    Cleared(Arc<Alarm>),
    /// This many notices were dropped.
    Dropped(u64),
}

impl Notice {
    pub(crate) fn alarm(&self) -> Option<&Alarm> {
        match self {
            Self::Raised(alarm) | Self::Still(alarm) | Self::Cleared(alarm) => Some(alarm),
            Self::Dropped(_) => None,
        }
    }

    /// `raised`, `still`, `cleared` or `dropped`.
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Raised(_) => "raised",
            Self::Still(_) => "still",
            Self::Cleared(_) => "cleared",
            Self::Dropped(_) => "dropped",
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Raised(alarm) | Self::Still(alarm) => alarm.message.clone(),
            Self::Cleared(alarm) => {
                let why = alarm.cleared.as_ref().map_or("it is over", |cleared| &cleared.why);
                format!("{why} (it was: {})", alarm.message)
            }
            Self::Dropped(count) => {
                let notices = Quantity(*count, "notification");
                format!(
                    "{notices} of alarms {} dropped because they could not be delivered; /alarms has all of them",
                    notices.was()
                )
            }
        }
    }

    /// Returns all of it as JSON.
    pub(super) fn json(&self, sender: &AlarmSender) -> Json {
        let mut map = match self.alarm() {
            Some(alarm) => alarm.json_of(sender),
            None => Map::new(),
        };
        map.insert("state".to_owned(), json!(self.state()));
        if let Self::Dropped(count) = self {
            map.insert("message".to_owned(), json!(self.message()));
            map.insert("dropped".to_owned(), json!(count));
            map.insert("agent".to_owned(), json!(sender.agent));
            map.insert("cluster".to_owned(), json!(sender.cluster));
            map.insert("host".to_owned(), json!(sender.host));
        }
        Json::Object(map)
    }
}
