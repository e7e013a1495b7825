#include "crypto/sha256.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>

int sha256_bytes(struct slice bytes, unsigned char ret_digest[SHA256_SIZE])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(bytes.ptr, bytes.len, digest, &len, EVP_sha256(), NULL) != 1 || len != SHA256_SIZE) {
        ERR_clear_error();
        return -ENOTSUP;
    }
    memcpy(ret_digest, digest, SHA256_SIZE);
    return 0;
}
