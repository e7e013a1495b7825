/* certs/bundle.h: what programs must trust: ca.pem (ours alone), bundle.pem and bundle.jks (system roots + ours),
 * published to a directory.   Keeper. Files are written beside and renamed, 0444, so a reader sees the old or the new,
 * never a part.
 */
#ifndef SIDEKEY_CERTS_BUNDLE_H
#define SIDEKEY_CERTS_BUNDLE_H

#include "base/err.h"

/* Path of the system's root bundle: $SSL_CERT_FILE when it exists, else the distributions' well-known places; NULL:
 * none found. */
const char *bundle_system_path(void);
/* Writes dir/ca.pem, dir/bundle.pem and dir/bundle.jks (the same for Java), those whose content is another one: system
 * roots, the files of extra_roots (NULL-terminated paths; NULL: none) without the certificates that came before, then
 * ours.  dir: as publish_open() takes it.  lasting: as struct publish_dir.  A system without a bundle gets one without
 * its roots; a bundle that we published before is never read back.  Returns 0; -1 with e naming the file: the old files
 * stay as they were. */
MUST_CHECK int bundle_publish(const char *dir, struct slice ca_pem, const char *const *extra_roots, bool lasting,
                              struct err *e);

#endif
