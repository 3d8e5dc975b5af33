//! Every limit of the agent: a name, a unit, a reason. Those of the engine come first.

pub use millpond::internal::base::limits::*;

/// Bytes at which a transaction no longer shares a block but gets one of its own.
pub const SHARED_FRAME_BYTES_MAX: usize = 1024 * 1024;

/// Default bytes of the hot window of a file channel of an agent. A full window, the block being written and the read
/// buffers take some 44 MiB together, and an agent under load must stay below 64.
pub const AGENT_HOT_WINDOW_BYTES_DEFAULT: usize = 24 * 1024 * 1024;

/// Default `byteCapacity` of a memory channel. Flume takes 80 % of the Java heap; a process
/// without one needs a fixed bound, large enough that event counts are what limits a channel.
pub const MEMORY_BYTE_CAPACITY_DEFAULT: u64 = 256 * 1024 * 1024;

/// File descriptors that a process asks for at its start, if it is allowed as many: two for each segment with direct
/// writes and one for each connection. With more, programs that it starts, which inherit the limit, may take long to
/// start: some close every number up to it.
pub const DESCRIPTORS_WANTED: u64 = 1 << 20;

/// Bytes of a configuration file. The largest real ones have some hundred kilobytes; beyond this
/// it is some other file.
pub const CONFIG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Keys of a configuration file. The largest real ones have some thousand; a table of millions would
/// take fifty times the bytes of its file.
pub const CONFIG_KEYS_MAX: usize = 100_000;

/// Findings of each severity that one reading of a configuration keeps; the others are only counted.
pub const CONFIG_FINDINGS_MAX: usize = 500;

/// Bytes of all values of an agent after their `${…}` are replaced.
pub const CONFIG_VALUES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one value after its `${…}` are replaced. Nested references double with every level.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(SHARED_FRAME_BYTES_MAX <= BLOCK_BYTES_MAX);

/// Connections that one listening source keeps open unless its `maxConnections` is set. Each is a small task; with more
/// the process is likelier to run out of file descriptors.
pub const CONNECTIONS_MAX_DEFAULT: usize = 20_000;

/// Bytes of a connection's read buffer in a line protocol, initially.
pub const CONNECTION_READ_BYTES: usize = 8 * 1024;

/// Bytes of that buffer at most, when that much has arrived: the lines of one read usually are one transaction.
pub const CONNECTION_READ_BYTES_MAX: usize = 256 * 1024;

/// Lines of a read that a connection makes into events before it yields to the others.
pub const CONNECTION_LINES: usize = 64;

/// Seconds that a delivery, or the periodic work, of a sink in a group may take: the others of its group wait
/// meanwhile. Far longer than the default timeouts of all sinks, so that only a call that hangs is given up, for
/// example a write to a disk that does not respond.
pub const GROUP_TURN_SECONDS_MAX: u64 = 300;

/// The limit for a sink that reached [`GROUP_TURN_SECONDS_MAX`] and has delivered nothing since.
pub const GROUP_TURN_AGAIN_SECONDS_MAX: u64 = 10;

/// Seconds that a delivery under way may still take once its sink is to stop: a working server has replied by then, and
/// the rest of a batch for a hung one stays in the channel. Not for memory channels, whose sinks have the whole time of
/// the stop.
pub const DELIVERY_STOP_SECONDS_MAX: u64 = 5;

/// Seconds that a request being received may still take once the http source is to stop: its client gets a response
/// that asks it to send again. A complete request is committed and acknowledged.
pub const HTTP_STOP_SECONDS_MAX: u64 = 2;

/// Seconds that a response may wait for a client that does not read.
pub const ANSWER_SECONDS_MAX: u64 = 30;

/// Addresses of a name that one connection tries. Names of clusters have only a few.
pub const DIAL_ADDRESSES_MAX: usize = 16;

/// Bytes of the largest possible datagram, and one more to detect truncation.
pub const DATAGRAM_BYTES: usize = 65_536;

/// Datagrams that wait while the channel commits; beyond it they wait in the socket's buffer.
pub const DATAGRAMS_PER_BATCH: usize = 1000;

/// Bytes of the client memory that a datagram source reserves when it starts, for its batch: a thousand messages of a
/// kilobyte as events. The senders of datagrams cannot be made to wait, so it is not reserved for each batch.
pub const DATAGRAM_BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The lower bound of [`DATAGRAM_BATCH_BYTES_MAX`] if the client memory is small: twice the receive buffer of one
/// datagram and its event, in which each byte that is not valid UTF-8 takes three.
pub const DATAGRAM_BATCH_BYTES_MIN: usize = 2 * DATAGRAM_EVENT_BYTES_MAX;

