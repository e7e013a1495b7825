/* refresh/grant/grant_writer.h: members of a token request, or claims of an assertion, as a form or as one JSON object.
 * Pure.
 */
#ifndef SIDEKEY_REFRESH_GRANT_GRANT_WRITER_H
#define SIDEKEY_REFRESH_GRANT_GRANT_WRITER_H

#include "base/buf.h"
#include "refresh/credential_spec.h"

struct grant_writer {
    enum grant_body as;
    struct buf *out;
    int failed;  /* the first error (-ENOBUFS, -ENOMEM); later calls do nothing */
    bool scoped; /* the scope stands in a member of the grant's own */
};

/* One member; empty value: left out. */
void grant_writer_add(struct grant_writer *w, const char *name, struct slice value);
void grant_writer_add_number(struct grant_writer *w, const char *name, int64_t value);
/* JSON: one member whose value is a list, from words between spaces; no words: left out. */
void grant_writer_add_words(struct grant_writer *w, const char *name, struct slice words);
/* Nothing follows. */
void grant_writer_end(struct grant_writer *w);

#endif
