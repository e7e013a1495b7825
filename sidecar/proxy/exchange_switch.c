/* A 101: is it the answer to what was asked?   RFC 9110 §7.8. */
#include "http/rules.h"
#include "http/websocket.h"
#include "proxy/exchange_private.h"

/* NULL: it is the answer to what was asked. */
static const char *refuse_switch(const struct exchange *x, struct message *head)
{
    struct slice asked = message_get(x->request, SLICE("upgrade"), NULL);
    if (!x->request->upgrade)
        return "a 101 answer that nobody asked for";
    if (x->request->framing != FRAMING_NONE && (!x->request_done || x->resending))
        return "a 101 answer before the request was over";
    if (rules_forward_response(head, x->ctx->options->via).status
        || !slice_ieq(message_get(head, SLICE("upgrade"), NULL), asked))
        return "the 101 answer is not to the protocol that was asked for";
    if (slice_ieq(asked, SLICE("websocket")) && !websocket_accepted(x->request, head))
        return "the 101 answer does not accept the key that was sent";
    return NULL;
}

void exchange_switch(struct exchange *x, struct message *head)
{
    const char *refused = refuse_switch(x, head);
    if (refused) {
        exchange_upstream_gone(x,
                               &(struct leg_fault){ .status = 502, .label = "http_upgrade_failed", .text = refused });
        return;
    }
    if (leg_head(x->client_leg, head, false) != 0) {
        exchange_abort_client(x);
        return;
    }
    x->status = 101;
    exchange_finish(x, EXCHANGE_UPGRADED);
}