/// Most bytes of the event of one datagram and of its receive buffer.
pub const DATAGRAM_EVENT_BYTES_MAX: usize = 4 * DATAGRAM_BYTES;

/// Requested size of the socket buffer of datagram sources in bytes: datagrams wait there during a commit.
pub const DATAGRAM_SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one line of a command's output; a longer line is split, so that a command that never ends its line does not
/// use up the memory.
pub const EXEC_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of lines at which a batch of a command's output is full, even below `batchSize`.
pub const EXEC_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one message of Avro RPC: what fits into one transaction of a file channel. Clients send
/// batches of some hundred events.
pub const AVRO_REQUEST_BYTES_MAX: usize = TRANSACTION_BYTES_MAX_DEFAULT;

/// Bytes of an Avro RPC message over the limit that is still read to its end, so that its sender gets an error. A
/// longer length, common for data that is not Avro, ends the connection.
pub const AVRO_REQUEST_PASSED_OVER_BYTES_MAX: usize = 4 * AVRO_REQUEST_BYTES_MAX;

/// Segments of one message of Avro RPC. Java's buffers make one for each 8 KiB and two for each
/// large body.
pub const AVRO_SEGMENTS_MAX: u32 = 1 << 20;

/// Bytes of a peer's Avro protocol as text. Flume's has some 1300.
pub const AVRO_PROTOCOL_BYTES_MAX: usize = 64 * 1024;

/// Bytes that the events of one call may take in memory. An event of two bytes on the wire takes
/// some sixty there.
pub const AVRO_DECODED_BYTES_MAX: usize = 2 * AVRO_REQUEST_BYTES_MAX;

/// Client protocols that an Avro source remembers by their hashes. Others are requested again, which costs a round
/// trip.
pub const AVRO_PROTOCOLS_KNOWN_MAX: usize = 64;

/// Clients of one source that are remembered between two reports of active clients. Connections have a limit of the
/// same size by default.
pub const CLIENTS_HEARD_MAX: usize = 20_000;

/// Bytes of each of the two names that a client gives in its handshake.
pub const CLIENT_NAME_BYTES_MAX: usize = 256;

/// Most bytes that all clients of a process may make it hold together, unless configured otherwise: a quarter of the
/// memory available to the process, up to this. It holds three of the largest requests.
pub const CLIENT_MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The minimum of that budget on any machine: less would refuse ordinary batches.
pub const CLIENT_MEMORY_BYTES_MIN: usize = 8 * 1024 * 1024;

/// Bytes of one request at most, whatever a configuration says.
pub const REQUEST_BYTES_MAX: usize = 2 * TRANSACTION_BYTES_MAX_DEFAULT;

/// Bytes of a request that counts as small: an eighth of the client memory is reserved for such requests, so that they
/// proceed while large ones wait.
pub const REQUEST_SMALL_BYTES: usize = 32 * 1024;

/// Seconds that a request may wait for its share of the client memory.
pub const REQUEST_ROOM_SECONDS_MAX: u64 = 30;

/// Bytes per second that a request must bring while others wait for memory: a slower one is closed to make room. What
/// it brought faster counts for [`REQUEST_SLOW_AFTER_MS`] at most. The largest one at this rate would take a quarter of
/// an hour, eight times its own time limit.
pub const REQUEST_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Milliseconds before which no request counts as slow: a client may pause, and packets may be lost.
pub const REQUEST_SLOW_AFTER_MS: u64 = 10_000;

/// Milliseconds before which no small request, of a few packets, counts as slow.
pub const SMALL_REQUEST_SLOW_AFTER_MS: u64 = 2_000;

/// Milliseconds between two checks of which clients hold memory, while a client waits for it.
pub const MEMORY_LOOK_MS: u64 = 100;

/// Milliseconds of silence after which a connection may be closed to make room for others that connected or sent data
/// later: time for a new client to send its first request.
pub const CONNECTION_SILENT_MS_MIN: u64 = 10_000;

/// That silence for a connection that never brought anything.
pub const CONNECTION_UNPROVEN_MS_MIN: u64 = 4_000;

/// That silence if the client that needs room has fewer connections from its address than the silent one, which never
/// brought anything: a lost packet is sent again after a second.
pub const CONNECTION_CROWDED_MS_MIN: u64 = 2_000;

/// That silence if the client that needs room has an address that brings events, and the silent one an address that
/// does not. Shorter than the other limits, so that such clients are still admitted during a flood.
pub const CONNECTION_STRANGE_MS_MIN: u64 = 1_000;

