/* Who has a connection slot: clients that have shown who they are, or have a request or a tunnel under way, are counted
 * by limits.connections; those that have not are newcomers, with slots of their own. */
#include "base/log.h"
#include "proxy/client_private.h"

#define NEWCOMERS_LEAST 64

static unsigned newcomers_most(const struct context *ctx)
{
    unsigned quarter = ctx->options->limits.connections / 4;
    return quarter > NEWCOMERS_LEAST ? quarter : NEWCOMERS_LEAST;
}

/* However many connect and say nothing, the next one gets its turn: the oldest of them makes room. */
struct client *client_slot_arrive(struct client *c)
{
    struct context *ctx = c->ctx;
    struct client *oldest = NULL;
    if (ctx->newcomer_count >= newcomers_most(ctx)) {
        oldest = LIST_ENTRY(ctx->newcomers.next, struct client, newcomer);
        meter_refused(ctx->meter, "crowded_out");
        log_debug(log_msg("too many connections without a request: the oldest one is closed"));
    }
    list_push(&ctx->newcomers, &c->newcomer);
    ctx->newcomer_count++;
    return oldest;
}

static void leave_newcomers(struct client *c)
{
    if (list_empty(&c->newcomer))
        return;
    list_remove(&c->newcomer);
    c->ctx->newcomer_count--;
}

/* One of several clients has half of the slots at most. */
static bool has_share(const struct client *c, const struct access_client *who)
{
    const struct worker_options *o = c->ctx->options;
    unsigned half = o->limits.connections / 2;
    return !who || o->client_count < 2 || who->slots->used < (half ? half : 1);
}

bool client_slot_settle(struct client *c, const struct access_client *who)
{
    if (list_empty(&c->newcomer))
        return true;
    if (!has_share(c, who))
        return false;
    leave_newcomers(c);
    if (who) {
        c->slots = who->slots;
        c->slots->used++;
    }
    c->ctx->on_client_settled(c->ctx);
    return true;
}

void client_slot_leave(struct client *c)
{
    leave_newcomers(c);
    if (c->slots)
        c->slots->used--;
    c->slots = NULL;
}
