#include "net/tls/tls_hello.h"

#define RECORD_HEADER 5
#define RECORD_MAX (16 * 1024 + 256)
enum {
    EXT_SERVER_NAME = 0,
    EXT_GROUPS = 10,
    EXT_SIGNATURES = 13,
    EXT_ALPN = 16,
    EXT_VERSIONS = 43,
    EXT_CERT_SIGNATURES = 50
};
enum { GROUP_P256 = 0x0017, TLS13 = 0x0304, ECDSA_P256_SHA256 = 0x0403 };

struct reader { /* a failed read leaves it empty and bad */
    struct slice left;
    bool bad;
};

static struct slice take(struct reader *r, size_t n)
{
    struct slice part = { NULL, 0 };
    if (r->bad || r->left.len < n) {
        r->bad = true;
        r->left.len = 0;
        return part;
    }
    part = slice_of(r->left.ptr, n);
    r->left = slice_skip(r->left, n);
    return part;
}

static size_t number(struct reader *r, size_t bytes)
{
    size_t value = 0;
    struct slice part = take(r, bytes);
    for (size_t i = 0; i < part.len; i++)
        value = value << 8 | (unsigned char)part.ptr[i];
    return value;
}

/* A vector whose length takes that many bytes. */
static struct slice vector(struct reader *r, size_t length_bytes)
{
    size_t len = number(r, length_bytes);
    return take(r, len);
}

/* What the hello says about certificates. */
struct offer {
    bool read;
    struct slice name;
    bool tls13;
    bool ecdsa_suite; /* of TLS 1.2 */
    bool groups, p256;
    bool signatures, p256_signature, ecdsa_signature, rsa_signature;
    bool cert_signatures, cert_p256_signature;
    bool alpn;
    struct tls_hello_alpn protocols;
};

/* TLS_ECDHE_ECDSA_WITH_…: RFC 8422 §6, RFC 5289, RFC 7251, RFC 7905. */
static bool is_ecdsa_suite(size_t id)
{
    return id == 0xC009 || id == 0xC00A || id == 0xC023 || id == 0xC024 || id == 0xC02B || id == 0xC02C
           || (id >= 0xC0AC && id <= 0xC0AF) || id == 0xCCA9;
}

static bool is_rsa_signature(size_t scheme)
{
    return (scheme >= 0x0804 && scheme <= 0x0806) || scheme == 0x0401 || scheme == 0x0501 || scheme == 0x0601;
}

static void read_suites(struct offer *o, struct slice suites)
{
    struct reader r = { suites, false };
    while (r.left.len)
        o->ecdsa_suite |= is_ecdsa_suite(number(&r, 2));
}

static void read_signatures(struct offer *o, struct slice body)
{
    struct reader r = { body, false };
    struct reader list = { vector(&r, 2), false };
    o->signatures = true;
    while (list.left.len) {
        size_t scheme = number(&list, 2);
        o->p256_signature |= scheme == ECDSA_P256_SHA256;
        o->ecdsa_signature |= scheme == ECDSA_P256_SHA256 || scheme == 0x0503 || scheme == 0x0603;
        o->rsa_signature |= is_rsa_signature(scheme);
    }
}

static void read_protocols(struct offer *o, struct slice body)
{
    struct reader r = { body, false };
    struct reader list = { vector(&r, 2), false };
    o->alpn = true;
    while (list.left.len) {
        struct slice name = vector(&list, 1);
        bool h2 = slice_eq(name, SLICE("h2")), http1 = slice_eq(name, SLICE("http/1.1"));
        o->protocols.h2_first |= h2 && !o->protocols.http1;
        o->protocols.h2 |= h2;
        o->protocols.http1 |= http1;
    }
}

