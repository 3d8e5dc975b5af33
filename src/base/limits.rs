//! Every limit of the house: a name, a unit, a reason.

/// Bytes of a device block. Blocks of the log begin and end at multiples of it: direct I/O asks
/// for 512 or 4096, and the physical block of current disks is 4096; a smaller unit would rewrite
/// the physical sector that holds acknowledged bytes.
pub const DEVICE_BLOCK_BYTES: usize = 4096;

/// Bytes at which a transaction no longer shares a block but gets one of its own.
pub const SHARED_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Bytes a shared block may hold, header included. Four of these in flight keep a fast disk busy;
/// larger ones only lengthen the wait of the first frame.
pub const BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that must have gathered before a further write joins one that is in flight. Below it,
/// waiting for the running write gathers more frames in one block and costs less.
pub const EARLY_WRITE_BYTES: usize = 64 * 1024;

/// A write of fewer bytes waits a moment for those whose commits were answered just now. A larger one has
/// enough to carry, and takes longer with more.
pub const GATHERING_BYTES_MAX: usize = EARLY_WRITE_BYTES / 2;

/// Writes in flight on one stripe when the storage makes each durable by itself.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Bytes a second that a disk writes at least: a write of many has so much more time before it counts as
/// hung. A transaction may have a gibibyte, which disks that serve others too have taken minutes for.
pub const WRITE_BYTES_PER_SECOND_MIN: u64 = 1024 * 1024;

/// Bytes of one slab of block memory. Blocks are cut from slabs one behind the other.
pub const SLAB_BYTES: usize = 4 * 1024 * 1024;

/// Default bytes of a segment. Large enough that rolls are rare, small enough that space returns
/// soon after the events are acknowledged and that a scan without a checkpoint stays short.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Bytes of the segments that a new stripe begins with. The first is filled while the caller of the opening
/// waits, a few milliseconds on a fast disk; those that follow grow with the stripe's use.
pub const FIRST_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Fewest bytes of zeroes that are written at a time into a segment that is not in use yet: smaller writes
/// cost the disk more time for each byte.
pub const FILL_PIECE_BYTES_MIN: u64 = 256 * 1024;

/// Most bytes of zeroes that are written at a time. A commit beside them may have to wait for all of them,
/// about 1 ms on a fast disk; more, smaller pieces would make more commits wait.
pub const FILL_PIECE_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// Smallest segment: two header blocks, a state record and one block of events.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;

/// Bytes of one checkpoint slot, and so of the largest state record.
pub const STATE_BYTES_MAX: usize = 256 * 1024;

/// Ranges of acknowledged or void sequences beyond the frontiers of all stripes together: what a state
/// record has room for beside everything else in it. Each stripe has an equal share.
pub const RANGES_MAX: usize = 8192;

/// Ranges in front of the next event to be lent, and claims that may each leave one, on a stripe.
/// When there are so many nothing is lent beyond the last until one closes. Void ranges behind the
/// next event do not count: only lending and acknowledging takes them away.
pub const HOLES_PER_STRIPE_MAX: usize = 256;

/// Directories of one channel.
pub const STRIPES_MAX: usize = 32;

/// Bytes of all source positions together; they travel in every state record.
pub const POSITION_BYTES_MAX: usize = 96 * 1024;

/// How long the same sources have to be named to a channel before it forgets the positions of all others
/// for good. A source that is taken out of a configuration and put back within a day goes on where
/// it was, and so does one that a wrong configuration did not name.
pub const SOURCE_FORGET_AFTER: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Bytes of one event's headers and body together, unless the channel's limit is lower.
pub const EVENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Default of `transactionBytesMax`: bytes of one put transaction.
pub const TRANSACTION_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;

/// Headers of one event.
pub const HEADERS_MAX: usize = 65_535;

/// Default byte budget of the hot window: block memory kept for takers that keep up.
pub const HOT_WINDOW_BYTES_DEFAULT: usize = 48 * 1024 * 1024;

