//! Files of events on HDFS and on other file systems.
//!
//! [`file_system`] is what the sink asks of any of them; each implementation is one file there.

pub mod file_system;
