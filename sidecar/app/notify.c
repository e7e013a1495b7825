#include "app/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

static struct {
    int fd; /* connected; -1: none */
    int64_t watchdog_ms;
} to = { .fd = -1 };

static int64_t number_of(const char *name)
{
    const char *text = getenv(name);
    char *end;
    errno = 0;
    long long value = text ? strtoll(text, &end, 10) : 0;
    return !text || errno || end == text || *end || value < 0 ? 0 : value;
}

static void open_socket(const char *name)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len >= sizeof at.sun_path) {
        log_warn(log_msg("NOTIFY_SOCKET is not the path of a socket: systemd gets no status"), log_str("socket", name));
        return;
    }
    memcpy(at.sun_path, name, len);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    to.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (to.fd >= 0 && connect(to.fd, (struct sockaddr *)&at, size) == 0)
        return;
    log_warn(log_msg("cannot connect to NOTIFY_SOCKET: systemd gets no status"), log_str("socket", name),
             log_str("reason", strerror(errno)));
    if (to.fd >= 0)
        close(to.fd);
    to.fd = -1;
}

void notify_begin(void)
{
    const char *name = getenv("NOTIFY_SOCKET");
    int64_t pid = number_of("WATCHDOG_PID");
    if (name && *name)
        open_socket(name);
    if (to.fd >= 0 && (pid == 0 || pid == getpid()))
        to.watchdog_ms = number_of("WATCHDOG_USEC") / 1000;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

int notify_fd(void)
{
    return to.fd;
}

void notify_adopt(int fd, int64_t watchdog_ms)
{
    to.fd = fd;
    to.watchdog_ms = fd >= 0 && watchdog_ms > 0 ? watchdog_ms : 0;
}

void notify_forget(void)
{
    if (to.fd >= 0)
        close(to.fd);
    to.fd = -1;
    to.watchdog_ms = 0;
}

static void say(const char *text)
{
    if (to.fd >= 0)
        (void)!send(to.fd, text, strlen(text), MSG_NOSIGNAL);
}

void notify_ready(const char *status)
{
    char text[512];
    snprintf(text, sizeof text, "READY=1\nSTATUS=%.400s", status);
    say(text);
}

void notify_reloading(void)
{
    char text[128];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* as sd_notify(3) asks, not our own clock */
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading the configuration again",
             (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    say(text);
}

void notify_stopping(void)
{
    say("STOPPING=1\nSTATUS=finishing requests in flight");
}

int64_t notify_watchdog_ms(void)
{
    return to.watchdog_ms;
}

void notify_alive(void)
{
    say("WATCHDOG=1");
}