/// The same for a file channel of an agent. What it is full of, the block being written and pieces read
/// back take some 44 MiB together, and an agent under load is to stay below 64.
pub const AGENT_HOT_WINDOW_BYTES_DEFAULT: usize = 24 * 1024 * 1024;

/// Default `byteCapacity` of a memory channel. Flume takes 80 % of the Java heap; a process
/// without one needs a fixed bound, large enough that event counts are what limits a channel.
pub const MEMORY_BYTE_CAPACITY_DEFAULT: u64 = 256 * 1024 * 1024;

/// File descriptors that a process asks for at its start, where it may have so many: two for each segment
/// with direct writes and one for each connection. Above it programs that it starts, which inherit the
/// limit, may take long to begin: some close every number up to it.
pub const DESCRIPTORS_WANTED: u64 = 1 << 20;

/// Bytes of a configuration file. The largest real ones have some hundred kilobytes; beyond this
/// it is some other file.
pub const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Keys of a configuration file. The largest real ones have some thousand; a table of millions would
/// take fifty times the bytes of its file.
pub const CONFIG_KEYS_MAX: usize = 100_000;

/// Findings of each severity that one reading of a configuration keeps; of the others it says how many
/// there are.
pub const CONFIG_FINDINGS_MAX: usize = 500;

/// Bytes of all values of an agent after their `${…}` are replaced.
pub const CONFIG_VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one value after its `${…}` are replaced. Nested references double with every level.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one piece of a cold read.
pub const COLD_READ_BYTES: usize = 1024 * 1024;

/// Bytes of damaged blocks that are copied aside per stripe; beyond it they are only named.
pub const QUARANTINE_BYTES_MAX: u64 = 64 * 1024 * 1024;

// Limits that lean on each other.
const _: () = assert!(BLOCK_BYTES_MAX.is_multiple_of(DEVICE_BLOCK_BYTES));
const _: () = assert!(SLAB_BYTES >= 2 * BLOCK_BYTES_MAX);
const _: () = assert!(SHARED_FRAME_BYTES_MAX <= BLOCK_BYTES_MAX);
const _: () = assert!(POSITION_BYTES_MAX * 2 <= STATE_BYTES_MAX);
const _: () = assert!(RANGES_MAX * 16 <= STATE_BYTES_MAX / 2);
const _: () = assert!(RANGES_MAX / STRIPES_MAX >= HOLES_PER_STRIPE_MAX);

/// Connections that one listening source keeps open unless its `maxConnections` says otherwise.
/// Each is a small task; beyond this the process is likelier to run out of file descriptors.
pub const CONNECTIONS_MAX_DEFAULT: usize = 20_000;

/// Bytes that a connection of a line protocol reads at a time, as long as it has no more.
pub const CONNECTION_READ_BYTES: usize = 8 * 1024;

/// And at most, when it has: the lines of one read are one transaction, as a rule.
pub const CONNECTION_READ_BYTES_MAX: usize = 256 * 1024;

/// Lines of a read that a connection makes into events at a time, whatever the others do.
pub const CONNECTION_LINES: usize = 64;

/// Seconds that a delivery, or the time-driven work, of a sink in a group may take: the others of its group have
/// no turn meanwhile. Far longer than the default timeouts of all sinks, so that only a call that hangs is given
/// up, for example a write to a disk that does not answer.
pub const GROUP_TURN_SECONDS_MAX: u64 = 300;

/// The same limit for a sink that reached [`GROUP_TURN_SECONDS_MAX`] and has delivered nothing since.
pub const GROUP_TURN_AGAIN_SECONDS_MAX: u64 = 10;

/// Seconds that a delivery in hand may still take once its sink is to stop: a server that works has answered by
/// then, and what a hung one has of the batch stays in the channel. Not for channels in memory, whose sinks
/// have all the time of the stop.
pub const DELIVERY_STOP_SECONDS_MAX: u64 = 5;

/// Seconds that a request in hand may still take to come once the http source is to stop: its client is told to
/// send it again. A request that has come is committed and answered.
pub const HTTP_STOP_SECONDS_MAX: u64 = 2;

