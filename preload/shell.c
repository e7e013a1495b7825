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

/* Each of these appends to at, or counts only (at NULL), and returns the length. */
static size_t add_text(char *at, const char *text, size_t length)
{
    if (at)
        memcpy(at, text, length);
    return length;
}

/* In single quotes; a quote inside becomes '\''. */
static size_t add_quoted(char *at, const char *text)
{
    size_t n = add_text(at, "'", 1);
    for (; *text; text++) {
        bool quote = *text == '\'';
        n += add_text(at ? at + n : NULL, quote ? "'\\''" : text, quote ? 4 : 1);
    }
    return n + add_text(at ? at + n : NULL, "'", 1);
}

static size_t add_export(char *at, const char *name, size_t name_length, const char *value)
{
    size_t n = add_text(at, "export ", 7);
    n += add_text(at ? at + n : NULL, name, name_length);
    n += add_text(at ? at + n : NULL, "=", 1);
    n += add_quoted(at ? at + n : NULL, value);
    return n + add_text(at ? at + n : NULL, "\n", 1);
}

static bool lacks_us(const struct preload *p)
{
    return p->preload && !in_environ("LD_PRELOAD", 10, "libsidekey-preload");
}

/* The exports that environ lacks. */
static size_t add_exports(const struct preload *p, char *at)
{
    size_t n = 0;
    for (size_t i = 0; i < p->keep_count; i++) {
        const char *entry = p->text + p->keep[i];
        size_t name = strcspn(entry, "=");
        if (!in_environ(entry, name, NULL))
            n += add_export(at ? at + n : NULL, entry, name, entry + name + 1);
    }
    if (lacks_us(p))
        n += add_export(at ? at + n : NULL, "LD_PRELOAD", 10, p->text + p->preload);
    return n;
}

/* The longer command.  A shell that was started without us does not inspect what it starts: another one does. */
static size_t add_command(const struct preload *p, char *at, const char *command)
{
    static const char again[] = "exec /bin/sh -c ";
    size_t n = add_exports(p, at);
    if (!lacks_us(p))
        return n + add_text(at ? at + n : NULL, command, strlen(command));
    n += add_text(at ? at + n : NULL, again, sizeof again - 1);
    return n + add_quoted(at ? at + n : NULL, command);
}

/* Bytes for the longer command; 0: none is needed. */
static size_t command_space(enum hook h, const char *command)
{
    const struct preload *p = preload_get();
    bool needed = command && !p->off[h] && p->keep_count && add_exports(p, NULL);
    return needed && strlen(command) <= COMMAND_MAX ? add_command(p, NULL, command) + 1 : 0;
}

static const char *command_fill(char *memory, const char *command)
{
    memory[add_command(preload_get(), memory, command)] = '\0';
    return memory;
}

HOOK(int, system, const char *command)
{
    system_fn *real = REAL(system_fn, system);
    size_t space = command_space(HOOK_system, command);
    if (!real) {
        errno = ENOSYS;
        return -1;
    }
    return real(space ? command_fill(__builtin_alloca(space), command) : command);
}

HOOK(void *, popen, const char *command, const char *type)
{
    popen_fn *real = REAL(popen_fn, popen);
    size_t space = command_space(HOOK_popen, command);
    if (!real) {
        errno = ENOSYS;
        return NULL;
    }
    return real(space ? command_fill(__builtin_alloca(space), command) : command, type);
}
