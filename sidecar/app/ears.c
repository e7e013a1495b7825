#include "app/ears.h"

#include <errno.h>
#include <net/if.h>
#include <unistd.h>

#include "net/listen.h"

static uint16_t port_of(const struct address *a)
{
    return ntohs(((const struct sockaddr_in *)(const void *)&a->sa)->sin_port); /* at the same place in sockaddr_in6 */
}

static int open_transparent(struct ears *ears, struct err *e)
{
    struct address any;
    if (address_parse(SLICE("0.0.0.0"), ears->transparent_port, &any) != 0)
        return err_set(e, "transparent listener: bad address");
    int fd = listen_open(&any, ears->workers > 1, e);
    /* Tokens are addresses in 127/8: only the loopback interface may bring them. */
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) != 0) {
        int number = errno;
        close(fd);
        return err_set(e, "transparent listener: cannot be bound to the loopback interface: %s", strerror(number));
    }
    if (fd >= 0)
        ears->transparent_port = port_of(&any);
    return fd;
}

static int open_proxy(struct ears *ears, struct address *at, struct err *e)
{
    if (at->len == 0)
        return 0;
    for (unsigned i = 0; i < ears->workers; i++)
        if ((ears->proxy[i] = listen_open(at, ears->workers > 1, e)) < 0)
            return err_wrap(e, "listen.proxy: ");
    address_text((struct sockaddr *)&at->sa, ears->proxy_text, sizeof ears->proxy_text);
    ears->proxy_port = port_of(at);
    return 0;
}

int ears_move_local(struct ears *ears, const struct config *c, struct err *e)
{
    struct listen_place to = config_socket(c);
    struct listen_unix next = { .fd = -1 };
    if (to.path && strcmp(to.path, ears->local.path) == 0 && listen_unix_stands(&ears->local))
        return listen_unix_permit(&ears->local, &to, e) == 0 ? 0 : err_wrap(e, "listen.socket: ");
    if (to.path && listen_unix_open(&to, &next, e) != 0)
        return err_wrap(e, "listen.socket: ");
    listen_unix_remove(&ears->local);
    ears->local = next;
    return 0;
}

int ears_open(struct ears *ears, struct config *c, bool transparent, struct err *e)
{
    *ears = (struct ears){ .admin = -1, .local.fd = -1, .workers = c->workers, .proxy_text = "off", .admin_text = "off" };
    memset(ears->proxy, 0xff, sizeof ears->proxy);
    memset(ears->transparent, 0xff, sizeof ears->transparent);
    if (open_proxy(ears, &c->listen_proxy, e) != 0)
        return -1;
    for (unsigned i = 0; transparent && i < ears->workers; i++)
        if ((ears->transparent[i] = open_transparent(ears, e)) < 0)
            return -1;
    if (ears_move_local(ears, c, e) != 0)
        return -1;
    if (c->listen_admin.len == 0)
        return 0;
    if ((ears->admin = listen_open(&c->listen_admin, false, e)) < 0)
        return err_wrap(e, "listen.admin: ");
    address_text((struct sockaddr *)&c->listen_admin.sa, ears->admin_text, sizeof ears->admin_text);
    return 0;
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ears_keep(struct ears *ears, bool keeper, unsigned slot)
{
    for (unsigned i = 0; i < ears->workers; i++)
        if (keeper || i != slot) {
            shut(&ears->proxy[i]);
            shut(&ears->transparent[i]);
        }
    if (keeper) {
        shut(&ears->admin);
        shut(&ears->local.fd);
    }
}

void ears_close(struct ears *ears)
{
    listen_unix_remove(&ears->local);
    ears_keep(ears, true, 0);
}
