#include "preload/decide.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool same_text(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

static bool space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The next item of a comma-separated list without the spaces around it; NULL at the end.  *io_list moves on. */
static const char *next_item(const char **io_list, size_t *ret_length)
{
    const char *at = *io_list;
    while (*at == ',' || space(*at))
        at++;
    if (*at == '\0')
        return NULL;
    const char *end = at;
    while (*end != '\0' && *end != ',')
        end++;
    *io_list = end;
    while (end > at && space(end[-1]))
        end--;
    *ret_length = (size_t)(end - at);
    return at;
}

static uint16_t port_of(const char *text, size_t length)
{
    uint32_t port = 0;
    if (length == 0 || length > 5)
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    return port <= 65535 ? (uint16_t)port : 0;
}

uint16_t decide_port_number(const char *text)
{
    return text ? port_of(text, strlen(text)) : 0;
}

void decide_set_ports(struct policy *p, const char *list)
{
    size_t length;
    p->port_count = 0;
    if (!list || *list == '\0')
        list = "80,443";
    for (const char *item; (item = next_item(&list, &length)) && p->port_count < POLICY_PORTS_MAX;) {
        uint16_t port = port_of(item, length);
        if (port)
            p->ports[p->port_count++] = port;
    }
}

/* A list that is too long loses its last items, never a part of one. */
static void copy_items(char *to, size_t size, const char *list)
{
    size_t length = list ? strlen(list) : 0;
    if (length >= size)
        for (length = size - 1; length > 0 && list[length] != ',';)
            length--;
    if (length)
        memcpy(to, list, length);
    to[length] = '\0';
}

void decide_set_bypass(struct policy *p, const char *list)
{
    copy_items(p->bypass, POLICY_BYPASS_MAX, list);
}

void decide_set_names(struct policy *p, const char *list)
{
    size_t length = list ? strlen(list) : 0;
    if (length >= POLICY_NAMES_MAX)
        length = 0;
    if (length)
        memcpy(p->names, list, length);
    p->names[length] = '\0';
}

void decide_set_proxies(struct policy *p, const char *list)
{
    copy_items(p->proxies, POLICY_PROXIES_MAX, list);
}

bool decide_proxy(const struct policy *p, const char *host, uint16_t port)
{
    const char *list = p->proxies;
    size_t length, size = strlen(host);
    for (const char *item; (item = next_item(&list, &length));) {
        const char *colon = memrchr(item, ':', length);
        size_t host_length = colon ? (size_t)(colon - item) : length;
        if (colon && host_length == size && same_text(host, item, size)
            && (port == 0 || port_of(colon + 1, length - host_length - 1) == port))
            return true;
    }
    return false;
}

bool decide_port(const struct policy *p, uint16_t port)
{
    for (size_t i = 0; i < p->port_count; i++)
        if (p->ports[i] == port)
            return true;
    return false;
}

bool decide_service(const struct policy *p, const char *service)
{
    if (!service || *service == '\0' || strcmp(service, "0") == 0)
        return true;
    uint16_t port = decide_port_number(service);
    if (!port && strcmp(service, "https") == 0)
        port = 443;
    if (!port && strcmp(service, "http") == 0)
        port = 80;
    return port && decide_port(p, port);
}

static bool listed(const char *list, const char *name)
{
    size_t length, size = strlen(name);
    for (const char *item; (item = next_item(&list, &length));) {
        if (length > 2 && item[0] == '*' && item[1] == '.')
            item++, length--;
        if (length > 1 && item[0] == '.') {
            if (size > length && same_text(name + size - length, item, length))
                return true;
        } else if (length == size && same_text(name, item, length)) {
            return true;
        }
    }
    return false;
}

static bool localhost(const char *name, size_t length)
{
    static const char *const local[] = { "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost",
                                         "ip6-loopback" };
    static const char word[] = "localhost";
    size_t n = sizeof word - 1;
    if (length >= n && memcmp(name + length - n, word, n) == 0 && (length == n || name[length - n - 1] == '.'))
        return true; /* RFC 6761 §6.3: localhost and every name below it */
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if (strcmp(name, local[i]) == 0)
            return true;
    return false;
}

