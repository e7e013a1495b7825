#include "app/supervisor_private.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/ipc/msg_parts.h"

#include <errno.h>
#include <string.h>

int supervisor_metrics_open(struct supervisor *s)
{
    if (!s->counters.bytes && metrics_area_open(&s->counters) != 0)
        return -ENOMEM;
    if (!(s->metrics = metrics_new_in(&s->counters)))
        return -ENOMEM;
    process_meter_init(&s->process, s->metrics);
    *metrics_at(s->metrics, "process_start_time_seconds") = (double)(clock_wall_ms() / 1000);
    *metrics_at(s->metrics, "sidekey_build_info{version=\"%s\"}", SIDEKEY_VERSION) = 1;
    *metrics_at(s->metrics, "sidekey_config_last_reload_successful") = 1;
    return 0;
}

void supervisor_metrics_close(struct supervisor *s)
{
    metrics_free(s->metrics);
    s->metrics = NULL;
    metrics_area_close(&s->counters);
}

void supervisor_metrics_keep(struct supervisor *s, const struct child *c)
{
    metrics_fold(s->metrics, &c->counters, METRICS_COUNTERS);
}

/* What a keeper knows of credentials and the CA, its successor knows better. */
static enum metrics_take take_of(const struct child *c)
{
    if (!c->pid)
        return METRICS_COUNTERS;
    return c->role == ROLE_KEEPER && c->retired ? METRICS_PROCESS : METRICS_ALL;
}

static struct metrics *sum(struct supervisor *s)
{
    struct metrics *all = metrics_new();
    if (!all)
        return NULL;
    process_measure(&s->process);
    *metrics_at(s->metrics, "sidekey_config_last_reload_successful") = !s->reload_failed;
    metrics_fold(all, &s->counters, METRICS_ALL);
    for (unsigned i = 0; i <= s->worker_count; i++)
        metrics_fold(all, &supervisor_child(s, i)->counters, take_of(supervisor_child(s, i)));
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next) {
        const struct child *c = LIST_ENTRY(n, struct child, node);
        metrics_fold(all, &c->counters, take_of(c));
    }
    return all;
}

void supervisor_metrics_answer(struct child *c, uint64_t tag, bool openmetrics)
{
    struct msg answer = { .type = MSG_ANSWER, .ask = MSG_ASK_METRICS, .tag = tag };
    struct metrics *all = sum(c->supervisor);
    struct buf text;
    buf_init(&text, MSG_PARTS_TEXT_MAX);
    int failed = all ? metrics_write(all, openmetrics, &text) : -ENOMEM;
    answer.ok = failed == 0;
    answer.text = failed ? SLICE("cannot write the metrics now\n") : buf_slice(&text);
    if (failed)
        log_warn(log_msg("cannot write metrics"), log_str("reason", strerror(-failed)));
    failed = c->ipc ? msg_parts_send(c->ipc, &answer) : 0;
    if (failed && failed != -EPIPE)
        log_warn(log_msg("cannot send metrics to a worker"), log_int("slot", c->slot),
                 log_str("reason", strerror(-failed)));
    buf_done(&text);
    metrics_free(all);
}
