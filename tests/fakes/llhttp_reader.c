/* How llhttp reads bytes, used as its manual says and with nothing of sidekey around it: a third opinion for
 * tests/e2e/test_smuggling.py. A line "request|response METHOD HEX" in (METHOD: what a response answers), a line of
 * JSON out, as tests/fakes/reader.mjs gives it:
 * {"messages": [{"method", "url" | "status", "raw": [name, value …], "body", "trailers": [name, value …]}], "error":
 * null | "…"} Bytes are latin1 strings.  The end of the input is the end of the connection. */
#include <llhttp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1 << 20)
#define LINE_MAX_BYTES (4 << 20)

struct text {
    size_t len;
    char bytes[TEXT_MAX];
};

/* One message at a time: it is printed when it is complete. */
static struct {
    llhttp_t llhttp;
    bool to_head, in_trailers;
    int printed;
    struct text method, url, raw, trailers, body, name, value;
} r;

static int add(struct text *t, const char *at, size_t len)
{
    if (t->len + len > TEXT_MAX)
        return HPE_USER;
    memcpy(t->bytes + t->len, at, len);
    t->len += len;
    return 0;
}

/* As the inside of a JSON string. */
static int add_escaped(struct text *t, const struct text *from)
{
    char escape[8];
    int failed = add(t, "\"", 1);
    for (size_t i = 0; i < from->len && failed == 0; i++) {
        unsigned char c = (unsigned char)from->bytes[i];
        if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
            failed = add(t, &from->bytes[i], 1);
        else
            failed = add(t, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c));
    }
    return failed ? failed : add(t, "\"", 1);
}

static void print_string(const char *key, const struct text *t)
{
    static struct text out;
    out.len = 0;
    if (add_escaped(&out, t) != 0)
        abort();
    printf("\"%s\": %.*s, ", key, (int)out.len, out.bytes);
}

static int on_message_begin(llhttp_t *llhttp)
{
    (void)llhttp;
    r.in_trailers = false;
    r.method.len = r.url.len = r.raw.len = r.trailers.len = r.body.len = r.name.len = r.value.len = 0;
    return 0;
}

static int on_method(llhttp_t *llhttp, const char *at, size_t len)
{
    (void)llhttp;
    return add(&r.method, at, len);
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    (void)llhttp;
    return add(&r.url, at, len);
}

static int on_name(llhttp_t *llhttp, const char *at, size_t len)
{
    (void)llhttp;
    return add(&r.name, at, len);
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len)
{
    (void)llhttp;
    return add(&r.value, at, len);
}

static int on_value_complete(llhttp_t *llhttp)
{
    struct text *list = r.in_trailers ? &r.trailers : &r.raw;
    (void)llhttp;
    while (r.value.len && (r.value.bytes[r.value.len - 1] == ' ' || r.value.bytes[r.value.len - 1] == '\t'))
        r.value.len--; /* llhttp leaves that to its user */
    int failed = list->len ? add(list, ", ", 2) : 0;
    if (failed == 0 && (failed = add_escaped(list, &r.name)) == 0 && (failed = add(list, ", ", 2)) == 0)
        failed = add_escaped(list, &r.value);
    r.name.len = r.value.len = 0;
    return failed;
}

static int on_headers_complete(llhttp_t *llhttp)
{
    r.in_trailers = true;
    bool bodiless = llhttp->type == HTTP_RESPONSE && (r.to_head || llhttp->status_code == 304);
    return bodiless ? 1 : 0; /* whatever the head says (RFC 9112 §6.3) */
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    (void)llhttp;
    return add(&r.body, at, len);
}

static int on_message_complete(llhttp_t *llhttp)
{
    if (llhttp->type == HTTP_RESPONSE && llhttp->status_code / 100 == 1 && llhttp->status_code != 101)
        return 0; /* interim */
    printf("%s{", r.printed++ ? ", " : "");
    if (llhttp->type == HTTP_REQUEST) {
        print_string("method", &r.method);
        print_string("url", &r.url);
    } else {
        printf("\"status\": %d, ", llhttp->status_code);
    }
    print_string("body", &r.body);
    printf("\"raw\": [%.*s], \"trailers\": [%.*s]}", (int)r.raw.len, r.raw.bytes, (int)r.trailers.len,
           r.trailers.bytes);
    return 0;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_method = on_method,
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void read_bytes(bool response, const char *method, const char *bytes, size_t len)
{
    llhttp_init(&r.llhttp, response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
    r.to_head = strcmp(method, "HEAD") == 0;
    r.printed = 0;
    printf("{\"messages\": [");
    llhttp_errno_t error = llhttp_execute(&r.llhttp, bytes, len);
    if (error == HPE_OK)
        error = llhttp_finish(&r.llhttp);
    if (error == HPE_OK || error == HPE_PAUSED_UPGRADE)
        printf("], \"error\": null}\n");
    else
        printf("], \"error\": \"%s\"}\n", llhttp_errno_name(error));
    fflush(stdout);
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

int main(void)
{
    static char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, stdin)) {
        char *method = strchr(line, ' '), *hex = method ? strchr(method + 1, ' ') : NULL;
        if (!hex)
            return 64;
        *method++ = *hex++ = '\0';
        size_t len = strcspn(hex, "\n") / 2;
        for (size_t i = 0; i < len; i++) /* in place: the bytes are shorter than their digits */
            hex[i] = (char)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
        read_bytes(strcmp(line, "response") == 0, method, hex, len);
    }
    return 0;
}
