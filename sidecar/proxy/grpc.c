#include "proxy/grpc.h"

#include "base/str.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 1024

/* Status codes of gRPC, those that a proxy has a use for. */
enum { DENIED = 7, EXHAUSTED = 8, INTERNAL = 13, UNAVAILABLE = 14, UNAUTHENTICATED = 16 };

bool grpc_is_call(const struct message *request)
{
    return request->http2 && slice_starts(message_get(request, SLICE("content-type"), NULL), SLICE("application/grpc"));
}

static int status_of(const struct problem *p)
{
    static const int limits[] = { 408, 413, 414, 429, 431 };
    if (strcmp(p->reason, "credential_dead") == 0)
        return UNAUTHENTICATED;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (p->status == limits[i])
            return EXHAUSTED;
    if (p->status == 403 || p->status == 405)
        return DENIED;
    return p->status >= 500 ? UNAVAILABLE : INTERNAL;
}

/* Percent-encoded: all but printable ASCII, and the percent sign. */
static int add_encoded(struct buf *out, const char *text)
{
    int failed = 0;
    for (; *text && failed == 0; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= ' ' && c <= '~' && c != '%')
            failed = buf_add(out, slice_of(text, 1));
        else
            failed = buf_printf(out, "%%%02X", c);
    }
    return failed;
}

static int add_message(const struct problem *p, struct message *m)
{
    struct buf text;
    buf_init(&text, MESSAGE_MAX);
    int failed = buf_printf(&text, "sidekey: %s", p->reason);
    if (failed == 0 && p->detail && (failed = buf_add_str(&text, ": ")) == 0)
        failed = add_encoded(&text, p->detail);
    if (failed == 0 && p->hint && (failed = buf_add_str(&text, "; ")) == 0)
        failed = add_encoded(&text, p->hint);
    if (failed != -ENOMEM) /* a long one is cut */
        failed = message_add(m, SLICE("grpc-message"), slice_trim(buf_slice(&text)));
    buf_done(&text);
    return failed;
}

int grpc_build(const struct problem *p, struct message *m)
{
    char number[4];
    int failed;
    message_clear(m);
    snprintf(number, sizeof number, "%d", status_of(p));
    if ((failed = message_start_response(m, 200, SLICE("OK")))
        || (failed = message_add(m, SLICE("content-type"), SLICE("application/grpc")))
        || (failed = message_add(m, SLICE("grpc-status"), slice_str(number))))
        return failed;
    m->framing = FRAMING_NONE;
    m->keep_alive = true;
    return add_message(p, m);
}

int grpc_status(const struct message *head)
{
    size_t count;
    uint64_t status;
    struct slice text = message_get(head, SLICE("grpc-status"), &count);
    return count == 1 && slice_u64(text, 99, &status) == 0 ? (int)status : -1;
}

bool grpc_refuses(const struct rule *r, const struct message *request, const struct message *head)
{
    int status = head->status == 200 && head->framing == FRAMING_NONE ? grpc_status(head) : -1;
    if (status <= 0 || !grpc_is_call(request))
        return false;
    for (const int *refused = r->grpc_unauthorized; *refused; refused++)
        if (*refused == status)
            return true;
    return false;
}

/* In microseconds, rounded up. */
static int64_t unit_us(char unit)
{
    switch (unit) {
    case 'H': return INT64_C(3600000000);
    case 'M': return 60000000;
    case 'S': return 1000000;
    case 'm': return 1000;
    case 'u': return 1;
    default: return 0;
    }
}

int grpc_shorten(struct message *request, int64_t elapsed_ms)
{
    static const struct {
        int64_t ms;
        char letter;
    } units[] = { { 1, 'm' }, { 1000, 'S' }, { 3600000, 'H' } };
    size_t count;
    uint64_t amount;
    char text[32];
    struct slice value = message_get(request, SLICE("grpc-timeout"), &count);
    if (count != 1 || value.len < 2 || !grpc_is_call(request))
        return 0;
    int64_t unit = unit_us(value.ptr[value.len - 1]);
    value.len--;
    if (unit == 0 || slice_u64(value, 99999999, &amount) != 0) /* nanoseconds are over before they could be changed */
        return 0;
    int64_t left_ms = ((int64_t)amount * unit + 999) / 1000 - elapsed_ms;
    if (left_ms < 1)
        left_ms = 1;
    size_t u = 0;
    for (; u < 2 && left_ms / units[u].ms > 99999999; u++)
        ; /* eight digits at most */
    snprintf(text, sizeof text, "%" PRId64 "%c", left_ms / units[u].ms, units[u].letter);
    return message_set(request, SLICE("grpc-timeout"), slice_str(text));
}
