/* app/cmd/init_value.h: one value of sidekey init, from the way a person writes it to the way the file needs it.   No
 * network, no printing: a person may have pasted the secret itself. */
#ifndef SIDEKEY_APP_CMD_INIT_VALUE_H
#define SIDEKEY_APP_CMD_INIT_VALUE_H

#include "base/slice.h"

#include <limits.h>

#define INIT_VALUE_MAX (PATH_MAX + 4) /* a path, or "env:NAME" */

/* Keys whose value is the place of a secret. */
bool init_value_is_secret(const char *key);
/* Writes the value of key into ret.  The place of a secret: env:NAME as it is; a path becomes absolute, since the file
 * may be used from anywhere, and must be there unless it looks like a path (it has /, ./, ../ or ~/ in front).  A host
 * loses its scheme and the slash behind it.  Returns NULL; else what is wrong, static, without the value. */
MUST_CHECK const char *init_value_take(const char *key, const char *text, char ret[INIT_VALUE_MAX]);
/* NULL, or what is wrong with a URL that sidekey is to ask; static. */
MUST_CHECK const char *init_value_url_wrong(const char *text);

#endif
