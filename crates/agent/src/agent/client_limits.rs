//! Limits on the resources of the clients of all sources: of the process's memory, and of its file
//! descriptors.

use millpond::internal::base::quantity::BinaryBytes;
use millpond_flow::base::limits::{
    CLIENT_MEMORY_BYTES_MAX, CLIENT_MEMORY_BYTES_MIN, DESCRIPTORS_RESERVED_MAX,
    DESCRIPTORS_RESERVED_PART,
};
use millpond_flow::base::small_file::read_whole;
use millpond_flow::client_limits::ClientLimits;
use millpond_flow::codes;
use millpond_flow::metrics::ClientTotals;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The option that sets the memory limit.
const MEMORY_BYTES: &str = "millpond.clients.memoryBytes";
/// Size limit of a file that has a memory limit.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// A limit of at least this many bytes means no limit, as the first version of control groups
/// writes it.
const NO_LIMIT: u64 = 1 << 60;

/// Returns the limits of this process, with the options that it was started with.
pub(super) fn of_process(
    options: &BTreeMap<String, String>,
    totals: &Arc<ClientTotals>,
) -> Arc<ClientLimits> {
    let memory = memory_bytes(options, available(Path::new("/")));
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = usize::try_from(connections_of(files)).unwrap_or(usize::MAX);
    tracing::info!(
        "clients of all sources together may hold {} of memory and {connections} connections",
        BinaryBytes(memory as u64)
    );
    ClientLimits::new(memory, connections, Arc::clone(totals))
}

/// Returns the connection limit of a process that may have `files` open.
fn connections_of(files: u64) -> u64 {
    files - (files / DESCRIPTORS_RESERVED_PART).min(DESCRIPTORS_RESERVED_MAX)
}

/// Returns the bytes for clients: as the option says, else a quarter of the `available` memory.
fn memory_bytes(options: &BTreeMap<String, String>, available: Option<u64>) -> usize {
    let quarter = available.map_or(CLIENT_MEMORY_BYTES_MAX as u64, |bytes| bytes / 4);
    let bounds = CLIENT_MEMORY_BYTES_MIN as u64..=CLIENT_MEMORY_BYTES_MAX as u64;
    let quarter = usize::try_from(quarter.clamp(*bounds.start(), *bounds.end()));
    let quarter = quarter.unwrap_or(CLIENT_MEMORY_BYTES_MAX);
    let Some(text) = options.get(MEMORY_BYTES) else { return quarter };
    match text.trim().parse::<usize>() {
        Ok(bytes) if bytes >= CLIENT_MEMORY_BYTES_MIN && (bytes as u64) < NO_LIMIT => bytes,
        _ => {
            tracing::warn!(
                code = %codes::CLIENT_MEMORY_REFUSED,
                value = %text,
                used = quarter,
                "{MEMORY_BYTES} is ignored: a number of bytes is expected, {CLIENT_MEMORY_BYTES_MIN} at least"
            );
            quarter
        }
    }
}

/// Returns the least of the limits on this process's memory: the machine's, its control group's and
/// those above it, its own limits; `None` if none is known. `root` is `/`.
fn available(root: &Path) -> Option<u64> {
    let own = [Resource::As, Resource::Data].map(|it| getrlimit(it).current);
    let all = own.into_iter().flatten().chain(machine(root)).chain(control_groups(root));
    all.filter(|bytes| *bytes < NO_LIMIT).min()
}

fn machine(root: &Path) -> Option<u64> {
    let info = text(&root.join("proc/meminfo"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

/// Returns the limits of the groups that the process is in, of both versions.
fn control_groups(root: &Path) -> Vec<u64> {
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|it| it == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mount = root.join(mount);
        // In a container the path is often the one outside of it: then the mount itself is the
        // group.
        let mut place: PathBuf = path.trim_start_matches('/').into();
        loop {
            let limit = text(&mount.join(&place).join(file));
            limits.extend(limit.and_then(|limit| limit.trim().parse::<u64>().ok()));
            if !place.pop() {
                break;
            }
        }
    }
    limits
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(read_whole(path, FILE_BYTES_MAX).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_a_quarter_of_the_memory_unless_the_option_says_otherwise() {
        let none = BTreeMap::new();
        let mib = |n: u64| n * 1024 * 1024;
        for (available, expected) in [
            (Some(mib(256)), mib(64)),
            (Some(mib(4)), CLIENT_MEMORY_BYTES_MIN as u64),
            (Some(mib(1 << 20)), CLIENT_MEMORY_BYTES_MAX as u64),
            (None, CLIENT_MEMORY_BYTES_MAX as u64),
        ] {
            assert_eq!(memory_bytes(&none, available) as u64, expected, "{available:?}");
        }
        for (text, expected) in
            [("33554432", mib(32)), ("4000000000", 4_000_000_000), ("12", mib(64)), ("x", mib(64))]
        {
            let options = BTreeMap::from([(MEMORY_BYTES.to_owned(), text.to_owned())]);
            assert_eq!(memory_bytes(&options, Some(mib(256))) as u64, expected, "{text}");
        }
    }

    #[test]
    fn the_least_limit_of_machine_and_control_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       1000000 kB\nMemFree: 1 kB\n");
        let at = || [machine(root.path())].into_iter().flatten().chain(control_groups(root.path()));
        assert_eq!(at().min(), Some(1_024_000_000));
        write("proc/self/cgroup", "0::/a.slice/b.service\n");
        write("sys/fs/cgroup/a.slice/memory.max", "500000000\n");
        write("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        assert_eq!(at().min(), Some(500_000_000), "that of a group above");
        write("proc/self/cgroup", "4:cpu,memory:/docker/1\n0::/\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000000\n");
        assert_eq!(at().min(), Some(300_000_000), "in a container");
    }

    #[test]
    fn a_part_of_the_descriptors_is_kept_for_channels() {
        let all = [(1024, 768), (20_000, 15_000), (1 << 20, (1 << 20) - (1 << 15))];
        for (files, connections) in all {
            assert_eq!(connections_of(files), connections);
        }
    }
}
