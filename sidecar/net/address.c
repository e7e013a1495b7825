#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#define MIN(a, b) ((a) < (b) ? (a) : (b))

struct range {
    uint8_t bytes[16];
    unsigned bits;
    enum address_class failure;
};

/* First match wins, so the exceptions stand above the networks that hold them; what is in no row is public.
 * IANA IPv4 Special-Purpose Address Registry (RFC 6890), and the addresses at which clouds hand out credentials. */
static const struct range ipv4[] = {
    { { 169, 254, 169, 254 }, 32, ADDRESS_METADATA }, /* AWS, GCP, Azure, OpenStack, DigitalOcean, Oracle … */
    { { 169, 254, 170, 2 }, 32, ADDRESS_METADATA },   /* ECS task credentials */
    { { 169, 254, 170, 23 }, 32, ADDRESS_METADATA },  /* EKS pod identity */
    { { 100, 100, 100, 200 }, 32, ADDRESS_METADATA }, /* Alibaba */
    { { 168, 63, 129, 16 }, 32, ADDRESS_METADATA },   /* Azure's host agent */
    { { 192, 0, 0, 192 }, 32, ADDRESS_METADATA },     /* Oracle, old */
    { { 0 }, 8, ADDRESS_UNUSABLE },                   /* RFC 791; Linux takes 0.0.0.0 for this host */
    { { 10 }, 8, ADDRESS_PRIVATE },                   /* RFC 1918 */
    { { 100, 64 }, 10, ADDRESS_PRIVATE },             /* RFC 6598, carrier NAT */
    { { 127 }, 8, ADDRESS_LOOPBACK },                 /* RFC 1122 */
    { { 169, 254 }, 16, ADDRESS_LINK_LOCAL },         /* RFC 3927 */
    { { 172, 16 }, 12, ADDRESS_PRIVATE },             /* RFC 1918 */
    { { 192, 0, 0 }, 24, ADDRESS_UNUSABLE },          /* RFC 6890 */
    { { 192, 0, 2 }, 24, ADDRESS_UNUSABLE },          /* RFC 5737, documentation */
    { { 192, 88, 99 }, 24, ADDRESS_UNUSABLE },        /* RFC 7526, 6to4 relays, withdrawn */
    { { 192, 168 }, 16, ADDRESS_PRIVATE },            /* RFC 1918 */
    { { 198, 18 }, 15, ADDRESS_PRIVATE },             /* RFC 2544, benchmarks */
    { { 198, 51, 100 }, 24, ADDRESS_UNUSABLE },       /* RFC 5737 */
    { { 203, 0, 113 }, 24, ADDRESS_UNUSABLE },        /* RFC 5737 */
    { { 224 }, 4, ADDRESS_UNUSABLE },                 /* RFC 5771, multicast */
    { { 240 }, 4, ADDRESS_UNUSABLE },                 /* RFC 1112, and the broadcast address */
};

/* IANA IPv6 Special-Purpose Address Registry.  Here the last row turns the default round: of IPv6 only 2000::/3 was
 * given out. */
static const struct range ipv6[] = {
    { { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, 0x54 }, 128, ADDRESS_METADATA }, /* AWS */
    { { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x00, 0x23 }, 128, ADDRESS_METADATA }, /* EKS pod identity */
    { { 0xfd, 0x20, 0x00, 0xce, [14] = 0x02, 0x54 }, 128, ADDRESS_METADATA }, /* GCP */
    { { [15] = 1 }, 128, ADDRESS_LOOPBACK },
    { { 0x20, 0x01, 0x00, 0x02 }, 48, ADDRESS_PRIVATE },  /* RFC 5180, benchmarks */
    { { 0x20, 0x01 }, 23, ADDRESS_UNUSABLE },             /* RFC 2928, IETF protocols, ORCHID */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, ADDRESS_UNUSABLE }, /* RFC 3849, documentation */
    { { 0x3f, 0xff }, 20, ADDRESS_UNUSABLE },             /* RFC 9637, documentation */
    { { 0xfc }, 7, ADDRESS_PRIVATE },                     /* RFC 4193 */
    { { 0xfe, 0x80 }, 10, ADDRESS_LINK_LOCAL },           /* RFC 4291 */
    { { 0xfe, 0xc0 }, 10, ADDRESS_PRIVATE },              /* RFC 3879, site-local, withdrawn */
    { { 0x20 }, 3, ADDRESS_PUBLIC },
    { { 0 }, 0, ADDRESS_UNUSABLE },
};

