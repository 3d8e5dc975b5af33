/* A layer between a process and the C library's calls to the disk, loaded with LD_PRELOAD.
 *
 * It looks only at files below LEAGUE_ROOT. Calls of the kind LEAGUE_FAULT are counted, over all
 * threads, in the shared file LEAGUE_COUNT (two 64-bit words: calls, faults made), so the count
 * outlives a kill. The call with number LEAGUE_AT, from 1, is the one that goes wrong; 0: none.
 *
 *   sync   fsync, fdatasync, sync_file_range, msync and, on a descriptor opened with O_DSYNC or
 *          O_SYNC, every write: the call returns EIO. A sync is not done at all. Of a write the
 *          first LEAGUE_PART thousandths may reach the file.
 *   short  write, pwrite, writev, pwritev of two bytes or more: the first LEAGUE_PART thousandths
 *          are written and their number is returned. With O_DIRECT it is a multiple of 512; where
 *          the kernel refuses that, the whole is written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { NONE, SYNC, SHORT };

static enum kind kind;
static const char *root;
static size_t root_len;
static uint64_t at;
static size_t part;
static _Atomic uint64_t *count;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_range)(int, off_t, off_t, unsigned);
static int (*real_msync)(void *, size_t, int);

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_range = dlsym(RTLD_NEXT, "sync_file_range");
    real_msync = dlsym(RTLD_NEXT, "msync");
    const char *fault = getenv("LEAGUE_FAULT"), *file = getenv("LEAGUE_COUNT");
    root = getenv("LEAGUE_ROOT");
    if (!fault || !file || !root) return;
    root_len = strlen(root);
    at = number("LEAGUE_AT");
    part = number("LEAGUE_PART");
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) return;
    count = page;
    kind = !strcmp(fault, "sync") ? SYNC : !strcmp(fault, "short") ? SHORT : NONE;
}

static int below_root(const char *path) {
    return !strncmp(path, root, root_len) && path[root_len] == '/';
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    return below_root(path);
}

static int mapped(void *address) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return 0;
    char line[4352];
    int found = 0;
    while (!found && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        int path = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &from, &to, &path) < 2 || !path) continue;
        if ((uintptr_t)address >= from && (uintptr_t)address < to) found = below_root(line + path);
    }
    fclose(maps);
    return found;
}

/* Whether this call is the one. */
static int hit(void) {
    if (atomic_fetch_add(&count[0], 1) + 1 != at) return 0;
    atomic_fetch_add(&count[1], 1);
    return 1;
}

static int keep_errno(void) {
    errno = EIO;
    return -1;
}

/* How much of a write happens. `fail`: whether it says EIO then. */
static size_t allowed(int fd, size_t len, int *fail) {
    *fail = 0;
    if (kind == NONE || len == 0) return len;
    int before = errno;
    size_t some = len;
    int flags = fcntl(fd, F_GETFL);
    size_t grain = flags >= 0 && (flags & O_DIRECT) ? 512 : 1;
    if (kind == SYNC && flags >= 0 && (flags & O_DSYNC) && ours(fd) && hit()) {
        some = len * part / 1000 / grain * grain;
        *fail = 1;
    } else if (kind == SHORT && len > grain && ours(fd) && hit()) {
        some = len * part / 1000 / grain * grain;
        if (some == 0) some = grain;
    }
    errno = before;
    return some;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    int fail;
    size_t some = allowed(fd, len, &fail);
    ssize_t done = some ? real_write(fd, bytes, some) : 0;
    if (!fail && done < 0 && some < len) done = real_write(fd, bytes, len);
    return fail ? keep_errno() : done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset) {
    int fail;
    size_t some = allowed(fd, len, &fail);
    ssize_t done = some ? real_pwrite(fd, bytes, some, offset) : 0;
    if (!fail && done < 0 && some < len) done = real_pwrite(fd, bytes, len, offset);
    return fail ? keep_errno() : done;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    return pwrite64(fd, bytes, len, offset);
}

static size_t total(const struct iovec *parts, int n) {
    size_t len = 0;
    for (int i = 0; i < n; i++) len += parts[i].iov_len;
    return len;
}

/* The first `len` bytes of `parts`, in `cut`; how many of its entries that takes. */
static int first_bytes(const struct iovec *parts, int n, size_t len, struct iovec *cut) {
    int used = 0;
    for (; used < n && len > 0; used++) {
        cut[used] = parts[used];
        if (cut[used].iov_len > len) cut[used].iov_len = len;
        len -= cut[used].iov_len;
    }
    return used;
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    if (kind == NONE || n <= 0 || n > 1024) return real_writev(fd, parts, n);
    int fail;
    struct iovec cut[1024];
    int used = first_bytes(parts, n, allowed(fd, total(parts, n), &fail), cut);
    ssize_t done = used ? real_writev(fd, cut, used) : 0;
    return fail ? keep_errno() : done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int n, off_t offset) {
    if (kind == NONE || n <= 0 || n > 1024) return real_pwritev(fd, parts, n, offset);
    int fail;
    struct iovec cut[1024];
    int used = first_bytes(parts, n, allowed(fd, total(parts, n), &fail), cut);
    ssize_t done = used ? real_pwritev(fd, cut, used, offset) : 0;
    return fail ? keep_errno() : done;
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) {
    return pwritev64(fd, parts, n, offset);
}

static int refused(int fd) {
    int before = errno, refuse = kind == SYNC && ours(fd) && hit();
    errno = before;
    return refuse;
}

int fsync(int fd) { return refused(fd) ? keep_errno() : real_fsync(fd); }

int fdatasync(int fd) { return refused(fd) ? keep_errno() : real_fdatasync(fd); }

int sync_file_range(int fd, off_t offset, off_t len, unsigned flags) {
    return refused(fd) ? keep_errno() : real_range(fd, offset, len, flags);
}

int msync(void *address, size_t len, int flags) {
    if (kind == SYNC && (flags & MS_SYNC) && mapped(address) && hit()) return keep_errno();
    return real_msync(address, len, flags);
}
