/* RFC 6749 §4.1 with PKCE (RFC 7636) and a redirect on loopback (RFC 8252): the browser brings the code. */
#include "refresh/login/login_private.h"

#include "base/clock.h"
#include "base/rand.h"
#include "base/str.h"
#include "crypto/digest.h"
#include "refresh/login/redirect_query.h"
#include "refresh/login/redirect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define RANDOM_BYTES 32 /* of state and verifier: 43 characters */
#define URL_BYTES 16384
#define CODE_MAX 8192

struct browser {
    struct login *login;
    struct redirect *redirect;
    struct buf state, verifier; /* secret */
    struct login_code *ret;
    int status; /* when done */
    struct err *e;
    bool done;
    ev_io paste;
    struct buf pasted; /* secret */
};

static int add_random(struct buf *out)
{
    unsigned char bytes[RANDOM_BYTES];
    rand_bytes(bytes, sizeof bytes);
    int failed = str_add_base64url(out, slice_of(bytes, sizeof bytes));
    explicit_bzero(bytes, sizeof bytes);
    return failed;
}

/* ---- the URL ---- */

/* RFC 6749 §4.1.1, RFC 7636 §4.3 (S256 always), RFC 8707 §2. */
static int add_members(const struct browser *b, struct grant_writer *w)
{
    const struct credential_spec *s = b->login->spec;
    unsigned char digest[DIGEST_SHA256_SIZE];
    struct buf challenge;
    buf_init(&challenge, 64);
    int failed = digest_sha256(buf_slice(&b->verifier), digest);
    if (failed == 0)
        failed = str_add_base64url(&challenge, slice_of(digest, sizeof digest));
    grant_writer_add(w, "response_type", SLICE("code"));
    grant_writer_add(w, "client_id", slice_str(s->client_id));
    grant_writer_add(w, "redirect_uri", slice_str(redirect_url(b->redirect)));
    grant_writer_add(w, "scope", slice_str(s->login.scope ? s->login.scope : s->scope));
    grant_writer_add(w, "state", buf_slice(&b->state));
    grant_writer_add(w, "code_challenge", buf_slice(&challenge));
    grant_writer_add(w, "code_challenge_method", SLICE("S256"));
    grant_writer_add(w, "audience", slice_str(s->audience));
    grant_writer_add(w, "resource", slice_str(s->resource));
    for (size_t i = 0; i < s->login.param_count; i++)
        grant_writer_add(w, s->login.params[i].name, slice_str(s->login.params[i].value));
    buf_done(&challenge);
    return failed ? failed : w->failed;
}

static int show_url(struct browser *b)
{
    const struct login_progress *p = &b->login->options->progress;
    const char *to = b->login->endpoints.authorization;
    struct buf query, url;
    buf_init(&query, URL_BYTES);
    buf_init(&url, URL_BYTES);
    struct grant_writer w = { .as = GRANT_BODY_FORM, .out = &query };
    int failed = add_members(b, &w);
    if (failed == 0)
        failed = buf_printf(&url, "%s%c", to, strchr(to, '?') ? '&' : '?');
    if (failed == 0)
        failed = buf_add(&url, buf_slice(&query));
    if (failed == 0)
        failed = buf_add(&url, slice_of("", 1));
    if (failed == 0)
        p->browser(p->arg, buf_slice(&url).ptr);
    buf_done(&query);
    buf_done(&url);
    if (failed)
        err_set(b->e, "cannot make the URL for the browser: %s", strerror(-failed));
    return failed ? EX_OSERR : 0;
}

/* ---- what the browser brings ---- */

static void finish(struct browser *b, int status)
{
    b->status = status;
    b->done = true;
}

/* RFC 9207 §2.4: another issuer's response would lead its code to this one's token endpoint. */
static bool is_our_issuer(const struct login *l, struct slice query)
{
    struct buf iss;
    buf_init(&iss, 2048);
    int found = redirect_query_get(query, "iss", &iss);
    bool ours = found == -ENOENT && !l->endpoints.names_issuer;
    if (found == 0 && l->spec->login.issuer)
        ours = slice_eq(buf_slice(&iss), slice_str(l->spec->login.issuer));
    else if (found == 0)
        ours = true; /* nothing is known that it could differ from */
    buf_done(&iss);
    return ours;
}

/* The words of an error are the provider's: only those of RFC 6749 §3.3's alphabet are shown. */
static void tell_error(struct browser *b, struct slice code)
{
    char word[65];
    size_t len = 0;
    for (size_t i = 0; i < code.len && len < sizeof word - 1; i++)
        if ((code.ptr[i] >= 'a' && code.ptr[i] <= 'z') || (code.ptr[i] >= 'A' && code.ptr[i] <= 'Z')
            || (code.ptr[i] >= '0' && code.ptr[i] <= '9') || code.ptr[i] == '_')
            word[len++] = code.ptr[i];
    word[len] = '\0';
    err_set(b->e, "the sign-in was refused (%s)", word);
    finish(b, strcmp(word, "access_denied") == 0 ? EX_NOPERM : EX_UNAVAILABLE);
}

