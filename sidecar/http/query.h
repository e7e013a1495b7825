/* http/query.h: names and values of a query as the server reads them (WHATWG URL §5).   Pure. */
#ifndef SIDEKEY_HTTP_QUERY_H
#define SIDEKEY_HTTP_QUERY_H

#include "base/buf.h"
#include "base/slice.h"

/* Is text, with its escapes and plus signs decoded, the same as plain?  "acces%73_token" is "access_token".
 * fold: ASCII case makes no difference. */
bool query_text_is(struct slice text, struct slice plain, bool fold);
/* Adds text with its escapes and plus signs decoded.  Returns 0; -ENOBUFS (the cap of to), -ENOMEM. */
MUST_CHECK int query_add_decoded(struct buf *to, struct slice text);

#endif
