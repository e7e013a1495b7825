/* The keeper as a process: this test is its supervisor, its worker and its token endpoint, on loopback, with the real
 * store, journal, CA and libcurl. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/ipc/ipc.h"
#include "net/ipc/msg.h"
#include "refresh/keeper.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define MANY 600 /* with the largest tokens: more than may wait in the queue to a worker */

static struct world {
    char dir[64], state_dir[96], publish[96], url[96], token_file[96];
    int listener, supervisor, worker;
    pid_t pid;
    struct credential_spec specs[MANY];
    size_t spec_count;
    char packet[IPC_PACKET_MAX];
    struct metrics_area counters; /* the keeper counts there */
} w;

/* ---- the keeper's surroundings ---- */

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void send_msg(int fd, const struct msg *m, int pass)
{
    struct buf b;
    buf_init(&b, IPC_PACKET_MAX);
    assert_int_equal(msg_encode(m, &b), 0);
    struct slice bytes = buf_slice(&b);
    struct iovec iov = { (void *)(uintptr_t)bytes.ptr, bytes.len };
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (pass >= 0) {
        h.msg_control = control;
        h.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass, sizeof pass);
    }
    assert_true(sendmsg(fd, &h, MSG_NOSIGNAL) > 0);
    buf_done(&b);
}

/* The next message of this type; others are passed over. */
static struct msg wait_msg(int fd, enum msg_type type)
{
    struct msg m = { .type = 0 };
    do {
        struct pollfd p = { fd, POLLIN, 0 };
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = recv(fd, w.packet, sizeof w.packet, 0);
        assert_true(n > 0);
        assert_null(memmem(w.packet, (size_t)n, "rt-", 3)); /* no refresh token ever leaves the keeper */
        assert_int_equal(msg_decode(slice_of(w.packet, (size_t)n), &m), 0);
    } while (m.type != type);
    return m;
}

