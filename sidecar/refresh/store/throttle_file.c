#include "refresh/store/throttle_file.h"

#include "base/clock.h"
#include "refresh/store/lease_file.h"

#include <inttypes.h>
#include <stdio.h>

#define MAGIC "sidekey-throttle 1 "
#define LINE_MAX_BYTES 128

static const char *name_of(const char *cred, char name[STATE_DIR_FILE_SIZE])
{
    snprintf(name, STATE_DIR_FILE_SIZE, "%s.throttle", cred);
    return name;
}

/* "sidekey-throttle 1 END BOOT". */
static int64_t end_of(struct slice line)
{
    struct slice rest;
    uint64_t end_ms;
    line = slice_cut(line, '\n', &rest);
    if (!slice_starts(line, SLICE(MAGIC)))
        return 0;
    struct slice end = slice_cut(slice_skip(line, sizeof MAGIC - 1), ' ', &rest);
    return slice_u64(end, INT64_MAX, &end_ms) == 0 && slice_eq(rest, slice_str(lease_file_boot())) ? (int64_t)end_ms
                                                                                                   : 0;
}

int64_t throttle_file_left_ms(const struct state_dir *dir, const char *cred)
{
    char name[STATE_DIR_FILE_SIZE];
    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    int64_t left_ms =
        state_dir_read(dir, name_of(cred, name), &line) == 0 ? end_of(buf_slice(&line)) - clock_mono_ms() : 0;
    buf_done(&line);
    return left_ms > 0 && left_ms <= STORE_THROTTLE_MAX_MS ? left_ms : 0; /* we write no longer one */
}

int throttle_file_set(const struct state_dir *dir, const char *cred, int64_t pause_ms)
{
    char name[STATE_DIR_FILE_SIZE], line[LINE_MAX_BYTES];
    if (throttle_file_left_ms(dir, cred) >= pause_ms)
        return 0;
    int len = snprintf(line, sizeof line, MAGIC "%" PRId64 " %s\n", clock_mono_ms() + pause_ms, lease_file_boot());
    return state_dir_replace(dir, name_of(cred, name), slice_of(line, (size_t)len));
}
