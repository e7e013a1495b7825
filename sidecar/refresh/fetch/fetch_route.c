#include "refresh/fetch/fetch_route.h"

#include <stdio.h>
#include <stdlib.h>

/* network.resolve: where host:port is, or NULL.  to: 64 bytes. */
static const char *overridden(const struct dial_options *o, const char *host, uint16_t asked, char to[static 64])
{
    for (size_t i = 0; i < o->override_count; i++) {
        const struct dial_override *row = &o->overrides[i];
        if (strcmp(row->host, host) != 0 || (row->port && row->port != asked))
            continue;
        struct address target = row->to;
        in_port_t *port = target.sa.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&target.sa)->sin6_port
                                                          : &((struct sockaddr_in *)&target.sa)->sin_port;
        if (*port == 0)
            *port = htons(asked);
        return address_text((struct sockaddr *)&target.sa, to, 64);
    }
    return NULL;
}

/* A target that is an address is judged as if it were dialled from here. */
static bool may_ask_parent(const struct fetch_route *w, const struct authority *to)
{
    char key[AUTHORITY_TEXT_MAX];
    struct address a;
    return to->kind == HOST_NAME
           || (address_parse(slice_str(authority_key(to, key)), to->port, &a) == 0
               && address_allowed(&w->options->policy, (struct sockaddr *)&a.sa));
}

int fetch_route_choose(struct fetch_route *w, const struct fetch_place *place, bool here, struct err *e)
{
    char to[64], line[512];
    struct authority target;
    /* the connection goes elsewhere, name and certificate stay */
    if (overridden(w->options, place->host, place->port, to)) {
        snprintf(line, sizeof line, "%s:%u:%s", place->host, place->port, to);
        w->connect_to = curl_slist_append(NULL, line);
        w->overridden = true;
        return w->connect_to ? 0 : err_set(e, "out of memory");
    }
    if (here || authority_parse(slice_str(place->host), SCHEME_HTTPS, 443, &target) != 0)
        return 0;
    target.port = place->port;
    w->by_parent = parent_serves(w->options->parent, &target);
    if (w->by_parent && !may_ask_parent(w, &target))
        return err_set(e, "its address is private or link-local, which is not allowed (network.allow_private)");
    return 0;
}

#define SET(option, value)                                                                                             \
    if ((code = curl_easy_setopt(easy, (option), (value))) != CURLE_OK)                                                \
    return code

static CURLcode set_login(const struct parent *p, CURL *easy)
{
    CURLcode code;
    if (!p->options->username)
        return CURLE_OK;
    SET(CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC);
    SET(CURLOPT_PROXYUSERNAME, p->options->username);
    char *password = slice_dup(secret_peek(&p->password));
    if (!password)
        return CURLE_OUT_OF_MEMORY;
    code = curl_easy_setopt(easy, CURLOPT_PROXYPASSWORD, password);
    explicit_bzero(password, p->password.len);
    free(password);
    return code;
}

CURLcode fetch_route_set(const struct fetch_route *w, CURL *easy)
{
    CURLcode code;
    const struct parent *p = w->parent;
    char at[PARENT_NAME_MAX], to[64];
    SET(CURLOPT_CONNECT_TO, w->connect_to);
    if (!w->by_parent) {
        SET(CURLOPT_PROXY, "");
        SET(CURLOPT_NOPROXY, "*");
        return CURLE_OK;
    }
    const char *elsewhere = overridden(w->options, p->at.host, p->at.port, to);
    snprintf(at, sizeof at, "%s://%s", p->kind == PARENT_SOCKS5 ? "socks5h" : "http",
             elsewhere ? elsewhere : strstr(p->name, "://") + 3);
    SET(CURLOPT_PROXY, at);
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* Date and Retry-After are the server's */
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    return set_login(p, easy);
}

void fetch_route_done(struct fetch_route *w)
{
    curl_slist_free_all(w->connect_to);
    w->connect_to = NULL;
}
