/* app/notify.h: status messages of "serve" to systemd (sd_notify(3), Type=notify), without libsystemd.   Supervisor.
 * Everything here does nothing when NOTIFY_SOCKET was not set.  Messages never block: one that does not fit is lost. */
#ifndef SIDEKEY_APP_NOTIFY_H
#define SIDEKEY_APP_NOTIFY_H

#include <stdint.h>

/* Takes NOTIFY_SOCKET (a path, or "@name" for an abstract socket), WATCHDOG_USEC and WATCHDOG_PID out of the
 * environment, so that no child sends messages in our name. */
void notify_begin(void);
/* The socket, -1: none; and what a program that replaces this one by exec begins with instead of notify_begin(): takes
 * fd over. */
int notify_fd(void);
void notify_adopt(int fd, int64_t watchdog_ms);
/* In a child: closes the socket; no more messages are sent. */
void notify_forget(void);
/* READY=1, with STATUS=status. */
void notify_ready(const char *status);
/* RELOADING=1 with MONOTONIC_USEC (systemd 253, Type=notify-reload); notify_ready() ends it. */
void notify_reloading(void);
/* STOPPING=1. */
void notify_stopping(void);
/* The interval within which notify_alive() is expected; 0: no watchdog. */
int64_t notify_watchdog_ms(void);
/* WATCHDOG=1. */
void notify_alive(void);

#endif
