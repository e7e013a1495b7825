#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/mem_trim.h"
#include "net/ipc/msg_send.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>

#define DRAIN_MS 20000 /* below the time that the supervisor waits: what is not stored by then is in the journal */
#define REST_EVERY_MS 30000
#define SERIES_FROM_THE_START 100 /* credentials: a hundred series each, 90 bytes of the 4 MiB that an answer has */
#define LEASE_MS 60000
#define DIR_LOOK_MS 2000
#define REQUEST_MS 30000

/* ---- before anything secret is in memory ---- */

static void harden(void)
{
    static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2, SIGXFSZ };
    (void)mallopt(M_PERTURB, 0xa5); /* what any library frees is overwritten: TLS and parser buffers held tokens */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        (void)signal(ignored[i], SIG_IGN); /* the supervisor decides */
}

/* ---- start ---- */

/* A refresh touches much of libcurl and of the TLS library, and then nothing happens for minutes. */
static void on_trim(void *arg)
{
    struct keeper *k = arg;
    k->trimmed_ms = clock_mono_ms();
    mem_trim_now();
}

void keeper_trim_soon(struct keeper *k)
{
    bool recent = k->trimmed_ms && clock_mono_ms() - k->trimmed_ms < REST_EVERY_MS;
    if (!k->draining)
        timer_set(&k->trim, recent ? REST_EVERY_MS : MEM_TRIM_AFTER_MS);
}

static void on_throttled(void *arg, const char *host, int64_t until_ms, bool told)
{
    struct keeper *k = arg;
    for (size_t i = 0; i < k->account_count; i++)
        if (strcmp(k->accounts[i].host, host) == 0)
            account_hold(&k->accounts[i], until_ms, told);
}

static void on_idle(void *arg)
{
    struct keeper *k = arg;
    loop_later_ask(&k->finished);
}

static void on_store_change(void *arg, const char *credential)
{
    struct keeper *k = arg;
    struct account *a = keeper_find(k, slice_str(credential));
    if (a && !k->draining)
        account_changed(a);
}

static bool chained(void *arg, const char *credential, struct secret *ret)
{
    const struct account *a = keeper_find(arg, slice_str(credential));
    return a && account_token(a, ret);
}

static int open_accounts(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    int64_t lease_ms = o->lease_ms > 0 ? o->lease_ms : LEASE_MS;
    int64_t request_ms = o->request_timeout_ms > 0 ? o->request_timeout_ms : REQUEST_MS;
    k->flights = (struct flight_env){ k->stores.store,
                                      k->stores.journal,
                                      k->fetch,
                                      k->stores.ring,
                                      o->on_lock_error,
                                      lease_ms,
                                      request_ms < lease_ms ? request_ms : lease_ms / 2,
                                      (unsigned)rand_below(SCHEDULE_JITTER_MAX + 1),
                                      k->clocks,
                                      { .held = 0 },
                                      chained,
                                      k };
    k->env = (struct account_env){ &k->flights,
                                   k->metrics,
                                   keeper_publish,
                                   keeper_refuse,
                                   on_throttled,
                                   on_idle,
                                   k,
                                   o->spec_count > SERIES_FROM_THE_START };
    k->accounts = calloc(o->spec_count ? o->spec_count : 1, sizeof *k->accounts);
    for (size_t i = 0; k->accounts && i < o->spec_count; i++) {
        k->account_count = i + 1;
        if (account_init(&k->accounts[i], &o->specs[i], &k->env) != 0)
            return err_set(e, "out of memory");
    }
    for (size_t i = 0; i < k->account_count; i++)
        if (account_link(&k->accounts[i], k->accounts, k->account_count) != 0)
            return err_set(e, "credentials.%s names a credential that does not exist", k->accounts[i].spec->name);
    return k->accounts ? 0 : err_set(e, "out of memory");
}

static int open_all(struct keeper *k, struct err *e)
{
    int status;
    if (!(k->metrics = metrics_new_in(k->options->counters))) {
        err_set(e, "out of memory");
        return EX_OSERR;
    }
    process_meter_init(&k->process, k->metrics);
    if ((status = stores_open(&k->stores, k->options, e)) != 0)
        return status;
    if ((status = keeper_ca_open(k, e)) != 0)
        return status;
    if (!(k->clocks = token_clocks_new())) {
        err_set(e, "out of memory");
        return EX_OSERR;
    }
    if (!(k->fetch = fetch_new(&k->options->network, e)) || open_accounts(k, e) != 0)
        return EX_OSERR;
    return 0;
}

