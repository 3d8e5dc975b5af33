//! The command line: commands, exit codes, messages.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. What a command produces goes to stdout, messages go
//! to stderr. When stdout is closed, commands that only show something end quietly.
//!
//! The words of a command line pass through [`compat_args`] (forms that Flume's start script
//! accepts and current parsers do not) and [`options_file`] (what Flume adds to those of `agent`),
//! then through [`arguments`], then to the file named after their command. Options for Java that
//! carry settings (`-Dkey=value`) may also come from the environment and from `flume-env.sh`:
//! [`java_options`].

mod agent;
mod allocator;
mod arguments;
mod avro_client;
mod avro_directory;
mod avro_route;
mod avro_send;
mod bench;
mod bench_arguments;
mod bench_progress;
mod channel;
mod channel_absent;
mod channel_inspect;
mod channel_open;
mod channel_put;
mod channel_repair;
mod channel_take;
mod compat_args;
mod completions;
mod dispatch;
mod exit;
mod explain;
mod flume_tool;
mod graph;
mod interrupt;
mod java_options;
mod man;
mod options_file;
mod outside_arguments;
mod rpc_properties;
mod shell_assignments;
mod tap;
mod tap_arguments;
mod top;
mod top_arguments;
mod torture;
mod torture_arguments;
mod torture_progress;
mod validate;

pub use dispatch::run;
