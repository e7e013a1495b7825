#include "certs/jks.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/str.h"

#define STORE_MAX (16 * 1024 * 1024)
#define TRUSTED_ENTRY 2

static int put_u32(struct buf *out, uint32_t value)
{
    char bytes[4] = { (char)(value >> 24), (char)(value >> 16), (char)(value >> 8), (char)value };
    return buf_add(out, slice_of(bytes, sizeof bytes));
}

static int put_u16_text(struct buf *out, struct slice text)
{
    char bytes[2] = { (char)(text.len >> 8), (char)text.len };
    int failed = buf_add(out, slice_of(bytes, sizeof bytes));
    return failed ? failed : buf_add(out, text);
}

static int put_entry(struct buf *out, unsigned number, struct slice der)
{
    char alias[32];
    int failed, len = snprintf(alias, sizeof alias, "sidekey-%u", number);
    if ((failed = put_u32(out, TRUSTED_ENTRY)) || (failed = put_u16_text(out, slice_of(alias, (size_t)len)))
        || (failed = put_u32(out, 0)) || (failed = put_u32(out, 0)) || /* creation time, ms: of no use */
        (failed = put_u16_text(out, SLICE("X.509"))) || (failed = put_u32(out, (uint32_t)der.len)))
        return failed;
    return buf_add(out, der);
}

/* The next "BEGIN CERTIFICATE" block of *pem as base64 text without white space; false: none. */
static bool next_block(struct slice *pem, struct buf *base64)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
    const char *from = pem->len ? memmem(pem->ptr, pem->len, begin, sizeof begin - 1) : NULL;
    if (!from)
        return false;
    from += sizeof begin - 1;
    size_t left = pem->len - (size_t)(from - pem->ptr);
    const char *to = memmem(from, left, end, sizeof end - 1);
    if (!to)
        return false;
    *pem = slice_of(to, left - (size_t)(to - from));
    buf_clear(base64);
    for (struct slice lines = slice_of(from, (size_t)(to - from)); lines.len;) {
        struct slice line = slice_cut(lines, '\n', &lines);
        while (line.len && line.ptr[line.len - 1] <= ' ')
            line.len--;
        if (buf_add(base64, line) != 0)
            return false;
    }
    return true;
}

/* SHA-1 of the password (UTF-16BE), a fixed phrase and the store: an integrity check that Java makes only when it is
 * given the password. */
static int put_digest(struct buf *out)
{
    static const char salt[] = "\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    struct slice body = buf_slice(out);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) && EVP_DigestUpdate(ctx, salt, sizeof salt - 1)
                && EVP_DigestUpdate(ctx, body.ptr, body.len) && EVP_DigestFinal_ex(ctx, digest, &len);
    EVP_MD_CTX_free(ctx);
    return good ? buf_add(out, slice_of(digest, len)) : -ENOMEM;
}

int jks_build(struct slice pem, struct buf *out)
{
    struct buf base64, entries, der;
    unsigned count = 0;
    int failed = 0;
    buf_init(&base64, STORE_MAX);
    buf_init(&der, STORE_MAX);
    buf_init(&entries, STORE_MAX);
    while (failed == 0 && next_block(&pem, &base64)) {
        buf_clear(&der);
        if (str_add_unbase64(&der, buf_slice(&base64)) == 0)
            failed = put_entry(&entries, count++, buf_slice(&der));
    }
    if (failed == 0 && count == 0)
        failed = -ENODATA; /* a store without trusted certificates */
    if (failed == 0 && (failed = put_u32(out, 0xFEEDFEED)) == 0 && (failed = put_u32(out, 2)) == 0
        && (failed = put_u32(out, count)) == 0 && (failed = buf_add(out, buf_slice(&entries))) == 0)
        failed = put_digest(out);
    buf_done(&base64);
    buf_done(&der);
    buf_done(&entries);
    return failed;
}
