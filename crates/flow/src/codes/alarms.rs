//! Codes of alarms: their numbers in docs/alarms.md, `/alarms` and metrics.

millpond::internal::base::codes::codes! {
    /// Codes of alarms.
    ALARMS:

    ALARM_CLIENT_SILENT = 24003 Alarm "Client silent" {
        "A client that is expected has had no connection and sent nothing for three minutes (seconds). Its events wait in its channel, or are lost if it has none."
        "Check whether the client runs and can reach this machine. If it was removed for good, name it in clientSilent.SOURCE.ignore."
        "alarms.md#24003-clientsilent-client-silent"
    }
    ALARM_CHANNEL_FILL = 90001 Alarm "Channel nearly full" {
        "A channel has been filled to 80 percent of its capacity (percent). When it is full, its sources refuse events."
        "Find out why its sinks take fewer events than arrive; raise capacity, or add a sink."
        "alarms.md#90001-channelfill-channel-nearly-full"
    }
    ALARM_CHANNEL_SIZE = 90002 Alarm "Too many events in a channel" {
        "A channel holds at least as many events as its setting channelSize.events says."
        "Find out why its sinks take fewer events than arrive."
        "alarms.md#90002-channelsize-too-many-events-in-a-channel"
    }
    ALARM_OLDEST_EVENT = 90003 Alarm "Events wait too long" {
        "The oldest event of a channel has waited for an hour (seconds)."
        "Find out why its sinks take fewer events than arrive, or whether a disk keeps events out of reach."
        "alarms.md#90003-oldestevent-events-wait-too-long"
    }
    ALARM_SINK_STALLED = 90004 Alarm "Sink delivers nothing" {
        "Nothing was delivered for a minute (seconds) although the sink's channel has events. They stay in it until it is full."
        "Check the destination: the alarm has the sink's last failure. If one event is permanently refused, deadLetter.directory or deadLetter.channel lets the others pass."
        "alarms.md#90004-sinkstalled-sink-delivers-nothing"
    }
    ALARM_STRIPE_SUSPENDED = 90005 Alarm "Stripe suspended" {
        "A data directory of a channel fails, hangs or is missing; the others do its work, and its events are out of reach."
        "Repair or remount the disk and restart."
        "alarms.md#90005-stripesuspended-stripe-suspended"
    }
    ALARM_DISK_SPACE = 90006 Alarm "Disk nearly full" {
        "A disk of a channel has little free space. Below minimumRequiredSpace the channel accepts no further events."
        "Free space, or let the sinks drain."
        "alarms.md#90006-diskspace-disk-nearly-full"
    }
    ALARM_QUARANTINE = 90007 Alarm "Damaged events set aside" {
        "Bytes on a disk are not what was written, or a segment file is missing and was given up; the events in them are lost, the others are delivered."
        "Check the disk, run millpond channel check, replace the disk. Afterwards write the number into quarantine.CHANNEL.events: the count never falls, not even after channel restore."
        "alarms.md#90007-quarantine-damaged-events-set-aside"
    }
    ALARM_SOURCE_FAILING = 90008 Alarm "Source does not run" {
        "A source has not run, or has failed repeatedly, for a minute (seconds). Its clients are refused."
        "Remove the cause: the alarm has the source's last failure."
        "alarms.md#90008-sourcefailing-source-does-not-run"
    }
    ALARM_RELOAD_REFUSED = 90009 Alarm "Changed configuration refused" {
        "The configuration was changed to something that cannot be applied; the agent keeps the previous one."
        "Correct it; millpond validate reports the same error as the alarm. If the cause may be temporary, such as a port in use, the configuration is tried again at each check."
        "alarms.md#90009-reloadrefused-changed-configuration-refused"
    }
    ALARM_CHANNEL_FAILING = 90010 Alarm "Channel does not take events" {
        "A channel has not been open, or has refused events for a reason other than its capacity, for a minute (seconds)."
        "Remove the cause: the alarm has it. The channel is opened again by itself."
        "alarms.md#90010-channelfailing-channel-does-not-take-events"
    }
    ALARM_EVENTS_LOST = 90011 Alarm "Events lost" {
        "Events were dropped before they reached their destination; the alarm has the component, the reason and their number."
        "docs/loss.md says for each reason what to do."
        "alarms.md#90011-eventslost-events-lost"
    }
    ALARM_SOURCE_SILENT = 90012 Alarm "Source receives no events" {
        "A source has produced no event for the time set by sourceSilent.seconds."
        "Check whether its senders, its files or its command still produce events, and whether its channel accepts them."
        "alarms.md#90012-sourcesilent-source-receives-no-events"
    }
    ALARM_SINK_FAILING = 90013 Alarm "Sink of a group fails" {
        "The attempts of one sink of a group have failed for a minute (seconds). The others do its work, and there is one sink fewer to fall back on."
        "Check its destination; the log has the sink's last failure."
        "alarms.md#90013-sinkfailing-sink-of-a-group-fails"
    }
    ALARM_CERTIFICATE_EXPIRES = 90016 Alarm "Certificate expires soon" {
        "A certificate that a source or sink uses expires within two weeks (days)."
        "Replace it with a new one; the agent reads it again without a restart."
        "alarms.md#90016-certificateexpires-certificate-expires-soon"
    }
}
