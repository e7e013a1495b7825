/* links: tests/fakes/redis_server.c */
/* What is the Redis engine's own (refresh/redis/store_redis.h): the protocol at its edges, URLs, errors with their way
 * out, reconnecting, giving back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "crypto/digest.h"
#include "net/loop.h"
#include "refresh/redis/redis_link.h"
#include "refresh/redis/redis_switch.h"
#include "refresh/redis/redis_url.h"
#include "refresh/redis/redis_wire.h"
#include "refresh/redis/store_redis.h"
#include "tests/fakes/redis_server.h"
#include "tests/fakes/loop_turn.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))
#define WAIT_MS 20000
#define LONG_MS 60000

/* ---- URLs ---- */

static void a_url_says_where_redis_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *path, *user;
        unsigned port, db;
        bool tls;
    } rows[] = {
        { "redis://h", "h", "", "", 6379, 0, false },
        { "rediss://H.example.:7000/3", "h.example", "", "", 7000, 3, true },
        { "redis://me@h:1/", "h", "", "me", 1, 0, false },
        { "redis://[::1]:6380/15", "::1", "", "", 6380, 15, false },
        { "unix:///run/redis.sock", "", "/run/redis.sock", "", 0, 0, false },
        { "unix:///r?db=2", "", "/r", "", 0, 2, false },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct redis_url url;
        assert_null(redis_url_parse(slice_str(rows[i].text), &url));
        assert_string_equal(url.at.host, rows[i].host);
        assert_string_equal(url.path, rows[i].path);
        assert_true(slice_eq(url.username, slice_str(rows[i].user)));
        assert_int_equal(url.at.port, rows[i].port);
        assert_int_equal(url.db, rows[i].db);
        assert_int_equal(url.tls, rows[i].tls);
    }
}

static void what_is_no_redis_url_is_told_why(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "", "is not a Redis URL" },
        { "http://h", "is not a Redis URL" },
        { "redis://", "no host" },
        { "redis://u:p@h", "store.redis.password" },
        { "redis://h/x", "must be a number" },
        { "redis://h/99999", "must be a number" },
        { "redis://h:0", "no host" },
        { "redis://h #", "space" },
        { "unix://run", "must begin with /" },
        { "unix:///r?dx=1", "only ?db=" },
        { "redis://a b", "space" },
        { "redis://u@", "no host" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct redis_url url;
        const char *wrong = redis_url_parse(slice_str(rows[i][0]), &url);
        if (!wrong || !strstr(wrong, rows[i][1]))
            fail_msg("%s: %s", rows[i][0], wrong ? wrong : "accepted");
    }
}

/* ---- the protocol ---- */

static void a_failover_says_which_primary_and_where(void **state)
{
    static const struct {
        const char *text, *want; /* NULL: is none of ours */
    } rows[] = {
        { "main 10.0.0.1 6379 10.0.0.2 6380", "10.0.0.2:6380" },
        { "main ::1 6379 fd00::2 6379", "[fd00::2]:6379" },
        { "main old.test 6379 new.test 6379", "new.test:6379" },
        { "other 10.0.0.1 6379 10.0.0.2 6380", NULL },
        { "mainly 10.0.0.1 6379 10.0.0.2 6380", NULL },
        { "main 10.0.0.1 6379 10.0.0.2", NULL },
        { "main 10.0.0.1 6379 10.0.0.2 6380 more", NULL },
        { "main 10.0.0.1 6379 10.0.0.2 0", NULL },
        { "main 10.0.0.1 6379 10.0.0.2 65536", NULL },
        { "main 10.0.0.1 6379  6380", NULL },
        { "main 10.0.0.1 6379 a/b 6380", NULL },
        { "main", NULL },
        { "", NULL },
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct authority at;
        char text[AUTHORITY_TEXT_MAX];
        int failed = redis_switch_parse(slice_str(rows[i].text), "main", &at);
        if ((failed == 0) != (rows[i].want != NULL)
            || (rows[i].want && strcmp(authority_key(&at, text), rows[i].want) != 0))
            fail_msg("\"%s\": %d", rows[i].text, failed);
    }
    char longest[4096];
    memset(longest, 'a', sizeof longest);
    assert_int_equal(redis_switch_parse(slice_of(longest, sizeof longest), "main", &(struct authority){ .port = 0 }),
                     -EINVAL);
}

static void a_command_is_an_array_of_bulk_strings(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 64);
    assert_int_equal(redis_wire_add(&out, (struct slice[]){ SLICE("GET"), slice_of("a\0\r\n", 4), { NULL, 0 } }, 3), 0);
    assert_true(slice_eq(buf_slice(&out), SLICE("*3\r\n$3\r\nGET\r\n$4\r\na\0\r\n\r\n$0\r\n\r\n")));
    /* its cap */
    assert_true(redis_wire_add(&out, (struct slice[]){ SLICE("0123456789012345678901234567890123456789") }, 1) < 0);
    buf_done(&out);
}

