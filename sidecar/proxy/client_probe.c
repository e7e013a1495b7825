/* "sidekey doctor" asks here how a program's requests come (docs/http.md 1.17). */
#include "base/log.h"
#include "base/probe_host.h"
#include "proxy/client_private.h"

#include <stdio.h>
#include <string.h>

/* git reads the answer as the refs of a repository, and prints them. */
#define NO_COMMIT "1111111111111111111111111111111111111111"

bool client_is_probe(const struct client *c)
{
    return !c->gateway && strcmp(c->a0.host, PROBE_HOST) == 0;
}

bool client_probe(struct client *c, const struct message *head)
{
    if (!client_is_probe(c))
        return false;
    struct message m;
    char body[128];
    const char *way = c->transparent ? "transparent" : "proxy";
    bool head_only = slice_eq(message_method(head), SLICE("HEAD"));
    int len = snprintf(body, sizeof body, NO_COMMIT "\t" PROBE_MARK "%s\n", way);
    log_debug(log_msg("answered the probe of sidekey doctor"), log_str("way", way));
    message_init(&m);
    int failed = message_start_response(&m, 200, SLICE("OK"));
    if (failed == 0)
        failed = message_add(&m, SLICE("Content-Type"), SLICE("text/plain"));
    if (failed == 0)
        failed = message_add(&m, SLICE("Cache-Control"), SLICE("no-store"));
    m.framing = FRAMING_LENGTH;
    m.length = (uint64_t)len;
    if (failed == 0)
        failed = leg_head(h1_leg_base(c->leg), &m, head_only);
    if (failed == 0 && !head_only)
        failed = leg_data(h1_leg_base(c->leg), slice_of(body, (size_t)len));
    if (failed == 0)
        failed = leg_end(h1_leg_base(c->leg), NULL);
    message_done(&m);
    client_end_gently(c, failed ? CLOSE_OUT_OF_MEMORY : CLOSE_ANSWERED);
    return true;
}