/// Addresses remembered for having brought events, and as many remembered for a connection that was closed to make room:
/// 512 KiB each with their times, in addition to the budget.
pub const KNOWN_ADDRESSES_MAX: usize = 4096;

/// Milliseconds that an address is remembered after its last connection that brought something: enough for clients that
/// send once in a quarter of an hour.
pub const KNOWN_ADDRESS_MS: u64 = 3_600_000;

/// Milliseconds for which clients of an address wait for memory after all others, because one of its connections was
/// closed to make room before it had brought anything.
pub const EVICTED_ADDRESS_MS: u64 = 60_000;

/// Connections of a known address that have brought nothing, beyond which its new ones are treated like those of any
/// other address: an attacker can send one event, too.
pub const KNOWN_ADDRESS_UNPROVEN_MAX: usize = 16;

/// Most connections that are being closed to make room: no client is admitted above it.
pub const LEAVING_MAX: usize = 64;

/// Bytes of a silent connection: its task (the future of a session has 4.0 to 4.9 KiB, which debug builds compare with
/// this, and another 3.0 until the greeting), its socket's registration, the record of the client, and the received
/// part of a request or line of less than [`CONNECTION_LINE_FREE_BYTES`]. This and the next five are sums of what the
/// code allocates, rounded up: `crates/agent/benches/hostile_clients` measures the process as a whole against its limit.
pub const CONNECTION_BYTES: usize = 8 * 1024;

/// Bytes of an unfinished line or request that are included in [`CONNECTION_BYTES`].
pub const CONNECTION_LINE_FREE_BYTES: usize = 1024;

/// Additional bytes of a TLS connection from its first byte on: the TLS state, a record of 18 KiB as received, 16 KiB
/// of it as plain text, and the output.
pub const TLS_CONNECTION_BYTES: usize = 48 * 1024;

/// Additional bytes until the handshake is done: one of its messages may come in many records, and has 64 KiB at most.
pub const TLS_HANDSHAKE_BYTES: usize = 32 * 1024;

const _: () = assert!(TLS_HANDSHAKE_BYTES <= REQUEST_SMALL_BYTES);

/// Additional bytes of a compressed connection: 32 KiB of window, and 11 KiB of tables.
pub const ZLIB_CONNECTION_BYTES: usize = 48 * 1024;

/// Additional bytes of an HTTP connection: headers as received and as parsed, if they have the default size.
pub const HTTP_CONNECTION_BYTES: usize = 32 * 1024;

/// Additional bytes of a line or datagram as an event with three headers.
pub const CONNECTION_LINE_BYTES: usize = 256;

/// Share of the descriptors reserved for channels, sinks and files: one out of this many.
pub const DESCRIPTORS_RESERVED_PART: u64 = 4;

/// Most descriptors reserved so: a channel of a terabyte in segments of the default size.
pub const DESCRIPTORS_RESERVED_MAX: u64 = 32 * 1024;

/// Bytes of a request's body from which it is parsed on a thread of its own: less takes as long as a read.
pub const PARSE_ASIDE_BYTES: usize = 64 * 1024;

const _: () =
    assert!((AVRO_REQUEST_BYTES_MAX + AVRO_DECODED_BYTES_MAX) * 3 <= CLIENT_MEMORY_BYTES_MAX);

/// Bytes of a large request that are read at a time.
pub const REQUEST_READ_BYTES_MAX: usize = 64 * 1024;

/// Default of `requestTimeout`: seconds from the first byte of a request to its last. A request of
/// [`AVRO_REQUEST_BYTES_MAX`] needs 5 Mbit/s for that; a client that sends byte by byte cannot hold its connection and
/// its share of the memory for longer.
pub const REQUEST_SECONDS_MAX_DEFAULT: u64 = 120;

/// Seconds that a client may pause within a request. Flume's own clients wait 20 s for a response.
pub const REQUEST_IDLE_SECONDS_MAX: u64 = 60;

/// Bytes that a source normally reads from a file at a time.
pub const FILE_READ_BYTES: usize = 64 * 1024;

/// Bytes of events at which a batch from a file is full, even below `batchSize`. It may contain one event more.
pub const FILE_BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Characters of a line of a spooled file at most, whatever `maxLineLength` says: a longer line
/// becomes several events.
pub const SPOOL_LINE_CHARS_MAX: usize = 32 * 1024 * 1024;

/// Most bytes of an event made of a spooled file's bytes; the rest is for headers.
pub const SPOOL_BLOB_BYTES_MAX: usize = EVENT_BYTES_MAX - 1024 * 1024;

/// Files that a listing of a spooling directory keeps in order; the next listing has the others.
pub const SPOOL_LISTED_MAX: usize = 10_000;

