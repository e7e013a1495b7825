/* preload/table.h: the table that the preload library shares with the worker: the names of placeholder addresses, the
 * destinations of loopback tokens. Plain C; the only file that preload/ and sidecar/ share.   One sparse file, mapped
 * by every process of a run, read by the worker.
 *
 * Name         slot i of names[] is the name of 198.18.0.0 + i and of TABLE_FAKE6 + i.
 * Destination  slot i of dests[] is the target (address, port, name) of the loopback token 127.64.0.0 + i.
 * Both are open-addressed, insert-only hash tables. The sum that says where a name or a destination begins has a secret
 * seed of its own in each table, so no other user can compute a token from a host's name.  A writer claims an empty
 * slot (EMPTY → CLAIMED, compare-and-swap), fills it, then publishes it (READY, release).  No process waits: it skips a
 * slot that another process has CLAIMED, so at worst a name or a destination has two slots, and both are correct. A
 * slot never changes afterwards and is never reused, so a token stays valid. Equal destinations share a slot: a million
 * connections to one target use one slot. Full (130,048 names, 1,048,576 destinations): names fail with EAI_FAIL,
 * connections with ENETUNREACH. They never bypass the proxy silently. */
#ifndef SIDEKEY_PRELOAD_TABLE_H
#define SIDEKEY_PRELOAD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_MAGIC UINT64_C(0x31656c6261746b73) /* "sktable1" */
#define TABLE_NAMES 131072u
#define TABLE_DESTS 1048576u
#define TABLE_TEXT 254           /* a DNS name of 253 bytes and its NUL */
#define TABLE_NO_NAME UINT32_MAX /* the program gave an address, no name is known for it */
#define TABLE_FAKE4 0xc6120000u  /* 198.18.0.0/15, host order: benchmarking range, RFC 2544 */
#define TABLE_TOKEN 0x7f400000u  /* 127.64.0.0/12, host order: no one's usual loopback address is in it */
/* ULA /96, RFC 4193. */
/* clang-format off */
#define TABLE_FAKE6 { 0xfd, 0x73, 0x69, 0x64, 0x65, 0x6b, 0x65, 0x79, 0, 0, 0, 0 }
/* clang-format on */

enum table_state { TABLE_EMPTY = 0, TABLE_CLAIMED = 1, TABLE_READY = 2 };
enum table_kind {
    TABLE_VIA_US = 1, /* the destination of a token */
    TABLE_DIRECT = 2, /* an address of a name that goes direct; port 0 */
    TABLE_PROXY = 3,  /* as VIA_US; the place is another proxy, which may be asked for the host of a rule */
};

struct table_name {
    uint8_t state, length;
    char text[TABLE_TEXT]; /* lower case, no trailing dot, NUL-terminated */
};

struct table_dest {
    uint32_t state;
    uint32_t name; /* index into names[] or TABLE_NO_NAME */
    uint16_t port; /* host order */
    uint8_t kind;
    uint8_t family;      /* 4 or 6: the family of the program's socket */
    uint8_t address[16]; /* network order; IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2) */
    uint32_t reserved;
};

struct table {
    uint64_t magic;
    uint64_t seed[2]; /* random; written with the magic, before any program runs */
    uint8_t reserved[4072];
    struct table_name names[TABLE_NAMES];
    struct table_dest dests[TABLE_DESTS];
};

_Static_assert(sizeof(struct table_name) == 256, "the layout is shared between programs");
_Static_assert(sizeof(struct table_dest) == 32, "the layout is shared between programs");
_Static_assert(offsetof(struct table, names) == 4096, "slots never straddle a page");

/* Address (host order) to dests[] index; false when it is not a token. */
static inline bool table_token(uint32_t address, uint32_t *ret_index)
{
    if (address - TABLE_TOKEN >= TABLE_DESTS)
        return false;
    *ret_index = address - TABLE_TOKEN;
    return true;
}

/* An address that is the same in both families: ::ffff:a.b.c.d. Returns the IPv4 address in host order, or 0. */
static inline uint32_t table_mapped(const uint8_t address[16])
{
    static const uint8_t prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    for (size_t i = 0; i < sizeof prefix; i++)
        if (address[i] != prefix[i])
            return 0;
    return (uint32_t)address[12] << 24 | (uint32_t)address[13] << 16 | (uint32_t)address[14] << 8 | address[15];
}

/* The length of a name that may be in the table: 1…253 bytes of [a-z0-9-_.], labels of 1…63, the last not all digits
 * (that would be an address).  0 when text (size bytes, NUL not needed) is none. */
static inline size_t table_name_length(const char *text, size_t size)
{
    size_t n = 0, label = 0, digits = 0;
    for (; n < size && text[n]; n++) {
        char c = text[n];
        if (c == '.') {
            if (label == 0)
                return 0;
            label = digits = 0;
            continue;
        }
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
            return 0;
        digits += digit;
        if (++label > 63)
            return 0;
    }
    return n >= 1 && n < TABLE_TEXT && label > 0 && digits < label ? n : 0;
}

#endif
