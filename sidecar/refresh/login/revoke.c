#include "refresh/login/revoke.h"

#include "net/loop.h"
#include "refresh/login/client_secrets.h"

#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS 15000 /* below any lease that is not set very short */

struct revoke {
    struct fetch *fetch;
    const struct credential_spec *spec;
    char *url;
    struct secret token;
    struct secret_load secrets;
    struct later start; /* the secrets were there at once */
    struct fetch_job *job;
    revoke_fn *fn;
    void *arg;
};

bool revoke_may(const struct credential_spec *spec, const char *url)
{
    char here[300], there[300];
    if (spec->login.revocation_url && strcmp(url, spec->login.revocation_url) == 0)
        return true;
    return spec->token_url && fetch_url_host(spec->token_url, here, sizeof here) == 0
           && fetch_url_host(url, there, sizeof there) == 0 && strcmp(here, there) == 0;
}

void revoke_cancel(struct revoke *r)
{
    if (!r)
        return;
    loop_later_cancel(&r->start);
    fetch_cancel(r->job);
    secret_load_stop(&r->secrets);
    secret_done(&r->token);
    free(r->url);
    free(r);
}

static void end(struct revoke *r, const char *error)
{
    revoke_fn *fn = r->fn;
    void *arg = r->arg;
    struct err text;
    err_set(&text, "%s", error ? error : "");
    revoke_cancel(r);
    fn(arg, error ? text.text : NULL);
}

static void on_fetched(void *arg, const struct fetch_answer *a)
{
    struct revoke *r = arg;
    char text[300];
    r->job = NULL;
    if (a->status)
        snprintf(text, sizeof text, "the provider responds with HTTP %d to the revocation", a->status);
    else
        snprintf(text, sizeof text, "no response to the revocation: %s", a->error);
    end(r, a->status == 200 ? NULL : text);
}

/* RFC 7009 §2.1. */
static int ask(struct revoke *r, struct err *e)
{
    struct grant_request g = { 0 };
    const struct grant_secrets secrets = client_secrets_get(&r->secrets);
    const struct grant_member members[] = { { "token", secret_peek(&r->token) },
                                            { "token_type_hint", SLICE("refresh_token") } };
    if (grant_build_members(r->spec, &secrets, members, 2, false, &g, e) != 0)
        return -1;
    const struct fetch_request request = { .url = r->url,
                                           .content_type = g.content_type,
                                           .authorization = buf_slice(&g.authorization),
                                           .body = buf_slice(&g.body),
                                           .ca_file = r->spec->ca_file,
                                           .cert_file = r->spec->cert_file,
                                           .key_file = r->spec->key_file,
                                           .timeout_ms = TIMEOUT_MS,
                                           .fields = g.fields,
                                           .field_count = g.field_count };
    r->job = fetch_start(r->fetch, &request, on_fetched, r, e);
    grant_request_done(&g);
    return r->job ? 0 : -1;
}

static void on_secrets(void *arg, const char *error)
{
    struct revoke *r = arg;
    struct err e;
    if (error)
        end(r, error);
    else if (ask(r, &e) != 0)
        end(r, e.text);
}

static void on_start(struct later *l)
{
    on_secrets(LIST_ENTRY(l, struct revoke, start), NULL);
}

static int begin(struct revoke *r, struct err *e)
{
    switch (client_secrets_start(&r->secrets, r->spec, r->fetch, on_secrets, r, e)) {
    case SECRET_LOAD_THERE: loop_later_ask(&r->start); return 0;
    case SECRET_LOAD_RUNNING: return 0;
    default: return -1;
    }
}

struct revoke *revoke_start(struct fetch *fetch, const struct credential_spec *spec, const char *url,
                            struct slice token, revoke_fn *fn, void *arg, struct err *e)
{
    struct revoke *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(e, "out of memory");
        return NULL;
    }
    *r = (struct revoke){ .fetch = fetch, .spec = spec, .fn = fn, .arg = arg };
    loop_later_init(&r->start, on_start);
    if (!(r->url = strdup(url)) || secret_set(&r->token, token) != 0)
        err_set(e, "out of memory");
    else if (begin(r, e) == 0)
        return r;
    revoke_cancel(r);
    return NULL;
}
