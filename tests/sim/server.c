/* The authorization server, with rotation and reuse detection, and the way to it: in place of refresh/fetch/fetch.c.
 * A request is sent, arrives, is answered: each at its own time, and each may be the last thing that happens to it. */
#include "tests/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define TOKENS 4096

static struct token {
    uint64_t generation; /* that was stored when it was spent */
    bool spent;
    bool lost;      /* a request with it may have had an effect that its keeper never learned of */
    int from;       /* the refresh token that it was exchanged for */
    unsigned known; /* bit for each journal that had its answer, which was damaged: it is known there as spent */
    bool arrived;   /* the answer that brought it reached a keeper that could write it down */
    int64_t access_end_ms;
} tokens[TOKENS];

static struct {
    int newest;
    bool revoked, something_lost;
    unsigned redeemed;
} server;

struct fetch_job {
    struct fetch_job *next;
    int keeper, refresh, access; /* access: what the server gave for it, -1: nothing */
    bool sent, done;             /* done: the server has acted on it, or never will */
    bool cancelled;
    int64_t deadline_ms;
    uint64_t sending, timeout, answer, arrival;
    int status;
    bool page, retry_after;
    /* a 2xx response without an access token, or one that nobody understands: what was spent is spent */
    enum { WELL_FORMED, REFRESH_ALONE, NOT_UNDERSTOOD } form;
    fetch_fn *fn;
    void *arg;
};
static struct fetch_job *jobs;

/* ---- the server ---- */

void sim_server_done(void)
{
    while (jobs) {
        struct fetch_job *next = jobs->next;
        free(jobs);
        jobs = next;
    }
}

void sim_server_reset(void)
{
    sim_server_done();
    memset(&server, 0, sizeof server);
    memset(tokens, 0, sizeof tokens[0] * 64);
    tokens[0].arrived = true;
}

bool sim_server_takes(int refresh)
{
    return !server.revoked && !tokens[refresh].spent;
}

int64_t sim_access_end_ms(int access)
{
    return tokens[access].access_end_ms;
}

bool sim_grant_revoked(void)
{
    return server.revoked;
}

unsigned sim_redeemed(void)
{
    return server.redeemed;
}

bool sim_server_healthy(void)
{
    return !server.revoked && (!sim_plan.rotates || server.newest == 0 || tokens[server.newest].arrived);
}

bool sim_something_lost(void)
{
    return server.something_lost;
}

static int issue(void)
{
    int n = ++server.newest;
    if (n + 64 >= TOKENS)
        abort();
    if (n % 64 == 0)
        memset(&tokens[n], 0, sizeof tokens[0] * 64);
    tokens[n].access_end_ms = sim_now_ms + sim_plan.lifetime_ms;
    server.redeemed++;
    sim_counts[SIM_REDEEMED]++;
    return n;
}

/* P1.  With stores elsewhere nobody sees another machine's journal, only its intent: one that is older than its hold is
 * an excuse too. */
static void judge_reuse(const struct fetch_job *job)
{
    const struct token *t = &tokens[job->refresh];
    sim_counts[SIM_REUSED]++;
    if (t->lost || (!sim_plan.one_machine && sim_lapsed(t->generation)))
        return;
    sim_break("P1: keeper %d redeems rt-%d a second time, and no answer was lost", job->keeper, job->refresh);
}

static void act(struct fetch_job *job)
{
    struct token *t = &tokens[job->refresh];
    job->done = true;
    job->status = 400;
    if (server.revoked || (t->spent && sim_plan.rotates)) {
        if (!server.revoked)
            judge_reuse(job);
        sim_counts[SIM_REVOKED] += !server.revoked && sim_plan.reuse_detection;
        server.revoked |= sim_plan.reuse_detection;
        sim_trace("server: rt-%d refused%s", job->refresh, server.revoked ? ", the grant is revoked" : "");
        return;
    }
    t->spent = sim_plan.rotates;
    t->generation = sim_stored()->generation;
    job->access = issue();
    tokens[job->access].from = job->refresh;
    job->status = 200;
    sim_trace("server: rt-%d of keeper %d exchanged for %d", job->refresh, job->keeper, job->access);
}

/* ---- the way back ---- */

static void unlink_job(struct fetch_job *job)
{
    struct fetch_job **at = &jobs;
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    sim_forget(job->sending);
    sim_forget(job->timeout);
    sim_forget(job->answer);
    sim_forget(job->arrival);
    free(job);
}

/* The keeper will not learn what the server has done, or will do. */
static void lose(const struct fetch_job *job)
{
    if (!job->sent || (job->done && job->access < 0))
        return;
    sim_trace("the answer to rt-%d is lost", job->refresh);
    sim_counts[SIM_LOST]++;
    tokens[job->refresh].lost = true;
    server.something_lost = true;
}

