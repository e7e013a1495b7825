#include "proxy/problem.h"

#include "base/str.h"

#include <stdio.h>

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    { 200, "OK" },
    { 201, "Created" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 407, "Proxy Authentication Required" },
    { 408, "Request Timeout" },
    { 413, "Content Too Large" },
    { 414, "URI Too Long" },
    { 421, "Misdirected Request" },
    { 431, "Request Header Fields Too Large" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 508, "Loop Detected" },
};

const char *problem_phrase(int status)
{
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Error";
}

static int add_member(struct buf *out, const char *name, const char *value)
{
    int failed;
    if (!value)
        return 0;
    failed = buf_printf(out, ",\"%s\":", name);
    return failed ? failed : str_add_json(out, slice_str(value));
}

static int build_body(const struct problem *p, struct buf *body)
{
    int failed;
    if ((failed = buf_printf(body, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d",
                             problem_phrase(p->status), p->status))
        || (failed = add_member(body, "credential", p->credential)) || (failed = add_member(body, "reason", p->reason))
        || (failed = add_member(body, "detail", p->detail)) || (failed = add_member(body, "hint", p->hint)))
        return failed;
    return buf_add_str(body, "}\n");
}

/* A structured-field string (RFC 8941 §3.3.3): printable ASCII, quotes and backslashes escaped. */
static int add_sf_string(struct buf *out, const char *text)
{
    int failed = buf_add_str(out, "\"");
    for (; *text && failed == 0; text++) {
        char c = *text < ' ' || *text > '~' ? '?' : *text;
        if (c == '"' || c == '\\')
            failed = buf_add_str(out, "\\");
        if (failed == 0)
            failed = buf_add(out, slice_of(&c, 1));
    }
    return failed ? failed : buf_add_str(out, "\"");
}

static int add_proxy_status(const struct problem *p, struct message *m)
{
    struct buf value;
    buf_init(&value, 4096);
    const char *error;
    if (p->error)
        error = p->error;
    else if (p->status < 500)
        error = "http_request_error";
    else
        error = "proxy_internal_error";
    int failed = buf_printf(&value, "sidekey; error=%s", error);
    if (failed == 0 && p->detail && (failed = buf_add_str(&value, "; details=")) == 0)
        failed = add_sf_string(&value, p->detail);
    if (failed == 0)
        failed = message_add(m, SLICE("Proxy-Status"), buf_slice(&value));
    buf_done(&value);
    return failed;
}

int problem_build(const struct problem *p, bool keep_alive, struct message *m, struct buf *body)
{
    char number[24];
    int failed;
    message_clear(m);
    if ((failed = build_body(p, body))
        || (failed = message_start_response(m, p->status, slice_str(problem_phrase(p->status))))
        || (failed = message_add(m, SLICE("Content-Type"), SLICE("application/problem+json")))
        || (failed = add_proxy_status(p, m)) || (failed = message_add(m, SLICE("Cache-Control"), SLICE("no-store"))))
        return failed;
    if (p->retry_after_s > 0) {
        snprintf(number, sizeof number, "%lld", (long long)p->retry_after_s);
        if ((failed = message_add(m, SLICE("Retry-After"), slice_str(number))))
            return failed;
    }
    if (p->field_name && (failed = message_add(m, slice_str(p->field_name), slice_str(p->field_value))))
        return failed;
    m->framing = FRAMING_LENGTH;
    m->length = body->len;
    m->keep_alive = keep_alive;
    m->minor = 1;
    return 0;
}
