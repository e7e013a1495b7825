#include "refresh/store/lease_file.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "sidekey-lease 1 "
#define BOOT_ID_SIZE 37
#define LINE_MAX_BYTES 256
#define SECTION_BYTE 0
#define FIRST_OWNER_BYTE 1024

const char *lease_file_boot(void)
{
    static char id[BOOT_ID_SIZE];
    if (id[0] != '\0')
        return id;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, id, sizeof id - 1) : -1;
    if (fd >= 0)
        close(fd);
    if (got != sizeof id - 1) /* no /proc: the byte lock and the end decide alone */
        snprintf(id, sizeof id, "unknown");
    return id;
}

static struct flock one_byte(short type, off_t at)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };
}

/* 0; -EAGAIN: another descriptor has it; -errno. */
static int lock_byte(int fd, short type, off_t at)
{
    struct flock lock = one_byte(type, at);
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

int lease_file_enter(const struct state_dir *dir, const char *cred)
{
    char name[STATE_DIR_FILE_SIZE];
    struct stat st;
    snprintf(name, sizeof name, "%s.lock", cred);
    int fd = state_dir_file(dir, name, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    int failed = lock_byte(fd, F_WRLCK, SECTION_BYTE);
    if (failed == 0 && fstat(fd, &st) != 0)
        failed = -errno;
    if (failed == 0 && st.st_nlink == 0) /* somebody removed the file since we opened it: it locks nothing */
        failed = -EAGAIN;
    if (failed) {
        close(fd);
        return failed;
    }
    return fd;
}

void lease_file_leave(int section)
{
    (void)lock_byte(section, F_UNLCK, SECTION_BYTE);
}

/* ---- the line ---- */

static void owner_text(const struct store_owner *owner, char text[LEASE_FILE_OWNER_TEXT])
{
    for (size_t i = 0; i < STORE_OWNER_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", owner->bytes[i]);
}

bool lease_file_is(const struct lease_file *lease, const struct store_owner *owner)
{
    char text[LEASE_FILE_OWNER_TEXT];
    owner_text(owner, text);
    return lease->left_ms > 0 && strcmp(lease->owner, text) == 0;
}

/* Owners are random, so no two share a byte. */
static off_t owner_byte(const char *owner)
{
    char head[16] = { 0 };
    memcpy(head, owner, 15);
    return (off_t)(FIRST_OWNER_BYTE + strtoull(head, NULL, 16));
}

/* What cannot be read was cut by a crash of the machine, and so of the holder: free. */
static bool parse(struct slice line, struct lease_file *ret, int64_t *ret_end_ms)
{
    struct slice rest;
    uint64_t end_ms;
    line = slice_cut(line, '\n', &rest);
    if (!slice_starts(line, SLICE(MAGIC)))
        return false;
    struct slice owner = slice_cut(slice_skip(line, sizeof MAGIC - 1), ' ', &rest);
    struct slice end = slice_cut(rest, ' ', &rest);
    struct slice boot = slice_cut(rest, ' ', &rest);
    if (owner.len != LEASE_FILE_OWNER_TEXT - 1 || slice_u64(end, INT64_MAX, &end_ms) != 0
        || !slice_eq(boot, slice_str(lease_file_boot())))
        return false;
    memcpy(ret->owner, owner.ptr, owner.len);
    ret->owner[owner.len] = '\0';
    *ret_end_ms = (int64_t)end_ms;
    return strspn(ret->owner, "0123456789abcdef") == owner.len;
}

/* Is the owner's byte locked?  Our own descriptor here is a fresh one: it has no lock but the section's. */
static int alive(int section, const char *owner, bool *ret)
{
    struct flock lock = one_byte(F_WRLCK, owner_byte(owner));
    if (fcntl(section, F_OFD_GETLK, &lock) != 0)
        return -errno;
    *ret = lock.l_type != F_UNLCK;
    return 0;
}

int lease_file_look(int section, struct lease_file *ret)
{
    char line[LINE_MAX_BYTES];
    int64_t end_ms;
    bool lives = false;
    ssize_t got = pread(section, line, sizeof line, 0);
    if (got < 0)
        return -errno;
    *ret = (struct lease_file){ 0 };
    if (!parse(slice_of(line, (size_t)got), ret, &end_ms))
        return 0;
    int failed = alive(section, ret->owner, &lives);
    if (failed)
        return failed;
    int64_t left_ms = end_ms - clock_mono_ms();
    ret->left_ms = lives && left_ms > 0 ? left_ms : 0;
    return 0;
}

int lease_file_extend(int section, const struct store_owner *owner, int64_t ttl_ms)
{
    char line[LINE_MAX_BYTES], text[LEASE_FILE_OWNER_TEXT];
    owner_text(owner, text);
    int len = snprintf(line, sizeof line, MAGIC "%s %" PRId64 " %s %jd\n", text, clock_mono_ms() + ttl_ms,
                       lease_file_boot(), (intmax_t)getpid());
    ssize_t put = pwrite(section, line, (size_t)len, 0);
    if (put == len)
        return ftruncate(section, len) == 0 ? 0 : -errno;
    return put < 0 ? -errno : -ENOSPC;
}

int lease_file_take(int section, const struct store_owner *owner, int64_t ttl_ms)
{
    char text[LEASE_FILE_OWNER_TEXT];
    owner_text(owner, text);
    int failed =
        lock_byte(section, F_WRLCK, owner_byte(text)); /* before the line: whoever reads it must find us alive */
    return failed ? failed : lease_file_extend(section, owner, ttl_ms);
}

int lease_file_drop(int section)
{
    return ftruncate(section, 0) == 0 ? 0 : -errno;
}
