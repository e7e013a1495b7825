/* base/metrics_area.h: the memory in which a process counts, kept by its parent: what was counted outlives the process.
 * One writer (the child), one reader (the parent, who trusts nothing in it).   Owner  metrics_area_open()'s caller. */
#ifndef SIDEKEY_BASE_METRICS_AREA_H
#define SIDEKEY_BASE_METRICS_AREA_H

#include "base/slice.h"

#define METRICS_AREA_BYTES (8 * 1024 * 1024) /* of address space; pages exist once they are written */

struct metrics_area {
    int fd; /* a memfd of fixed size, -1: none (memory that children share all the same) */
    char *bytes;
};

/* Lies at the start of each series' record. */
struct metrics_series {
    double value;
    uint32_t record_bytes, ended; /* ended: a gauge that has no value now */
    uint32_t family_bytes;        /* of the name before '{' */
    char name[];
};

/* A new, empty area.  0; -ENOMEM: a->bytes is NULL. */
MUST_CHECK int metrics_area_open(struct metrics_area *a);
/* Maps the area of a descriptor that was kept over an exec. Takes ownership of fd.  0; -EINVAL, -ENOMEM. */
MUST_CHECK int metrics_area_adopt(struct metrics_area *a, int fd);
/* Accepts one that was never opened, or is closed. */
void metrics_area_close(struct metrics_area *a);
/* Closes the descriptor alone: a child needs the memory. */
void metrics_area_close_fd(struct metrics_area *a);
/* A record for a series of that name (at most 511 bytes), value 0; NULL: the area is full. */
struct metrics_series *metrics_area_add(struct metrics_area *a, struct slice name);
/* The record after s, or the first one (s NULL); NULL at the end.  Of an area that only this process writes. */
struct metrics_series *metrics_area_next(const struct metrics_area *a, const struct metrics_series *s);
/* Calls fn with a copy of each series that has a value; what is malformed ends the walk.  Of an area that another
 * process writes meanwhile, whatever it writes. */
void metrics_area_each(const struct metrics_area *a, void (*fn)(void *arg, struct slice name, double value), void *arg);

#endif
