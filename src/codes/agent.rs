//! Codes of the agent, of monitoring and of alarms as such: 5000 to 5999.

crate::base::codes::codes! {
    /// Codes of the agent, of monitoring and of alarms as such.
    AGENT:

    COMPONENT_PANICKED = 5001 Error "a component ended by a defect" {
        "A bug in millpond in one component. It is started again, and the others did not notice; nothing acknowledged is lost."
        "Report it with the lines before it."
    }
    PANICKED = 5002 Error "a defect, with its place in the program" {
        "A bug in millpond; the next lines say what ended by it and goes on."
        "Report it with the lines around it."
    }
    MONITORING_OFF = 5101 Error "the agent runs without monitoring" {
        "An option of monitoring is wrong, or there is no thread for it. The line has the reason."
        "Correct -Dflume.monitoring.…; it counts at the start."
        "monitoring.md"
    }
    MONITORING_PORT = 5102 Error "the monitoring port cannot be used" {
        "It is in use, or not the agent's to have. The agent runs without it, and it is tried again every 3 s."
        "Give a free one with -Dflume.monitoring.port=N, or another address with -Dflume.monitoring.bind=ADDRESS."
        "monitoring.md"
    }
    ADMIN_SOCKET_OFF = 5103 Error "the agent runs without an admin socket" {
        "Its path is wrong, too long or not the agent's to write, so that millpond tap cannot ask it."
        "Correct -Dmillpond.admin.socket; it counts at the start."
        "monitoring.md"
    }
    SERVICE_MANAGER_ABSENT = 5104 Error "the service manager cannot be spoken to" {
        "NOTIFY_SOCKET in the environment names a socket that cannot be used."
        "Use Type=notify with systemd, or unset the variable."
        "operations.md#under-systemd"
    }
    SERVICE_MANAGER_NO_BEAT = 5105 Error "the service manager gets no beat" {
        "The agent's threads have not answered for 5 s: a machine that stands still, or a bug in millpond. systemd ends the agent when that lasts."
        "Report it if it repeats on a machine that works."
        "operations.md#under-systemd"
    }
    MONITORING_STORE = 5106 Error "monitoring lets nobody in" {
        "The file with its password or token, or its key store or trust store, cannot be read. It is tried again every 3 s; until then the pages of health answer only with healthWithoutAuth, and only without TLS."
        "Give the file that the line names, so that the agent's user may read it; nothing has to be restarted."
        "monitoring.md"
    }
    ALARMS_OFF = 5201 Error "the agent runs without alarms" {
        "The machine has no more threads for the agent."
        "Raise its limit (TasksMax, ulimit -u) and start it again."
        "alarms.md"
    }
    ALARMS_PANICKED = 5202 Error "a look of the alarms ended by a defect" {
        "A bug in millpond. The next look begins anew with the alarms that there are."
        "Report it with the lines before it."
        "alarms.md"
    }
    ALARMS_NOT_KEPT = 5203 Warning "alarms are not kept from one start to the next" {
        "Alarms, their history and the clients that are expected are forgotten with the process: another agent uses the directory, there is none, or it cannot be written."
        "Set alarms.directory, one for each agent, which its user may write."
        "alarms.md#what-is-kept"
    }
    NOTICES_DROPPED = 5204 Warning "notices of alarms could not be delivered" {
        "A server that is to hear of alarms was away for long, or refuses."
        "Correct its address or token; /alarms has what it missed."
        "alarms.md#who-is-told"
    }
    EVENTS_LOST = 5205 Warning "events did not arrive" {
        "Events ended here for the reason that the line names, so many since the last such line."
        "docs/loss.md says of each reason what to do."
        "loss.md"
    }
}
