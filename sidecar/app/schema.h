/* app/schema.h: a table of keys, and the one walker that checks a tree against it and fills plain structs.
 * The table is the only description of the configuration: parser, defaults, SIDEKEY_* variables and docs/config.schema.json
 * all come from it.   Errors go to the reporter as "FILE:LINE:COLUMN: key.path: what", values of secrets never do. */
#ifndef SIDEKEY_APP_SCHEMA_H
#define SIDEKEY_APP_SCHEMA_H

#include "app/tree.h"
#include "base/buf.h"

enum field_type {
    FIELD_STRING,   /* char *, heap */
    FIELD_BOOL,     /* bool */
    FIELD_UINT,     /* unsigned, min … max */
    FIELD_PORT,     /* uint16_t */
    FIELD_DURATION, /* int64_t milliseconds, min … max */
    FIELD_SIZE,     /* uint64_t bytes, min … max */
    FIELD_ENUM,     /* an enum: the place in words */
    FIELD_ADDRESS,  /* struct address; "off" when words says so */
    FIELD_STRINGS,  /* char **, NULL-terminated */
    FIELD_PAIRS,    /* struct { char *name, *value; } * and a count at count_at */
    FIELD_SECRET,   /* struct secret_ref */
    FIELD_OBJECT,   /* the keys of table, in the same struct */
    FIELD_LIST,     /* structs and a count: a list of objects */
    FIELD_MAP,      /* the same from an object: its keys become names */
    FIELD_CUSTOM,   /* read() does it */
    FIELD_LATER,    /* known, and not supported in this version */
};

enum field_flags {
    FIELD_REQUIRED = 1,
    FIELD_ENV = 2,  /* a scalar that --set and SIDEKEY_SECTION_KEY may give */
    FIELD_FILE = 4, /* the string is a path that must be readable */
    FIELD_KEY = 8,  /* … and that others should not be able to read */
};

struct schema;
struct field;

struct table {                 /* the keys of one object */
    const struct field *fields; /* up to a row without a key */
    size_t size;               /* lists and maps: bytes of one element */
    size_t name_at;            /* maps: where its name (char *) goes */
    void (*init)(void *element); /* before the fields are read; NULL: zero bytes are right */
    /* After all fields were read without an error: what no single field can judge.  node: NULL when nothing was written. 0; -1, reported. */
    int (*check)(struct schema *s, const json_t *node, void *element);
};

struct field {
    const char *key;
    enum field_type type;
    unsigned flags;
    size_t at, count_at;
    const char *initial; /* the default, as one would write it; NULL: zero, or see about */
    const char *about;   /* one sentence, for the schema */
    uint64_t min, max;   /* max 0: no limits */
    const char *const *words; /* enum: NULL-terminated */
    const char *const *later; /* enum: words of later versions */
    const struct table *table;
    /* Strings: NULL, or what is wrong with it. May normalise, or replace, *io_text (heap). Never repeats the value. */
    const char *(*check)(char **io_text);
    int (*read)(struct schema *s, const struct field *f, const json_t *node, void *base); /* custom: 0; -1, reported */
    const char *json; /* custom: its JSON Schema */
};

typedef void schema_report_fn(void *arg, bool warning, const char *text);

struct schema { /* one walk */
    const struct tree *tree;
    const char *file;
    void *root; /* the struct of the outermost table, for checks */
    bool allow_inline, check_files;
    const char *const *set; /* NULL-terminated "listen.proxy=127.0.0.1:0", or NULL */
    uint64_t set_used;
    schema_report_fn *report; /* told of everything that is wrong, not only the first; may be NULL */
    void *report_arg;
    struct err *e;       /* the first error */
    unsigned errors;
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
/* Enters and leaves a part of the path: mark = schema_enter(s, "name"); …; schema_leave(s, mark). */
size_t schema_enter(struct schema *s, const char *key);
size_t schema_enter_item(struct schema *s, size_t index);
void schema_leave(struct schema *s, size_t mark);
/* Appends JSON Schema 2020-12 for t.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int schema_print(const struct table *t, const char *title, struct buf *out);

#endif
