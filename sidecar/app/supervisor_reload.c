#include <limits.h>
#include <signal.h>
#include <stdio.h>

#include "app/notify.h"
#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"

#define OLD_SETS_MAX 4
#define RELOAD_GAP_MS 1000    /* between two readings of the configuration */
#define SETTLE_MS 5000        /* processes that are not ready by then are no reason to put a reload off */
#define KEEPER_DRAIN_MS 20000 /* a keeper ends by itself within this */

/* --- old sets: workers of one configuration, and the keeper that serves them until the last has drained --- */

/* One that is stopped, or hangs, ends all the same. */
void supervisor_overdue(void *arg)
{
    struct child *c = arg;
    log_warn(log_msg("an old process did not end in time: sidekey killed it"),
             log_str("child", c->role == ROLE_KEEPER ? "keeper" : "worker"), log_int("pid", c->pid));
    kill(c->pid, SIGKILL);
}

/* The earlier of what was set and this. */
static void set_overdue(struct child *c, int64_t in_ms)
{
    int64_t at_ms = clock_mono_ms() + in_ms + SUPERVISOR_LAST_WORDS_MS;
    if (!c->overdue_ms || c->overdue_ms > at_ms)
        child_overdue_at(c, at_ms);
}

static bool has_workers(const struct supervisor *s, unsigned set)
{
    for (const struct list *n = s->retired.next; n != &s->retired; n = n->next) {
        const struct child *c = LIST_ENTRY((struct list *)(uintptr_t)n, struct child, node);
        if (c->role == ROLE_WORKER && c->set == set)
            return true;
    }
    return false;
}

void supervisor_sets_end(struct supervisor *s)
{
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next) {
        struct child *c = LIST_ENTRY(n, struct child, node);
        if (c->role != ROLE_KEEPER || has_workers(s, c->set) || (c->held && !s->stopping))
            continue;
        (void)!child_send(c, &(struct msg){ .type = MSG_DRAIN }, -1);
        set_overdue(c, KEEPER_DRAIN_MS);
    }
}

/* Old sets that came after this one and have workers still. */
static unsigned newer_sets(const struct supervisor *s, unsigned set)
{
    unsigned count = 0;
    for (unsigned later = set + 1; later < s->set; later++)
        count += has_workers(s, later);
    return count;
}

/* Beyond so many sets that drain, the oldest give up what is idle and what streams. */
static void hurry_oldest(struct supervisor *s)
{
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next) {
        struct child *c = LIST_ENTRY(n, struct child, node);
        if (c->role != ROLE_WORKER || newer_sets(s, c->set) < OLD_SETS_MAX)
            continue;
        (void)!child_send(c, &(struct msg){ .type = MSG_DRAIN, .tag = MSG_DRAIN_SOON }, -1);
        set_overdue(c, s->config->limits.drain_ms);
    }
}

/* A new child takes its place in *at; the old one keeps its socket until it has ended by itself. */
static void replace(struct supervisor *s, struct child **at, int64_t drain_ms)
{
    struct child *old = *at, *next = child_new(s, old->role, old->slot);
    if (!next)
        return; /* the old one goes on with the old configuration */
    timer_stop(&old->respawn);
    old->retired = true;
    *at = next;
    if (!old->pid) {
        supervisor_reload_forget(old);
        supervisor_metrics_keep(s, old);
        child_free(old);
        return;
    }
    list_push(&s->retired, &old->node);
    if (old->role == ROLE_KEEPER)
        return;
    (void)!child_send(old, &(struct msg){ .type = MSG_DRAIN }, -1);
    set_overdue(old, drain_ms);
}

static void let_go(struct supervisor *s)
{
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next) {
        struct child *c = LIST_ENTRY(n, struct child, node);
        if (!c->held)
            continue;
        c->held = false;
        if (c->role == ROLE_KEEPER)
            continue;
        (void)!child_send(c, &(struct msg){ .type = MSG_DRAIN }, -1);
        set_overdue(c, s->config->limits.reload_drain_ms);
    }
    supervisor_sets_end(s);
    hurry_oldest(s);
}

/* --- one reload: new processes with the new configuration, the old ones drain --- */

/* What is new is read and checked whole before anything changes.  NULL: refused. */
static struct config *reload_read(struct supervisor *s)
{
    bool serving = s->options->reload && !s->stopping && s->announced;
    if (serving)
        notify_reloading();
    struct config *next = serving ? s->options->reload(s->options->arg) : NULL;
    struct err e;
    if (next && supervisor_roots_check(next, &e) != 0) {
        log_error(log_msg("a CA file that the configuration names cannot be used"), log_str("reason", e.text));
        config_free(next);
        next = NULL;
    }
    supervisor_unwatch_login(s);
    if (next && listeners_move_local(&s->listeners, next, &e) != 0) {
        log_error(log_msg("cannot listen"), log_str("reason", e.text));
        config_free(next);
        next = NULL;
    }
    supervisor_watch_login(s);
    s->reload_failed = !next;
    if (next)
        return next;
    if (serving)
        notify_ready("serving; a reload was refused, the old configuration stays in use");
    log_error(log_msg("reload refused: the old configuration stays in use"));
    return NULL;
}

static void reload_now(struct supervisor *s, struct config *next)
{
    int64_t drain_ms = s->config->limits.reload_drain_ms;
    next->workers = s->worker_count; /* TCP listeners are as they are until a restart */
    config_free(s->config);
    s->config = next;
    s->set++;
    s->listeners.moved = false;
    s->reloading = true;
    s->reloaded_ms = clock_mono_ms();
    replace(s, &s->keeper, 0);
    for (unsigned i = 0; i < s->worker_count; i++)
        replace(s, &s->workers[i], drain_ms);
    child_spawn(s->keeper);
    for (unsigned i = 0; i < s->worker_count; i++)
        child_spawn(s->workers[i]);
    supervisor_sets_end(s);
    hurry_oldest(s);
    log_info(log_msg("configuration reloaded"), log_str("file", next->path));
}

