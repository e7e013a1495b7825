#include "proxy/admin.h"

#include "base/clock.h"

#include "base/log.h"
#include "net/ipc/msg_parts.h"
#include "net/timer.h"
#include "proxy/admin_page.h"
#include "proxy/h1_leg.h"
#include "proxy/problem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define UNLINKED_MAX_MS 60000
#define ADMIN_IDLE_MS 30000
#define ADMIN_HEAD_MS 5000 /* a prober speaks at once */
#define ANSWER_MS 2000
#define GAUGES_MS 1000  /* a keeper that does not answer keeps nobody from the counters */
#define RELOAD_MS 10000 /* it may have to wait until the last one has settled */
#define REFRESH_MS 30000
#define ADMIN_CLIENTS_MAX 64
#define HEALTH_TEXT_BYTES 256
#define SEND_MS 30000 /* for a whole answer */

struct admin {
    struct context *ctx;
    struct list clients;
    size_t count;
    uint64_t next_tag;
    bool ailing;                    /* for so long that a restart is worth it */
    char health[HEALTH_TEXT_BYTES]; /* of all processes, when it was asked last; "": nothing is known */
};

struct admin_client {
    struct list node;
    struct admin *admin;
    struct h1_leg *leg;
    enum admin_way way;
    struct timer deadline;
    struct token_wait token_wait;
    uint64_t tag;                         /* of the question that is out; 0: none */
    bool reloads;                         /* it is one for a reload */
    char policy[ADMIN_PAGE_POLICY_BYTES]; /* of the answer; "": none */
    const char *type;                     /* media type of the answer */
    struct buf body;                      /* as it comes in parts, then as it goes out */
    bool keep, ended, head_only;
    bool gauges, openmetrics; /* the keeper brings its gauges up to date; then the supervisor is asked for the sum */
    bool sending;             /* the answer's head is out, its end is not */
    bool served;              /* has had an answer */
};

static const struct leg_events admin_events;

static void end(struct admin_client *c, bool gently)
{
    list_remove(&c->node);
    c->admin->count--;
    timer_stop(&c->deadline);
    tokens_wait_cancel(&c->token_wait);
    buf_done(&c->body);
    if (gently)
        h1_leg_free_gently(c->leg);
    else
        h1_leg_free(c->leg);
    struct context *ctx = c->admin->ctx;
    free(c);
    ctx->on_client_end(ctx);
}

bool admin_busy(const struct admin *a)
{
    for (struct list *n = a->clients.next; n != &a->clients; n = n->next) {
        const struct admin_client *c = LIST_ENTRY(n, struct admin_client, node);
        if (!c->served || c->tag || c->sending)
            return true;
    }
    return false;
}

static void go_on(struct admin_client *c)
{
    if (!c->keep) {
        end(c, true);
        return;
    }
    timer_set(&c->deadline, ADMIN_IDLE_MS);
    list_remove(&c->node); /* in the order of their last answers */
    list_push(&c->admin->clients, &c->node);
    if (c->ended) {
        c->ended = false;
        leg_next(h1_leg_base(c->leg));
    }
    leg_want(h1_leg_base(c->leg), true);
    c->admin->ctx->on_client_end(c->admin->ctx);
}

/* As much of the body as the peer takes now. */
static void send_on(struct admin_client *c)
{
    struct leg *leg = h1_leg_base(c->leg);
    size_t space;
    int failed = 0;
    while (failed == 0 && c->body.len && (space = leg_space(leg)) > 0) {
        struct slice all = buf_slice(&c->body), part = slice_of(all.ptr, all.len < space ? all.len : space);
        failed = leg_data(leg, part);
        buf_consume(&c->body, part.len);
    }
    if (failed == 0 && c->body.len)
        return; /* goes on in admin_space() */
    buf_done(&c->body);
    if (failed || leg_end(leg, NULL) != 0)
        c->keep = false;
    c->sending = false;
    c->served = true;
    go_on(c);
}

static int add_policy(struct message *m, const char *policy)
{
    int failed = *policy ? message_add(m, SLICE("Content-Security-Policy"), slice_str(policy)) : 0;
    return failed || !*policy ? failed : message_add(m, SLICE("Referrer-Policy"), SLICE("no-referrer"));
}

