#include "proxy/hints.h"

#include "base/rand.h"
#include "preload/table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct hints {
    int fd;
};

_Static_assert(offsetof(struct table, seed) == sizeof(uint64_t), "format() writes magic and seed at once");
_Static_assert(HINTS_HOST_SIZE == TABLE_TEXT, "a name of the table is a host");

static int read_at(int fd, void *dst, size_t size, size_t offset)
{
    ssize_t n;
    do
        n = pread(fd, dst, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == size ? 0 : -EBADMSG;
}

/* Two that make it at once write one head or the other, and no program has a token yet. */
static int format(int fd)
{
    uint64_t head[3] = { TABLE_MAGIC };
    rand_bytes(head + 1, sizeof head - sizeof *head);
    if (ftruncate(fd, (off_t)sizeof(struct table)) != 0)
        return -errno;
    ssize_t n = pwrite(fd, head, sizeof head, 0);
    if (n == (ssize_t)sizeof head)
        return 0;
    return n < 0 ? -errno : -EIO;
}

static int check(int fd, const char *path, struct err *e)
{
    struct stat st;
    uint64_t magic = 0;
    if (fstat(fd, &st) != 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return err_set(e, "%s: must be a regular file of our own, mode 0600", path);
    int rc = st.st_size == 0 ? format(fd) : 0;
    if (rc == 0)
        rc = read_at(fd, &magic, sizeof magic, offsetof(struct table, magic));
    if (rc != 0 && rc != -EBADMSG)
        return err_set(e, "%s: %s", path, strerror(-rc));
    if (magic != TABLE_MAGIC || (st.st_size != 0 && (uint64_t)st.st_size != sizeof(struct table)))
        return err_set(e, "%s: not a table of this version of sidekey; remove it", path);
    return 0;
}

struct hints *hints_open(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        return NULL;
    }
    struct hints *h = NULL;
    if (check(fd, path, e) == 0 && !(h = malloc(sizeof *h)))
        err_set(e, "%s: out of memory", path);
    if (h)
        h->fd = fd;
    else
        close(fd);
    return h;
}

void hints_close(struct hints *h)
{
    if (!h)
        return;
    close(h->fd);
    free(h);
}

static bool token_of(const struct sockaddr *local, uint32_t *ret_index)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (local->sa_family == AF_INET) {
        memcpy(&in, local, sizeof in);
        return table_token(ntohl(in.sin_addr.s_addr), ret_index);
    }
    if (local->sa_family != AF_INET6)
        return false;
    memcpy(&in6, local, sizeof in6);
    return table_token(table_mapped(in6.sin6_addr.s6_addr), ret_index);
}

static int address_host(const struct table_dest *d, char host[HINTS_HOST_SIZE])
{
    bool mapped = table_mapped(d->address) != 0;
    if (d->family == 4 && !mapped)
        return -EBADMSG;
    const char *text = mapped ? inet_ntop(AF_INET, d->address + 12, host, HINTS_HOST_SIZE)
                              : inet_ntop(AF_INET6, d->address, host, HINTS_HOST_SIZE);
    return text ? 0 : -EBADMSG;
}

static int name_host(const struct hints *h, uint32_t index, char host[HINTS_HOST_SIZE])
{
    struct table_name name;
    if (index >= TABLE_NAMES)
        return -EBADMSG;
    int rc = read_at(h->fd, &name, sizeof name, offsetof(struct table, names) + (size_t)index * sizeof name);
    if (rc != 0)
        return rc;
    size_t n = table_name_length(name.text, sizeof name.text);
    if (name.state != TABLE_READY || n == 0 || n != name.length)
        return -EBADMSG;
    memcpy(host, name.text, n);
    host[n] = '\0';
    return 0;
}

int hints_lookup(const struct hints *h, const struct sockaddr *local, char host[HINTS_HOST_SIZE], uint16_t *ret_port,
                 bool *ret_proxy)
{
    struct table_dest d; /* a copy: what is checked is what is used */
    char found[HINTS_HOST_SIZE];
    uint32_t index;
    if (!token_of(local, &index))
        return -ENOENT;
    int rc = read_at(h->fd, &d, sizeof d, offsetof(struct table, dests) + (size_t)index * sizeof d);
    if (rc != 0)
        return rc;
    if (d.state != TABLE_READY || (d.kind != TABLE_VIA_US && d.kind != TABLE_PROXY))
        return d.state <= TABLE_READY && d.kind <= TABLE_PROXY ? -ENOENT : -EBADMSG;
    if (d.port == 0 || (d.family != 4 && d.family != 6))
        return -EBADMSG;
    rc = d.name == TABLE_NO_NAME ? address_host(&d, found) : name_host(h, d.name, found);
    if (rc != 0)
        return rc;
    memcpy(host, found, strlen(found) + 1);
    *ret_port = d.port;
    *ret_proxy = d.kind == TABLE_PROXY;
    return 0;
}

