//! Sink groups.

use super::{ListedName, Validation};
use crate::agent::{ComponentConfig, SinkConfig, SinkGroupConfig};
use crate::component_kinds::{self, UnavailableType};
use crate::types::{self, ComponentKind};
use millpond_flow::settings::{SettingPlace, Settings, flume_names};

impl Validation<'_> {
    /// Reads the sink groups, and removes sinks that cannot run.
    pub(super) fn groups(
        &mut self,
        mut sinks: Vec<SinkConfig>,
    ) -> (Vec<SinkConfig>, Vec<SinkGroupConfig>) {
        let mut groups: Vec<SinkGroupConfig> = Vec::new();
        for ListedName { name, place, mut settings } in self.listed("sinkgroups", "sink group") {
            let whole = format!("{}.sinks", settings.prefix);
            let Some(setting) = settings.entries.get_mut("sinks") else {
                let message =
                    "is not set, so the group is left out, as in Flume; its sinks run alone";
                self.findings.leave_out(&place, &whole, message);
                continue;
            };
            let list = component_kinds::name_list(&whole, setting, self.findings);
            let place = setting.place.clone();
            let members = self.members(&list, &sinks, &groups, &place, &whole);
            if members.is_empty() {
                let message = "none of them can be used, so the group is left out, as in Flume";
                match !list.is_empty() && list.iter().all(|name| self.is_listed("sinks", name)) {
                    true => self.findings.leave_out_as_consequence(&place, &whole, message),
                    false => self.findings.leave_out(&place, &whole, message),
                }
                continue;
            }
            match self.processor(&settings, &members, &place) {
                Ok(processor) => groups.push(SinkGroupConfig { name, sinks: members, processor }),
                // Flume does not run the sinks of such a group either.
                Err(_) => sinks.retain(|sink| !members.contains(&sink.component.name)),
            }
        }
        (sinks, groups)
    }

    fn members(
        &mut self,
        list: &[String],
        sinks: &[SinkConfig],
        groups: &[SinkGroupConfig],
        place: &SettingPlace,
        whole: &str,
    ) -> Vec<String> {
        let mut members = Vec::new();
        for name in list {
            let why = if let Some(group) = groups.iter().find(|group| group.sinks.contains(name)) {
                format!("the sink {name} is in the group {} already", group.name)
            } else if sinks.iter().any(|sink| sink.component.name == *name)
                || self.has_stopped("sinks", name)
            {
                members.push(name.clone());
                continue;
            } else {
                let known = sinks.iter().map(|sink| sink.component.name.as_str());
                let hint = match name.contains(',') {
                    true => "; names are separated by blanks, not by commas".to_owned(),
                    false => flume_names::did_you_mean(name, known),
                };
                format!("there is no sink {name} that can be used{hint}")
            };
            let message = format!("{why}; the group is without it, as in Flume");
            let is_in_group = groups.iter().any(|group| group.sinks.contains(name));
            match !is_in_group && self.is_listed("sinks", name) {
                true => self.findings.warn_of_consequence(place, whole, &message),
                false => self.findings.warn(place, whole, message),
            }
        }
        members
    }

    fn processor(
        &mut self,
        settings: &Settings,
        members: &[String],
        place: &SettingPlace,
    ) -> Result<ComponentConfig, UnavailableType> {
        for (key, setting) in &settings.entries {
            if key != "sinks" && !key.starts_with("processor.") && key != "config" {
                let hint = flume_names::did_you_mean(key, ["sinks", "processor.type"]);
                let message = format!("a sink group has no such key; ignored, as in Flume{hint}");
                self.findings.warn(&setting.place, &format!("{}.{key}", settings.prefix), message);
            }
        }
        let own = settings.subset("processor.");
        let processor = component_kinds::component(
            self.catalogue,
            ComponentKind::SinkProcessor,
            own,
            None,
            place,
            self.findings,
        )?;
        let alias =
            types::find(ComponentKind::SinkProcessor, processor.type_name).map(|t| t.names[0]);
        let wrong = match (alias, members.len()) {
            (Some("default"), 2..) => "the processor default takes one sink",
            (Some("load_balance"), 1) => "the processor load_balance takes two sinks or more",
            _ => return Ok(processor),
        };
        let message = format!("{wrong}; the group and its sinks are left out, as in Flume");
        self.findings.leave_out(place, &format!("{}.sinks", settings.prefix), message);
        Err(UnavailableType::LeftOut)
    }
}
