/* app/supervisor_handover.h: what a supervisor hands to the program that replaces it by exec (docs/architecture.md,
 * Processes: "A new version"): listeners, counters, the CA and the running children, as descriptors that stay open and
 * one JSON text in a memfd.  Main process.
 *
 * The other side may be an older or a newer version.  HANDOVER_LAYOUT covers the JSON text, the numbers of the messages
 * (net/ipc/msg.h) and the records of the counters (base/metrics_area.h).  Raise it when one of them changes: the two
 * versions then refuse each other, and an upgrade takes a restart.  tests/unit/test_supervisor_handover.c has the
 * numbers. */
#ifndef SIDEKEY_APP_SUPERVISOR_HANDOVER_H
#define SIDEKEY_APP_SUPERVISOR_HANDOVER_H

#include "app/supervisor_private.h"

#define HANDOVER_LAYOUT 1

/* The text, in a sealed memfd (CLOEXEC).  The caller closes it; -errno. */
MUST_CHECK int supervisor_handover_write(const struct supervisor *s);
/* Every descriptor of s that the text names stays open over an exec (open), or does not. */
void supervisor_handover_keep_open(const struct supervisor *s, bool open);
/* Does this program understand the text of fd?  0; -1 with e. */
MUST_CHECK int supervisor_handover_check(int fd, struct err *e);
/* Fills in what the predecessor had.  s: as supervisor_run() makes it before it opens anything.  The predecessor's
 * children become retired ones that wait (held); s->set is the next set.  ret_before: the predecessor's version.
 * 0; -1 with e: this process cannot continue. */
MUST_CHECK int supervisor_handover_read(int fd, struct supervisor *s, char ret_before[32], struct err *e);

#endif
