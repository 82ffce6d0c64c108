//! What a process does to the files below one directory, written down in the order in which it happened.
//!
//! Loaded with LD_PRELOAD. A seccomp filter lets every system call that can change a file, or send something
//! on a socket, arrive here as a signal, whoever made it: libc, or code that makes system calls by itself. It is
//! made from here then, and a record of it goes to a log. Knows nothing of what is in the files.
//!
//!   POWERCUT_ROOT     the directory
//!   POWERCUT_LOG      the log, outside of it; it is appended to, and others may append whole records, too
//!   POWERCUT_END_AT   the process is killed when it has made its record of this number
//!   POWERCUT_SYNC_US  a sync takes up to this much longer, so that others get something done meanwhile
//!
//! Records are lines of words, a name is the rest of its line, bytes follow on the next:
//!
//!   root FILE             (a process begins; this is the directory)
//!   create FILE NAME      mkdir FILE NAME        unlink NAME     rmdir NAME
//!   rename NAME<tab>NAME  link FILE NAME
//!   write FILE OFFSET LENGTH\nBYTES   truncate FILE LENGTH   allocate FILE MODE OFFSET LENGTH
//!   sync NUMBER FILE      synced NUMBER     (what was written before `sync` is on the disk when `synced` is there)
//!   send SOCKET LENGTH\nBYTES
//!   beyond NAME           (something that this does not follow)

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NAME_BYTES 4352
#define PARTS_MAX 1000
#define FILES_MAX (1 << 16)

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
__asm__(".text\n.globl powercut_call\n.type powercut_call,@function\npowercut_call:\n"
        "mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\nmov 8(%rsp),%r9\n"
        "syscall\n.globl powercut_called\npowercut_called:\nret\n");
#define ARGUMENT(context, n) ((context)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9}[n]])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
__asm__(".text\n.globl powercut_call\n.type powercut_call,@function\npowercut_call:\n"
        "mov x8,x0\nmov x0,x1\nmov x1,x2\nmov x2,x3\nmov x3,x4\nmov x4,x5\nmov x5,x6\n"
        "svc #0\n.globl powercut_called\npowercut_called:\nret\n");
#define ARGUMENT(context, n) ((context)->uc_mcontext.regs[n])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#error "only x86-64 and AArch64"
#endif

/* A system call that the filter lets through, because of where it is made. Answers -errno. */
long powercut_call(long number, long a, long b, long c, long d, long e, long f);
extern const char powercut_called[];
#define CALL(number, a, b, c, d, e, f) \
    powercut_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static char root[NAME_BYTES];
static size_t root_length;
static dev_t device;
static int log_file = -1;
static long sync_us, end_at, made;
static unsigned long syncs;
/* Order of things: a change and its record are one. Held during everything except the waiting in a sync. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *why)
{
    CALL(SYS_write, 2, why, strlen(why), 0, 0, 0);
    CALL(SYS_exit_group, 99, 0, 0, 0, 0, 0);
}

/* One record, in one write. */
static void put(const char *head, const struct iovec *parts, int count, size_t bytes)
{
    struct iovec all[PARTS_MAX + 2];
    int used = 0;
    if (count > PARTS_MAX)
        give_up("powercut: a write in too many parts\n");
    size_t left = bytes, whole = strlen(head);
    all[used++] = (struct iovec){(void *)head, whole};
    for (int index = 0; index < count && left > 0; index++) {
        size_t length = parts[index].iov_len < left ? parts[index].iov_len : left;
        if (length == 0)
            continue;
        all[used++] = (struct iovec){parts[index].iov_base, length};
        left -= length;
        whole += length;
    }
    if (count > 0) {
        all[used++] = (struct iovec){"\n", 1};
        whole += 1;
    }
    if (CALL(SYS_writev, log_file, all, used, 0, 0, 0) != (long)whole)
        give_up("powercut: the log cannot be written\n");
    if (++made == end_at)
        CALL(SYS_kill, CALL(SYS_getpid, 0, 0, 0, 0, 0, 0), SIGKILL, 0, 0, 0, 0);
}

