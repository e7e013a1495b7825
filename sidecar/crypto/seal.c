#include "crypto/seal.h"

#include <errno.h>
#include <stdlib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/core_names.h>

#include "base/rand.h"
#include "base/secret.h"
#include "base/str.h"

#define VERSION 1
#define DISTINCT_MIN 16 /* different bytes in a key; 32 random ones have 30 */
#define STEPS_MAX 12
#define ID_BYTES 4
#define NONCE_BYTES 12
#define TAG_BYTES 16
#define SUM_BYTES 32
#define HEAD_BYTES (1 + ID_BYTES + NONCE_BYTES)
#define PLAIN_MAX (64U << 20) /* OpenSSL counts in int */

static const char salt_context[] = "sidekey fingerprint";

struct key {
    struct secret bytes;
    unsigned char id[ID_BYTES];
};

struct seal_ring {
    struct key keys[2]; /* current, previous (may be empty) */
    unsigned char salt[SUM_BYTES];
};

static int sum_of(struct slice a, struct slice b, unsigned char ret_sum[SUM_BYTES])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(ctx, a.ptr, a.len) == 1
             && EVP_DigestUpdate(ctx, b.ptr, b.len) == 1 && EVP_DigestFinal_ex(ctx, ret_sum, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok ? 0 : -ENOMEM;
}

static bool from_hex(struct slice text, char *ret_key)
{
    if (text.len != SEAL_KEY_BYTES * 2)
        return false;
    for (size_t i = 0; i < SEAL_KEY_BYTES; i++) {
        int high = str_hex_value(text.ptr[2 * i]), low = str_hex_value(text.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_key[i] = (char)(high << 4 | low);
    }
    return true;
}

static bool from_base64(struct slice text, char *ret_key)
{
    struct buf decoded;
    buf_init_secret(&decoded, SEAL_KEY_BYTES + 3); /* str_add_unbase64 reserves up to 3 more than it writes */
    bool ok =
        (text.len == 43 || text.len == 44) && str_add_unbase64(&decoded, text) == 0 && decoded.len == SEAL_KEY_BYTES;
    if (ok)
        memcpy(ret_key, buf_slice(&decoded).ptr, SEAL_KEY_BYTES);
    buf_done(&decoded);
    return ok;
}

static struct slice without_newline(struct slice text)
{
    if (text.len && text.ptr[text.len - 1] == '\n')
        text.len--;
    if (text.len && text.ptr[text.len - 1] == '\r')
        text.len--;
    return text;
}

/* Raw bytes first: 32 of them may end in what looks like a newline. */
static bool key_bytes(struct slice material, char *ret_key)
{
    struct slice text = without_newline(material);
    if (material.len == SEAL_KEY_BYTES
        || (material.len == SEAL_KEY_BYTES + 1 && material.ptr[SEAL_KEY_BYTES] == '\n')) {
        memcpy(ret_key, material.ptr, SEAL_KEY_BYTES);
        return true;
    }
    return from_hex(text, ret_key) || from_base64(text, ret_key);
}

static bool few_bytes(const unsigned char *key)
{
    bool seen[256] = { false };
    unsigned count = 0;
    for (size_t i = 0; i < SEAL_KEY_BYTES; i++) {
        count += !seen[key[i]];
        seen[key[i]] = true;
    }
    return count < DISTINCT_MIN;
}

static bool repeated(const unsigned char *key)
{
    return memcmp(key, key + SEAL_KEY_BYTES / 2, SEAL_KEY_BYTES / 2) == 0;
}

/* One and the same step from byte to byte, most of the way. */
static bool in_steps(const unsigned char *key)
{
    unsigned counts[256] = { 0 }, most = 0;
    for (size_t i = 1; i < SEAL_KEY_BYTES; i++) {
        unsigned *count = &counts[(unsigned char)(key[i] - key[i - 1])];
        if (++*count > most)
            most = *count;
    }
    return most > STEPS_MAX;
}

int seal_key_judge(struct slice material, struct err *e)
{
    unsigned char key[SEAL_KEY_BYTES];
    bool weak = key_bytes(material, (char *)key) && (few_bytes(key) || repeated(key) || in_steps(key));
    explicit_bzero(key, sizeof key);
    return weak ? err_set(e, "the seal key is not random (few different bytes, a repeated text, or bytes in steps): "
                             "make one with openssl rand -hex 32, and set the old one as store.seal_key_previous")
                : 0;
}

static int key_set(struct key *key, struct slice material, const char *which, struct err *e)
{
    char bytes[SEAL_KEY_BYTES];
    unsigned char sum[SUM_BYTES];
    int failed = 0;
    if (!key_bytes(material, bytes))
        failed = err_set(e,
                         "the %s seal key must be 32 raw bytes, 64 hex digits or base64 of 32 bytes; it has %zu bytes "
                         "(openssl rand -hex 32 makes one)",
                         which, material.len);
    else if (secret_set(&key->bytes, slice_of(bytes, sizeof bytes)) != 0
             || sum_of(slice_of(bytes, sizeof bytes), SLICE(""), sum) != 0)
        failed = err_set(e, "out of memory");
    else
        memcpy(key->id, sum, ID_BYTES);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(sum, sizeof sum);
    return failed;
}

struct seal_ring *seal_ring_new(struct slice current, struct slice previous, struct err *e)
{
    struct seal_ring *ring = calloc(1, sizeof *ring);
    if (!ring) {
        err_set(e, "out of memory");
        return NULL;
    }
    if (key_set(&ring->keys[0], current, "current", e) != 0
        || (previous.len && key_set(&ring->keys[1], previous, "previous", e) != 0))
        goto failed;
    if (sum_of(slice_of(salt_context, sizeof salt_context), secret_peek(&ring->keys[0].bytes), ring->salt) != 0) {
        err_set(e, "out of memory");
        goto failed;
    }
    return ring;
failed:
    seal_ring_free(ring);
    return NULL;
}

void seal_ring_free(struct seal_ring *ring)
{
    if (!ring)
        return;
    for (size_t i = 0; i < 2; i++)
        secret_done(&ring->keys[i].bytes);
    explicit_bzero(ring, sizeof *ring);
    free(ring);
}

static const unsigned char *bytes_of(struct slice s)
{
    return s.len ? (const unsigned char *)s.ptr : (const unsigned char *)"";
}

/* EVP_CIPHER_CTX_free() wipes the key schedule. */
static bool encrypt(const struct key *key, struct slice aad, struct slice plain, unsigned char *blob)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char *nonce = blob + 1 + ID_BYTES, *body = blob + HEAD_BYTES;
    int n = 0, tail = 0;
    bool ok = ctx && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, bytes_of(secret_peek(&key->bytes)), nonce) == 1
              && EVP_EncryptUpdate(ctx, NULL, &n, bytes_of(aad), (int)aad.len) == 1
              && EVP_EncryptUpdate(ctx, body, &n, bytes_of(plain), (int)plain.len) == 1
              && EVP_EncryptFinal_ex(ctx, body + plain.len, &tail) == 1
              && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, body + plain.len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

