//! What the agent asks of the C library's allocator.
//!
//! glibc gives each thread that allocates an arena of its own, up to eight for each processor. An agent
//! allocates what it reads on one thread and frees it on another, so every arena grows to what the
//! busiest moment took and keeps it: a memory channel of 48 MiB of bodies made a process of 105 to
//! 131 MiB with two threads of each kind, and of 76 with one arena, at the same speed (docs/performance.md).
//! Events are cut from what was read and allocate nothing of their own, so threads seldom meet there.
//!
//! # Unsafe
//!
//! This is a listed file. `mallopt` is a plain call with two numbers, it reads and writes no memory of
//! ours, and glibc guards what it changes by a lock of its own.
#![allow(unsafe_code)]

/// How a user sets the number of arenas, in glibc's own words; then it stays as it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SET_BY_USER: [&str; 2] = ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"];

/// One arena for all threads, unless the user has set something else. Before threads are started.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn share_one_arena() {
    if SET_BY_USER.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    // SAFETY: no pointers are involved; see above. What it answers is whether it knew the setting:
    // without it the process is larger and nothing else.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Other C libraries have no such setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn share_one_arena() {}
