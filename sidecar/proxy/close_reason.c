#include "proxy/close_reason.h"

static const struct {
    const char *word;
    bool client, upstream;
} reasons[] = {
    [CLOSE_ABORTED] = { "aborted", true, false },
    [CLOSE_ANSWERED] = { "answered", true, true },
    [CLOSE_CLIENT_LEFT] = { "client_left", false, true },
    [CLOSE_CROWDED_OUT] = { "crowded_out", true, true },
    [CLOSE_DRAINING] = { "draining", true, false },
    [CLOSE_EARLY_ANSWER] = { "early_answer", false, true },
    [CLOSE_IDLE] = { "idle", true, true },
    [CLOSE_NO_LEAF] = { "no_leaf", true, false },
    [CLOSE_NOT_NEEDED] = { "not_needed", false, true },
    [CLOSE_OUT_OF_MEMORY] = { "out_of_memory", true, true },
    [CLOSE_PEER_CLOSED] = { "peer_closed", true, true },
    [CLOSE_PROTOCOL] = { "protocol", false, true },
    [CLOSE_REFUSED] = { "refused", true, true },
    [CLOSE_SHUTTING_DOWN] = { "shutting_down", true, true },
    [CLOSE_TIMEOUT] = { "timeout", true, true },
    [CLOSE_TLS_FAILED] = { "tls_failed", true, true },
    [CLOSE_TOKEN_EXPIRED] = { "token_expired", false, true },
    [CLOSE_TUNNEL_ENDED] = { "tunnel_ended", true, false },
    [CLOSE_UNFINISHED] = { "unfinished", false, true },
    [CLOSE_UNREACHABLE] = { "unreachable", true, true },
    [CLOSE_UNREAD] = { "unread", false, true },
    [CLOSE_UPGRADED] = { "upgraded", false, true },
};

const char *close_reason_word(enum close_reason reason)
{
    return reasons[reason].word;
}

bool close_reason_of_client(enum close_reason reason)
{
    return reasons[reason].client;
}

bool close_reason_of_upstream(enum close_reason reason)
{
    return reasons[reason].upstream;
}

static bool starts(const char *label, struct slice prefix)
{
    return slice_starts(slice_str(label), prefix);
}

enum close_reason close_reason_of_fault(const struct leg_fault *fault)
{
    if (fault->status == 504)
        return CLOSE_TIMEOUT;
    if (starts(fault->label, SLICE("http_response_incomplete")))
        return CLOSE_PEER_CLOSED;
    if (starts(fault->label, SLICE("http_")))
        return CLOSE_PROTOCOL;
    if (starts(fault->label, SLICE("tls_")))
        return CLOSE_TLS_FAILED;
    if (starts(fault->label, SLICE("proxy_internal_")))
        return CLOSE_UNFINISHED;
    return starts(fault->label, SLICE("internal_")) ? CLOSE_OUT_OF_MEMORY : CLOSE_PEER_CLOSED;
}
