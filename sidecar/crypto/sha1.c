#include "crypto/sha1.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>

int sha1_hex(struct slice bytes, char text[SHA1_HEX_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    text[0] = '\0';
    if (EVP_Digest(bytes.ptr, bytes.len, digest, &len, EVP_sha1(), NULL) != 1 || len != 20) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    for (size_t i = 0; i < 20; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return 0;
}