/// Seconds that an answer may wait for a client that does not read.
pub const ANSWER_SECONDS_MAX: u64 = 30;

/// Addresses of a name that one connection tries. Names of clusters have a handful.
pub const DIAL_ADDRESSES_MAX: usize = 16;

/// Bytes of the largest datagram there is, and one to see that nothing was cut off.
pub const DATAGRAM_BYTES: usize = 65_536;

/// Datagrams that wait while the channel commits; beyond it they wait in the socket's buffer.
pub const DATAGRAMS_PER_BATCH: usize = 1000;

/// Bytes of the clients' memory that a source of datagrams takes when it begins, for its batch: a thousand messages
/// of a kilobyte as events. Datagrams cannot be asked to wait, so it is not taken for each batch.
pub const DATAGRAM_BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The lower bound of the same where the memory for all clients is small: twice the receive buffer of one datagram
/// and its event, in which each byte that is not valid UTF-8 takes three.
pub const DATAGRAM_BATCH_BYTES_MIN: usize = 2 * DATAGRAM_EVENT_BYTES_MAX;

/// Bytes of the event of one datagram at most, and of what receives it.
pub const DATAGRAM_EVENT_BYTES_MAX: usize = 4 * DATAGRAM_BYTES;

/// Bytes asked for as the socket buffer of datagram sources: while a commit runs, they wait there.
pub const DATAGRAM_SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one line of a command's output; a longer line is split, so that a command that never
/// ends its line does not take all memory.
pub const EXEC_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of lines that make a batch of a command's output full before `batchSize` does.
pub const EXEC_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one message of Avro RPC: what fits into one transaction of a file channel. Clients send
/// batches of some hundred events.
pub const AVRO_REQUEST_BYTES_MAX: usize = TRANSACTION_BYTES_MAX_DEFAULT;

/// Bytes of a message of Avro RPC that is too large and yet read to its end, so that its sender can be
/// told. One that announces more, as what is no Avro often does, ends its connection.
pub const AVRO_REQUEST_PASSED_OVER_BYTES_MAX: usize = 4 * AVRO_REQUEST_BYTES_MAX;

/// Segments of one message of Avro RPC. Java's buffers make one for each 8 KiB and two for each
/// large body.
pub const AVRO_SEGMENTS_MAX: u32 = 1 << 20;

/// Bytes of a peer's Avro protocol as text. Flume's has some 1300.
pub const AVRO_PROTOCOL_BYTES_MAX: usize = 64 * 1024;

/// Bytes that the events of one call may take in memory. An event of two bytes on the wire takes
/// some sixty there.
pub const AVRO_DECODED_BYTES_MAX: usize = 2 * AVRO_REQUEST_BYTES_MAX;

/// Protocols of clients that an Avro source remembers by their hashes. More are asked for theirs
/// again, which costs a round trip.
pub const AVRO_PROTOCOLS_KNOWN_MAX: usize = 64;

/// Clients of one source that are remembered between two looks at who was heard. Connections have a
/// limit of the same size by default.
pub const CLIENTS_HEARD_MAX: usize = 20_000;

/// Bytes of each of the two names by which a client calls itself in its handshake.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Bytes that all clients of a process may make it hold together, unless it is told otherwise: a quarter of
/// the memory that it may have, and at most this. It is room for three of the largest requests.
pub const CLIENT_MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The same at least, however small the machine is: less would refuse ordinary batches.
pub const CLIENT_MEMORY_BYTES_MIN: usize = 8 * 1024 * 1024;

/// Bytes of one request at most, whatever a configuration says.
pub const REQUEST_BYTES_MAX: usize = 2 * TRANSACTION_BYTES_MAX_DEFAULT;

/// Bytes of a request that counts as small: an eighth of the clients' memory is for those only, so that
/// they go on while large ones wait.
pub const REQUEST_SMALL_BYTES: usize = 32 * 1024;

