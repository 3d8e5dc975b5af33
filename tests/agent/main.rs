//! The real binary, real files, real sockets.

mod bench;
mod calls;
mod channel;
mod command_line;
mod demo;
mod external;
mod full_disk;
mod kill;
mod lost_disk;
mod positions;
mod process;
mod refused;
mod reload;
mod repair;
mod signals;
mod torture;
mod torture_phases;
mod wires;