static int accept_one(char *request, size_t size)
{
    struct pollfd p = { w.listener, POLLIN, 0 };
    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    int fd = accept4(w.listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    size_t len = 0;
    unsigned long body = 0;
    for (;;) {
        ssize_t n = read(fd, request + len, size - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        request[len] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "content-length:");
        if (end && length)
            body = strtoul(length + 15, NULL, 10);
        if (end && len >= (size_t)(end + 4 - request) + body)
            return fd;
    }
}

/* One token request is answered; request gets its bytes. */
static void serve(int status, const char *extra, const char *body, char *request, size_t size)
{
    int fd = accept_one(request, size);
    dprintf(fd, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, extra,
            strlen(body), body);
    close(fd);
}

static int requests_waiting(void)
{
    struct pollfd p = { w.listener, POLLIN, 0 };
    return poll(&p, 1, 0);
}

/* The value of a series in the keeper's area; -1: there is none. */
static int counted(const char *series)
{
    struct buf text;
    struct metrics *m = metrics_new();
    assert_non_null(m);
    buf_init(&text, 1 << 20);
    metrics_fold(m, &w.counters, METRICS_ALL);
    assert_int_equal(metrics_write(m, false, &text) | buf_add(&text, slice_of("", 1)), 0);
    const char *at = buf_slice(&text).ptr;
    while ((at = strstr(at, series)) && (at[-1] != '\n' || at[strlen(series)] != ' '))
        at++;
    int value = at ? atoi(at + strlen(series)) : -1;
    buf_done(&text);
    metrics_free(m);
    return value;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void start_keeper(void)
{
    int pair[2], worker[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, worker), 0);
    w.pid = fork();
    assert_true(w.pid >= 0);
    if (w.pid == 0) {
        const struct keeper_options o = { .specs = w.specs,
                                          .spec_count = w.spec_count,
                                          .state_dir = w.state_dir,
                                          .ca_publish = w.publish,
                                          .request_timeout_ms = 5000,
                                          .lease_ms = 10000,
                                          .counters = &w.counters,
                                          .ca_memfd = -1 };
        close(pair[0]);
        close(worker[0]);
        close(worker[1]);
        close(w.listener);
        fcntl(pair[1], F_SETFL, O_NONBLOCK);
        signal(SIGSEGV, SIG_DFL); /* cmocka's handlers are the parent's */
        signal(SIGABRT, SIG_DFL);
        loop_forked();
        _exit(keeper_run(&o, pair[1]));
    }
    close(pair[1]);
    w.supervisor = pair[0];
    struct msg ready = wait_msg(w.supervisor, MSG_READY);
    assert_true(slice_eq(ready.name, SLICE("keeper")));
    fcntl(worker[1], F_SETFL, O_NONBLOCK);
    send_msg(w.supervisor, &(struct msg){ .type = MSG_WIRE }, worker[1]);
    close(worker[1]);
    w.worker = worker[0];
    send_msg(w.worker, &(struct msg){ .type = MSG_HELLO, .name = SLICE("worker"), .tag = 1 }, -1);
}

static int end_keeper(void)
{
    int status = 0;
    close(w.supervisor);
    assert_int_equal(waitpid(w.pid, &status, 0), w.pid);
    close(w.worker);
    w.pid = 0;
    return status;
}

static int setup(void **state)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    (void)state;
    memset(&w, 0, sizeof w);
    if (metrics_area_open(&w.counters) != 0)
        return -1;
    strcpy(w.dir, "/tmp/sidekey-keeper-XXXXXX");
    if (!mkdtemp(w.dir))
        return -1;
    snprintf(w.state_dir, sizeof w.state_dir, "%s/state", w.dir);
    snprintf(w.publish, sizeof w.publish, "%s/ca", w.dir);
    snprintf(w.token_file, sizeof w.token_file, "%s/key", w.dir);
    w.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(w.listener, (struct sockaddr *)&sa, len) != 0 || listen(w.listener, 16) != 0
        || getsockname(w.listener, (struct sockaddr *)&sa, &len) != 0)
        return -1;
    snprintf(w.url, sizeof w.url, "http://127.0.0.1:%u/token", ntohs(sa.sin_port));
    w.spec_count = 1;
    w.specs[0] = (struct credential_spec){ .name = "crm",
                                           .grant = GRANT_REFRESH_TOKEN,
                                           .token_url = w.url,
                                           .client_id = "id",
                                           .client_auth = CLIENT_AUTH_BASIC,
                                           .client_secret = { SECRET_REF_INLINE, "cs", NULL },
                                           .refresh_token = { SECRET_REF_INLINE, "rt-0", NULL },
                                           .forced_floor_ms = 30000,
                                           .required = true };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (w.pid > 0) {
        kill(w.pid, SIGKILL);
        waitpid(w.pid, NULL, 0);
    }
    close(w.listener);
    metrics_area_close(&w.counters);
    return nftw(w.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void want(enum msg_reason reason, uint64_t generation)
{
    send_msg(w.worker,
             &(struct msg){ .type = MSG_WANT,
                            .name = SLICE("crm"),
                            .reason = reason,
                            .generation = generation,
                            .deadline_ms = clock_mono_ms() + 5000 },
             -1);
}

/* The TOKEN of at least this generation. */
static struct msg wait_token(uint64_t generation)
{
    struct msg m;
    do
        m = wait_msg(w.worker, MSG_TOKEN);
    while (m.generation < generation);
    return m;
}

static struct msg ask(enum msg_ask what)
{
    send_msg(w.worker, &(struct msg){ .type = MSG_ASK, .ask = what, .tag = 77 }, -1);
    struct msg m = wait_msg(w.worker, MSG_ANSWER);
    assert_int_equal(m.tag, 77);
    if (m.text.len)
        w.packet[m.text.ptr + m.text.len - w.packet] = '\0';
    return m;
}

#define FIRST                                                                                                          \
    "{\"access_token\":\"at-1\",\"refresh_token\":\"rt-1\",\"expires_in\":3600,\"instance_url\":\"https://"            \
    "x.test\",\"secret_thing\":\"s\"}"
#define SECOND "{\"access_token\":\"at-2\",\"refresh_token\":\"rt-2\",\"expires_in\":3600}"

/* ---- tests ---- */

static void test_the_first_token_is_fetched_published_and_survives_a_restart(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    serve(200, "", FIRST, request, sizeof request);
    assert_non_null(strstr(request, "POST /token HTTP/1.1\r\n"));
    assert_non_null(strstr(request, "Accept: application/json\r\n"));
    assert_non_null(strstr(request, "Authorization: Basic aWQ6Y3M=\r\n"));
    assert_non_null(strstr(request, "User-Agent: sidekey/"));
    assert_non_null(strstr(request, "grant_type=refresh_token&refresh_token=rt-0"));
    assert_null(strcasestr(request, "expect:"));
    struct msg m = wait_token(1);
    assert_true(slice_eq(m.token, SLICE("at-1")));
    assert_int_equal(m.state, MSG_USABLE);
    assert_in_range(m.expires_ms, clock_mono_ms() + 3590000, clock_mono_ms() + 3600000);
    assert_true(m.refresh_at_ms < m.expires_ms - 600000);
    assert_int_equal(m.extra_count, 1);
    assert_true(slice_eq(m.extras[0].key, SLICE("instance_url")));
    assert_int_equal(end_keeper(), 0);
    start_keeper();
    m = wait_token(1); /* from the store, without a request */
    assert_true(slice_eq(m.token, SLICE("at-1")));
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_one_refresh_per_generation_and_none_within_the_floor(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    serve(200, "", FIRST, request, sizeof request);
    (void)wait_token(1);
    for (int i = 0; i < 10; i++)
        want(MSG_REJECTED, 1);
    serve(200, "", SECOND, request, sizeof request);
    assert_non_null(strstr(request, "refresh_token=rt-1"));
    assert_true(slice_eq(wait_token(2).token, SLICE("at-2")));
    want(MSG_REJECTED, 1); /* a late one: the token is there */
    assert_int_equal(wait_token(2).generation, 2);
    want(MSG_REJECTED, 2); /* another at once: refused */
    struct msg m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_RECENT);
    assert_in_range(m.retry_after_ms, 1, 30000);
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_dead_refresh_token_is_told_and_ready_says_no(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    want(MSG_MISSING, 0);
    serve(400, "", "{\"error\":\"invalid_grant\",\"error_description\":\"rt-0 is unknown\"}", request, sizeof request);
    struct msg m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_DEAD);
    want(MSG_MISSING, 0);
    m = wait_msg(w.worker, MSG_FAIL); /* at once, and without a request */
    assert_int_equal(m.failure, MSG_DEAD);
    m = ask(MSG_ASK_READY);
    assert_false(m.ok);
    assert_non_null(strstr(m.text.ptr, "[-]credential/crm"));
    assert_non_null(strstr(m.text.ptr, "[+]store ok"));
    m = ask(MSG_ASK_STATUS);
    assert_non_null(strstr(m.text.ptr, "\"state\":\"reauth"));
    assert_null(strstr(m.text.ptr, "rt-0"));
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_token_that_somebody_else_has_spent_is_counted_as_that(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    want(MSG_MISSING, 0);
    serve(401, "", "{\"error\":{\"code\":\"refresh_token_reused\"}}", request, sizeof request);
    assert_int_equal(wait_msg(w.worker, MSG_FAIL).failure, MSG_DEAD);
    assert_int_equal(counted("sidekey_refresh_events_total{credential=\"crm\",event=\"foreign_rotation\"}"), 1);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_throttled_host_is_left_alone(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    want(MSG_MISSING, 0);
    serve(429, "Retry-After: 120\r\n", "", request, sizeof request);
    struct msg m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_THROTTLE);
    assert_in_range(m.retry_after_ms, 119000, 120000);
    want(MSG_MISSING, 0);
    m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_THROTTLE);
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_dropped_answer_is_asked_for_once_more_with_the_same_token(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    close(accept_one(request, sizeof request));
    serve(200, "", FIRST, request, sizeof request);
    assert_non_null(strstr(request, "refresh_token=rt-0"));
    assert_true(slice_eq(wait_token(1).token, SLICE("at-1")));
    assert_int_equal(end_keeper(), 0);
}

static void test_redirects_and_huge_answers_are_not_followed(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    want(MSG_MISSING, 0);
    serve(302, "Location: /elsewhere\r\n", "", request, sizeof request);
    assert_int_equal(wait_msg(w.worker, MSG_FAIL).failure, MSG_CONFIG_ERROR);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_refused_connection_is_transient(void **s)
{
    (void)s;
    close(w.listener);
    w.listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    start_keeper();
    want(MSG_MISSING, 0);
    struct msg m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_TRANSIENT);
    assert_in_range(m.retry_after_ms, 1, 5000);
    assert_int_equal(end_keeper(), 0);
}

static void test_an_answer_that_comes_during_the_drain_is_stored(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    int fd = accept_one(request, sizeof request);
    send_msg(w.supervisor, &(struct msg){ .type = MSG_DRAIN }, -1);
    dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(FIRST), FIRST);
    close(fd);
    assert_int_equal(end_keeper(), 0);
    start_keeper();
    assert_true(slice_eq(wait_token(1).token, SLICE("at-1")));
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_worker_that_leaves_cancels_nothing(void **s)
{
    char request[8192];
    int pair[2];
    (void)s;
    start_keeper();
    want(MSG_MISSING, 0);
    int fd = accept_one(request, sizeof request);
    close(w.worker);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    send_msg(w.supervisor, &(struct msg){ .type = MSG_WIRE }, pair[1]);
    close(pair[1]);
    w.worker = pair[0];
    send_msg(w.worker, &(struct msg){ .type = MSG_HELLO, .name = SLICE("worker"), .tag = 2 }, -1);
    (void)wait_msg(w.worker, MSG_CONFIG);
    dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(FIRST), FIRST);
    close(fd);
    assert_true(slice_eq(wait_token(1).token, SLICE("at-1")));
    assert_int_equal(requests_waiting(), 0);
    assert_int_equal(end_keeper(), 0);
}

static void test_a_keeper_killed_with_a_request_out_tries_the_same_token_once(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    int fd = accept_one(request, sizeof request);
    kill(w.pid, SIGKILL);
    waitpid(w.pid, NULL, 0);
    close(fd);
    close(w.worker);
    close(w.supervisor);
    start_keeper();
    want(MSG_MISSING, 0);
    for (int look = 0; look < 2; look++) { /* five seconds later once more */
        serve(400, "", "{\"error\":\"invalid_grant\"}", request, sizeof request);
        assert_non_null(strstr(request, "refresh_token=rt-0"));
    }
    struct msg m = wait_msg(w.worker, MSG_FAIL);
    assert_int_equal(m.failure, MSG_DEAD);
    if (m.text.len)
        w.packet[m.text.ptr + m.text.len - w.packet] = '\0';
    assert_non_null(strstr(m.text.ptr, "rotation probably lost in flight"));
    assert_int_equal(end_keeper(), 0);
}

static void test_a_static_secret_follows_its_file(void **s)
{
    char link[128], next[128];
    (void)s;
    snprintf(link, sizeof link, "%s.new", w.token_file);
    snprintf(next, sizeof next, "%s.2", w.token_file);
    write_file(w.token_file, "key-1\n");
    w.specs[0] = (struct credential_spec){
        .name = "crm", .grant = GRANT_STATIC, .token = { SECRET_REF_FILE, w.token_file, NULL }, .required = true
    };
    start_keeper();
    struct msg m = wait_token(1);
    assert_true(slice_eq(m.token, SLICE("key-1")));
    assert_int_equal(m.expires_ms, MSG_NEVER);
    write_file(next, "key-2\n");
    assert_int_equal(symlink(next, link), 0);
    assert_int_equal(rename(link, w.token_file), 0); /* as Kubernetes swaps ..data */
    m = wait_token(2);
    assert_true(slice_eq(m.token, SLICE("key-2")));
    assert_int_equal(end_keeper(), 0);
    start_keeper();
    m = wait_token(2); /* the generation outlives the process */
    assert_true(slice_eq(m.token, SLICE("key-2")));
    assert_int_equal(end_keeper(), 0);
}

static void test_what_was_counted_outlives_a_keeper_that_is_killed(void **s)
{
    static const char refreshed[] =
        "sidekey_refreshes_total{credential=\"crm\",trigger=\"background\",result=\"refreshed\"}";
    char request[8192];
    (void)s;
    start_keeper();
    assert_int_equal(counted("sidekey_store_up"), -1); /* until somebody asks */
    serve(200, "", FIRST, request, sizeof request);
    (void)wait_token(1);
    assert_true(ask(MSG_ASK_GAUGES).ok);
    assert_int_equal(counted(refreshed), 1);
    assert_int_equal(counted("sidekey_token_generation{credential=\"crm\"}"), 1);
    assert_int_equal(counted("sidekey_store_up"), 1);
    kill(w.pid, SIGKILL);
    assert_int_equal(end_keeper(), SIGKILL);
    assert_int_equal(counted(refreshed), 1);
    start_keeper();
    (void)wait_token(1);
    assert_int_equal(counted(refreshed), 1);
    assert_true(ask(MSG_ASK_GAUGES).ok);
    assert_int_equal(counted("sidekey_token_generation{credential=\"crm\"}"), 1);
    struct msg m = ask(MSG_ASK_READY);
    assert_true(m.ok);
    assert_non_null(strstr(m.text.ptr, "[+]credential/crm ok\n"));
    m = ask(MSG_ASK_CA);
    assert_non_null(strstr(m.text.ptr, "-----BEGIN CERTIFICATE-----"));
    assert_int_equal(end_keeper(), 0);
}

static int second_worker(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    send_msg(w.supervisor, &(struct msg){ .type = MSG_WIRE }, pair[1]);
    close(pair[1]);
    send_msg(pair[0], &(struct msg){ .type = MSG_HELLO, .name = SLICE("worker"), .tag = 2 }, -1);
    return pair[0];
}

/* Reads on until every credential has its token, then until CONFIG has come (CONFIG may have been before them, for who
 * was there first). */
static void take_all_tokens(int fd, bool config)
{
    static bool seen[MANY];
    char token[32];
    size_t count = 0;
    memset(seen, 0, sizeof seen);
    while (count < MANY || config) {
        struct pollfd p = { fd, POLLIN, 0 };
        struct msg m = { .type = 0 };
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        ssize_t n = recv(fd, w.packet, sizeof w.packet, 0);
        assert_true(n > 0);
        assert_int_equal(msg_decode(slice_of(w.packet, (size_t)n), &m), 0);
        config = config && m.type != MSG_CONFIG;
        if (m.type != MSG_TOKEN || m.token.len == 0)
            continue;
        unsigned i = (unsigned)strtoul(m.name.ptr + 1, NULL, 10);
        assert_true(i < MANY && m.token.len == MSG_TOKEN_MAX);
        snprintf(token, sizeof token, "%u-", i);
        assert_true(slice_starts(m.token, slice_str(token)));
        count += !seen[i];
        seen[i] = true;
    }
}

static void test_a_worker_that_reads_late_gets_every_token_and_is_not_given_up(void **s)
{
    static char names[MANY][8], tokens[MANY][MSG_TOKEN_MAX + 1];
    (void)s;
    w.spec_count = MANY;
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "c%u", i);
        memset(tokens[i], 't', MSG_TOKEN_MAX);
        tokens[i][snprintf(tokens[i], 8, "%u-", i)] = 't';
        w.specs[i] = (struct credential_spec){ .name = names[i],
                                               .grant = GRANT_STATIC,
                                               .token = { SECRET_REF_INLINE, tokens[i], NULL } };
    }
    start_keeper();
    int other = second_worker();
    take_all_tokens(other, true); /* all of them were published, and the first worker has not read one */
    take_all_tokens(w.worker, false);
    close(other);
    other = second_worker(); /* it gets 9 MiB of tokens in one go */
    take_all_tokens(other, true);
    close(other);
    assert_int_equal(end_keeper(), 0);
}

