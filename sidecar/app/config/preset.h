/* app/config/preset.h: providers as data (presets/NAME.yaml, part of the program).   Pure.
 *
 * A preset has: about (one line), documentation (URL of the provider's page it was written from), values (what the
 * credential must say for it: a name and a sentence each; `name?` may be left out, `name?other` where other is given:
 * app/config/preset_values.h), credential (keys of credentials.NAME) and rules (a list as in the file, without
 * credential).  ${name} in it stands for a value. */
#ifndef SIDEKEY_APP_CONFIG_PRESET_H
#define SIDEKEY_APP_CONFIG_PRESET_H

#include "app/config/preset_values.h"

/* Keys of a credential that are values of presets; a NULL ends the list. */
extern const char *const preset_values[];

/* Calls fn for each preset, in order of name. text: its YAML. */
void preset_each(void (*fn)(void *arg, const char *name, const char *about, const char *text), void *arg);
/* The YAML text of a preset, or NULL; *ret_nearest (may be NULL) is then the name that was probably meant, or NULL. */
const char *preset_text(const char *name, const char **ret_nearest);
/* Calls fn for each value that the preset takes, in its order, as long as fn returns 0.  Returns what fn returned last;
 * -1: there is no such preset.  The value is valid during the call. */
int preset_each_value(const char *preset, int (*fn)(void *arg, const struct preset_value *value), void *arg);
/* It knows the hosts of the API. */
bool preset_has_rules(const char *preset);
/* Reader of the keys preset_values: what is left of them when the presets are filled in has no meaning. */
int preset_read_value(struct schema *s, const struct field *f, const json_t *node, void *spec);

#endif
