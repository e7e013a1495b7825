#include "app/notify.h"
#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "certs/bundle.h"
#include "net/tls/tls_roots.h"

#include <stdio.h>

#define SILENT_FROM_MS 1000 /* a busy machine may take as long */
#define SILENT_MAX_MS 60000
#define ROOTS_LOOK_MS 5000
#define WATCHDOG_PARTS 4 /* of the interval that systemd names: a child has one of them for its answer */

struct child *supervisor_child(const struct supervisor *s, unsigned i)
{
    return i ? s->workers[i - 1] : s->keeper;
}

bool supervisor_holds(const struct supervisor *s)
{
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        if (LIST_ENTRY(n, struct child, node)->held)
            return true;
    return false;
}

/* systemd's watchdog is fed while each of them has answered since the last time. */
void supervisor_watchdog(void *arg)
{
    struct supervisor *s = arg;
    bool all = true, held = supervisor_holds(s);
    for (unsigned i = 0; i <= s->worker_count; i++) {
        struct child *c = supervisor_child(s, i);
        all = all && (c->answered || (s->stopping && !c->pid) || (held && !c->ready));
        c->answered = false;
        (void)!child_send(c, &(struct msg){ .type = MSG_PING }, -1);
    }
    if (all)
        notify_alive();
    timer_set(&s->watchdog, notify_watchdog_ms() / WATCHDOG_PARTS);
}

static struct config_seen look_at_roots(const struct config *c)
{
    struct config_seen seen = { 0 };
    const char *system = bundle_system_path();
    for (char *const *path = c->extra_roots; path && *path; path++)
        config_seen_file(&seen, *path);
    if (system)
        config_seen_file(&seen, system);
    return seen;
}

int supervisor_roots_check(const struct config *c, struct err *e)
{
    for (char *const *path = c->extra_roots; path && *path; path++) {
        struct tls_roots *roots = tls_roots_new(NULL, *path, e);
        if (!roots)
            return -1;
        tls_roots_free(roots);
    }
    return 0;
}

static void reload_soon(struct supervisor *s)
{
    s->reload_wanted = true;
    timer_set(&s->reload, 0);
}

void supervisor_watch_roots(void *arg)
{
    struct supervisor *s = arg;
    struct config_seen now = look_at_roots(s->config);
    bool changed = s->roots_known && !config_seen_same(&now, &s->roots);
    s->roots = now;
    s->roots_known = true;
    if (changed && !s->stopping) {
        log_info(log_msg(
            "a CA file that the configuration names, or the system's roots, have changed: they are read again"));
        reload_soon(s);
    }
    if (!s->stopping && listeners_lost(&s->listeners)) {
        log_warn(log_msg("a unix socket of sidekey was removed: sidekey makes it again"));
        reload_soon(s);
    }
    timer_set(&s->roots_look, ROOTS_LOOK_MS);
}

/* 0: it answers, as far as is known. */
static int64_t silent_ms(const struct child *c, int64_t now_ms)
{
    if (!c->ready && supervisor_holds(c->supervisor))
        return 0; /* that of the previous version serves */
    int64_t ping = c->ping_ms ? now_ms - c->ping_ms : 0, ill = c->ill_ms ? now_ms - c->ill_ms : 0;
    int64_t longer = ping > ill ? ping : ill;
    return longer >= SILENT_FROM_MS ? longer : 0;
}

static void ping(struct child *c, int64_t now_ms)
{
    if (c->pid && !c->ping_ms && child_send(c, &(struct msg){ .type = MSG_PING }, -1) == 0)
        c->ping_ms = now_ms;
}

void supervisor_live_answer(struct child *asker, uint64_t tag)
{
    struct supervisor *s = asker->supervisor;
    struct msg answer = { .type = MSG_ANSWER, .ask = MSG_ASK_LIVE, .tag = tag, .ok = true };
    char text[200] = "";
    size_t len = 0;
    int64_t now_ms = clock_mono_ms();
    for (unsigned i = 0; i <= s->worker_count; i++) {
        struct child *c = supervisor_child(s, i);
        int64_t silent = silent_ms(c, now_ms);
        ping(c, now_ms);
        answer.ok = answer.ok && silent < SILENT_MAX_MS;
        if (silent && len < sizeof text - 80)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s %u has not answered for %lld s\n",
                                    i ? "worker" : "keeper", c->slot, (long long)(silent / 1000));
    }
    answer.text = slice_of(text, len);
    (void)!child_send(asker, &answer, -1);
}

void supervisor_log_status(struct supervisor *s)
{
    for (unsigned i = 0; i <= s->worker_count; i++) {
        const struct child *c = supervisor_child(s, i);
        log_info(log_msg("status of a process"), log_str("child", i ? "worker" : "keeper"), log_int("slot", c->slot),
                 log_int("pid", c->pid), log_str("ready", c->ready ? "yes" : "no"),
                 log_int("age_s", (clock_mono_ms() - c->started_ms) / 1000));
    }
    (void)!child_send(s->keeper, &(struct msg){ .type = MSG_ASK, .ask = MSG_ASK_STATUS }, -1);
}
