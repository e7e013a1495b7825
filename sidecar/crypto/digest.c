#include "crypto/digest.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int make(const EVP_MD *how, struct slice bytes, unsigned char *ret, size_t size)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes.ptr, bytes.len, digest, &len, how, NULL) != 1 || len != size) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    memcpy(ret, digest, size);
    return 0;
}

int digest_sha1(struct slice bytes, unsigned char ret[DIGEST_SHA1_SIZE])
{
    return make(EVP_sha1(), bytes, ret, DIGEST_SHA1_SIZE);
}

int digest_sha1_hex(struct slice bytes, char text[DIGEST_SHA1_HEX_SIZE])
{
    unsigned char digest[DIGEST_SHA1_SIZE];
    text[0] = '\0';
    if (digest_sha1(bytes, digest) != 0)
        return -ENOTSUP;
    for (size_t i = 0; i < DIGEST_SHA1_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return 0;
}

int digest_sha256(struct slice bytes, unsigned char ret[DIGEST_SHA256_SIZE])
{
    return make(EVP_sha256(), bytes, ret, DIGEST_SHA256_SIZE);
}
