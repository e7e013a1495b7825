#include "crypto/sha1.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

int sha1_bytes(struct slice bytes, unsigned char ret_digest[SHA1_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes.ptr, bytes.len, digest, &len, EVP_sha1(), NULL) != 1 || len != SHA1_SIZE) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    memcpy(ret_digest, digest, SHA1_SIZE);
    return 0;
}

int sha1_hex(struct slice bytes, char text[SHA1_HEX_SIZE])
{
    unsigned char digest[SHA1_SIZE];
    text[0] = '\0';
    if (sha1_bytes(bytes, digest) != 0)
        return -ENOTSUP;
    for (size_t i = 0; i < SHA1_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return 0;
}
