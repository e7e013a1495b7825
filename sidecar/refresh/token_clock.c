#include "refresh/token_clock.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "refresh/fetch/fetch.h"

#include <stdlib.h>
#include <strings.h>

struct token_clocks {
    struct hash *hosts; /* "host:port" to struct token_clock */
};

struct token_clock {
    int64_t skew_ms;
    bool refused; /* the log has been told that the last Date was out of range */
    char host[];
};

struct token_clocks *token_clocks_new(void)
{
    struct token_clocks *t = calloc(1, sizeof *t);
    if (t && !(t->hosts = hash_new())) {
        free(t);
        return NULL;
    }
    return t;
}

static void free_clock(void *arg, struct slice host, void *clock)
{
    (void)arg, (void)host;
    free(clock);
}

void token_clocks_free(struct token_clocks *t)
{
    if (!t)
        return;
    hash_each(t->hosts, free_clock, NULL);
    hash_free(t->hosts);
    free(t);
}

struct token_clock *token_clocks_at(struct token_clocks *t, const char *url)
{
    char host[300];
    if (!t || !url || strncasecmp(url, "https:", 6) != 0 || fetch_url_host(url, host, sizeof host) != 0)
        return NULL;
    struct token_clock *c = hash_get(t->hosts, slice_str(host));
    if (c || !(c = calloc(1, sizeof *c + strlen(host) + 1)))
        return c;
    memcpy(c->host, host, strlen(host) + 1);
    if (hash_put(t->hosts, slice_str(host), c) == 0)
        return c;
    free(c);
    return NULL;
}

int64_t token_clock_skew_ms(const struct token_clock *c)
{
    return c ? c->skew_ms : 0;
}

/* Date has whole seconds, and was written at some moment since the question: only what lies outside that span is an
 * error of our clock. */
void token_clock_learn(struct token_clock *c, int64_t date_s, int64_t took_ms)
{
    if (!c || date_s == 0)
        return;
    int64_t now_ms = clock_wall_ms(), least_ms = date_s * 1000 - now_ms, most_ms = least_ms + 1000 + took_ms;
    int64_t off_ms;
    if (least_ms > 2000)
        off_ms = least_ms;
    else if (most_ms < -2000)
        off_ms = most_ms;
    else
        off_ms = 0;
    bool refused = llabs(off_ms) > TOKEN_CLOCK_MAX_MS;
    if (refused && !c->refused)
        log_warn(log_msg("the token endpoint's Date differs from this machine's clock by more than 7 days: sidekey "
                         "ignores it; correct the clock that is wrong"),
                 log_str("host", c->host), log_int("skew_s", off_ms / 1000));
    c->refused = refused;
    c->skew_ms = refused ? 0 : off_ms;
}
