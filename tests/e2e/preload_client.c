/* A client in many shapes, for test_preload.py: `preload_client MODE HOST PORT`.  Built with the system's compiler and
 * with musl-gcc. Prints what it read; any surprise is one line on stdout that begins with "FAIL". */
#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RTLD_DEEPBIND
#define RTLD_DEEPBIND 8
#endif

#define CHECK(what)                                                                                                    \
    do {                                                                                                               \
        if (!(what)) {                                                                                                 \
            printf("FAIL line %d: %s (errno %d)\n", __LINE__, #what, errno);                                           \
            fflush(stdout);                                                                                            \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static const char request[] = "GET / HTTP/1.0\r\n\r\n";
static char *self, *host, *port;
static char *empty[] = { NULL };

static struct addrinfo *resolve(const char *name, int family)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM }, *ai = NULL;
    int rc = getaddrinfo(name, port, &hints, &ai);
    if (rc != 0) {
        printf("getaddrinfo %d\n", rc);
        fflush(stdout);
        _exit(2);
    }
    return ai;
}

static void print_answer(int fd)
{
    char text[4096];
    ssize_t n, all = 0;
    while ((n = recv(fd, text + all, sizeof text - 1 - (size_t)all, 0)) > 0)
        all += n;
    text[all] = '\0';
    char *body = strstr(text, "\r\n\r\n");
    if (body)
        printf("%s\n", body + 4);
    else
        printf("FAIL no answer: %zd bytes, then %s\n", all, n < 0 ? strerror(errno) : "the end");
    fflush(stdout);
    close(fd);
}

static void ask(int fd)
{
    CHECK(send(fd, request, sizeof request - 1, 0) == (ssize_t)sizeof request - 1);
    print_answer(fd);
}

static void check_peer(int fd, const struct addrinfo *ai)
{
    struct sockaddr_storage peer;
    char small[4];
    socklen_t len = sizeof peer, small_len = sizeof small;
    memset(&peer, 0, sizeof peer);
    CHECK(getpeername(fd, (struct sockaddr *)&peer, &len) == 0);
    CHECK(len == ai->ai_addrlen);
    CHECK(memcmp(&peer, ai->ai_addr, len) == 0);
    CHECK(getpeername(fd, (struct sockaddr *)small, &small_len) == 0);
    CHECK(small_len == len && memcmp(small, ai->ai_addr, sizeof small) == 0);
}

static void blocking(void)
{
    struct addrinfo *ai = resolve(host, AF_UNSPEC);
    int fd = socket(ai->ai_family, SOCK_STREAM, 0);
    errno = 4711;
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == 0);
    CHECK(errno == 4711);
    check_peer(fd, ai);
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno == EISCONN);
    ask(fd);
    freeaddrinfo(ai);
}

static void with_epoll(void)
{
    struct addrinfo *ai = resolve(host, AF_INET);
    int error = -1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), ep = epoll_create1(0);
    struct epoll_event want = { .events = EPOLLOUT | EPOLLET, .data = { .fd = fd } }, got;
    socklen_t size = sizeof error;
    CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &want) == 0);
    (void)epoll_wait(ep, &got, 1, 0); /* an unconnected socket is "writable" (EPOLLHUP): take that edge */
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno == EINPROGRESS);
    CHECK(epoll_wait(ep, &got, 1, 3000) == 1 && got.data.fd == fd && got.events & EPOLLOUT);
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0);
    CHECK(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &want) == 0);
    int again = connect(fd, ai->ai_addr, ai->ai_addrlen);
    CHECK(again == 0 || errno == EISCONN);
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno == EISCONN);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    ask(fd);
}

static void v6only(void)
{
    struct addrinfo *ai = resolve(host, AF_INET6);
    int on = 1, fd = socket(AF_INET6, SOCK_STREAM, 0);
    CHECK(ai->ai_family == AF_INET6 && fd >= 0);
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == 0);
    check_peer(fd, ai);
    ask(fd);
}

