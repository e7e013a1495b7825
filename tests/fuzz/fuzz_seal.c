/* Opens any bytes: nothing that we did not seal may come out, and what we sealed comes out again. */
#include <stdint.h>
#include <stdlib.h>

#include "crypto/seal.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())

static void open_any(const struct seal_ring *ring, struct slice aad, struct slice blob)
{
    struct buf out;
    buf_init_secret(&out, 1 << 16);
    CHECK(seal_open(ring, aad, blob, &out) != 0 && out.len == 0);
    buf_done(&out);
}

/* Version and key id are right, so that the bytes get as far as the cipher. */
static void open_with_head(const struct seal_ring *ring, struct slice aad, struct slice rest)
{
    struct buf blob, head;
    buf_init(&blob, 1 << 20);
    buf_init(&head, 64);
    CHECK(seal_blob(ring, aad, SLICE(""), &head) == 0);
    CHECK(buf_add(&blob, slice_of(buf_slice(&head).ptr, 5)) == 0 && buf_add(&blob, rest) == 0);
    open_any(ring, aad, buf_slice(&blob));
    buf_done(&blob);
    buf_done(&head);
}

static void round_trip(const struct seal_ring *ring, struct slice aad, struct slice plain)
{
    struct buf blob, out;
    buf_init(&blob, 1 << 20);
    buf_init_secret(&out, 1 << 20);
    CHECK(seal_blob(ring, aad, plain, &blob) == 0 && seal_open(ring, aad, buf_slice(&blob), &out) == 0);
    CHECK(slice_eq(buf_slice(&out), plain));
    buf_done(&blob);
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct seal_ring *ring;
    if (!ring)
        CHECK((ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"),
                                    SLICE("fedcba9876543210fedcba9876543210"), NULL))
              != NULL);
    struct slice all = slice_of(data, size), rest, aad = slice_cut(all, '|', &rest);
    open_any(ring, aad, rest);
    open_with_head(ring, aad, rest);
    round_trip(ring, aad, rest);
    seal_ring_free(seal_ring_new(all, rest, NULL)); /* any bytes as keys */
    return 0;
}
