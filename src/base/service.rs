//! The variables by which a service manager can be reached.

/// They are meant for the process that was started with them: programs that the agent runs must neither
/// speak in its name nor beat for it, and get none of them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
