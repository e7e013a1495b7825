#include "base/own_env.h"

#include "base/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

extern char **environ;

struct taken {
    struct list node;
    struct secret value;
    bool set; /* also of an empty value */
    char name[];
};

static struct list all = { &all, &all };

/* What a library of ours would follow: keys of every TLS session written to a file, modules loaded, its own tables of
 * names and hosts replaced.  SSL_CERT_FILE and SSL_CERT_DIR stay: they add roots, and operators use them. */
static struct {
    const char *name;
    char *entry; /* "NAME=value", taken out of environ */
} unwanted[] = { { "SSLKEYLOGFILE", NULL },   { "OPENSSL_CONF", NULL },    { "OPENSSL_CONF_INCLUDE", NULL },
                 { "OPENSSL_MODULES", NULL }, { "OPENSSL_ENGINES", NULL }, { "OPENSSL_TRACE", NULL },
                 { "QLOGDIR", NULL },         { "CURL_HOME", NULL },       { "CURL_SSL_BACKEND", NULL },
                 { "HOSTALIASES", NULL },     { "GCONV_PATH", NULL } };

static bool is_named(const char *entry, const char *name)
{
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* Takes the next "name=…" out of environ; NULL: there is none. */
static char *take_entry(const char *name)
{
    for (char **at = environ; at && *at; at++)
        if (is_named(*at, name)) {
            char *entry = *at;
            for (; *at; at++)
                at[0] = at[1];
            return entry;
        }
    return NULL;
}

void own_env_begin(void)
{
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        for (char *entry; (entry = take_entry(unwanted[i].name));)
            unwanted[i].entry = unwanted[i].entry ? unwanted[i].entry : entry; /* the first one counts */
}

void own_env_give_back(void)
{
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        if (unwanted[i].entry)
            (void)putenv(unwanted[i].entry);
}

static struct taken *find(const char *name)
{
    for (struct list *n = all.next; n != &all; n = n->next)
        if (strcmp(LIST_ENTRY(n, struct taken, node)->name, name) == 0)
            return LIST_ENTRY(n, struct taken, node);
    return NULL;
}

static void drop(struct taken *t)
{
    list_remove(&t->node);
    secret_done(&t->value);
    free(t);
}

int own_env_take(const char *name)
{
    const char *value = getenv(name);
    if (!value || find(name))
        return 0;
    size_t len = strlen(name) + 1;
    struct taken *t = malloc(sizeof *t + len);
    if (!t)
        return -ENOMEM;
    *t = (struct taken){ .set = true };
    memcpy(t->name, name, len);
    list_init(&t->node);
    if (secret_set(&t->value, slice_str(value)) != 0) {
        free(t);
        return -ENOMEM;
    }
    list_push(&all, &t->node);
    for (char *entry; (entry = take_entry(name));)
        explicit_bzero(entry + len, strlen(entry + len)); /* len: the name and its '=' */
    return 0;
}

struct slice own_env_get(const char *name)
{
    const struct taken *t = find(name);
    const char *value = t ? NULL : getenv(name);
    if (!t)
        return slice_of(value, value ? strlen(value) : 0);
    return t->value.len ? secret_peek(&t->value) : SLICE("");
}

static char *entry_of(const struct taken *t)
{
    struct slice value = t->value.len ? secret_peek(&t->value) : SLICE("");
    size_t size = strlen(t->name) + 1 + value.len + 1;
    char *entry = malloc(size);
    if (entry)
        snprintf(entry, size, "%s=%.*s", t->name, (int)value.len, value.ptr);
    return entry;
}

/* Entries at the end of *io_end are copies of ours. */
static int add_entry(char ***io_end, char *entry)
{
    *(*io_end)++ = entry;
    return entry ? 0 : -ENOMEM;
}

static size_t count_environ(void)
{
    size_t count = 0;
    while (environ && environ[count])
        count++;
    return count;
}

char **own_env_whole(void)
{
    size_t count = count_environ() + sizeof unwanted / sizeof *unwanted + 1;
    for (struct list *n = all.next; n != &all; n = n->next)
        count++;
    char **block = calloc(count, sizeof *block), **end = block;
    int failed = block ? 0 : -ENOMEM;
    for (size_t i = 0; !failed && environ && environ[i]; i++)
        failed = add_entry(&end, strdup(environ[i]));
    for (size_t i = 0; !failed && i < sizeof unwanted / sizeof *unwanted; i++)
        if (unwanted[i].entry)
            failed = add_entry(&end, strdup(unwanted[i].entry));
    for (struct list *n = all.next; !failed && n != &all; n = n->next)
        failed = add_entry(&end, entry_of(LIST_ENTRY(n, struct taken, node)));
    if (!failed)
        return block;
    own_env_whole_free(block);
    return NULL;
}

void own_env_whole_free(char **block)
{
    for (size_t i = 0; block && block[i]; i++) {
        explicit_bzero(block[i], strlen(block[i]));
        free(block[i]);
    }
    free(block);
}

void own_env_keep(bool (*keep)(void *arg, const char *name), void *arg)
{
    for (struct list *n = all.next, *next; n != &all; n = next) {
        struct taken *t = LIST_ENTRY(n, struct taken, node);
        next = n->next;
        if (!keep(arg, t->name))
            drop(t);
        else if (t->value.ptr)
            (void)mlock(t->value.ptr, t->value.mapped);
    }
}