bool decide_bypassed(const struct policy *p, const char *name)
{
    return listed(p->bypass, name);
}

enum name_class decide_name(const struct policy *p, const char *node, char ret_name[TABLE_TEXT])
{
    size_t length = node ? strlen(node) : 0;
    char name[TABLE_TEXT];
    if (length > 1 && node[length - 1] == '.')
        length--;
    if (length == 0 || length >= TABLE_TEXT)
        return NAME_AS_IS;
    for (size_t i = 0; i < length; i++)
        name[i] = lower(node[i]);
    name[length] = '\0';
    /* The last label decides what inet_aton() would take for a number; "0x7f" has letters but is one. */
    const char *last = memrchr(name, '.', length);
    last = last ? last + 1 : name;
    if (table_name_length(name, length) != length || (last[0] == '0' && last[1] == 'x'))
        return NAME_AS_IS;
    memcpy(ret_name, name, length + 1);
    if (localhost(name, length) || decide_bypassed(p, name))
        return NAME_DIRECT;
    bool ours = p->names[0] == '\0' || listed(p->names, name) || decide_proxy(p, name, 0);
    return ours ? NAME_OURS : NAME_DIRECT;
}

bool decide_target(const struct sockaddr *sa, socklen_t len, struct target *ret)
{
    const socklen_t short_in6 = 24; /* without sin6_scope_id: the kernel takes it (SIN6_LEN_RFC2133) */
    if (!sa || len < sizeof sa->sa_family)
        return false;
    if (sa->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        *ret = (struct target){ .family = 4, .port = ntohs(in.sin_port), .address = { [10] = 0xff, [11] = 0xff } };
        memcpy(ret->address + 12, &in.sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6 && len >= short_in6) {
        const char *bytes = (const char *)sa;
        uint16_t port;
        memcpy(&port, bytes + offsetof(struct sockaddr_in6, sin6_port), sizeof port);
        *ret = (struct target){ .family = 6, .port = ntohs(port) };
        memcpy(ret->address, bytes + offsetof(struct sockaddr_in6, sin6_addr), sizeof ret->address);
        return true;
    }
    return false;
}

bool decide_local(const struct target *t)
{
    static const uint8_t zero[16], one[16] = { [15] = 1 }, mapped_any[16] = { [10] = 0xff, [11] = 0xff };
    if (memcmp(t->address, zero, 16) == 0 || memcmp(t->address, one, 16) == 0
        || memcmp(t->address, mapped_any, 16) == 0)
        return true;
    uint32_t v4 = table_mapped(t->address);
    if (v4 == 0)
        return t->address[0] == 0xff;
    return v4 >> 24 == 127 || v4 >> 28 == 0xe || v4 == 0xffffffffu;
}

static char *put_decimal(char *at, unsigned n)
{
    if (n >= 10)
        at = put_decimal(at, n / 10);
    *at++ = (char)('0' + n % 10);
    return at;
}

void decide_text(const struct target *t, char ret[48])
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *a = t->address;
    if (table_mapped(a)) {
        for (int i = 12; i < 16; i++) {
            ret = put_decimal(ret, a[i]);
            *ret++ = '.';
        }
    } else {
        for (int i = 0; i < 16; i += 2) {
            unsigned word = (unsigned)a[i] << 8 | a[i + 1], shift = 12;
            while (shift && !(word >> shift))
                shift -= 4;
            for (; shift; shift -= 4)
                *ret++ = hex[word >> shift & 15];
            *ret++ = hex[word & 15];
            *ret++ = ':';
        }
    }
    ret[-1] = '\0';
}

static const char *next_word(const char **io_at, const char *end, size_t *ret_length)
{
    const char *at = *io_at, *word;
    while (at < end && space(*at))
        at++;
    for (word = at; at < end && !space(*at);)
        at++;
    *io_at = at;
    *ret_length = (size_t)(at - word);
    return at > word ? word : NULL;
}

bool decide_hosts_line(const char *line, size_t length, const char *name, const char *self)
{
    const char *end = memchr(line, '#', length), *at = line;
    size_t n;
    if (!end)
        end = line + length;
    const char *word = next_word(&at, end, &n);
    bool ours = word && ((n > 4 && memcmp(word, "127.", 4) == 0) || (n == 3 && memcmp(word, "::1", 3) == 0)),
         found = false;
    while (word && (word = next_word(&at, end, &n))) {
        found |= strlen(name) == n && same_text(word, name, n);
        ours |= strlen(self) == n && same_text(word, self, n);
    }
    return found && ours;
}

