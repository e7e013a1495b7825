#include "http/authority.h"

#include <arpa/inet.h>
#include <errno.h>

#include "base/str.h"

#define LABEL_MAX 63

uint16_t authority_scheme_port(enum scheme scheme)
{
    return scheme == SCHEME_HTTP ? 80 : 443;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

static bool is_label_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
}

static bool all(struct slice text, bool (*is)(char))
{
    for (size_t i = 0; i < text.len; i++)
        if (!is(text.ptr[i]))
            return false;
    return true;
}

/* "1", "0x7f", "0x": where inet_aton() and browsers see an IPv4 address (WHATWG URL §3.5, "ends in a number"). */
static bool looks_numeric(struct slice label)
{
    return all(label, is_digit) || (slice_starts(label, SLICE("0x")) && all(slice_skip(label, 2), is_hex));
}

/* host: lower case already, no trailing dot. */
static int parse_name(struct slice host, enum host_kind *ret)
{
    struct slice rest = host, label = host;
    struct in_addr v4;
    char text[INET_ADDRSTRLEN];
    size_t dots = 0;
    for (size_t i = 0; i < host.len; i++)
        dots += host.ptr[i] == '.';
    for (size_t i = 0; i <= dots; i++) {
        label = slice_cut(rest, '.', &rest);
        if (label.len == 0 || label.len > LABEL_MAX || !all(label, is_label_char))
            return -EINVAL;
    }
    *ret = HOST_NAME;
    if (!looks_numeric(label))
        return 0;
    if (host.len >= sizeof text)
        return -EINVAL;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    *ret = HOST_IPV4;
    return inet_pton(AF_INET, text, &v4) == 1 ? 0 : -EINVAL;
}

static int parse_v6(struct slice inner, char *ret_host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    if (inner.len >= sizeof text || memchr(inner.ptr, '\0', inner.len))
        return -EINVAL;
    memcpy(text, inner.ptr, inner.len);
    text[inner.len] = '\0';
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return -EINVAL;
    return inet_ntop(AF_INET6, &v6, ret_host, INET6_ADDRSTRLEN) ? 0 : -EINVAL;
}

static int parse_host(struct slice host, struct authority *ret)
{
    if (host.len && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > AUTHORITY_HOST_MAX)
        return -EINVAL;
    for (size_t i = 0; i < host.len; i++)
        ret->host[i] = lower(host.ptr[i]);
    ret->host[host.len] = '\0';
    return parse_name(slice_of(ret->host, host.len), &ret->kind);
}

/* text: what follows the host: "", ":" (RFC 3986 §3.2.3: as if it were absent) or ":port". */
static int parse_port(struct slice text, uint16_t default_port, uint16_t *ret)
{
    uint64_t port;
    if (text.len == 0 || slice_eq(text, SLICE(":"))) {
        *ret = default_port;
        return default_port ? 0 : -EINVAL;
    }
    if (text.ptr[0] != ':' || text.len > sizeof ":65535" - 1)
        return -EINVAL;
    if (slice_u64(slice_skip(text, 1), UINT16_MAX, &port) != 0 || port == 0)
        return -EINVAL;
    *ret = (uint16_t)port;
    return 0;
}

int authority_parse(struct slice text, enum scheme scheme, uint16_t default_port, struct authority *ret)
{
    struct authority a = { .scheme = scheme };
    size_t end;
    int failed;
    if (text.len && text.ptr[0] == '[') {
        end = slice_find(text, ']');
        if (end == text.len)
            return -EINVAL;
        a.kind = HOST_IPV6;
        failed = parse_v6(slice_of(text.ptr + 1, end - 1), a.host);
        end++;
    } else {
        end = slice_find(text, ':');
        failed = parse_host(slice_of(text.ptr, end), &a);
    }
    if (failed == 0)
        failed = parse_port(slice_skip(text, end), default_port, &a.port);
    if (failed == 0)
        *ret = a;
    return failed;
}

static bool starts_fold(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && slice_ieq(slice_of(text.ptr, prefix.len), prefix);
}

int authority_parse_uri(struct slice target, struct authority *ret, struct slice *ret_path)
{
    enum scheme scheme;
    if (starts_fold(target, SLICE("https://"))) {
        scheme = SCHEME_HTTPS;
        target = slice_skip(target, 8);
    } else if (starts_fold(target, SLICE("http://"))) {
        scheme = SCHEME_HTTP;
        target = slice_skip(target, 7);
    } else {
        return -EINVAL;
    }
    if (slice_find(target, '#') < target.len)
        return -EINVAL;
    size_t slash = slice_find(target, '/'), question = slice_find(target, '?');
    size_t end = slash < question ? slash : question;
    int failed = authority_parse(slice_of(target.ptr, end), scheme, authority_scheme_port(scheme), ret);
    if (failed == 0)
        *ret_path = slice_skip(target, end);
    return failed;
}

bool authority_eq(const struct authority *a, const struct authority *b)
{
    return a->scheme == b->scheme && a->kind == b->kind && a->port == b->port && strcmp(a->host, b->host) == 0;
}

static const char *write_text(const struct authority *a, bool with_port, char *text)
{
    char digits[20];
    struct slice none = SLICE("");
    bool v6 = a->kind == HOST_IPV6;
    const struct slice pieces[] = { v6 ? SLICE("[") : none, slice_str(a->host), v6 ? SLICE("]") : none,
                                    with_port ? SLICE(":") : none, with_port ? str_u64(a->port, digits) : none };
    (void)str_join(text, AUTHORITY_TEXT_MAX, pieces, sizeof pieces / sizeof *pieces);
    return text;
}

const char *authority_text(const struct authority *a, char *text)
{
    return write_text(a, a->port != authority_scheme_port(a->scheme), text);
}

const char *authority_key(const struct authority *a, char *text)
{
    return write_text(a, true, text);
}
