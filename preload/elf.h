/* preload/elf.h: what kind of program a file is, and whether the loader will put the preload library into it.
 *
 * Shared, like table.h, by "sidekey run", which looks at the program that it starts, and by the library's exec hooks,
 * which look at the children of that program.   Async-signal-safe and safe in a vfork child: it reads with pread() and
 * fstat() alone, allocates nothing, writes only to the caller's memory.   Source: elf(5), ld.so(8) "Secure-execution
 * mode", Go's debug/buildinfo (section .go.buildinfo). */
#ifndef SIDEKEY_PRELOAD_ELF_H
#define SIDEKEY_PRELOAD_ELF_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum elf_kind {
    ELF_DYNAMIC,    /* the loader reads LD_PRELOAD: glibc or musl */
    ELF_STATIC,     /* no loader: only proxy variables reach it */
    ELF_GO,         /* … and Go's resolver and connect() are its own, even when it is dynamic */
    ELF_FOREIGN,    /* another ELF class or machine than ours */
    ELF_PRIVILEGED, /* set-user-ID, set-group-ID or file capabilities: the loader ignores LD_PRELOAD */
    ELF_SCRIPT,     /* "#!": the interpreter decides */
    ELF_UNKNOWN,    /* not ELF: nothing is known */
    ELF_UNREADABLE, /* it may be run and not read: nothing is known */
    ELF_OTHER_ID, /* started with an effective user or group that is not the real one: the loader ignores LD_PRELOAD */
    ELF_NO_LIBRARY, /* the library is not where it is started: another root directory, or no permission */
};
#define ELF_KINDS 10

#define ELF_HEADERS_MAX 512 /* program headers or sections that are looked at */

#if UINTPTR_MAX > UINT32_MAX
#define ELF_OWN_CLASS ELFCLASS64
#else
#define ELF_OWN_CLASS ELFCLASS32
#endif
#if defined(__x86_64__)
#define ELF_OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define ELF_OWN_MACHINE EM_AARCH64
#else
#define ELF_OWN_MACHINE EM_NONE /* not compared */
#endif

static inline bool elf_read(int fd, void *to, size_t size, uint64_t at)
{
    return at <= INT64_MAX && pread(fd, to, size, (off_t)at) == (ssize_t)size;
}

/* The loader ignores LD_PRELOAD where the file changes the identity or the capabilities. */
static inline bool elf_privileged(int fd, const struct stat *st)
{
    return ((st->st_mode & S_ISUID) && st->st_uid != getuid())
           || ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) && st->st_gid != getgid())
           || (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0);
}

/* Stripped programs keep the section: "go version" reads it. */
static inline bool elf_is_go(int fd, const Elf64_Ehdr *h)
{
    static const char name[] = ".go.buildinfo";
    Elf64_Shdr names, s;
    char text[sizeof name];
    if (h->e_shentsize != sizeof s || h->e_shstrndx >= h->e_shnum
        || !elf_read(fd, &names, sizeof names, h->e_shoff + (uint64_t)h->e_shstrndx * sizeof s))
        return false;
    for (unsigned i = 0; i < h->e_shnum && i < ELF_HEADERS_MAX; i++)
        if (elf_read(fd, &s, sizeof s, h->e_shoff + (uint64_t)i * sizeof s)
            && elf_read(fd, text, sizeof text, names.sh_offset + s.sh_name) && memcmp(text, name, sizeof name) == 0)
            return true;
    return false;
}

static inline bool elf_has_interpreter(int fd, const Elf64_Ehdr *h)
{
    Elf64_Phdr p;
    for (unsigned i = 0; i < h->e_phnum && i < ELF_HEADERS_MAX; i++)
        if (elf_read(fd, &p, sizeof p, h->e_phoff + (uint64_t)i * sizeof p) && p.p_type == PT_INTERP)
            return true;
    return false;
}

/* A process whose IDs differ starts every program in the loader's secure mode. */
static inline bool elf_ids_differ(void)
{
    return geteuid() != getuid() || getegid() != getgid();
}

/* fd: open for reading, or, where the file may not be read, with O_PATH.  32-bit programs are FOREIGN on a 64-bit
 * machine, the only kind that is supported. */
static inline enum elf_kind elf_kind_of(int fd)
{
    struct stat st;
    Elf64_Ehdr h;
    char mark[2];
    memset(&h, 0, sizeof h);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ELF_UNKNOWN;
    if (elf_read(fd, mark, sizeof mark, 0) && mark[0] == '#' && mark[1] == '!')
        return ELF_SCRIPT; /* the kernel ignores the bits of scripts */
    if (elf_privileged(fd, &st))
        return ELF_PRIVILEGED;
    if (elf_ids_differ())
        return ELF_OTHER_ID;
    if (pread(fd, mark, 0, 0) < 0)
        return ELF_UNREADABLE; /* O_PATH: EBADF */
    if (!elf_read(fd, &h, offsetof(Elf64_Ehdr, e_version), 0) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
        return ELF_UNKNOWN;
    if (h.e_ident[EI_CLASS] != ELF_OWN_CLASS || (ELF_OWN_MACHINE != EM_NONE && h.e_machine != ELF_OWN_MACHINE))
        return ELF_FOREIGN;
    if (!elf_read(fd, &h, sizeof h, 0))
        return ELF_UNKNOWN;
    if (elf_is_go(fd, &h))
        return ELF_GO;
    return elf_has_interpreter(fd, &h) ? ELF_DYNAMIC : ELF_STATIC;
}

#endif
