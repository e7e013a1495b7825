#include "app/listeners.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

#include "app/config/config_file.h"
#include "app/inherited.h"
#include "base/log.h"
#include "net/listen.h"
#include "refresh/login/login_message.h"
#include "refresh/store/state_dir.h"

static uint16_t port_of(const struct address *a)
{
    return ntohs(((const struct sockaddr_in *)(const void *)&a->sa)->sin_port); /* at the same place in sockaddr_in6 */
}

static int open_transparent(struct listeners *listeners, struct err *e)
{
    struct address any;
    if (address_parse(SLICE("0.0.0.0"), listeners->transparent_port, &any) != 0)
        return err_set(e, "transparent listener: bad address");
    int fd = listen_open(&any, listeners->workers > 1, e);
    /* Tokens are addresses in 127/8: only the loopback interface may bring them. */
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) != 0) {
        int number = errno;
        close(fd);
        return err_set(e, "transparent listener: cannot bind it to the loopback interface: %s", strerror(number));
    }
    if (fd >= 0)
        listeners->transparent_port = port_of(&any);
    return fd;
}

/* One listener of systemd's is every worker's. */
static bool inherit_proxy(struct listeners *listeners, struct address *at)
{
    int fd = inherited_tcp("proxy", at);
    for (unsigned i = 0; fd >= 0 && i < listeners->workers; i++)
        listeners->proxy[i] = i ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : fd;
    listeners->inherited = listeners->inherited || fd >= 0;
    return fd >= 0;
}

static int open_proxy(struct listeners *listeners, struct address *at, struct err *e)
{
    bool inherited = inherit_proxy(listeners, at);
    if (at->len == 0)
        return 0;
    for (unsigned i = 0; i < listeners->workers && !inherited; i++)
        if ((listeners->proxy[i] = listen_open(at, listeners->workers > 1, e)) < 0)
            return err_wrap(e, "listen.proxy: ");
    address_text((struct sockaddr *)&at->sa, listeners->proxy_text, sizeof listeners->proxy_text);
    listeners->proxy_port = port_of(at);
    return 0;
}

/* Like one that we had opened, but for its name. */
static void inherit_unix(struct listeners *listeners, const char *name, const struct listen_place *place,
                         struct listen_unix *at)
{
    int fd = inherited_unix(name, place->path);
    if (fd < 0)
        return;
    *at = (struct listen_unix){ .fd = fd, .inherited = true };
    snprintf(at->path, sizeof at->path, "%s", place->path ? place->path : "");
    listeners->inherited = true;
}

static int open_gateway(struct listeners *listeners, struct address *at, struct err *e)
{
    for (unsigned i = 0; at->len && i < listeners->workers; i++)
        if ((listeners->gateway[i] = listen_open(at, listeners->workers > 1, e)) < 0)
            return err_wrap(e, "listen.gateway: ");
    if (at->len)
        address_text((struct sockaddr *)&at->sa, listeners->gateway_text, sizeof listeners->gateway_text);
    return 0;
}

/* moved: set when workers must be given another socket. */
static int open_redirected(struct listeners *listeners, struct address *at, struct err *e)
{
    for (unsigned i = 0; at->len && i < listeners->workers; i++)
        if ((listeners->redirected[i] = listen_open(at, listeners->workers > 1, e)) < 0)
            return err_wrap(e, "listen.transparent: ");
    return 0;
}

static int move(struct listen_unix *at, const struct listen_place *to, bool *moved, struct err *e)
{
    struct listen_unix next = { .fd = -1 };
    if (at->inherited)
        return 0; /* where it is says the socket unit */
    if (to->path && strcmp(to->path, at->path) == 0 && listen_unix_stands(at))
        return listen_unix_permit(at, to, e);
    if (to->path && listen_unix_open(to, &next, e) != 0)
        return -1;
    *moved = *moved || at->fd >= 0 || next.fd >= 0;
    listen_unix_remove(at);
    *at = next;
    return 0;
}

/* The state directory may not be there yet, and in a volume it is one of ours inside (path).  What is wrong with it is
 * for the keeper to say. */
static void find_state_dir(const struct config *c, struct listen_place *to, char path[PATH_MAX])
{
    struct state_dir dir;
    struct err e;
    size_t len = strlen(c->store_file);
    if (strncmp(to->path, c->store_file, len) != 0 || strcmp(to->path + len, "/" CONFIG_ADMIN_SOCKET) != 0)
        return; /* in $RUNTIME_DIRECTORY */
    to->path = NULL;
    if (state_dir_open(&dir, c->store_file, &e) != 0)
        return;
    if (snprintf(path, PATH_MAX, "%s/" CONFIG_ADMIN_SOCKET, dir.path) < PATH_MAX)
        to->path = path;
    state_dir_close(&dir);
}

static int move_admin(struct listeners *listeners, const struct config *c, struct err *e)
{
    char path[PATH_MAX];
    struct listen_place to = config_admin_socket(c);
    if (c->admin_socket_default)
        find_state_dir(c, &to, path);
    if (move(&listeners->admin_local, &to, &listeners->moved, e) == 0)
        return 0;
    if (!c->admin_socket_default)
        return err_wrap(e, "listen.admin_socket: ");
    log_info(log_msg("no admin socket: operator commands use listen.admin instead"), log_str("reason", e->text));
    return 0;
}

