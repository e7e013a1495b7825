/* app/config/preset_hint.h: which preset was probably meant.   Pure. */
#ifndef SIDEKEY_APP_CONFIG_PRESET_HINT_H
#define SIDEKEY_APP_CONFIG_PRESET_HINT_H

#include "base/err.h"

/* word is no preset's name.  Fills e with that, and with the names that are near it, or that have it in their name or
 * description ("google", "Jira"). */
void preset_hint(const char *word, struct err *e);

#endif