static void replies_are_read_however_the_bytes_come(void **state)
{
    (void)state;
    static const char bytes[] = "*3\r\n$5\r\nfresh\r\n:12\r\n$-1\r\n-ERR no\r\n+OK\r\n";
    for (size_t step = 1; step < sizeof bytes; step++) {
        struct redis_reader *r = redis_wire_new();
        redisReply *replies[3], *reply;
        size_t count = 0;
        for (size_t at = 0; at < sizeof bytes - 1; at += step) {
            size_t n = sizeof bytes - 1 - at < step ? sizeof bytes - 1 - at : step;
            assert_int_equal(redis_wire_feed(r, slice_of(bytes + at, n), NULL), 0);
            while (redis_wire_next(r, &reply, NULL) == 1 && count < 3)
                replies[count++] = reply;
        }
        uint64_t number;
        assert_int_equal(count, 3);
        assert_true(slice_eq(redis_wire_text(redis_wire_at(replies[0], 0)), SLICE("fresh")));
        assert_int_equal(redis_wire_u64(redis_wire_at(replies[0], 1), &number), 0);
        assert_int_equal(number, 12);
        assert_null(redis_wire_at(replies[0], 3));
        assert_true(redis_wire_is(replies[1], "ERR") && !redis_wire_is(replies[1], "ER"));
        assert_true(slice_eq(redis_wire_text(replies[2]), SLICE("OK")));
        for (size_t i = 0; i < 3; i++)
            freeReplyObject(replies[i]);
        redis_wire_free(r);
    }
}

static void what_is_no_protocol_or_too_much_of_it_ends_the_reader(void **state)
{
    (void)state;
    static const char *const rows[] = { "HTTP/1.1 400 Bad Request\r\n", "*65\r\n", "*2147483647\r\n",
                                        "$99999999999999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n" };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct redis_reader *r = redis_wire_new();
        redisReply *reply;
        struct err e = { "" };
        assert_int_equal(redis_wire_feed(r, slice_str(rows[i]), &e), 0);
        if (redis_wire_next(r, &reply, &e) != -1 || !strstr(e.text, "not the Redis protocol"))
            fail_msg("%s was taken", rows[i]);
        redis_wire_free(r);
    }
}

static void a_reply_without_an_end_is_cut(void **state)
{
    (void)state;
    static char block[1024 * 1024];
    struct redis_reader *r = redis_wire_new();
    redisReply *reply;
    struct err e = { "" };
    assert_int_equal(redis_wire_feed(r, SLICE("$500000000\r\n"), &e), 0);
    int fed = 0, failed = 0;
    while (!failed && fed++ < 20) {
        failed = redis_wire_feed(r, slice_of(block, sizeof block), &e);
        if (!failed)
            assert_int_equal(redis_wire_next(r, &reply, &e), 0);
    }
    assert_true(failed && fed <= REDIS_REPLY_MAX / (int)sizeof block + 1);
    redis_wire_free(r);
}

static void an_error_is_told_with_its_way_out_and_never_quoted(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "-WRONGPASS invalid username-password pair\r\n", "store.redis.password" },
        { "-NOAUTH Authentication required.\r\n", "set store.redis.password" },
        { "-READONLY You can't write\r\n", "is a replica" },
        { "-LOADING Redis is loading\r\n", "loading" },
        { "-NOPERM this user has no permissions\r\n", "does not let this user do that: give the user the ACL in" },
        { "-NOPERM this user has no permissions to run the 'config|get' command\r\n",
          "run the command config|get: give the user the ACL" },
        { "-NOPERM this user has no permissions to run the 'hunter2' command\r\n", "do that: give the user the ACL" },
        { "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n",
          "use keys that begin with \"{sidekey:\": give the user the ACL" },
        { "-NOPERM this user has no permissions to access one of the channels used as arguments\r\n",
          "use channels that begin with \"{sidekey:\": give the user the ACL" },
        { "-ERR The user executing the script can't run this command or subcommand script: 6b9f, on "
          "@user_script:1.\r\n",
          "run a command of sidekey's script: give the user the ACL" },
        { "-ERR The user executing the script can't access at least one of the keys mentioned in the command arguments "
          "script: 17dc, on @user_script:1.\r\n",
          "use keys that begin with \"{sidekey:\": give the user the ACL" },
        { "-ERR The user executing the script can't publish to the channel mentioned in the command script: 4d, on "
          "@user_script:1.\r\n",
          "use channels that begin with \"{sidekey:\": give the user the ACL" },
        { "-ERR ACL failure in script: User hunter2 has no permissions to run the 'hset' command script: 6b, on "
          "@user_script:1.\r\n",
          "run the command hset: give the user the ACL" },
        { "-OOM command not allowed\r\n", "maxmemory" },
        { "-ERR max number of clients reached\r\n", "maxclients" },
        { "-ERR unknown command `AUTH`, with args beginning with: `hunter2`\r\n", "does not support a command" },
        { "-WHATEVER hunter2\r\n", "(WHATEVER)" },
        { "-hunter2\r\n", "()" },
        { ":1\r\n", "does not understand" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct redis_reader *r = redis_wire_new();
        redisReply *reply;
        struct err e;
        assert_int_equal(redis_wire_feed(r, slice_str(rows[i][0]), NULL), 0);
        assert_int_equal(redis_wire_next(r, &reply, NULL), 1);
        redis_wire_explain(&e, "redis h:1", reply);
        if (!strstr(e.text, rows[i][1]) || strstr(e.text, "hunter2") || strncmp(e.text, "redis h:1 ", 10) != 0)
            fail_msg("%s: %s", rows[i][0], e.text);
        freeReplyObject(reply);
        redis_wire_free(r);
    }
}

static void sha1_is_the_one_that_everybody_knows(void **state)
{
    (void)state;
    char text[DIGEST_SHA1_HEX_SIZE];
    assert_int_equal(digest_sha1_hex(SLICE("abc"), text), 0); /* FIPS 180-4, example */
    assert_string_equal(text, "a9993e364706816aba3e25717850c26c9cd0d89d");
}

/* ---- the engine between real and broken servers ---- */

static struct redis_server server;
static struct seal_ring *ring;
static struct redis_spec redis;
static struct dial_options network;
static const char *dir; /* of the store that is opened next; NULL: none */

