/* links: tests/fakes/fake_leaf.c tests/fakes/fake_timer.c tests/fakes/fake_clock.c */
/* Between the processes, and towards the network: messages, the tables that they fill, connections that are made. */
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/dial/dial.h"
#include "net/ipc/msg_parts.h"
#include "net/dial/resolve.h"
#include "proxy/leaves.h"
#include "proxy/tokens.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/fake_timer.h"
#include "tests/fakes/fake_leaf.h"
#include "tests/torture/torture.h"

static void turns(int n)
{
    while (n-- > 0)
        ev_run(loop_get(), EVRUN_NOWAIT);
}

/* ---- messages ---- */

static struct buf text;
static enum msg_parts last;
static bool gone;
static int others;

static void on_packet(void *arg, struct slice packet, int fd)
{
    struct msg m;
    (void)arg;
    if (fd >= 0)
        close(fd);
    CHECK(msg_decode(packet, &m) == 0);
    if (m.type == MSG_ANSWER)
        last = msg_parts_take(&text, &m);
    else
        others++;
}

static void on_gone(void *arg)
{
    (void)arg;
    gone = true;
}

static int send_one(struct ipc *to, int fd)
{
    struct buf packet;
    buf_init(&packet, 256);
    int failed = msg_encode(&(struct msg){ .type = MSG_WIRE, .name = SLICE("worker") }, &packet);
    if (failed == 0)
        failed = ipc_send(to, buf_slice(&packet), fd);
    buf_done(&packet);
    return failed;
}

/* More than the socket takes: the rest is queued, with a descriptor. */
static void what_is_sent_arrives_whole_or_is_refused(void)
{
    static char large[1500000];
    int ends[2];
    memset(large, 'x', sizeof large);
    gone = false;
    others = 0;
    last = MSG_PARTS_BROKEN;
    buf_init(&text, MSG_PARTS_TEXT_MAX);
    CHECK(ipc_pair(ends) == 0);
    struct ipc *a = ipc_new(ends[0], on_packet, on_gone, NULL), *b = ipc_new(ends[1], on_packet, on_gone, NULL);
    CHECK((a && b) || torture_struck());
    if (a && b) {
        int large_failed =
                msg_parts_send(a, &(struct msg){ .type = MSG_ANSWER, .text = slice_of(large, sizeof large) }),
            failed = send_one(a, STDERR_FILENO);
        CHECK((large_failed == 0 && failed == 0) || torture_struck());
        turns(100);
        CHECK(others == (failed == 0) && !gone);
        if (large_failed == 0)
            CHECK(last == MSG_PARTS_WHOLE ? slice_eq(buf_slice(&text), slice_of(large, sizeof large))
                                          : torture_struck());
        else
            CHECK(last != MSG_PARTS_WHOLE);
        torture_pause(); /* with memory back, the next one comes */
        CHECK(msg_parts_send(a, &(struct msg){ .type = MSG_ANSWER, .text = SLICE("small") }) == 0);
        turns(3);
        CHECK(last == MSG_PARTS_WHOLE && slice_eq(buf_slice(&text), SLICE("small")));
        torture_go_on();
    }
    a ? ipc_free(a) : (void)close(ends[0]);
    b ? ipc_free(b) : (void)close(ends[1]);
    buf_done(&text);
}

/* ---- tables ---- */

static void ignore(void *arg, const struct msg *m)
{
    (void)arg, (void)m;
}

static int verdicts;

static void on_verdict(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    (void)arg, (void)verdict, (void)refusal;
    verdicts++;
}

static void give_token(struct tokens *t, uint64_t generation)
{
    struct msg m = { .type = MSG_TOKEN,
                     .name = SLICE("crm"),
                     .generation = generation,
                     .state = MSG_USABLE,
                     .token = SLICE("at"),
                     .expires_ms = fake_mono_ms + 60000,
                     .refresh_at_ms = fake_mono_ms + 30000,
                     .extra_count = 2 };
    m.extras[0] = (struct msg_extra){ SLICE("instance_url"), SLICE("https://x.test") };
    m.extras[1] = (struct msg_extra){ SLICE("scope"), SLICE("") };
    tokens_message(t, &m);
}

static void a_token_is_taken_whole_or_not_at_all(void)
{
    struct token_wait wait = { .rejected = 0 };
    struct tokens *t = tokens_new(ignore, NULL);
    struct credential *crm = t ? tokens_credential(t, "crm") : NULL;
    CHECK(crm || torture_struck());
    verdicts = 0;
    if (crm) {
        tokens_wait(t, crm, &wait, MSG_MISSING, 0, 1000, on_verdict, NULL);
        give_token(t, 1);
        give_token(t, 2);
        const struct token *at = tokens_get(t, crm, fake_mono_ms);
        CHECK(at || torture_struck());
        if (at) {
            CHECK(slice_eq(secret_peek(&at->secret), SLICE("at")) && at->extra_count == 2);
            CHECK(strcmp(at->extras[0].key, "instance_url") == 0 && strcmp(at->extras[0].value, "https://x.test") == 0
                  && *at->extras[1].value == '\0');
        }
        fake_timer_run(1000);
        CHECK(verdicts == 1);
        tokens_wait_cancel(&wait);
    }
    tokens_free(t);
    CHECK(fake_timer_count() == 0);
}

