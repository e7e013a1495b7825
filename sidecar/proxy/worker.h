/* proxy/worker.h: the worker process: connects clients, upstreams, tokens and leaves. It never has a refresh token or
 * the CA key. */
#ifndef SIDEKEY_PROXY_WORKER_H
#define SIDEKEY_PROXY_WORKER_H

#include "proxy/options.h"

/* Runs until drained or told to end; returns the exit status. */
int worker_run(const struct worker_options *options, const struct worker_sockets *sockets, struct slice ticket_key);

#endif
