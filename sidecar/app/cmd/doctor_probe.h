/* app/cmd/doctor_probe.h: one request of one runtime to the probe host, and what became of it. */
#ifndef SIDEKEY_APP_CMD_DOCTOR_PROBE_H
#define SIDEKEY_APP_CMD_DOCTOR_PROBE_H

#include "app/cmd/doctor_table.h"

enum doctor_state {
    DOCTOR_WELL,
    DOCTOR_NO_TRUST,   /* it arrives, and does not trust the CA */
    DOCTOR_NO_ARRIVAL, /* sidekey does not see it */
    DOCTOR_LATE,       /* it was ended at the deadline */
    DOCTOR_UNTRIED,    /* the runtime cannot make a request here */
};

struct doctor_finding {
    const struct doctor_runtime *runtime;
    char program[PATH_MAX];
    enum doctor_state state;
    char way[16];   /* as the proxy said: "proxy", "transparent"; "": it did not arrive */
    char wish[64];  /* "NAME=VALUE" of DOCTOR_WISH; "": none */
    char said[200]; /* the runtime's own words when it is not well: one line of printable ASCII */
};

/* Fills state, way, wish and said of f, whose runtime and program are set.  dir: an empty directory for the scripts.
 * timeout_ms: of each request; there are two at most.  Waits; whatever the script has started is ended with it.
 * 0; -errno: nothing could be started. */
MUST_CHECK int doctor_probe(struct doctor_finding *f, const char *dir, int64_t timeout_ms);

#endif
