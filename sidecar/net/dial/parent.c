#include "net/dial/parent.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/address.h"

static const struct {
    const char *prefix;
    enum parent_kind kind;
    const char *wrong; /* what to say instead of taking it */
} schemes[] = {
    { "http://", PARENT_CONNECT, NULL },
    { "socks5h://", PARENT_SOCKS5, NULL },
    { "socks5://", PARENT_NONE,
      "would look names up on this machine: did you mean socks5h://, where the proxy does it?" },
    { "socks://", PARENT_NONE, "does not say which version of SOCKS: did you mean socks5h://?" },
    { "socks4://", PARENT_NONE, "is a SOCKS version without names and login: did you mean socks5h://?" },
    { "socks4a://", PARENT_NONE, "is a SOCKS version without login: did you mean socks5h://?" },
    { "https://", PARENT_NONE,
      "TLS to the parent proxy itself is not supported: did you mean http://? (HTTPS requests stay encrypted inside "
      "it)" },
};

const char *parent_parse(struct slice url, enum parent_kind *ret_kind, struct authority *ret_at)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        struct slice prefix = slice_str(schemes[i].prefix), rest = slice_skip(url, prefix.len);
        if (url.len < prefix.len || !slice_ieq(slice_of(url.ptr, prefix.len), prefix))
            continue;
        if (schemes[i].wrong)
            return schemes[i].wrong;
        if (slice_find(rest, '@') < rest.len)
            return "a login must not be in the url: write it under username and password";
        if (rest.len && rest.ptr[rest.len - 1] == '/')
            rest.len--;
        if (authority_parse(rest, SCHEME_HTTP, 0, ret_at) != 0)
            return "not a proxy: write http://host:port or socks5h://host:port, with the port and without a path";
        *ret_kind = schemes[i].kind;
        return NULL;
    }
    return "not a proxy: write http://host:port or socks5h://host:port";
}

const char *parent_check_bypass(char **io_text)
{
    static const char wrong[] = "not a host: write a name, .suffix for every name below it, an IP address, a "
                                "network like 10.0.0.0/8, or *";
    const char *text = *io_text;
    struct address network;
    struct authority a;
    char in_brackets[AUTHORITY_TEXT_MAX], *normal = NULL;
    bool below = *text == '.', naked_v6 = *text != '[' && strchr(text, ':') != strrchr(text, ':');
    if (strcmp(text, "*") == 0)
        return NULL;
    if (strncmp(text, "*.", 2) == 0)
        return "a star is only allowed alone: write .suffix for every name below it";
    if (strchr(text, '/'))
        return address_parse_network(slice_str(text), &network) == 0 ? NULL : wrong;
    if (!naked_v6 && *text != '[' && strchr(text, ':'))
        return "a host is written without a port here";
    snprintf(in_brackets, sizeof in_brackets, naked_v6 ? "[%.200s]" : "%.253s", text + below);
    if (strlen(text) > AUTHORITY_HOST_MAX || authority_parse(slice_str(in_brackets), SCHEME_HTTPS, 443, &a) != 0
        || (*text == '[' && text[strlen(text) - 1] != ']') || (below && a.kind != HOST_NAME))
        return wrong;
    if (asprintf(&normal, "%s%s", below ? "." : "", a.host) < 0)
        return "out of memory";
    free(*io_text);
    *io_text = normal;
    return NULL;
}

int parent_init(struct parent *p, const struct parent_options *options, struct err *e)
{
    char key[AUTHORITY_TEXT_MAX];
    *p = (struct parent){ .kind = PARENT_NONE };
    if (!options || !options->url)
        return 0;
    const char *wrong = parent_parse(slice_str(options->url), &p->kind, &p->at);
    p->options = options;
    if (wrong)
        err_set(e, "%s", wrong);
    else if (options->username && options->password.kind != SECRET_REF_NONE
             && secret_ref_read(&options->password, &p->password, e) != 0)
        wrong = "";
    else if (p->password.len > PARENT_LOGIN_MAX && p->kind == PARENT_SOCKS5) {
        wrong = "a SOCKS5 password has at most 255 bytes";
        err_set(e, "%s", wrong);
    }
    if (wrong) {
        parent_done(p);
        return err_wrap(e, "network.parent_proxy: ");
    }
    snprintf(p->name, sizeof p->name, "%s://%s", p->kind == PARENT_SOCKS5 ? "socks5h" : "http",
             authority_key(&p->at, key));
    return 0;
}

void parent_done(struct parent *p)
{
    secret_done(&p->password);
    *p = (struct parent){ .kind = PARENT_NONE };
}

static bool ends_with(const char *host, const char *suffix)
{
    size_t a = strlen(host), b = strlen(suffix);
    return a > b && strcmp(host + a - b, suffix) == 0;
}

/* One entry; at: the target's address when it is a literal, else NULL. */
static bool names(const char *entry, const struct authority *to, const struct sockaddr *at)
{
    struct address network;
    if (strcmp(entry, "*") == 0)
        return true;
    if (at)
        return address_parse_network(slice_str(entry), &network) == 0 && address_within(&network, at);
    return *entry == '.' ? ends_with(to->host, entry) : strcmp(to->host, entry) == 0;
}

bool parent_serves(const struct parent_options *options, const struct authority *to)
{
    char key[AUTHORITY_TEXT_MAX];
    struct address address;
    const struct sockaddr *at = NULL;
    if (!options || !options->url)
        return false;
    if (to->kind != HOST_NAME && address_parse(slice_str(authority_key(to, key)), 0, &address) == 0)
        at = (const struct sockaddr *)&address.sa;
    if (address_names_loopback(slice_str(to->host)))
        return false;
    for (char **entry = options->no_proxy; entry && *entry; entry++)
        if (names(*entry, to, at))
            return false;
    return true;
}
