/* app/config/slips.h: slips of the pen that the grammar allows, each with a message of its own.   Pure, but for
 * slips_mode().  The messages are constants. */
#ifndef SIDEKEY_APP_CONFIG_SLIPS_H
#define SIDEKEY_APP_CONFIG_SLIPS_H

#include "base/slice.h"

/* Of any text in the file.  NULL, or what is wrong with it. */
const char *slips_text(const char *text);
/* Of inject[].format, as field.check. */
const char *slips_format(char **io_text);
/* What to do about a file that others may read; in a volume nobody can chmod. */
const char *slips_mode(const char *path);
/* What YAML says of a line, in words for who wrote it.  NULL: YAML's own are good enough. */
const char *slips_yaml(struct slice text, size_t line, size_t column, const char *context);

#endif
