#include "net/tls/tls_cold.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BULKY 2048  /* smaller ones stay with malloc: they are full */
#define SIZES_MAX 6 /* allocations of one SSL_new() that are bulky */
#define SLOTS_MAX 8 /* … of one connection: a new record layer is made before the old one goes */
#define ALIGN 16
#define PAGE 4096 /* where pages are larger, a box would take more than it saves: none is made */
#define BOXES_PER_CHUNK 64
#define CHUNKS_MAX 4096

/* LeakSanitizer, when it is there, looks for pointers on the heap alone. */
extern void __lsan_register_root_region(const void *at, size_t bytes) __attribute__((weak));

struct slot {
    uint16_t at, size; /* in units of ALIGN */
    bool live;
};

struct tls_box {
    struct tls_box *next; /* free ones */
    unsigned char *base;  /* box_bytes of address space */
    struct slot slots[SLOTS_MAX];
    size_t slot_count, used; /* used: in units of ALIGN */
    uint64_t *stored;        /* runs: place and count of words, then the words; ends with a count of 0 */
    size_t stored_bytes;
};

struct chunk {
    unsigned char *base;
    struct tls_box boxes[BOXES_PER_CHUNK];
};

static struct {
    bool hooked, learning;
    size_t sizes[SIZES_MAX], count; /* what SSL_new() asked for */
    size_t box_bytes;               /* 0: nothing was learned */
    struct chunk *chunks[CHUNKS_MAX];
    size_t chunk_count;
    const unsigned char *lowest, *highest; /* of all chunks: most pointers are told apart by these alone */
    struct tls_box *free;
    struct tls_box *now; /* whose connection OpenSSL works for */
} cold;

/* --- boxes --- */

static size_t chunk_bytes(void)
{
    return cold.box_bytes * BOXES_PER_CHUNK;
}

static bool add_chunk(void)
{
    struct chunk *c = cold.chunk_count < CHUNKS_MAX ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return false;
    c->base = mmap(NULL, chunk_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c->base == MAP_FAILED) {
        free(c);
        return false;
    }
    (void)madvise(c->base, chunk_bytes(), MADV_NOHUGEPAGE); /* a huge page would not go back page by page */
    if (__lsan_register_root_region)
        __lsan_register_root_region(c->base, chunk_bytes());
    for (size_t i = BOXES_PER_CHUNK; i-- > 0;) {
        c->boxes[i].base = c->base + i * cold.box_bytes;
        c->boxes[i].next = cold.free;
        cold.free = &c->boxes[i];
    }
    cold.chunks[cold.chunk_count++] = c;
    if (!cold.lowest || c->base < cold.lowest)
        cold.lowest = c->base;
    if (c->base + chunk_bytes() > cold.highest)
        cold.highest = c->base + chunk_bytes();
    return true;
}

struct tls_box *tls_cold_new(void)
{
    if (cold.box_bytes == 0 || (!cold.free && !add_chunk()))
        return NULL;
    struct tls_box *b = cold.free;
    cold.free = b->next;
    b->next = NULL;
    return b;
}

static bool in_use(const struct tls_box *b)
{
    bool live = false;
    for (size_t i = 0; i < b->slot_count; i++)
        live |= b->slots[i].live;
    return live;
}

void tls_cold_free(struct tls_box *b)
{
    if (!b || in_use(b))
        return; /* something outlived its connection: its place is not used again */
    (void)madvise(b->base, cold.box_bytes, MADV_DONTNEED);
    b->slot_count = b->used = 0;
    b->next = cold.free;
    cold.free = b;
}

/* --- OpenSSL's allocator --- */

static bool is_bulky(size_t size)
{
    for (size_t i = 0; i < cold.count; i++)
        if (cold.sizes[i] == size)
            return true;
    return false;
}

static void note_size(size_t size)
{
    if (cold.learning && size >= BULKY && cold.count < SIZES_MAX)
        cold.sizes[cold.count++] = size;
}

static void *box_take(struct tls_box *b, size_t size)
{
    uint16_t units = (uint16_t)((size + ALIGN - 1) / ALIGN);
    struct slot *s = b->slots;
    for (; s < b->slots + b->slot_count; s++)
        if (!s->live && s->size == units)
            break;
    if (s == b->slots + b->slot_count) {
        if (b->slot_count == SLOTS_MAX || (b->used + units) * ALIGN > cold.box_bytes)
            return NULL;
        *s = (struct slot){ .at = (uint16_t)b->used, .size = units };
        b->used += units;
        b->slot_count++;
    }
    s->live = true;
    return b->base + (size_t)s->at * ALIGN;
}

static struct tls_box *box_of(const unsigned char *p)
{
    if (p < cold.lowest || p >= cold.highest)
        return NULL;
    for (size_t i = 0; i < cold.chunk_count; i++) {
        struct chunk *c = cold.chunks[i];
        if (p >= c->base && p < c->base + chunk_bytes())
            return &c->boxes[(size_t)(p - c->base) / cold.box_bytes];
    }
    return NULL;
}

/* A slot that is free holds zeros: the box packs the better, and secrets end here. */
static void box_give_back(struct tls_box *b, const unsigned char *p)
{
    for (size_t i = 0; i < b->slot_count; i++) {
        struct slot *s = &b->slots[i];
        if (b->base + (size_t)s->at * ALIGN != p)
            continue;
        explicit_bzero(b->base + (size_t)s->at * ALIGN, (size_t)s->size * ALIGN);
        s->live = false;
        return;
    }
}

