/* certs/publish.h: a directory that programs of other users read certificates from, and files in it that are replaced
 * whole or not at all.   Keeper only.   Nothing is followed that somebody else could have put there, and nothing is
 * removed that is not ours.   Owner  whoever embeds it, through publish_close(). */
#ifndef SIDEKEY_CERTS_PUBLISH_H
#define SIDEKEY_CERTS_PUBLISH_H

#include "base/buf.h"
#include "base/err.h"

struct publish_dir {
    int fd;
    const char *path; /* borrowed, for messages */
};

struct publish_file {
    const char *name;
    struct slice bytes;
    char beside[64]; /* inside: what is written and not renamed yet; "": nothing */
};

/* Opens, or makes with 0755 (its parent must be there, but for what is below $HOME).  Refuses a directory in which
 * somebody else could put files of their own: e says the way out.  A mount is taken as it is: it was made for this
 * (the kubelet's volumes are).  0; -1 with e. */
MUST_CHECK int publish_open(struct publish_dir *d, const char *path, struct err *e);
void publish_close(struct publish_dir *d);
/* Writes those whose content is another one, 0444: all beside, then all renamed, so that a full disk changes nothing.
 * 0; -1 with e naming the file: the old ones stay. */
MUST_CHECK int publish_files(const struct publish_dir *d, struct publish_file *files, size_t count, struct err *e);

#endif