struct got {
    unsigned count;
    enum store_result result;
    uint64_t generation, stored;
    int64_t throttled_ms;
    char refresh_token[32], error[512];
};

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct got *got = arg;
    got->count++;
    got->result = answer->result;
    got->generation = answer->generation;
    got->throttled_ms = answer->throttled_ms;
    snprintf(got->error, sizeof got->error, "%s", answer->error ? answer->error : "");
    if (!answer->state)
        return;
    struct slice token = secret_peek(&answer->state->refresh_token);
    got->stored = answer->state->generation;
    snprintf(got->refresh_token, sizeof got->refresh_token, "%.*s", (int)token.len, token.ptr ? token.ptr : "");
}

static struct got *wait_for(struct got *got)
{
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    while (got->count == 0 && clock_mono_ms() < end_ms)
        loop_turn();
    assert_int_equal(got->count, 1);
    return got;
}

static struct store *open_store(const char *url)
{
    static const char *const names[] = { "cred", NULL };
    struct store_redis_options options = { &redis, ring, &network, names, dir };
    struct err e = { "" };
    redis.url = (char *)(uintptr_t)url;
    struct store *s = store_redis_new(&options, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static struct got load(struct store *s)
{
    struct got got = { 0 };
    assert_non_null(store_load(s, "cred", on_answer, &got));
    return *wait_for(&got);
}

static struct store_owner owner_of(unsigned char c)
{
    struct store_owner owner;
    memset(owner.bytes, c, sizeof owner.bytes);
    return owner;
}

static struct got begin(struct store *s, unsigned char who, uint64_t known)
{
    struct got got = { 0 };
    struct store_owner owner = owner_of(who);
    assert_non_null(store_begin(s, "cred", &owner, LONG_MS, known, on_answer, &got));
    return *wait_for(&got);
}

static struct got commit(struct store *s, unsigned char who, uint64_t parent)
{
    struct got got = { 0 };
    struct state state;
    struct store_owner owner = owner_of(who);
    char token[32];
    snprintf(token, sizeof token, "rt-%d", (int)parent + 1);
    state_init(&state);
    assert_int_equal(secret_set(&state.refresh_token, slice_str(token)), 0);
    assert_non_null(store_commit(s, "cred", &owner, parent, &state, on_answer, &got));
    state_done(&state);
    return *wait_for(&got);
}

static void assert_result(struct got got, enum store_result want)
{
    if (got.result != want)
        fail_msg("%d instead of %d %s", (int)got.result, (int)want, got.error);
}

/* Asks until the store answers again. */
static struct got load_again(struct store *s)
{
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    struct got got;
    do {
        loop_turn();
        got = load(s);
    } while (got.result == STORE_ERROR && clock_mono_ms() < end_ms);
    return got;
}

static void ask(const char *words, const char *want)
{
    char answer[256];
    assert_int_equal(redis_server_ask(&server, words, answer, sizeof answer), 0);
    if (!strstr(answer, want))
        fail_msg("%s: %s", words, answer);
}

static int setup(void **state)
{
    (void)state;
    if (!redis_server_there()) {
        printf("no redis-server is installed (Debian: apt-get install redis-server)\n");
        return -1;
    }
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), NULL);
    redis = (struct redis_spec){ .url = NULL };
    return ring ? redis_server_start(&server, NULL) : -1;
}

static int teardown(void **state)
{
    (void)state;
    redis_server_free(&server);
    seal_ring_free(ring);
    return 0;
}

static void a_begin_and_a_commit_are_one_round_trip_each(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    assert_result(begin(s, 'a', 0), STORE_WON); /* these two carry the scripts' text once more */
    assert_result(commit(s, 'a', 0), STORE_OK);
    unsigned long evals = redis_server_calls(&server, "eval"), calls = redis_server_calls(&server, "evalsha");
    assert_int_equal(evals, 2);
    assert_result(begin(s, 'b', 1), STORE_WON);
    assert_result(commit(s, 'b', 1), STORE_OK);
    assert_int_equal(redis_server_calls(&server, "evalsha"), calls + 2);
    assert_int_equal(redis_server_calls(&server, "eval"), evals);
    ask("SCRIPT FLUSH", "+OK");
    assert_result(begin(s, 'c', 2), STORE_WON);
    assert_int_equal(redis_server_calls(&server, "eval"), evals + 1);
    store_free(s);
}

static void a_server_that_lost_a_write_gets_it_back_before_it_is_believed(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    for (uint64_t parent = 0; parent < 3; parent++)
        assert_result(commit(s, 'a', parent), STORE_OK);
    ask("FLUSHALL", "+OK");
    struct got got = begin(s, 'b', 3);
    assert_result(got, STORE_WON);
    assert_int_equal(got.stored, 3);
    assert_string_equal(got.refresh_token, "rt-3");
    ask("FLUSHALL", "+OK");
    got = commit(s, 'b', 3); /* with its parent gone as well */
    assert_result(got, STORE_OK);
    assert_int_equal(got.generation, 4);
    ask("FLUSHALL", "+OK");
    got = load(s);
    assert_int_equal(got.stored, 4);
    ask("FLUSHALL", "+OK");
    got = begin(s, 'c', 1); /* newer than what the caller knows: handed over, and no lease stays behind */
    assert_result(got, STORE_FRESH);
    assert_int_equal(got.stored, 4);
    ask("EXISTS {sidekey:cred}:lease", ":0");
    store_free(s);
}

/* ---- what outlives the process ---- */