/* Hands over and forgets; a request that is still on its way arrives without anybody who waits for it. */
static void finish(struct fetch_job *job, const struct fetch_answer *a)
{
    fetch_fn *fn = job->fn;
    void *arg = job->arg;
    sim_forget(job->timeout);
    sim_forget(job->answer);
    job->timeout = job->answer = 0;
    if (job->sent && !job->done)
        job->cancelled = true;
    else
        unlink_job(job);
    fn(arg, a);
}

static void on_timeout(void *arg)
{
    struct fetch_job *job = arg;
    job->timeout = 0;
    sim_trace("request with rt-%d: no response in time", job->refresh);
    lose(job);
    sim_counts[SIM_LATE] += job->sent;
    finish(job, &(struct fetch_answer){ .sent = job->sent, .error = "no response in time" });
}

static const char *body_of(const struct fetch_job *job, char *text, size_t size)
{
    if (job->page)
        return "<html>Just a moment</html>";
    if (job->status == 400)
        return "{\"error\":\"invalid_grant\"}";
    if (job->status != 200)
        return "";
    if (job->form == NOT_UNDERSTOOD)
        return "{\"ticket\":\"x\"}";
    if (job->form == REFRESH_ALONE)
        snprintf(text, size, "{\"refresh_token\":\"rt-%d\"}", job->access);
    else if (sim_plan.rotates)
        snprintf(text, size, "{\"access_token\":\"at-%d\",\"refresh_token\":\"rt-%d\",\"expires_in\":%d}", job->access,
                 job->access, (int)(sim_plan.lifetime_ms / 1000));
    else
        snprintf(text, size, "{\"access_token\":\"at-%d\",\"expires_in\":%d}", job->access,
                 (int)(sim_plan.lifetime_ms / 1000));
    return text;
}

static void on_answer(void *arg)
{
    struct fetch_job *job = arg;
    char text[160];
    int keeper = job->keeper, refresh = job->refresh, access = job->access, status = job->status, form = job->form;
    const char *body = body_of(job, text, sizeof text);
    struct fetch_answer a = { .status = status, .sent = true, .body = slice_str(body) };
    if (job->retry_after)
        a.retry_after = sim_chance(500) ? SLICE("2") : SLICE("40");
    if (sim_chance(500)) /* not every server says what time it is; the time is that of the answer's birth */
        a.date_s =
            (INT64_C(1700000000000) + (access > 0 ? tokens[access].access_end_ms - sim_plan.lifetime_ms : sim_now_ms))
            / 1000;
    job->answer = 0;
    sim_trace("answer to rt-%d: HTTP %d %s", refresh, status, body);
    if (access > 0 && status != 200)
        lose(&(struct fetch_job){ .refresh = refresh, .sent = true, .access = access });
    if (access > 0 && status == 200 && form == WELL_FORMED)
        sim_keepers[keeper].own_access = access;
    sim_counts[SIM_ODD] += form != WELL_FORMED;
    finish(job, &a);
    if (access <= 0 || status != 200)
        return;
    /* killed before its fsync, or no fsync at all: it may be gone with its keeper */
    if (sim_keepers[keeper].dying || sim_plan.disk_full) {
        tokens[refresh].lost = true;
        server.something_lost = true;
    } else if (form == NOT_UNDERSTOOD) {
        server.something_lost = true; /* and known to be: no excuse for sending it again */
    } else {
        tokens[access].arrived = true;
        sim_judge_durable();
    }
}

static void on_reset(void *arg)
{
    struct fetch_job *job = arg;
    job->answer = 0;
    finish(job, &(struct fetch_answer){ .sent = true, .error = "connection reset" });
}

/* ---- the way there ---- */

static void on_arrival(void *arg)
{
    struct fetch_job *job = arg;
    bool answers = true;
    job->arrival = 0;
    if (sim_fault(sim_plan.refused)) {
        job->status = sim_chance(500) ? 503 : 403;
        job->page = job->status == 403;
        job->done = true;
    } else if (sim_fault(sim_plan.throttled)) {
        job->status = 429;
        sim_counts[SIM_THROTTLED]++;
        job->done = job->retry_after = true;
    } else if (sim_fault(sim_plan.lost / 4)) {
        job->done = true; /* it never came that far */
        answers = false;
    } else {
        act(job);
        answers = !sim_fault(sim_plan.lost);
        if (answers && sim_fault(sim_plan.lost / 4))
            job->status = 500;
        else if (answers && job->access > 0 && sim_fault(sim_plan.odd))
            job->form = sim_chance(500) ? REFRESH_ALONE : NOT_UNDERSTOOD;
    }
    if (job->cancelled) {
        unlink_job(job);
        return;
    }
    if (!answers)
        lose(job);
    int64_t delay_ms = sim_fault(sim_plan.slow) ? sim_between(0, 3 * sim_plan.request_ms) : sim_between(1, 80);
    if (answers || sim_chance(700)) /* else there is silence until the time is over */
        job->answer = sim_after(delay_ms, job->keeper, answers ? on_answer : on_reset, job);
}

