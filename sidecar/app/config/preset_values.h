/* app/config/preset_values.h: what a preset asks the user for, and whether what was said will do.   Pure. */
#ifndef SIDEKEY_APP_CONFIG_PRESET_VALUES_H
#define SIDEKEY_APP_CONFIG_PRESET_VALUES_H

#include "app/config/schema.h"

#define PRESET_KEY_MAX 64 /* bytes of a key or a preset's name, with its end */

struct preset_value {
    char key[PRESET_KEY_MAX];
    /* NULL: it must be there. "": it may be left out.  Else the key that may be given instead; a configuration may have
     * neither, because it can say the same under other keys. */
    const char *unless;
    const char *about; /* a sentence */
};

/* A member of a preset's `values`: word is "key", "key?" or "key?other".  about NULL is treated as "". */
struct preset_value preset_value_of(const char *word, const json_t *about);
/* NULL, or what is wrong with text as the value of key; a constant.  preset: its YAML. */
const char *preset_value_wrong(const char *preset, const char *key, const char *text);
/* All values that the preset (name, YAML text, `values`) needs stand in the credential, and will do.  0; -1, reported.
 */
MUST_CHECK int preset_values_check(struct schema *s, const json_t *credential, const char *name, const char *preset,
                                   const json_t *values);

#endif