static char top[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static int setup_with_dir(void **state)
{
    snprintf(top, sizeof top, "/tmp/test_store_redis.XXXXXX");
    dir = mkdtemp(top);
    return dir ? setup(state) : -1;
}

static int teardown_with_dir(void **state)
{
    nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    dir = NULL;
    return teardown(state);
}

static void commit_up_to(uint64_t generation)
{
    struct store *s = open_store(server.url);
    for (uint64_t parent = load(s).stored; parent < generation; parent++) {
        assert_result(commit(s, 'a', parent), STORE_OK);
        if (parent + 1 == 1)
            ask("COPY {sidekey:cred}:state {sidekey:cred}:old", ":1");
    }
    store_free(s);
}

/* Everything that was done to Redis while no keeper ran is put right before anybody is answered. */
static void what_happened_to_redis_between_two_processes_is_put_right_first(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "COPY {sidekey:cred}:old {sidekey:cred}:state REPLACE",
        "FLUSHALL",
        "DEL {sidekey:cred}:state",
        "HSET {sidekey:cred}:state gen 1",
        "HDEL {sidekey:cred}:state gen",
        "HDEL {sidekey:cred}:state blob",
        "HSET {sidekey:cred}:state blob junk",
        "HSET {sidekey:cred}:state gen 2 blob junk",
    };
    enum { BEGINS, COMMITS, MARKS, LOADS, WAYS };
    commit_up_to(3);
    for (size_t i = 0; i < COUNT(rows) * WAYS; i++) {
        ask(rows[i / WAYS], "");
        struct store *s = open_store(server.url);
        struct store_owner owner = owner_of('b');
        struct store_intent intent = { "0a0b0c0d", "1.1", NULL, LONG_MS };
        struct got got = { 0 };
        uint64_t want = 3 + i / WAYS; /* each row has one commit */
        switch (i % WAYS) {
        case BEGINS: got = begin(s, 'b', 0); break;
        case MARKS:
            assert_non_null(store_mark(s, "cred", &owner, want, &intent, on_answer, &got));
            wait_for(&got);
            break;
        case COMMITS: got = commit(s, 'b', 1); break; /* what a spent token brought is not stored */
        default: got = load(s);
        }
        if (got.result == STORE_ERROR || got.stored != want)
            fail_msg("%s, way %zu: %d %s, generation %d", rows[i / WAYS], i % WAYS, (int)got.result, got.error,
                     (int)got.stored);
        if (i % WAYS == LOADS)
            assert_result(commit(s, 'b', want), STORE_OK);
        store_free(s);
        ask("DEL {sidekey:cred}:lease {sidekey:cred}:intent", ":");
    }
}

static void a_damaged_state_of_our_generation_is_put_right_by_a_running_process_too(void **state)
{
    (void)state;
    dir = NULL;
    struct store *s = open_store(server.url);
    assert_result(commit(s, 'a', 0), STORE_OK);
    ask("HSET {sidekey:cred}:state blob junk", ":0");
    struct got got = begin(s, 'b', 1);
    assert_result(got, STORE_WON);
    assert_string_equal(got.refresh_token, "rt-1");
    store_free(s);
    dir = top;
}

static void an_older_state_behind_somebody_elses_lease_is_put_right_at_once(void **state)
{
    (void)state;
    commit_up_to(3);
    ask("COPY {sidekey:cred}:old {sidekey:cred}:state REPLACE", ":1");
    dir = NULL;
    struct store *fresh = open_store(server.url); /* a replica that knows nothing */
    dir = top;
    assert_result(begin(fresh, 'n', 0), STORE_FRESH);
    assert_result(begin(fresh, 'n', 1), STORE_WON);
    struct store *s = open_store(server.url);
    assert_result(begin(s, 'b', 3), STORE_BUSY);
    struct store_owner owner = owner_of('n');
    struct got got = { 0 };
    assert_non_null(
        store_mark(fresh, "cred", &owner, 1, &(struct store_intent){ "0a", "1.1", NULL, LONG_MS }, on_answer, &got));
    assert_int_equal(wait_for(&got)->stored, 3); /* its last look before it spends */
    store_free(s);
    store_free(fresh);
}

static void of_two_directories_that_differ_the_newer_one_is_followed(void **state)
{
    (void)state;
    char other[96];
    snprintf(other, sizeof other, "%s/other", top);
    assert_int_equal(mkdir(other, 0700), 0);
    commit_up_to(2);
    dir = other;
    commit_up_to(5);
    ask("FLUSHALL", "+OK");
    dir = top;
    struct store *s = open_store(server.url);
    assert_int_equal(load(s).stored, 2);
    dir = other;
    struct store *t = open_store(server.url);
    assert_int_equal(load(t).stored, 5);
    assert_int_equal(load(s).stored, 5);
    store_free(s);
    store_free(t);
    ask("FLUSHALL", "+OK");
    dir = top;
    s = open_store(server.url); /* what it has seen of the other's counts from now on */
    assert_int_equal(load(s).stored, 5);
    store_free(s);
}

static void put_kept(const char *bytes)
{
    char path[128];
    snprintf(path, sizeof path, "%s/cred.kept", top);
    (void)unlink(path);
    if (!bytes) {
        assert_int_equal(symlink("/etc/passwd", path), 0);
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0 && write(fd, bytes, strlen(bytes)) == (ssize_t)strlen(bytes));
    close(fd);
}

static void a_copy_on_disk_that_is_of_no_use_is_ignored_and_replaced(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "x",
        "sidekey-kept 1 9",
        "sidekey-kept 1 9\n",
        "sidekey-kept 1 9\njunk",
        "sidekey-kept 1 0\n",
        "sidekey-kept 1 99999999999999999999\njunk",
        "sidekey-kept 2 9\njunk",
        NULL /* a symbolic link */,
    };
    commit_up_to(1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        put_kept(rows[i]);
        struct store *s = open_store(server.url);
        assert_int_equal(load(s).stored, i + 1);
        assert_result(commit(s, 'b', i + 1), STORE_OK);
        store_free(s);
        ask("FLUSHALL", "+OK");
        s = open_store(server.url);
        if (load(s).stored != i + 2)
            fail_msg("row %zu: the new copy is not there", i);
        store_free(s);
    }
}

