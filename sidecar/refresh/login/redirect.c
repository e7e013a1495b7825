#include "refresh/login/redirect.h"

#include "base/buf.h"
#include "http/authority.h"
#include "net/listen.h"
#include "net/timer.h"
#include "refresh/login/redirect_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16                /* a browser opens some in advance, and says nothing on them */
#define HEAD_MAX (REDIRECT_QUERY_MAX * 2) /* cookies of other programs on 127.0.0.1 are in it too */
#define HEAD_MS 10000

struct peer {
    struct list node;
    struct redirect *redirect;
    int fd;
    ev_io io;
    struct timer deadline;
    struct buf head;
};

struct redirect {
    int fd;
    struct listener *listener;
    struct list peers;
    size_t peer_count;
    bool taken;
    char host[AUTHORITY_TEXT_MAX]; /* as Host says it */
    struct slice path;             /* in url */
    char *url;
    redirect_fn *fn;
    void *arg;
};

static void peer_free(struct peer *p)
{
    list_remove(&p->node);
    p->redirect->peer_count--;
    ev_io_stop(loop_get(), &p->io);
    timer_stop(&p->deadline);
    buf_done(&p->head);
    close(p->fd);
    free(p);
}

static void on_late(void *arg)
{
    peer_free(arg);
}

/* ---- the answer ---- */

struct page {
    const char *status, *title, *text;
};

/* Nothing of the request is in it. */
static void answer(struct peer *p, const struct page *page)
{
    static const char format[] = "HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
                                 "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
                                 "Content-Security-Policy: default-src 'none'\r\nX-Content-Type-Options: nosniff\r\n"
                                 "Connection: close\r\n\r\n%s";
    char body[1024], all[2048];
    int len = snprintf(body, sizeof body, "<!doctype html><title>sidekey</title><h1>%s</h1><p>%s</p>\n", page->title,
                       page->text);
    len = snprintf(all, sizeof all, format, page->status, (size_t)len, body);
    (void)!send(p->fd, all, (size_t)len, MSG_NOSIGNAL); /* it fits into the socket's buffer */
    shutdown(p->fd, SHUT_WR);
    peer_free(p);
}

/* ---- the request ---- */

