/* What the keeper answers to admin questions: readiness, metrics, status, the CA's certificate.  Never a token. */
#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/ipc/msg_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* ---- metrics ---- */

/* A reader of the area sees them: the supervisor. */
static int measure(struct keeper *k)
{
    process_measure(&k->process);
    *metrics_at(k->metrics, "sidekey_store_up") = k->stores.store->engine->up(k->stores.store);
    for (enum keeper_part part = 0; part < KEEPER_PARTS; part++)
        *metrics_at(k->metrics, "sidekey_degraded{part=\"%s\"}", keeper_part_name(part)) =
            keeper_part_fault(k, part) != NULL;
    keeper_ca_gauges(k);
    for (size_t i = 0; i < k->account_count; i++)
        account_gauges(&k->accounts[i]);
    return 0;
}

/* ---- readiness ---- */

static int add_check(struct buf *out, bool good, const char *kind, const char *name, const char *why, bool *all)
{
    *all = *all && good;
    return good ? buf_printf(out, "[+]%s%s ok\n", kind, name) : buf_printf(out, "[-]%s%s %s\n", kind, name, why);
}

static const char *why_not(const struct account *a)
{
    if (a->held)
        return "waits for the token of its parent";
    if (a->last_error[0])
        return a->last_error;
    if (a->state.dead_fp[0])
        return "the refresh token was revoked or has expired: sign in again, and configure the new refresh token";
    return a->flight ? "the first token is being fetched" : "has no token yet";
}

/* A store that is down must not take every replica out of its Service while tokens are valid. */
static int add_part(const struct keeper *k, enum keeper_part part, struct buf *out)
{
    const char *name = keeper_part_name(part), *fault = keeper_part_fault(k, part);
    return fault ? buf_printf(out, "[!]%s degraded: %s\n", name, fault) : buf_printf(out, "[+]%s ok\n", name);
}

static int add_ready(struct keeper *k, struct buf *out, bool *ok)
{
    *ok = true;
    bool optional = true; /* those that nobody waits for are shown all the same */
    int failed = add_check(out, keeper_ca_usable(k), "ca", "", "is not published", ok);
    for (enum keeper_part part = 0; part < KEEPER_PARTS && failed == 0; part++)
        failed = add_part(k, part, out);
    for (size_t i = 0; i < k->account_count && failed == 0; i++) {
        const struct account *a = &k->accounts[i];
        failed = add_check(out, account_usable(a), "credential/", a->spec->name, why_not(a),
                           a->spec->required ? ok : &optional);
    }
    return failed;
}

/* ---- status ---- */

static json_t *time_or_null(int64_t wall_ms)
{
    char text[32];
    time_t at = (time_t)(wall_ms / 1000);
    struct tm utc;
    if (wall_ms <= 0 || !gmtime_r(&at, &utc) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc))
        return json_null();
    return json_string(text);
}

/* Its parent, the parent of that, and so on; of several parents the first.  NULL: it has none. */
static json_t *chain_json(const struct account *a)
{
    json_t *list = a->parent_count ? json_array() : NULL;
    for (; list && a->parent_count; a = a->parents[0].account)
        (void)json_array_append_new(list, json_string(a->parents[0].account->spec->name));
    return list;
}

static json_t *account_json(const struct account *a)
{
    int64_t next_ms = account_next_ms(a);
    json_t *next;
    if (a->flight)
        next = json_string("now");
    else if (next_ms == MSG_NEVER)
        next = json_null();
    else
        next = time_or_null(clock_wall_ms() + next_ms - clock_mono_ms());
    return json_pack("{s:s, s:s, s:b, s:I, s:o, s:o, s:o, s:o?, s:o?, s:b, s:o*}", "name", a->spec->name, "state",
                     msg_state_name(account_state(a)), "usable", account_usable(a), "generation",
                     (json_int_t)a->state.generation, "expires_at", time_or_null(a->state.expires_wall_ms),
                     "refresh_token_expires_at", time_or_null(a->state.refresh_expires_wall_ms), "next_refresh", next,
                     "last_error_class", a->tries.failed ? json_string(msg_class_name(a->tries.failure)) : json_null(),
                     "last_error", a->last_error[0] ? json_string(a->last_error) : json_null(), "required",
                     a->spec->required, "chain", chain_json(a));
}

