/* refresh/state: any text is either refused, or written and read back as the same state. */
#include "refresh/store/state.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void same(const struct state *a, const struct state *b)
{
    check(a->generation == b->generation && a->expires_wall_ms == b->expires_wall_ms);
    check(a->obtained_wall_ms == b->obtained_wall_ms && a->refresh_in_ms == b->refresh_in_ms);
    check(slice_eq(secret_peek(&a->access_token), secret_peek(&b->access_token)));
    check(slice_eq(secret_peek(&a->refresh_token), secret_peek(&b->refresh_token)));
    check(slice_eq(secret_peek(&a->alt_refresh), secret_peek(&b->alt_refresh)));
    check(strcmp(a->refresh_fp, b->refresh_fp) == 0 && strcmp(a->dead_fp, b->dead_fp) == 0);
    check(json_object_size(a->extra) == json_object_size(b->extra) && (!a->extra || json_equal(a->extra, b->extra)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state first, second, copy;
    struct buf json;
    struct err e = { "" };
    state_init(&first);
    state_init(&second);
    state_init(&copy);
    buf_init_secret(&json, STATE_MAX_BYTES);
    if (state_read(&first, slice_of(data, size), &e) == 0) {
        check(state_write(&first, &json) == 0);
        check(state_read(&second, buf_slice(&json), &e) == 0);
        same(&first, &second);
        check(state_copy(&copy, &second) == 0);
        same(&first, &copy);
    } else {
        check(e.text[0] != '\0');
        same(&first, &second); /* a refused text leaves no trace */
    }
    buf_done(&json);
    state_done(&first);
    state_done(&second);
    state_done(&copy);
    return 0;
}
