/* app/config/scalar.h: one written value to one member of a struct, by its field's type.   Pure. */
#ifndef SIDEKEY_APP_CONFIG_SCALAR_H
#define SIDEKEY_APP_CONFIG_SCALAR_H

#include "app/config/field.h"
#include "base/err.h"

/* plain: written without quotes.  0; -1 with e: what is wrong and how to write it.  The value is repeated only where it
 * cannot be a secret. */
MUST_CHECK int scalar_read(const struct field *f, const char *text, bool plain, void *base, struct err *e);
/* One of the types that scalar_read() knows. */
bool scalar_is(enum field_type type);

#endif
