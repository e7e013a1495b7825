/* Authorities: what is accepted has one spelling, which is accepted again and means the same. */
#include <stdlib.h>

#include "http/authority.h"

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check(const struct authority *a)
{
    char text[AUTHORITY_TEXT_MAX];
    struct authority again;
    demand(a->port != 0 && a->host[0] != '\0' && strlen(a->host) <= AUTHORITY_HOST_MAX);
    for (const char *c = a->host; *c; c++)
        demand((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' || *c == '.'
               || (*c == ':' && a->kind == HOST_IPV6));
    demand(authority_parse(slice_str(authority_key(a, text)), a->scheme, 0, &again) == 0 && authority_eq(a, &again));
    demand(authority_parse(slice_str(authority_text(a, text)), a->scheme, authority_scheme_port(a->scheme), &again) == 0
           && authority_eq(a, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct slice in = { (const char *)bytes, size }, path;
    struct authority a;
    if (authority_parse(in, SCHEME_HTTPS, 443, &a) == 0)
        check(&a);
    if (authority_parse(in, SCHEME_HTTP, 0, &a) == 0)
        check(&a);
    if (authority_parse_uri(in, &a, &path) == 0) {
        check(&a);
        demand(path.len == 0 || (path.ptr + path.len == in.ptr + in.len && (path.ptr[0] == '/' || path.ptr[0] == '?')));
    }
    return 0;
}
