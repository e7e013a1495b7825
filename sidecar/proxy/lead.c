#include "proxy/lead.h"

#include "net/tls/tls_hello.h"

#define HEAD_MAX (16 * 1024)

/* A request line has begun, and its head has not ended. */
static bool wants_more(struct slice bytes)
{
    static const char *const methods[] = {
        "CONNECT ", "GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS "
    };
    bool begun = false;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        size_t len = strlen(methods[i]);
        begun |= strncmp(bytes.ptr, methods[i], bytes.len < len ? bytes.len : len) == 0;
    }
    return begun && bytes.len < HEAD_MAX && !memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4);
}

/* "CONNECT host:port HTTP/1.1": does a rule name that place? */
static bool connects_to_rule(const struct access *a, const struct access_client *who, struct slice bytes)
{
    struct authority to;
    struct slice rest, line = slice_of(bytes.ptr, slice_find(bytes, '\r'));
    struct slice method = slice_cut(line, ' ', &rest), target = slice_cut(rest, ' ', &rest);
    return slice_eq(method, SLICE("CONNECT")) && authority_parse(target, SCHEME_HTTPS, 0, &to) == 0
           && access_first_rule(a, who, &to);
}

/* The Host of a plain request. */
static struct slice host_field(struct slice bytes)
{
    struct slice rest = bytes, line;
    while (rest.len) {
        line = slice_cut(rest, '\n', &rest);
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len > 5 && slice_ieq(slice_of(line.ptr, 5), SLICE("host:")))
            return slice_trim(slice_skip(line, 5));
    }
    return (struct slice){ NULL, 0 };
}

enum lead lead_of(const struct access *a, const struct access_client *who, const struct authority *place,
                  struct slice bytes, struct authority *ret_name)
{
    bool tls = bytes.ptr[0] == 0x16; /* RFC 8446 §5.1: handshake record */
    if (!tls && wants_more(bytes))
        return LEAD_MORE;
    if (!tls && connects_to_rule(a, who, bytes))
        return LEAD_CONNECT;
    struct slice name = tls ? tls_hello_name(bytes) : host_field(bytes);
    if (!name.len || authority_parse(name, tls ? SCHEME_HTTPS : SCHEME_HTTP, place->port, ret_name) != 0)
        return LEAD_NOWHERE;
    ret_name->port = place->port;
    return ret_name->kind == HOST_NAME && access_first_rule(a, who, ret_name) ? LEAD_NAMED : LEAD_NOWHERE;
}