static void read_extension(struct offer *o, size_t type, struct slice body)
{
    struct reader r = { body, false };
    struct reader list;
    switch (type) {
    case EXT_GROUPS:
        list = (struct reader){ vector(&r, 2), false };
        o->groups = true;
        while (list.left.len)
            o->p256 |= number(&list, 2) == GROUP_P256;
        return;
    case EXT_VERSIONS:
        list = (struct reader){ vector(&r, 1), false };
        while (list.left.len)
            o->tls13 |= number(&list, 2) == TLS13;
        return;
    case EXT_CERT_SIGNATURES:
        list = (struct reader){ vector(&r, 2), false };
        o->cert_signatures = true;
        while (list.left.len)
            o->cert_p256_signature |= number(&list, 2) == ECDSA_P256_SHA256;
        return;
    case EXT_SIGNATURES: read_signatures(o, body); return;
    case EXT_SERVER_NAME:
        list = (struct reader){ vector(&r, 2), false };
        if (number(&list, 1) == 0) /* host_name */
            o->name = vector(&list, 2);
        return;
    case EXT_ALPN: read_protocols(o, body); return;
    default: return;
    }
}

static bool read_offer(struct slice hello, struct offer *o)
{
    struct reader r = { hello, false };
    (void)take(&r, 2 + 32); /* legacy_version, random */
    (void)vector(&r, 1);    /* session id */
    read_suites(o, vector(&r, 2));
    (void)vector(&r, 1); /* compression */
    struct reader extensions = { vector(&r, 2), false };
    while (extensions.left.len) {
        size_t type = number(&extensions, 2);
        read_extension(o, type, vector(&extensions, 2));
    }
    return !r.bad && !extensions.bad;
}

/* Our authority's key and every usual leaf are P-256.  RSA is for clients that can do nothing with that. */
static enum tls_leaf_kind judge(const struct offer *o)
{
    bool by_13 = o->tls13 && o->p256_signature;
    bool by_12 = o->ecdsa_suite && (!o->signatures || o->ecdsa_signature) && (!o->groups || o->p256);
    bool rsa = !o->signatures || o->rsa_signature;
    if (by_13 || by_12 || !rsa)
        return TLS_LEAF_ECDSA;
    if (o->cert_signatures ? o->cert_p256_signature : o->p256_signature)
        return TLS_LEAF_RSA;
    return TLS_LEAF_RSA_BY_RSA;
}

/* One hello in one record; one that takes several is left to OpenSSL. */
static bool read_record(struct slice body, struct offer *o)
{
    struct reader record = { body, false };
    size_t message = number(&record, 1);
    struct slice hello = vector(&record, 3);
    return message == 1 && !record.bad && read_offer(hello, o);
}

struct slice tls_hello_name(struct slice bytes)
{
    struct reader r = { bytes, false };
    struct offer o = { .tls13 = false };
    (void)number(&r, 3);
    return read_record(vector(&r, 2), &o) ? o.name : (struct slice){ NULL, 0 };
}

/* false: read more.  *ret stays as it is where there is no hello that we can read. */
static bool read_hello(struct slice bytes, struct offer *ret)
{
    struct reader r = { bytes, false };
    struct offer o = { .tls13 = false };
    size_t type = number(&r, 1);
    (void)number(&r, 2);
    size_t len = number(&r, 2);
    if (r.bad)
        return bytes.len > 0 && (unsigned char)bytes.ptr[0] != 0x16;
    if (type != 0x16 || len > RECORD_MAX)
        return true;
    if (bytes.len < RECORD_HEADER + len)
        return false;
    if (read_record(take(&r, len), &o)) {
        *ret = o;
        ret->read = true;
    }
    return true;
}

bool tls_hello_leaf(struct slice bytes, enum tls_leaf_kind *ret)
{
    struct offer o = { .read = false };
    bool whole = read_hello(bytes, &o);
    *ret = o.read ? judge(&o) : TLS_LEAF_ECDSA;
    return whole;
}

struct tls_hello_alpn tls_hello_alpn(struct slice bytes)
{
    struct offer o = { .read = false };
    if (!read_hello(bytes, &o) || !o.read || !o.alpn)
        return (struct tls_hello_alpn){ .http1 = true };
    return o.protocols;
}