static void on_sending(void *arg)
{
    struct fetch_job *job = arg;
    job->sending = 0;
    if (sim_now_ms >= job->deadline_ms)
        return; /* the timeout is due as well */
    if (sim_fault(sim_plan.refused)) {
        finish(job, &(struct fetch_answer){ .error = "could not connect" });
        return;
    }
    if (!sim_effect())
        return;
    if (tokens[job->refresh].known & 1u << atoi(sim_journal_path(job->keeper)))
        sim_break("P1: keeper %d sends rt-%d, which its journal knows as spent", job->keeper, job->refresh);
    job->sent = true;
    sim_trace("request with rt-%d is sent%s", job->refresh, sim_holds_lease(job->keeper) ? "" : " without the lease");
    job->arrival = sim_after(sim_fault(sim_plan.slow) ? sim_between(1, 2 * sim_plan.request_ms) : sim_between(1, 80),
                             SIM_WORLD, on_arrival, job);
}

/* ---- in place of refresh/fetch/fetch.c ---- */

struct fetch_job *fetch_start(struct fetch *f, const struct fetch_request *request, fetch_fn *fn, void *arg,
                              struct err *e)
{
    struct fetch_job *job = calloc(1, sizeof *job);
    char body[512];
    (void)f, (void)e;
    snprintf(body, sizeof body, "%.*s", (int)request->body.len, request->body.ptr);
    const char *at = strstr(body, "refresh_token=rt-");
    if (!job || !at)
        abort();
    if (sim_told_to_wait(sim_running))
        sim_break("P10: keeper %d sends a request although the store has told it of the server's pause", sim_running);
    *job = (struct fetch_job){ .next = jobs,
                               .keeper = sim_running,
                               .refresh = atoi(at + 17),
                               .access = -1,
                               .fn = fn,
                               .arg = arg,
                               .deadline_ms = sim_now_ms + request->timeout_ms };
    jobs = job;
    job->sending = sim_after(sim_fault(sim_plan.slow) ? sim_between(0, sim_plan.request_ms) : sim_between(1, 30),
                             job->keeper, on_sending, job);
    job->timeout = sim_after(request->timeout_ms, job->keeper, on_timeout, job);
    return job;
}

void fetch_cancel(struct fetch_job *job)
{
    if (!job)
        return;
    lose(job);
    if (job->sent && !job->done) {
        job->cancelled = true;
        sim_forget(job->timeout);
        job->timeout = 0;
    } else
        unlink_job(job);
}

int fetch_url_host(const char *url, char *text, size_t size)
{
    snprintf(text, size, "%s", url);
    return 0;
}

/* ---- P2 ---- */

int sim_token_number(const struct secret *token)
{
    char text[16];
    struct slice s = secret_peek(token);
    if (s.len < 4 || s.len >= sizeof text)
        return -1;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    return atoi(text + 3);
}

static bool in_journal(int keeper, int refresh)
{
    struct journal_entry entry;
    struct err e;
    bool found = false;
    struct journal *j = journal_open(sim_journal_path(keeper), sim_keepers[keeper].flights.ring, &e);
    if (j && journal_read(j, SIM_CRED, &entry, &e) == 0) {
        found = entry.kind == JOURNAL_ANSWER
                && (sim_token_number(&entry.state.refresh_token) == refresh
                    || sim_token_number(&entry.state.alt_refresh) == refresh);
        journal_entry_done(&entry);
    }
    journal_close(j);
    return found;
}

void sim_server_damage(int keeper)
{
    struct journal_entry entry;
    struct err e;
    int refresh = -1;
    struct journal *j = journal_open(sim_journal_path(keeper), sim_keepers[keeper].flights.ring, &e);
    if (j && journal_read(j, SIM_CRED, &entry, &e) == 0) {
        if (entry.kind == JOURNAL_ANSWER)
            refresh = sim_token_number(&entry.state.refresh_token);
        journal_entry_done(&entry);
    }
    journal_close(j);
    if (refresh <= 0 || !sim_disk_damage(sim_journal_path(keeper), SIM_CRED ".answer"))
        return;
    sim_counts[SIM_DAMAGED]++;
    tokens[tokens[refresh].from].known |= 1u << atoi(sim_journal_path(keeper));
    tokens[tokens[refresh].from].lost = server.something_lost = true;
    if (sim_token_number(&sim_stored()->refresh_token) != refresh)
        tokens[refresh].arrived = false;
}

void sim_judge_durable(void)
{
    int n = server.newest;
    const struct state *s = sim_stored();
    if (!tokens[n].arrived || server.revoked || !sim_plan.rotates || n == 0)
        return;
    if (sim_token_number(&s->refresh_token) == n || sim_token_number(&s->alt_refresh) == n)
        return;
    if (sim_kept(n))
        return;
    for (int k = 0; k < (sim_plan.one_machine ? 1 : sim_plan.keepers); k++)
        if (in_journal(k, n))
            return;
    sim_break("P2: rt-%d had arrived, and is neither in the store nor in a journal", n);
}
