/* Stands in for refresh/fetch/fetch.c. */
#include "tests/fakes/fake_fetch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

struct fake_fetch fake_fetch;

struct fetch *fetch_new(const struct dial_options *options, struct err *e)
{
    (void)options;
    (void)e;
    return (struct fetch *)&fake_fetch;
}

void fetch_free(struct fetch *f)
{
    (void)f;
}

struct fetch_job *fetch_start(struct fetch *f, const struct fetch_request *request, fetch_fn *fn, void *arg,
                              struct err *e)
{
    (void)f;
    assert(!fake_fetch.pending);
    if (fake_fetch.refuse) {
        err_set(e, "bad certificate file");
        return NULL;
    }
    fake_fetch.starts++;
    fake_fetch.pending = true;
    fake_fetch.timeout_ms = request->timeout_ms;
    fake_fetch.fn = fn;
    fake_fetch.arg = arg;
    snprintf(fake_fetch.body, sizeof fake_fetch.body, "%.*s", (int)request->body.len, request->body.ptr);
    return (struct fetch_job *)&fake_fetch;
}

void fetch_cancel(struct fetch_job *job)
{
    if (!job)
        return;
    fake_fetch.cancels++;
    fake_fetch.pending = false;
}

int fetch_url_host(const char *url, char *text, size_t size)
{
    snprintf(text, size, "%s", url);
    return 0;
}

static void say(const struct fetch_answer *a)
{
    assert(fake_fetch.pending);
    fake_fetch.pending = false;
    fake_fetch.fn(fake_fetch.arg, a);
}

void fake_fetch_say(int status, const char *body)
{
    say(&(struct fetch_answer){ .status = status, .sent = true, .body = slice_str(body) });
}

void fake_fetch_say_later(int status, const char *body, const char *retry_after)
{
    say(&(struct fetch_answer){
        .status = status, .sent = true, .body = slice_str(body), .retry_after = slice_str(retry_after) });
}

void fake_fetch_redirect(int status, const char *host)
{
    say(&(struct fetch_answer){ .status = status, .sent = true, .redirect = host });
}

void fake_fetch_fail(bool sent, const char *error)
{
    say(&(struct fetch_answer){ .sent = sent, .error = error });
}