static void reload_unchanged(struct config *same)
{
    log_info(log_msg("nothing has changed since the last reload: the processes continue"), log_str("file", same->path));
    config_free(same);
    notify_ready("serving; the configuration is unchanged");
}

/* --- when, and who hears of it --- */

static void answer(struct child *c, uint64_t tag, bool ok, struct slice text)
{
    const struct msg m = { .type = MSG_ANSWER, .ask = MSG_ASK_RELOAD, .tag = tag, .ok = ok, .text = text };
    (void)!child_send(c, &m, -1);
}

static void answer_all(struct supervisor *s, bool ok, struct slice text)
{
    unsigned count = s->asker_count;
    s->asker_count = 0;
    for (unsigned i = 0; i < count; i++)
        answer(s->askers[i].child, s->askers[i].tag, ok, text);
}

void supervisor_reload_forget(struct child *c)
{
    struct supervisor *s = c->supervisor;
    unsigned kept = 0;
    for (unsigned i = 0; i < s->asker_count; i++)
        if (s->askers[i].child != c)
            s->askers[kept++] = s->askers[i];
    s->asker_count = kept;
}

void supervisor_reload_refuse(struct supervisor *s)
{
    s->reload_wanted = false;
    answer_all(s, false, SLICE("refused: sidekey is stopping\n"));
}

/* The CA as the keeper has stored and published it; another sidekey, or somebody tidy, may change that. */
static struct config_seen look_at_ca(const struct config *c)
{
    struct config_seen seen = { 0 };
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/ca.sealed", c->store_file);
    config_seen_file(&seen, path);
    snprintf(path, sizeof path, "%s/ca.pem", c->ca_publish);
    config_seen_file(&seen, path);
    return seen;
}

static bool is_unchanged(const struct supervisor *s, const struct config *next)
{
    struct config_seen ca = look_at_ca(next);
    return config_seen_same(&next->seen, &s->config->seen) && s->ca_set == s->set + 1 && config_seen_same(&ca, &s->ca);
}

/* The answers go first: who asked will drain. */
static void reload_run(struct supervisor *s)
{
    struct config *next = reload_read(s);
    bool same = next && !s->listeners.moved && is_unchanged(s, next);
    struct slice text = SLICE("refused: the old configuration stays in use; see the log for the reason\n");
    if (next && s->upgrade.refused)
        text = SLICE("reloaded; the new program was refused, this version stays in use: see the log for the reason\n");
    else if (same)
        text = SLICE("unchanged: nothing has changed since the last reload\n");
    else if (next)
        text = SLICE("reloaded\n");
    answer_all(s, next, text);
    s->upgrade.refused = false;
    if (same)
        reload_unchanged(next);
    else if (next)
        reload_now(s, next);
}

static bool is_settled(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        if (!s->workers[i]->ready)
            return false;
    return s->keeper->ready;
}

static int64_t left_ms(int64_t since_ms, int64_t pause_ms)
{
    int64_t left = since_ms ? since_ms + pause_ms - clock_mono_ms() : 0;
    return left > 0 ? left : 0;
}

/* A second after the last reading, and when the processes of the last reload are ready. */
static int64_t reload_in_ms(const struct supervisor *s)
{
    int64_t gap_ms = left_ms(s->read_ms, RELOAD_GAP_MS), settle_ms = left_ms(s->reloaded_ms, SETTLE_MS);
    return is_settled(s) || settle_ms < gap_ms ? gap_ms : settle_ms;
}

/* The first children of this version are ready: those of the previous one drain. */
static void taken_over(struct supervisor *s)
{
    log_info(log_msg("a new version has taken over"), log_str("version", SIDEKEY_VERSION), log_str("before", s->before),
             log_str("file", s->config->path));
    if (s->options->on_ready)
        (void)!s->options->on_ready(s->options->arg, &s->listeners);
    answer_all(s, true, SLICE("reloaded; version " SIDEKEY_VERSION " has taken over\n"));
    let_go(s);
}

void supervisor_reload_settled(struct supervisor *s)
{
    if (is_settled(s) && supervisor_holds(s))
        taken_over(s);
    if (is_settled(s) && s->ca_set != s->set + 1) {
        s->ca = look_at_ca(s->config);
        s->ca_set = s->set + 1;
    }
    if (!s->reload_wanted)
        return;
    int64_t in_ms = reload_in_ms(s);
    if (in_ms > 0) {
        timer_set(&s->reload, in_ms);
        return;
    }
    timer_stop(&s->reload);
    if (supervisor_upgrade_begin(s))
        return;
    s->reload_wanted = false;
    s->read_ms = clock_mono_ms();
    reload_run(s);
}

void supervisor_reload_due(void *arg)
{
    supervisor_reload_settled(arg);
}

void supervisor_reload_or_upgrade(struct supervisor *s)
{
    s->upgrade.asked = true;
    s->reload_wanted = !s->stopping;
    supervisor_reload_settled(s);
}

void supervisor_reload_ask(struct child *c, uint64_t tag)
{
    struct supervisor *s = c->supervisor;
    if (s->stopping || s->asker_count == RELOAD_ASKERS_MAX) {
        answer(c, tag, false, SLICE("refused: too many reloads at the same time\n"));
        return;
    }
    s->askers[s->asker_count].child = c;
    s->askers[s->asker_count++].tag = tag;
    supervisor_reload_or_upgrade(s);
}
