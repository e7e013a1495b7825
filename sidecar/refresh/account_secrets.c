/* The configured secrets of an account: whose files are watched, and what a change starts. */
#include "refresh/account_private.h"

#include "base/log.h"
#include "refresh/grant/grant.h"

#include <errno.h>

bool account_seed_may_be_new(const struct account *a)
{
    const struct secret_ref *ref = &a->spec->refresh_token;
    struct secret seed = { NULL, 0, 0 };
    struct err e;
    if (ref->kind == SECRET_REF_NONE || !grant_of(a->spec->grant)->spends_refresh_token)
        return false;
    bool is_new = ref->kind == SECRET_REF_COMMAND
                  || (secret_ref_read(ref, &seed, &e) == 0
                      && !seed_is_known(a->env->flights->ring, &a->state, secret_peek(&seed)));
    secret_done(&seed);
    return is_new;
}

void account_secret_changed(struct account *a)
{
    bool dead = a->state.dead_fp[0], was_well = !a->tries.failed && !dead;
    /* After a dead verdict the new secret is tried at once, also while the old access token still serves. */
    struct schedule_need need = { dead ? MSG_FORCED : MSG_MISSING, a->state.generation, false };
    a->changed = false;
    if (a->draining || a->held)
        return;
    account_unstick(a);
    a->look = a->look && account_seed_may_be_new(a);
    if (a->flight)
        a->changed = a->spec->grant == GRANT_STATIC || !was_well || a->look || a->reset;
    else if (a->spec->grant == GRANT_STATIC || !was_well || a->look || a->reset || account_needed(a, &need)) {
        log_info(log_msg("secret file changed"), log_str("credential", a->spec->name));
        account_fly(a, &need);
    }
}

static void on_refresh_token_changed(void *arg)
{
    struct account *a = arg;
    a->look = true;
    account_secret_changed(a);
}

static void on_other_changed(void *arg)
{
    struct account *a = arg;
    a->probe = true;
    account_secret_changed(a);
}

static int watch_file(struct account *a, const struct secret_ref *ref, size_t i)
{
    if (ref->kind != SECRET_REF_FILE)
        return 0;
    a->watches[i] =
        secret_watch_new(ref->name, ref == &a->spec->refresh_token ? on_refresh_token_changed : on_other_changed, a);
    return a->watches[i] ? 0 : -ENOMEM;
}

int account_watch_secrets(struct account *a)
{
    int failed = 0;
    for (unsigned i = 0; i < CREDENTIAL_SECRETS && failed == 0; i++)
        failed = watch_file(a, credential_spec_secret_of(a->spec, i), i);
    return failed;
}

void account_unwatch_secrets(struct account *a)
{
    for (size_t i = 0; i < sizeof a->watches / sizeof *a->watches; i++)
        secret_watch_free(a->watches[i]);
}
