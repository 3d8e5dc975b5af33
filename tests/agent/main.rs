//! The real binary, real files, real sockets.

mod channel;
mod command_line;
mod demo;
mod full_disk;
mod kill;
mod process;
mod signals;