/* ---- the names of an isolated program ---- */

#define PROBES_MAX 64

static int write_at(int fd, const void *src, size_t size, size_t offset)
{
    ssize_t n;
    do
        n = pwrite(fd, src, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return (size_t)n == size ? 0 : -ENOSPC;
}

/* FNV-1a.  Who fills the table on purpose is the program, with its own names. */
static uint32_t first_slot(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return (uint32_t)(h >> 32) % TABLE_NAMES;
}

/* The slot that has the name, or gets it.  .0 and .255 look like the addresses of networks to some programs. */
static int name_slot(const struct hints *h, const char *name, uint32_t *ret_index)
{
    struct table_name want = { .state = TABLE_READY, .length = (uint8_t)strlen(name) }, there;
    memcpy(want.text, name, want.length);
    for (uint32_t i = first_slot(name), probe = 0; probe < PROBES_MAX; i = (i + 1) % TABLE_NAMES, probe++) {
        size_t at = offsetof(struct table, names) + (size_t)i * sizeof there;
        int failed = read_at(h->fd, &there, sizeof there, at);
        if (failed)
            return failed;
        if ((i & 0xff) == 0 || (i & 0xff) == 0xff)
            continue;
        *ret_index = i;
        if (there.state == TABLE_EMPTY)
            return write_at(h->fd, &want, sizeof want, at);
        if (there.state == TABLE_READY && there.length == want.length && memcmp(there.text, name, want.length) == 0)
            return 0;
    }
    return -ENOSPC;
}

static const uint8_t fake6[12] = TABLE_FAKE6;

int hints_address_of(const struct hints *h, const char *name, bool v6, uint8_t address[16])
{
    uint32_t index = 0;
    size_t n = table_name_length(name, TABLE_TEXT);
    if (n == 0 || name[n] != '\0')
        return -EINVAL;
    int failed = name_slot(h, name, &index);
    if (failed)
        return failed;
    uint32_t in = htonl(v6 ? index : TABLE_FAKE4 + index);
    memcpy(address, fake6, v6 ? sizeof fake6 : 0);
    memcpy(address + (v6 ? sizeof fake6 : 0), &in, sizeof in);
    return 0;
}

/* As IPv6, and the port.  false: neither family. */
static bool mapped_of(const struct sockaddr *local, uint8_t address[16], uint16_t *ret_port)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    if (local->sa_family == AF_INET6) {
        memcpy(&in6, local, sizeof in6);
        memcpy(address, &in6.sin6_addr, sizeof in6.sin6_addr);
        *ret_port = ntohs(in6.sin6_port);
        return true;
    }
    memcpy(&in, local, sizeof in);
    memcpy(address, prefix, sizeof prefix);
    memcpy(address + sizeof prefix, &in.sin_addr, sizeof in.sin_addr);
    *ret_port = ntohs(in.sin_port);
    return local->sa_family == AF_INET;
}

int hints_place(const struct hints *h, const struct sockaddr *local, char host[HINTS_HOST_SIZE], uint16_t *ret_port)
{
    uint8_t address[16];
    uint32_t last, v4;
    if (!mapped_of(local, address, ret_port))
        return -EBADMSG;
    memcpy(&last, address + 12, sizeof last);
    v4 = table_mapped(address);
    if (v4 && v4 - TABLE_FAKE4 < TABLE_NAMES)
        return name_host(h, v4 - TABLE_FAKE4, host);
    if (memcmp(address, fake6, sizeof fake6) == 0)
        return name_host(h, ntohl(last), host);
    const char *text = v4 ? inet_ntop(AF_INET, address + 12, host, HINTS_HOST_SIZE)
                          : inet_ntop(AF_INET6, address, host, HINTS_HOST_SIZE);
    return text ? 0 : -EBADMSG;
}
