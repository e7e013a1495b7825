/* certs/jks.h: a Java key store with the certificates of a PEM bundle as trusted entries.   Any process.
 * The JKS format (magic FEEDFEED, version 2) is the one that Java loads without being told a password; a PKCS#12 store
 * that openssl makes without the trusted-key attribute is taken for empty. */
#ifndef SIDEKEY_CERTS_JKS_H
#define SIDEKEY_CERTS_JKS_H

#include "base/err.h"

/* Writes jks_path (replaced atomically, 0444) with every certificate of pem_path.  0; -1 with e naming the file. */
MUST_CHECK int jks_write(const char *pem_path, const char *jks_path, struct err *e);

#endif
