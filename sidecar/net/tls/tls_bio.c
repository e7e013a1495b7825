#include <errno.h>
#include <sys/socket.h>

#include "net/loop.h"
#include "net/tls/tls_private.h"

static int take_already(struct tls_session *t, char *dst, int size)
{
    size_t n = t->already_len - t->already_at;
    if (n > (size_t)size)
        n = (size_t)size;
    memcpy(dst, t->already + t->already_at, n);
    t->already_at += n;
    if (t->already_at == t->already_len) {
        free(t->already);
        t->already = NULL;
    }
    return (int)n;
}

/* A short read has emptied the socket: within this turn of the loop OpenSSL's next attempt is answered without a system
 * call. Nothing is lost, epoll is level-triggered. */
static bool known_dry(const struct tls_session *t)
{
    return t->dry && t->dry_turn == ev_iteration(loop_get());
}

static int bio_read(BIO *bio, char *dst, int size)
{
    struct tls_session *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    if (t->already)
        return take_already(t, dst, size);
    if (known_dry(t)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t got;
    do
        got = recv(t->fd, dst, (size_t)size, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EAGAIN) {
        t->io_errno = errno;
        return -1;
    }
    t->eof = got == 0;
    t->dry = got != 0 && got < size;
    t->dry_turn = t->dry ? ev_iteration(loop_get()) : 0;
    if (got < 0)
        BIO_set_retry_read(bio);
    return (int)got;
}

static int bio_write(BIO *bio, const char *src, int size)
{
    struct tls_session *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0)
        return 0;
    ssize_t put;
    do
        put = send(t->fd, src, (size_t)size, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put >= 0)
        return (int)put;
    if (errno == EAGAIN) {
        BIO_set_retry_write(bio);
        return -1;
    }
    t->io_errno = errno;
    t->dry = false; /* why it hung up may have come meanwhile */
    return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    const struct tls_session *t = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH: return 1;    /* nothing is held back */
    case BIO_CTRL_EOF: return t->eof; /* how OpenSSL tells a cut stream from an empty one */
    default: return 0;
    }
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (m && BIO_meth_set_read(m, bio_read) && BIO_meth_set_write(m, bio_write) && BIO_meth_set_ctrl(m, bio_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

BIO *tls_bio_new(struct tls_session *t)
{
    static BIO_METHOD *method; /* one for the life of the process */
    if (!method && !(method = make_method()))
        return NULL;
    BIO *bio = BIO_new(method);
    if (!bio)
        return NULL;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}
