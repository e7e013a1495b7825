/* refresh/fetch/fetch_roots.h: what a token endpoint's certificate is verified against: the system's roots plus the
 * credential's own ca_file, as one PEM text in memory.   Keeper only.   Source  docs/configuration.md, ca_file. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_ROOTS_H
#define SIDEKEY_REFRESH_FETCH_FETCH_ROOTS_H

#include "base/buf.h"

#define FETCH_ROOTS_MAX (8 * 1024 * 1024)

struct fetch_roots { /* one text per ca_file, made at its first use and again when one of the files changes */
    struct fetch_roots_entry *entries;
};

/* Empty; fetch_roots_done() frees the texts that were made. */
void fetch_roots_init(struct fetch_roots *r);
void fetch_roots_done(struct fetch_roots *r);
/* The text for ca_file (NULL: the system's roots alone), valid until the next call with the same ca_file.
 * false: no bundle could be read or memory is short; curl's own default stands. */
bool fetch_roots_for(struct fetch_roots *r, const char *ca_file, void **ret_data, size_t *ret_len);

#endif