int seal_blob(const struct seal_ring *ring, struct slice aad, struct slice plain, struct buf *out)
{
    const struct key *key = &ring->keys[0];
    if (plain.len > PLAIN_MAX || aad.len > PLAIN_MAX || buf_space(out) < HEAD_BYTES + plain.len + TAG_BYTES)
        return -ENOBUFS;
    unsigned char *blob = (unsigned char *)buf_reserve(out, HEAD_BYTES + plain.len + TAG_BYTES);
    if (!blob)
        return -ENOMEM;
    blob[0] = VERSION;
    memcpy(blob + 1, key->id, ID_BYTES);
    rand_bytes(blob + 1 + ID_BYTES, NONCE_BYTES);
    if (!encrypt(key, aad, plain, blob))
        return -ENOMEM; /* the one way in which AES-GCM with a right key fails */
    buf_grow(out, HEAD_BYTES + plain.len + TAG_BYTES);
    return 0;
}

static int decrypt(const struct key *key, struct slice aad, struct slice blob, unsigned char *plain, size_t len)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    const unsigned char *at = bytes_of(blob);
    unsigned char tag[TAG_BYTES], rest[TAG_BYTES];
    int n = 0, failed = 0;
    memcpy(tag, at + HEAD_BYTES + len, TAG_BYTES);
    if (!ctx
        || EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, bytes_of(secret_peek(&key->bytes)), at + 1 + ID_BYTES) != 1
        || EVP_DecryptUpdate(ctx, NULL, &n, bytes_of(aad), (int)aad.len) != 1
        || EVP_DecryptUpdate(ctx, plain, &n, at + HEAD_BYTES, (int)len) != 1
        || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) != 1)
        failed = -ENOMEM;
    else if (EVP_DecryptFinal_ex(ctx, rest, &n) != 1)
        failed = -EBADMSG;
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error();
    return failed;
}

static const struct key *key_of(const struct seal_ring *ring, const unsigned char *id)
{
    for (size_t i = 0; i < 2; i++)
        if (!secret_empty(&ring->keys[i].bytes) && memcmp(ring->keys[i].id, id, ID_BYTES) == 0)
            return &ring->keys[i];
    return NULL;
}

int seal_open(const struct seal_ring *ring, struct slice aad, struct slice blob, struct buf *out)
{
    if (blob.len < HEAD_BYTES + TAG_BYTES || blob.ptr[0] != VERSION || blob.len > HEAD_BYTES + PLAIN_MAX + TAG_BYTES
        || aad.len > PLAIN_MAX)
        return -EBADMSG;
    const struct key *key = key_of(ring, bytes_of(blob) + 1);
    if (!key)
        return -ENOKEY;
    size_t len = blob.len - HEAD_BYTES - TAG_BYTES;
    if (buf_space(out) < len)
        return -ENOBUFS;
    char *plain = buf_reserve(out, len);
    if (!plain)
        return -ENOMEM;
    int failed = decrypt(key, aad, blob, (unsigned char *)plain, len);
    if (failed)
        explicit_bzero(plain, len); /* text that was not verified must not stay */
    else
        buf_grow(out, len);
    return failed;
}

bool seal_is_current(const struct seal_ring *ring, struct slice blob)
{
    return blob.len > ID_BYTES && memcmp(blob.ptr + 1, ring->keys[0].id, ID_BYTES) == 0;
}

const char *seal_fingerprint(const struct seal_ring *ring, struct slice bytes, char text[9])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[SUM_BYTES];
    memcpy(text, "????????", 9);
    if (sum_of(slice_of(ring->salt, sizeof ring->salt), bytes, sum) == 0)
        for (size_t i = 0; i < 4; i++) {
            text[2 * i] = digits[sum[i] >> 4];
            text[2 * i + 1] = digits[sum[i] & 15];
        }
    explicit_bzero(sum, sizeof sum);
    return text;
}

int seal_derive(const struct seal_ring *ring, struct slice info, void *out, size_t len)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    struct slice key = secret_peek(&ring->keys[0].bytes);
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key.ptr, key.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.ptr, info.len),
        OSSL_PARAM_construct_end(),
    };
    bool ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    ERR_clear_error();
    return ok ? 0 : -ENOMEM;
}