static void a_copy_on_disk_outlives_a_new_seal_key_as_long_as_the_old_one_is_named(void **state)
{
    (void)state;
    struct seal_ring *ours = ring;
    commit_up_to(2);
    ask("FLUSHALL", "+OK");
    ring = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE(""), NULL);
    struct store *s = open_store(server.url);
    assert_int_equal(load(s).stored, 0);
    store_free(s);
    seal_ring_free(ring);
    ring = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE("0123456789abcdef0123456789abcdef"), NULL);
    s = open_store(server.url);
    assert_int_equal(load(s).stored, 2);
    store_free(s);
    seal_ring_free(ring);
    ring = ours;
}

static void a_keeper_that_is_behind_does_not_write_over_the_newer_copy(void **state)
{
    (void)state;
    struct store *old = open_store(server.url);
    assert_result(commit(old, 'a', 0), STORE_OK);
    commit_up_to(4);
    ask("COPY {sidekey:cred}:old {sidekey:cred}:state REPLACE", ":0"); /* there is no copy: nothing happens */
    ask("FLUSHALL", "+OK");
    assert_int_equal(load(old).stored, 1); /* it is behind, and so gives back what it has … */
    assert_result(commit(old, 'a', 1), STORE_OK);
    store_free(old);
    struct store *s = open_store(server.url);
    assert_int_equal(load(s).stored, 4); /* … but the directory knows better */
    store_free(s);
}

static void an_older_copy_never_goes_over_a_newer_state(void **state)
{
    (void)state;
    struct store *old = open_store(server.url), *new = open_store(server.url);
    assert_result(commit(old, 'a', 0), STORE_OK);
    assert_result(commit(new, 'b', 1), STORE_OK);
    assert_int_equal(load(old).stored, 2);
    store_free(old);
    store_free(new);
}

static void a_restart_of_the_server_is_survived(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    assert_result(commit(s, 'a', 0), STORE_OK);
    assert_true(s->engine->up(s));
    redis_server_stop(&server, SIGKILL);
    struct got got = load(s);
    assert_result(got, STORE_ERROR);
    assert_non_null(strstr(got.error, "127.0.0.1"));
    assert_false(s->engine->up(s));
    assert_int_equal(redis_server_again(&server, NULL), 0);
    got = load_again(s);
    assert_result(got, STORE_OK);
    assert_int_equal(got.stored, 1); /* given back: nothing was on disk */
    assert_true(s->engine->up(s));
    store_free(s);
}

static void a_connection_that_died_unseen_costs_no_error(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    assert_result(commit(s, 'a', 0), STORE_OK);
    ask("CLIENT KILL TYPE normal", ":");
    assert_result(load(s), STORE_OK);
    store_free(s);
}

static void a_state_sealed_with_another_key_is_an_error_that_keeps_no_lease(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    assert_result(commit(s, 'a', 0), STORE_OK);
    store_free(s);
    struct seal_ring *ours = ring;
    ring = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE(""), NULL);
    s = open_store(server.url);
    struct got got = begin(s, 'b', 1);
    assert_result(got, STORE_ERROR);
    assert_non_null(strstr(got.error, "store.seal_key"));
    ask("EXISTS {sidekey:cred}:lease", ":0");
    store_free(s);
    seal_ring_free(ring);
    /* … and with our key as the previous one it opens. */
    ring = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE("0123456789abcdef0123456789abcdef"), NULL);
    s = open_store(server.url);
    assert_int_equal(load(s).stored, 1);
    store_free(s);
    seal_ring_free(ring);
    ring = ours;
}

static struct got mark(struct store *s, unsigned char who, uint64_t parent)
{
    struct got got = { 0 };
    struct store_owner owner = owner_of(who);
    assert_non_null(store_mark(s, "cred", &owner, parent, &(struct store_intent){ "0a0b0c0d", "1.1", NULL, LONG_MS },
                               on_answer, &got));
    return *wait_for(&got);
}

/* So that the server knows the scripts by their names. */
static void warm_up(struct store *s)
{
    assert_result(begin(s, 'z', 0), STORE_WON);
    assert_result(mark(s, 'z', 0), STORE_OK);
    assert_result(commit(s, 'z', 0), STORE_OK);
}

/* The server stands still (SIGSTOP): what it was sent meanwhile it does when it goes on, for somebody who has given up
 * long since. */
static void what_a_server_does_too_late_is_no_hindrance_to_us_and_one_to_others(void **state)
{
    (void)state;
    struct store *s = open_store(server.url), *other = open_store(server.url);
    warm_up(s);
    assert_result(load(other), STORE_OK);
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    assert_result(begin(s, 'a', 1), STORE_ERROR);
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    assert_result(load_again(s), STORE_OK);
    assert_result(load_again(other), STORE_OK);
    ask("GET {sidekey:cred}:lease", "6161"); /* it took effect */
    assert_result(begin(other, 'c', 1), STORE_BUSY);
    assert_result(begin(s, 'b', 1), STORE_WON);
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    assert_result(mark(s, 'b', 1), STORE_ERROR);
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    assert_result(load_again(s), STORE_OK);
    assert_result(load_again(other), STORE_OK);
    ask("GET {sidekey:cred}:intent", "6262");
    assert_result(mark(other, 'c', 1), STORE_BUSY);
    assert_result(begin(s, 'd', 1), STORE_WON);
    assert_result(mark(s, 'd', 1), STORE_OK);
    assert_result(begin(other, 'c', 1), STORE_BUSY);
    store_free(s);
    store_free(other);
}