/// Seconds that a request may wait for its part of the clients' memory.
pub const REQUEST_ROOM_SECONDS_MAX: u64 = 30;

/// Bytes a second that a request brings at least while others wait for memory: a slower one gives way. The
/// largest one at this rate would take a quarter of an hour, eight times its own time limit.
pub const REQUEST_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Milliseconds before which no request counts as slow: a client may pause, and its packets be lost.
pub const REQUEST_SLOW_AFTER_MS: u64 = 10_000;

/// The same of a small request, which is a packet or a few.
pub const SMALL_REQUEST_SLOW_AFTER_MS: u64 = 2_000;

/// Milliseconds between two looks at who holds memory while somebody waits for it.
pub const MEMORY_LOOK_MS: u64 = 100;

/// Milliseconds of silence after which a connection gives way before those that came or spoke later: time
/// for a client that has just connected to send its first request.
pub const CONNECTION_SILENT_MS_MIN: u64 = 10_000;

/// The same where the client that wants the place has fewer connections from its address than the silent one, which
/// never brought anything: a lost packet is sent again after a second.
pub const CONNECTION_CROWDED_MS_MIN: u64 = 2_000;

/// The same where the client that wants the place is of an address that brings events, and the silent one of
/// an address that does not. Shorter than the other limits, so that such clients still find a place during a flood.
pub const CONNECTION_STRANGE_MS_MIN: u64 = 1_000;

/// Addresses that are known to have brought events: 512 KiB with their times, beside the budget.
pub const KNOWN_ADDRESSES_MAX: usize = 4096;

/// Milliseconds that an address is known after its last connection that brought something: clients that
/// send once in a quarter of an hour are no strangers.
pub const KNOWN_ADDRESS_MS: u64 = 3_600_000;

/// Connections of a known address that have not brought anything, beyond which its newcomers are treated as those of
/// any other: an attacker sends one event, too.
pub const KNOWN_ADDRESS_UNPROVEN_MAX: usize = 16;

/// Connections that were told to give way and have not gone yet at most: nobody else is let in before.
pub const LEAVING_MAX: usize = 64;

/// Bytes that a silent connection takes: its task (the future of a session has 4.0 to 4.9 KiB, which debug builds
/// compare with this, and another 3.0 until it was greeted), its socket's registration, what is known of the client,
/// and what has come of a request or line of less than [`CONNECTION_LINE_FREE_BYTES`]. This and the next five are
/// sums of what the code allocates, rounded up: `benches/hostile_clients` measures the process as a whole against
/// its limit.
pub const CONNECTION_BYTES: usize = 8 * 1024;

/// Bytes of an unfinished line or request that are part of [`CONNECTION_BYTES`].
pub const CONNECTION_LINE_FREE_BYTES: usize = 1024;

/// Bytes that a connection takes beside that from its first byte on: the state of TLS, a record of 18 KiB as it
/// comes, 16 KiB of it as plain text, and what is to be sent.
pub const TLS_CONNECTION_BYTES: usize = 48 * 1024;

/// Bytes that it takes beside those until its handshake is done: one message of it may come in many records, and
/// has 64 KiB at most.
pub const TLS_HANDSHAKE_BYTES: usize = 32 * 1024;

const _: () = assert!(TLS_HANDSHAKE_BYTES <= REQUEST_SMALL_BYTES);

/// The same of compression: 32 KiB that unpacking looks back, and 11 KiB of tables.
pub const ZLIB_CONNECTION_BYTES: usize = 48 * 1024;

/// The same of HTTP: headers as they came and as they are understood, where these are of the default size.
pub const HTTP_CONNECTION_BYTES: usize = 32 * 1024;

/// Bytes that a line or a datagram takes as an event with three headers, beside its own.
pub const CONNECTION_LINE_BYTES: usize = 256;

/// Part of the descriptors that is kept from clients, for channels, sinks and files: one of so many.
pub const DESCRIPTORS_RESERVED_PART: u64 = 4;

/// The same at most: a channel of a terabyte in segments of the default size.
pub const DESCRIPTORS_RESERVED_MAX: u64 = 32 * 1024;