/* IPv6 networks whose addresses lead to the IPv4 address inside. */
static const struct {
    uint8_t bytes[12];
    unsigned bits;
    uint8_t at;     /* where the four bytes are */
    uint8_t invert; /* Teredo writes them inverted */
} wrappers[] = {
    { { [10] = 0xff, 0xff }, 96, 12, 0 },         /* IPv4-mapped, RFC 4291 §2.5.5.2 */
    { { [8] = 0xff, 0xff }, 96, 12, 0 },          /* IPv4-translated, RFC 2765 §2.1 */
    { { 0x00, 0x64, 0xff, 0x9b }, 96, 12, 0 },    /* NAT64, RFC 6052 §2.1 */
    { { 0x20, 0x02 }, 16, 2, 0 },                 /* 6to4, RFC 3056 §2 */
    { { 0x20, 0x01, 0x00, 0x00 }, 32, 12, 0xff }, /* Teredo, RFC 4380 §4: the client */
};

/* Where RFC 6052 §2.2 puts the four bytes for prefixes of 48, 56, 64 and 96 bits, and from where on all must be zero.
 */
static const struct {
    uint8_t at[4], zero_from;
} layouts[] = {
    { { 6, 7, 9, 10 }, 11 }, { { 7, 9, 10, 11 }, 12 }, { { 9, 10, 11, 12 }, 13 }, { { 12, 13, 14, 15 }, 16 }
};
static const uint8_t local_nat64[6] = { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }; /* 64:ff9b:1::/48, RFC 8215 */

static bool within(const uint8_t *bytes, const uint8_t *network, unsigned bits)
{
    size_t whole = bits / 8;
    unsigned rest = bits % 8;
    if (memcmp(bytes, network, whole) != 0)
        return false;
    return rest == 0 || ((bytes[whole] ^ network[whole]) & (0xff00U >> rest & 0xff)) == 0;
}

static enum address_class class_in(const struct range *table, size_t rows, const uint8_t *bytes)
{
    for (size_t i = 0; i < rows; i++)
        if (within(bytes, table[i].bytes, table[i].bits))
            return table[i].failure;
    return ADDRESS_PUBLIC;
}

static enum address_class class_ipv4(const uint8_t *bytes)
{
    return class_in(ipv4, sizeof ipv4 / sizeof *ipv4, bytes);
}

/* Which of two readings of one address counts: the one that is more dangerous to dial. */
static enum address_class worse(enum address_class a, enum address_class b)
{
    return a > b ? a : b; /* the enumerators stand in that order */
}

static bool all_zero(const uint8_t *bytes, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (bytes[i])
            return false;
    return true;
}

/* We do not know the prefix length of a local NAT64. So every possible length is checked; a length that gives an
 * unusable address is skipped. */
static enum address_class class_local_nat64(const uint8_t *bytes)
{
    enum address_class found = ADDRESS_UNUSABLE;
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        uint8_t inner[4];
        for (size_t k = 0; k < 4; k++)
            inner[k] = bytes[layouts[i].at[k]];
        bool short_prefix = layouts[i].zero_from < 16;
        if (!all_zero(bytes, layouts[i].zero_from, 16) || (short_prefix && bytes[8] != 0))
            continue;
        enum address_class reading = class_ipv4(inner);
        if (reading != ADDRESS_UNUSABLE)
            found = found == ADDRESS_UNUSABLE ? reading : worse(found, reading);
    }
    return found;
}

static bool unwrap(const uint8_t *bytes, uint8_t ret_inner[4])
{
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (within(bytes, wrappers[i].bytes, wrappers[i].bits)) {
            for (size_t k = 0; k < 4; k++)
                ret_inner[k] = bytes[wrappers[i].at + k] ^ wrappers[i].invert;
            return true;
        }
    return false;
}

static const uint8_t *bytes_of(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr
                                    : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
}

enum address_class address_class_of(const struct sockaddr *sa)
{
    uint8_t inner[4];
    if (sa->sa_family == AF_INET)
        return class_ipv4(bytes_of(sa));
    if (sa->sa_family != AF_INET6)
        return ADDRESS_UNUSABLE;
    const uint8_t *bytes = bytes_of(sa);
    if (unwrap(bytes, inner))
        return class_ipv4(inner);
    if (memcmp(bytes, local_nat64, sizeof local_nat64) == 0)
        return class_local_nat64(bytes);
    return class_in(ipv6, sizeof ipv6 / sizeof *ipv6, bytes);
}

const char *address_class_name(enum address_class c)
{
    static const char *const names[] = { "public", "private", "loopback", "link-local", "cloud metadata", "unusable" };
    return names[c];
}

bool address_within(const struct address *network, const struct sockaddr *sa)
{
    return network->sa.ss_family == sa->sa_family
           && within(bytes_of(sa), bytes_of((const struct sockaddr *)&network->sa), network->prefix);
}