/* Answers with c->body. */
static void respond_body(struct admin_client *c, int status, const char *type)
{
    struct message m;
    message_init(&m);
    int failed = message_start_response(&m, status, slice_str(problem_phrase(status)));
    m.framing = FRAMING_LENGTH;
    m.length = c->body.len;
    m.keep_alive = c->keep;
    if (failed == 0 && (failed = message_add(&m, SLICE("Content-Type"), slice_str(type))) == 0
        && (failed = message_add(&m, SLICE("Cache-Control"), SLICE("no-store"))) == 0
        && (failed = message_add(&m, SLICE("X-Content-Type-Options"), SLICE("nosniff"))) == 0
        && (failed = add_policy(&m, c->policy)) == 0)
        failed = leg_head(h1_leg_base(c->leg), &m, c->head_only);
    message_done(&m);
    c->policy[0] = '\0';
    c->tag = 0;
    if (failed) {
        c->keep = false;
        go_on(c);
        return;
    }
    if (c->head_only)
        buf_clear(&c->body);
    c->sending = true;
    timer_set(&c->deadline, SEND_MS);
    send_on(c);
}

static void respond(struct admin_client *c, int status, const char *type, struct slice body)
{
    buf_clear(&c->body);
    c->keep = buf_add(&c->body, body) == 0 && c->keep;
    respond_body(c, status, type);
}

static void ask_metrics(struct admin_client *c);

static void on_deadline(void *arg)
{
    struct admin_client *c = arg;
    if (c->gauges)
        ask_metrics(c);
    else if (c->tag)
        respond(c, 503, "text/plain",
                c->reloads ? SLICE("the reload has not begun in time; see the log\n")
                           : SLICE("[-]keeper does not answer\n"));
    else
        end(c, false);
}

/* --- questions --- */

/* name: of the credential that is asked about; empty: none. */
static void ask_about(struct admin_client *c, enum msg_ask what, struct slice name, bool ok, const char *type)
{
    c->tag = ++c->admin->next_tag;
    c->type = type;
    c->reloads = what == MSG_ASK_RELOAD;
    timer_set(&c->deadline, ANSWER_MS);
    c->admin->ctx->ask(c->admin->ctx,
                       &(struct msg){ .type = MSG_ASK, .ask = what, .tag = c->tag, .name = name, .ok = ok });
}

static void ask(struct admin_client *c, enum msg_ask what, bool ok, const char *type)
{
    ask_about(c, what, SLICE(""), ok, type);
}