static bool ends_with(const char *text, size_t length, const char *end)
{
    size_t n = strlen(end);
    return length > n && memcmp(text + length - n, end, n) == 0;
}

enum bundle decide_bundle(const char *path)
{
    static const char *const whole[] = {
        "/etc/ssl/certs/ca-certificates.crt", /* Debian, Ubuntu, Alpine, Arch, Gentoo */
        "/usr/lib/ssl/cert.pem",              /* Debian's OPENSSLDIR; normally absent */
        "/etc/ssl/cert.pem",                  /* Alpine, BSD habit */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
        "/etc/pki/tls/cert.pem",
        "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem", /* openSUSE */
        "/var/lib/ca-certificates/ca-bundle.pem",
        "/usr/local/ssl/cert.pem", /* OpenSSL built from source */
    };
    static const char *const ends[] = { "/certifi/cacert.pem", "/botocore/cacert.pem", "/ssl/cacert.pem" };
    size_t n = path ? strlen(path) : 0;
    /* open() is hot: nearly every path ends here. */
    if (n < 8 || path[0] != '/')
        return BUNDLE_NONE;
    if (ends_with(path, n, "/cacerts"))
        return ends_with(path, n, "/lib/security/cacerts") || ends_with(path, n, "/java/cacerts") ? BUNDLE_JKS
                                                                                                  : BUNDLE_NONE;
    if (!ends_with(path, n, ".crt") && !ends_with(path, n, ".pem"))
        return BUNDLE_NONE;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (strcmp(path, whole[i]) == 0)
            return BUNDLE_PEM;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(path, n, ends[i]))
            return BUNDLE_PEM;
    return BUNDLE_NONE;
}

bool decide_may_be_roots(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    return n > 8 && path[0] == '/' && memcmp(path, "/etc/", 5) != 0
           && (ends_with(path, n, ".pem") || ends_with(path, n, ".crt"));
}

/* RFC 7468 §2, §5. */
bool decide_count_roots(const char *bytes, size_t size, unsigned *io_count)
{
    static const char begin[] = "-----BEGIN ", plain[] = "CERTIFICATE-----", trusted[] = "TRUSTED CERTI";
    const char *at = bytes, *end = size > DECIDE_ROOTS_OVERLAP ? bytes + size - DECIDE_ROOTS_OVERLAP : bytes;
    while (at < end && (at = memmem(at, (size_t)(bytes + size - at), begin, sizeof begin - 1)) && at < end) {
        at += sizeof begin - 1;
        if (memcmp(at, plain, sizeof plain - 1) != 0 && memcmp(at, trusted, sizeof trusted - 1) != 0)
            return false;
        ++*io_count;
    }
    return true;
}

bool decide_read_only(int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC | O_PATH | O_DIRECTORY));
}

bool decide_read_mode(const char *mode)
{
    return mode && mode[0] == 'r' && !strchr(mode, '+');
}

struct part {
    const uint8_t *at, *end;
};

/* The next part of in, whose length stands before it in so many bytes; what was cut off there is as long as it is. */
static struct part cut(struct part *in, unsigned length_bytes)
{
    size_t length = 0, left = (size_t)(in->end - in->at);
    struct part found = { in->end, in->end };
    if (left >= length_bytes) {
        for (unsigned i = 0; i < length_bytes; i++)
            length = length << 8 | in->at[i];
        left -= length_bytes;
        found.at = in->at + length_bytes;
        found.end = found.at + (length < left ? length : left);
    }
    in->at = found.end;
    return found;
}

static struct part after(struct part in, size_t bytes)
{
    in.at += (size_t)(in.end - in.at) < bytes ? (size_t)(in.end - in.at) : bytes;
    return in;
}

