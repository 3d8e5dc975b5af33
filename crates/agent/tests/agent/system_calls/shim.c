/* Stands between a process and its files: one chosen system call fails, is cut short, or is the
 * last one. Loaded by LD_PRELOAD; a seccomp filter turns the calls below into SIGSYS, and the
 * signal's handler does them, so calls that never pass through the C library are seen too. What is
 * cut short is really done in part, by the kernel. x86_64 and aarch64 Linux.
 *
 * Configured by the environment:
 *   SHIM_UNDER  calls on files under this path count; `:` between several
 *   SHIM_ONLY   calls that count, by name, with a blank after each; without it all of them
 *   SHIM_KEEPS  if set, only calls that change something count: reads and looks do not
 *   SHIM_PLACE  only reads and writes of the byte at this offset count
 *   SHIM_WHILE  calls count only while this file is there
 *   SHIM_AT     the call that is hit, from 1; 0 none; `3-` the third and all later ones
 *   SHIM_DO     an error's number; or `half` or `few` of a read or write; or `before`, `amid` or
 *               `after`: SIGKILL at that point of the call
 *   SHIM_LOG    a file that gets a line for each call that was hit, or, with SHIM_AT=0, counts
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* The one place whose calls pass the filter. */
long shim_call(long number, long a, long b, long c, long d, long e, long f);
extern char shim_called[];

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
__asm__(".text\n.globl shim_call\n.globl shim_called\nshim_call:\n"
        "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\n"
        "mov %r9,%r8\nmov 8(%rsp),%r9\nsyscall\nshim_called:\nret\n");
