#include "app/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWER_S 3

/* A distroless image has no curl: the program asks itself. */
static int ask(const struct address *admin, char *answer, size_t size)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: sidekey\r\nConnection: close\r\n\r\n";
    struct timeval limit = { .tv_sec = ANSWER_S };
    int fd = socket(admin->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    size_t len = 0;
    ssize_t got = connect(fd, (const struct sockaddr *)&admin->sa, admin->len) != 0 ? -1 : send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    while (got > 0 && len + 1 < size)
        if ((got = recv(fd, answer + len, size - 1 - len, 0)) > 0)
            len += (size_t)got;
    int failed = got < 0 ? -errno : 0;
    answer[len] = '\0';
    close(fd);
    return failed;
}

int cmd_healthcheck(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    static struct cmd_config c = { .quiet = true };
    char answer[8192], text[64];
    int flag, status = EX_OK;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1)
        if (flag == '?' || cmd_config_flag(&c, flag, optarg) != 0)
            return EX_USAGE;
    struct config *config = cmd_config_load(&c, &status);
    if (!config)
        return status;
    if (config->listen_admin.len == 0)
        status = cmd_fail(EX_CONFIG, argv[0], "listen.admin is off: there is nobody to ask");
    else {
        int failed = ask(&config->listen_admin, answer, sizeof answer);
        const char *body = strstr(answer, "\r\n\r\n");
        address_text((struct sockaddr *)&config->listen_admin.sa, text, sizeof text);
        if (failed || !body)
            status = cmd_fail(EX_UNAVAILABLE, argv[0], "%s: %s", text, failed ? strerror(-failed) : "no answer");
        else if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
            status = cmd_fail(EX_UNAVAILABLE, argv[0], "not ready:\n%s", body + 4);
    }
    config_free(config);
    return status;
}
