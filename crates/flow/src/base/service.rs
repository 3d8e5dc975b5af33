//! The environment variables by which a process reaches its service manager.

/// They are meant for the process that was started with them: programs that the agent runs must neither notify nor feed
/// the watchdog in its name, and get none of them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