/* ---- drain ---- */

static bool busy(const struct keeper *k)
{
    for (size_t i = 0; i < k->account_count; i++)
        if (account_busy(&k->accounts[i]))
            return true;
    return false;
}

static void on_finished(struct later *l)
{
    struct keeper *k = LIST_ENTRY(l, struct keeper, finished);
    if (!busy(k))
        ev_break(loop_get(), EVBREAK_ALL);
}

static void on_drain_end(void *arg)
{
    (void)arg;
    log_warn(log_msg("drain timeout: refresh still in flight; its response will be in the journal"));
    ev_break(loop_get(), EVBREAK_ALL);
}

static void drain(struct keeper *k)
{
    if (k->draining)
        return;
    k->draining = true;
    for (size_t i = 0; i < k->account_count; i++)
        account_drain(&k->accounts[i]);
    timer_set(&k->drain_end, DRAIN_MS);
    loop_later_ask(&k->finished);
}

/* ---- the supervisor ---- */

static void on_supervisor(void *arg, struct slice packet, int fd)
{
    struct keeper *k = arg;
    struct msg m;
    bool known = msg_decode(packet, &m) == 0;
    if (known && m.type == MSG_WIRE && fd >= 0) {
        if (slice_eq(m.name, SLICE("login")))
            keeper_login(k, fd);
        else
            keeper_add_worker(k, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (known && m.type == MSG_DRAIN)
        drain(k);
    else if (known && m.type == MSG_PING)
        (void)!msg_send(k->supervisor, &m, -1);
    else if (known && m.type == MSG_ASK && m.ask == MSG_ASK_STATUS)
        keeper_log_status(k);
    else
        log_warn(log_msg("unexpected message from the supervisor"), log_int("type", known ? (int64_t)m.type : -1));
}

static void on_supervisor_gone(void *arg)
{
    struct keeper *k = arg;
    ipc_free(k->supervisor);
    k->supervisor = NULL;
    drain(k);
}

static int say_ready(struct keeper *k)
{
    return msg_send(k->supervisor, &(struct msg){ .type = MSG_READY, .name = SLICE("keeper") }, -1);
}

/* ---- life ---- */

static void close_all(struct keeper *k)
{
    timer_stop(&k->drain_end);
    timer_stop(&k->trim);
    timer_stop(&k->ca_look);
    timer_stop(&k->dir_look);
    loop_later_cancel(&k->finished);
    keeper_drop_workers(k);
    keeper_drop_logins(k);
    ipc_free(k->supervisor);
    for (size_t i = 0; i < k->account_count; i++)
        account_done(&k->accounts[i]);
    free(k->accounts);
    token_clocks_free(k->clocks);
    fetch_free(k->fetch);
    ca_set_free(k->ca);
    stores_close(&k->stores);
    metrics_free(k->metrics);
}

static void on_dir_look(void *arg)
{
    struct keeper *k = arg;
    if (keeper_health_look(k))
        keeper_ca_store_again(k);
    timer_set(&k->dir_look, DIR_LOOK_MS);
}

static int serve(struct keeper *k)
{
    k->stores.store->engine->watch(k->stores.store, on_store_change, k);
    for (size_t i = 0; i < k->account_count; i++)
        account_start(&k->accounts[i]);
    keeper_ca_start(k);
    timer_set(&k->dir_look, DIR_LOOK_MS);
    if (say_ready(k) != 0)
        drain(k);
    keeper_trim_soon(k);
    ev_run(loop_get(), 0);
    return 0;
}

int keeper_run(const struct keeper_options *options, int supervisor_fd)
{
    struct keeper k = { .options = options, .stores.dir.fd = -1 };
    struct err e = { "" };
    harden();
    list_init(&k.workers);
    list_init(&k.logins);
    loop_later_init(&k.finished, on_finished);
    timer_init(&k.drain_end, on_drain_end, &k);
    timer_init(&k.trim, on_trim, &k);
    timer_init(&k.ca_look, keeper_ca_on_timer, &k);
    timer_init(&k.dir_look, on_dir_look, &k);
    int status = open_all(&k, &e);
    if (status == 0 && !(k.supervisor = ipc_new(supervisor_fd, on_supervisor, on_supervisor_gone, &k)))
        status = EX_OSERR;
    if (status == 0)
        status = serve(&k);
    else
        log_error(log_msg("cannot start the keeper"), log_str("reason", e.text), log_int("status", status));
    close_all(&k);
    return status;
}
