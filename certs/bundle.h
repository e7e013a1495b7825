/* certs/bundle.h: what programs must trust: ca.pem (ours alone) and bundle.pem (system roots + ours), published to a directory.   Keeper.
 * Files are written beside and renamed, 0444, so a reader sees the old or the new, never a part. */
#ifndef SIDEKEY_CERTS_BUNDLE_H
#define SIDEKEY_CERTS_BUNDLE_H

#include "base/err.h"

/* Path of the system's root bundle: $SSL_CERT_FILE when it exists, else the distributions' well-known places; NULL: none found. */
const char *bundle_system_path(void);
/* Writes dir/ca.pem and dir/bundle.pem (dir is made, 0755, when it does not exist). extra_roots (path, may be NULL) is put in as well.
 * Returns 0; -1 with e naming the file. */
MUST_CHECK int bundle_publish(const char *dir, struct slice ca_pem, const char *extra_roots, struct err *e);

#endif
