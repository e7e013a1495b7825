/* Decodes any bytes as a packet; what is believed must encode and decode to the same again. */
#include <stdint.h>
#include <stdlib.h>

#include "net/ipc/msg.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void inside(struct slice part, struct slice packet)
{
    CHECK(part.len == 0 || (part.ptr >= packet.ptr && part.ptr + part.len <= packet.ptr + packet.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice packet = slice_of(bytes, len);
    struct msg m, again;
    struct buf out;
    if (msg_decode(packet, &m) != 0)
        return 0;
    const struct slice parts[] = { m.name, m.token, m.text, m.der };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        inside(parts[i], packet);
    CHECK(m.extra_count <= MSG_EXTRAS_MAX);
    for (size_t i = 0; i < m.extra_count; i++) {
        inside(m.extras[i].key, packet);
        inside(m.extras[i].value, packet);
    }
    buf_init(&out, 1 << 20);
    CHECK(msg_encode(&m, &out) == 0 && msg_decode(buf_slice(&out), &again) == 0);
    CHECK(again.type == m.type && slice_eq(again.token, m.token) && slice_eq(again.text, m.text)
          && again.generation == m.generation);
    buf_done(&out);
    return 0;
}