/* Its name is gone or somebody else's, and there is a directory to make it again in. */
static bool is_lost(const struct listen_unix *u)
{
    char folder[sizeof u->path];
    if (u->fd < 0 || listen_unix_stands(u))
        return false;
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(u->path, '/') - u->path) + 1, u->path);
    return access(u->path, F_OK) != 0 && access(folder, W_OK | X_OK) == 0;
}

bool listeners_lost(const struct listeners *listeners)
{
    return is_lost(&listeners->local) || is_lost(&listeners->admin_local) || is_lost(&listeners->login);
}

/* What cannot be there is no failure: sidekey login then opens the store itself. */
static void move_login(struct listeners *listeners)
{
    char path[PATH_MAX];
    struct err e;
    const struct listen_unix *admin = &listeners->admin_local;
    const char *slash = admin->fd >= 0 ? strrchr(admin->path, '/') : NULL;
    struct listen_place to = { .mode = 0600 };
    bool moved = false; /* the workers have no part in it */
    if (slash && snprintf(path, sizeof path, "%.*s/" LOGIN_SOCKET, (int)(slash - admin->path), admin->path) < PATH_MAX)
        to.path = path;
    if (move(&listeners->login, &to, &moved, &e) != 0)
        log_info(log_msg("no login socket: sidekey login opens the store itself"), log_str("reason", e.text));
}

int listeners_move_local(struct listeners *listeners, const struct config *c, struct err *e)
{
    struct listen_place to = config_socket(c);
    if (move(&listeners->local, &to, &listeners->moved, e) != 0)
        return err_wrap(e, "listen.socket: ");
    if (move_admin(listeners, c, e) != 0)
        return -1;
    move_login(listeners);
    return 0;
}

void listeners_init(struct listeners *listeners, unsigned workers)
{
    *listeners = (struct listeners){ .admin = -1,
                                     .local.fd = -1,
                                     .admin_local.fd = -1,
                                     .workers = workers,
                                     .login.fd = -1,
                                     .proxy_text = "off",
                                     .admin_text = "off",
                                     .gateway_text = "off" };
    memset(listeners->proxy, 0xff, sizeof listeners->proxy);
    memset(listeners->transparent, 0xff, sizeof listeners->transparent);
    memset(listeners->gateway, 0xff, sizeof listeners->gateway);
    memset(listeners->redirected, 0xff, sizeof listeners->redirected);
}

int listeners_open(struct listeners *listeners, struct config *c, bool transparent, struct err *e)
{
    listeners_init(listeners, c->workers);
    if (open_proxy(listeners, &c->listen_proxy, e) != 0 || open_gateway(listeners, &c->listen_gateway, e) != 0
        || open_redirected(listeners, &c->listen_transparent, e) != 0)
        return -1;
    for (unsigned i = 0; transparent && i < listeners->workers; i++)
        if ((listeners->transparent[i] = open_transparent(listeners, e)) < 0)
            return -1;
    const struct listen_place local = config_socket(c), admin_local = config_admin_socket(c);
    inherit_unix(listeners, "socket", &local, &listeners->local);
    inherit_unix(listeners, "admin_socket", &admin_local, &listeners->admin_local);
    if (listeners_move_local(listeners, c, e) != 0)
        return -1;
    listeners->admin = inherited_tcp("admin", &c->listen_admin);
    listeners->inherited = listeners->inherited || listeners->admin >= 0;
    if (inherited_all_taken(e) != 0)
        return -1;
    if (c->listen_admin.len == 0)
        return 0;
    if (listeners->admin < 0 && (listeners->admin = listen_open(&c->listen_admin, false, e)) < 0)
        return err_wrap(e, "listen.admin: ");
    address_text((struct sockaddr *)&c->listen_admin.sa, listeners->admin_text, sizeof listeners->admin_text);
    return 0;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void listeners_refuse_operators(struct listeners *listeners)
{
    if (listeners->inherited)
        return;
    if (listeners->admin >= 0)
        (void)shutdown(listeners->admin, SHUT_RDWR);
    if (listeners->admin_local.fd >= 0)
        listen_unix_refuse(listeners->admin_local.fd);
}

void listeners_keep(struct listeners *listeners, bool keeper, unsigned slot)
{
    for (unsigned i = 0; i < listeners->workers; i++)
        if (keeper || i != slot) {
            shut(&listeners->proxy[i]);
            shut(&listeners->transparent[i]);
            shut(&listeners->gateway[i]);
            shut(&listeners->redirected[i]);
        }
    shut(&listeners->login.fd);
    if (keeper) {
        shut(&listeners->admin);
        shut(&listeners->local.fd);
        shut(&listeners->admin_local.fd);
    }
}

void listeners_close(struct listeners *listeners)
{
    listen_unix_remove(&listeners->local);
    listen_unix_remove(&listeners->admin_local);
    listen_unix_remove(&listeners->login);
    listeners_keep(listeners, true, 0);
}