static bool listed(const struct address_policy *policy, int family, const uint8_t *bytes)
{
    for (size_t i = 0; i < policy->allow_count; i++) {
        const struct sockaddr *network = (const struct sockaddr *)&policy->allow[i].sa;
        if (network->sa_family == family && within(bytes, bytes_of(network), policy->allow[i].prefix))
            return true;
    }
    return false;
}

bool address_allowed(const struct address_policy *policy, const struct sockaddr *sa)
{
    uint8_t inner[4];
    switch (address_class_of(sa)) {
    case ADDRESS_PUBLIC: return true;
    case ADDRESS_PRIVATE:
    case ADDRESS_LOOPBACK:
        return listed(policy, sa->sa_family, bytes_of(sa))
               || (sa->sa_family == AF_INET6 && unwrap(bytes_of(sa), inner) && listed(policy, AF_INET, inner));
    case ADDRESS_LINK_LOCAL:
    case ADDRESS_METADATA:
    case ADDRESS_UNUSABLE: break;
    }
    return false;
}

static int set_ip(struct slice ip, int family, uint16_t port, struct address *ret)
{
    char text[INET6_ADDRSTRLEN];
    struct address a = { .len = 0 };
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&a.sa;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&a.sa;
    if (ip.len == 0 || ip.len >= sizeof text || slice_find(ip, '\0') != ip.len)
        return -EINVAL;
    memcpy(text, ip.ptr, ip.len);
    text[ip.len] = '\0';
    if (inet_pton(family, text, family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) != 1)
        return -EINVAL;
    a.sa.ss_family = (sa_family_t)family;
    a.len = family == AF_INET ? sizeof *v4 : sizeof *v6;
    a.prefix = family == AF_INET ? 32 : 128;
    *(family == AF_INET ? &v4->sin_port : &v6->sin6_port) = htons(port);
    *ret = a;
    return 0;
}

int address_parse(struct slice text, uint16_t default_port, struct address *ret)
{
    uint64_t port = default_port;
    struct slice ip = text, digits = { NULL, 0 };
    bool bracket = text.len && text.ptr[0] == '[';
    if (bracket) {
        size_t end = slice_find(text, ']');
        if (end == text.len)
            return -EINVAL;
        ip = slice_of(text.ptr + 1, end - 1);
        digits = slice_skip(text, end + 1);
    } else {
        size_t colon = slice_find(text, ':');
        ip.len = colon;
        digits = slice_skip(text, colon);
    }
    if (digits.len && (digits.ptr[0] != ':' || slice_u64(slice_skip(digits, 1), UINT16_MAX, &port) != 0))
        return -EINVAL;
    return set_ip(ip, bracket ? AF_INET6 : AF_INET, (uint16_t)port, ret);
}

static void clear_host_bits(struct address *a)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)bytes_of((const struct sockaddr *)&a->sa);
    size_t size = a->sa.ss_family == AF_INET ? 4 : 16;
    for (size_t i = 0; i < size; i++) {
        unsigned keep = a->prefix > i * 8 ? MIN(a->prefix - (unsigned)i * 8, 8) : 0;
        bytes[i] &= (uint8_t)(0xff00U >> keep);
    }
}

int address_parse_network(struct slice text, struct address *ret)
{
    size_t slash = slice_find(text, '/');
    struct slice ip = slice_of(text.ptr, slash);
    struct address a;
    uint64_t prefix;
    if (set_ip(ip, slice_find(ip, ':') < ip.len ? AF_INET6 : AF_INET, 0, &a) != 0)
        return -EINVAL;
    if (slash < text.len) {
        if (slice_u64(slice_skip(text, slash + 1), a.prefix, &prefix) != 0)
            return -EINVAL;
        a.prefix = (unsigned)prefix;
    }
    clear_host_bits(&a); /* "10.1.2.3/8" is what people write for 10.0.0.0/8 */
    *ret = a;
    return 0;
}

const char *address_text(const struct sockaddr *sa, char *text, size_t size)
{
    char ip[INET6_ADDRSTRLEN];
    if ((sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        || !inet_ntop(sa->sa_family, bytes_of(sa), ip, sizeof ip))
        snprintf(text, size, "?");
    else if (sa->sa_family == AF_INET)
        snprintf(text, size, "%s:%u", ip, ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port));
    else
        snprintf(text, size, "[%s]:%u", ip, ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port));
    return text;
}

bool address_names_loopback(struct slice host)
{
    const struct slice local = SLICE("localhost");
    struct address at;
    if (host.len >= local.len && slice_eq(slice_skip(host, host.len - local.len), local))
        return host.len == local.len || host.ptr[host.len - local.len - 1] == '.';
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = slice_of(host.ptr + 1, host.len - 2);
    return slice_find(host, '/') == host.len && address_parse_network(host, &at) == 0
           && address_class_of((const struct sockaddr *)&at.sa) == ADDRESS_LOOPBACK;
}
