//! Codes of configuration, start and stop: 4000 to 4999.

millpond::internal::base::codes::codes! {
    /// Codes of configuration, start and stop.
    START:

    CONFIGURATION_ERROR = 4001 Error "a part of the configuration is left out" {
        "A component cannot run as it is written, and the agent runs without it, as Flume does; or the agent does not run. The line has file, line and key."
        "Correct it. millpond validate reports the same without starting anything; a running agent applies the change."
        "flume-compat.md"
    }
    CONFIGURATION_WARNING = 4002 Warning "something in the configuration does not work as written" {
        "A value or a key has no effect or another one. The line has file, line and key, and the effective value."
        "Correct it, or leave it if that is intended."
        "flume-compat.md"
    }
    CONFIGURATION_REFUSED = 4003 Error "an agent cannot run as it is configured" {
        "At least one thing in the configuration keeps the agent from starting, or the channel from being opened; the message has the first."
        "Correct it; millpond validate names them all."
        "flume-compat.md"
    }
    AGENT_ABSENT = 4004 Error "the configuration has no agent of that name" {
        "The name after -n is the first word of the agent's keys. The message lists the agents in the file."
        "Correct the name or the file."
    }
    CHANNEL_ABSENT = 4005 Error "the agent has no channel of that name" {
        "The message lists the channels that it has."
        "Correct the name or the file."
    }
    CONFIGURATION_UNREADABLE = 4006 Error "the configuration cannot be read" {
        "The file cannot be read, or its server does not return it."
        "Correct the path or the address, grant read permission, or bring the server back."
    }
    NOTHING_RUNS = 4007 Error "the agent has nothing that can run" {
        "Every source and every sink is left out; the messages before say why."
        "Correct what they name."
    }
    CONFIGURATION_OUT_OF_REACH = 4008 Warning "the configuration cannot be read, the last one is used" {
        "The agent runs with its last configuration, and tries again."
        "Bring the server or the file back."
    }
    START_REFUSED = 4009 Error "the operating system refuses the agent threads or signals" {
        "The agent cannot start, for the reason in the message."
        "Raise the limit of processes (TasksMax, ulimit -u)."
    }
    PLACE_UNUSABLE = 4010 Warning "a directory or file cannot be used at present" {
        "A directory of a channel, a source or a sink, or a position file, does not exist and cannot be created, or the user may not use it. millpond validate reports it; a start would wait for it or fail."
        "Create it, or give the agent's user the rights that the message names. On another machine than the agent's: --elsewhere."
    }
    STORE_UNUSABLE = 4011 Warning "a key or trust store cannot be used, or expires" {
        "It cannot be read with its password, lacks what the settings need, or a certificate in it has expired or soon will. millpond validate says so; TLS would not work."
        "Give the file and password that the message names, or renew the certificate."
    }
    COMPONENT_NOT_BUILT = 4101 Error "a component cannot be built" {
        "Its settings were checked when the configuration was read, so the machine has changed since, or it is a bug in millpond. The line has the reason."
        "Run millpond validate on this machine; report it if that finds nothing."
    }
    CHANNEL_NOT_THERE = 4102 Error "the channel of a sink does not exist" {
        "A bug in millpond: a sink whose channel does not exist is left out when the configuration is read."
        "Report it with the configuration."
    }
    CHANNEL_NOT_CLOSED = 4201 Error "a channel did not close cleanly" {
        "Its last checkpoint could not be written, for the reason in the line. The next opening reads more of its log; nothing acknowledged is lost."
        "Check the disk."
    }
    STOP_CUT_OFF = 4202 Error "components did not stop in time" {
        "At a stop or a reload a component was aborted: a server or a disk that hangs. What file channels acknowledged is not lost; its last batch may be repeated."
        "Find out what it waits for."
        "operations.md#under-systemd"
    }
    STOP_INTERRUPTED = 4203 Error "the agent was ended at once by a second signal" {
        "What file channels acknowledged is not lost; last batches may be repeated, and events in memory channels are lost."
        "Wait for a stop before the second signal."
        "operations.md#under-systemd"
    }
}
