#include "refresh/fetch/fetch_url.h"

#include "net/address.h"
#include "refresh/fetch/fetch_curl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool names_metadata(const char *host)
{
    struct address at;
    if (strcmp(host, "metadata.google.internal") == 0)
        return true;
    if (address_parse(slice_str(host), 1, &at) != 0)
        return false;
    enum address_class found = address_class_of((struct sockaddr *)&at.sa);
    return found == ADDRESS_METADATA || found == ADDRESS_LINK_LOCAL;
}

static void lower(char *host)
{
    for (char *c = host; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
}

static int copy_part(CURLU *u, CURLUPart part, unsigned flags, char *text, size_t size)
{
    char *value = NULL;
    int failed = curl_url_get(u, part, &value, flags) != CURLUE_OK || strlen(value) >= size;
    if (!failed)
        strcpy(text, value);
    curl_free(value);
    return failed;
}

int fetch_url_read(const char *url, bool metadata, struct fetch_place *ret)
{
    char port[8] = "", user[8];
    struct fetch_place p = { .port = 0 };
    CURLU *u = fetch_curl_load(NULL) == 0 ? curl_url() : NULL;
    if (!u)
        return -ENOMEM;
    int failed = curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK
                 || copy_part(u, CURLUPART_SCHEME, 0, p.scheme, sizeof p.scheme)
                 || copy_part(u, CURLUPART_HOST, 0, p.host, sizeof p.host)
                 || copy_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port)
                 || copy_part(u, CURLUPART_USER, 0, user, sizeof user) == 0;
    curl_url_cleanup(u);
    lower(p.host);
    p.port = (uint16_t)strtoul(port, NULL, 10);
    p.loopback = address_names_loopback(slice_str(p.host));
    bool plain = strcmp(p.scheme, "http") == 0 && (p.loopback || (metadata && names_metadata(p.host)));
    if (failed || p.port == 0 || (strcmp(p.scheme, "https") != 0 && !plain))
        return -EINVAL;
    *ret = p;
    return 0;
}

int fetch_url_host(const char *url, char *text, size_t size)
{
    struct fetch_place p;
    int failed = url ? fetch_url_read(url, false, &p) : -EINVAL;
    if (failed)
        return failed;
    snprintf(text, size, "%s:%u", p.host, p.port);
    return 0;
}

/* 0; -EINVAL, -ENOMEM. */
static int name_of(const char *url, const char *location, char *text, size_t size)
{
    char scheme[8] = "", host[256] = "", port[8] = "";
    CURLU *u = fetch_curl_load(NULL) == 0 ? curl_url() : NULL;
    if (!u)
        return -ENOMEM;
    int failed = curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK
                 || curl_url_set(u, CURLUPART_URL, location, CURLU_URLENCODE) != CURLUE_OK
                 || copy_part(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme)
                 || copy_part(u, CURLUPART_HOST, 0, host, sizeof host)
                 || copy_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof port);
    curl_url_cleanup(u);
    lower(host);
    for (const char *c = host; *c; c++)
        failed |= *c <= ' ' || *c > '~' || *c == '"';
    if (failed || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        || snprintf(text, size, "%s:%s", host, port) >= (int)size)
        return -EINVAL;
    return 0;
}

const char *fetch_url_redirect(const char *url, struct slice location, char *text, size_t size)
{
    char *to = location.len ? slice_dup(location) : NULL;
    bool leads = to && name_of(url, to, text, size) == 0;
    free(to);
    return leads ? text : NULL;
}

/* The part that is there, behind its mark.  0; -ENOMEM, -ENOBUFS. */
static int add_part(CURLU *u, CURLUPart part, const char *mark, struct buf *to)
{
    char *value = NULL;
    int failed = 0;
    CURLUcode code = curl_url_get(u, part, &value, CURLU_NO_DEFAULT_PORT);
    if (code == CURLUE_OK)
        failed = buf_printf(to, "%s%s", mark, value);
    else if (code == CURLUE_OUT_OF_MEMORY)
        failed = -ENOMEM;
    curl_free(value);
    return failed;
}

int fetch_url_target(const char *url, struct buf *path, struct buf *host)
{
    CURLU *u = fetch_curl_load(NULL) == 0 ? curl_url() : NULL;
    if (!u)
        return -ENOMEM;
    int failed = curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) == CURLUE_OK ? 0 : -EINVAL;
    if (failed == 0)
        failed = add_part(u, CURLUPART_PATH, "", path);
    if (failed == 0)
        failed = add_part(u, CURLUPART_QUERY, "?", path);
    if (failed == 0)
        failed = add_part(u, CURLUPART_HOST, "", host);
    if (failed == 0)
        failed = add_part(u, CURLUPART_PORT, ":", host);
    curl_url_cleanup(u);
    return failed;
}
