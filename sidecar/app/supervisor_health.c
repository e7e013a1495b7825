#include "app/notify.h"
#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"

#define WATCHDOG_PARTS 4 /* of the interval that systemd names: a child has one of them for its answer */

struct child *supervisor_child(const struct supervisor *s, unsigned i)
{
    return i ? s->workers[i - 1] : s->keeper;
}

/* systemd's watchdog is fed while each of them has answered since the last time. */
void supervisor_watchdog(void *arg)
{
    struct supervisor *s = arg;
    bool all = true;
    for (unsigned i = 0; i <= s->worker_count; i++) {
        struct child *c = supervisor_child(s, i);
        all = all && (c->answered || (s->stopping && !c->pid));
        c->answered = false;
        (void)!child_send(c, &(struct msg){ .type = MSG_PING }, -1);
    }
    if (all)
        notify_alive();
    timer_set(&s->watchdog, notify_watchdog_ms() / WATCHDOG_PARTS);
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