/// Bytes of a request's body from which it is understood on a thread of its own: less takes as long as a read.
pub const PARSE_ASIDE_BYTES: usize = 64 * 1024;

const _: () =
    assert!((AVRO_REQUEST_BYTES_MAX + AVRO_DECODED_BYTES_MAX) * 3 <= CLIENT_MEMORY_BYTES_MAX);

/// Bytes that a request of many bytes is read by at a time.
pub const REQUEST_READ_BYTES_MAX: usize = 64 * 1024;

/// Default of `requestTimeout`: seconds from the first byte of a request to its last. A request of
/// [`AVRO_REQUEST_BYTES_MAX`] needs 5 Mbit/s for that; a client that sends byte by byte gets no
/// longer to hold its connection and its part of the source's memory.
pub const REQUEST_SECONDS_MAX_DEFAULT: u64 = 120;

/// Seconds that a client may pause within a request. Flume's own wait 20 s for an answer.
pub const REQUEST_IDLE_SECONDS_MAX: u64 = 60;

/// Bytes that a source reads from a file at a time, as a rule.
pub const FILE_READ_BYTES: usize = 64 * 1024;

/// Bytes of events that make a batch from a file full before `batchSize` does. One event more may
/// be in it.
pub const FILE_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Characters of a line of a spooled file at most, whatever `maxLineLength` says: a longer line
/// becomes several events.
pub const SPOOL_LINE_CHARS_MAX: usize = 32 * 1024 * 1024;

/// Bytes of an event that is made of a spooled file's bytes at most; the rest is for headers.
pub const SPOOL_BLOB_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024 * 1024;

/// Files that a spooling directory's listing keeps in order; the next listing has the others.
pub const SPOOL_LISTED_MAX: usize = 10_000;

/// Levels of directories below a spooling directory.
pub const SPOOL_DEPTH_MAX: usize = 64;

/// Files of a spooling directory that are set aside at most; beyond it the source waits for
/// someone to clear them away.
pub const SPOOL_ASIDE_MAX: usize = 10_000;

/// Bytes of the file that remembers those.
pub const SPOOL_ASIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a line of a tailed file; a longer one becomes several events, so that a file without
/// line ends does not take all memory.
pub const TAIL_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Files that one source tails at most, some 400 bytes of memory each. Further ones wait until others are
/// gone; how many, a gauge and an alarm say.
pub const TAIL_FILES_MAX: usize = 100_000;

/// Files whose places ride in a batch's position, some 35 bytes each, before they are written to the
/// journal beside the position file: a few percent of a batch's lines.
pub const TAIL_CHANGED_MAX: usize = 64;

/// Files whose places ride in a position while that journal cannot be written, up to 60 of the
/// [`POSITION_BYTES_MAX`] bytes each that a channel has for all its sources. Then files wait.
pub const TAIL_CHANGED_UNWRITTEN_MAX: usize = 1_500;

/// Bytes of that journal from which it is written anew, and four times what it had when it was begun.
pub const TAIL_JOURNAL_BYTES_MIN: u64 = 1024 * 1024;

/// Bytes of it at most: what it has with [`TAIL_FILES_MAX`] files before it is written anew, and as
/// much again.
pub const TAIL_JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Tailed files that are open at once. Others are opened when they have grown.
pub const TAIL_OPEN_MAX: usize = 256;

/// Bytes of a position file of a taildir source.
pub const TAIL_POSITION_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Batches that one tailed file gives before the next one has its turn, unless `maxBatchCount` says
/// fewer.
pub const TAIL_BATCHES_PER_TURN: u64 = 64;

/// How long a tailed file of an earlier life is looked for before its place is forgotten.
pub const TAIL_SOUGHT_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// Looks for the file of a batch that only some of a source's channels have.
pub const TAIL_LOOKS_FOR_A_BATCH: usize = 3;

