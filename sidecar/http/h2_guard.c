/* What is too much: frames that are cheap to send and dear to take (docs/http.md §8). */
#include "http/h2_private.h"

#define CHEAP_BURST 2000
#define CHEAP_PER_S 200
#define CHEAP_PER_DATA 2 /* each piece of data that we send may be answered by credit and by a PING */
#define RESETS_BURST 1000
#define RESETS_PER_S 33

/* When the library has no such limit, only ours applies. */
#pragma weak nghttp2_option_set_stream_reset_rate_limit
#pragma weak nghttp2_option_set_max_continuations

void h2_guard_options(nghttp2_option *option)
{
    if (nghttp2_option_set_stream_reset_rate_limit) /* above ours, which responds with ENHANCE_YOUR_CALM */
        nghttp2_option_set_stream_reset_rate_limit(option, 2 * RESETS_BURST, 2 * RESETS_PER_S);
    if (nghttp2_option_set_max_continuations)
        nghttp2_option_set_max_continuations(option, 16 * H2_CONTINUATIONS_MAX); /* each piece of one is one to it */
}

void h2_guard_init(struct h2 *h)
{
    h->cheap.tokens = CHEAP_BURST;
    h->resets.tokens = RESETS_BURST;
}

static bool take(struct h2_bucket *b, int64_t now_ms, int64_t burst, int64_t per_s)
{
    int64_t passed_ms = now_ms - b->at_ms, more = passed_ms > 60000 ? burst : passed_ms * per_s / 1000;
    if (more > 0) {
        b->tokens = b->tokens + more < burst ? b->tokens + more : burst;
        b->at_ms = now_ms;
    }
    if (b->tokens <= 0)
        return false;
    b->tokens--;
    return true;
}

static bool one_more(struct h2 *h)
{
    if (take(&h->cheap, h->now_ms, CHEAP_BURST, CHEAP_PER_S))
        return true;
    h2_fail(h, "too many empty frames", H2_ENHANCE_YOUR_CALM);
    return false;
}

bool h2_guard_breach(struct h2 *h)
{
    if (take(&h->resets, h->now_ms, RESETS_BURST, RESETS_PER_S))
        return true;
    h2_fail(h, "too many streams that were reset", H2_ENHANCE_YOUR_CALM);
    return false;
}

bool h2_guard_frame(struct h2 *h, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS: return true;
    case NGHTTP2_DATA: return hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM) || one_more(h);
    case NGHTTP2_RST_STREAM: return h->options.role == H2_CLIENT ? one_more(h) : h2_guard_breach(h);
    default: return one_more(h);
    }
}

void h2_guard_sent(struct h2 *h)
{
    int64_t more = h->cheap.tokens + CHEAP_PER_DATA;
    h->cheap.tokens = more < CHEAP_BURST ? more : CHEAP_BURST;
}