static void ask_metrics(struct admin_client *c)
{
    c->gauges = false;
    ask(c, MSG_ASK_METRICS, c->openmetrics,
        c->openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8");
}

static void ask_gauges(struct admin_client *c, struct slice accept)
{
    c->openmetrics = slice_starts(slice_trim(accept), SLICE("application/openmetrics-text"));
    c->gauges = !c->admin->ctx->unlinked_ms;
    if (!c->gauges) {
        ask_metrics(c);
        return;
    }
    ask(c, MSG_ASK_GAUGES, false, "");
    timer_set(&c->deadline, GAUGES_MS);
}

static void ask_reload(struct admin_client *c)
{
    ask(c, MSG_ASK_RELOAD, false, "text/plain");
    timer_set(&c->deadline, RELOAD_MS);
}

void admin_answer(struct admin *a, const struct msg *m)
{
    if (m->ask == MSG_ASK_LIVE) {
        a->ailing = !m->ok;
        snprintf(a->health, sizeof a->health, "%.*s", (int)m->text.len, m->text.len ? m->text.ptr : "");
        return;
    }
    for (struct list *n = a->clients.next; n != &a->clients; n = n->next) {
        struct admin_client *c = LIST_ENTRY(n, struct admin_client, node);
        if (c->tag != m->tag || m->tag == 0)
            continue;
        if (m->ask == MSG_ASK_GAUGES) {
            ask_metrics(c);
            return;
        }
        enum msg_parts got = msg_parts_take(&c->body, m);
        if (got == MSG_PARTS_WHOLE)
            respond_body(c, m->ok ? 200 : 503, c->type);
        else if (got == MSG_PARTS_BROKEN)
            respond(c, 503, "text/plain", SLICE("[-]the keeper's response is incomplete\n"));
        return;
    }
}

static void on_refreshed(void *arg, enum token_verdict verdict, const struct token_refusal *refusal)
{
    struct admin_client *c = arg;
    struct slice text = verdict == TOKEN_OK ? SLICE("refreshed") : slice_str(refusal->text);
    struct buf body;
    c->tag = 0;
    buf_init(&body, 1024);
    if (buf_add(&body, text) == 0 && buf_add_str(&body, "\n") == 0)
        respond(c, verdict == TOKEN_OK ? 200 : 503, "text/plain", buf_slice(&body));
    else
        end(c, false);
    buf_done(&body);
}

static void refresh(struct admin_client *c, struct slice name)
{
    struct tokens *t = c->admin->ctx->tokens;
    struct credential *credential = tokens_find(t, name);
    if (!credential) {
        respond(c, 404, "text/plain", SLICE("there is no credential of that name\n"));
        return;
    }
    timer_set(&c->deadline, REFRESH_MS + 1000);
    c->tag = ++c->admin->next_tag;
    tokens_wait(t, credential, &c->token_wait, MSG_FORCED, tokens_generation(credential), REFRESH_MS, on_refreshed, c);
}

/* The loop turns, and so does the keeper's side of it, or it is being put right: a minute without a link is worth a
 * restart. */
static void answer_live(struct admin_client *c)
{
    int64_t since_ms = c->admin->ctx->unlinked_ms, gone_ms = clock_mono_ms() - since_ms;
    char text[96];
    struct admin *a = c->admin;
    /* A probe is answered at once, by what the one before has found out. */
    a->ctx->ask(a->ctx, &(struct msg){ .type = MSG_ASK, .ask = MSG_ASK_LIVE });
    if (!since_ms) {
        respond(c, a->ailing ? 503 : 200, "text/plain", a->health[0] ? slice_str(a->health) : SLICE("ok\n"));
        return;
    }
    snprintf(text, sizeof text, "this worker has had no link to the keeper for %lld s\n", (long long)(gone_ms / 1000));
    respond(c, gone_ms < UNLINKED_MAX_MS ? 200 : 503, "text/plain", slice_str(text));
}

/* Who is about to end must get no more work, whatever the keeper thinks of its tokens. */
static void ask_ready(struct admin_client *c)
{
    if (c->admin->ctx->leaving)
        respond(c, 503, "text/plain", SLICE("[-]draining: requests in flight are finished, new ones are refused\n"));
    else
        ask(c, MSG_ASK_READY, false, "text/plain");
}

/* localhost or an address: what a page that was led here by its own name (DNS rebinding) cannot send. */
static bool is_local_host(const struct message *head)
{
    struct authority at;
    size_t hosts;
    struct slice host = message_get(head, SLICE("host"), &hosts);
    return hosts == 1 && authority_parse(host, SCHEME_HTTP, 80, &at) == 0
           && (at.kind != HOST_NAME || slice_eq(slice_str(at.host), SLICE("localhost")));
}

/* What changes something is for operators: on the socket, whose mode says who they are, or from this machine and not by
 * a browser.  NULL, or why not. */
static const char *may_change(const struct admin_client *c, const struct message *head)
{
    if (c->way == ADMIN_SOCKET)
        return NULL;
    if (c->way == ADMIN_REMOTE)
        return "allowed only from this machine\n";
    if (message_has_alike(head, SLICE("origin")) || message_has_alike(head, SLICE("sec-fetch-site")))
        return "not allowed from a web page\n";
    return is_local_host(head) ? NULL : "the Host field must be localhost or an IP address\n";
}

static bool changes(struct admin_client *c, struct message *head)
{
    struct slice query, path = slice_cut(message_target(head), '?', &query);
    bool reload = slice_eq(path, SLICE("/reload")), rotate = slice_eq(path, SLICE("/ca/rotate"));
    bool refreshes = slice_starts(path, SLICE("/refresh/"));
    bool resets = slice_starts(path, SLICE("/reset/")) && path.len - 7 <= MSG_NAME_MAX;
    if (!slice_eq(message_method(head), SLICE("POST")) || !(reload || rotate || refreshes || resets))
        return false;
    const char *refused = may_change(c, head);
    if (refused)
        respond(c, 403, "text/plain", slice_str(refused));
    else if (reload)
        ask_reload(c);
    else if (rotate)
        ask(c, MSG_ASK_ROTATE, slice_eq(query, SLICE("now")), "text/plain");
    else if (resets)
        ask_about(c, MSG_ASK_RESET, slice_skip(path, 7), false, "text/plain");
    else
        refresh(c, slice_skip(path, 9));
    return true;
}

static void answer_page(struct admin_client *c)
{
    buf_clear(&c->body);
    if (admin_page(&c->body, c->policy) == 0)
        respond_body(c, 200, "text/html; charset=utf-8");
    else
        respond(c, 503, "text/plain", SLICE("out of memory\n"));
}

static void answer(struct admin_client *c, struct message *head)
{
    struct slice path = message_target(head), query;
    bool get =
        slice_eq(message_method(head), SLICE("GET")) || (c->head_only = slice_eq(message_method(head), SLICE("HEAD")));
    bool post = slice_eq(message_method(head), SLICE("POST"));
    struct slice accept = message_get(head, SLICE("accept"), NULL);
    path = slice_cut(path, '?', &query);
    if (get && slice_eq(path, SLICE("/")))
        answer_page(c);
    else if (get && slice_eq(path, SLICE("/livez")))
        answer_live(c);
    else if (get && (slice_eq(path, SLICE("/readyz")) || slice_eq(path, SLICE("/healthz"))))
        ask_ready(c);
    else if (get && slice_eq(path, SLICE("/status")))
        ask(c, MSG_ASK_STATUS, false, "application/json");
    else if (get && slice_eq(path, SLICE("/ca.pem")))
        ask(c, MSG_ASK_CA, false, "application/x-pem-file");
    else if (get && slice_eq(path, SLICE("/metrics")))
        ask_gauges(c, accept);
    else if (!changes(c, head))
        respond(c, get || post ? 404 : 405, "text/plain",
                SLICE("/ /livez /readyz /metrics /status, POST /refresh/NAME, POST /reset/NAME, POST /reload, POST "
                      "/ca/rotate\n"));
}

/* --- legs --- */

static void admin_head(void *owner, struct message *head)
{
    struct admin_client *c = owner;
    leg_want(h1_leg_base(c->leg), false);
    c->head_only = false;
    /* a body is not read: the connection ends with the answer */
    c->keep = head->keep_alive && head->framing == FRAMING_NONE;
    answer(c, head);
}

static void admin_data(void *owner, struct slice data)
{
    (void)owner;
    (void)data;
}

static void admin_end(void *owner, struct message *trailers)
{
    struct admin_client *c = owner;
    (void)trailers;
    c->ended = true;
    if (!c->tag && !c->sending)
        go_on(c);
}

static void admin_space(void *owner)
{
    struct admin_client *c = owner;
    if (c->sending)
        send_on(c);
}

static void admin_gone(void *owner, const struct leg_fault *fault)
{
    struct admin_client *c = owner;
    bool speak = !fault->clean && fault->status >= 400 && fault->status != 502 && !c->tag && !c->sending;
    c->keep = c->head_only = false;
    if (speak)
        respond(c, fault->status, "text/plain", SLICE("not an HTTP request\n"));
    else
        end(c, true);
}

static const struct leg_events admin_events = { admin_head, admin_data, admin_end, admin_space, admin_gone };

static void no_event(void *owner, enum stream_event event)
{
    (void)owner;
    (void)event;
}

/* A probe must get in however many sit here and say nothing: the one that has been idle longest goes, then the one that
 * does not take its answer. */
static void make_space(struct admin *a)
{
    struct admin_client *slow = NULL;
    for (struct list *n = a->clients.next; n != &a->clients; n = n->next) {
        struct admin_client *c = LIST_ENTRY(n, struct admin_client, node);
        if (!c->tag && !c->sending) {
            end(c, false);
            return;
        }
        slow = !slow && c->sending ? c : slow;
    }
    if (slow)
        end(slow, false);
}

void admin_accept(struct admin *a, int fd, enum admin_way way)
{
    if (a->count == ADMIN_CLIENTS_MAX)
        make_space(a);
    struct admin_client *c = a->count < ADMIN_CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;
    struct stream *s = c ? stream_new(fd, no_event, NULL) : NULL;
    if (!s) {
        close(fd);
        free(c);
        return;
    }
    if (!(c->leg = h1_leg_new(s, H1_REQUESTS, &admin_events, c))) {
        stream_free(s);
        free(c);
        return;
    }
    c->admin = a;
    buf_init(&c->body, MSG_PARTS_TEXT_MAX);
    timer_init(&c->deadline, on_deadline, c);
    timer_set(&c->deadline, ADMIN_HEAD_MS);
    c->way = way;
    list_push(&a->clients, &c->node);
    a->count++;
    leg_half_close(h1_leg_base(c->leg), true);
    leg_want(h1_leg_base(c->leg), true);
}

struct admin *admin_new(struct context *ctx)
{
    struct admin *a = calloc(1, sizeof *a);
    if (a) {
        a->ctx = ctx;
        list_init(&a->clients);
    }
    return a;
}

void admin_free(struct admin *a)
{
    if (!a)
        return;
    while (!list_empty(&a->clients))
        end(LIST_ENTRY(a->clients.next, struct admin_client, node), false);
    free(a);
}
