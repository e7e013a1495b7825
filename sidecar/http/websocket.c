#include "http/websocket.h"

#include "base/str.h"
#include "crypto/digest.h"

#define KEY_MAX 64 /* of 24 characters */

bool websocket_accepted(const struct message *request, const struct message *answer)
{
    size_t keys, accepts;
    unsigned char digest[DIGEST_SHA1_SIZE];
    struct slice key = message_get(request, SLICE("sec-websocket-key"), &keys),
                 accept = message_get(answer, SLICE("sec-websocket-accept"), &accepts);
    struct buf text;
    if (keys != 1 || accepts != 1 || key.len > KEY_MAX)
        return false;
    buf_init(&text, 2 * KEY_MAX);
    bool same = buf_add(&text, key) == 0 && buf_add(&text, SLICE("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) == 0
                && digest_sha1(buf_slice(&text), digest) == 0;
    buf_clear(&text);
    same = same && str_add_base64(&text, slice_of((const char *)digest, sizeof digest)) == 0
           && slice_eq(buf_slice(&text), accept);
    buf_done(&text);
    return same;
}
