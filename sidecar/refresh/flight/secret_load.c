#include "refresh/flight/secret_load.h"

#include "base/json_safe.h"
#include "http/authority.h"
#include "net/address.h"

#include <stdio.h>
#include <stdlib.h>

static void on_output(void *arg, const struct fetch_answer *a)
{
    struct secret_load_one *one = arg;
    struct secret_load *g = one->all;
    struct err e;
    int failed = 0;
    one->command = NULL;
    g->running--;
    if (a->status)
        failed = secret_ref_take(one->ref, a->body, &one->secret, &e);
    else
        failed = err_set(&e, "cannot read the secret from command %s", a->error);
    if (failed)
        secret_load_stop(g);
    if (g->running == 0) /* the owner may go with this call */
        g->fn(g->arg, failed ? e.text : NULL);
}

/* ---- {http: …}: GitHub Actions, GCE, Azure (IMDS) ---- */

/* What those of Google and Microsoft want to see, so that no page in a browser can ask them. */
static const struct credential_spec_param metadata_fields[] = {
    { (char *)(uintptr_t)"Metadata-Flavor", (char *)(uintptr_t)"Google" },
    { (char *)(uintptr_t)"Metadata", (char *)(uintptr_t)"true" },
};

/* The text at the pointer of ref, or all. */
static int take_response(struct secret_load_one *one, struct slice body, struct err *e)
{
    const char *pointer = one->ref->argv[SECRET_HTTP_POINTER];
    if (!*pointer)
        return secret_ref_take(one->ref, body, &one->secret, e);
    json_t *root = json_safe_load(body, 0, NULL);
    const json_t *value = json_safe_at(root, pointer);
    int failed =
        json_is_string(value)
            ? secret_ref_take(one->ref, slice_of(json_string_value(value), json_string_length(value)), &one->secret, e)
            : err_set(e, "the response of %.200s has no text at %.100s", one->ref->argv[0], pointer);
    json_decref(root);
    return failed;
}

static void on_fetched(void *arg, const struct fetch_answer *a)
{
    struct secret_load_one *one = arg;
    struct secret_load *g = one->all;
    struct err e;
    int failed;
    one->job = NULL;
    g->running--;
    if (a->status == 200 && !a->cut)
        failed = take_response(one, a->body, &e);
    else if (a->status && !a->cut)
        failed = err_set(&e, "cannot fetch the secret from %.200s: HTTP %d", one->ref->argv[0], a->status);
    else
        failed = err_set(&e, "cannot fetch the secret from %.200s: %s", one->ref->argv[0], a->error ? a->error : "cut");
    if (failed)
        secret_load_stop(g);
    if (g->running == 0) /* the owner may go with this call */
        g->fn(g->arg, failed ? e.text : NULL);
}

static int add_url(char *const *http, struct buf *url, struct err *e)
{
    const char *base = http[SECRET_HTTP_URL], *query = http[SECRET_HTTP_QUERY];
    if (*http[SECRET_HTTP_URL_ENV] && !(base = getenv(http[SECRET_HTTP_URL_ENV])))
        return err_set(e, "cannot fetch the secret: the variable %s is not set", http[SECRET_HTTP_URL_ENV]);
    int failed = buf_add_str(url, base);
    if (!failed && *query)
        failed = buf_printf(url, "%s%s", strchr(base, '?') ? "&" : "?", query);
    if (!failed)
        failed = buf_add(url, slice_of("", 1));
    return failed ? err_set(e, "cannot fetch the secret: the URL is too long") : 0;
}

static int add_bearer(char *const *http, struct buf *field, struct err *e)
{
    bool env = *http[SECRET_HTTP_BEARER_ENV];
    struct secret_ref ref = { env ? SECRET_REF_ENV : SECRET_REF_FILE,
                              http[env ? SECRET_HTTP_BEARER_ENV : SECRET_HTTP_BEARER_FILE], NULL };
    struct secret token = { NULL, 0, 0 };
    if (!*ref.name)
        return 0;
    int failed = secret_ref_read(&ref, &token, e);
    if (!failed)
        failed = secret_ref_check_vschar(&ref, secret_peek(&token), e);
    if (!failed && (buf_add_str(field, "Bearer ") != 0 || buf_add(field, secret_peek(&token)) != 0))
        failed = err_set(e, "out of memory");
    secret_done(&token);
    return failed;
}

/* Http elsewhere than on loopback: fetch_start() takes that for metadata servers alone. */
static bool asks_metadata(const char *url)
{
    struct authority at;
    struct slice path;
    return authority_parse_uri(slice_str(url), &at, &path) == 0 && at.scheme == SCHEME_HTTP
           && !address_names_loopback(slice_str(at.host));
}

static int fetch_one(struct secret_load_one *one, struct err *e)
{
    struct buf url, bearer;
    buf_init(&url, 8192);
    buf_init_secret(&bearer, SECRET_REF_MAX_BYTES + 16);
    int failed = one->all->fetch ? 0 : err_set(e, "a secret that is fetched cannot be used here");
    if (!failed)
        failed = add_url(one->ref->argv, &url, e);
    if (!failed)
        failed = add_bearer(one->ref->argv, &bearer, e);
    bool metadata = !failed && asks_metadata(buf_slice(&url).ptr);
    if (!failed)
        one->job = fetch_start(one->all->fetch,
                               &(struct fetch_request){ .url = buf_slice(&url).ptr,
                                                        .authorization = buf_slice(&bearer),
                                                        .timeout_ms = SECRET_REF_COMMAND_MS,
                                                        .fields = metadata_fields,
                                                        .field_count = metadata ? 2 : 0,
                                                        .metadata = metadata },
                               on_fetched, one, e);
    one->all->running += one->job != NULL;
    buf_done(&url);
    buf_done(&bearer);
    return one->job ? 0 : -1;
}

static int start_one(struct secret_load_one *one, struct err *e)
{
    if (one->ref->kind == SECRET_REF_NONE)
        return 0;
    if (one->ref->kind == SECRET_REF_HTTP)
        return fetch_one(one, e);
    if (one->ref->kind != SECRET_REF_COMMAND)
        return secret_ref_read(one->ref, &one->secret, e);
    one->command = command_start(one->ref->argv, SECRET_REF_COMMAND_MS, on_output, one, e);
    one->all->running += one->command != NULL;
    return one->command ? 0 : err_wrap(e, "cannot read the secret: ");
}

enum secret_load_result secret_load_start(struct secret_load *g, const struct secret_ref *const *refs, size_t count,
                                          secret_load_fn *fn, void *arg, struct err *e)
{
    secret_load_stop(g);
    g->fn = fn;
    g->arg = arg;
    g->count = count;
    for (size_t i = 0; i < count; i++) {
        g->ones[i] = (struct secret_load_one){ .all = g, .ref = refs[i] };
        if (start_one(&g->ones[i], e) != 0) {
            secret_load_stop(g);
            return SECRET_LOAD_FAILED;
        }
    }
    return g->running ? SECRET_LOAD_RUNNING : SECRET_LOAD_THERE;
}

struct slice secret_load_secret(const struct secret_load *g, size_t i)
{
    return i < g->count ? secret_peek(&g->ones[i].secret) : SLICE("");
}

void secret_load_stop(struct secret_load *g)
{
    for (size_t i = 0; i < g->count; i++) {
        command_cancel(g->ones[i].command);
        g->ones[i].command = NULL;
        fetch_cancel(g->ones[i].job);
        g->ones[i].job = NULL;
        secret_done(&g->ones[i].secret);
    }
    g->count = g->running = 0;
}
