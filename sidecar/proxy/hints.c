#include "proxy/hints.h"

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

/* Two that make it at once write the same. */
static int format(int fd)
{
    static const uint64_t magic = TABLE_MAGIC;
    if (ftruncate(fd, (off_t)sizeof(struct table)) != 0)
        return -errno;
    ssize_t n = pwrite(fd, &magic, sizeof magic, offsetof(struct table, magic));
    if (n == (ssize_t)sizeof magic)
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
