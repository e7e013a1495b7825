/* links: tests/fakes/h2_peers.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/fakes/h2_peers.h"

#define GET "\x82\x87\x84\x01\x01h" /* :method GET, :scheme https, :path /, :authority h (RFC 7541 appendix A) */
#define OPEN { 1, 4, 1, GET, 6 }
#define EMPTY { 9, 0, 1, "", 0 }

static struct h2_budget budget;
static struct peer server;

struct row {
    const char *name, *says; /* the last frame of the server's */
    struct {
        unsigned type, flags;
        uint32_t stream;
        const char *payload;
        size_t len;
    } frames[11];
};

static const struct row rows[] = {
    { "a request", "", { { 1, 5, 1, GET, 6 } } },
    { "a request in pieces", "", { { 1, 1, 1, GET, 3 }, { 9, 0, 1, "", 0 }, { 9, 4, 1, &GET[3], 3 } } },
    { "CONTINUATION without an end",
      "goaway:b",
      { { 1, 1, 1, GET, 6 }, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY } },
    { "as many as a head may have",
      "",
      { { 1, 1, 1, GET, 6 }, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, { 9, 4, 1, "", 0 } } },
    { "DATA behind END_STREAM", "goaway:5", { { 1, 5, 1, GET, 6 }, { 0, 0, 1, "x", 1 } } },
    { "DATA behind a reset", "goaway:5", { OPEN, { 3, 0, 1, "\0\0\0\x08", 4 }, { 0, 0, 1, "x", 1 } } },
    { "HEADERS behind a reset", "goaway:5", { OPEN, { 3, 0, 1, "\0\0\0\x08", 4 }, { 1, 5, 1, GET, 6 } } },
    { "WINDOW_UPDATE behind a reset", "", { OPEN, { 3, 0, 1, "\0\0\0\x08", 4 }, { 8, 0, 1, "\0\0\0\1", 4 } } },
    { "a stream below the last", "goaway:1", { { 1, 4, 5, GET, 6 }, { 1, 4, 3, GET, 6 } } },
    { "DATA of a stream that was left out", "goaway:1", { { 1, 4, 5, GET, 6 }, { 0, 0, 3, "x", 1 } } },
    { "a stream that leaves some out", "", { OPEN, { 1, 4, 9, GET, 6 }, { 1, 4, 11, GET, 6 } } },
    { "END_STREAM inside a head counts for no DATA in it", "goaway:1", { { 1, 0, 1, GET, 3 }, { 0, 0, 1, "x", 1 } } },
    { "DATA that is too short for its flags", "goaway:6", { OPEN, { 0, 8, 1, "", 0 } } },
    { "HEADERS that are too short for their flags", "goaway:6", { { 1, 0x2d, 1, "\0\0\0\0\0", 5 } } },
    { "PRIORITY on stream 0", "goaway:1", { { 2, 0, 0, "\0\0\0\1\x10", 5 } } },
    { "PRIORITY that depends on itself", "goaway:1", { { 2, 0, 7, "\x80\0\0\7\x10", 5 } } },
    { "PRIORITY", "", { { 2, 0, 7, "\0\0\0\5\x10", 5 } } },
    { "PRIORITY_UPDATE for stream 0", "goaway:1", { { 16, 0, 0, "\0\0\0\0u=1", 7 } } },
    { "PRIORITY_UPDATE", "", { OPEN, { 16, 0, 0, "\0\0\0\1u=1", 7 } } },
    { "SETTINGS that make a window too large",
      "goaway:3",
      { OPEN, { 8, 0, 1, "\x7f\xff\0\0", 4 }, { 4, 0, 0, "\0\4\0\1\0\0", 6 } } },
    { "SETTINGS that make no window too large",
      "",
      { OPEN, { 8, 0, 1, "\x7f\xfe\0\0", 4 }, { 4, 0, 0, "\0\4\0\1\0\0", 6 } } },
    { "SETTINGS that make a window smaller",
      "",
      { OPEN, { 8, 0, 1, "\x7f\xff\0\0", 4 }, { 4, 0, 0, "\0\4\0\0\0\0", 6 } } },
};

static const char *last_of(const char *says)
{
    return strrchr(says, ' ') ? strrchr(says, ' ') + 1 : says;
}

/* What the server says to the row when its bytes come piece by piece. */
static void judge(const struct row *row, size_t piece)
{
    static char text[4096];
    struct buf bytes, out;
    buf_init(&bytes, 1 << 20);
    buf_init(&out, 1 << 20);
    h2_budget_init(&budget, 16 << 20);
    peer_up(&server, H2_SERVER, &budget);
    frame_preface(&bytes);
    for (size_t i = 0; i < 11 && row->frames[i].payload; i++)
        frame_add(&bytes, row->frames[i].type, row->frames[i].flags, row->frames[i].stream,
                  slice_of(row->frames[i].payload, row->frames[i].len));
    for (struct slice left = buf_slice(&bytes); left.len && !server.failed && !h2_over(server.h);) {
        size_t take = piece < left.len ? piece : left.len;
        peer_feed(&server, slice_of(left.ptr, take), &out);
        left = slice_skip(left, take);
    }
    frames_say(buf_slice(&out), text, sizeof text);
    if (strcmp(last_of(text), row->says) != 0)
        fail_msg("%s, in pieces of %zu: \"%s\" (%s)", row->name, piece, text, h2_error(server.h));
    peer_down(&server);
    buf_done(&bytes);
    buf_done(&out);
}

static void what_the_library_lets_pass_is_seen_however_the_bytes_come(void **state)
{
    static const size_t pieces[] = { 1 << 20, 1, 7, 13 };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++)
            judge(&rows[i], pieces[k]);
}

/* CONTINUATION is the frame whose size the library does not look at. */
static void no_frame_is_larger_than_we_allow(void **state)
{
    static char big[16385];
    const struct row row = { "CONTINUATION of 16385 bytes",
                             "goaway:6",
                             { { 1, 1, 1, GET, 6 }, { 9, 4, 1, big, sizeof big } } };
    (void)state;
    judge(&row, 1 << 20);
    judge(&row, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_library_lets_pass_is_seen_however_the_bytes_come),
        cmocka_unit_test(no_frame_is_larger_than_we_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