static int leaves_told;

static void on_leaf(void *arg, struct tls_leaf *leaf, const char *error)
{
    (void)arg;
    CHECK(leaf || error);
    leaves_told++;
    tls_leaf_free(leaf);
}

static void a_leaf_comes_or_its_waiter_is_told(void)
{
    struct leaf_wait wait = { .entry = NULL };
    struct leaves *l = leaves_new(NULL, ignore, NULL);
    CHECK(l || torture_struck());
    leaves_told = 0;
    if (l && leaves_wait(l, TLS_LEAF_ECDSA, "a.test", &wait, 1000, on_leaf, NULL) == 0) {
        leaves_message(l, &(struct msg){ .type = MSG_LEAF,
                                         .name = SLICE("a.test"),
                                         .der = SLICE("der"),
                                         .until_s = fake_wall_ms / 1000 + 86400 });
        fake_timer_run(1000);
        CHECK(leaves_told == 1);
        struct tls_leaf *leaf = leaves_get(l, TLS_LEAF_ECDSA, "a.test");
        CHECK(leaf || torture_struck());
        tls_leaf_free(leaf);
    } else
        CHECK(torture_struck());
    leaves_wait_cancel(&wait);
    leaves_free(l);
    CHECK(fake_timer_count() == 0 && fake_leaves == 0);
}

/* ---- connections ---- */

static struct {
    int calls, fd;
    enum dial_error error;
} told;

static void on_dialled(void *arg, int fd, enum dial_error error, const char *why)
{
    (void)arg;
    told.calls++;
    told.fd = fd;
    told.error = error;
    CHECK(fd >= 0 || *why);
    CHECK(fd >= 0 || torture_struck());
}

static uint16_t listen_here(int *ret_fd)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(bind(*ret_fd, (struct sockaddr *)&sa, len) == 0 && listen(*ret_fd, 16) == 0
          && getsockname(*ret_fd, (struct sockaddr *)&sa, &len) == 0);
    return ntohs(sa.sin_port);
}

static void dial(struct dialer *d, const char *host, enum host_kind kind, uint16_t port)
{
    struct authority to = { .scheme = SCHEME_HTTPS, .kind = kind, .port = port };
    snprintf(to.host, sizeof to.host, "%s", host);
    told.calls = 0;
    struct dial *one = dial_start(d, &to, on_dialled, NULL);
    CHECK(one || torture_struck());
    while (one && !told.calls)
        ev_run(loop_get(), EVRUN_ONCE);
    if (one && told.fd >= 0)
        close(told.fd);
}

static void a_connection_is_made_or_the_caller_told(void)
{
    struct err e = { "" };
    int listening;
    uint16_t port = listen_here(&listening);
    struct dial_override override = { .host = (char[]){ "api.test" }, .port = 0 };
    CHECK(address_parse(SLICE("127.0.0.1"), port, &override.to) == 0);
    struct dial_options options = { .overrides = &override, .override_count = 1, .timeout_ms = 5000 };
    struct dialer *d = dialer_new(&options, &e);
    CHECK(d || (torture_struck() && *e.text));
    if (d) {
        dial(d, "api.test", HOST_NAME, 443);
        torture_pause();
        dial(d, "api.test", HOST_NAME, 443); /* with memory back it works */
        CHECK(told.calls == 1 && told.fd >= 0);
        torture_go_on();
    }
    dialer_free(d);
    close(listening);
}

static int resolved;

static void on_resolved(void *arg, const struct address *addresses, size_t count, const char *error)
{
    (void)arg, (void)addresses;
    resolved++;
    CHECK(count || (error && torture_struck()));
}

static void a_name_is_resolved_or_the_caller_told(void)
{
    struct err e = { "" };
    struct resolver *r = resolver_new(&e);
    CHECK(r || (torture_struck() && *e.text));
    for (int i = 0; r && i < 2; i++) {
        resolved = 0;
        struct resolve *q = resolve_start(r, "localhost", on_resolved, NULL);
        CHECK(q || torture_struck());
        while (q && !resolved)
            ev_run(loop_get(), EVRUN_ONCE);
    }
    resolver_free(r);
}

int main(int argc, char **argv)
{
    static const struct torture list[] = {
        { "what_is_sent_arrives_whole_or_is_refused", what_is_sent_arrives_whole_or_is_refused },
        { "a_token_is_taken_whole_or_not_at_all", a_token_is_taken_whole_or_not_at_all },
        { "a_leaf_comes_or_its_waiter_is_told", a_leaf_comes_or_its_waiter_is_told },
        { "a_connection_is_made_or_the_caller_told", a_connection_is_made_or_the_caller_told },
        { "a_name_is_resolved_or_the_caller_told", a_name_is_resolved_or_the_caller_told },
    };
    return torture_main(argc, argv, list, sizeof list / sizeof *list);
}
