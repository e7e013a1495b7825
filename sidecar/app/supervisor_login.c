/* login.sock: the supervisor keeps it, accepts, and passes each connection to the keeper.  It reads nothing of it. */
#include "app/supervisor_private.h"

#include "base/log.h"
#include "net/ipc/msg_send.h"
#include "net/listen.h"

#include <unistd.h>

static void on_login(void *arg, int fd, const struct sockaddr *peer)
{
    struct supervisor *s = arg;
    (void)peer;
    if (s->keeper->ipc) /* without one the peer sees an end, and tries again */
        (void)!msg_send(s->keeper->ipc, &(struct msg){ .type = MSG_WIRE, .name = SLICE("login") }, fd);
    close(fd);
}

void supervisor_watch_login(struct supervisor *s)
{
    supervisor_unwatch_login(s);
    if (s->listeners.login.fd >= 0 && !(s->login = listener_new(s->listeners.login.fd, on_login, s)))
        log_error(log_msg("cannot watch the login socket"), log_str("reason", "out of memory"));
}

void supervisor_unwatch_login(struct supervisor *s)
{
    listener_free(s->login);
    s->login = NULL;
}
