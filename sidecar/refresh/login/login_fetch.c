/* One request, waited for: this process has nothing else to do. */
#include "refresh/login/login_private.h"

#include "base/clock.h"
#include "base/json_safe.h"
#include "net/timer.h"

#include <stdio.h>
#include <sysexits.h>

#define REQUEST_MS 30000
#define DOCUMENT_MAX (256 * 1024)

void login_wait(const bool *done)
{
    while (!*done)
        ev_run(loop_get(), EVRUN_ONCE);
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

void login_sleep(int64_t ms)
{
    bool done = false;
    struct timer t;
    timer_init(&t, on_time, &done);
    timer_set(&t, ms);
    login_wait(&done);
}

#define SHOW_MS 250

bool login_wait_shown(struct login *l, const bool *done, int64_t until_ms, int64_t end_ms)
{
    for (int64_t now_ms = clock_mono_ms(); !(done && *done) && now_ms < until_ms; now_ms = clock_mono_ms()) {
        int64_t left_ms = until_ms - now_ms;
        bool over = false;
        struct timer t;
        l->options->progress.waiting(l->options->progress.arg, end_ms - now_ms);
        timer_init(&t, on_time, &over);
        timer_set(&t, left_ms < SHOW_MS ? left_ms : SHOW_MS);
        while (!over && !(done && *done))
            ev_run(loop_get(), EVRUN_ONCE);
        timer_stop(&t);
    }
    return done && *done;
}

struct wait {
    struct login_response *ret;
    bool done, failed;
};

static void on_fetched(void *arg, const struct fetch_answer *a)
{
    struct wait *w = arg;
    w->done = true;
    w->ret->status = a->status;
    w->ret->sent = a->sent;
    w->ret->cut = a->cut;
    w->ret->date_s = a->date_s;
    snprintf(w->ret->error, sizeof w->ret->error, "%s", a->error ? a->error : "");
    snprintf(w->ret->challenge, sizeof w->ret->challenge, "%.*s", (int)a->challenge.len, a->challenge.ptr);
    if (a->redirect)
        snprintf(w->ret->error, sizeof w->ret->error, "it redirects to %s", a->redirect);
    w->failed = buf_add(&w->ret->body, a->body) != 0;
}

int login_fetch(struct login *l, const struct fetch_request *request, struct login_response *ret, struct err *e)
{
    struct wait w = { .ret = ret };
    buf_init_secret(&ret->body, FETCH_ANSWER_MAX);
    struct fetch_request r = *request;
    r.ca_file = l->spec->ca_file;
    r.cert_file = l->spec->cert_file;
    r.key_file = l->spec->key_file;
    r.timeout_ms = REQUEST_MS;
    if (!fetch_start(l->fetch, &r, on_fetched, &w, e))
        return -1;
    login_wait(&w.done);
    return w.failed ? err_set(e, "out of memory") : 0;
}

int login_fetch_json(struct login *l, const char *url, json_t **ret, struct err *e)
{
    struct login_response r = { .status = 0 };
    *ret = NULL;
    int status = login_fetch(l, &(struct fetch_request){ .url = url }, &r, e) == 0 ? 0 : EX_UNAVAILABLE;
    if (status == 0 && (r.status == 0 || r.status >= 500))
        status = login_refused(url, &r, e);
    else if (status == 0 && r.status == 200 && !r.cut && r.body.len <= DOCUMENT_MAX)
        *ret = json_safe_load(buf_slice(&r.body), JSON_REJECT_DUPLICATES, NULL);
    login_response_done(&r);
    return status;
}

int login_post(struct login *l, const char *url, const struct grant_member *members, size_t count,
               struct login_response *ret, struct err *e)
{
    struct grant_request g = { 0 };
    const struct grant_secrets secrets = client_secrets_get(&l->secrets);
    bool token_request = strcmp(url, l->spec->token_url) == 0;
    if (grant_build_members(l->spec, &secrets, members, count, token_request, &g, e) != 0)
        return -1;
    int failed = login_fetch(l,
                             &(struct fetch_request){ .url = url,
                                                      .content_type = g.content_type,
                                                      .authorization = buf_slice(&g.authorization),
                                                      .body = buf_slice(&g.body),
                                                      .fields = g.fields,
                                                      .field_count = g.field_count },
                             ret, e);
    grant_request_done(&g);
    return failed;
}

void login_response_done(struct login_response *r)
{
    buf_done(&r->body);
    *r = (struct login_response){ .status = 0 };
}

int login_refused(const char *url, const struct login_response *r, struct err *e)
{
    char why[GRANT_WHY_BYTES] = "", host[300];
    struct grant_answer a = { .lifetime_ms = 0 };
    if (fetch_url_host(url, host, sizeof host) != 0)
        snprintf(host, sizeof host, "the provider");
    if (r->status == 0)
        err_set(e, "%s: no response: %s", host, r->error);
    else if (grant_answer_parse(&(struct grant_input){ r->status, buf_slice(&r->body), r->cut, NULL }, &a, why)
             == GRANT_ERROR)
        err_set(e, "%s: HTTP %d, %s%s%s", host, r->status, a.code, a.said[0] ? ": " : "", a.said);
    else
        err_set(e, "%s: HTTP %d%s%s", host, r->status, r->error[0] ? ", " : "", r->error);
    grant_answer_done(&a);
    return EX_UNAVAILABLE;
}