#define SAY(...) \
    do { \
        char line[3 * NAME_BYTES]; \
        snprintf(line, sizeof line, __VA_ARGS__); \
        put(line, NULL, 0, 0); \
    } while (0)

/* The files and directories below the root that were ever open or made, by inode number. */
static unsigned long files[FILES_MAX];

static unsigned long *slot(unsigned long file)
{
    unsigned long at = file * 0x9e3779b97f4a7c15ul >> 48;
    for (int tries = 0; tries < FILES_MAX; tries++, at = (at + 1) % FILES_MAX)
        if (files[at] == file || files[at] == 0)
            return &files[at];
    give_up("powercut: too many files\n");
    return NULL;
}

/* The number of an open file below the root, or 0. */
static unsigned long file_of(int fd)
{
    struct stat about;
    if (CALL(SYS_fstat, fd, &about, 0, 0, 0, 0) != 0 || !(S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)))
        return 0;
    if (about.st_dev != device)
        return 0;
    return *slot(about.st_ino) ? about.st_ino : 0;
}

static int is_socket(int fd)
{
    struct stat about;
    return CALL(SYS_fstat, fd, &about, 0, 0, 0, 0) == 0 && S_ISSOCK(about.st_mode);
}

static int below_root(const char *name)
{
    return strncmp(name, root, root_length) == 0 && (name[root_length] == '/' || name[root_length] == 0);
}

