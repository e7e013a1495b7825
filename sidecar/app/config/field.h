/* app/config/field.h: one key of the configuration as a row of a table, and a table as the keys of one object.   Data
 * only. */
#ifndef SIDEKEY_APP_CONFIG_FIELD_H
#define SIDEKEY_APP_CONFIG_FIELD_H

#include <jansson.h>

#include "base/slice.h"

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

struct table {                   /* the keys of one object */
    const struct field *fields;  /* up to a row without a key */
    size_t size;                 /* lists and maps: bytes of one element */
    size_t name_at;              /* maps: where its name (char *) goes */
    void (*init)(void *element); /* before the fields are read; NULL: zero bytes are right */
    /* After all fields were read without an error: what no single field can judge.  node: NULL when nothing was
     * written. 0; -1, reported. */
    int (*check)(struct schema *s, const json_t *node, void *element);
};

struct field {
    const char *key;
    enum field_type type;
    unsigned flags;
    size_t at, count_at;
    const char *initial;      /* the default, as one would write it; NULL: zero, or see about */
    const char *about;        /* one sentence, for the schema */
    uint64_t min, max;        /* max 0: no limits */
    const char *const *words; /* enum: NULL-terminated */
    const char *const *later; /* enum: words of later versions */
    const struct table *table;
    const struct field *beside; /* maps: keys that are no names but settings of the struct around, up to one without */
    /* Strings: NULL, or what is wrong with it. May normalise, or replace, *io_text (heap). Never repeats the value. */
    const char *(*check)(char **io_text);
    int (*read)(struct schema *s, const struct field *f, const json_t *node, void *base); /* custom: 0; -1, reported */
    const char *json;                                                                     /* custom: its JSON Schema */
};

/* The keys ca_file, cert_file and key_file of a TLS connection of ours, as rows of a table.  AT: where a member is in
 * the struct; may: more flags for each. */
#define FIELD_TLS_FILES(AT, may)                                                                                       \
    { "ca_file", FIELD_STRING, (may) | FIELD_FILE, .at = AT(ca_file),                                                  \
      .about = "CA certificates (PEM), added to the system's." },                                                      \
        { "cert_file", FIELD_STRING, (may) | FIELD_FILE, .at = AT(cert_file),                                          \
          .about = "Client certificate (PEM), with key_file." },                                                       \
        { "key_file", FIELD_STRING, (may) | FIELD_FILE | FIELD_KEY, .at = AT(key_file),                                \
          .about = "Key of cert_file (PEM)." }

#endif