/// Levels of directories below a spooling directory.
pub const SPOOL_DEPTH_MAX: usize = 64;

/// Most files of a spooling directory that are set aside; then the source waits until they are removed.
pub const SPOOL_ASIDE_MAX: usize = 10_000;

/// Bytes of the file that remembers the files set aside.
pub const SPOOL_ASIDE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of a line of a tailed file; a longer one becomes several events, so that a file without line ends does not use
/// up the memory.
pub const TAIL_LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most files that one source tails, some 400 bytes of memory each. Further ones wait until others are gone; a gauge
/// and an alarm report how many.
pub const TAIL_FILES_MAX: usize = 100_000;

/// Files whose positions are part of a batch's source offset, some 35 bytes each, before they are written to the
/// journal next to the position file: a few percent of a batch's lines.
pub const TAIL_CHANGED_MAX: usize = 64;

/// Files whose positions are part of a source offset while that journal cannot be written, up to 60 of the
/// [`SOURCE_OFFSET_BYTES_MAX`] bytes each that a channel has for all its sources. Then files wait.
pub const TAIL_CHANGED_UNWRITTEN_MAX: usize = 1_500;

/// Bytes at which that journal is rewritten, if it also has four times its size after the last rewrite.
pub const TAIL_JOURNAL_BYTES_MIN: u64 = 1024 * 1024;

/// Most bytes of that journal: its size with [`TAIL_FILES_MAX`] files before a rewrite, and as much again.
pub const TAIL_JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Tailed files that are open at once. Others are opened when they have grown.
pub const TAIL_OPEN_MAX: usize = 256;

/// Bytes of a position file of a taildir source.
pub const TAIL_POSITION_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Batches read from one tailed file before the next file's turn, unless `maxBatchCount` is lower.
pub const TAIL_BATCHES_PER_TURN: u64 = 64;

/// How long a tailed file known from an earlier run is looked for before its position is forgotten.
pub const TAIL_SOUGHT_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// How often the file of a batch that only some of a source's channels have is looked for.
pub const TAIL_LOOKS_FOR_A_BATCH: usize = 3;

const _: () = assert!(TAIL_CHANGED_UNWRITTEN_MAX * 60 + 4096 <= SOURCE_OFFSET_BYTES_MAX);
const _: () = assert!((TAIL_FILES_MAX * 60 * 5) as u64 <= TAIL_JOURNAL_BYTES_MAX);

/// Types of an Avro schema.
pub const AVRO_SCHEMA_NODES_MAX: usize = 100_000;

/// Levels of nested types in a schema, or of nested values in a datum.
pub const AVRO_SCHEMA_NESTING_MAX: usize = 100;

/// Bytes of the header of an Avro container file: its schema, mostly.
pub const AVRO_HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one block of an Avro container file, decompressed. Writers make them of some 64 KiB.
pub const AVRO_BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of a decompressor's window (xz's dictionary, Zstandard's window). The highest level of xz uses as many; Java's
/// Avro uses 8 MiB.
pub const AVRO_DICTIONARY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a schema's canonical form, which has the full name of each type wherever it occurs.
pub const AVRO_CANONICAL_BYTES_MAX: usize = AVRO_HEADER_BYTES_MAX;

/// Steps allowed for decoding a block, in addition to [`AVRO_STEPS_PER_BYTE`]. A step is a value, and there are values
/// of no bytes, so that a few bytes could cause any amount of work.
pub const AVRO_STEPS_FREE: u64 = 1_000_000;

/// Steps allowed for each byte of a block.
pub const AVRO_STEPS_PER_BYTE: u64 = 32;

/// Data without bytes that one block may have in addition to those with some.
pub const AVRO_DATA_WITHOUT_BYTES_MAX: u64 = 1000;

/// Schemas that an Avro serializer remembers.
pub const AVRO_SCHEMAS_KNOWN_MAX: usize = 64;

/// Bytes of all of them as text; each counts twice, as it was found and as written to files.
pub const AVRO_SCHEMAS_KNOWN_BYTES_MAX: usize = 16 * 1024 * 1024;

const _: () = assert!(2 * AVRO_HEADER_BYTES_MAX <= AVRO_SCHEMAS_KNOWN_BYTES_MAX);

/// Seconds for a connection to an IRC server.
pub const IRC_CONNECT_SECONDS_MAX: u64 = 20;

/// Seconds to be admitted to an IRC server and its channel, for which servers look up names first.
pub const IRC_WELCOME_SECONDS_MAX: u64 = 60;

/// Seconds for a few lines to be accepted; servers slow down clients that send much.
pub const IRC_ANSWER_SECONDS_MAX: u64 = 60;