/* RFC 8446 §4.1.2, §4.2, §5.1; RFC 6066 §3. */
bool decide_hello(const struct policy *p, const char *bytes, size_t size, char ret_name[TABLE_TEXT])
{
    struct part left = { (const uint8_t *)bytes, (const uint8_t *)bytes + size }, record, hello, extensions;
    char host[TABLE_TEXT];
    if (size < 6 || bytes[0] != 0x16 || bytes[5] != 1 || p->names[0] == '\0')
        return false;
    left = after(left, 3); /* type, version */
    record = after(cut(&left, 2), 1);
    hello = after(cut(&record, 3), 2 + 32); /* version, random */
    (void)cut(&hello, 1);                   /* session */
    (void)cut(&hello, 2);                   /* ciphers */
    (void)cut(&hello, 1);                   /* compression */
    extensions = cut(&hello, 2);
    while (extensions.end - extensions.at > 4) {
        bool server_name = extensions.at[0] == 0 && extensions.at[1] == 0;
        extensions = after(extensions, 2);
        struct part one = cut(&extensions, 2), names = cut(&one, 2);
        if (!server_name || names.end - names.at < 4 || names.at[0] != 0)
            continue;
        names = after(names, 1);
        struct part name = cut(&names, 2);
        size_t n = (size_t)(name.end - name.at);
        if (n >= sizeof host)
            return false;
        memcpy(host, name.at, n);
        host[n] = '\0';
        return decide_name(p, host, ret_name) == NAME_OURS && !decide_proxy(p, ret_name, 0);
    }
    return false;
}

/* "host:port" or "host" (443) up to a slash, a space or the end. */
static enum ask ask_of_authority(const struct policy *p, const char *at, const char *end, char ret_name[TABLE_TEXT])
{
    char host[TABLE_TEXT + 1];
    size_t n = 0;
    uint16_t port = 443;
    while (at + n < end && at[n] != ':' && at[n] != '/' && at[n] != ' ' && n < TABLE_TEXT)
        n++;
    memcpy(host, at, n);
    host[n] = '\0';
    if (at + n < end && at[n] == ':') {
        const char *digits = at + n + 1, *stop = digits;
        while (stop < end && *stop >= '0' && *stop <= '9')
            stop++;
        port = port_of(digits, (size_t)(stop - digits));
    }
    bool ours = decide_port(p, port) && decide_name(p, host, ret_name) == NAME_OURS && !decide_proxy(p, ret_name, port);
    return ours ? ASK_OURS : ASK_NOTHING;
}

/* RFC 1928 §3, §4; RFC 1929 §2. */
static enum ask ask_of_socks(const struct policy *p, const unsigned char *b, size_t size, char ret_name[TABLE_TEXT])
{
    char host[TABLE_TEXT];
    if (size == 2u + b[1] || (b[0] == 1 && size >= 3u + b[1] && size == 3u + b[1] + b[2 + b[1]]))
        return ASK_LATER;
    if (b[0] != 5 || size < 7 || b[3] != 3 || size != 7u + b[4] || b[4] >= sizeof host)
        return ASK_NOTHING;
    memcpy(host, b + 5, b[4]);
    host[b[4]] = '\0';
    bool ours =
        decide_port(p, (uint16_t)(b[5 + b[4]] << 8 | b[6 + b[4]])) && decide_name(p, host, ret_name) == NAME_OURS;
    return ours ? ASK_OURS : ASK_NOTHING;
}

enum ask decide_ask(const struct policy *p, const char *bytes, size_t size, char ret_name[TABLE_TEXT])
{
    static const char connect[] = "CONNECT ", https[] = "https://";
    const char *end = bytes + size, *space;
    if (size < 3)
        return ASK_NOTHING;
    if (bytes[0] == 5 || bytes[0] == 1)
        return ask_of_socks(p, (const unsigned char *)bytes, size, ret_name);
    if (bytes[0] < 'A' || bytes[0] > 'Z' || !(space = memchr(bytes, ' ', size < 16 ? size : 16)))
        return ASK_NOTHING;
    if (size > sizeof connect && memcmp(bytes, connect, sizeof connect - 1) == 0)
        return ask_of_authority(p, space + 1, end, ret_name);
    if ((size_t)(end - space) > sizeof https && memcmp(space + 1, https, sizeof https - 1) == 0)
        return ask_of_authority(p, space + sizeof https, end, ret_name);
    return ASK_NOTHING;
}
