#include "refresh/login/login_private.h"

#include "base/clock.h"
#include "refresh/login/revoke.h"
#include "refresh/login/signed_in.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sysexits.h>

/* The prologue of every process that sees a refresh token: main() has made it undumpable before. */
static void harden(void)
{
    (void)mallopt(M_PERTURB, 0xa5);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

void login_hold_signals(bool hold)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGTSTP);
    sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

/* ---- before anybody is asked ---- */

static void on_secrets(void *arg, const char *error)
{
    struct err *e = arg;
    err_set(e, "%s", error ? error : "");
}

static int load_secrets(struct login *l, struct err *e)
{
    struct err said = { "?" }, ignored;
    enum secret_load_result result = client_secrets_start(&l->secrets, l->spec, l->fetch, on_secrets, &said, e);
    while (result == SECRET_LOAD_RUNNING && strcmp(said.text, "?") == 0)
        ev_run(loop_get(), EVRUN_ONCE);
    if (result == SECRET_LOAD_RUNNING && said.text[0]) {
        *e = said;
        result = SECRET_LOAD_FAILED;
    }
    if (l->spec->refresh_token.kind != SECRET_REF_NONE)
        (void)!secret_ref_read(&l->spec->refresh_token, &l->seed, &ignored);
    return result == SECRET_LOAD_FAILED ? EX_CONFIG : 0;
}

static int open_store(struct login *l, struct err *e)
{
    struct keeper_options one = *l->options->keeper;
    one.specs = l->spec;
    one.spec_count = 1;
    int status = login_become_owner(one.state_dir, e);
    if (status == 0)
        status = stores_open(&l->stores, &one, e);
    return status == 0 ? login_load(l, e) : status;
}

static int begin(struct login *l, struct err *e)
{
    harden();
    state_init(&l->state);
    int status = login_find_keeper(l) ? 0 : open_store(l, e);
    if (status == 0 && !(l->fetch = fetch_new(&l->options->keeper->network, e)))
        status = EX_OSERR;
    return status == 0 ? load_secrets(l, e) : status;
}

static void end(struct login *l)
{
    fetch_free(l->fetch);
    stores_close(&l->stores);
    secret_load_stop(&l->secrets);
    secret_done(&l->seed);
    state_done(&l->state);
    free(l->endpoints.authorization);
    free(l->endpoints.device);
    free(l->endpoints.revocation);
}

/* ---- the way ---- */

static int choose(const struct login *l, enum login_way *ret, struct err *e)
{
    const struct login_options *o = l->options;
    bool browser = l->endpoints.authorization, device = l->endpoints.device;
    *ret = o->way;
    if (o->way == LOGIN_AUTO)
        *ret = browser && (o->has_browser || !device) ? LOGIN_BROWSER : LOGIN_DEVICE;
    if (*ret == LOGIN_DEVICE && !device) {
        err_set(e, "no device_authorization_url is known: write login.device_authorization_url%s",
                browser ? ", or sign in with a browser" : "");
        return EX_CONFIG;
    }
    if (*ret == LOGIN_BROWSER && !browser) {
        err_set(e, "no authorization_url is known: write login.authorization_url, or use --device");
        return EX_CONFIG;
    }
    return 0;
}

static int get_tokens(struct login *l, struct login_response *ret, struct err *e)
{
    struct login_code code = { .grant_type = NULL };
    enum login_way way;
    int status = choose(l, &way, e);
    if (status == 0 && way == LOGIN_DEVICE)
        return login_device(l, ret, e);
    if (status == 0)
        status = login_browser(l, &code, e);
    login_hold_signals(true);
    if (status == 0)
        status = login_redeem(l, &code, ret, e);
    login_code_done(&code);
    return status;
}

/* ---- what is stored ---- */

struct received {
    const struct grant_answer *answer;
    int64_t wall_ms;
};

static struct signed_in signed_in(const struct login *l)
{
    return (struct signed_in){ l->stores.ring, l->spec, secret_peek(&l->seed) };
}

static int make_signed_in(struct login *l, const struct state *parent, void *arg, struct state *ret)
{
    const struct received *received = arg;
    const struct signed_in s = signed_in(l);
    return signed_in_state(&s, parent, received->answer, received->wall_ms, ret);
}

static int store(struct login *l, const struct login_response *r, struct login_result *ret, struct err *e)
{
    struct grant_answer answer = { .lifetime_ms = 0 };
    struct received received = { &answer, r->date_s ? r->date_s * 1000 : clock_wall_ms() };
    int status = login_read(l, r, &answer, e);
    if (status == 0 && l->keeper)
        status = login_hand_over(l, r, received.wall_ms, &ret->generation, e);
    else if (status == 0)
        status = login_commit(l, make_signed_in, &received, &ret->generation, e);
    if (status == 0)
        login_account(buf_slice(&r->body), ret->account);
    grant_answer_done(&answer);
    return status;
}

int login_run(const struct login_options *o, struct login_result *ret, struct err *e)
{
    struct login l = { .options = o, .spec = o->spec, .stores.dir.fd = -1 };
    struct login_response r = { .status = 0 };
    *ret = (struct login_result){ .generation = 0 };
    int status = begin(&l, e);
    if (status == 0)
        status = login_discover(&l, e);
    if (status == 0)
        status = get_tokens(&l, &r, e);
    login_hold_signals(true);
    if (status == 0)
        status = store(&l, &r, ret, e);
    login_hold_signals(false);
    login_response_done(&r);
    end(&l);
    return status;
}

/* ---- and out ---- */

struct leaving {
    struct err note;
    bool done;
};

static void on_revoked(void *arg, const char *error)
{
    struct leaving *leaving = arg;
    leaving->done = true;
    if (error)
        err_set(&leaving->note, "%s: end the session there as well", error);
}

/* Under the lease: nobody refreshes with it meanwhile. */
static void revoke_token(struct login *l, const struct state *stored, struct leaving *leaving)
{
    struct err e;
    *leaving = (struct leaving){ .done = false };
    const char *url = l->endpoints.revocation;
    if (secret_empty(&stored->refresh_token))
        return;
    if (!url)
        err_set(&leaving->note, "%s", REVOKE_NOWHERE);
    else if (revoke_start(l->fetch, l->spec, url, secret_peek(&stored->refresh_token), on_revoked, leaving, &e))
        login_wait(&leaving->done);
    else
        on_revoked(leaving, e.text);
}

static int make_signed_out(struct login *l, const struct state *parent, void *arg, struct state *ret)
{
    const struct signed_in s = signed_in(l);
    signed_in_cleared(&s, parent, ret);
    revoke_token(l, parent, arg);
    return 0;
}

int login_out(const struct login_options *o, struct err *ret_note, struct err *e)
{
    struct login l = { .options = o, .spec = o->spec, .stores.dir.fd = -1 };
    struct leaving leaving = { .done = false };
    uint64_t generation;
    struct err unknown;
    int status = begin(&l, e);
    if (status == 0 && login_discover(&l, &unknown) != 0) /* then it is forgotten without being revoked */
        o->progress.note(o->progress.arg, unknown.text);
    login_hold_signals(true);
    if (status == 0 && l.keeper)
        status = login_forget(&l, &leaving.note, e);
    else if (status == 0)
        status = login_commit(&l, make_signed_out, &leaving, &generation, e);
    login_hold_signals(false);
    *ret_note = leaving.note;
    end(&l);
    return status;
}
