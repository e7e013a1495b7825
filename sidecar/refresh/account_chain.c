/* Chained credentials (docs/refresh-rules.md 2.19): a credential whose request is made of another's token, its
 * parent.  The parent refreshes first; each link has one flight; whoever waits for a parent learns what became of it.
 */
#include "refresh/account_private.h"

#include "base/log.h"
#include "base/clock.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>

static struct account *named(struct account *all, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].spec->name, name) == 0)
            return &all[i];
    return NULL;
}

static bool has_parent(const struct account *a, const struct account *parent)
{
    for (size_t i = 0; i < a->parent_count; i++)
        if (a->parents[i].account == parent)
            return true;
    return false;
}

int account_link(struct account *a, struct account *all, size_t count)
{
    a->all = all;
    a->all_count = count;
    for (unsigned which = 0; which < CREDENTIAL_REFRESH_TOKEN; which++) {
        const struct secret_ref *ref = credential_spec_secret_of(a->spec, which);
        struct account *parent = ref->kind == SECRET_REF_CREDENTIAL ? named(all, count, ref->name) : NULL;
        if (ref->kind == SECRET_REF_CREDENTIAL && !parent)
            return -ENOENT;
        if (parent && !has_parent(a, parent))
            a->parents[a->parent_count++] = (struct account_parent){ .account = parent };
    }
    return 0;
}

bool account_token(const struct account *a, struct secret *ret)
{
    return account_usable(a) && secret_set(ret, secret_peek(&a->state.access_token)) == 0;
}

/* What the child wants of it; false: it has that. */
static bool wanted(struct account_parent *p, struct schedule_need *ret)
{
    bool refused = p->refused_gen && p->refused_gen >= p->account->token_gen && p->account->spec->grant != GRANT_STATIC;
    *ret = (struct schedule_need){ refused ? MSG_REJECTED : MSG_MISSING, refused ? p->refused_gen : 0, false };
    p->refused_gen = 0; /* asked once: a parent that has no other token is used again */
    return refused || !account_usable(p->account);
}

bool account_chain_ready(struct account *a, const struct schedule_need *need)
{
    for (size_t i = 0; i < a->parent_count; i++) {
        struct account_parent *p = &a->parents[i];
        struct schedule_need of_parent;
        if (!wanted(p, &of_parent))
            continue;
        a->held = true;
        a->held_by = p->account;
        a->need = *need;
        a->waiters = !need->background;
        timer_stop(&a->timer);
        log_debug(log_msg("waits for its parent"), log_str("credential", a->spec->name),
                  log_str("parent", p->account->spec->name));
        account_want(p->account, &of_parent); /* answers by publish or refuse, perhaps now */
        return false;
    }
    for (size_t i = 0; i < a->parent_count; i++)
        a->parents[i].used_gen = a->parents[i].account->token_gen;
    return true;
}

void account_chain_failed(struct account *a, const struct flight_result *r)
{
    if (!r->requested || (r->failure != MSG_CONFIG_ERROR && r->failure != MSG_DEAD))
        return;
    for (size_t i = 0; i < a->parent_count; i++)
        a->parents[i].refused_gen = a->parents[i].used_gen;
}

/* Those that wait for it go on; those that have failed for want of it may try again. */
void account_publish(struct account *a)
{
    a->env->publish(a->env->arg, a);
    for (size_t i = 0; i < a->all_count && account_usable(a); i++) {
        struct account *child = &a->all[i];
        if (!has_parent(child, a))
            continue;
        if (child->held && child->held_by == a) {
            struct schedule_need need = child->need;
            child->held = false;
            child->held_by = NULL;
            account_fly(child, &need);
        } else if (child->for_parent) {
            child->for_parent = false;
            account_unstick(child);
            account_schedule(child);
        }
    }
}

static void fail_child(struct account *child, const struct account *parent, enum msg_class failure,
                       int64_t retry_after_ms, const char *text)
{
    uint64_t random;
    bool background = child->need.background;
    child->held = false;
    child->held_by = NULL;
    child->for_parent = true;
    child->waiters = 0;
    rand_bytes(&random, sizeof random);
    schedule_failed(&child->tries, failure, retry_after_ms, false, random, clock_mono_ms());
    snprintf(child->last_error, sizeof child->last_error, "credential %s: %.180s", parent->spec->name, text);
    log_warn(log_msg("refresh failed: its parent has no token"), log_str("credential", child->spec->name),
             log_str("parent", parent->spec->name), log_str("class", msg_class_name(failure)), log_str("reason", text));
    if (!background)
        account_refuse(child, failure, retry_after_ms, child->last_error);
    account_schedule(child);
}

void account_refuse(struct account *a, enum msg_class failure, int64_t retry_after_ms, const char *text)
{
    a->env->refuse(a->env->arg, a, failure, retry_after_ms, text);
    for (size_t i = 0; i < a->all_count; i++)
        if (a->all[i].held && a->all[i].held_by == a)
            fail_child(&a->all[i], a, failure, retry_after_ms, text);
}

void account_chain_drain(struct account *a)
{
    if (!a->held)
        return;
    a->held = false;
    a->held_by = NULL;
    if (!a->need.background)
        account_refuse(a, MSG_TRANSIENT, 200, "draining");
}
