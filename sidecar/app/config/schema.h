/* app/config/schema.h: the one walker that checks a tree against a table of keys (app/config/field.h) and fills plain
 * structs. The table is the only description of the configuration: parser, defaults, SIDEKEY_* variables and
 * docs/config.schema.json all come from it.   Errors go to the reporter as "FILE:LINE:COLUMN: key.path: what", values
 * of secrets never do. */
#ifndef SIDEKEY_APP_CONFIG_SCHEMA_H
#define SIDEKEY_APP_CONFIG_SCHEMA_H

#include "app/config/config_seen.h"
#include "app/config/field.h"
#include "base/secret_ref.h"
#include "app/config/tree.h"
#include "base/buf.h"

/* text: "FILE:LINE:COLUMN: key.path: what"; valid during the call. */
typedef void schema_report_fn(void *arg, bool warning, const char *text);

enum schema_files {                      /* whose absence is an error */
                    SCHEMA_FILES_NEEDED, /* certificates and their keys; a secret may still come ("serve") */
                    SCHEMA_FILES_ALL,    /* secrets too ("check") */
                    SCHEMA_FILES_NONE,   /* another user, or another machine, will read them ("why", "env") */
};

struct schema { /* one walk */
    const struct tree *tree;
    const char *file;
    void *root; /* the struct of the outermost table, for checks */
    bool allow_inline;
    enum schema_files files;
    const char *const *set; /* NULL-terminated "listen.proxy=127.0.0.1:0", or NULL */
    uint64_t set_used;
    schema_report_fn *report; /* told of everything that is wrong, not only the first; may be NULL */
    void *report_arg;
    struct err *e;           /* the first error */
    struct config_seen seen; /* which files are named */
    unsigned errors;
    bool untrusted;      /* one of the errors: another user can write a file that the configuration names */
    char path[256];      /* where the walk is: "credentials.crm" */
    const char *foreign; /* the value at hand comes from this variable or flag, not from the file */
};

/* Fills base from node (NULL: defaults only) by table t.  0; -1 when anything was wrong (all of it reported). */
MUST_CHECK int schema_read(struct schema *s, const struct table *t, const json_t *node, void *base);
/* Reports an error at node (NULL: the whole file).  Returns -1. */
int schema_error(struct schema *s, const json_t *node, const char *format, ...) PRINTF_LIKE(3, 4);
/* As schema_error, at the key whose value node is. */
int schema_error_key(struct schema *s, const json_t *node, const char *format, ...) PRINTF_LIKE(3, 4);
void schema_warn(struct schema *s, const json_t *node, const char *format, ...) PRINTF_LIKE(3, 4);
/* A scalar's text, for custom readers; NULL (reported) when it is none. */
const char *schema_text(struct schema *s, const json_t *node);
/* Reads a reference to a secret into *ref, for custom readers.  0; -1, reported. */
int schema_secret(struct schema *s, const json_t *node, struct secret_ref *ref);
/* Appends JSON Schema 2020-12 for t.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int schema_print(const struct table *t, const char *title, struct buf *out);

#endif
