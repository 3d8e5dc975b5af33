//! The real binary, real files, real sockets.

mod avro_client;
mod bench;
mod calls;
mod chain;
mod channel;
mod chapters;
mod command_line;
mod conf_uri;
mod demo;
mod external;
mod full_disk;
mod irc;
mod kill;
mod link;
mod lost_disk;
mod monitoring;
mod positions;
mod process;
mod refused;
mod reload;
mod repair;
mod signals;
mod torture;
mod torture_phases;
mod wires;
