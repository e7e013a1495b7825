#include "app/supervisor_handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/notify.h"
#include "base/json_safe.h"

#define TEXT_MAX_BYTES (1024 * 1024) /* a child has some 150 bytes; at most 65 of a set, and few old sets */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* --- writing --- */

static json_t *numbers(const int *fds, unsigned count)
{
    json_t *list = json_array();
    for (unsigned i = 0; list && i < count; i++)
        if (json_array_append_new(list, json_integer(fds[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *local_json(const struct listen_unix *u)
{
    return json_pack("{s:i, s:s, s:I, s:I, s:b, s:b}", "fd", u->fd, "path", u->path, "device", (json_int_t)u->device,
                     "inode", (json_int_t)u->inode, "has_group", u->has_group, "inherited", u->inherited);
}

static json_t *listeners_json(const struct listeners *l)
{
    return json_pack("{s:i, s:b, s:i, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:s, s:s, s:s}", "workers", (int)l->workers,
                     "inherited", l->inherited, "proxy_port", (int)l->proxy_port, "proxy",
                     numbers(l->proxy, l->workers), "gateway", numbers(l->gateway, l->workers), "redirected",
                     numbers(l->redirected, l->workers), "admin", l->admin, "local", local_json(&l->local),
                     "admin_local", local_json(&l->admin_local), "login", local_json(&l->login), "proxy_text",
                     l->proxy_text, "admin_text", l->admin_text, "gateway_text", l->gateway_text);
}

static json_t *askers_json(const struct supervisor *s, const struct child *c)
{
    json_t *tags = json_array();
    for (unsigned i = 0; tags && i < s->asker_count; i++)
        if (s->askers[i].child == c)
            (void)json_array_append_new(tags, json_integer((json_int_t)s->askers[i].tag));
    return tags;
}

static json_t *child_json(const struct supervisor *s, const struct child *c)
{
    return json_pack("{s:b, s:i, s:i, s:i, s:i, s:i, s:b, s:I, s:o}", "keeper", c->role == ROLE_KEEPER, "slot",
                     (int)c->slot, "set", (int)c->set, "pid", (int)c->pid, "ipc", c->ipc ? ipc_fd(c->ipc) : -1,
                     "counters", c->counters.fd, "draining", c->retired && !c->held, "overdue_ms",
                     (json_int_t)c->overdue_ms, "askers", askers_json(s, c));
}

static json_t *children_json(const struct supervisor *s)
{
    json_t *list = json_array();
    int failed = list ? 0 : -1;
    for (struct list *n = s->retired.next; n != &s->retired && !failed; n = n->next)
        failed = json_array_append_new(list, child_json(s, LIST_ENTRY(n, struct child, node)));
    for (unsigned i = 0; i <= s->worker_count && !failed; i++)
        failed = json_array_append_new(list, child_json(s, supervisor_child(s, i)));
    if (!failed)
        return list;
    json_decref(list);
    return NULL;
}

static int text_memfd(const char *text)
{
    size_t len = strlen(text);
    int fd = memfd_create("sidekey-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (write(fd, text, len) == (ssize_t)len && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
        return fd;
    close(fd);
    return -ENOMEM;
}

int supervisor_handover_write(const struct supervisor *s)
{
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:o, s:o}", "layout", HANDOVER_LAYOUT, "version",
                  SIDEKEY_VERSION, "program", s->upgrade.program, "set", (int)s->set, "ca", s->ca_memfd, "counters",
                  s->counters.fd, "notify", notify_fd(), "watchdog_ms", (json_int_t)notify_watchdog_ms(), "listeners",
                  listeners_json(&s->listeners), "children", children_json(s));
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    int fd = text ? text_memfd(text) : -ENOMEM;
    free(text);
    json_decref(root);
    return fd;
}

static void keep_one(int fd, bool open)
{
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, open ? 0 : FD_CLOEXEC);
}

static void keep_child(const struct child *c, bool open)
{
    keep_one(c->ipc ? ipc_fd(c->ipc) : -1, open);
    keep_one(c->counters.fd, open);
}

void supervisor_handover_keep_open(const struct supervisor *s, bool open)
{
    const struct listeners *l = &s->listeners;
    for (unsigned i = 0; i < l->workers; i++) {
        keep_one(l->proxy[i], open);
        keep_one(l->gateway[i], open);
        keep_one(l->redirected[i], open);
    }
    keep_one(l->admin, open);
    keep_one(l->local.fd, open);
    keep_one(l->admin_local.fd, open);
    keep_one(l->login.fd, open);
    keep_one(s->ca_memfd, open);
    keep_one(s->counters.fd, open);
    keep_one(notify_fd(), open);
    for (unsigned i = 0; i <= s->worker_count; i++)
        keep_child(supervisor_child(s, i), open);
    for (struct list *n = s->retired.next; n != &s->retired; n = n->next)
        keep_child(LIST_ENTRY(n, struct child, node), open);
}

/* --- reading: the text is ours or another version's of us, not a stranger's; what is missing is -1, 0 or "" --- */

static int fd_of(const json_t *value)
{
    json_int_t fd = json_is_integer(value) ? json_integer_value(value) : -1;
    if (fd < 3 || fd > INT_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
        return -1;
    return (int)fd;
}

static int fd_at(const json_t *from, const char *key)
{
    return fd_of(json_object_get(from, key));
}

static int64_t number_at(const json_t *from, const char *key)
{
    return json_integer_value(json_object_get(from, key));
}

static void text_at(const json_t *from, const char *key, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(from, key));
    snprintf(ret, size, "%s", text ? text : "");
}

static void read_fds(const json_t *from, const char *key, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fds[i] = fd_of(json_array_get(json_object_get(from, key), i));
}

static void read_local(const json_t *from, struct listen_unix *ret)
{
    *ret = (struct listen_unix){ .fd = fd_at(from, "fd"),
                                 .device = (dev_t)number_at(from, "device"),
                                 .inode = (ino_t)number_at(from, "inode"),
                                 .has_group = json_is_true(json_object_get(from, "has_group")),
                                 .inherited = json_is_true(json_object_get(from, "inherited")) };
    text_at(from, "path", ret->path, sizeof ret->path);
}

static int read_listeners(const json_t *from, struct listeners *l, struct err *e)
{
    int64_t workers = number_at(from, "workers");
    if (workers < 1 || workers > LISTENERS_WORKERS_MAX)
        return err_set(e, "the state of the previous version has no listeners");
    listeners_init(l, (unsigned)workers);
    l->inherited = json_is_true(json_object_get(from, "inherited"));
    l->proxy_port = (uint16_t)number_at(from, "proxy_port");
    read_fds(from, "proxy", l->proxy, l->workers);
    read_fds(from, "gateway", l->gateway, l->workers);
    read_fds(from, "redirected", l->redirected, l->workers);
    l->admin = fd_at(from, "admin");
    read_local(json_object_get(from, "local"), &l->local);
    read_local(json_object_get(from, "admin_local"), &l->admin_local);
    read_local(json_object_get(from, "login"), &l->login);
    text_at(from, "proxy_text", l->proxy_text, sizeof l->proxy_text);
    text_at(from, "admin_text", l->admin_text, sizeof l->admin_text);
    text_at(from, "gateway_text", l->gateway_text, sizeof l->gateway_text);
    return 0;
}

static void read_askers(const json_t *from, struct supervisor *s, struct child *c)
{
    const json_t *tags = json_object_get(from, "askers");
    for (size_t i = 0; i < json_array_size(tags) && s->asker_count < RELOAD_ASKERS_MAX; i++) {
        s->askers[s->asker_count].child = c;
        s->askers[s->asker_count++].tag = (uint64_t)json_integer_value(json_array_get(tags, i));
    }
}

static int read_child(const json_t *from, struct supervisor *s, struct err *e)
{
    enum role role = json_is_true(json_object_get(from, "keeper")) ? ROLE_KEEPER : ROLE_WORKER;
    struct child *c = child_adopt(s, role, (unsigned)number_at(from, "slot"), fd_at(from, "counters"));
    if (!c)
        return err_set(e, "out of memory");
    int ipc = fd_at(from, "ipc");
    c->set = (unsigned)number_at(from, "set");
    c->pid = (pid_t)number_at(from, "pid");
    c->held = !json_is_true(json_object_get(from, "draining"));
    if (ipc >= 0 && child_connect(c, ipc) != 0)
        return err_set(e, "out of memory");
    if (c->pid <= 0) {
        supervisor_metrics_keep(s, c);
        child_free(c);
        return 0;
    }
    list_push(&s->retired, &c->node);
    read_askers(from, s, c);
    child_overdue_at(c, number_at(from, "overdue_ms"));
    return 0;
}

static int restore(const json_t *root, struct supervisor *s, struct err *e)
{
    int counters = fd_at(root, "counters");
    const json_t *children = json_object_get(root, "children");
    notify_adopt(fd_at(root, "notify"), number_at(root, "watchdog_ms"));
    text_at(root, "program", s->upgrade.program, sizeof s->upgrade.program);
    s->ca_memfd = fd_at(root, "ca");
    s->set = (unsigned)number_at(root, "set") + 1;
    if (read_listeners(json_object_get(root, "listeners"), &s->listeners, e) != 0)
        return -1;
    s->worker_count = s->listeners.workers;
    if (counters >= 0 && metrics_area_adopt(&s->counters, counters) != 0)
        s->counters = (struct metrics_area){ .fd = -1 }; /* they begin at 0, as after a restart */
    if (supervisor_metrics_open(s) != 0)
        return err_set(e, "out of memory");
    for (size_t i = 0; i < json_array_size(children); i++)
        if (read_child(json_array_get(children, i), s, e) != 0)
            return -1;
    return 0;
}

/* The text, when it is of our layout; the caller frees it.  NULL with e. */
static json_t *load(int fd, struct err *e)
{
    struct buf text;
    buf_init(&text, TEXT_MAX_BYTES);
    char *at = buf_reserve(&text, TEXT_MAX_BYTES);
    ssize_t got = at ? pread(fd, at, TEXT_MAX_BYTES, 0) : -1;
    if (got > 0)
        buf_grow(&text, (size_t)got);
    json_t *root = got > 0 ? json_safe_load(buf_slice(&text), 0, NULL) : NULL;
    buf_done(&text);
    if (number_at(root, "layout") == HANDOVER_LAYOUT)
        return root;
    char version[32];
    text_at(root, "version", version, sizeof version);
    json_decref(root);
    err_set(e, "version " SIDEKEY_VERSION " cannot take over from version %s: restart sidekey",
            *version ? version : "(unknown)");
    return NULL;
}

int supervisor_handover_check(int fd, struct err *e)
{
    json_t *root = load(fd, e);
    json_decref(root);
    return root ? 0 : -1;
}

int supervisor_handover_read(int fd, struct supervisor *s, char ret_before[32], struct err *e)
{
    json_t *root = load(fd, e);
    int failed = root ? restore(root, s, e) : -1;
    text_at(root, "version", ret_before, 32);
    json_decref(root);
    return failed;
}