static void *on_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    note_size(size);
    void *p = cold.now && is_bulky(size) ? box_take(cold.now, size) : NULL;
    return p ? p : malloc(size);
}

static void on_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    struct tls_box *b = box_of(p);
    if (b)
        box_give_back(b, p);
    else
        free(p);
}

static size_t boxed_size(const struct tls_box *b, const unsigned char *p)
{
    for (size_t i = 0; i < b->slot_count; i++)
        if (b->base + (size_t)b->slots[i].at * ALIGN == p)
            return (size_t)b->slots[i].size * ALIGN;
    return 0;
}

static void *on_realloc(void *p, size_t size, const char *file, int line)
{
    struct tls_box *b = box_of(p);
    if (!b)
        return realloc(p, size);
    size_t old = boxed_size(b, p);
    void *grown = malloc(size);
    if (!grown)
        return NULL;
    memcpy(grown, p, old < size ? old : size);
    on_free(p, file, line);
    return grown;
}

void tls_cold_init(void)
{
    if (!cold.hooked)
        cold.hooked = CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free) == 1;
}

void tls_cold_learn(SSL_CTX *ctx)
{
    if (!cold.hooked || cold.box_bytes || sysconf(_SC_PAGESIZE) != PAGE)
        return;
    cold.count = 0;
    cold.learning = true;
    SSL_free(SSL_new(ctx));
    cold.learning = false;
    size_t sum = 0, smallest = SIZE_MAX;
    for (size_t i = 0; i < cold.count; i++) {
        sum += (cold.sizes[i] + ALIGN - 1) / ALIGN * ALIGN;
        if (cold.sizes[i] < smallest)
            smallest = cold.sizes[i];
    }
    if (cold.count > 1)
        sum += smallest + ALIGN; /* a successor beside the one that it succeeds */
    if (cold.count > 0 && sum <= (size_t)UINT16_MAX * ALIGN)
        cold.box_bytes = (sum + PAGE - 1) / PAGE * PAGE;
}

/* --- cold and warm --- */

/* Some word of the SSL object is the address of this slot, or it is the SSL object. */
static bool owned(const struct tls_box *b, const struct slot *s, const SSL *ssl, size_t ssl_bytes)
{
    const unsigned char *at = b->base + (size_t)s->at * ALIGN;
    const uintptr_t *word = (const uintptr_t *)(const void *)ssl;
    bool found = at == (const unsigned char *)ssl;
    for (size_t i = 0; !found && i < ssl_bytes / sizeof *word; i++)
        found = word[i] == (uintptr_t)at;
    return found;
}

static bool all_owned(const struct tls_box *b, const SSL *ssl)
{
    size_t ssl_bytes = boxed_size(b, (const unsigned char *)ssl);
    if (ssl_bytes == 0)
        return false;
    for (size_t i = 0; i < b->slot_count; i++)
        if (b->slots[i].live && !owned(b, &b->slots[i], ssl, ssl_bytes))
            return false;
    return true;
}

/* Words of runs that are not zero, with their two words of head.  dst NULL: only counts. */
static size_t pack(const struct tls_box *b, uint64_t *dst)
{
    const uint64_t *src = (const uint64_t *)(const void *)b->base;
    size_t words = b->used * ALIGN / sizeof *src, n = 0;
    for (size_t i = 0; i < words;) {
        if (src[i] == 0) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < words && (src[end] != 0 || (end + 1 < words && src[end + 1] != 0)))
            end++; /* a lone zero is cheaper than a new run */
        if (dst) {
            dst[n] = (uint64_t)i << 32 | (end - i);
            memcpy(dst + n + 1, src + i, (end - i) * sizeof *src);
        }
        n += 1 + end - i;
        i = end;
    }
    if (dst)
        dst[n] = 0;
    return n + 1;
}

void tls_cold_put_away(struct tls_box *b, const SSL *ssl)
{
    if (!b || b->stored || !all_owned(b, ssl))
        return;
    size_t bytes = pack(b, NULL) * sizeof *b->stored;
    if (!(b->stored = malloc(bytes)))
        return;
    b->stored_bytes = bytes;
    (void)pack(b, b->stored);
    (void)madvise(b->base, cold.box_bytes, MADV_DONTNEED);
}

static void warm(struct tls_box *b)
{
    if (!b || !b->stored)
        return;
    uint64_t *dst = (uint64_t *)(void *)b->base;
    for (const uint64_t *run = b->stored; *run != 0; run += 1 + (uint32_t)*run)
        memcpy(dst + (*run >> 32), run + 1, (uint32_t)*run * sizeof *dst);
    explicit_bzero(b->stored, b->stored_bytes);
    free(b->stored);
    b->stored = NULL;
    b->stored_bytes = 0;
}

size_t tls_cold_bytes(const struct tls_box *b)
{
    return b ? b->stored_bytes : 0;
}

void tls_cold_enter(struct tls_box *b)
{
    assert(!cold.now);
    warm(b);
    cold.now = b;
}

void tls_cold_leave(void)
{
    cold.now = NULL;
}
