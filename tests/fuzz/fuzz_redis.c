/* Redis: any bytes from a server give the same replies however they are cut, and never more than the limits; a command
 * reads back as its arguments; any text is a URL that can be dialled, or an error.   The first byte of the input
 * chooses the cuts. */
#include <stdint.h>
#include <stdlib.h>

#include "refresh/redis/redis_url.h"
#include "refresh/redis/redis_wire.h"

#define CHECK(truth) ((truth) ? (void)0 : abort())
#define ELEMENTS_MAX 64

struct count {
    unsigned replies, nodes;
    size_t bytes;
    bool broken;
};

static void walk(const redisReply *r, struct count *c, int depth)
{
    uint64_t number;
    CHECK(depth < 16);
    c->nodes++;
    c->bytes += redis_wire_text(r).len;
    CHECK(redis_wire_u64(r, &number) == 0 || redis_wire_text(r).len != 1 || redis_wire_text(r).ptr[0] != '7');
    if (redis_wire_is(r, "MOVED")) {
        struct err e = { "" };
        CHECK(redis_wire_explain(&e, "server", r) == -1 && e.text[0] != '\0');
    }
    for (size_t i = 0; i <= ELEMENTS_MAX; i++) {
        const redisReply *element = redis_wire_at(r, i);
        CHECK(!element || i < ELEMENTS_MAX);
        if (element)
            walk(element, c, depth + 1);
    }
}

static bool take(struct redis_reader *reader, struct count *c)
{
    struct err e = { "" };
    redisReply *reply = NULL;
    int got;
    while ((got = redis_wire_next(reader, &reply, &e)) == 1) {
        c->replies++;
        walk(reply, c, 0);
        freeReplyObject(reply);
        reply = NULL;
    }
    CHECK(got == 0 || e.text[0] != '\0');
    return got == 0;
}

static struct count replies(struct slice bytes, size_t step)
{
    struct count c = { 0 };
    struct redis_reader *reader = redis_wire_new();
    struct err e;
    CHECK(reader != NULL);
    while (bytes.len && !c.broken) {
        struct slice piece = slice_of(bytes.ptr, step && step < bytes.len ? step : bytes.len);
        c.broken = redis_wire_feed(reader, piece, &e) != 0 || !take(reader, &c);
        bytes = slice_skip(bytes, piece.len);
    }
    redis_wire_free(reader);
    return c;
}

static void round_trip(struct slice bytes)
{
    struct slice argv[REDIS_ARGS_MAX];
    struct buf out;
    struct err e;
    redisReply *reply = NULL;
    size_t argc = 0;
    while (argc < REDIS_ARGS_MAX && (bytes.len || argc == 0))
        argv[argc++] = slice_cut(bytes, ' ', &bytes);
    struct redis_reader *reader = redis_wire_new();
    buf_init(&out, REDIS_COMMAND_MAX);
    CHECK(reader && redis_wire_add(&out, argv, argc) == 0);
    CHECK(redis_wire_feed(reader, buf_slice(&out), &e) == 0 && redis_wire_next(reader, &reply, &e) == 1);
    CHECK(reply->elements == argc);
    for (size_t i = 0; i < argc; i++)
        CHECK(slice_eq(redis_wire_text(redis_wire_at(reply, i)), argv[i]));
    freeReplyObject(reply);
    CHECK(redis_wire_next(reader, &reply, &e) == 0);
    redis_wire_free(reader);
    buf_done(&out);
}

static void urls(struct slice text)
{
    struct redis_url url = { 0 };
    struct authority node;
    const char *wrong = redis_url_parse(text, &url);
    CHECK(!wrong || *wrong);
    if (!wrong) {
        CHECK((url.path[0] != '\0') != (url.at.host[0] != '\0'));
        CHECK(url.path[0] ? strlen(url.path) <= REDIS_PATH_MAX : url.at.port != 0);
        CHECK(!url.username.len
              || (url.username.ptr >= text.ptr && url.username.ptr + url.username.len <= text.ptr + text.len));
    }
    CHECK(redis_url_parse_node(text, &node) != NULL || node.port != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice bytes = slice_of(data + 1, size - 1);
    struct count whole = replies(bytes, 0), cut = replies(bytes, 1 + data[0] % 31);
    CHECK(whole.broken == cut.broken && whole.replies == cut.replies && whole.nodes == cut.nodes
          && whole.bytes == cut.bytes);
    round_trip(bytes);
    urls(bytes);
    return 0;
}
