/* system() and popen(): libc starts the shell with environ by a call that we do not see.  When a program has emptied
 * its environment, the command itself begins with the exports that are missing; environ is the program's and stays as
 * it is. */
#include "preload/preload.h"

#include <string.h>

#define COMMAND_MAX                                                                                                    \
    (128 * 1024) /* the kernel takes no longer argument (MAX_ARG_STRLEN): such a command fails by itself */

extern char **environ;

typedef int system_fn(const char *);
typedef void *popen_fn(const char *, const char *);

static bool in_environ(const char *name, size_t n, const char *must_hold)
{
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return !must_hold || strstr(*e, must_hold);
    return false;
}

/* Appends "export NAME='value'\n", or counts only (at NULL).  A quote inside becomes '\''. */
static size_t add_export(char *at, const char *name, size_t name_length, const char *value)
{
    size_t n = 0;
#define PUT(c) (at ? (void)(at[n] = (c)) : (void)0, n++)
    for (const char *word = "export "; *word; word++)
        PUT(*word);
    for (size_t i = 0; i < name_length; i++)
        PUT(name[i]);
    PUT('=');
    PUT('\'');
    for (; *value; value++) {
        PUT(*value);
        if (*value == '\'') {
            PUT('\\');
            PUT('\'');
            PUT('\'');
        }
    }
    PUT('\'');
    PUT('\n');
#undef PUT
    return n;
}

/* The exports that environ lacks; at NULL: only their length. */
static size_t add_exports(const struct preload *p, char *at)
{
    size_t n = 0;
    for (size_t i = 0; i < p->keep_count; i++) {
        const char *entry = p->text + p->keep[i];
        size_t name = strcspn(entry, "=");
        if (!in_environ(entry, name, NULL))
            n += add_export(at ? at + n : NULL, entry, name, entry + name + 1);
    }
    if (p->preload && !in_environ("LD_PRELOAD", 10, "libsidekey-preload"))
        n += add_export(at ? at + n : NULL, "LD_PRELOAD", 10, p->text + p->preload);
    return n;
}

/* Bytes for the longer command; 0: none is needed. */
static size_t command_room(enum hook h, const char *command)
{
    const struct preload *p = preload_get();
    size_t n = command && !p->off[h] && p->keep_count ? add_exports(p, NULL) : 0;
    size_t length = n ? strlen(command) : 0;
    return n && length <= COMMAND_MAX ? n + length + 1 : 0;
}

static const char *command_fill(char *memory, const char *command)
{
    strcpy(memory + add_exports(preload_get(), memory), command);
    return memory;
}

HOOK(int, system, const char *command)
{
    system_fn *real = REAL(system_fn, system);
    size_t room = command_room(HOOK_system, command);
    if (!real) {
        errno = ENOSYS;
        return -1;
    }
    return real(room ? command_fill(__builtin_alloca(room), command) : command);
}

HOOK(void *, popen, const char *command, const char *type)
{
    popen_fn *real = REAL(popen_fn, popen);
    size_t room = command_room(HOOK_popen, command);
    if (!real) {
        errno = ENOSYS;
        return NULL;
    }
    return real(room ? command_fill(__builtin_alloca(room), command) : command, type);
}
