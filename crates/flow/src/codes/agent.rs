//! Codes of the agent, of monitoring and of the alarm service: 5000 to 5999.

millpond::internal::base::codes::codes! {
    /// Codes of the agent, of monitoring and of the alarm service.
    AGENT:

    COMPONENT_PANICKED = 5001 Error "a component ended because of a defect" {
        "A bug in millpond in one component. It is started again, and the others are not affected; nothing acknowledged is lost."
        "Report it with the lines before it."
    }
    PANICKED = 5002 Error "a defect, with its place in the program" {
        "A bug in millpond; the next lines say what it ended, and what continues."
        "Report it with the lines around it."
    }
    MONITORING_OFF = 5101 Error "the agent runs without monitoring" {
        "An option of monitoring is wrong, or there is no thread for it. The line has the reason."
        "Correct -Dflume.monitoring.…; it is read at the start."
        "monitoring.md"
    }
    MONITORING_PORT = 5102 Error "the monitoring port cannot be used" {
        "It is in use, or the agent's user may not use it. The agent runs without it, and it is tried again every 3 s."
        "Choose a free port with -Dflume.monitoring.port=N, or another address with -Dflume.monitoring.bind=ADDRESS."
        "monitoring.md"
    }
    ADMIN_SOCKET_OFF = 5103 Error "the agent runs without an admin socket" {
        "Its path is wrong, too long or not writable for the agent, so millpond tap cannot connect."
        "Correct -Dmillpond.admin.socket; it is read at the start."
        "monitoring.md"
    }
    SERVICE_MANAGER_ABSENT = 5104 Error "the service manager cannot be notified" {
        "NOTIFY_SOCKET in the environment names a socket that cannot be used."
        "Use Type=notify with systemd, or unset the variable."
        "operations.md#under-systemd"
    }
    SERVICE_MANAGER_NO_BEAT = 5105 Error "the service manager gets no heartbeat" {
        "The agent's threads have not responded for 5 s: a machine that hangs, or a bug in millpond. systemd ends the agent if that lasts."
        "Report it if it repeats on a healthy machine."
        "operations.md#under-systemd"
    }
    MONITORING_STORE = 5106 Error "monitoring refuses all clients" {
        "The file with its password or token, or its key store or trust store, cannot be read. It is tried again every 3 s; until then the health pages are available only with healthWithoutAuth, and only without TLS."
        "Provide the file that the line names, readable by the agent's user; no restart is needed."
        "monitoring.md"
    }
    ALARMS_OFF = 5201 Error "the agent runs without alarms" {
        "The operating system refuses the agent a further thread."
        "Raise its limit (TasksMax, ulimit -u) and start it again."
        "alarms.md"
    }
    ALARMS_PANICKED = 5202 Error "an evaluation of the alarms ended because of a defect" {
        "A bug in millpond. The next evaluation starts again with the existing alarms."
        "Report it with the lines before it."
        "alarms.md"
    }
    ALARMS_NOT_KEPT = 5203 Warning "alarms are not kept across restarts" {
        "Alarms, their history and the expected clients are lost when the process ends: another agent uses the directory, there is none, or it cannot be written."
        "Set alarms.directory, one for each agent, which its user may write."
        "alarms.md#stored-state"
    }
    NOTICES_DROPPED = 5204 Warning "notifications of alarms could not be delivered" {
        "A server that receives alarms was unavailable for long, or refuses them."
        "Correct its address or token; /alarms has what it missed."
        "alarms.md#notifications"
    }
    EVENTS_LOST = 5205 Warning "events did not arrive" {
        "Events were dropped here for the reason that the line names; it has their number since the last such line."
        "docs/loss.md says for each reason what to do."
        "loss.md"
    }
}
