//! Configures the C library's allocator for the agent.
//!
//! glibc gives each thread that allocates an arena of its own, up to eight for each processor. An
//! agent allocates what it reads on one thread and frees it on another, so every arena grows to its
//! peak use and keeps it: a memory channel of 48 MiB of bodies made a process of 105 to 131 MiB
//! with two threads of each kind, and of 76 with one arena, at the same speed
//! (docs/performance.md). Events are cut from what was read and allocate nothing of their own, so
//! threads seldom contend for the arena.
//!
//! # Unsafe
//!
//! This is a listed file. `mallopt` is a plain call with two numbers, it reads and writes no memory
//! of ours, and glibc guards what it changes by a lock of its own.
#![allow(unsafe_code)]

/// The settings by which a user sets the number of arenas, in glibc's notation; then it is not
/// changed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SET_BY_USER: [&str; 2] = ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"];

/// Sets one arena for all threads, unless the user has set something else. Called before threads
/// are started.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn share_one_arena() {
    if SET_BY_USER.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    // SAFETY: no pointers are involved; see above. The return value says whether the setting is
    // known: if not, the process is larger and nothing else changes.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Does nothing: other C libraries have no such setting.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn share_one_arena() {}
