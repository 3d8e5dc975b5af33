//! The speed of the devices of a benchmark.

/// One measurement of all devices.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceSpeed {
    /// Synced writes of 4 KiB per second, one after the other; of a directory, the mean.
    pub small_writes_per_second: f64,
    /// Bytes per second of synced writes of 256 KiB, several in flight; all directories together.
    pub large_bytes_per_second: f64,
}
