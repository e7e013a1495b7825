/* Names to addresses: a name that goes through us gets a fake address, which libc itself turns into its answer's
 * memory. */
#include "preload/preload.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
typedef int getnameinfo_fn(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int);
typedef struct hostent *gethostbyname_fn(const char *);
typedef struct hostent *gethostbyname2_fn(const char *, int);
typedef int gethostbyname_r_fn(const char *, struct hostent *, char *, size_t, struct hostent **, int *);
typedef int gethostbyname2_r_fn(const char *, int, struct hostent *, char *, size_t, struct hostent **, int *);

/* name is this machine's by /etc/hosts: loopback, or a line that names self too. */
static bool ours_in_hosts(const char *name, const char *self)
{
    char text[4096];
    size_t held = 0;
    bool found = false, skip = false;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/etc/hosts", O_RDONLY | O_CLOEXEC, 0);
    for (long n; fd >= 0 && !found && (n = syscall(SYS_read, fd, text + held, sizeof text - held)) > 0;) {
        char *line = text, *end = text + held + n, *newline;
        for (; !found && (newline = memchr(line, '\n', (size_t)(end - line))); line = newline + 1, skip = false)
            found = !skip && decide_hosts_line(line, (size_t)(newline - line), name, self);
        held = (size_t)(end - line);
        memmove(text, line, held);
        if (held == sizeof text)
            held = 0, skip = true; /* ignores a line that long */
    }
    if (!found && held && !skip)
        found = decide_hosts_line(text, held, name, self);
    if (fd >= 0)
        syscall(SYS_close, fd);
    return found;
}

/* Programs bind to the address of their own name: a fake one would be no use to them. */
static bool own_name(const char *name)
{
    struct utsname us = { .nodename = "" };
    struct policy none = { .port_count = 0 };
    char self[TABLE_TEXT] = "";
    if (syscall(SYS_uname, &us) == 0 && decide_name(&none, us.nodename, self) != NAME_AS_IS && strcmp(self, name) == 0)
        return true;
    return ours_in_hosts(name, self);
}

static enum name_class class_of(const struct preload *p, const char *node, char ret_name[TABLE_TEXT])
{
    enum name_class c = decide_name(&p->policy, node, ret_name);
    int saved = errno;
    if (c == NAME_OURS && own_name(ret_name))
        c = NAME_DIRECT;
    errno = saved;
    return c;
}

/* Numeric text of name's fake address; text: 48 bytes.  *ret_interned: the name in the table, which lives on.  False:
 * no room, no table. */
static bool fake_text(const char *name, int family, char *text, const char **ret_interned)
{
    static const uint8_t prefix6[12] = TABLE_FAKE6;
    struct table *t = preload_table();
    struct target fake = { .family = 6, .address = { [10] = 0xff, [11] = 0xff } };
    uint32_t index;
    if (!t || !shared_name_put(t, name, &index))
        return false;
    uint32_t low = htonl(family == AF_INET6 ? index : TABLE_FAKE4 + index);
    if (family == AF_INET6)
        memcpy(fake.address, prefix6, sizeof prefix6);
    memcpy(fake.address + 12, &low, sizeof low);
    decide_text(&fake, text);
    *ret_interned = shared_name_get(t, index);
    return true;
}

static void mark_direct(const struct sockaddr *sa, socklen_t len)
{
    struct target to;
    struct table *t = preload_table();
    if (t && decide_target(sa, len, &to) && !decide_local(&to))
        shared_direct_put(t, to.address);
}

/* freeaddrinfo() frees the canonical name in glibc and not in musl, where it lies inside the answer.  So glibc's must
 * come from malloc: the only allocation of this library, in a call that allocates anyway and only when AI_CANONNAME
 * asks for it. */
static int add_canonical_name(struct addrinfo *answer, const char *interned)
{
    static const char probe[] = "gnu_get_libc_version";
    bool glibc = dlsym(RTLD_DEFAULT, probe) != NULL;
    char *copy = glibc ? strdup(interned) : (char *)(uintptr_t)interned;
    if (!copy)
        return EAI_MEMORY;
    answer->ai_canonname = copy;
    return 0;
}

static int fake_getaddrinfo(getaddrinfo_fn *real, const char *name, const char *service, const struct addrinfo *hints,
                            struct addrinfo **ret)
{
    struct addrinfo ask = { .ai_family = AF_UNSPEC };
    char text[48];
    const char *interned;
    int asked = hints ? hints->ai_flags : 0;
    if (hints) {
        ask.ai_family = hints->ai_family;
        ask.ai_socktype = hints->ai_socktype;
        ask.ai_protocol = hints->ai_protocol;
    }
    ask.ai_flags = (asked & AI_NUMERICSERV) | AI_NUMERICHOST;
    if (!fake_text(name, ask.ai_family, text, &interned))
        return EAI_FAIL;
    int rc = real(text, service, &ask, ret);
    return rc == 0 && (asked & AI_CANONNAME) ? add_canonical_name(*ret, interned) : rc;
}

HOOK(int, getaddrinfo, const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    getaddrinfo_fn *real = REAL(getaddrinfo_fn, getaddrinfo);
    const struct preload *p = preload_routing(HOOK_getaddrinfo);
    int family = hints ? hints->ai_family : AF_UNSPEC, flags = hints ? hints->ai_flags : 0;
    char name[TABLE_TEXT];
    if (!real)
        return EAI_SYSTEM;
    bool proxy = p && node && p->policy.proxies[0] && decide_proxy(&p->policy, node, decide_port_number(service));
    /* AI_PASSIVE: a server looks for the address that it will bind. */
    if (!p || !node || (flags & (AI_NUMERICHOST | AI_PASSIVE)) || !(proxy || decide_service(&p->policy, service))
        || (family != AF_UNSPEC && family != AF_INET && family != AF_INET6))
        return real(node, service, hints, ret);
    switch (class_of(p, node, name)) {
    case NAME_OURS: return fake_getaddrinfo(real, name, service, hints, ret);
    case NAME_AS_IS: return real(node, service, hints, ret);
    case NAME_DIRECT: break;
    }
    int rc = real(node, service, hints, ret);
    for (struct addrinfo *a = rc == 0 ? *ret : NULL; a; a = a->ai_next)
        mark_direct(a->ai_addr, a->ai_addrlen);
    return rc;
}