const _: () = assert!(TAIL_CHANGED_UNWRITTEN_MAX * 60 + 4096 <= POSITION_BYTES_MAX);
const _: () = assert!((TAIL_FILES_MAX * 60 * 5) as u64 <= TAIL_JOURNAL_BYTES_MAX);

/// Types of an Avro schema, and levels of types in each other.
pub const AVRO_SCHEMA_NODES_MAX: usize = 100_000;
/// See [`AVRO_SCHEMA_NODES_MAX`]. A datum may have as many.
pub const AVRO_SCHEMA_NESTING_MAX: usize = 100;

/// Bytes of the header of an Avro container file: its schema, mostly.
pub const AVRO_HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one block of an Avro container file, unpacked. Writers make them of some 64 KiB.
pub const AVRO_BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes that unpacking a block may look back (xz's dictionary, Zstandard's window), and hold for it.
/// The highest level of xz takes as many; Java's Avro takes 8 MiB.
pub const AVRO_DICTIONARY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a schema's canonical form, which names each type in full wherever it stands.
pub const AVRO_CANONICAL_BYTES_MAX: usize = AVRO_HEADER_BYTES_MAX;

/// Steps in reading the data of a block: so many free, and so many for each byte. A step is a value,
/// and there are values of no bytes, so that a few bytes could mean any amount of work.
pub const AVRO_STEPS_FREE: u64 = 1_000_000;
/// See [`AVRO_STEPS_FREE`].
pub const AVRO_STEPS_PER_BYTE: u64 = 32;

/// Data without bytes that one block may have beside those with some.
pub const AVRO_DATA_WITHOUT_BYTES_MAX: u64 = 1000;

/// Schemas that a serializer of Avro remembers.
pub const AVRO_SCHEMAS_KNOWN_MAX: usize = 64;

/// Bytes of all of them as text; each counts as what it was found by and as files have it.
pub const AVRO_SCHEMAS_KNOWN_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(2 * AVRO_HEADER_BYTES_MAX <= AVRO_SCHEMAS_KNOWN_BYTES_MAX);

/// Seconds for a connection to an IRC server; for being let in and into the channel, for which servers
/// look up names first; and for a few lines to be taken, which servers slow down for those that say much.
pub const IRC_CONNECT_SECONDS_MAX: u64 = 20;
/// See [`IRC_CONNECT_SECONDS_MAX`].
pub const IRC_WELCOME_SECONDS_MAX: u64 = 60;
/// See [`IRC_CONNECT_SECONDS_MAX`].
pub const IRC_ANSWER_SECONDS_MAX: u64 = 60;

/// Seconds between two attempts to reach an IRC server at most.
pub const IRC_PAUSE_SECONDS_MAX: u64 = 60;

/// Seconds between two times that an idle IRC client hears what the server asks. Servers wait for two
/// minutes or more.
pub const IRC_LISTEN_SECONDS: u64 = 5;

/// Lines that are sent to an IRC server before it is asked whether it has taken them.
pub const IRC_LINES_TOGETHER: usize = 5;

/// Between two times that many lines of one event: 2.5 lines in a second, which the limits of servers and of
/// channels for who floods them let pass. One that was thrown out says the whole event again.
pub const IRC_PACE_MS: u64 = 2000;

/// Lines that are said of one event at most: servers take a few in a second.
pub const IRC_LINES_PER_EVENT_MAX: usize = 1000;

/// Seconds that an event in hand may still take when the IRC sink is to stop, and each one of a channel in
/// memory that is emptied then.
pub const IRC_STOP_SECONDS_MAX: u64 = 5;

/// Nicknames that are tried beside one that is taken.
pub const IRC_NICKS_TRIED: usize = 3;

/// Bytes of a line from an IRC server, with the tags of newer ones: RFC 2812 has 512.
pub const IRC_LINE_BYTES_READ_MAX: usize = 16 * 1024;

/// Seconds that a TLS handshake may take: a client that does not finish it gets its connection no
/// longer than that.
pub const TLS_HANDSHAKE_SECONDS_MAX: u64 = 20;