/* What Java does: an IPv6 socket for an IPv4 destination. */
static void mapped(void)
{
    struct addrinfo *ai = resolve(host, AF_INET);
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = ((struct sockaddr_in *)ai->ai_addr)->sin_port };
    struct addrinfo as6 = { .ai_addr = (struct sockaddr *)&in6, .ai_addrlen = sizeof in6 };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(in6.sin6_addr.s6_addr + 12, &((struct sockaddr_in *)ai->ai_addr)->sin_addr, 4);
    CHECK(connect(fd, (struct sockaddr *)&in6, sizeof in6) == 0);
    check_peer(fd, &as6);
    ask(fd);
}

static void fastopen(void)
{
    struct addrinfo *ai = resolve(host, AF_INET);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(sendto(fd, request, sizeof request - 1, MSG_FASTOPEN, ai->ai_addr, ai->ai_addrlen)
          == (ssize_t)sizeof request - 1);
    check_peer(fd, ai);
    print_answer(fd);
    struct iovec part = { (void *)request, sizeof request - 1 };
    struct msghdr m = { .msg_name = ai->ai_addr, .msg_namelen = ai->ai_addrlen, .msg_iov = &part, .msg_iovlen = 1 };
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(sendmsg(fd, &m, MSG_FASTOPEN) == (ssize_t)sizeof request - 1);
    print_answer(fd);
    struct mmsghdr mm = { .msg_hdr = m };
    fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(sendmmsg(fd, &mm, 1, MSG_FASTOPEN) == 1 && mm.msg_len == sizeof request - 1);
    print_answer(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(sendto(fd, request, sizeof request - 1, MSG_FASTOPEN, ai->ai_addr, ai->ai_addrlen) == -1
          && errno == EINPROGRESS);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    CHECK(poll(&p, 1, 3000) == 1);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    ask(fd);
}

static void udp(void)
{
    struct addrinfo *ai = resolve(host, AF_INET);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct iovec part = { (void *)"x", 1 };
    struct msghdr m = { .msg_name = ai->ai_addr, .msg_namelen = ai->ai_addrlen, .msg_iov = &part, .msg_iovlen = 1 };
    CHECK(connect(fd, ai->ai_addr, ai->ai_addrlen) == -1 && errno == ENETUNREACH);
    CHECK(sendto(fd, "x", 1, 0, ai->ai_addr, ai->ai_addrlen) == -1 && errno == ENETUNREACH);
    CHECK(sendmsg(fd, &m, 0) == -1 && errno == ENETUNREACH);
    puts("refused");
}

static void literal(void)
{
    struct addrinfo *ai = resolve(host, AF_UNSPEC);
    int fd = socket(ai->ai_family, SOCK_STREAM, 0);
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        printf("connect %d\n", errno);
        return;
    }
    check_peer(fd, ai);
    ask(fd);
}

static void hosts(void)
{
    struct hostent *h = gethostbyname(host), *h6 = NULL, storage, *r = NULL;
    char buffer[2048], tiny[4];
    int error = 0;
    CHECK(h && h->h_addrtype == AF_INET && h->h_length == 4 && !h->h_addr_list[1]);
    CHECK(strcmp(h->h_name, host) == 0);
    printf("%s\n", inet_ntoa(*(struct in_addr *)h->h_addr_list[0]));
    h6 = gethostbyname2(host, AF_INET6);
    CHECK(h6 && h6->h_addrtype == AF_INET6 && strcmp(h6->h_name, host) == 0);
    CHECK(gethostbyname_r(host, &storage, tiny, sizeof tiny, &r, &error) == ERANGE && !r);
    CHECK(gethostbyname_r(host, &storage, buffer, sizeof buffer, &r, &error) == 0 && r == &storage);
    CHECK(strcmp(r->h_name, host) == 0);
    CHECK(gethostbyname2_r(host, AF_INET, &storage, buffer, sizeof buffer, &r, &error) == 0 && r == &storage);
    CHECK(gethostbyname("127.0.0.1") != NULL);
}

