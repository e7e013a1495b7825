/* certs/describe.h: describes a certificate as text for a person. */
#ifndef SIDEKEY_CERTS_DESCRIBE_H
#define SIDEKEY_CERTS_DESCRIBE_H

#include "base/buf.h"
#include "base/err.h"

/* Appends lines "subject …", "valid …", "sha256 …", "key …", "only for …" (name constraints) for each certificate in
 * pem, with an empty line in between.  Returns 0; -1 with e: no certificate, out of memory. */
MUST_CHECK int describe_certificates(struct slice pem, struct buf *out, struct err *e);

#endif