static const char *take_code(struct browser *b, struct slice query)
{
    struct buf value;
    const char *wrong = NULL;
    buf_init_secret(&value, CODE_MAX);
    if (!is_our_issuer(b->login, query)) {
        err_set(b->e, "the browser brought the response of another issuer (iss): the code is not used");
        wrong = "The response is from another issuer.";
        finish(b, EX_UNAVAILABLE);
    } else if (redirect_query_get(query, "error", &value) == 0) {
        tell_error(b, buf_slice(&value));
        wrong = "The provider refused the sign-in. The terminal says more.";
    } else if (redirect_query_get(query, "code", &value) != 0)
        wrong = "There is no code in the address.";
    else {
        int failed = secret_set(&b->ret->code, buf_slice(&value));
        if (failed)
            err_set(b->e, "out of memory");
        finish(b, failed ? EX_OSERR : 0);
    }
    buf_done(&value);
    return wrong;
}

/* What has not our state was not asked for by us (RFC 9700 §4.7): it changes nothing. */
static const char *on_query(void *arg, struct slice query)
{
    struct browser *b = arg;
    const struct login_progress *p = &b->login->options->progress;
    struct buf state;
    if (b->done)
        return "This sign-in was completed before.";
    buf_init_secret(&state, 256);
    int failed = redirect_query_get(query, "state", &state);
    bool ours = failed == 0 && slice_eq_secret(buf_slice(&state), buf_slice(&b->state));
    buf_done(&state);
    if (ours)
        return take_code(b, query);
    p->note(p->arg, "a redirect with another state came: it belongs to another sign-in, and is not used");
    return "The state is not that of this sign-in. Start again from the terminal.";
}

/* ---- the same by hand ---- */

static void on_paste(struct ev_loop *loop, ev_io *io, int revents)
{
    struct browser *b = io->data;
    (void)revents;
    size_t room = buf_space(&b->pasted) < 4096 ? buf_space(&b->pasted) : 4096;
    char *at = room ? buf_reserve(&b->pasted, room) : NULL;
    ssize_t got = at ? read(io->fd, at, room) : -1;
    if (got <= 0) {
        ev_io_stop(loop, io); /* the listener is still there */
        return;
    }
    buf_grow(&b->pasted, (size_t)got);
    struct slice rest, all = buf_slice(&b->pasted);
    if (slice_find(all, '\n') == all.len)
        return;
    const char *wrong = on_query(b, redirect_query_of(slice_trim(slice_cut(all, '\n', &rest))));
    if (wrong && !b->done)
        b->login->options->progress.note(b->login->options->progress.arg, wrong);
    buf_clear(&b->pasted);
}

static void start_paste(struct browser *b)
{
    int fd = b->login->options->paste_fd;
    if (fd < 0)
        return;
    ev_io_init(&b->paste, on_paste, fd, EV_READ);
    b->paste.data = b;
    ev_io_start(loop_get(), &b->paste);
}

/* ---- all of it ---- */

static int prepare(struct browser *b)
{
    const char *at = b->login->spec->login.redirect_url;
    if (add_random(&b->state) != 0 || add_random(&b->verifier) != 0
        || secret_set(&b->ret->verifier, buf_slice(&b->verifier)) != 0) {
        err_set(b->e, "out of memory");
        return EX_OSERR;
    }
    if (!(b->redirect = redirect_open(at ? at : LOGIN_REDIRECT, on_query, b, b->e)))
        return EX_UNAVAILABLE;
    if (!(b->ret->redirect_uri = strdup(redirect_url(b->redirect)))) {
        err_set(b->e, "out of memory");
        return EX_OSERR;
    }
    return show_url(b);
}

/* What was sent to the browser last must leave before its connection is closed. */
static int wait_for_browser(struct browser *b)
{
    int64_t end_ms = clock_mono_ms() + b->login->options->patience_ms;
    if (login_wait_shown(b->login, &b->done, end_ms, end_ms))
        return b->status;
    const char *at = b->login->spec->login.redirect_url;
    err_set(b->e,
            "the browser did not come back in time: run sidekey login again. If the provider showed an error instead, "
            "register the redirect URL %s there",
            at ? at : LOGIN_REDIRECT);
    return EX_UNAVAILABLE;
}

int login_browser(struct login *l, struct login_code *ret, struct err *e)
{
    struct browser b = { .login = l, .ret = ret, .e = e };
    buf_init_secret(&b.state, 64);
    buf_init_secret(&b.verifier, 64);
    buf_init_secret(&b.pasted, REDIRECT_QUERY_MAX);
    ret->grant_type = "authorization_code";
    ret->member = "code";
    int status = prepare(&b);
    if (status == 0) {
        start_paste(&b);
        status = wait_for_browser(&b);
        ev_io_stop(loop_get(), &b.paste);
    }
    redirect_close(b.redirect);
    buf_done(&b.state);
    buf_done(&b.verifier);
    buf_done(&b.pasted);
    return status;
}