static void names(void)
{
    struct addrinfo hints = { .ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM }, *ai = NULL;
    struct sockaddr_in in;
    char name[256], service[16];
    CHECK(getaddrinfo(host, "443", &hints, &ai) == 0 && ai->ai_canonname && strcmp(ai->ai_canonname, host) == 0);
    CHECK(!ai->ai_next && ai->ai_family == AF_INET);
    CHECK(getnameinfo(ai->ai_addr, ai->ai_addrlen, name, sizeof name, service, sizeof service, NI_NUMERICSERV) == 0);
    CHECK(strcmp(name, host) == 0 && strcmp(service, "443") == 0);
    CHECK(getnameinfo(ai->ai_addr, ai->ai_addrlen, name, 3, NULL, 0, 0) == EAI_OVERFLOW);
    CHECK(getnameinfo(ai->ai_addr, ai->ai_addrlen, name, sizeof name, NULL, 0, NI_NUMERICHOST) == 0);
    printf("%s\n", name);
    memcpy(&in, ai->ai_addr, sizeof in);
    freeaddrinfo(ai);
    CHECK(getaddrinfo(NULL, "80", NULL, &ai) == 0);
    freeaddrinfo(ai);
    CHECK(getaddrinfo(host, NULL, NULL, &ai) == 0
          && ((struct sockaddr_in *)ai->ai_addr)->sin_addr.s_addr == in.sin_addr.s_addr);
    freeaddrinfo(ai);
    CHECK(getaddrinfo("localhost", "443", NULL, &ai) == 0);
    CHECK(ai->ai_family == AF_INET6 || ntohl(((struct sockaddr_in *)ai->ai_addr)->sin_addr.s_addr) >> 24 == 127);
    freeaddrinfo(ai);
    CHECK(getaddrinfo("192.0.2.9", "443", NULL, &ai) == 0);
    CHECK(((struct sockaddr_in *)ai->ai_addr)->sin_addr.s_addr == inet_addr("192.0.2.9"));
    freeaddrinfo(ai);
    hints.ai_flags = AI_NUMERICHOST;
    CHECK(getaddrinfo(host, "443", &hints, &ai) == EAI_NONAME);
}

static char *child_argv[] = { NULL, "blocking", NULL, NULL, NULL };

static void wait_for(pid_t pid)
{
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

#define IN_CHILD(call)                                                                                                 \
    do {                                                                                                               \
        fflush(stdout);                                                                                                \
        pid_t pid_ = fork();                                                                                           \
        if (pid_ == 0) {                                                                                               \
            call;                                                                                                      \
            _exit(127);                                                                                                \
        }                                                                                                              \
        wait_for(pid_);                                                                                                \
    } while (0)

static void children(void)
{
    char *odd[] = { "A=1", "LD_PRELOAD=", "B=2", NULL };
    pid_t pid;
    IN_CHILD(execve(self, child_argv, empty));
    IN_CHILD(execve(self, child_argv, NULL));
    IN_CHILD(execve(self, child_argv, odd));
    IN_CHILD(execvpe(self, child_argv, empty));
    IN_CHILD(execle(self, self, "blocking", host, port, (char *)NULL, empty));
    IN_CHILD((clearenv(), execv(self, child_argv)));
    IN_CHILD((clearenv(), execvp(self, child_argv)));
    IN_CHILD((clearenv(), execl(self, self, "blocking", host, port, (char *)NULL)));
    IN_CHILD((clearenv(), execlp(self, self, "blocking", host, port, (char *)NULL)));
    IN_CHILD(fexecve(open(self, O_RDONLY), child_argv, empty));
    CHECK(posix_spawn(&pid, self, NULL, NULL, child_argv, empty) == 0);
    wait_for(pid);
    CHECK(posix_spawnp(&pid, self, NULL, NULL, child_argv, odd) == 0);
    wait_for(pid);
    if ((pid = vfork()) == 0) {
        execve(self, child_argv, empty);
        _exit(127);
    }
    wait_for(pid);
    CHECK(execve("/nowhere/at/all", child_argv, empty) == -1 && errno == ENOENT);
}

static void shells(void)
{
    char command[4096], line[256];
    snprintf(command, sizeof command, "%s blocking %s %s", self, host, port);
    clearenv();
    CHECK(system(NULL) != 0);
    CHECK(system(command) == 0);
    CHECK(system("exit 7") == 7 << 8);
    FILE *pipe = popen(command, "r");
    CHECK(pipe && fgets(line, sizeof line, pipe));
    fputs(line, stdout);
    CHECK(pclose(pipe) == 0);
    CHECK(!getenv("LD_PRELOAD"));
}

/* The environment that a child sees when it has its own values. */
static void keeps(void)
{
    char *own[] = { "SIDEKEY_PRELOAD_BYPASS=own.test", "LD_PRELOAD=/some/other.so", NULL };
    fflush(stdout);
    execle("/usr/bin/env", "env", (char *)NULL, own);
    _exit(127);
}

static void *one_thread(void *index)
{
    char name[64], answer[512], expect[128];
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai = NULL;
    snprintf(name, sizeof name, "host-%d.example.test", (int)(size_t)index % 50);
    for (int i = 0; i < 3; i++) {
        if (getaddrinfo(name, port, &hints, &ai) != 0)
            return "getaddrinfo";
        int fd = socket(ai->ai_family, SOCK_STREAM, 0);
        if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0)
            return "connect";
        freeaddrinfo(ai);
        if (send(fd, request, sizeof request - 1, 0) < 0)
            return "send";
        ssize_t n, all = 0;
        while ((n = recv(fd, answer + all, sizeof answer - 1 - (size_t)all, 0)) > 0)
            all += n;
        answer[all] = '\0';
        close(fd);
        snprintf(expect, sizeof expect, "%s:%s", name, port);
        if (!strstr(answer, expect))
            return "another's answer";
    }
    return NULL;
}

