#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/dir_trust.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/trusted_file.h"
#include "base/mem_trim.h"
#include "net/ipc/msg_send.h"
#include "refresh/store/binding.h"
#include "refresh/store/store_bound.h"
#include "refresh/store/store_file.h"
#include "refresh/redis/store_redis.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

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

static int open_ring(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    struct secret current = { 0 }, previous = { 0 };
    int failed = o->seal_key.kind == SECRET_REF_NONE ? store_file_seal_key(o->state_dir, &current, e)
                                                     : secret_ref_read_exact(&o->seal_key, &current, e);
    if (failed == 0 && o->seal_key.kind != SECRET_REF_NONE)
        failed = seal_key_judge(secret_peek(&current), e);
    if (failed == 0 && o->seal_key_previous.kind != SECRET_REF_NONE)
        failed = secret_ref_read_exact(&o->seal_key_previous, &previous, e);
    if (failed == 0 && o->seal_key.kind == SECRET_REF_NONE && secret_set(&k->dir_key, secret_peek(&current)) != 0)
        failed = err_set(e, "out of memory");
    if (failed == 0 && !(k->ring = seal_ring_new(secret_peek(&current), secret_peek(&previous), e)))
        failed = -1;
    secret_done(&current);
    secret_done(&previous);
    return failed;
}

/* A directory that we may not use is a matter of permission, everything else one of the disk. */
int keeper_directory_status(const char *dir, mode_t open_to)
{
    struct stat st;
    if (trusted_file_check_dir(dir, NULL) == -EPERM)
        return EX_NOPERM;
    /* root may use it, and does not */
    if (stat(dir, &st) == 0 && (st.st_uid != geteuid() || st.st_mode & open_to))
        return EX_NOPERM;
    return access(dir, R_OK | W_OK | X_OK) != 0 && (errno == EACCES || errno == EPERM || errno == EROFS) ? EX_NOPERM
                                                                                                         : EX_IOERR;
}

/* A server that does not answer yet stops nobody: cached tokens, the journal and on_lock_error are there for that. */
static int open_redis(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    if (!(k->store_names = calloc(o->spec_count + 1, sizeof *k->store_names))) {
        err_set(e, "out of memory");
        return EX_OSERR;
    }
    for (size_t i = 0; i < o->spec_count; i++)
        k->store_names[i] = o->specs[i].name;
    const struct store_redis_options redis = { o->redis, k->ring, &o->network, k->store_names, o->state_dir };
    return (k->store = store_redis_new(&redis, e)) ? 0 : EX_CONFIG;
}

/* NULL: nothing that is stored depends on whom we ask. */
static char *binding_for(const struct credential_spec *s)
{
    char authority[300];
    return s->token_url && fetch_host(s->token_url, authority, sizeof authority) == 0
               ? binding_text(authority, s->client_id)
               : NULL;
}

/* What another token_url's authority, or another client, has issued is not for this one (rule 2.7b). */
static int bind_one(struct keeper *k, const struct credential_spec *s, struct store_bound_row *row, struct err *e)
{
    char *text = binding_for(s);
    *row = (struct store_bound_row){ s->name, text };
    int failed = text ? journal_bind(k->journal, s->name, text) : 0;
    if (failed)
        return err_set(e, "cannot write %s/%s@binding: %s", journal_dir(k->journal)->path, s->name, strerror(-failed));
    return 0;
}

static int bind_stores(struct keeper *k, struct err *e)
{
    size_t count = k->options->spec_count;
    struct store_bound_row *rows = calloc(count + 1, sizeof *rows);
    int failed = rows ? 0 : err_set(e, "out of memory");
    for (size_t i = 0; i < count && !failed; i++)
        failed = bind_one(k, &k->options->specs[i], &rows[i], e);
    struct store *bound = failed ? NULL : store_bound_new(k->store, rows, count);
    if (!failed && !bound)
        failed = err_set(e, "out of memory");
    for (size_t i = 0; rows && i < count; i++)
        free((char *)(uintptr_t)rows[i].binding);
    free(rows);
    k->store = bound ? bound : k->store;
    return failed;
}

static int open_stores(struct keeper *k, struct err *e)
{
    const char *dir = k->options->state_dir;
    if (dir_trust_make(dir, 0700) != 0) {
        int failed = errno;
        err_set(e, "cannot make the state directory %s: %s", dir, strerror(failed));
        return failed == EACCES || failed == EPERM || failed == EROFS ? EX_NOPERM : EX_IOERR;
    }
    if (open_ring(k, e) != 0)
        return k->options->seal_key.kind == SECRET_REF_NONE ? keeper_directory_status(dir, S_IRWXG | S_IRWXO)
                                                            : EX_CONFIG;
    if (state_dir_open(&k->dir, dir, e) != 0 || !(k->journal = journal_open(dir, k->ring, e)))
        return keeper_directory_status(dir, S_IRWXG | S_IRWXO);
    if (k->options->redis && k->options->redis->url)
        return open_redis(k, e);
    if (!(k->store = store_file_new(dir, k->ring, e)))
        return keeper_directory_status(dir, S_IRWXG | S_IRWXO);
    for (size_t i = 0; i < k->options->spec_count; i++)
        if (store_file_check(k->store, k->ring, k->options->specs[i].name, e) != 0)
            return EX_CONFIG; /* a wrong key is told now, not at the first request */
    return 0;
}

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
    later_ask(&k->finished);
}

static void on_store_change(void *arg, const char *credential)
{
    struct keeper *k = arg;
    struct account *a = keeper_find(k, slice_str(credential));
    if (a && !k->draining)
        account_changed(a);
}

static int open_accounts(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    int64_t lease_ms = o->lease_ms > 0 ? o->lease_ms : LEASE_MS;
    int64_t request_ms = o->request_timeout_ms > 0 ? o->request_timeout_ms : REQUEST_MS;
    k->flights = (struct flight_env){ k->store,
                                      k->journal,
                                      k->fetch,
                                      k->ring,
                                      o->on_lock_error,
                                      lease_ms,
                                      request_ms < lease_ms ? request_ms : lease_ms / 2,
                                      (unsigned)rand_below(SCHEDULE_JITTER_MAX + 1),
                                      k->clocks,
                                      { .held = 0 } };
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
    if ((status = open_stores(k, e)) != 0)
        return status;
    if (bind_stores(k, e) != 0)
        return keeper_directory_status(k->options->state_dir, S_IRWXG | S_IRWXO);
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
    later_ask(&k->finished);
}

/* ---- the supervisor ---- */

static void on_supervisor(void *arg, struct slice packet, int fd)
{
    struct keeper *k = arg;
    struct msg m;
    bool known = msg_decode(packet, &m) == 0;
    if (known && m.type == MSG_WIRE && fd >= 0) {
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
    later_cancel(&k->finished);
    keeper_drop_workers(k);
    ipc_free(k->supervisor);
    for (size_t i = 0; i < k->account_count; i++)
        account_done(&k->accounts[i]);
    free(k->accounts);
    token_clocks_free(k->clocks);
    fetch_free(k->fetch);
    journal_close(k->journal);
    state_dir_close(&k->dir);
    secret_done(&k->dir_key);
    store_free(k->store);
    free(k->store_names);
    ca_set_free(k->ca);
    seal_ring_free(k->ring);
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
    k->store->engine->watch(k->store, on_store_change, k);
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
    struct keeper k = { .options = options, .dir.fd = -1 };
    struct err e = { "" };
    harden();
    list_init(&k.workers);
    later_init(&k.finished, on_finished);
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
