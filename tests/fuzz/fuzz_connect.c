/* CONNECT: what follows its head is the tunnel's to the last byte, and an authority that we would dial goes through the
 * parser as it was written. */
#include "http/authority.h"
#include "tests/fuzz/fuzz_h1.h"

#define TARGET_MAX 4096 /* well inside a request line */

static void check(const struct authority *a)
{
    char text[AUTHORITY_TEXT_MAX];
    struct authority again;
    demand(a->port != 0 && a->host[0] != '\0');
    demand(authority_parse(slice_str(authority_key(a, text)), a->scheme, 0, &again) == 0 && authority_eq(a, &again));
}

/* As client.c judges heads outside a tunnel. */
static void judge(struct message *head)
{
    struct authority a;
    struct slice path;
    if (slice_eq(message_method(head), SLICE("CONNECT"))) {
        if (authority_parse(message_target(head), SCHEME_HTTPS, 0, &a) == 0)
            check(&a);
    } else if (authority_parse_uri(message_target(head), &a, &path) == 0) {
        check(&a);
    }
}

/* Any bytes as a client's first words. */
static void any_words(struct slice bytes)
{
    struct h1 *p = h1_new(H1_REQUESTS);
    struct slice in = bytes, data;
    bool connect = false;
    demand(p != NULL);
    for (enum h1_event event = H1_HEAD; event == H1_HEAD || event == H1_DATA || event == H1_END;) {
        event = h1_next(p, &in, &data);
        if (event == H1_HEAD) {
            connect = slice_eq(message_method(h1_head(p)), SLICE("CONNECT"));
            demand(!connect || h1_head(p)->framing == FRAMING_NONE);
            judge(h1_head(p));
        }
        demand(event != H1_DATA || !connect);
        demand(event != H1_UPGRADED || connect);
    }
    h1_free(p);
}

/* The bytes before the first newline as the authority, those behind it as the tunnel's. */
static void as_target(struct slice bytes)
{
    struct slice tail, target = slice_cut(bytes, '\n', &tail), data;
    struct authority a;
    struct buf stream;
    if (target.len > TARGET_MAX || authority_parse(target, SCHEME_HTTPS, 0, &a) != 0)
        return;
    struct h1 *p = h1_new(H1_REQUESTS);
    buf_init(&stream, 1 << 20);
    demand(p != NULL && buf_add_str(&stream, "CONNECT ") == 0 && buf_add(&stream, target) == 0);
    demand(buf_add_str(&stream, " HTTP/1.1\r\nHost: a\r\n\r\n") == 0 && buf_add(&stream, tail) == 0);
    struct slice in = buf_slice(&stream);
    demand(h1_next(p, &in, &data) == H1_HEAD);
    demand(slice_eq(message_method(h1_head(p)), SLICE("CONNECT")) && slice_eq(message_target(h1_head(p)), target));
    demand(h1_next(p, &in, &data) == H1_END && h1_next(p, &in, &data) == H1_UPGRADED);
    demand(slice_eq(in, tail));
    buf_done(&stream);
    h1_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct slice in = slice_of(bytes, size);
    any_words(in);
    as_target(in);
    return 0;
}
