/* Requests: the same verdict however they are cut; what goes on is for our authority, and reads back as what was meant.
 */
#include "tests/fuzz/fuzz_h1.h"

static bool has(struct message *m, const char *name)
{
    size_t count;
    message_get(m, slice_str(name), &count);
    return count > 0;
}

static void forward(struct message *m)
{
    struct authority a0;
    demand(authority_parse(SLICE("a"), SCHEME_HTTPS, 443, &a0) == 0);
    if (slice_eq(message_method(m), SLICE("CONNECT")) || rules_check_authority(m, &a0).status != 0)
        return;
    demand(slice_starts(message_target(m), SLICE("/")) || slice_eq(message_target(m), SLICE("*")));
    if (rules_forward_request(m, &a0, true, NULL).status != 0)
        return;
    size_t hosts;
    demand(slice_eq(message_get(m, SLICE("host"), &hosts), SLICE("a")) && hosts == 1);
    demand(!has(m, "connection") && !has(m, "proxy-authorization") && !has(m, "http2-settings")
           && !has(m, "keep-alive"));
    demand(m->upgrade == has(m, "upgrade"));
    fuzz_written(H1_REQUESTS, "", m, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = { (const char *)bytes + 1, size - 1 }, data;
    fuzz_cuts(H1_REQUESTS, "", in, bytes[0]);

    static const char *const injected[] = { "x-api-key", NULL };
    struct h1 *p = h1_new(H1_REQUESTS);
    struct buf out;
    buf_init(&out, 1 << 22);
    demand(p != NULL);
    for (enum h1_event event = H1_HEAD; event == H1_HEAD || event == H1_DATA || event == H1_END;) {
        event = h1_next(p, &in, &data);
        if (event == H1_HEAD) {
            struct message copy;
            message_init(&copy);
            demand(message_copy(&copy, h1_head(p)) == 0);
            fuzz_written(H1_REQUESTS, "", &copy, false);
            message_done(&copy);
            forward(h1_head(p));
        } else if (event == H1_END) {
            rules_filter_trailers(h1_trailers(p), h1_head(p), injected);
            demand(!has(h1_trailers(p), "content-length") && !has(h1_trailers(p), "authorization")
                   && !has(h1_trailers(p), "x-api-key"));
            demand(h1_write_last_chunk(&out, h1_trailers(p)) == 0);
        }
    }
    buf_done(&out);
    h1_free(p);
    return 0;
}