/// Most seconds between two attempts to reach an IRC server.
pub const IRC_PAUSE_SECONDS_MAX: u64 = 60;

/// Seconds between two reads of an idle IRC client for what the server asks. Servers wait for two minutes or more.
pub const IRC_LISTEN_SECONDS: u64 = 5;

/// Lines sent to an IRC server before it is asked whether it has accepted them.
pub const IRC_LINES_TOGETHER: usize = 5;

/// Milliseconds between two such groups of lines of one event: 2.5 lines per second stay below the flood limits of
/// servers and channels. A client that was removed sends the whole event again.
pub const IRC_PACE_MS: u64 = 2000;

/// Most lines sent for one event: servers accept a few per second.
pub const IRC_LINES_PER_EVENT_MAX: usize = 1000;

/// Seconds that an event under way may still take when the IRC sink is to stop, and each event of a memory channel that
/// is drained then.
pub const IRC_STOP_SECONDS_MAX: u64 = 5;

/// Further nicknames tried if the first is taken.
pub const IRC_NICKS_TRIED: usize = 3;

/// Bytes of a line from an IRC server, with the tags of newer servers: RFC 2812 has 512.
pub const IRC_LINE_BYTES_READ_MAX: usize = 16 * 1024;

/// Seconds that a TLS handshake may take before the connection is closed.
pub const TLS_HANDSHAKE_SECONDS_MAX: u64 = 20;

/// Concurrent look-ups of client names in the whole process, a thread each: a hanging resolver must not take the
/// threads that write files and find servers.
pub const NAME_LOOKUPS_MAX: usize = 16;

/// Concurrent look-ups for the addresses of one /24, or of one /64 of IPv6: a network whose reverse zone never responds
/// leaves three quarters to the others.
pub const NAME_LOOKUPS_PREFIX_MAX: usize = NAME_LOOKUPS_MAX / 4;

/// Seconds that a client waits for its name: a resolver asks its first server again after as many.
pub const NAME_LOOKUP_SECONDS_MAX: u64 = 5;

/// Client addresses whose names are cached, some 200 bytes each.
pub const NAMES_KNOWN_MAX: usize = 4096;

/// Seconds for which a name is cached: as long as a short-lived DNS entry.
pub const NAME_KEPT_SECONDS: u64 = 60;

/// Seconds for which a name that was found remains valid while look-ups of its address are late or fail: longer than a
/// resolver is usually away, and shorter than an address takes to get another owner.
pub const NAME_STALE_SECONDS_MAX: u64 = 3600;

/// Characters kept of the reason of a component's last failure, for monitoring: enough for an error that lists files,
/// and with a thousand components 4 MiB.
pub const FAILURE_REASON_CHARS_MAX: usize = 4096;

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

/// Bytes of a position of an external source. Two of them are kept with a batch: its begin and its end.
pub const EXTERNAL_POSITION_BYTES_MAX: usize = 32 * 1024;

const _: () = assert!(2 * EXTERNAL_POSITION_BYTES_MAX + 4096 <= SOURCE_OFFSET_BYTES_MAX);

/// Bytes of a line between the agent and an external process, whatever `lineBytes` says: more than a
/// transaction of a file channel takes, in base64.
pub const EXTERNAL_LINE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Events of a batch between the agent and an external process, whatever `batchSize` says.
pub const EXTERNAL_EVENTS_MAX: usize = 100_000;

/// Processes of one command that were killed and have not ended, because the kernel waits on their behalf; at this
/// number the command is not started again. Each holds a process id, a task and a few pipes, and on a mount that does
/// not respond they would accumulate; more than one, because the next may well work.
pub const PROCESSES_UNENDED_MAX: usize = 4;

/// Bytes of one line that an external process writes to its stderr; the rest of it is dropped.
pub const STDERR_LINE_BYTES_MAX: usize = 4096;

/// Lines of its stderr that are logged within [`STDERR_RATE_SECONDS`]; further ones are only counted.
pub const STDERR_LINES_MAX: u64 = 100;

/// See [`STDERR_LINES_MAX`].
pub const STDERR_RATE_SECONDS: u64 = 10;

/// Ports of one source that `validate` tries to listen on: each is closed again at once.
pub const START_CHECKS_PORTS_MAX: usize = 64;

/// Descriptors of processes that `validate` checks to find the owner of a port: each is a system call of a microsecond.
pub const PORT_HOLDER_DESCRIPTORS_MAX: usize = 200_000;

/// Names in a directory of a source that `validate` checks: more would take too long.
pub const START_CHECKS_NAMES_MAX: usize = 100_000;
