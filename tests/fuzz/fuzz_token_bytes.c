/* The bytes of a token response, head and body, as a server may send them: in one piece and in two they say the same.
 */
#include <stdint.h>
#include <stdlib.h>

#include "refresh/fetch/fetch_body.h"
#include "refresh/fetch/fetch_curl.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())
#define BODY_MAX 4096

struct seen {
    int status;
    bool whole, no_answer;
    size_t body_at;
    enum fetch_body_end end;
    struct buf body;
};

static void read_all(struct slice bytes, size_t first, struct seen *ret)
{
    struct fetch_head h;
    struct fetch_body b;
    fetch_head_init(&h);
    fetch_body_init(&b, BODY_MAX);
    for (int turn = 0; turn < 2; turn++) {
        struct slice came = slice_of(bytes.ptr, turn ? bytes.len : first);
        fetch_head_read(&h, came, turn == 1);
        if (h.whole) {
            CHECK(h.body_at <= came.len && h.status >= 200);
            ret->end = fetch_body_end(&b, &h, slice_skip(came, h.body_at));
        }
    }
    *ret = (struct seen){ h.status, h.whole, h.no_answer, h.body_at, ret->end, { .len = 0 } };
    buf_init_secret(&ret->body, bytes.len + BODY_MAX);
    if (h.whole) {
        struct slice rest = slice_skip(bytes, h.body_at);
        CHECK(buf_add(&ret->body, fetch_body_get(&b, &h, rest, ret->end == FETCH_BODY_WHOLE)) == 0);
        CHECK(ret->body.len <= rest.len);
    }
    fetch_head_done(&h);
    fetch_body_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen one = { .end = FETCH_BODY_OPEN }, two = { .end = FETCH_BODY_OPEN };
    if (size < 2 || fetch_curl_load(NULL) != 0)
        return 0;
    struct slice bytes = slice_of(data + 2, size - 2);
    read_all(bytes, bytes.len, &one);
    read_all(bytes, ((size_t)data[0] << 8 | data[1]) % (bytes.len + 1), &two);
    CHECK(one.whole == two.whole && one.no_answer == two.no_answer && one.status == two.status);
    CHECK(one.body_at == two.body_at && one.end == two.end);
    CHECK(slice_eq(buf_slice(&one.body), buf_slice(&two.body)));
    buf_done(&one.body);
    buf_done(&two.body);
    return 0;
}