#define NUMBER(r) ((r)[REG_RAX])
#define RESULT(r) ((r)[REG_RAX])
static const int argument[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
#define ARGUMENT(r, n) ((r)[argument[n]])
#define REGISTERS(context) ((context)->uc_mcontext.gregs)
typedef greg_t cell;
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
__asm__(".text\n.globl shim_call\n.globl shim_called\nshim_call:\n"
        "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nmov x4,x5\nmov x5,x6\n"
        "svc #0\nshim_called:\nret\n");
#define NUMBER(r) ((r)[8])
#define RESULT(r) ((r)[0])
#define ARGUMENT(r, n) ((r)[n])
#define REGISTERS(context) ((context)->uc_mcontext.regs)
typedef unsigned long long cell;
#else
#error "a machine whose calls this does not know"
#endif

/* Where a call names its file: by a path, by a directory and a path, by a descriptor. */
enum { PATH, AT, DESCRIPTOR };
/* What it does: inspects, reads bytes into the second argument, writes them, changes. */
enum { LOOKS, READS, WRITES, CHANGES };

struct call {
  int number, names, does;
  const char *name;
};

static const struct call calls[] = {
    {SYS_openat, AT, LOOKS, "openat"},
    {SYS_pread64, DESCRIPTOR, READS, "pread64"},
    {SYS_read, DESCRIPTOR, READS, "read"},
    {SYS_pwrite64, DESCRIPTOR, WRITES, "pwrite64"},
    {SYS_write, DESCRIPTOR, WRITES, "write"},
    {SYS_fdatasync, DESCRIPTOR, CHANGES, "fdatasync"},
    {SYS_fsync, DESCRIPTOR, CHANGES, "fsync"},
    {SYS_ftruncate, DESCRIPTOR, CHANGES, "ftruncate"},
    {SYS_fallocate, DESCRIPTOR, CHANGES, "fallocate"},
    {SYS_unlinkat, AT, CHANGES, "unlinkat"},
    {SYS_mkdirat, AT, CHANGES, "mkdirat"},
#ifdef SYS_mkdir
    {SYS_mkdir, PATH, CHANGES, "mkdir"},
    {SYS_unlink, PATH, CHANGES, "unlink"},
    {SYS_rmdir, PATH, CHANGES, "rmdir"},
    {SYS_open, PATH, LOOKS, "open"},
#endif
    {SYS_fcntl, DESCRIPTOR, LOOKS, "fcntl"},
    {SYS_flock, DESCRIPTOR, LOOKS, "flock"},
    {SYS_fstatfs, DESCRIPTOR, LOOKS, "fstatfs"},
    {SYS_fstat, DESCRIPTOR, LOOKS, "fstat"},
#ifdef SYS_newfstatat
    {SYS_newfstatat, AT, LOOKS, "newfstatat"},
#endif
    {SYS_statx, AT, LOOKS, "statx"},
    {SYS_getdents64, DESCRIPTOR, READS, "getdents64"},
    {SYS_lseek, DESCRIPTOR, LOOKS, "lseek"},
    {SYS_fadvise64, DESCRIPTOR, LOOKS, "fadvise64"},
    {SYS_close, DESCRIPTOR, LOOKS, "close"},
};
#define CALLS (sizeof calls / sizeof *calls)

static const char *under, *only, *until, *deed;
static int keeps, log_at = -1;
static long place = -1, first, last, counted;

static long plain(long number, long a, long b, long c, long d) {
  return shim_call(number, a, b, c, d, 0, 0);
}

/* The path that the call is about; its length, 0 if there is none. */
static size_t path_of(const struct call *call, cell *r, char *path, size_t room) {
  const char *named = call->names == DESCRIPTOR ? "" : (char *)ARGUMENT(r, call->names == AT);
  if (!named) named = "";
  int at = call->names == PATH ? AT_FDCWD : (int)ARGUMENT(r, 0);
  size_t len = 0;
  if (*named != '/') {
    char link[48] = "/proc/self/cwd";
    if (at != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    long read = plain(SYS_readlinkat, AT_FDCWD, (long)link, (long)path, (long)(room - 1));
    if (read <= 0) return 0;
    len = (size_t)read;
    if (*named && len < room - 1) path[len++] = '/';
  }
  size_t more = strlen(named);
  if (more > room - 1 - len) more = room - 1 - len;
  memcpy(path + len, named, more);
  path[len += more] = 0;
  return len;
}

static int is_under(const char *path) {
  for (const char *one = under; one && *one;) {
    size_t len = strcspn(one, ":");
    if (len && !strncmp(path, one, len) && (!path[len] || strchr("/ ", path[len]))) return 1;
    one += len + (one[len] == ':');
  }
  return 0;
}

static int counts(const struct call *call, cell *r, const char *path) {
  char name[24];
  snprintf(name, sizeof name, "%s ", call->name);
  if (!is_under(path) || (only && !strstr(only, name))) return 0;
  /* A look at a descriptor by a build with debug assertions. */
  if (call->number == SYS_fcntl && ARGUMENT(r, 1) == F_GETFD) return 0;
  int makes = !strcmp(call->name, "openat") && (ARGUMENT(r, 2) & O_CREAT);
  if (keeps && call->does != WRITES && call->does != CHANGES && !makes) return 0;
  if (place >= 0) {
    int moves = call->number == SYS_pread64 || call->number == SYS_pwrite64;
    long from = (long)ARGUMENT(r, 3), to = from + (long)ARGUMENT(r, 2);
    if (!moves || place < from || to <= place) return 0;
  }
  return !until || !plain(SYS_faccessat, AT_FDCWD, (long)until, F_OK, 0);
}

static void note(long count, const struct call *call, cell *r, const char *path) {
  char line[640];
  int len = snprintf(line, sizeof line, "%ld %s %s %ld %ld\n", count, call->name, path,
                     (long)ARGUMENT(r, 2), (long)ARGUMENT(r, 3));
  if (log_at >= 0) plain(SYS_write, log_at, (long)line, len < 640 ? len : 639, 0);
}

static long whole(cell *r) {
  return shim_call(NUMBER(r), ARGUMENT(r, 0), ARGUMENT(r, 1), ARGUMENT(r, 2), ARGUMENT(r, 3),
                   ARGUMENT(r, 4), ARGUMENT(r, 5));
}

/* Half of a transfer, in whole pages where it is longer than one; or a sector or byte of it. What
 * storage takes in larger pieces only is done whole. */
static long in_part(const struct call *call, cell *r, int half) {
  long all = (long)ARGUMENT(r, 2), unit = all > 512 ? 512 : 1;
  if ((call->does != READS && call->does != WRITES) || all < 2) return whole(r);
  long part = all > 4096 ? (all / 2 + 4095) / 4096 * 4096 : all / 2 / unit * unit;
  if (!half) part = unit;
  long done = shim_call(NUMBER(r), ARGUMENT(r, 0), ARGUMENT(r, 1), part, ARGUMENT(r, 3), 0, 0);
  return done == -EINVAL ? whole(r) : done;
}

static void die(void) {
  plain(SYS_kill, plain(SYS_getpid, 0, 0, 0, 0), SIGKILL, 0, 0);
}

static long hit(const struct call *call, cell *r) {
  if (!strcmp(deed, "half") || !strcmp(deed, "few")) return in_part(call, r, *deed == 'h');
  if (!strcmp(deed, "before")) die();
  if (!strcmp(deed, "amid")) in_part(call, r, 1), die();
  if (!strcmp(deed, "after")) whole(r), die();
  /* A descriptor is gone however its closing ends. */
  if (call->number == SYS_close) whole(r);
  return -atol(deed);
}

static void on_call(int signal, siginfo_t *about, void *context) {
  (void)signal, (void)about;
  cell *r = (cell *)REGISTERS((ucontext_t *)context);
  const struct call *call = calls;
  while (call < calls + CALLS && call->number != (int)NUMBER(r)) call++;
  char path[512];
  int mine = call < calls + CALLS && path_of(call, r, path, sizeof path) && counts(call, r, path);
  long count = mine ? __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST) : 0;
  if (mine && ((first && count >= first && count <= last) || !first)) note(count, call, r, path);
  int chosen = mine && first && count >= first && count <= last;
  RESULT(r) = (cell)(chosen ? hit(call, r) : whole(r));
}

static void fail(const char *words) {
  fprintf(stderr, "shim: %s: %s\n", words, strerror(errno));
  _exit(98);
}

static void filter(void) {
  struct sock_filter program[2 * CALLS + 8];
  unsigned short at = 0;
  unsigned long end = (unsigned long)shim_called;
#define PUT(code, jt, jf, k) program[at++] = (struct sock_filter){(code), (jt), (jf), (k)}
#define FIELD(field) PUT(BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)offsetof(struct seccomp_data, field))
  FIELD(arch);
  PUT(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE);
  PUT(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  /* Little-endian: the lower half of the place that the call comes from is the first. */
  FIELD(instruction_pointer);
  PUT(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)end);
  PUT(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  FIELD(nr);
  for (size_t n = 0; n < CALLS; n++) {
    PUT(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)calls[n].number);
    PUT(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_TRAP);
  }
  PUT(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
  struct sock_fprog all = {at, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) fail("no_new_privs");
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &all)) fail("seccomp");
}

__attribute__((constructor)) static void begin(void) {
  under = getenv("SHIM_UNDER"), only = getenv("SHIM_ONLY"), until = getenv("SHIM_WHILE");
  deed = getenv("SHIM_DO"), keeps = getenv("SHIM_KEEPS") != NULL;
  const char *text = getenv("SHIM_PLACE"), *at = getenv("SHIM_AT"), *log = getenv("SHIM_LOG");
  if (!under || !at) return;
  if (text) place = atol(text);
  first = atol(at), last = strchr(at, '-') ? __LONG_MAX__ : first;
  if (first && !deed) deed = "before";
  if (log) log_at = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log && log_at < 0) fail(log);
  /* Does not apply to programs that it starts. */
  unsetenv("LD_PRELOAD");
  struct sigaction act = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART};
  if (sigaction(SIGSYS, &act, NULL)) fail("sigaction");
  filter();
}
