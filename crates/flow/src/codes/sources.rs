//! Codes of sources: 2000 to 2999.

millpond::internal::base::codes::codes! {
    /// Codes of sources.
    SOURCES:

    SOURCE_FAILING = 2001 Warning "a source does not run" {
        "It could not be started, or ended early; the line has the reason. It is started again by itself, and its clients are refused meanwhile."
        "Remove the cause that the line names: a port in use, a path, a server that is unavailable."
        "alarms.md#90008-sourcefailing-source-does-not-run"
    }
    EVENT_FITS_NO_CHANNEL = 2002 Error "an event is dropped, no channel can hold it" {
        "One event is larger than transactionBytesMax or the memory channel's byteCapacity, and it cannot be sent again."
        "Raise the limit if such events are legitimate."
        "loss.md"
    }
    BATCH_FITS_NO_CHANNEL = 2003 Error "no channel can ever hold a client's batch" {
        "A client sends more at once than transactionCapacity or transactionBytesMax allow. It is notified, and may send it again forever."
        "Raise the limit, or lower the client's batch."
    }
    OPTIONAL_CHANNEL_MISSED = 2004 Warning "events did not enter an optional channel" {
        "The other channels have these events, the optional one does not."
        "Remove the channel from selector.optional if it must have all events."
        "loss.md"
    }

    // Ports and connections.
    PORT_UNAVAILABLE = 2101 Error "a port of a source cannot be used" {
        "It is in use, or the agent's user may not use it. The source's other ports are served, and this one is tried again."
        "Free the port, or grant CAP_NET_BIND_SERVICE for one below 1024."
    }
    CONNECTIONS_REFUSED = 2102 Warning "connections are refused, all slots are taken" {
        "Every client has sent data recently or has a request in progress, so no connection can be closed to make room. New clients are refused, and try again."
        "Raise the limit that the line names, usually maxConnections, or find the client that opens so many connections."
        "operations.md#limits-against-clients"
    }
    ACCEPT_FAILED = 2103 Warning "connections cannot be accepted" {
        "Usually the process has no file descriptor left. It is tried again."
        "Raise LimitNOFILE (ulimit -n), or lower maxConnections."
        "operations.md#size"
    }
    SESSION_PANICKED = 2104 Error "a session with a client ended because of a defect" {
        "A bug in millpond. The connection is closed, the others are not affected; the client sends again what was not acknowledged."
        "Report it with the lines before it."
    }
    DATAGRAM_BUFFER_SMALL = 2105 Warning "the system grants a small buffer for datagrams" {
        "The buffer for datagrams that arrive while the channel is busy is smaller than requested; the system drops datagrams when it is full."
        "Run sysctl -w net.core.rmem_max=4194304 and keep it in /etc/sysctl.d; then start the source again."
    }

    FEWER_PLACES_THAN_CONFIGURED = 2106 Warning "the limit on open files leaves fewer connections than are configured" {
        "The maxConnections of the sources add up to more. When all slots are taken, the connection that has been idle longest is closed for the next client."
        "Raise LimitNOFILE (ulimit -n); a quarter of it is kept for channels and sinks."
        "operations.md#limits-against-clients"
    }
    CLIENT_MEMORY_REFUSED = 2107 Warning "millpond.clients.memoryBytes is not used" {
        "It is not a number of bytes, or below 8 MiB; a quarter of the memory is used."
        "Correct the option, or leave it out."
        "operations.md#limits-against-clients"
    }

    // Files that grow.
    BATCH_PARTLY_LOST = 2201 Error "a batch is not in all channels of its source and cannot be read again" {
        "A file was removed while only some of the source's channels had its last lines."
        "The other channels cannot get them any more; do not remove files that are being read."
        "loss.md"
    }
    FILE_UNREADABLE = 2202 Error "a file cannot be read" {
        "Missing permissions, a disk that fails or is not mounted. The file is tried again, the others are read."
        "Give the agent's user the right to read it."
        "operations.md#under-systemd"
    }
    FILE_GROUP_UNREADABLE = 2203 Error "the directory of a file group cannot be read" {
        "Missing permissions, or a directory that is not mounted. It is tried again, the other groups are read."
        "Give the agent's user the right to read it, or mount it."
        "operations.md#under-systemd"
    }
    FILES_TOO_MANY = 2204 Error "more files match than one source can hold" {
        "Further ones wait until others are gone."
        "Move old files away, or split the group over several sources."
    }
    PLACES_LOST = 2205 Error "the journal of file offsets next to the position file is lost" {
        "The journal (its name ends in .places-a or .places-b) was removed or damaged, or positionFile was moved without it."
        "Nothing, if repeated lines are acceptable: the source continues where positionFile says. Move all files of that name together."
    }
    PLACES_UNWRITABLE = 2206 Error "the journal of file offsets next to the position file cannot be written" {
        "No space, or no permission to write there; with more than 1,500 files that have changed since, others wait."
        "Free space, or give permission to write."
    }
    POSITION_FILE_DAMAGED = 2207 Error "the position file cannot be read" {
        "positionFile was damaged or written by something else. One that is not JSON is kept next to it as .unreadable, and its files are read as if they were new; an entry that cannot be read is left out."
        "Restore it from .unreadable before the next start if files must not be read again."
    }
    POSITION_FILE_UNWRITABLE = 2208 Error "the position file cannot be written" {
        "The agent may not write it, or the disk is full. It is tried again."
        "Give permission to write, or free space."
    }
    POSITION_FILE_SHARED = 2209 Warning "two sources have one position file" {
        "The second uses one of its own next to it; with file channels, the offsets in those count."
        "Give each source a positionFile."
    }
    POSITION_FILE_UNLOCKED = 2210 Warning "the position file cannot be locked" {
        "Its file system has no locks (flock), so nothing prevents a second source from using it."
        "Make sure that no other source has the same positionFile."
    }
    FILE_GROUP_EMPTY = 2211 Warning "no file matches the pattern of a file group" {
        "A wrong pattern, or logs that do not exist yet."
        "Correct the pattern; otherwise nothing, the source waits for a file."
    }
    FILE_GONE_UNREAD = 2212 Warning "a file was removed or truncated before it was read to its end" {
        "Its last lines are lost; file_gone counts the file, and alarm 90011 is raised. The line has the number of bytes that were seen and not read."
        "Rotate by renaming and not by copying and truncating, keep rotated files longer than the agent may need, and find out why the channel was full."
        "loss.md"
    }

    // Spooling directories.
    SPOOL_UNREADABLE = 2301 Error "a spooling directory cannot be read or written" {
        "Missing permissions, or a directory that is not mounted. Its files wait, and it is tried again."
        "Give the agent's user the right to read and write there, or mount it."
        "operations.md#under-systemd"
    }
    SPOOL_FILE_SET_ASIDE = 2302 Error "a file of a spooling directory is set aside" {
        "It was changed after it was put there, or its decoder cannot read it. The other files are read."
        "Put a complete file there under a new name."
    }
    SPOOL_ASIDE_FULL = 2303 Error "the limit of files that are set aside is reached" {
        "No other file is read until some of them are gone."
        "Remove or repair those that were named before (MP-2302)."
    }
    TRACKER_UNREADABLE = 2304 Error "Flume's tracker file cannot be read" {
        "The file that was in progress is read from its start."
        "Give the agent's user the right to read trackerDir; otherwise lines are repeated."
    }
    TRACKER_UNWRITABLE = 2305 Error "a tracker file cannot be written or removed" {
        "The agent may not write trackerDir, or its disk is full. After a restart lines may be repeated."
        "Give permission to write, or free space."
    }
    SPOOL_TOO_DEEP = 2306 Error "a directory of a spooling directory is too deep" {
        "recursiveDirectorySearch reads 64 levels; nothing below that is read, and the alarm 90008 is raised."
        "Move the directory up, or give it a source of its own."
    }

    // Programs.
    COMMAND_NOT_RUN = 2401 Error "the command of an exec source does not run" {
        "It cannot be started, for the reason in the line; with restart = true it is tried again."
        "Correct command or shell."
    }
    PROGRAM_BATCH_REFUSED = 2402 Error "a batch of a program of your own is refused for good" {
        "No channel can hold it. The program is notified and must send other events."
        "Correct the program, or raise the channel's limit."
        "external.md"
    }
    PROGRAM_BATCH_CHANGED = 2403 Error "a program of your own returned another batch than requested" {
        "It should have repeated the batch that only some of the channels have. Events may be in a channel twice."
        "Correct the program."
        "external.md"
    }
}
