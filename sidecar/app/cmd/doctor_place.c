#include "app/cmd/doctor_place.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "app/cmd/env_table.h"
#include "base/probe_host.h"
#include "base/str.h"

#define WAIT_S 5
#define ANSWER_MAX 4096
#define DEFAULT_URL "http://127.0.0.1:8118"

struct doctor_note *doctor_place_note(struct doctor_place *p, const char *name)
{
    struct doctor_note *n = &p->notes[p->note_count < DOCTOR_NOTES_MAX ? p->note_count++ : DOCTOR_NOTES_MAX - 1];
    *n = (struct doctor_note){ .name = name };
    return n;
}

/* --- the proxy --- */

/* "http://user:password@host:port/" in its parts; login is "user:password" or empty. */
static bool take_apart(const char *url, struct slice *ret_login, struct authority *ret_at)
{
    struct slice rest = slice_str(url);
    *ret_login = (struct slice){ NULL, 0 };
    if (slice_starts(rest, SLICE("http://")))
        rest = slice_skip(rest, 7);
    rest.len = strcspn(rest.ptr, "/");
    for (size_t at; (at = slice_find(rest, '@')) < rest.len;) {
        *ret_login = slice_of(rest.ptr, at);
        rest = slice_skip(rest, at + 1);
    }
    return authority_parse(rest, SCHEME_HTTP, 0, ret_at) == 0;
}

/* A connected socket; -errno. */
static int dial(const char *host, uint16_t port)
{
    char service[8];
    struct addrinfo *list = NULL, hints = { .ai_socktype = SOCK_STREAM };
    const struct timeval wait = { .tv_sec = WAIT_S };
    int error = EHOSTUNREACH;
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0)
        return -error;
    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) {
            freeaddrinfo(list);
            return fd;
        }
        error = errno == EINPROGRESS ? ETIMEDOUT : errno;
        close(fd);
    }
    freeaddrinfo(list);
    return -error;
}

static int put_request(struct slice login, struct buf *out)
{
    int failed = buf_add_str(out, "GET http://" PROBE_HOST "/ HTTP/1.1\r\nHost: " PROBE_HOST "\r\n");
    if (!failed && login.len && !(failed = buf_add_str(out, "Proxy-Authorization: Basic "))
        && !(failed = str_add_base64(out, login)))
        failed = buf_add_str(out, "\r\n");
    return failed ? failed : buf_add_str(out, "Connection: close\r\n\r\n");
}

enum proxy_answer { PROXY_OURS, PROXY_PASSWORD, PROXY_OTHER };

static enum proxy_answer read_answer(int fd, struct slice request)
{
    char text[ANSWER_MAX + 1];
    size_t len = 0;
    if (send(fd, request.ptr, request.len, MSG_NOSIGNAL) == (ssize_t)request.len)
        for (ssize_t got; len < ANSWER_MAX && (got = recv(fd, text + len, ANSWER_MAX - len, 0)) > 0;)
            len += (size_t)got;
    text[len] = '\0';
    if (strstr(text, PROBE_MARK))
        return PROXY_OURS;
    return strncmp(text, "HTTP/1.1 407", 12) == 0 && strstr(text, "sidekey") ? PROXY_PASSWORD : PROXY_OTHER;
}

static void note_answer(struct doctor_place *p, const char *variable, const char *at, int error,
                        enum proxy_answer answer)
{
    if (!error && answer == PROXY_OURS)
        return;
    struct doctor_note *n = doctor_place_note(p, "proxy");
    if (error) {
        snprintf(n->text, sizeof n->text, "%s names %s, and nothing answers there: %s", variable, at, strerror(error));
        snprintf(n->fix, sizeof n->fix, "sidekey serve");
    } else if (answer == PROXY_PASSWORD) {
        snprintf(n->text, sizeof n->text, "%s names %s without a password that sidekey accepts there", variable, at);
    } else {
        snprintf(n->text, sizeof n->text, "%s names %s, which is not sidekey", variable, at);
        snprintf(n->fix, sizeof n->fix, "export %s=%s", variable, p->url);
    }
}

static void ask_proxy(struct doctor_place *p, const char *variable, const char *url)
{
    struct slice login;
    struct authority at;
    struct buf request;
    char text[AUTHORITY_TEXT_MAX];
    enum proxy_answer answer = PROXY_OTHER;
    p->proxy_named = true;
    if (!take_apart(url, &login, &at)) {
        struct doctor_note *n = doctor_place_note(p, "proxy");
        snprintf(n->text, sizeof n->text, "%s is not http://HOST:PORT", variable);
        snprintf(n->fix, sizeof n->fix, "export %s=%s", variable, p->url);
        return;
    }
    buf_init_secret(&request, ANSWER_MAX);
    int fd = dial(at.host, at.port), error = fd < 0 ? -fd : 0;
    if (!error && put_request(login, &request) == 0)
        answer = read_answer(fd, buf_slice(&request));
    if (fd >= 0)
        close(fd);
    buf_done(&request);
    note_answer(p, variable, authority_key(&at, text), error, answer);
    if (!error && answer == PROXY_OURS) {
        p->reached = true;
        snprintf(p->url, sizeof p->url, "\"$%s\"", variable); /* its password need not be on a screen */
    }
}

