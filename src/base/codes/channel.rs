//! Codes of a channel and its disks: 1000 to 1999.

super::codes! {
    /// Codes of a channel and its disks.
    CHANNEL:

    // The channel as a whole, while it runs.
    CHANNEL_STOPPED = 1001 Error "a channel stopped after an internal failure" {
        "A bug in millpond's file channel. The agent opens the channel again by itself; committed events are recovered from the disks. A spillablememory channel is not opened again, as that would drop the events in its memory."
        "Report it with the lines before it. Restart the agent if the channel is a spillablememory channel."
    }
    MAINTENANCE_FAILED = 1002 Error "the channel's maintenance thread failed in its own code" {
        "A bug in millpond's file channel; what is on its disks is not affected. The thread, which creates segments and writes checkpoints, continues after a second."
        "Report it with the lines before it."
    }
    NO_MEMORY_FOR_FENCE = 1003 Error "no memory to record that a write failed" {
        "The process got no memory at the time of a failed write. The commits in that write are in doubt until there is memory."
        "Raise the memory limit of the process (MemoryMax, ulimit -v)."
    }
    STATE_RECORD_TOO_LARGE = 1004 Error "the record of progress of a stripe is too large" {
        "No state record can be written for the stripe, so its log cannot roll to a new segment."
        "Report it; until then let the sinks drain the channel."
    }
    THREAD_REFUSED = 1005 Warning "no thread could be started for a channel" {
        "The limit of processes or threads is reached. Work on the channel's disks waits and is tried again every second; a channel that is being opened is refused."
        "Raise the limit (TasksMax, ulimit -u), or find the program that starts so many."
    }

    // Its directories and disks, while it runs.
    DIRECTORY_UNMOUNTED = 1101 Error "a path no longer leads to the directory that is in use" {
        "A data directory was unmounted (umount -l) or moved while the agent runs. It continues in the directory that it has open and loses nothing; the next start will not find it."
        "Mount it again, or move it back, before the next start."
    }
    LOCK_REMADE = 1102 Error "a lock file was removed or replaced while it is in use" {
        "A script or program removes files that it must not remove. The file is created and locked again; without it a second process could open the channel and destroy it."
        "Make sure that no script removes lock files."
    }
    LOCK_TAKEN = 1103 Error "another process has locked a channel that is in use" {
        "The lock file was removed, and another process has created and locked a new one. Two processes must not write to one channel, so this one stops using it."
        "Stop the other process; the agent opens the channel again by itself, and /readyz names it until then. Make sure that no script removes lock files."
        "operations.md#one-at-a-time"
    }
    DIRECTORY_REMOVED = 1104 Error "a directory was removed or emptied while it is in use" {
        "No more events are written there. Events that wait there can be taken until the process ends, and are lost then."
        "Let the sinks drain before the restart, or put the directory back while the agent is stopped."
        "operations.md#a-disk-is-lost"
    }
    SEGMENT_REMOVED = 1105 Error "a segment file was removed or replaced while it is in use" {
        "Nothing more is written there, puts continue elsewhere. Events that wait in it can be taken as far as they can be read, until the process ends; the rest is lost, and the next opening is refused because of it (MP-1203)."
        "Let the sinks drain before the restart, or put the file back while the agent is stopped."
        "operations.md#a-disk-is-lost"
    }
    STRIPE_SUSPENDED = 1106 Warning "a disk fails or hangs, its writes are moved" {
        "A stripe is suspended: the other data directories of the channel do its work, and its events wait until the disk works again."
        "Check the disk."
        "operations.md#a-disk-is-lost"
    }
    READS_FAILING = 1107 Warning "events of a stripe cannot be read" {
        "A read fails or hangs. Nothing is given up: takes continue on the other data directories, and the read is tried again every second."
        "Check the disk."
        "operations.md#a-bad-sector"
    }
    POWER_CUT_RISK = 1108 Warning "a power cut may damage more than the writes that it interrupts" {
        "Blocks of the log may share a physical block of the device, so that a torn write may damage acknowledged events next to it."
        "Do what the line says, when the channel is next empty."
        "durability.md"
    }
    PROBE_IMPOSSIBLE = 1109 Warning "a disk was too full to try direct writes" {
        "There was no space for a probe file at the start. Until a file can be created there, writes go through the page cache, one at a time with a sync after each."
        "Free some space: the next creation of a segment tries again."
        "operations.md#a-disk-is-full"
    }
    MEMBER_REMADE = 1110 Warning "a member file was removed while it is in use" {
        "A script or program removes files that it must not remove. The file says which channel the directory belongs to and which directories the channel has; it is written again as long as all other files of the directory are there, and puts continue."
        "Make sure that no script removes the file member."
        "operations.md#one-at-a-time"
    }

    // An opening that is refused.
    MEMBER_MISSING = 1201 Error "a directory of the channel is missing or empty" {
        "The channel was created with this directory, which is missing now: an unmounted disk, or a wrong path. Nothing was changed, and nothing is created in its place."
        "Mount or restore it and list it in dataDirs or checkpointDir. To continue without its events until it is back, set openDegraded = true."
        "operations.md#a-disk-is-lost"
    }
    CHANNEL_LOCKED = 1202 Error "the channel is open in another process" {
        "A channel can be open only once. The message names the process, or says why the lock file cannot be locked."
        "Stop the other process, or give this channel directories of its own. Reading commands (channel stat, check, dump) work while it is open."
        "operations.md#one-at-a-time"
    }
    SEGMENT_MISSING = 1203 Error "segment files are missing" {
        "Segment files that hold events, or the end of a log, are not in their directory. Nothing was changed. The message says how many events wait in them."
        "Put the files back into that directory: they are recognised by their contents, their names do not count. If they are lost for good, give up their events with openWithoutMissingSegments = true for one start."
        "operations.md#a-segment-file-is-missing"
    }
    SEGMENT_MISPLACED = 1204 Error "segment files are in another directory than theirs" {
        "Segments of one data directory of the channel were moved into another. Nothing was given up."
        "Move them as the message says, then open again."
        "operations.md#directories"
    }
    DIRECTORY_UNUSABLE = 1205 Error "a directory cannot be opened, created or listed" {
        "The operating system refuses the directory, for the reason in the message."
        "Make sure that it is mounted, is a directory, and may be read and written by the agent's user."
        "operations.md#directories"
    }
    MEMBER_FOREIGN = 1206 Error "a directory belongs to another channel" {
        "One of the directories holds a part of another channel. Nothing was changed."
        "Correct checkpointDir or dataDirs."
        "operations.md#directories"
    }
    MEMBER_WRONG_ROLE = 1207 Error "a directory is listed in the wrong role" {
        "A data directory is listed as checkpointDir, or the other way round."
        "Correct checkpointDir and dataDirs."
        "operations.md#directories"
    }
    MEMBER_ORPHAN = 1208 Error "a directory holds segments of an unknown channel" {
        "Its member file cannot be read, and no other directory of the list names it."
        "List every directory of that channel, or move the files away. If all member files are lost, millpond channel repair creates them again from the logs."
        "operations.md#damage"
    }
    MEMBER_TWINS = 1209 Error "two directories are copies of each other" {
        "Both say that they are the same member of the channel."
        "List the one that belongs in its place, and move the copy away."
        "operations.md#replace-a-disk"
    }
    MEMBERS_UNKNOWN = 1210 Error "it is unknown which directories belong together" {
        "No directory has a member file that can be read, and the logs do not agree. Nothing was changed."
        "The message says what is missing or contradictory; list every directory of the channel, or restore a copy."
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
    NUMBER_USED_UP = 1215 Error "a directory contains a number that no channel reaches" {
        "It was not written by millpond, or by a machine whose memory fails. Nothing was changed."
        "Restore a copy of the directories; test the machine's memory."
        "recovery.md"
    }
    OPENING_UNREADABLE = 1216 Error "a file of the channel cannot be read" {
        "A read failed twice while the channel was being opened. Nothing was given up."
        "Check the disk, or set openDegraded = true to continue without this directory's events until it can be read."
        "operations.md#a-bad-sector"
    }
    OPENING_UNWRITABLE = 1217 Error "a file of the channel cannot be written" {
        "The first writes of an opening failed: the disk is full, read-only or failing."
        "Free space or check the disk, then open again. openDegraded = true continues without the directory."
        "operations.md#a-disk-is-lost"
    }
    RECORD_TOO_LARGE = 1218 Error "a record is too large for its place" {
        "A limit is lower in this build, and what an earlier one wrote does not fit."
        "Use the build that wrote the channel last, and report it."
        "operations.md#upgrade-and-downgrade"
    }
    NO_CHANNEL = 1219 Error "there is no channel in the directories" {
        "The command reads or empties a channel, and none was created there."
        "Correct the paths; the message says what was found instead."
    }
    OUT_OF_DESCRIPTORS = 1220 Error "no file descriptor is left" {
        "A channel needs two for each segment in use. Nothing is wrong with the disk."
        "Raise the limit of open files (LimitNOFILE, ulimit -n)."
        "operations.md#size"
    }
    OUT_OF_MEMORY = 1221 Error "no memory to open a channel" {
        "The process got no memory for reading the channel's files."
        "Raise the memory limit of the process (MemoryMax, ulimit -v)."
        "operations.md#size"
    }
    SETTING_OUT_OF_RANGE = 1222 Error "a setting of the channel is out of range" {
        "The message names the setting, its value and the allowed values."
        "Correct it in the configuration."
        "flume-compat.md"
    }
    OPENED_WITHOUT_DISK = 1223 Warning "a channel was opened without a directory that cannot be written" {
        "openDegraded is set, and the first write there failed. Its events wait on it and are out of reach."
        "Repair or remount the disk and restart; then remove openDegraded again."
        "operations.md#a-disk-is-lost"
    }

    // Damage and loss.
    OPENED_WITH_LOSS = 1301 Error "a channel was opened with a loss" {
        "An opening has found damage, or has continued without a segment file as configured. The line says what was lost, and where. At DEBUG an opening also names the traces that every crash leaves (R1, R3, R4, R5, R9); they lose nothing, and the line at INFO that ends the opening counts them."
        "Check the disk; the rows are in docs/recovery.md."
        "operations.md#damage"
    }
    DAMAGE_SET_ASIDE = 1302 Error "damaged bytes were set aside" {
        "Bytes on a disk are not what was written. They are copied to quarantine if there is room; other events are not affected. MP-1303 says which events are lost."
        "Check the disk (smartctl, the kernel's log), run millpond channel check."
        "operations.md#damage"
    }
    DAMAGE_LOST = 1303 Error "events are lost and counted as quarantined" {
        "The line says which events have damaged bytes: how many, and their sequences. The others are delivered."
        "Check the disk (smartctl, the kernel's log), run millpond channel check."
        "operations.md#damage"
    }
    SEGMENT_RETURNED = 1304 Warning "a segment file that came back is left alone" {
        "Its events were given up while it was missing. Nothing writes to it."
        "Run millpond channel restore with the agent stopped: each of its events is put again, once."
        "operations.md#a-segment-file-is-missing"
    }
    MEMORY_EVENTS_LOST = 1305 Warning "events in memory are lost" {
        "A memory channel, or the memory of a spillable one, keeps nothing when it stops; the line says how many events it held."
        "Use a file channel where that matters."
        "durability.md"
    }
    CARRIED_EVENT_TOO_LARGE = 1306 Error "a memory channel got a limit below the size of an event that it holds" {
        "The event is kept in memory and its sources continue; it is lost when the agent ends."
        "Give the channel the limit that the line names and reload, before the agent ends."
    }

    // Room.
    SPACE_LOW = 1401 Warning "less free space than minimumRequiredSpace" {
        "A data directory has too little free space: puts wait and clients are refused, takes continue."
        "Free some; puts then continue."
        "operations.md#a-disk-is-full"
    }
    SEGMENT_NO_ROOM = 1402 Warning "no room for a segment" {
        "No segment can be created in a data directory: puts that need it wait, takes continue."
        "Free some, or let the sinks drain; puts then continue."
        "operations.md#a-disk-is-full"
    }
}
