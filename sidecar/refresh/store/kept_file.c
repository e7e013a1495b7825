#include "refresh/store/kept_file.h"

#include "refresh/store/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define MAGIC "sidekey-kept 1 "
#define HEAD_MAX_BYTES 64
#define FILE_MAX_BYTES (HEAD_MAX_BYTES + STATE_MAX_BYTES + 64)

static const char *name_of(const char *cred, char name[STATE_DIR_FILE_SIZE])
{
    snprintf(name, STATE_DIR_FILE_SIZE, "%.*s" KEPT_FILE_SUFFIX, STATE_DIR_NAME_MAX, cred);
    return name;
}

static int parse(struct slice file, uint64_t *ret_generation, struct slice *ret_sealed)
{
    struct slice line = slice_cut(file, '\n', ret_sealed);
    uint64_t generation;
    if (!ret_sealed->ptr || !slice_starts(line, SLICE(MAGIC))
        || slice_u64(slice_skip(line, sizeof MAGIC - 1), STATE_GENERATION_MAX, &generation) != 0 || generation == 0)
        return -EBADMSG;
    *ret_generation = generation;
    return 0;
}

int kept_file_read(const struct state_dir *dir, const char *cred, uint64_t *ret_generation, struct buf *ret_sealed)
{
    char name[STATE_DIR_FILE_SIZE];
    struct slice sealed;
    struct buf file;
    buf_init(&file, FILE_MAX_BYTES);
    int failed = state_dir_read(dir, name_of(cred, name), &file);
    if (failed == 0)
        failed = parse(buf_slice(&file), ret_generation, &sealed);
    if (failed == 0)
        failed = buf_add(ret_sealed, sealed);
    buf_done(&file);
    return failed;
}

int kept_file_write(const struct state_dir *dir, const char *cred, uint64_t generation, struct slice sealed,
                    bool useless)
{
    char name[STATE_DIR_FILE_SIZE];
    uint64_t there = 0;
    struct buf file;
    buf_init(&file, FILE_MAX_BYTES);
    int failed = kept_file_read(dir, cred, &there, &file);
    buf_clear(&file);
    if (failed == 0 && there > generation && !useless) {
        buf_done(&file);
        return 0;
    }
    failed = buf_printf(&file, MAGIC "%" PRIu64 "\n", generation);
    if (failed == 0)
        failed = buf_add(&file, sealed);
    if (failed == 0)
        failed = state_dir_replace(dir, name_of(cred, name), buf_slice(&file));
    buf_done(&file);
    return failed;
}
