/* certs/jks.h: a Java key store with the certificates of a PEM bundle as trusted entries.   Any process.
 * The JKS format (magic FEEDFEED, version 2) is the one that Java loads without being told a password; a PKCS#12 store
 * that openssl makes without the trusted-key attribute is taken for empty. */
#ifndef SIDEKEY_CERTS_JKS_H
#define SIDEKEY_CERTS_JKS_H

#include "base/buf.h"

/* Appends a store with every certificate of pem.  0; -ENODATA: there is none, -ENOBUFS, -ENOMEM. */
MUST_CHECK int jks_build(struct slice pem, struct buf *out);

#endif
