/* The keeper that runs takes what came of the sign-in (rule 8.10): nothing of its store is opened here. */
#include "refresh/login/login_private.h"

#include "refresh/login/login_message.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWER_S 330 /* the keeper waits for five leases of a minute */
#define ANSWER_MAX 4096
#define AGAIN_MS 500 /* a keeper that is just being replaced */
#define TRIES 60

/* Whose socket is it?  A directory may be one that others can write to. */
static int connect_to(const char *path)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    struct stat st;
    struct timeval limit = { .tv_sec = ANSWER_S };
    if (snprintf(name.sun_path, sizeof name.sun_path, "%s", path) >= (int)sizeof name.sun_path)
        return -1;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode) || (geteuid() != 0 && st.st_uid != 0 && st.st_uid != geteuid()))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    close(fd);
    return -1;
}

static int send_all(int fd, struct slice bytes)
{
    while (bytes.len) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        bytes = slice_skip(bytes, (size_t)sent);
    }
    return shutdown(fd, SHUT_WR);
}

struct talk {
    struct slice message;
    uint64_t generation;
    struct err note;
};

/* 0: the keeper has it; 1: nobody has answered; -1 with e: what it says. */
static int exchange(const char *path, struct talk *k, struct err *e)
{
    struct buf in;
    int fd = connect_to(path);
    ssize_t got = fd >= 0 && send_all(fd, k->message) == 0;
    buf_init(&in, ANSWER_MAX);
    while (got > 0) {
        char *at = buf_reserve(&in, 1024);
        got = at ? recv(fd, at, 1024, 0) : -1;
        if (got > 0)
            buf_grow(&in, (size_t)got);
    }
    if (fd >= 0)
        close(fd);
    int failed = in.len == 0 ? 1 : login_message_read_answer(buf_slice(&in), &k->generation, &k->note, e);
    buf_done(&in);
    return failed;
}

/* m: with what is not of the credential. */
static int ask(struct login *l, const char *path, struct login_message *m, struct talk *k, struct err *e)
{
    char store[PATH_MAX], none[] = "";
    const struct credential_spec *s = l->spec;
    struct buf out;
    if (!realpath(l->options->keeper->state_dir, store))
        return 1;
    m->credential = s->name;
    m->token_url = s->token_url;
    m->client_id = s->client_id ? s->client_id : none;
    m->store = store;
    m->revocation_url = l->endpoints.revocation ? l->endpoints.revocation : none;
    buf_init_secret(&out, LOGIN_MESSAGE_MAX);
    int failed = login_message_write(m, &out);
    k->message = buf_slice(&out);
    failed = failed ? err_set(e, "the token response is too large") : exchange(path, k, e);
    buf_done(&out);
    return failed;
}

bool login_find_keeper(struct login *l)
{
    struct err ignored;
    for (const char *const *path = l->options->keeper_sockets; path && *path && !l->keeper; path++) {
        struct login_message m = { .act = LOGIN_LOOK };
        struct talk k = { .generation = 0 };
        if (ask(l, *path, &m, &k, &ignored) == 0)
            l->keeper = *path;
    }
    return l->keeper;
}

/* Waits for a keeper that is just being replaced. */
static int tell(struct login *l, struct login_message *m, struct talk *k, struct err *e)
{
    int failed = 1;
    for (int i = 0; failed > 0 && i < TRIES; i++) {
        if (i)
            login_sleep(AGAIN_MS);
        failed = ask(l, l->keeper, m, k, e);
    }
    if (failed > 0)
        err_set(e, "the running sidekey does not answer on %s", l->keeper);
    return failed ? EX_UNAVAILABLE : 0;
}

int login_hand_over(struct login *l, const struct login_response *r, int64_t wall_ms, uint64_t *ret_generation,
                    struct err *e)
{
    struct login_message m = { .act = LOGIN_KEEP, .status = r->status, .wall_ms = wall_ms, .body = r->body };
    struct talk k = { .generation = 0 };
    int status = tell(l, &m, &k, e);
    *ret_generation = k.generation;
    return status;
}

int login_forget(struct login *l, struct err *ret_note, struct err *e)
{
    struct login_message m = { .act = LOGIN_FORGET };
    struct talk k = { .generation = 0 };
    int status = tell(l, &m, &k, e);
    *ret_note = k.note;
    return status;
}
