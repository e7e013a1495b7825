/* http/basic.h: the user and the password of Basic credentials (RFC 7617).   Pure. */
#ifndef SIDEKEY_HTTP_BASIC_H
#define SIDEKEY_HTTP_BASIC_H

#include "base/buf.h"
#include "base/slice.h"

/* field: the value of Authorization or Proxy-Authorization. The scheme may have any letter case, base64 either alphabet
 * and no padding. *ret_user and *ret_password point into plain, which the caller owns: one of buf_init_secret(), and
 * empty.  0; -EINVAL: another scheme, not base64, or no colon in it; -ENOBUFS: longer than the cap of plain. On failure
 * the outputs are untouched. */
MUST_CHECK int basic_read(struct slice field, struct buf *plain, struct slice *ret_user, struct slice *ret_password);

#endif
