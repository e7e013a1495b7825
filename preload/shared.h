/* preload/shared.h: the library's side of the table that all processes of a run share (preload/table.h): mapping,
 * interning, finding. Lock-free and safe in signal handlers.  A table that is mapped stays so for good: what is known
 * of its pages is kept in a process-wide map. */
#ifndef SIDEKEY_PRELOAD_SHARED_H
#define SIDEKEY_PRELOAD_SHARED_H

#include "preload/decide.h"

/* NULL: absent, of another size, or not ours. */
struct table *shared_map(const char *path);
/* Interns.  name is canonical (decide_name).  False: full. */
bool shared_name_put(struct table *t, const char *name, uint32_t *ret_index);
/* NULL: no such name. The text lives as long as the process. */
const char *shared_name_get(const struct table *t, uint32_t index);
/* address lies in one of our two fake ranges. */
bool shared_fake_index(const uint8_t address[16], uint32_t *ret_index);
/* Interns; name: an index or TABLE_NO_NAME; kind: TABLE_VIA_US or TABLE_PROXY.  *ret_index makes the token.  False:
 * full. */
bool shared_dest_put(struct table *t, const struct target *to, uint32_t name, enum table_kind kind,
                     uint32_t *ret_index);
/* index < TABLE_DESTS.  False: nothing there. */
bool shared_dest_get(const struct table *t, uint32_t index, struct target *ret);
/* Addresses that bypassed names resolved to. */
void shared_direct_put(struct table *t, const uint8_t address[16]);
bool shared_direct(const struct table *t, const uint8_t address[16]);

#endif