/// Names of clients that are looked up at once in the whole process, a thread each: a resolver that hangs must not
/// take the threads on which files are written and servers are found.
pub const NAME_LOOKUPS_MAX: usize = 16;

/// Look-ups at once for the addresses of one /24, or of one /64 of IPv6: a network whose reverse zone never answers
/// leaves the others three quarters.
pub const NAME_LOOKUPS_PREFIX_MAX: usize = NAME_LOOKUPS_MAX / 4;

/// Seconds that a client waits for its name: a resolver asks its first server again after so many.
pub const NAME_LOOKUP_SECONDS_MAX: u64 = 5;

/// Addresses of clients whose names are kept, some 200 bytes each, so that one that comes again is not looked up again.
pub const NAMES_KNOWN_MAX: usize = 4096;

/// Seconds for which they are kept: as long as a short-lived entry of DNS.
pub const NAME_KEPT_SECONDS: u64 = 60;

/// Seconds for which a name that was found still counts while look-ups of its address are late or fail: longer than
/// a resolver is away as a rule, and shorter than an address takes to become somebody else's.
pub const NAME_STALE_SECONDS_MAX: u64 = 3600;

/// Characters of the reason of a component's last failure that are kept for who watches: a line of a
/// page and of a terminal, and with thousands of components nothing that counts.
pub const FAILURE_REASON_CHARS_MAX: usize = 256;

/// Bytes of a key or trust store. Java's own, with the certificates of all public authorities, has
/// some 200 KB.
pub const KEY_STORE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes of the headers of an HTTP request, whatever a configuration says.
pub const HTTP_HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the body of an HTTP request: what fits into one transaction of a file channel.
pub const HTTP_REQUEST_BYTES_MAX: usize = TRANSACTION_BYTES_MAX_DEFAULT;

const _: () = assert!(4 * HTTP_REQUEST_BYTES_MAX <= CLIENT_MEMORY_BYTES_MAX / 2);

/// Default of a Thrift source's `maxRequestBytes`: what fits into one transaction of a file channel.
pub const THRIFT_REQUEST_BYTES_MAX_DEFAULT: usize = TRANSACTION_BYTES_MAX_DEFAULT;

/// Bytes of a position of an external source. Two of them are kept with a batch: where it begins and
/// where it ends.
pub const EXTERNAL_POSITION_BYTES_MAX: usize = 32 * 1024;

const _: () = assert!(2 * EXTERNAL_POSITION_BYTES_MAX + 4096 <= POSITION_BYTES_MAX);

/// Bytes of a line between the agent and an external process, whatever `lineBytes` says: more than a
/// transaction of a file channel takes, in base64.
pub const EXTERNAL_LINE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Events of a batch between the agent and an external process, whatever `batchSize` says.
pub const EXTERNAL_EVENTS_MAX: usize = 100_000;

/// Processes of one command that were killed and are not gone, because the kernel waits on their behalf; while
/// there are so many it is not started again. Each holds a process id, a task and a few pipes, and a mount
/// that does not answer would let no end of them gather; more than one, because the next may well work.
pub const PROCESSES_UNENDED_MAX: usize = 4;

/// Bytes of one line that an external process writes to its stderr; the rest of it is left out.
pub const STDERR_LINE_BYTES_MAX: usize = 4096;

/// Lines of its stderr that are logged within [`STDERR_RATE_SECONDS`]; how many more there were is said.
pub const STDERR_LINES_MAX: u64 = 100;

/// See [`STDERR_LINES_MAX`].
pub const STDERR_RATE_SECONDS: u64 = 10;

/// Ports of one source that `validate` tries to listen on: each is taken and given back at once.
pub const START_CHECKS_PORTS_MAX: usize = 64;

/// Descriptors of processes that `validate` looks at to find who has a port: each is a system call of a microsecond.
pub const PORT_HOLDER_DESCRIPTORS_MAX: usize = 200_000;

/// Names in a directory of a source that `validate` looks at: more take longer than a look should.
pub const START_CHECKS_NAMES_MAX: usize = 100_000;
