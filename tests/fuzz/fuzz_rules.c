/* Any message that a parser could have made, not only those of ours: what the rules let through is written, and reads
 * back as one message without what they drop; what they refuse has a status and a reason.   Input: two bytes that
 * choose, then lines "target", "name:value"... */
#include "tests/fuzz/fuzz_h1.h"

static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT" };
static const char *const hop_by_hop[] = { "connection",     "keep-alive", "proxy-authorization", "proxy-connection",
                                          "http2-settings", "alt-svc",    "proxy-authenticate" };

static bool has(struct message *m, const char *name)
{
    size_t count;
    message_get(m, slice_str(name), &count);
    return count > 0;
}

static bool is_visible(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    return text.len > 0;
}

static void add_fields(struct message *m, struct slice lines)
{
    while (lines.len) {
        struct slice line = slice_cut(lines, '\n', &lines), value, name = slice_cut(line, ':', &value);
        value = slice_trim(value);
        if (!rules_is_token(name) || !rules_is_value(value))
            continue;
        if (message_add(m, name, value) != 0)
            return;
    }
}

static void choose_framing(struct message *m, uint8_t how)
{
    static const enum framing framings[] = { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED };
    m->framing = framings[how % 3];
    m->length = m->framing == FRAMING_LENGTH ? how : 0;
    m->keep_alive = how & 0x40;
    m->upgrade = (how & 0x80) && has(m, "upgrade") && message_has_token(m, SLICE("connection"), SLICE("upgrade"));
}

static void demand_dropped(struct message *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        demand(!has(m, hop_by_hop[i]));
    demand(m->upgrade == has(m, "upgrade"));
}

static void refused(struct rules_verdict v, int low, int high)
{
    demand(v.status >= low && v.status <= high && v.reason && *v.reason);
}

static void request(uint8_t method, uint8_t how, struct slice target, struct slice lines)
{
    struct authority a0;
    struct message m, again;
    struct rules_verdict v;
    size_t hosts;
    if (!is_visible(target) || memchr(target.ptr, '#', target.len))
        return;
    message_init(&m);
    message_init(&again);
    demand(authority_parse(SLICE("a"), SCHEME_HTTPS, 443, &a0) == 0);
    demand(message_start_request(&m, slice_str(methods[method % 8]), target) == 0 || target.len > 1024);
    if (has(&m, "host") == false && (method & 0x80))
        demand(message_add(&m, SLICE("Host"), SLICE("a")) == 0 || target.len > 1024);
    add_fields(&m, lines);
    choose_framing(&m, how);
    if ((v = rules_check_authority(&m, &a0)).status != 0) {
        refused(v, 400, 508);
        goto done;
    }
    demand(message_target(&m).ptr[0] == '/' || slice_eq(message_target(&m), SLICE("*")));
    if ((v = rules_forward_request(&m, &a0, true, NULL)).status != 0) {
        refused(v, 400, 508);
        goto done;
    }
    demand(slice_eq(message_get(&m, SLICE("host"), &hosts), SLICE("a")) && hosts == 1);
    demand_dropped(&m, 0, 5);
    demand(message_copy(&again, &m) == 0);
    fuzz_written(H1_REQUESTS, "", &m, false);
    v = rules_forward_request(&again, &a0, true, NULL);
    demand(v.status == 508); /* it has been here */
done:
    message_done(&m);
    message_done(&again);
}

static void response(uint8_t status, uint8_t how, struct slice reason, struct slice lines)
{
    static const int statuses[] = { 100, 101, 103, 200, 204, 206, 301, 304, 401, 404, 407, 500, 599 };
    struct message m;
    struct rules_verdict v;
    if (!rules_is_value(reason))
        return;
    message_init(&m);
    demand(message_start_response(&m, statuses[status % 13], slice_trim(reason)) == 0 || reason.len > 1024);
    add_fields(&m, lines);
    choose_framing(&m, how);
    m.upgrade = m.status == 101;
    if (m.status < 200 || m.status == 204 || m.status == 304) {
        m.framing = FRAMING_NONE;
        m.length = 0;
        m.keep_alive = true;
    } else if (m.framing == FRAMING_NONE) {
        m.framing = FRAMING_LENGTH;
        m.length = 0;
    }
    if ((v = rules_forward_response(&m, true)).status != 0) {
        refused(v, 502, 503);
    } else {
        demand_dropped(&m, 0, 2);
        demand(!has(&m, "alt-svc") && !has(&m, "proxy-authenticate"));
        fuzz_written(H1_RESPONSES, "", &m, m.status == 304);
    }
    message_done(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2)
        return 0;
    struct slice rest, first = slice_cut(slice_of(bytes + 2, size - 2), '\n', &rest);
    request(bytes[0], bytes[1], first, rest);
    response(bytes[0], bytes[1], first, rest);
    return 0;
}
