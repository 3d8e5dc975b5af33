//! Codes of sources: 2000 to 2999.

crate::base::codes::codes! {
    /// Codes of sources.
    SOURCES:

    SOURCE_FAILING = 2001 Warning "a source does not run" {
        "It could not be started, or ended early; the line has the reason. It is started again by itself, and its clients are refused meanwhile."
        "Remove the cause that the line names: a port in use, a path, a server that is away."
        "alarms.md#90008-sourcefailing-source-does-not-run"
    }
    EVENT_FITS_NO_CHANNEL = 2002 Error "an event is dropped, no channel can hold it" {
        "One event is larger than transactionBytesMax or the memory channel's byteCapacity, and nobody can send it again."
        "Raise the limit if such events are meant."
        "loss.md"
    }
    BATCH_FITS_NO_CHANNEL = 2003 Error "no channel can ever hold a client's batch" {
        "A client sends more at once than transactionCapacity or transactionBytesMax allow. It is notified, and may send it again for ever."
        "Raise the limit, or lower the client's batch."
    }
    OPTIONAL_CHANNEL_MISSED = 2004 Warning "events did not enter an optional channel" {
        "That is what optional means: these events are not in it, and in the others they are."
        "Take the channel out of selector.optional if it has to have all."
        "loss.md"
    }

    // Ports and connections.
    PORT_UNAVAILABLE = 2101 Error "a port of a source cannot be used" {
        "It is in use, or the agent's user may not have it. The source's other ports are served, and this one is tried again."
        "Free it, or give CAP_NET_BIND_SERVICE for one below 1024."
    }
    CONNECTIONS_REFUSED = 2102 Warning "connections are refused, all places are taken" {
        "Each place has a client that was heard a moment ago, or whose request is being carried out: none can give way. New clients are turned away, and try again."
        "Raise what the line names, maxConnections as a rule, or find who opens so many."
        "operations.md#limits-against-clients"
    }
    ACCEPT_FAILED = 2103 Warning "connections cannot be accepted" {
        "The process mostly has no descriptor left. It is tried again."
        "Raise LimitNOFILE (ulimit -n), or lower maxConnections."
        "operations.md#size"
    }
    SESSION_PANICKED = 2104 Error "a session with a client ended by a defect" {
        "A bug in millpond. The connection is closed, the others did not notice; the client sends again what was not acknowledged."
        "Report it with the lines before it."
    }
    DATAGRAM_BUFFER_SMALL = 2105 Warning "the system grants a small buffer for datagrams" {
        "Datagrams that come while the channel is busy have less room than was asked for; the rest is dropped by the system."
        "Run sysctl -w net.core.rmem_max=4194304 and keep it in /etc/sysctl.d; then start the source again."
    }

    FEWER_PLACES_THAN_CONFIGURED = 2106 Warning "the limit on open files leaves fewer connections than are configured" {
        "The maxConnections of the sources add up to more. When all places are taken, the connection that was silent longest is closed for the next client."
        "Raise LimitNOFILE (ulimit -n); a quarter of it is kept for channels and sinks."
        "operations.md#limits-against-clients"
    }
    CLIENT_MEMORY_REFUSED = 2107 Warning "millpond.clients.memoryBytes is not used" {
        "It is no number of bytes, or below 8 MiB; a quarter of the memory is used."
        "Correct the option, or leave it out."
        "operations.md#limits-against-clients"
    }

    // Files that grow.
    BATCH_PARTLY_LOST = 2201 Error "a batch is not in all channels of its source and cannot be read again" {
        "A file went away while only some of the source's channels had its last lines."
        "Nothing brings them into the others; do not remove files that are being read."
        "loss.md"
    }
    FILE_UNREADABLE = 2202 Error "a file cannot be read" {
        "Rights, a disk that fails or one that is not mounted. It is tried again, the others go on."
        "Give the agent's user the right to read it."
        "operations.md#under-systemd"
    }
    FILE_GROUP_UNREADABLE = 2203 Error "the directory of a file group cannot be read" {
        "Rights, or a directory that is not mounted. It is tried again, the other groups go on."
        "Give the agent's user the right to read it, or mount it."
        "operations.md#under-systemd"
    }
    FILES_TOO_MANY = 2204 Error "more files match than one source can hold" {
        "Further ones wait until others are gone."
        "Move old files away, or split the group over several sources."
    }
    PLACES_LOST = 2205 Error "the places of files beside the position file are lost" {
        "The journal with the ending .places-a or .places-b was removed or damaged, or positionFile was moved without it."
        "Nothing, if lines may come again: the source reads on where positionFile says. Move all files of that name together."
    }
    PLACES_UNWRITABLE = 2206 Error "the places of files cannot be written beside the position file" {
        "No room, or no right to write there; with more than 1,500 files that have changed since, others wait."
        "Free room, or give the right to write."
    }
    POSITION_FILE_DAMAGED = 2207 Error "the position file cannot be read" {
        "positionFile was damaged or written by something else. One that is not JSON is kept beside as .unreadable, and its files are read as if they were new; an entry that cannot be read is left out."
        "Restore it from .unreadable before the next start if files must not be read again."
    }
    POSITION_FILE_UNWRITABLE = 2208 Error "the position file cannot be written" {
        "It is not the agent's to write, or the disk is full. It is tried again."
        "Give the right to write, or free room."
    }
    POSITION_FILE_SHARED = 2209 Warning "two sources have one position file" {
        "The second has one of its own beside it, and with file channels what those know counts."
        "Give each source a positionFile."
    }
    POSITION_FILE_UNLOCKED = 2210 Warning "the position file cannot be locked" {
        "Its file system has no locks (flock), so that nothing keeps a second source from using it."
        "See that no other source has the same positionFile."
    }
    FILE_GROUP_EMPTY = 2211 Warning "no file matches the pattern of a file group" {
        "A pattern with a mistake, or logs that are not there yet."
        "Correct the pattern; else nothing, the source waits for a file."
    }
    FILE_GONE_UNREAD = 2212 Warning "a file was removed or made shorter before it was read to its end" {
        "Its last lines are lost; file_gone counts the file, and alarm 90011 is raised. The line has the number of bytes that were seen and not read."
        "Rotate by renaming and not by copying and truncating, keep rotated files longer than the agent may need, and see why the channel was full."
        "loss.md"
    }

    // Spooling directories.
    SPOOL_UNREADABLE = 2301 Error "a spooling directory cannot be read or worked in" {
        "Rights, or a directory that is not mounted. Its files wait, and it is tried again."
        "Give the agent's user the right to read and write there, or mount it."
        "operations.md#under-systemd"
    }
    SPOOL_FILE_SET_ASIDE = 2302 Error "a file of a spooling directory is set aside" {
        "It was changed after it was put there, or cannot be read as its decoder wants it. The others go on."
        "Put a whole file there under a new name."
    }
    SPOOL_ASIDE_FULL = 2303 Error "as many files are set aside as can be" {
        "No other file is read until some of them are gone."
        "Remove or repair those that were named before (MP-2302)."
    }
    TRACKER_UNREADABLE = 2304 Error "Flume's tracker file cannot be read" {
        "The file that was in progress is read from its start."
        "Give the agent's user the right to read trackerDir; else lines come again."
    }
    TRACKER_UNWRITABLE = 2305 Error "a tracker file cannot be written or removed" {
        "trackerDir is not the agent's to write, or its disk is full. After a restart lines may come again."
        "Give the right to write, or free room."
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
        "No channel can hold it. The program is notified and has to give others."
        "Correct the program, or raise the channel's limit."
        "external.md"
    }
    PROGRAM_BATCH_CHANGED = 2403 Error "a program of your own gave another batch than it was asked for" {
        "It was to give again the batch that only some of the channels have. Events may be in a channel twice."
        "Correct the program."
        "external.md"
    }
}
