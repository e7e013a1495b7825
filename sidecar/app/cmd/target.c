#include "app/cmd/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRIPTS_MAX 4 /* interpreters that are scripts themselves; the kernel takes five */
#define LINE_MAX_BYTES 512

const char *target_text(enum elf_kind kind)
{
    static const char *const texts[ELF_KINDS] = {
        [ELF_DYNAMIC] = "a dynamic program",
        [ELF_STATIC] = "a static program",
        [ELF_GO] = "a Go program",
        [ELF_FOREIGN] = "a program for another CPU architecture",
        [ELF_PRIVILEGED] = "a set-user-ID program or one with file capabilities",
        [ELF_SCRIPT] = "a script",
        [ELF_UNKNOWN] = "a program of unknown format",
        [ELF_UNREADABLE] = "a program that cannot be read, so its type is unknown",
        [ELF_OTHER_ID] = "a program that is started with an effective user or group other than the real one",
        [ELF_NO_LIBRARY] = "a program that does not see the library (another root directory, or no permission)",
    };
    return texts[kind];
}

/* As execvp(3): a name with a slash is a path, any other is looked for in PATH. */
static int find(const char *name, char *path, struct err *e)
{
    const char *dirs = getenv("PATH");
    if (strchr(name, '/')) {
        if (access(name, X_OK) != 0)
            return err_set(e, "%s: %s", name, strerror(errno));
        snprintf(path, PATH_MAX, "%s", name);
        return 0;
    }
    for (const char *at = dirs ? dirs : "/bin:/usr/bin"; *name;) {
        size_t len = strcspn(at, ":");
        int written =
            len ? snprintf(path, PATH_MAX, "%.*s/%s", (int)len, at, name) : snprintf(path, PATH_MAX, "%s", name);
        struct stat st;
        if (written < PATH_MAX && stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return 0;
        if (!at[len])
            break;
        at += len + 1;
    }
    return err_set(e, "%s: no such program in PATH", name);
}

/* "#! /usr/bin/env -S python3 -u" → "python3": what env starts is what matters. */
static int script_interpreter(char *line, char *path)
{
    char *rest = NULL, *word = strtok_r(line, " \t", &rest);
    struct err ignored;
    if (!word)
        return -1;
    const char *base = strrchr(word, '/');
    if (base && strcmp(base, "/env") == 0) {
        do
            word = strtok_r(NULL, " \t", &rest);
        while (word && (*word == '-' || strchr(word, '=')));
        if (!word)
            return -1;
    }
    return find(word, path, &ignored);
}

/* The line after "#!" of a script; false: it has none. */
static bool first_line(int fd, char line[LINE_MAX_BYTES])
{
    ssize_t got = pread(fd, line, LINE_MAX_BYTES - 1, 2);
    line[got > 0 ? got : 0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return *line;
}

int target_inspect(const char *name, struct target *ret, struct err *e)
{
    char line[LINE_MAX_BYTES];
    *ret = (struct target){ .kind = ELF_UNKNOWN };
    if (find(name, ret->path, e) != 0)
        return -1;
    for (int i = 0; i < SCRIPTS_MAX; i++) {
        int fd = open(ret->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            fd = open(ret->path, O_PATH | O_CLOEXEC); /* it may be run and not read */
        if (fd < 0)
            break;
        ret->kind = elf_kind_of(fd);
        bool script = ret->kind == ELF_SCRIPT && first_line(fd, line);
        close(fd);
        if (ret->kind == ELF_SCRIPT)
            ret->kind = ELF_UNKNOWN;
        if (!script)
            break;
        if (!*ret->script)
            memcpy(ret->script, ret->path, sizeof ret->script);
        if (script_interpreter(line, ret->path) != 0)
            break;
    }
    return 0;
}

bool target_preloads(enum elf_kind kind)
{
    return kind == ELF_DYNAMIC || kind == ELF_UNKNOWN;
}

/* name is one of the words, or one of them and a version: "python3.11", "php8.2". */
static bool is_one_of(const char *name, const char *const *words)
{
    for (; *words; words++) {
        size_t len = strlen(*words);
        if (strncmp(name, *words, len) == 0 && strspn(name + len, "0123456789.") == strlen(name + len))
            return true;
    }
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum target_proxy target_proxy(const struct target *t)
{
    static const char *const honour[] = { "curl", "wget", "git",    "aria2c", "apt",     "apt-get", "cargo",  "gh",
                                          "npm",  "npx",  "pip",    "uv",     "kubectl", "skopeo",  "rclone", "restic",
                                          "w3m",  "lynx", "elinks", "http",   "aws",     "bun",     "deno",   NULL };
    static const char *const ignore[] = { "node",     "nodejs",  "java",       "php", "erl",
                                          "beam.smp", "openssl", "gnutls-cli", "svn", NULL };
    if (is_one_of(base_name(*t->script ? t->script : t->path), honour))
        return TARGET_PROXY_HONOURS;
    return is_one_of(base_name(t->path), ignore) ? TARGET_PROXY_IGNORES : TARGET_PROXY_UNKNOWN;
}
