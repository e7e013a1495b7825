/* What people should hear of, told to the private sidekey of the run. */
#include "preload/preload.h"

#include "preload/elf.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define REPORT_TEXT_MAX 1024
#define PART(text) { (char *)(uintptr_t)(text), sizeof(text) - 1 }

/* Behind chroot(2) nobody hears us, and the one thing that must be said is that a child starts without the library. */
static void say_here(char kind, const char *text)
{
    bool gone = kind == REPORT_STARTED + ELF_NO_LIBRARY, refused = kind == REPORT_REFUSED + ELF_NO_LIBRARY;
    if (!gone && !refused)
        return;
    struct iovec parts[] = {
        PART("sidekey run: "),
        PART("a child started "),
        { (char *)(uintptr_t)text, strnlen(text, REPORT_TEXT_MAX) },
        PART(", a program that does not see the library (another root directory, or no permission): it is covered only "
             "if it honours HTTPS_PROXY\n"),
    };
    if (refused)
        parts[1] = (struct iovec)PART("--strict: a child was not allowed to start ");
    (void)syscall(SYS_writev, STDERR_FILENO, parts, (long)(sizeof parts / sizeof *parts));
}

void preload_report(char kind, const char *text)
{
    const struct preload *p = preload_get();
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    char message[1 + REPORT_TEXT_MAX];
    size_t n = strnlen(text, REPORT_TEXT_MAX), length = strlen(p->report);
    int saved = errno;
    if (length == 0 || length >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, p->report, length + 1);
    message[0] = kind;
    memcpy(message + 1, text, n);
    long fd = syscall(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        if (syscall(SYS_sendto, fd, message, n + 1, MSG_DONTWAIT | MSG_NOSIGNAL, &to, (long)sizeof to) < 0)
            say_here(kind, text);
        (void)syscall(SYS_close, fd);
    }
    errno = saved;
}