/* The whole name of a file. */
static void name_of(int directory, const char *name, char *whole)
{
    char link[64];
    long length = 0;
    if (name[0] == '/') {
        snprintf(whole, NAME_BYTES, "%s", name);
        return;
    }
    if (directory == AT_FDCWD)
        snprintf(link, sizeof link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    length = CALL(SYS_readlinkat, AT_FDCWD, link, whole, NAME_BYTES - 1, 0, 0);
    if (length < 0)
        length = 0;
    snprintf(whole + length, NAME_BYTES - length, "%s%s", *name ? "/" : "", name);
}

static const char *short_name(const char *whole)
{
    return whole[root_length] ? whole + root_length + 1 : ".";
}

static unsigned long number_of(const char *name)
{
    struct stat about;
    if (CALL(SYS_newfstatat, AT_FDCWD, name, &about, AT_SYMLINK_NOFOLLOW, 0, 0) != 0)
        return 0;
    return about.st_ino;
}

static long opened(int directory, const char *given, int flags, int mode)
{
    char name[NAME_BYTES];
    name_of(directory, given, name);
    if (!below_root(name))
        return CALL(SYS_openat, directory, given, flags, mode, 0, 0);
    if ((flags & O_TMPFILE) == O_TMPFILE)
        SAY("beyond O_TMPFILE\n");
    unsigned long before = number_of(name);
    long fd = CALL(SYS_openat, directory, given, flags, mode, 0, 0);
    if (fd < 0)
        return fd;
    unsigned long file = number_of(name);
    *slot(file) = file;
    if (before == 0)
        SAY("create %lu %s\n", file, short_name(name));
    else if (flags & O_TRUNC)
        SAY("truncate %lu 0\n", file);
    return fd;
}

/* A change of names. `second` is empty where there is only one. */
static long renamed(long call, int from, const char *first, int to, const char *second, long flags)
{
    char before[NAME_BYTES], after[NAME_BYTES] = "";
    name_of(from, first, before);
    if (second)
        name_of(to, second, after);
    long result;
    switch (call) {
    case SYS_renameat2: result = CALL(call, from, first, to, second, flags, 0); break;
    case SYS_linkat: result = CALL(call, from, first, to, second, flags, 0); break;
    case SYS_mkdirat: result = CALL(call, from, first, flags, 0, 0, 0); break;
    default: result = CALL(call, from, first, flags, 0, 0, 0); break;
    }
    if (result != 0 || !(below_root(before) || (second && below_root(after))))
        return result;
    if (second && !(below_root(before) && below_root(after))) {
        SAY("beyond a move into or out of the directory\n");
    } else if (call == SYS_renameat2) {
        if (flags & ~RENAME_NOREPLACE)
            SAY("beyond renameat2\n");
        SAY("rename %s\t%s\n", short_name(before), short_name(after));
    } else if (call == SYS_linkat) {
        SAY("link %lu %s\n", number_of(after), short_name(after));
    } else if (call == SYS_mkdirat) {
        unsigned long file = number_of(before);
        *slot(file) = file;
        SAY("mkdir %lu %s\n", file, short_name(before));
    } else {
        SAY("%s %s\n", flags & AT_REMOVEDIR ? "rmdir" : "unlink", short_name(before));
    }
    return result;
}

static long written(long call, int fd, const struct iovec *parts, int count, long offset, long flags)
{
    long result;
    char head[128];
    switch (call) {
    case SYS_write: result = CALL(call, fd, parts->iov_base, parts->iov_len, 0, 0, 0); break;
    case SYS_writev: result = CALL(call, fd, parts, count, 0, 0, 0); break;
    case SYS_pwrite64: result = CALL(call, fd, parts->iov_base, parts->iov_len, offset, 0, 0); break;
    default: result = CALL(SYS_pwritev2, fd, parts, count, offset, 0, flags); break;
    }
    if (result <= 0)
        return result;
    unsigned long file = file_of(fd);
    if (file) {
        long at = call == SYS_write || call == SYS_writev || offset < 0
            ? CALL(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0) - result : offset;
        snprintf(head, sizeof head, "write %lu %ld %ld\n", file, at, result);
        put(head, parts, count, result);
    } else if (is_socket(fd)) {
        snprintf(head, sizeof head, "send %d %ld\n", fd, result);
        put(head, parts, count, result);
    }
    return result;
}

static long sent(long call, long a, long b, long c, long d, long e, long f)
{
    char head[128];
    long result = CALL(call, a, b, c, d, e, f);
    if (result <= 0)
        return result;
    struct iovec one = {(void *)b, c};
    const struct msghdr *message = (const struct msghdr *)b;
    snprintf(head, sizeof head, "send %d %ld\n", (int)a, result);
    if (call == SYS_sendto)
        put(head, &one, 1, result);
    else
        put(head, message->msg_iov, message->msg_iovlen, result);
    return result;
}

/* Not in its turn: others write while the disk works, and what they write is not covered. */
static long synced(long call, long a, long b, long c, long d)
{
    static unsigned long random = 0x2545f4914f6cdd1dul;
    pthread_mutex_lock(&turn);
    unsigned long file = file_of(a), number = ++syncs;
    random = random * 6364136223846793005ul + 1442695040888963407ul;
    unsigned long drawn = random >> 33;
    if (file)
        SAY("sync %lu %lu\n", number, file);
    pthread_mutex_unlock(&turn);
    if (file && sync_us > 0) {
        struct timespec wait = {0, (drawn % sync_us) * 1000};
        CALL(SYS_nanosleep, &wait, 0, 0, 0, 0, 0);
    }
    long result = CALL(call, a, b, c, d, 0, 0);
    pthread_mutex_lock(&turn);
    if (file && result == 0)
        SAY("synced %lu\n", number);
    pthread_mutex_unlock(&turn);
    return result;
}

static long sized(long call, long a, long b, long c, long d)
{
    long result = CALL(call, a, b, c, d, 0, 0);
    unsigned long file = file_of(a);
    if (result == 0 && file && call == SYS_ftruncate)
        SAY("truncate %lu %ld\n", file, b);
    else if (result == 0 && file)
        SAY("allocate %lu %ld %ld %ld\n", file, b, c, d);
    return result;
}

/* In its turn. */
static long changed(long call, const long *a)
{
    struct iovec one = {(void *)a[1], a[2]};
    char name[NAME_BYTES];
    switch (call) {
    case SYS_write: return written(call, a[0], &one, 1, 0, 0);
    case SYS_pwrite64: return written(call, a[0], &one, 1, a[3], 0);
    case SYS_writev: return written(call, a[0], (void *)a[1], a[2], 0, 0);
    case SYS_pwritev: return written(call, a[0], (void *)a[1], a[2], a[3], 0);
    case SYS_pwritev2: return written(call, a[0], (void *)a[1], a[2], a[3], a[5]);
    case SYS_sendto:
    case SYS_sendmsg: return sent(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_openat: return opened(a[0], (void *)a[1], a[2], a[3]);
    case SYS_renameat: return renamed(SYS_renameat2, a[0], (void *)a[1], a[2], (void *)a[3], 0);
    case SYS_renameat2: return renamed(call, a[0], (void *)a[1], a[2], (void *)a[3], a[4]);
    case SYS_linkat: return renamed(call, a[0], (void *)a[1], a[2], (void *)a[3], a[4]);
    case SYS_unlinkat:
    case SYS_mkdirat: return renamed(call, a[0], (void *)a[1], 0, NULL, a[2]);
#if defined(__x86_64__)
    case SYS_open: return opened(AT_FDCWD, (void *)a[0], a[1], a[2]);
    case SYS_creat: return opened(AT_FDCWD, (void *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_rename: return renamed(SYS_renameat2, AT_FDCWD, (void *)a[0], AT_FDCWD, (void *)a[1], 0);
    case SYS_link: return renamed(SYS_linkat, AT_FDCWD, (void *)a[0], AT_FDCWD, (void *)a[1], 0);
    case SYS_unlink: return renamed(SYS_unlinkat, AT_FDCWD, (void *)a[0], 0, NULL, 0);
    case SYS_rmdir: return renamed(SYS_unlinkat, AT_FDCWD, (void *)a[0], 0, NULL, AT_REMOVEDIR);
    case SYS_mkdir: return renamed(SYS_mkdirat, AT_FDCWD, (void *)a[0], 0, NULL, a[1]);
#endif
    case SYS_ftruncate:
    case SYS_fallocate: return sized(call, a[0], a[1], a[2], a[3]);
    case SYS_mmap:
        if (file_of(a[4]))
            SAY("beyond a shared mapping\n");
        return CALL(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_copy_file_range:
        if (file_of(a[2]))
            return -ENOSYS; /* Whoever asks copies by reading and writing then. */
        return CALL(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_sendfile:
    case SYS_splice:
        if (file_of(call == SYS_sendfile ? a[0] : a[2]))
            return -EINVAL;
        return CALL(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    case SYS_ioctl:
        if (!file_of(a[0]))
            return CALL(call, a[0], a[1], a[2], a[3], a[4], a[5]);
        return -EOPNOTSUPP; /* Cloning of files. */
    case SYS_io_uring_setup: return -ENOSYS;
    case SYS_truncate:
        name_of(AT_FDCWD, (void *)a[0], name);
        if (below_root(name))
            SAY("beyond truncate\n");
        break;
    case SYS_openat2:
    case SYS_symlinkat: SAY("beyond system call %ld\n", call); break;
    default: break;
    }
    return CALL(call, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void arrived(int signal, siginfo_t *about, void *context_of)
{
    ucontext_t *context = context_of;
    long a[6], call = about->si_syscall, result;
    (void)signal;
    for (int index = 0; index < 6; index++)
        a[index] = ARGUMENT(context, index);
    if (call == SYS_fsync || call == SYS_fdatasync || call == SYS_sync_file_range) {
        /* `sync_file_range` promises nothing: it happens, and is no sync. */
        result = call == SYS_sync_file_range ? CALL(call, a[0], a[1], a[2], a[3], 0, 0) : synced(call, a[0], a[1], a[2], a[3]);
    } else {
        pthread_mutex_lock(&turn);
        result = changed(call, a);
        pthread_mutex_unlock(&turn);
    }
    RESULT(context) = result;
}

static const int watched[] = {
#if defined(__x86_64__)
    SYS_open, SYS_creat, SYS_rename, SYS_link, SYS_unlink, SYS_rmdir, SYS_mkdir,
#endif
    SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_sendto, SYS_sendmsg, SYS_openat, SYS_openat2,
    SYS_renameat, SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_unlinkat, SYS_mkdirat, SYS_ftruncate, SYS_truncate,
    SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_copy_file_range, SYS_sendfile, SYS_splice,
    SYS_io_uring_setup,
};
#define WATCHED (sizeof watched / sizeof *watched)

static void install(void)
{
    struct sock_filter filter[WATCHED + 32];
    unsigned short n = 0;
    unsigned long from_here = (unsigned long)powercut_called;
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (field))
#define EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define PUT(...) filter[n++] = (struct sock_filter)__VA_ARGS__
    PUT(LOAD(offsetof(struct seccomp_data, arch)));
    PUT(EQUAL(ARCH, 1, 0));
    PUT(ANSWER(SECCOMP_RET_ALLOW));
    PUT(LOAD(offsetof(struct seccomp_data, instruction_pointer)));
    PUT(EQUAL((unsigned)from_here, 0, 3));
    PUT(LOAD(offsetof(struct seccomp_data, instruction_pointer) + 4));
    PUT(EQUAL((unsigned)(from_here >> 32), 0, 1));
    PUT(ANSWER(SECCOMP_RET_ALLOW));
    PUT(LOAD(offsetof(struct seccomp_data, nr)));
    /* A mapping counts when it is shared and may be written to; an ioctl when it clones. */
    PUT(EQUAL(SYS_mmap, 0, 6));
    PUT(LOAD(offsetof(struct seccomp_data, args[3])));
    PUT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_SHARED, 0, 3));
    PUT(LOAD(offsetof(struct seccomp_data, args[2])));
    PUT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_WRITE, 0, 1));
    PUT(ANSWER(SECCOMP_RET_TRAP));
    PUT(ANSWER(SECCOMP_RET_ALLOW));
    PUT(EQUAL(SYS_ioctl, 0, 4));
    PUT(LOAD(offsetof(struct seccomp_data, args[1])));
    PUT(EQUAL(0x40049409 /* FICLONE */, 0, 1));
    PUT(ANSWER(SECCOMP_RET_TRAP));
    PUT(ANSWER(SECCOMP_RET_ALLOW));
    for (size_t index = 0; index < WATCHED; index++)
        PUT(EQUAL(watched[index], WATCHED - index, 0));
    PUT(ANSWER(SECCOMP_RET_ALLOW));
    PUT(ANSWER(SECCOMP_RET_TRAP));
    struct sock_fprog program = {n, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        give_up("powercut: system calls cannot be watched here (seccomp)\n");
}

__attribute__((constructor)) static void begin(void)
{
    const char *log_name = getenv("POWERCUT_LOG"), *root_name = getenv("POWERCUT_ROOT"), *us = getenv("POWERCUT_SYNC_US");
    const char *end = getenv("POWERCUT_END_AT");
    struct stat about;
    struct sigaction action = {.sa_sigaction = arrived, .sa_flags = SA_SIGINFO};
    if (!log_name || !root_name)
        return;
    unsetenv("LD_PRELOAD");
    snprintf(root, sizeof root, "%s", root_name);
    root_length = strlen(root);
    if (stat(root, &about) != 0)
        give_up("powercut: there is no such directory\n");
    device = about.st_dev;
    sync_us = us ? atol(us) : 0;
    end_at = end ? atol(end) : 0;
    log_file = open(log_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_file < 0)
        give_up("powercut: the log cannot be opened\n");
    *slot(about.st_ino) = about.st_ino;
    SAY("root %lu\n", (unsigned long)about.st_ino);
    sigfillset(&action.sa_mask);
    sigaction(SIGSYS, &action, NULL);
    install();
}
