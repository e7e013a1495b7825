#include "base/metrics_area.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES 511
#define RECORD_MIN offsetof(struct metrics_series, name)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) /* a child that cuts it would end its parent by SIGBUS */

struct head {
    atomic_uint_least64_t used; /* bytes, this head too; written after the record that it lets in */
};

static struct head *head_of(const struct metrics_area *a)
{
    return (struct head *)(void *)a->bytes;
}

static int map(struct metrics_area *a)
{
    int flags = MAP_SHARED | MAP_NORESERVE | (a->fd < 0 ? MAP_ANONYMOUS : 0);
    void *at = mmap(NULL, METRICS_AREA_BYTES, PROT_READ | PROT_WRITE, flags, a->fd, 0);
    a->bytes = at == MAP_FAILED ? NULL : at;
    return a->bytes ? 0 : -ENOMEM;
}

int metrics_area_open(struct metrics_area *a)
{
    a->fd = memfd_create("sidekey-counters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (a->fd >= 0 && (ftruncate(a->fd, METRICS_AREA_BYTES) != 0 || fcntl(a->fd, F_ADD_SEALS, SEALS) != 0))
        metrics_area_close_fd(a);
    int failed = map(a);
    if (failed)
        metrics_area_close(a);
    else
        atomic_store(&head_of(a)->used, sizeof(struct head));
    return failed;
}

int metrics_area_adopt(struct metrics_area *a, int fd)
{
    struct stat st;
    *a = (struct metrics_area){ .fd = fd };
    bool good = fstat(fd, &st) == 0 && st.st_size == METRICS_AREA_BYTES && map(a) == 0;
    if (!good)
        metrics_area_close(a);
    return good ? 0 : -EINVAL;
}

void metrics_area_close_fd(struct metrics_area *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
}

void metrics_area_close(struct metrics_area *a)
{
    if (a->bytes)
        munmap(a->bytes, METRICS_AREA_BYTES);
    a->bytes = NULL;
    metrics_area_close_fd(a);
}

struct metrics_series *metrics_area_add(struct metrics_area *a, struct slice name)
{
    struct head *head = head_of(a);
    uint64_t used = atomic_load(&head->used);
    size_t size = (RECORD_MIN + name.len + 1 + 7) / 8 * 8;
    if (name.len > NAME_BYTES || used > METRICS_AREA_BYTES - size)
        return NULL;
    struct metrics_series *s = (struct metrics_series *)(void *)(a->bytes + used);
    *s = (struct metrics_series){ .record_bytes = (uint32_t)size, .family_bytes = (uint32_t)slice_find(name, '{') };
    memcpy(s->name, name.ptr, name.len);
    s->name[name.len] = '\0';
    atomic_store(&head->used, used + size);
    return s;
}

/* The record at that place, when it lies whole in the first `used` bytes; its size is read once. */
static struct metrics_series *record_at(const struct metrics_area *a, uint64_t at, uint64_t used, uint32_t *ret_size)
{
    if (used > METRICS_AREA_BYTES || at + RECORD_MIN + 1 > used)
        return NULL;
    struct metrics_series *s = (struct metrics_series *)(void *)(a->bytes + at);
    *ret_size = *(const volatile uint32_t *)&s->record_bytes;
    bool whole = *ret_size > RECORD_MIN && *ret_size % 8 == 0 && *ret_size <= used - at;
    return whole ? s : NULL;
}

struct metrics_series *metrics_area_next(const struct metrics_area *a, const struct metrics_series *s)
{
    uint32_t size;
    uint64_t at = sizeof(struct head);
    if (s)
        at = (uint64_t)((const char *)s - a->bytes) + s->record_bytes;
    return record_at(a, at, atomic_load(&head_of(a)->used), &size);
}

/* Text of ours is printable; whatever else stands there ends nothing but this series. */
static bool is_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] < ' ' || name[i] > '~')
            return false;
    return len > 0;
}

void metrics_area_each(const struct metrics_area *a, void (*fn)(void *arg, struct slice name, double value), void *arg)
{
    char name[NAME_BYTES + 1];
    uint64_t at = sizeof(struct head), used = atomic_load(&head_of(a)->used);
    uint32_t size;
    const struct metrics_series *s;
    for (; (s = record_at(a, at, used, &size)); at += size) {
        size_t room = size - RECORD_MIN < sizeof name ? size - RECORD_MIN : sizeof name;
        double value = *(const volatile double *)&s->value;
        memcpy(name, s->name, room);
        size_t len = strnlen(name, room);
        if (len < room && !*(const volatile uint32_t *)&s->ended && isfinite(value) && is_name(name, len))
            fn(arg, slice_of(name, len), value);
    }
}
