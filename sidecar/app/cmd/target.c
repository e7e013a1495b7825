#include "app/cmd/target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPTS_MAX 4   /* interpreters that are scripts themselves; the kernel takes five */
#define HEADERS_MAX 512 /* program headers and sections that are looked at */
#define NAMES_MAX 65536 /* bytes of section names */

static const char *const kind_text[] = {
    [TARGET_DYNAMIC] = "a dynamic program",
    [TARGET_STATIC] = "a static program",
    [TARGET_GO] = "a Go program",
    [TARGET_FOREIGN] = "a program for another kind of processor",
    [TARGET_PRIVILEGED] = "a set-user-ID program or one with file capabilities",
    [TARGET_UNKNOWN] = "a program of unknown format",
};

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

static bool read_at(int fd, void *to, size_t size, uint64_t at)
{
    return at <= INT64_MAX && pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

/* The offset and size of one header of either class. */
struct part {
    uint32_t type;
    uint64_t at, size;
};

static bool program_header(int fd, const Elf64_Ehdr *h, bool wide, unsigned i, struct part *ret)
{
    Elf64_Phdr p;
    Elf32_Phdr q;
    uint64_t at = h->e_phoff + (uint64_t)i * h->e_phentsize;
    if (wide) {
        if (!read_at(fd, &p, sizeof p, at))
            return false;
        *ret = (struct part){ p.p_type, p.p_offset, p.p_filesz };
    } else {
        if (!read_at(fd, &q, sizeof q, at))
            return false;
        *ret = (struct part){ q.p_type, q.p_offset, q.p_filesz };
    }
    return true;
}

/* Go's linker writes a section .go.buildinfo; stripped programs keep it, since "go version" reads it. */
static bool is_go(int fd, const Elf64_Ehdr *h)
{
    Elf64_Shdr names, s;
    bool found = false;
    if (h->e_shnum > HEADERS_MAX || h->e_shstrndx >= h->e_shnum
        || !read_at(fd, &names, sizeof names, h->e_shoff + (uint64_t)h->e_shstrndx * h->e_shentsize)
        || names.sh_size == 0 || names.sh_size > NAMES_MAX)
        return false;
    char *text = malloc(names.sh_size + 1);
    if (text && read_at(fd, text, names.sh_size, names.sh_offset)) {
        text[names.sh_size] = '\0';
        for (unsigned i = 0; i < h->e_shnum && !found; i++)
            found = read_at(fd, &s, sizeof s, h->e_shoff + (uint64_t)i * h->e_shentsize) && s.sh_name < names.sh_size
                    && strcmp(text + s.sh_name, ".go.buildinfo") == 0;
    }
    free(text);
    return found;
}

/* The ELF header as the 64-bit one, whatever its class. */
static bool read_header(int fd, Elf64_Ehdr *h, bool *ret_wide)
{
    Elf32_Ehdr q;
    if (!read_at(fd, &q, sizeof q, 0) || memcmp(q.e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    *ret_wide = q.e_ident[EI_CLASS] == ELFCLASS64;
    if (*ret_wide)
        return read_at(fd, h, sizeof *h, 0);
    *h = (Elf64_Ehdr){
        .e_machine = q.e_machine, .e_phoff = q.e_phoff, .e_phentsize = q.e_phentsize, .e_phnum = q.e_phnum
    };
    memcpy(h->e_ident, q.e_ident, EI_NIDENT);
    return true;
}

/* The class and machine of this very binary: the preload library has the same. */
static bool is_foreign(const Elf64_Ehdr *h)
{
    Elf64_Ehdr own;
    bool wide = false, same = true;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        same = !read_header(fd, &own, &wide)
               || (own.e_machine == h->e_machine && own.e_ident[EI_CLASS] == h->e_ident[EI_CLASS]);
        close(fd);
    }
    return !same;
}

static enum target_kind elf_kind(int fd, const Elf64_Ehdr *h, bool wide)
{
    struct part p;
    bool interpreter = false;
    if (is_foreign(h))
        return TARGET_FOREIGN;
    for (unsigned i = 0; i < h->e_phnum && i < HEADERS_MAX; i++)
        if (program_header(fd, h, wide, i, &p))
            interpreter |= p.type == PT_INTERP;
    if (wide && is_go(fd, h))
        return TARGET_GO;
    return interpreter ? TARGET_DYNAMIC : TARGET_STATIC;
}

/* The loader enters secure mode and ignores LD_PRELOAD where the identity or the capabilities change.  root that runs a
 * file of root's with the set-user-ID bit changes neither. */
static bool is_privileged(int fd, const struct stat *st)
{
    return ((st->st_mode & S_ISUID) && st->st_uid != getuid())
           || ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) && st->st_gid != getgid())
           || (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0);
}

static enum target_kind inspect_file(int fd, char *line, size_t line_size)
{
    Elf64_Ehdr h;
    struct stat st;
    bool wide = false;
    *line = '\0';
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return TARGET_UNKNOWN;
    ssize_t got = pread(fd, line, line_size - 1, 0);
    line[got > 0 ? got : 0] = '\0';
    if (line[0] != '#' || line[1] != '!')
        *line = '\0';
    else
        line[strcspn(line, "\r\n")] = '\0';
    if (is_privileged(fd, &st) && !*line)
        return TARGET_PRIVILEGED; /* the kernel ignores the bits of scripts */
    return read_header(fd, &h, &wide) ? elf_kind(fd, &h, wide) : TARGET_UNKNOWN;
}

int target_inspect(const char *name, struct target *ret, struct err *e)
{
    char line[512];
    *ret = (struct target){ .kind = TARGET_UNKNOWN };
    if (find(name, ret->path, e) != 0)
        return -1;
    for (int i = 0; i < SCRIPTS_MAX; i++) {
        int fd = open(ret->path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            break; /* it may be run and not read: nothing is known of it */
        ret->kind = inspect_file(fd, line, sizeof line);
        close(fd);
        if (!*line)
            break;
        if (!*ret->script)
            memcpy(ret->script, ret->path, sizeof ret->script);
        if (script_interpreter(line + 2, ret->path) != 0)
            break;
    }
    ret->what = kind_text[ret->kind];
    return 0;
}

bool target_preloads(const struct target *t)
{
    return t->kind == TARGET_DYNAMIC || t->kind == TARGET_UNKNOWN;
}
