#include "tests/fakes/proxy_world.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct context world;
struct worker_options world_options;
struct rule world_rule;
int world_wants;
enum msg_reason world_want_reason;
uint64_t world_want_generation;

static struct inject_item bearer = { INJECT_HEADER, (char[]){ "authorization" }, (char[]){ "Bearer {access_token}" } };
static char name[] = "crm", host[] = WORLD_HOST;
static int log_fd, fds[64];
static size_t fd_count;
static char heard[1 << 20];

static void on_want(void *arg, const struct msg *want)
{
    (void)arg;
    world_wants++;
    world_want_reason = want->reason;
    world_want_generation = want->generation;
}

static void on_client_end(struct context *ctx)
{
    (void)ctx;
}

int world_up(void **state)
{
    struct err e;
    (void)state;
    world_rule = (struct rule){ .name = name,
                                .host = host,
                                .port = 80,
                                .credential = name,
                                .inject = &bearer,
                                .inject_count = 1,
                                .unauthorized = { 401 },
                                .replay = true,
                                .replay_max_bytes = 1 << 20 };
    world_options = (struct worker_options){ .rules = &world_rule, .rule_count = 1, .via = true };
    world_options.limits = (struct worker_limits){ .connect_head_ms = 10000,
                                                   .tls_ms = 10000,
                                                   .head_ms = 30000,
                                                   .dial_ms = 10000,
                                                   .first_byte_ms = 600000,
                                                   .idle_ms = 600000,
                                                   .tunnel_idle_ms = 600000,
                                                   .token_wait_ms = 10000,
                                                   .drain_ms = 25000,
                                                   .replay_total_bytes = 64 << 20,
                                                   .connections = 100,
                                                   .per_upstream = 8,
                                                   .fields = 200,
                                                   .request_line_bytes = 16 << 10,
                                                   .upstream_idle_ms = 4000 };
    world_wants = 0;
    log_fd = memfd_create("log", MFD_CLOEXEC);
    log_setup("test", LOG_DEBUG, LOG_JSON, log_fd);
    world = (struct context){ .options = &world_options, .on_client_end = on_client_end };
    replay_pool_init(&world.replay, 64 << 20, 0, 64 << 20);
    list_init(&world.clients);
    list_init(&world.newcomers);
    world.on_client_settled = on_client_end;
    world.access = access_new(&world_options, &e);
    world.tokens = tokens_new(on_want, NULL);
    world.meter = meter_new(&world_rule, 1, NULL);
    world.pool = pool_new(NULL, &world_options.limits, world.meter);
    assert(world.access && world.tokens && world.meter && world.pool && tokens_credential(world.tokens, name));
    return 0;
}

static bool log_is_clean(void)
{
    off_t len = lseek(log_fd, 0, SEEK_END);
    if (len == 0)
        return true;
    char *text = mmap(NULL, (size_t)len, PROT_READ, MAP_PRIVATE, log_fd, 0);
    bool clean = !memmem(text, (size_t)len, "token-", 6) && !memmem(text, (size_t)len, "query-", 6);
    munmap(text, (size_t)len);
    return clean;
}

int world_down(void **state)
{
    (void)state;
    clients_close(&world);
    world_turn();
    pool_free(world.pool);
    while (fd_count)
        close(fds[--fd_count]);
    world_turn(); /* the peers are gone: nothing lingers for them */
    bool clean = log_is_clean(), idle = fake_timer_count() == 0 && fake_dial_pending() == 0,
         given_back = world.replay.used == 0;
    bool counted = world.client_count == 0 && tokens_waiting(world.tokens) == 0;
    tokens_free(world.tokens);
    access_free(world.access);
    meter_free(world.meter);
    log_setup("test", LOG_INFO, LOG_JSON, STDERR_FILENO);
    close(log_fd);
    if (!clean || !idle || !given_back || !counted)
        fprintf(stderr, "left behind: log %d timers %d replay %d counts %d\n", !clean, !idle, !given_back, !counted);
    return clean && idle && given_back && counted ? 0 : -1;
}

void world_turn(void)
{
    for (int i = 0; i < 40; i++)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

static int keep(int fd)
{
    assert(fd_count < sizeof fds / sizeof *fds);
    return fds[fd_count++] = fd;
}

static int new_client(void (*accept_fn)(struct context *, int))
{
    int pair[2];
    int failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
    assert(!failed);
    accept_fn(&world, pair[0]);
    world_turn();
    return keep(pair[1]);
}

int world_client(void)
{
    return new_client(client_accept);
}

int world_local_client(void)
{
    return new_client(client_accept_local);
}

void say(int fd, const char *text)
{
    ssize_t put = send(fd, text, strlen(text), MSG_NOSIGNAL);
    assert(put == (ssize_t)strlen(text));
    world_turn();
}

const char *hear(int fd, bool *ret_eof)
{
    size_t len = 0;
    ssize_t got;
    while ((got = recv(fd, heard + len, sizeof heard - 1 - len, MSG_DONTWAIT)) > 0) {
        len += (size_t)got;
        world_turn();
    }
    heard[len] = '\0';
    if (ret_eof)
        *ret_eof = got == 0;
    return heard;
}

int world_upstream(void)
{
    assert_int_not_equal(fake_dial_pending(), 0);
    int fd = keep(fake_dial_accept());
    world_turn();
    return fd;
}

void world_token(uint64_t generation, const char *token, int64_t lifetime_ms)
{
    tokens_message(world.tokens, &(struct msg){ .type = MSG_TOKEN,
                                                .name = slice_str(name),
                                                .generation = generation,
                                                .state = MSG_USABLE,
                                                .token = slice_str(token),
                                                .expires_ms = fake_mono_ms + lifetime_ms,
                                                .refresh_at_ms = fake_mono_ms + lifetime_ms / 2 });
    world_turn();
}

void world_refuse(enum msg_class failure, int64_t retry_after_ms, const char *text)
{
    tokens_message(world.tokens, &(struct msg){ .type = MSG_FAIL,
                                                .name = slice_str(name),
                                                .failure = failure,
                                                .retry_after_ms = retry_after_ms,
                                                .text = slice_str(text) });
    world_turn();
}

double world_count(const char *series)
{
    struct buf text;
    double value = 0;
    buf_init(&text, 1 << 20);
    int failed = metrics_write(meter_metrics(world.meter), false, &text);
    failed = failed ? failed : buf_add(&text, slice_of("", 1));
    assert(!failed);
    for (const char *at = buf_slice(&text).ptr; at && (at = strstr(at, series)); at++)
        if ((at == buf_slice(&text).ptr || at[-1] == '\n') && at[strlen(series)] == ' ')
            value = strtod(at + strlen(series), NULL);
    buf_done(&text);
    return value;
}

bool world_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno != EAGAIN);
}

bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}
