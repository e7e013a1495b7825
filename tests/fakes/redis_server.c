#include "tests/fakes/redis_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define START_MS 10000
#define ARGS_MAX 40

bool redis_server_there(void)
{
    static const char *const places[] = { "/usr/bin/redis-server", "/usr/local/bin/redis-server" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return true;
    return false;
}

static struct sockaddr_in at(const struct redis_server *r)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(r->port) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good =
        fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0;
    if (fd >= 0)
        close(fd);
    return good ? ntohs(a.sin_port) : -1;
}

static void run(const struct redis_server *r, const char *const *args)
{
    char port[8];
    const char *argv[ARGS_MAX] = { "redis-server", "--port",      port, "--bind",       "127.0.0.1", "--dir",
                                   r->dir,         "--save",      "",   "--appendonly", "no",        "--daemonize",
                                   "no",           "--databases", "4" };
    size_t argc = 15;
    snprintf(port, sizeof port, "%u", r->port);
    for (; args && *args && argc < ARGS_MAX - 1; args++)
        argv[argc++] = *args;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that dies leaves nothing behind */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    execvp("redis-server", (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int connect_to(const struct redis_server *r)
{
    struct sockaddr_in a = at(r);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

int redis_server_again(struct redis_server *r, const char *const *args)
{
    char answer[128];
    int64_t end_ms = clock_mono_ms() + START_MS;
    if ((r->pid = fork()) == 0)
        run(r, args);
    while (r->pid > 0 && clock_mono_ms() < end_ms) {
        /* -NOAUTH is an answer too, -LOADING is not. */
        if (redis_server_ask(r, "PING", answer, sizeof answer) == 0 && strncmp(answer, "-LOADING", 8) != 0)
            return 0;
        if (waitpid(r->pid, NULL, WNOHANG) == r->pid)
            break;
        poll(NULL, 0, 5);
    }
    fprintf(stderr, "redis-server does not start on port %u\n", r->port);
    return -1;
}

int redis_server_start(struct redis_server *r, const char *const *args)
{
    memset(r, 0, sizeof *r);
    int port = free_port();
    snprintf(r->dir, sizeof r->dir, "/tmp/test_redis.XXXXXX");
    if (port < 0 || !mkdtemp(r->dir))
        return -1;
    r->port = (uint16_t)port;
    snprintf(r->url, sizeof r->url, "redis://127.0.0.1:%d", port);
    return redis_server_again(r, args);
}

void redis_server_stop(struct redis_server *r, int sig)
{
    if (r->pid <= 0)
        return;
    kill(r->pid, sig);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

void redis_server_free(struct redis_server *r)
{
    redis_server_stop(r, SIGKILL);
    if (r->dir[0])
        nftw(r->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    r->dir[0] = '\0';
}

/* Is the answer whole?  Enough for single lines and bulk strings. */
static bool whole(const char *answer, size_t len)
{
    const char *line = memchr(answer, '\n', len);
    if (!line)
        return false;
    if (answer[0] != '$')
        return true;
    long bulk = strtol(answer + 1, NULL, 10);
    return bulk < 0 || len >= (size_t)(line + 1 - answer) + (size_t)bulk + 2;
}

int redis_server_ask(const struct redis_server *r, const char *words, char *answer, size_t size)
{
    char line[1024];
    size_t got = 0;
    int fd = connect_to(r), len = snprintf(line, sizeof line, "%s\r\n", words);
    if (fd < 0)
        return -1;
    bool good = write(fd, line, (size_t)len) == len; /* an inline command */
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    while (good && got < size - 1 && !whole(answer, got)) {
        ssize_t n = poll(&ready, 1, 5000) == 1 ? read(fd, answer + got, size - 1 - got) : -1;
        good = n > 0;
        got += good ? (size_t)n : 0;
    }
    answer[got] = '\0';
    close(fd);
    return good ? 0 : -1;
}

unsigned long redis_server_calls(const struct redis_server *r, const char *command)
{
    static char info[64 * 1024];
    char name[64];
    snprintf(name, sizeof name, "cmdstat_%s:calls=", command);
    if (redis_server_ask(r, "INFO commandstats", info, sizeof info) != 0)
        return 0;
    const char *found = strstr(info, name);
    return found ? strtoul(found + strlen(name), NULL, 10) : 0;
}
