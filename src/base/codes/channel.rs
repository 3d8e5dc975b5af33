//! Codes of a channel and its disks: 1000 to 1999.

super::codes! {
    /// Codes of a channel and its disks.
    CHANNEL:

    // The channel as a whole, while it runs.
    CHANNEL_STOPPED = 1001 Error "a channel stopped after an internal failure" {
        "A bug in millpond in a file channel. The agent opens it again by itself; what was committed is recovered from the disks. A spillablememory channel is not opened again, as that would drop what it has in memory."
        "Report it with the lines before it. Restart the agent if the channel is a spillablememory channel."
    }
    KEEPER_FAILED = 1002 Error "the channel's keeper failed in its own code" {
        "A bug in millpond in a file channel, outside of what is on its disks. The keeper makes segments and writes checkpoints; it goes on after a second."
        "Report it with the lines before it."
    }
    NO_MEMORY_FOR_FENCE = 1003 Error "no memory to note that a write failed" {
        "The process got no memory in the moment of a failed write. What was being written is in doubt until there is memory."
        "Raise the memory limit of the process (MemoryMax, ulimit -v)."
    }
    STATE_RECORD_TOO_LARGE = 1004 Error "the record of progress of a stripe is too large" {
        "No state record can be written for the stripe, so its log cannot go on to a new segment."
        "Report it; until then let the sinks drain the channel."
    }
    THREAD_REFUSED = 1005 Warning "no thread could be started for a channel" {
        "The limit of processes or threads is reached. Work on the channel's disks waits and is tried again each second; a channel that is being opened is refused."
        "Raise the limit (TasksMax, ulimit -u), or find what starts so many."
    }

    // Its directories and disks, while it runs.
    DIRECTORY_UNMOUNTED = 1101 Error "a path no longer leads to the directory that is in use" {
        "A data directory was unmounted (umount -l) or moved while the agent runs. It goes on in the one that it has open and loses nothing; the next start will not find it."
        "Mount it again, or move it back, before the next start."
    }
    LOCK_REMADE = 1102 Error "a lock file was removed or replaced while it is in use" {
        "Something removes files that it should not. The file is made and locked again; without it a second process could open the channel and destroy it."
        "Let no script remove lock files."
    }
    LOCK_TAKEN = 1103 Error "another process has locked a channel that is in use" {
        "The lock file was removed, and another process has made and locked a new one. Two processes must not write to one channel, so this one stops using it."
        "Stop the other process; the agent opens the channel again by itself, and /readyz names it until then. Let no script remove lock files."
        "operations.md#one-at-a-time"
    }
    DIRECTORY_REMOVED = 1104 Error "a directory was removed or emptied while it is in use" {
        "No further event goes there. Events that wait there can be taken until the process ends, and are lost then."
        "Let the sinks drain before the restart, or put the directory back while the agent is stopped."
        "operations.md#a-disk-is-lost"
    }
    SEGMENT_REMOVED = 1105 Error "a segment file was removed or replaced while it is in use" {
        "Nothing more is written there, puts go on elsewhere. What waits in it can be taken as far as it can still be read, until the process ends; the rest is lost, and the next opening is refused for it (MP-1203)."
        "Let the sinks drain before the restart, or put the file back while the agent is stopped."
        "operations.md#a-disk-is-lost"
    }
    STRIPE_SUSPENDED = 1106 Warning "a disk fails or hangs, its writes move" {
        "A stripe is suspended: the other data directories of the channel do its work, and what it holds waits until the disk answers again."
        "Look at the disk."
        "operations.md#a-disk-is-lost"
    }
    READS_FAILING = 1107 Warning "events of a stripe cannot be read" {
        "A read fails or hangs. Nothing is given up: takes go on on the other data directories, and it is tried again each second."
        "Look at the disk."
        "operations.md#a-bad-sector"
    }
    POWER_CUT_RISK = 1108 Warning "a power cut may damage more than what it interrupts" {
        "Blocks of the log may share a physical block of the device, so that a torn write may damage acknowledged events beside it."
        "What the line says, when the channel is next empty."
        "durability.md"
    }
    PROBE_IMPOSSIBLE = 1109 Warning "a disk was too full to try direct writes" {
        "Not even a probe fitted at the start. Until a file can be made there, writes go through the page cache, one at a time with a sync after each."
        "Free some space: the next segment that is made tries again."
        "operations.md#a-disk-is-full"
    }

    // An opening that is refused.
    MEMBER_MISSING = 1201 Error "a directory of the channel is missing or empty" {
        "The channel was made with this directory, and it is not there: an unmounted disk, a wrong path. Nothing was changed, and nothing is created in its place."
        "Mount or restore it and list it in dataDirs or checkpointDir. To go on without its events until it is back, set openDegraded = true."
        "operations.md#a-disk-is-lost"
    }
    CHANNEL_LOCKED = 1202 Error "the channel is open in another process" {
        "A channel is open once. The message names the process, or says why the lock file cannot be locked."
        "Stop the other process, or give this channel directories of its own. Reading commands (channel stat, check, dump) work beside it."
        "operations.md#one-at-a-time"
    }
    SEGMENT_MISSING = 1203 Error "segment files are missing" {
        "Segment files that hold events, or the end of a log, are not in their directory. Nothing was changed. The message says how many events wait in them."
        "Put the files back into that directory: they are known by what is in them, their names do not count. When they never come back, give up what was in them with openWithoutMissingSegments = true for one start."
        "operations.md#a-segment-file-is-missing"
    }
    SEGMENT_MISPLACED = 1204 Error "segment files lie in another directory than theirs" {
        "Segments of one data directory of the channel were moved into another. Nothing was given up."
        "Move them as the message says, then open again."
        "operations.md#directories"
    }
    DIRECTORY_UNUSABLE = 1205 Error "a directory cannot be opened, made or listed" {
        "The operating system refuses the directory, for the reason in the message."
        "See that it is mounted, is a directory, and may be read and written by the agent's user."
        "operations.md#directories"
    }
    MEMBER_FOREIGN = 1206 Error "a directory belongs to another channel" {
        "One of the directories holds a part of another channel. Nothing was changed."
        "Correct checkpointDir or dataDirs."
        "operations.md#directories"
    }
    MEMBER_WRONG_ROLE = 1207 Error "a directory is listed as what it is not" {
        "A data directory is listed as checkpointDir, or the other way round."
        "Correct checkpointDir and dataDirs."
        "operations.md#directories"
    }
    MEMBER_ORPHAN = 1208 Error "a directory holds segments and nothing says whose" {
        "Its member file cannot be read, and no other directory of the list names it."
        "List every directory of that channel, or move the files away. If the member files of all are lost, millpond channel repair makes them again from the logs."
        "operations.md#damage"
    }
    MEMBER_TWINS = 1209 Error "two directories are copies of each other" {
        "Both say that they are the same member of the channel."
        "List the one that belongs in its place, and move the copy away."
        "operations.md#replace-a-disk"
    }
    MEMBERS_UNKNOWN = 1210 Error "which directories belong together cannot be told" {
        "No directory has a member file that can be read, and the logs do not agree. Nothing was changed."
        "The message says what is missing or contradicts; list every directory of the channel, or bring back a copy."
        "operations.md#damage"
    }
    DIRECTORY_COUNT = 1211 Error "no data directory, or too many" {
        "A channel has 1 to 32 data directories."
        "Correct dataDirs."
        "operations.md#directories"
    }
    DIRECTORY_TWICE = 1212 Error "one directory is listed twice" {
        "Two paths of checkpointDir and dataDirs lead to the same directory."
        "List each directory once."
        "operations.md#directories"
    }
    FLUME_CHANNEL = 1213 Error "the directory holds a file channel of Apache Flume" {
        "A new channel there would hide the events that wait in Flume's. Nothing was changed."
        "Let Flume drain it and move its files away, or give this channel directories of its own."
        "migration.md"
    }
    FORMAT_NEWER = 1214 Error "a newer build wrote the channel" {
        "The format version is one that this build does not read. Nothing was changed."
        "Use a newer build, or let the newer one drain the channel first."
        "operations.md#upgrade-and-downgrade"
    }
    NUMBER_USED_UP = 1215 Error "a directory names a number that no channel comes to" {
        "It was not written by millpond, or by a machine whose memory fails. Nothing was changed."
        "Bring back a copy of the directories; have the machine's memory tested."
        "recovery.md"
    }
    OPENING_UNREADABLE = 1216 Error "a file of the channel cannot be read" {
        "A read failed twice while the channel was being opened. Nothing was given up."
        "Check the disk, or go on without this directory's events until it can be read by openDegraded = true."
        "operations.md#a-bad-sector"
    }
    OPENING_UNWRITABLE = 1217 Error "a file of the channel cannot be written" {
        "The first writes of an opening failed: the disk is full, read-only or failing."
        "Free space or check the disk, then open again. openDegraded = true goes on without the directory."
        "operations.md#a-disk-is-lost"
    }
    RECORD_TOO_LARGE = 1218 Error "a record does not fit its place" {
        "A limit was lowered in this build, and what an earlier one wrote does not fit."
        "Use the build that wrote the channel last, and report it."
        "operations.md#upgrade-and-downgrade"
    }
    NO_CHANNEL = 1219 Error "there is no channel in the directories" {
        "The command reads or empties a channel, and none was made there."
        "Correct the paths; the message says what was found instead."
    }
    OUT_OF_DESCRIPTORS = 1220 Error "no file descriptor is left" {
        "A channel needs two for each segment in use. Nothing is wrong with the disk."
        "Raise the limit of open files (LimitNOFILE, ulimit -n)."
        "operations.md#size"
    }
    OUT_OF_MEMORY = 1221 Error "no memory to open a channel" {
        "The process got no memory for reading what a crash left."
        "Raise the memory limit of the process (MemoryMax, ulimit -v)."
        "operations.md#size"
    }
    SETTING_OUT_OF_RANGE = 1222 Error "a setting of the channel is out of range" {
        "The message names the setting, its value and what it may be."
        "Correct it in the configuration."
        "flume-compat.md"
    }
    OPENED_WITHOUT_DISK = 1223 Warning "a channel was opened without a directory that cannot be written" {
        "openDegraded is set, and the first write there failed. Its events wait on it and are out of reach."
        "Repair or remount the disk and restart; then take openDegraded out again."
        "operations.md#a-disk-is-lost"
    }

    // Damage and loss.
    OPENED_WITH_LOSS = 1301 Error "a channel was opened with a loss" {
        "An opening has found damage, or has gone on without a segment file as it was told to. The line has what was lost, and its place. At DEBUG an opening also names the places that every crash leaves (R1, R3, R4, R5, R9); nothing is lost by those, and the line at INFO that ends the opening counts them."
        "Look at the disk; the rows are in docs/recovery.md."
        "operations.md#damage"
    }
    DAMAGE_SET_ASIDE = 1302 Error "damaged bytes were set aside" {
        "Bytes on a disk are not what was written. They are copied aside where there is room; the others go on. MP-1303 says which events that costs."
        "Look at the disk (smartctl, the kernel's log), run millpond channel check."
        "operations.md#damage"
    }
    DAMAGE_LOST = 1303 Error "events are lost and counted as quarantined" {
        "The events whose bytes are damaged, how many and which sequences. The others are delivered."
        "Look at the disk (smartctl, the kernel's log), run millpond channel check."
        "operations.md#damage"
    }
    SEGMENT_RETURNED = 1304 Warning "a segment file that came back is left alone" {
        "Its events were given up while it was missing. Nothing writes to it."
        "Run millpond channel restore with the agent stopped: each of its events is put again, once."
        "operations.md#a-segment-file-is-missing"
    }
    MEMORY_EVENTS_LOST = 1305 Warning "events in memory are lost" {
        "A memory channel, or the memory of a spillable one, keeps nothing over a stop; the line says how many events it held."
        "Use a file channel where that matters."
        "durability.md"
    }
    CARRIED_EVENT_TOO_LARGE = 1306 Error "a memory channel got smaller limits than an event that it holds" {
        "The event is kept in memory and its sources go on; it is lost when the agent ends."
        "Give the channel the limit that the line names and reload, before the agent ends."
    }

    // Room.
    SPACE_LOW = 1401 Warning "less free space than minimumRequiredSpace" {
        "A data directory has too little free space: puts wait and clients are refused, takes go on."
        "Free some: puts go on by themselves."
        "operations.md#a-disk-is-full"
    }
    SEGMENT_NO_ROOM = 1402 Warning "no room for a segment" {
        "No segment can be made in a data directory: puts that need it wait, takes go on."
        "Free some, or let the sinks drain: puts go on by themselves."
        "operations.md#a-disk-is-full"
    }
}
