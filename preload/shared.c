#include "preload/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES 4096
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static const uint8_t fake6[12] = TABLE_FAKE6;

/* Pages of this process's table that have been allocated, a bit a page: a connect makes no system call for them. */
static struct {
    const struct table *of;
    uint64_t bits[(sizeof(struct table) / PAGE_BYTES + 63) / 64];
} allocated;

/* NULL: not of the table that is remembered. */
static uint64_t *allocated_word(const struct table *t, size_t page)
{
    const struct table *of = __atomic_load_n(&allocated.of, __ATOMIC_RELAXED);
    if (of != t
        && (of || !__atomic_compare_exchange_n(&allocated.of, &of, t, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)))
        return NULL;
    return &allocated.bits[page / 64];
}

/* The table is sparse. On a full file system the first access to a page, even a read, is a SIGBUS for the program. So
 * the page is allocated with a call that can fail; when the kernel does not support the call, we assume success. */
static bool page_there(const struct table *t, const void *slot)
{
    size_t page = (size_t)((const char *)slot - (const char *)t) / PAGE_BYTES;
    uint64_t *word = allocated_word(t, page), bit = UINT64_C(1) << page % 64;
    if (word && __atomic_load_n(word, __ATOMIC_RELAXED) & bit)
        return true;
    int saved = errno;
    uintptr_t at = (uintptr_t)slot & ~(uintptr_t)(PAGE_BYTES - 1);
    bool there = syscall(SYS_madvise, at, (long)PAGE_BYTES, (long)MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
    errno = saved;
    if (there && word)
        (void)__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
    return there;
}

struct table *shared_map(const char *path)
{
    uint64_t size = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
    if (fd < 0)
        return NULL;
    /* lseek instead of fstat: no structure that differs between machines.  A short file would mean SIGBUS later. */
    long end = syscall(SYS_lseek, fd, 0L, 2 /* SEEK_END */);
    size = end > 0 ? (uint64_t)end : 0;
    void *at = MAP_FAILED;
    if (size == sizeof(struct table))
        at = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (at == MAP_FAILED)
        return NULL;
    struct table *t = at;
    if (t->magic == TABLE_MAGIC)
        return t;
    munmap(at, sizeof(struct table));
    return NULL;
}

static uint64_t turned(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(uint64_t v[4])
{
    v[0] += v[1], v[1] = turned(v[1], 13) ^ v[0], v[0] = turned(v[0], 32);
    v[2] += v[3], v[3] = turned(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = turned(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = turned(v[1], 17) ^ v[2], v[2] = turned(v[2], 32);
}

static void take_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v);
    mix(v);
    v[0] ^= word;
}

/* SipHash-2-4 (Aumasson and Bernstein, 2012): other users see tokens in /proc/net/tcp and may know their names, and
 * learn nothing of the seed from them. */
static uint32_t sum_of(const struct table *t, const void *bytes, size_t n, uint32_t more)
{
    const uint8_t *at = bytes;
    uint64_t v[4] = { t->seed[0] ^ 0x736f6d6570736575u, t->seed[1] ^ 0x646f72616e646f6du,
                      t->seed[0] ^ 0x6c7967656e657261u, t->seed[1] ^ 0x7465646279746573u };
    uint64_t word = 0;
    take_word(v, more);
    for (size_t i = 0; i < n; i++) {
        word |= (uint64_t)at[i] << i % 8 * 8;
        if (i % 8 == 7) {
            take_word(v, word);
            word = 0;
        }
    }
    take_word(v, word | (uint64_t)n << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        mix(v);
    return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* .0 and .255 look like network and broadcast addresses to some programs. */
static bool name_index_usable(uint32_t i)
{
    return (i & 0xff) != 0 && (i & 0xff) != 255;
}

/* Not memcpy(): under ThreadSanitizer it would report these writes as a race, because it does not see the release that
 * follows. */
static void publish(void *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        __atomic_store_n((uint8_t *)dst + i, ((const uint8_t *)src)[i], __ATOMIC_RELAXED);
}

bool shared_name_put(struct table *t, const char *name, uint32_t *ret_index)
{
    size_t length = strlen(name);
    uint32_t start = sum_of(t, name, length, 0);
    for (uint32_t probe = 0; probe < TABLE_NAMES; probe++) {
        uint32_t i = (start + probe) % TABLE_NAMES;
        struct table_name *n = &t->names[i];
        if (!page_there(t, n))
            return false;
        uint8_t state = __atomic_load_n(&n->state, __ATOMIC_ACQUIRE);
        if (!name_index_usable(i))
            continue;
        if (state == TABLE_READY && n->length == length && memcmp(n->text, name, length) == 0) {
            *ret_index = i;
            return true;
        }
        if (state != TABLE_EMPTY
            || !__atomic_compare_exchange_n(&n->state, &state, TABLE_CLAIMED, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_ACQUIRE))
            continue;
        n->length = (uint8_t)length;
        publish(n->text, name, length + 1);
        __atomic_store_n(&n->state, TABLE_READY, __ATOMIC_RELEASE);
        *ret_index = i;
        return true;
    }
    return false;
}

const char *shared_name_get(const struct table *t, uint32_t index)
{
    if (index >= TABLE_NAMES || !page_there(t, &t->names[index])
        || __atomic_load_n(&t->names[index].state, __ATOMIC_ACQUIRE) != TABLE_READY)
        return NULL;
    return t->names[index].text;
}

bool shared_fake_index(const uint8_t address[16], uint32_t *ret_index)
{
    uint32_t v4 = table_mapped(address), index;
    if (v4 != 0)
        index = v4 - TABLE_FAKE4;
    else if (memcmp(address, fake6, sizeof fake6) == 0)
        index = (uint32_t)address[12] << 24 | (uint32_t)address[13] << 16 | (uint32_t)address[14] << 8 | address[15];
    else
        return false;
    if (index >= TABLE_NAMES)
        return false;
    *ret_index = index;
    return true;
}

static bool same_dest(const struct table_dest *a, const struct table_dest *b)
{
    return a->kind == b->kind && a->port == b->port && a->family == b->family && a->name == b->name
           && memcmp(a->address, b->address, sizeof a->address) == 0;
}

/* Finds want, or (insert) puts it into the first empty slot on its way. */
static bool dest_find(struct table *t, const struct table_dest *want, bool insert, uint32_t *ret_index)
{
    uint32_t start = sum_of(t, want->address, sizeof want->address, (uint32_t)want->port << 8 | want->kind);
    for (uint32_t probe = 0; probe < TABLE_DESTS; probe++) {
        uint32_t i = (start + probe) % TABLE_DESTS;
        struct table_dest *d = &t->dests[i];
        if (!page_there(t, d))
            return false;
        uint32_t state = __atomic_load_n(&d->state, __ATOMIC_ACQUIRE);
        if (state == TABLE_READY && same_dest(d, want)) {
            *ret_index = i;
            return true;
        }
        if (state != TABLE_EMPTY)
            continue;
        if (!insert)
            return false;
        if (!__atomic_compare_exchange_n(&d->state, &state, TABLE_CLAIMED, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            continue;
        d->name = want->name;
        d->port = want->port;
        d->kind = want->kind;
        d->family = want->family;
        publish(d->address, want->address, sizeof d->address);
        __atomic_store_n(&d->state, TABLE_READY, __ATOMIC_RELEASE);
        *ret_index = i;
        return true;
    }
    return false;
}

bool shared_dest_put(struct table *t, const struct target *to, uint32_t name, enum table_kind kind, uint32_t *ret_index)
{
    struct table_dest want = { .name = name, .port = to->port, .kind = (uint8_t)kind, .family = to->family };
    memcpy(want.address, to->address, sizeof want.address);
    return dest_find(t, &want, true, ret_index);
}

bool shared_dest_get(const struct table *t, uint32_t index, struct target *ret)
{
    const struct table_dest *d = &t->dests[index];
    if (__atomic_load_n(&d->state, __ATOMIC_ACQUIRE) != TABLE_READY
        || (d->kind != TABLE_VIA_US && d->kind != TABLE_PROXY))
        return false;
    ret->family = d->family;
    ret->port = d->port;
    memcpy(ret->address, d->address, sizeof ret->address);
    return true;
}

static struct table_dest direct_mark(const uint8_t address[16])
{
    struct table_dest mark = { .name = TABLE_NO_NAME, .kind = TABLE_DIRECT };
    memcpy(mark.address, address, sizeof mark.address);
    return mark;
}

void shared_direct_put(struct table *t, const uint8_t address[16])
{
    struct table_dest mark = direct_mark(address);
    uint32_t index;
    (void)dest_find(t, &mark, true, &index); /* full: the address goes through us, the safe side */
}

bool shared_direct(const struct table *t, const uint8_t address[16])
{
    struct table_dest mark = direct_mark(address);
    uint32_t index;
    return dest_find((struct table *)(uintptr_t)t, &mark, false, &index);
}
