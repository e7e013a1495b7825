/* certs/publish.h: a directory from which programs of other users read certificates; files in it are replaced
 * atomically.   Keeper only.   It follows no link that another user could have created, and removes only its own files.
 * Owner  the struct that embeds it, through publish_close(). */
#ifndef SIDEKEY_CERTS_PUBLISH_H
#define SIDEKEY_CERTS_PUBLISH_H

#include "base/buf.h"
#include "base/err.h"

struct publish_dir {
    int fd;
    const char *path; /* borrowed, for messages */
    bool lasting;     /* written to the disk before it is renamed; a directory that ends with its run needs none */
};

struct publish_file {
    const char *name;
    struct slice bytes;
    char beside[64]; /* inside: what is written and not renamed yet; "": nothing */
};

/* Opens, or makes with 0755 (its parent must be there, but for what is below $HOME); lasting.  Refuses a directory in
 * which another user could create files: e says what to do. A mount point is accepted as it is, because it was made for
 * this (the kubelet's volumes are).  0; -1 with e. */
MUST_CHECK int publish_open(struct publish_dir *d, const char *path, struct err *e);
void publish_close(struct publish_dir *d);
/* Writes those whose content is another one, 0444: all beside, then all renamed, so that a full disk changes nothing.
 * 0; -1 with e naming the file: the old ones stay. */
MUST_CHECK int publish_files(const struct publish_dir *d, struct publish_file *files, size_t count, struct err *e);

#endif