void keeper_log_status(const struct keeper *k)
{
    for (size_t i = 0; i < k->account_count; i++) {
        const struct account *a = &k->accounts[i];
        json_t *expires = time_or_null(a->state.expires_wall_ms);
        const char *at = json_string_value(expires);
        log_info(log_msg("status of a credential"), log_str("credential", a->spec->name),
                 log_str("state", msg_state_name(account_state(a))),
                 log_str("usable", account_usable(a) ? "yes" : "no"),
                 log_int("generation", (int64_t)a->state.generation), log_str("expires_at", at ? at : "unknown"),
                 log_str("reason", a->last_error));
        json_decref(expires);
    }
}

static int add_status(struct keeper *k, struct buf *out)
{
    json_t *list = json_array();
    for (size_t i = 0; i < k->account_count; i++)
        (void)json_array_append_new(list, account_json(&k->accounts[i]));
    json_t *degraded = json_object();
    for (enum keeper_part part = 0; part < KEEPER_PARTS; part++)
        if (keeper_part_fault(k, part))
            (void)json_object_set_new(degraded, keeper_part_name(part), json_string(keeper_part_fault(k, part)));
    json_t *root = json_pack("{s:s, s:{s:s, s:b}, s:o, s:o}", "version", SIDEKEY_VERSION, "store", "engine",
                             k->stores.store->engine->name, "up", k->stores.store->engine->up(k->stores.store),
                             "degraded", degraded, "credentials", list);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    int failed = text ? buf_add_str(out, text) : -ENOMEM;
    free(text);
    json_decref(root);
    return failed;
}

/* ---- */

static int reset(struct keeper *k, struct slice name, struct buf *out, bool *ok)
{
    struct account *a = keeper_find(k, name);
    *ok = a != NULL;
    if (!a)
        return buf_add_str(out, "there is no credential of that name\n");
    account_reset(a);
    return buf_add_str(out, "refusals forgotten; sidekey tries the configured refresh token now: see sidekey status\n");
}

static void refuse(struct worker_link *w, struct msg *answer, int failed)
{
    log_warn(log_msg("cannot make the response to an admin request"), log_int("ask", answer->ask),
             log_str("reason", strerror(-failed)));
    answer->ok = false;
    answer->text = failed == -ENOBUFS || failed == -EMSGSIZE ? SLICE("[-]the response is larger than 4 MiB\n")
                                                             : SLICE("[-]cannot make the response now\n");
    keeper_send(w, answer);
}

void keeper_report(struct worker_link *w, const struct msg *m)
{
    struct keeper *k = w->keeper;
    struct msg answer = { .type = MSG_ANSWER, .ask = m->ask, .tag = m->tag, .ok = true };
    struct buf text;
    int failed = -EINVAL;
    buf_init(&text, MSG_PARTS_TEXT_MAX);
    keeper_ca_look(k);
    switch (m->ask) {
    case MSG_ASK_READY: failed = add_ready(k, &text, &answer.ok); break;
    case MSG_ASK_GAUGES: failed = measure(k); break;
    case MSG_ASK_STATUS: failed = add_status(k, &text); break;
    case MSG_ASK_CA: failed = ca_set_add_pem(k->ca, clock_wall_ms() / 1000, &text); break;
    case MSG_ASK_ROTATE: failed = keeper_ca_rotate(k, m->ok, &text, &answer.ok); break;
    case MSG_ASK_RESET: failed = reset(k, m->name, &text, &answer.ok); break;
    case MSG_ASK_METRICS:
    case MSG_ASK_LIVE:
    case MSG_ASK_RELOAD: break; /* the supervisor is asked that */
    }
    answer.text = buf_slice(&text);
    if (failed == 0)
        failed = msg_parts_send(w->ipc, &answer);
    if (failed && failed != -EPIPE)
        refuse(w, &answer, failed);
    buf_done(&text);
}