/* A fake address has a name without any question to a server. */
HOOK(int, getnameinfo, const struct sockaddr *sa, socklen_t len, char *host, socklen_t host_size, char *service,
     socklen_t service_size, int flags)
{
    getnameinfo_fn *real = REAL(getnameinfo_fn, getnameinfo);
    const struct preload *p = preload_routing(HOOK_getnameinfo);
    struct table *t = p ? preload_table() : NULL;
    struct target of;
    uint32_t index;
    const char *name = NULL;
    if (!real)
        return EAI_SYSTEM;
    if (t && host && host_size && !(flags & NI_NUMERICHOST) && decide_target(sa, len, &of)
        && shared_fake_index(of.address, &index))
        name = shared_name_get(t, index);
    if (!name)
        return real(sa, len, host, host_size, service, service_size, flags);
    size_t n = strlen(name);
    if (n >= host_size)
        return EAI_OVERFLOW;
    if (service && service_size) {
        int rc = real(sa, len, NULL, 0, service, service_size, flags & ~NI_NAMEREQD);
        if (rc != 0)
            return rc;
    }
    memcpy(host, name, n + 1);
    return 0;
}

/* Which node to give the real call: the program's own, or the fake address in text.  NULL: no room.  *ret_interned: the
 * name when faked. */
static const char *host_node(enum hook h, const char *node, int family, char *text, const char **ret_interned,
                             bool *ret_direct)
{
    const struct preload *p = preload_routing(h);
    char name[TABLE_TEXT];
    enum name_class c = p && (family == AF_INET || family == AF_INET6) ? class_of(p, node, name) : NAME_AS_IS;
    *ret_interned = NULL;
    *ret_direct = c == NAME_DIRECT;
    if (c != NAME_OURS)
        return node;
    return fake_text(name, family, text, ret_interned) ? text : NULL;
}

/* the caller never frees h_name itself, so it may point to the interned text. */
static void finish_host(struct hostent *host, const char *interned, bool direct)
{
    if (!host)
        return;
    if (interned)
        host->h_name = (char *)(uintptr_t)interned;
    for (char **a = direct ? host->h_addr_list : NULL; a && *a; a++) {
        struct sockaddr_in in = { .sin_family = AF_INET };
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
        if (host->h_addrtype == AF_INET) {
            memcpy(&in.sin_addr, *a, 4);
            mark_direct((struct sockaddr *)&in, sizeof in);
        } else if (host->h_addrtype == AF_INET6) {
            memcpy(&in6.sin6_addr, *a, 16);
            mark_direct((struct sockaddr *)&in6, sizeof in6);
        }
    }
}

HOOK(struct hostent *, gethostbyname, const char *node)
{
    gethostbyname_fn *real = REAL(gethostbyname_fn, gethostbyname);
    char text[48];
    const char *interned;
    bool direct;
    const char *use = host_node(HOOK_gethostbyname, node, AF_INET, text, &interned, &direct);
    if (!real || !use) {
        h_errno = NO_RECOVERY;
        return NULL;
    }
    struct hostent *host = real(use);
    finish_host(host, interned, direct);
    return host;
}

HOOK(struct hostent *, gethostbyname2, const char *node, int family)
{
    gethostbyname2_fn *real = REAL(gethostbyname2_fn, gethostbyname2);
    char text[48];
    const char *interned;
    bool direct;
    const char *use = host_node(HOOK_gethostbyname2, node, family, text, &interned, &direct);
    if (!real || !use) {
        h_errno = NO_RECOVERY;
        return NULL;
    }
    struct hostent *host = real(use, family);
    finish_host(host, interned, direct);
    return host;
}

HOOK(int, gethostbyname_r, const char *node, struct hostent *host, char *buffer, size_t size, struct hostent **ret,
     int *ret_error)
{
    gethostbyname_r_fn *real = REAL(gethostbyname_r_fn, gethostbyname_r);
    char text[48];
    const char *interned;
    bool direct;
    const char *use = host_node(HOOK_gethostbyname_r, node, AF_INET, text, &interned, &direct);
    if (!real || !use) {
        *ret = NULL;
        *ret_error = NO_RECOVERY;
        return ENOENT;
    }
    int rc = real(use, host, buffer, size, ret, ret_error);
    finish_host(rc == 0 ? *ret : NULL, interned, direct);
    return rc;
}

HOOK(int, gethostbyname2_r, const char *node, int family, struct hostent *host, char *buffer, size_t size,
     struct hostent **ret, int *ret_error)
{
    gethostbyname2_r_fn *real = REAL(gethostbyname2_r_fn, gethostbyname2_r);
    char text[48];
    const char *interned;
    bool direct;
    const char *use = host_node(HOOK_gethostbyname2_r, node, family, text, &interned, &direct);
    if (!real || !use) {
        *ret = NULL;
        *ret_error = NO_RECOVERY;
        return ENOENT;
    }
    int rc = real(use, family, host, buffer, size, ret, ret_error);
    finish_host(rc == 0 ? *ret : NULL, interned, direct);
    return rc;
}
