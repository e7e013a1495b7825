/* app/config/preset_expand.h: a credential with `preset: NAME` gets what it does not say itself from the preset, and
 * rules for the preset's hosts when no rule names the credential.  Works on the tree, before the schema reads it: what
 * comes from a preset is checked like what the user wrote.   Pure. */
#ifndef SIDEKEY_APP_CONFIG_PRESET_EXPAND_H
#define SIDEKEY_APP_CONFIG_PRESET_EXPAND_H

#include "app/config/schema.h"

/* Fills in the presets of all credentials of y, the tree that s reads.  Returns 0; -1, reported. */
MUST_CHECK int preset_expand(struct schema *s, struct tree *y);

#endif
