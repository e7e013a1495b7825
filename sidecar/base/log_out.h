/* base/log_out.h: writes the lines of base/log, and never waits for the reader.   Any process. What a pipe, a socket or
 * a terminal does not accept now waits in a buffer of 32 KiB. When the buffer is full, lines are dropped and counted
 * until it is empty again. The mode of the descriptor is not changed, because other programs may share it. */
#ifndef SIDEKEY_BASE_LOG_OUT_H
#define SIDEKEY_BASE_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX_BYTES 4096 /* PIPE_BUF: a pipe that several processes write to never mixes such lines */

/* Forgets what waits, and what was dropped before. */
void log_out_to(int fd);
/* What waits belongs to the process before the fork. */
void log_out_forked(void);
/* One whole line, at most LOG_LINE_MAX_BYTES. */
void log_out_add(const char *bytes, size_t n);
/* Writes as much of what waits as there is room for. */
void log_out_flush(void);
/* Lines that are missing before the next one, and not reported yet.  0 too while lines must be dropped still. */
uint64_t log_out_gap(void);
/* The gap is the first line to be added now: it counts as reported unless that line is dropped too. */
void log_out_gap_reported(void);
/* Lines that this process has dropped. */
uint64_t log_out_dropped(void);

#endif
