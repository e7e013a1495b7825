/* Why this machine gives a program no namespaces, and what its owner can do. */
#include "app/cmd/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The first bytes of a small file; "" when there is none. */
static const char *contents(const char *path, char text[4096])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, 4095) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static const struct cause {
    const char *path, *value; /* a setting of the kernel */
    bool for_root;            /* it stops root, too */
    const char *text;
} causes[] = {
    { "/proc/sys/kernel/unprivileged_userns_clone", "0\n", false,
      "kernel.unprivileged_userns_clone is 0; \"sysctl kernel.unprivileged_userns_clone=1\" allows it" },
    { "/proc/sys/user/max_user_namespaces", "0\n", true,
      "user.max_user_namespaces is 0; \"sysctl user.max_user_namespaces=10000\" allows it" },
    { "/proc/sys/user/max_net_namespaces", "0\n", true,
      "user.max_net_namespaces is 0; \"sysctl user.max_net_namespaces=10000\" allows it" },
    { "/proc/sys/user/max_mnt_namespaces", "0\n", true,
      "user.max_mnt_namespaces is 0; \"sysctl user.max_mnt_namespaces=10000\" allows it" },
    { "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", false,
      "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1); an AppArmor profile for "
      "sidekey with the rule \"userns,\" allows it, or set it to 0" },
};

static const char *cause_of(int error)
{
    char text[4096];
    for (size_t i = 0; i < sizeof causes / sizeof *causes; i++)
        if ((causes[i].for_root || geteuid() != 0) && strcmp(contents(causes[i].path, text), causes[i].value) == 0)
            return causes[i].text;
    if (error == ENOSPC || error == EUSERS)
        return "the limit of namespaces is reached, or they are nested too deeply (sysctl user)";
    if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP)
        return "this kernel was built without user or network namespaces";
    if (strstr(contents("/proc/self/status", text), "Seccomp:\t2"))
        return "a seccomp filter forbids it, as in most containers; a seccomp profile that allows unshare and mount "
               "lets it through";
    if (error == EPERM && geteuid() == 0)
        return "root here lacks a capability that maps user 0 (CAP_SETFCAP), or runs in a chroot";
    return "a security module or a chroot forbids it";
}

int isolate_refused(const char *step, int error)
{
    fprintf(stderr,
            "sidekey run: --isolate: %s: %s: %s. The program was not started; without --isolate, \"sidekey run "
            "--strict\" starts only what the other layers cover\n",
            step, strerror(error), cause_of(error));
    return EX_UNAVAILABLE;
}
