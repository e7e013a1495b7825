#include "net/tls/tls_rsa.h"

#include <openssl/rsa.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/list.h"
#include "net/loop.h"

struct tls_rsa {
    ev_async made; /* the one call of libev that another thread may make: ev_async_send() */
    pthread_t thread;
    EVP_PKEY *key; /* the thread's until it has ended */
    bool joined;
    tls_rsa_fn *fn;
    void *arg;
};

static void *make(void *arg)
{
    struct tls_rsa *r = arg;
    r->key = EVP_RSA_gen(2048);
    ev_async_send(loop_get(), &r->made);
    return NULL;
}

static void join(struct tls_rsa *r)
{
    if (!r->joined)
        pthread_join(r->thread, NULL);
    r->joined = true;
    ev_async_stop(loop_get(), &r->made);
}

static void on_made(struct ev_loop *loop, ev_async *w, int revents)
{
    struct tls_rsa *r = LIST_ENTRY(w, struct tls_rsa, made);
    (void)loop;
    (void)revents;
    join(r);
    EVP_PKEY *key = r->key;
    r->key = NULL;
    r->fn(r->arg, key);
}

/* Signals are for the loop's thread. */
static int start(struct tls_rsa *r)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&r->thread, NULL, make, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

struct tls_rsa *tls_rsa_new(tls_rsa_fn *fn, void *arg)
{
    struct tls_rsa *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->fn = fn;
    r->arg = arg;
    ev_async_init(&r->made, on_made);
    ev_async_start(loop_get(), &r->made);
    if (start(r) == 0)
        return r;
    ev_async_stop(loop_get(), &r->made);
    free(r);
    return NULL;
}

void tls_rsa_free(struct tls_rsa *r)
{
    if (!r)
        return;
    join(r);
    EVP_PKEY_free(r->key);
    free(r);
}