static struct slice cut_line(struct slice *rest)
{
    struct slice line = slice_cut(*rest, '\n', rest);
    if (line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* Another name that leads here is another site's (DNS rebinding). */
static bool is_our_host(const struct redirect *r, struct slice fields)
{
    unsigned hosts = 0;
    bool ours = false;
    while (fields.len) {
        struct slice value, name = slice_cut(cut_line(&fields), ':', &value);
        if (!slice_ieq(name, SLICE("host")))
            continue;
        hosts++;
        ours = slice_ieq(slice_trim(value), slice_str(r->host));
    }
    return ours && hosts == 1;
}

static struct page judge(struct redirect *r, struct slice head)
{
    struct slice fields = head, version, line = cut_line(&fields), target;
    struct slice method = slice_cut(line, ' ', &target);
    target = slice_cut(target, ' ', &version);
    struct slice rest, path = slice_cut(target, '?', &rest);
    if (!slice_starts(version, SLICE("HTTP/1.")) || !is_our_host(r, fields))
        return (struct page){ "400 Bad Request", "Bad request", "This is not a request for sidekey." };
    if (!slice_eq(path, r->path))
        return (struct page){ "404 Not Found", "Not found", "There is nothing here." };
    if (!slice_eq(method, SLICE("GET")))
        return (struct page){ "405 Method Not Allowed", "Method not allowed", "Only GET is supported." };
    if (r->taken)
        return (struct page){ "410 Gone", "Used already", "This sign-in was completed before." };
    const char *wrong = r->fn(r->arg, redirect_query_of(target));
    if (wrong)
        return (struct page){ "400 Bad Request", "Not signed in", wrong };
    r->taken = true;
    return (struct page){ "200 OK", "Received", "Return to the terminal. You can close this window." };
}

static void stop_listening(struct redirect *r)
{
    listener_free(r->listener);
    r->listener = NULL;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
    struct peer *p = io->data;
    (void)loop;
    (void)revents;
    size_t room = buf_space(&p->head) < 4096 ? buf_space(&p->head) : 4096;
    char *at = room ? buf_reserve(&p->head, room) : NULL;
    ssize_t got = at ? recv(p->fd, at, room, MSG_DONTWAIT) : -1;
    if (got <= 0) {
        peer_free(p);
        return;
    }
    buf_grow(&p->head, (size_t)got);
    struct slice head = buf_slice(&p->head);
    const char *end = memmem(head.ptr, head.len, "\r\n\r\n", 4);
    if (!end)
        return;
    struct redirect *r = p->redirect;
    const struct page page = judge(r, slice_of(head.ptr, (size_t)(end - head.ptr)));
    answer(p, &page);
    if (r->taken)
        stop_listening(r);
}

static void on_accept(void *arg, int fd, const struct sockaddr *peer)
{
    struct redirect *r = arg;
    struct peer *p = calloc(1, sizeof *p);
    (void)peer;
    if (r->peer_count == CONNECTIONS_MAX)
        peer_free(LIST_ENTRY(r->peers.next, struct peer, node)); /* the oldest */
    if (!p) {
        close(fd);
        return;
    }
    *p = (struct peer){ .redirect = r, .fd = fd };
    list_init(&p->node);
    list_push(&r->peers, &p->node);
    r->peer_count++;
    buf_init_secret(&p->head, HEAD_MAX);
    timer_init(&p->deadline, on_late, p);
    timer_set(&p->deadline, HEAD_MS);
    ev_io_init(&p->io, on_readable, fd, EV_READ);
    p->io.data = p;
    ev_io_start(loop_get(), &p->io);
}

/* ---- life ---- */

static int listen_at(struct redirect *r, uint16_t port, uint16_t *ret_port, struct err *e)
{
    struct address at;
    if (address_parse(SLICE("127.0.0.1"), port, &at) != 0)
        return err_set(e, "bad address");
    if ((r->fd = listen_open(&at, false, e)) < 0)
        return err_wrap(e, "cannot listen for the browser: ");
    *ret_port = ntohs(((const struct sockaddr_in *)(const void *)&at.sa)->sin_port);
    r->listener = listener_new(r->fd, on_accept, r);
    return r->listener ? 0 : err_set(e, "out of memory");
}

static int open_at(struct redirect *r, const char *url, struct err *e)
{
    struct authority a;
    struct slice path, text = slice_str(url), rest = slice_skip(text, sizeof "http://" - 1);
    if (authority_parse_uri(text, &a, &path) != 0 || !address_names_loopback(slice_str(a.host)))
        return err_set(e, "redirect_url: must be http on this machine");
    struct slice written = slice_of(rest.ptr, slice_find(rest, '/'));
    bool has_port = memchr(written.ptr, ':', written.len); /* IPv6 is not listened on */
    uint16_t port = has_port ? a.port : 0;
    if (listen_at(r, port, &port, e) != 0)
        return -1;
    a.port = port;
    authority_text(&a, r->host);
    if (asprintf(&r->url, "http://%s%.*s", r->host, (int)path.len, path.ptr) < 0) {
        r->url = NULL;
        return err_set(e, "out of memory");
    }
    r->path = slice_skip(slice_str(r->url), sizeof "http://" - 1 + strlen(r->host));
    return 0;
}

struct redirect *redirect_open(const char *url, redirect_fn *fn, void *arg, struct err *e)
{
    struct redirect *r = calloc(1, sizeof *r);
    if (!r) {
        err_set(e, "out of memory");
        return NULL;
    }
    *r = (struct redirect){ .fd = -1, .fn = fn, .arg = arg };
    list_init(&r->peers);
    if (open_at(r, url, e) == 0)
        return r;
    redirect_close(r);
    return NULL;
}

const char *redirect_url(const struct redirect *r)
{
    return r->url;
}

void redirect_close(struct redirect *r)
{
    if (!r)
        return;
    stop_listening(r);
    while (!list_empty(&r->peers))
        peer_free(LIST_ENTRY(r->peers.next, struct peer, node));
    free(r->url);
    free(r);
}