static void a_cancelled_begin_that_is_done_all_the_same_is_no_hindrance_either(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    struct store_owner owner = owner_of('a');
    struct got got = { 0 };
    warm_up(s);
    store_cancel(s, store_begin(s, "cred", &owner, LONG_MS, 1, on_answer, &got));
    assert_result(load(s), STORE_OK);
    ask("GET {sidekey:cred}:lease", "6161");
    assert_result(begin(s, 'b', 0), STORE_FRESH); /* and what nobody holds is let go when nobody wants it */
    ask("GET {sidekey:cred}:lease", "$-1");
    store_cancel(s, store_begin(s, "cred", &owner, LONG_MS, 1, on_answer, &got));
    assert_result(begin(s, 'b', 1), STORE_WON);
    assert_int_equal(got.count, 0);
    store_free(s);
}

static void a_blob_of_another_generation_or_credential_is_damage(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    assert_result(commit(s, 'a', 0), STORE_OK);
    ask("HSET {sidekey:cred}:state gen 2", ":");
    struct got got = load(s);
    assert_result(got, STORE_ERROR);
    assert_non_null(strstr(got.error, "damaged"));
    store_free(s);
}

static void a_lease_without_an_end_gets_one(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    ask("SET {sidekey:cred}:lease somebody", "+OK");
    assert_result(begin(s, 'a', 0), STORE_BUSY);
    ask("TTL {sidekey:cred}:lease", ":60");
    store_free(s);
}

static void a_pause_is_measured_by_the_servers_clock_and_cut_when_that_goes_back(void **state)
{
    (void)state;
    struct store *s = open_store(server.url);
    struct got got = { 0 };
    assert_non_null(store_throttle(s, "cred", 30000, on_answer, &got));
    assert_result(*wait_for(&got), STORE_OK);
    ask("PEXPIRE {sidekey:cred}:backoff 3600000", ":1"); /* as an hour's jump back makes it */
    assert_in_range(begin(s, 'a', 0).throttled_ms, 20000, 30000);
    char left[32];
    assert_int_equal(redis_server_ask(&server, "PTTL {sidekey:cred}:backoff", left, sizeof left), 0);
    assert_in_range(atoi(left + 1), 20000, 30000); /* the key itself was cut: the jump is paid for once */
    store_free(s);
}

static void a_pause_that_somebody_else_wrote_holds_nobody_for_longer_than_it_may(void **state)
{
    (void)state;
    static const char *const others[] = { "SET {sidekey:cred}:backoff never", "SET {sidekey:cred}:backoff x PX 90000",
                                          "SET {sidekey:cred}:backoff -5 PX 90000",
                                          "SET {sidekey:cred}:backoff 90000000 PX 90000000" };
    struct store *s = open_store(server.url);
    for (size_t i = 0; i < COUNT(others); i++) {
        ask(others[i], "+OK");
        struct got got = load(s);
        assert_result(got, STORE_OK);
        assert_in_range(got.throttled_ms, 0, STORE_THROTTLE_MAX_MS);
        assert_true(got.throttled_ms == 0 || i == 3);
        got = begin(s, 'a', 0);
        assert_result(got, STORE_WON);
        assert_true(got.throttled_ms == 0 || i == 3);
    }
    store_free(s);
}

static void errors_of_the_server_are_errors_and_never_busy(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        { "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory" },
        { "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "is a replica" },
        { "ACL SETUSER default -evalsha -eval", "ACL SETUSER default +evalsha +eval", "ACL" },
        { "SET {sidekey:cred}:state x", "DEL {sidekey:cred}:state", "answers with an error" },
    };
    struct store *s = open_store(server.url);
    assert_result(load(s), STORE_OK);
    for (size_t i = 0; i < COUNT(rows); i++) {
        ask(rows[i][0], "");
        struct got got = begin(s, 'a', 0);
        if (got.result != STORE_ERROR || !(strstr(got.error, rows[i][2]) || strstr(got.error, "prefix")))
            fail_msg("%s: %d %s", rows[i][0], (int)got.result, got.error);
        assert_non_null(strstr(got.error, "redis 127.0.0.1:"));
        ask(rows[i][1], "");
        assert_result(load_again(s), STORE_OK);
    }
    store_free(s);
}

static void a_password_is_asked_for_and_checked(void **state)
{
    (void)state;
    char right[] = "right", wrong[] = "wrong";
    static const char *const want[] = { "set store.redis.password", "store.redis.username and store.redis.password",
                                        "" };
    char *const given[] = { NULL, wrong, right };
    ask("CONFIG SET requirepass right", "+OK");
    for (size_t i = 0; i < COUNT(given); i++) {
        redis.password =
            (struct secret_ref){ .kind = given[i] ? SECRET_REF_INLINE : SECRET_REF_NONE, .name = given[i] };
        struct store *s = open_store(server.url);
        struct got got = load(s);
        if (!strstr(got.error, want[i]) || (got.result == STORE_OK) != (given[i] == right))
            fail_msg("%zu: %d %s", i, (int)got.result, got.error);
        store_free(s);
    }
    redis.password = (struct secret_ref){ .kind = SECRET_REF_NONE };
}

static int listen_as(uint16_t *ret_port)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

