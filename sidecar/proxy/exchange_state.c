/* The states of an exchange: their names, their deadlines, and the one writer. */
#include "base/log.h"
#include "proxy/exchange_private.h"

static int64_t token_ms(const struct exchange *x)
{
    return x->ctx->options->limits.token_wait_ms;
}

static int64_t read_ms(const struct exchange *x)
{
    return x->ctx->options->limits.head_ms;
}

/* Between two bytes of a message, or until the first one of the response: rules 7.6 and 7.7. */
static int64_t relay_ms(const struct exchange *x)
{
    const struct worker_limits *limits = &x->ctx->options->limits;
    bool in_request = !x->request_done || x->resending, in_response = x->status || x->inspecting;
    return in_request || in_response ? limits->idle_ms : limits->first_byte_ms;
}

/* Every state has a deadline. */
static const struct {
    const char *name;
    int64_t (*deadline_ms)(const struct exchange *x); /* NULL: the pool's (limits.dial and limits.tls), or none */
    bool own; /* x->deadline fires; else the wait that the state begins has the time */
} states[] = {
    [EXCHANGE_TOKEN] = { "token", token_ms, false }, /* limits.token_wait */
    [EXCHANGE_READ] = { "read", read_ms, true },     /* limits.head */
    [EXCHANGE_CONNECT] = { "connect", NULL, false }, /* upstream_wait: limits.dial and limits.tls */
    [EXCHANGE_RELAY] = { "relay", relay_ms, true },  /* limits.idle, limits.first_byte, limits.idle */
    [EXCHANGE_HELD] = { "held", token_ms, false },   /* limits.token_wait */
    [EXCHANGE_OVER] = { "over", NULL, false },
};

int64_t exchange_deadline_ms(const struct exchange *x)
{
    return states[x->state].deadline_ms(x);
}

void exchange_progress(struct exchange *x)
{
    timer_set(&x->deadline, exchange_deadline_ms(x));
}

void exchange_enter(struct exchange *x, enum exchange_state next)
{
    log_debug(log_msg("exchange"), log_str("from", states[x->state].name), log_str("to", states[next].name));
    x->state = next;
    if (states[next].own)
        exchange_progress(x);
    else
        timer_stop(&x->deadline);
}
