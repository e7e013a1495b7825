/* app/config/tree.h: a YAML 1.1 or JSON text as a jansson tree with the position of each value.   Pure.
 * Every scalar is a JSON string (the schema decides its type, so "no" is not read as a boolean); tree_mark() tells
 * whether it was written plain.  Refused: aliases, anchors, tags, repeated keys, keys that are no scalars, NUL, a
 * second document. Owner  tree_parse()'s caller, through tree_free(). */
#ifndef SIDEKEY_APP_CONFIG_TREE_H
#define SIDEKEY_APP_CONFIG_TREE_H

#include <jansson.h>

#include "base/err.h"

#define TREE_MAX_BYTES (1024 * 1024)
#define TREE_MAX_DEPTH 16

struct tree; /* not "yaml": libyaml exports yaml_free() for itself */

struct tree_mark {
    unsigned line, column;         /* of the value, from 1; 0: not a node of this tree */
    unsigned key_line, key_column; /* of its key; 0: it has none */
    bool plain;                    /* a scalar without quotes */
};

/* NULL with e: "LINE:COLUMN: what".  An empty text is an empty object. */
MUST_CHECK struct tree *tree_parse(struct slice text, struct err *e);
void tree_free(struct tree *y);
/* Borrowed, as are all nodes in it; never NULL. */
const json_t *tree_root(const struct tree *y);
/* Where the node stood in the text.  All 0 for NULL and for nodes of other trees. */
struct tree_mark tree_mark(const struct tree *y, const json_t *node);
/* The same root, for who adds to the tree before it is read (app/config/preset.h). */
json_t *tree_edit(struct tree *y);
/* A node that was added gets a place: that of what it was made from.  Returns 0; -ENOMEM. */
MUST_CHECK int tree_place(struct tree *y, const json_t *node, struct tree_mark mark);
/* A plain null, ~ or nothing at all: the key was written, the value was not. */
bool tree_is_null(const struct tree *y, const json_t *node);

/* "0.2.5": the version of libyaml that is loaded. */
const char *tree_library(void);

#endif
