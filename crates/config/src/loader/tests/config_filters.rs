use super::*;

#[test]
fn config_filters_work_or_stop_the_agent() {
    let filter =
        "a1.configfilters = f\na1.configfilters.f.type = env\na1.sources.r1.port = ${f[NC_PORT]}";
    let LoadedConfig { agent, findings, .. } = loaded(&whole(filter));
    assert_eq!(agent.sources[0].component.settings.entries["port"].value, "44444");
    assert_eq!(shown(&findings), "");
    let external = |command: &str| {
        let kind = format!("type = external\na1.configfilters.f.command = {command}");
        whole(&filter.replace("type = env", &kind))
    };
    let LoadedConfig { agent, findings, .. } = loaded(&external("get it"));
    assert_eq!(agent.sources[0].component.settings.entries["port"].value, "44444");
    assert_eq!(shown(&findings), "");
    let LoadedConfig { findings, .. } = loaded(&external("get nothing"));
    one(&findings, 4, "a1.sources.r1.port", Severity::Error, &["is left unchanged", "it failed"]);
    let LoadedConfig { findings, .. } =
        loaded(&external("get it\na1.configfilters.f.charset = nope"));
    one(&findings, 4, "a1.configfilters.f.charset", Severity::Error, &["not an encoding"]);
    let error = refused(&whole(&filter.replace("type = env", "type = hadoop")));
    let key = "a1.configfilters.f.type";
    one(error.findings(), 2, key, Severity::Error, &["hadoop", "not available"]);
    let LoadedConfig { findings, .. } =
        loaded(&whole(&filter.replace("type = env", "type = envv")));
    one(&findings, 2, "a1.configfilters.f.type", Severity::Error, &["left out"]);
}