/* Each different value once. */
static void ask_proxies(struct doctor_place *p)
{
    static const char *const names[] = { "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]), *before = NULL;
        for (size_t n = 0; n < i && value; n++)
            if ((before = getenv(names[n])) && strcmp(before, value) == 0)
                break;
            else
                before = NULL;
        if (value && *value && !before)
            ask_proxy(p, names[i], value);
    }
}

/* --- the preload library --- */

static void look_at_preload(struct doctor_place *p)
{
    const char *library = getenv("LD_PRELOAD"), *port = getenv("SIDEKEY_PRELOAD_PORT");
    uint64_t number;
    p->preload = library && strstr(library, "libsidekey-preload") && port;
    if (!p->preload)
        return;
    int fd = slice_u64(slice_str(port), UINT16_MAX, &number) == 0 ? dial("127.0.0.1", (uint16_t)number) : -EINVAL;
    if (fd >= 0) {
        close(fd);
        return;
    }
    struct doctor_note *n = doctor_place_note(p, "preload");
    snprintf(n->text, sizeof n->text, "the private sidekey of this run does not answer on port %s: %s", port,
             strerror(-fd));
    snprintf(n->fix, sizeof n->fix, "sidekey run -- PROGRAM");
}

/* --- NO_PROXY --- */

static void look_at_bypass(struct doctor_place *p, const char *variable, const char *const *hosts)
{
    const char *value = getenv(variable), *host = NULL;
    char kept[1024] = "", bad[64] = "";
    size_t len = 0;
    for (struct slice rest = slice_str(value); rest.len;) {
        struct slice entry = slice_trim(slice_cut(rest, ',', &rest));
        const char *covered = entry.len ? env_table_covers(entry, hosts) : NULL;
        if (covered && !host) {
            host = covered;
            snprintf(bad, sizeof bad, "%.*s", (int)entry.len, entry.ptr);
        } else if (!covered && entry.len && len + entry.len + 2 < sizeof kept) {
            len += (size_t)snprintf(kept + len, sizeof kept - len, "%s%.*s", len ? "," : "", (int)entry.len, entry.ptr);
        }
    }
    if (!host)
        return;
    struct doctor_note *n = doctor_place_note(p, "NO_PROXY");
    snprintf(n->text, sizeof n->text, "%s has \"%s\", which leads requests for %s around sidekey", variable, bad, host);
    if (strchr(kept, '\''))
        snprintf(n->fix, sizeof n->fix, "unset %s", variable);
    else
        snprintf(n->fix, sizeof n->fix, "export %s='%s'", variable, kept);
}

/* --- where sidekey is --- */

static void find_url(struct doctor_place *p, const struct config *c)
{
    char text[64];
    const char *at =
        c->listen_proxy.len ? address_text((const struct sockaddr *)&c->listen_proxy.sa, text, sizeof text) : "";
    bool any = strncmp(at, "0.0.0.0:", 8) == 0, fixed = *at && strcmp(strrchr(at, ':'), ":0") != 0;
    if (fixed)
        snprintf(p->url, sizeof p->url, "http://%s%s", any ? "127.0.0.1" : "", any ? strrchr(at, ':') : at);
    else
        snprintf(p->url, sizeof p->url, DEFAULT_URL);
}

/* The directory of the file that variable names, when that file has this name and can be read. */
static bool directory_of(const char *variable, const char *name, char path[PATH_MAX])
{
    const char *value = getenv(variable), *slash = value ? strrchr(value, '/') : NULL;
    if (!slash || slash == value || strcmp(slash + 1, name) != 0 || access(value, R_OK) != 0)
        return false;
    snprintf(path, PATH_MAX, "%.*s", (int)(slash - value), value);
    return true;
}

static void find_ca(struct doctor_place *p, const struct config *c)
{
    static const struct {
        const char *variable, *name;
    } places[] = {
        { "SIDEKEY_PRELOAD_CA", "bundle.pem" }, { "SSL_CERT_FILE", "bundle.pem" },  { "NODE_EXTRA_CA_CERTS", "ca.pem" },
        { "CURL_CA_BUNDLE", "bundle.pem" },     { "GIT_SSL_CAINFO", "bundle.pem" },
    };
    snprintf(p->ca_dir, sizeof p->ca_dir, "%s", c->ca_publish);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (directory_of(places[i].variable, places[i].name, p->ca_dir))
            return;
}

void doctor_place_look(struct doctor_place *p, const struct config *c)
{
    static const char *const probe[] = { PROBE_HOST, NULL };
    *p = (struct doctor_place){ .note_count = 0 };
    find_url(p, c);
    find_ca(p, c);
    ask_proxies(p);
    look_at_preload(p);
    if (p->preload || !p->proxy_named)
        return; /* the library takes those requests too */
    const char *const *hosts = c->rule_count ? (const char *const *)c->permit_hosts : probe;
    look_at_bypass(p, "no_proxy", hosts);
    look_at_bypass(p, "NO_PROXY", hosts);
}

void doctor_place_no_way(struct doctor_place *p)
{
    if (p->proxy_named || p->preload)
        return;
    struct doctor_note *n = doctor_place_note(p, "environment");
    snprintf(n->text, sizeof n->text, "no variable names a proxy here, and the preload library is not loaded either");
    snprintf(n->fix, sizeof n->fix, "eval \"$(sidekey env)\"");
}