static void threads(void)
{
    pthread_t t[150];
    void *result;
    for (size_t i = 0; i < 150; i++)
        CHECK(pthread_create(&t[i], NULL, one_thread, (void *)i) == 0);
    for (size_t i = 0; i < 150; i++) {
        pthread_join(t[i], &result);
        if (result)
            printf("FAIL %s\n", (char *)result);
    }
    puts("done");
}

static int open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void descriptors(void)
{
    int before = open_descriptors();
    blocking();
    CHECK(open_descriptors() == before);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    blocking();
}

static void print_file(int fd)
{
    char text[64] = "";
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    text[strcspn(text, "\n")] = '\0';
    puts(text);
    close(fd);
}

/* HOST is the path of a bundle. */
static void bundle(void)
{
    struct stat st;
    FILE *f = fopen(host, "re");
    char line[64] = "";
    print_file(open(host, O_RDONLY));
    print_file(open(host, O_RDONLY | O_CLOEXEC));
    print_file(openat(AT_FDCWD, host, O_RDONLY));
    CHECK(f && fgets(line, sizeof line, f));
    fputs(line, stdout);
    CHECK(access(host, R_OK) == 0 && stat(host, &st) == 0 && fstatat(AT_FDCWD, host, &st, 0) == 0);
    printf("%ld\n", (long)st.st_size);
    CHECK(open(host, O_WRONLY | O_EXCL | O_CREAT, 0600) == -1);
}

static void load(int flags)
{
    void *lib = dlopen(port, flags);
    if (!lib)
        printf("FAIL %s\n", dlerror());
    void (*fn)(const char *, const char *) = lib ? (void (*)(const char *, const char *))dlsym(lib, "deep") : NULL;
    CHECK(fn);
    fn(host, "443");
}

static void deepbind(void)
{
    load(RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
}

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = { { "blocking", blocking }, { "epoll", with_epoll },  { "v6only", v6only },
              { "mapped", mapped },     { "fastopen", fastopen }, { "udp", udp },
              { "literal", literal },   { "hosts", hosts },       { "names", names },
              { "children", children }, { "shells", shells },     { "keeps", keeps },
              { "threads", threads },   { "bundle", bundle },     { "descriptors", descriptors },
              { "deepbind", deepbind } };

#ifdef AS_LIBRARY
void deep(const char *to, const char *at)
{
    host = (char *)to, port = (char *)at;
    blocking();
}
#ifdef AT_START
/* Runs before the preload library's own constructor. */
__attribute__((constructor)) static void early(void)
{
    deep(getenv("EARLY_HOST"), "443");
}
#endif
#else
int main(int argc, char **argv)
{
    if (argc != 4)
        return 64;
    self = child_argv[0] = argv[0];
    host = child_argv[2] = argv[2];
    port = child_argv[3] = argv[3];
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, argv[1]) == 0)
            return modes[i].run(), 0;
    return 64;
}
#endif