static void test_an_unknown_credential_and_a_bad_leaf_get_an_answer(void **s)
{
    char request[8192];
    (void)s;
    start_keeper();
    serve(200, "", FIRST, request, sizeof request);
    send_msg(w.worker, &(struct msg){ .type = MSG_WANT, .name = SLICE("nobody"), .reason = MSG_MISSING }, -1);
    assert_int_equal(wait_msg(w.worker, MSG_FAIL).failure, MSG_UNKNOWN_CREDENTIAL);
    send_msg(w.worker, &(struct msg){ .type = MSG_MINT, .name = SLICE("api.test"), .der = SLICE("junk") }, -1);
    struct msg m = wait_msg(w.worker, MSG_LEAF);
    assert_int_equal(m.der.len, 0);
    assert_true(m.text.len > 0);
    assert_true(slice_eq(m.name, SLICE("api.test")));
    assert_int_equal(end_keeper(), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_first_token_is_fetched_published_and_survives_a_restart),
        T(one_refresh_per_generation_and_none_within_the_floor),
        T(a_dead_refresh_token_is_told_and_ready_says_no),
        T(a_token_that_somebody_else_has_spent_is_counted_as_that),
        T(a_throttled_host_is_left_alone),
        T(a_dropped_answer_is_asked_for_once_more_with_the_same_token),
        T(redirects_and_huge_answers_are_not_followed),
        T(a_refused_connection_is_transient),
        T(an_answer_that_comes_during_the_drain_is_stored),
        T(a_worker_that_leaves_cancels_nothing),
        T(a_keeper_killed_with_a_request_out_tries_the_same_token_once),
        T(a_static_secret_follows_its_file),
        T(what_was_counted_outlives_a_keeper_that_is_killed),
        T(a_worker_that_reads_late_gets_every_token_and_is_not_given_up),
        T(an_unknown_credential_and_a_bad_leaf_get_an_answer),
    };
    setenv("ASAN_OPTIONS", "detect_leaks=0", 0);
    log_setup("test", getenv("SIDEKEY_TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1, LOG_LOGFMT, 2);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