/* A server that says this to everyone who comes. */
static struct got load_from_fake(const char *says, bool ends)
{
    uint16_t port;
    char url[64];
    struct got got = { 0 };
    int fd = listen_as(&port), peers[8], peer;
    size_t count = 0;
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", port);
    struct store *s = open_store(url);
    assert_non_null(store_load(s, "cred", on_answer, &got));
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    while (got.count == 0 && clock_mono_ms() < end_ms) {
        loop_turn();
        if (count == COUNT(peers) || (peer = accept(fd, NULL, NULL)) < 0)
            continue;
        peers[count++] = peer;
        assert_int_equal(write(peer, says, strlen(says)), (ssize_t)strlen(says));
        if (ends)
            shutdown(peer, SHUT_WR);
    }
    store_free(s);
    while (count > 0)
        close(peers[--count]);
    close(fd);
    return *wait_for(&got);
}

static void broken_servers_are_errors_within_their_deadlines(void **state)
{
    (void)state;
    static const struct {
        const char *says;
        bool ends;
        const char *why;
    } rows[] = {
        { "HTTP/1.1 200 OK\r\n\r\n", false, "not the Redis protocol" },
        { "", true, "rediss://" },
        { "-DENIED Redis is running in protected mode\r\n", true, "requirepass" },
        { "-ERR max number of clients reached\r\n", true, "maxclients" },
        { "+OK\r\n+OK\r\n", false, "" },
        { "+OK\r\n*1\r\n$2\r\nok\r\n", false, "" },
        { "+OK\r\n", true, "closed the connection" },
        { "", false, "in time" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t start_ms = clock_mono_ms();
        struct got got = load_from_fake(rows[i].says, rows[i].ends);
        if (got.result != STORE_ERROR || !strstr(got.error, rows[i].why))
            fail_msg("row %zu: %d %s", i, (int)got.result, got.error);
        assert_true(clock_mono_ms() - start_ms < WAIT_MS);
    }
}

struct proxy_row {
    const char *at_name; /* what it says to CLIENT SETNAME, before it ends the connection */
    const char *at_get;  /* … to GET; empty: it ends there too */
    const char *why;     /* what the store says in the end */
};

struct proxy_peer {
    int fd;
    bool named, asked; /* SETNAME, GET came */
};

/* What a proxy does that knows only some commands.  True: it has ended this connection. */
static bool proxy_answers(const struct proxy_row *row, struct proxy_peer *p)
{
    char got[4096];
    ssize_t n = read(p->fd, got, sizeof got - 1);
    if (n <= 0)
        return n == 0;
    got[n] = '\0';
    p->named = p->named || strstr(got, "SETNAME");
    const char *says = p->named ? row->at_name : row->at_get;
    if (p->asked)
        says = "-ERR this is no server\r\n";
    p->asked = p->asked || strstr(got, "GET");
    assert_int_equal(write(p->fd, says, strlen(says)), (ssize_t)strlen(says));
    return p->named || !*says;
}

static struct got load_from_proxy(const struct proxy_row *row, size_t *ret_named, size_t *ret_asked)
{
    uint16_t port;
    char url[64];
    struct got got = { 0 };
    struct proxy_peer peers[32];
    size_t count = 0;
    int fd = listen_as(&port), came;
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", port);
    struct store *s = open_store(url);
    assert_non_null(store_load(s, "cred", on_answer, &got));
    *ret_named = *ret_asked = 0;
    for (int64_t end_ms = clock_mono_ms() + WAIT_MS; got.count == 0 && clock_mono_ms() < end_ms;) {
        loop_turn();
        if (count < COUNT(peers) && (came = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
            peers[count++] = (struct proxy_peer){ .fd = came };
        for (size_t i = 0; i < count; i++)
            if (peers[i].fd >= 0 && proxy_answers(row, &peers[i])) {
                close(peers[i].fd);
                peers[i].fd = -1;
            }
    }
    store_free(s);
    for (size_t i = 0; i < count; i++) {
        *ret_named += peers[i].named;
        *ret_asked += peers[i].asked;
        if (peers[i].fd >= 0)
            close(peers[i].fd);
    }
    close(fd);
    return *wait_for(&got);
}

static void a_proxy_that_ends_at_our_name_is_tried_once_without_it(void **state)
{
    (void)state;
    static const struct proxy_row rows[] = {
        { "", "$-1\r\n", "answers with an error" }, /* of the load: it was logged in */
        { "-ERR unknown command\r\n", "$-1\r\n", "answers with an error" },
        { "", "-NOPERM this user has no permissions to run the 'get' command\r\n", "answers with an error" },
        { "", "-NOAUTH Authentication required.\r\n", "store.redis.password" },
        { "", ":1\r\n", "answers GET with a value that is not a string" },
        { "", "*0\r\n", "answers GET with a value that is not a string" },
        { "", "", "rediss://" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t named, asked;
        struct got got = load_from_proxy(&rows[i], &named, &asked);
        if (got.result != STORE_ERROR || !strstr(got.error, rows[i].why))
            fail_msg("row %zu: %d %s", i, (int)got.result, got.error);
        assert_in_range(named, 1, 2); /* a store has two connections, one of them for news */
        assert_in_range(asked, 1, 2);
    }
}

/* A store has two connections, one of them for news. */
static void who_is_turned_away_comes_back_less_and_less_often(void **state)
{
    (void)state;
    uint16_t port;
    char url[64];
    int fd = listen_as(&port), peer, came = 0;
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", port);
    struct store *s = open_store(url);
    int64_t end_ms = clock_mono_ms() + 1500;
    while (clock_mono_ms() < end_ms) {
        loop_turn();
        while ((peer = accept(fd, NULL, NULL)) >= 0) {
            close(peer);
            came++;
        }
    }
    assert_in_range(came, 2, 60); /* some twelve, by pauses of 0.1 s, 0.2 s, 0.4 s on average; without any, thousands */
    store_free(s);
    close(fd);
}

static void on_nothing(void *arg)
{
    (void)arg;
}

static void on_closed(void *arg, const char *why)
{
    (void)arg, (void)why;
}

/* Links share their account, and each refusal has its password read anew. */
static void a_link_sends_the_password_that_it_was_made_with(void **state)
{
    (void)state;
    uint16_t port;
    struct err e;
    struct secret password = { NULL, 0, 0 };
    struct dial_options to = { .timeout_ms = 5000 };
    struct address everywhere;
    assert_int_equal(address_parse_network(SLICE("0.0.0.0/0"), &everywhere), 0);
    to.policy = (struct address_policy){ &everywhere, 1 };
    struct dialer *dialer = dialer_new(&to, &e);
    int fd = listen_as(&port), peer = -1;
    struct redis_place place = { .path = NULL };
    char at[32], got[256] = "";
    snprintf(at, sizeof at, "127.0.0.1:%u", port);
    assert_int_equal(authority_parse(slice_str(at), SCHEME_HTTP, 0, &place.at), 0);
    assert_int_equal(secret_set(&password, SLICE("the-first-one")), 0);
    struct redis_login login = { .password = secret_peek(&password) };
    struct redis_link *link =
        redis_link_new(dialer, &place, &login, 5000, &(struct redis_link_hooks){ on_nothing, on_closed, NULL, NULL });
    assert_non_null(link);
    assert_int_equal(secret_set(&password, SLICE("the-second-one")), 0); /* the pages of the first are gone */
    int64_t end_ms = clock_mono_ms() + WAIT_MS;
    for (size_t len = 0; !strstr(got, "SETNAME") && clock_mono_ms() < end_ms;) {
        loop_turn();
        if (peer < 0)
            peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
        ssize_t n = peer < 0 ? -1 : read(peer, got + len, sizeof got - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    assert_non_null(strstr(got, "the-first-one"));
    redis_link_free(link);
    dialer_free(dialer);
    secret_done(&password);
    close(peer);
    close(fd);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define WITH_DIR(name) cmocka_unit_test_setup_teardown(name, setup_with_dir, teardown_with_dir)

int main(void)
{
    static const struct CMUnitTest pure[] = {
        cmocka_unit_test(a_url_says_where_redis_is),
        cmocka_unit_test(what_is_no_redis_url_is_told_why),
        cmocka_unit_test(a_failover_says_which_primary_and_where),
        cmocka_unit_test(a_command_is_an_array_of_bulk_strings),
        cmocka_unit_test(replies_are_read_however_the_bytes_come),
        cmocka_unit_test(what_is_no_protocol_or_too_much_of_it_ends_the_reader),
        cmocka_unit_test(a_reply_without_an_end_is_cut),
        cmocka_unit_test(an_error_is_told_with_its_way_out_and_never_quoted),
        cmocka_unit_test(sha1_is_the_one_that_everybody_knows),
        cmocka_unit_test(a_link_sends_the_password_that_it_was_made_with),
        cmocka_unit_test(a_proxy_that_ends_at_our_name_is_tried_once_without_it),
    };
    static const struct CMUnitTest served[] = {
        WITH_SERVER(a_begin_and_a_commit_are_one_round_trip_each),
        WITH_SERVER(a_server_that_lost_a_write_gets_it_back_before_it_is_believed),
        WITH_SERVER(an_older_copy_never_goes_over_a_newer_state),
        WITH_DIR(what_happened_to_redis_between_two_processes_is_put_right_first),
        WITH_DIR(a_damaged_state_of_our_generation_is_put_right_by_a_running_process_too),
        WITH_DIR(an_older_state_behind_somebody_elses_lease_is_put_right_at_once),
        WITH_DIR(of_two_directories_that_differ_the_newer_one_is_followed),
        WITH_DIR(a_copy_on_disk_that_is_of_no_use_is_ignored_and_replaced),
        WITH_DIR(a_copy_on_disk_outlives_a_new_seal_key_as_long_as_the_old_one_is_named),
        WITH_DIR(a_keeper_that_is_behind_does_not_write_over_the_newer_copy),
        WITH_SERVER(a_restart_of_the_server_is_survived),
        WITH_SERVER(a_connection_that_died_unseen_costs_no_error),
        WITH_SERVER(a_state_sealed_with_another_key_is_an_error_that_keeps_no_lease),
        WITH_SERVER(what_a_server_does_too_late_is_no_hindrance_to_us_and_one_to_others),
        WITH_SERVER(a_cancelled_begin_that_is_done_all_the_same_is_no_hindrance_either),
        WITH_SERVER(a_blob_of_another_generation_or_credential_is_damage),
        WITH_SERVER(a_lease_without_an_end_gets_one),
        WITH_SERVER(a_pause_is_measured_by_the_servers_clock_and_cut_when_that_goes_back),
        WITH_SERVER(a_pause_that_somebody_else_wrote_holds_nobody_for_longer_than_it_may),
        WITH_SERVER(errors_of_the_server_are_errors_and_never_busy),
        WITH_SERVER(a_password_is_asked_for_and_checked),
        WITH_SERVER(broken_servers_are_errors_within_their_deadlines),
        WITH_SERVER(who_is_turned_away_comes_back_less_and_less_often),
    };
    (void)loop_get();
    signal(SIGCHLD, SIG_DFL);
    log_setup("test", LOG_ERROR, LOG_LOGFMT, STDERR_FILENO);
    int failed = cmocka_run_group_tests(pure, NULL, NULL);
    if (!redis_server_there()) {
        printf("[  SKIPPED ] %zu test(s): no redis-server is installed (Debian: apt-get install redis-server)\n",
               COUNT(served));
        return failed;
    }
    return failed + cmocka_run_group_tests(served, NULL, NULL);
}
