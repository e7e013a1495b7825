/* bin/sidekey of the relocatable tree (packaging/tree): starts the program behind it with the loader and the libraries
 * of the tree itself, wherever the tree stands and whatever libc its host has, or none.   Linked statically.  The
 * loader takes the library path as an argument: no variable is set that the programs of `sidekey run` would inherit,
 * but for the roots on a host that has none. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sysexits.h>
#include <unistd.h>

#ifndef LOADER
#error "LOADER is the name of the loader, such as ld-linux-x86-64.so.2"
#endif

/* The places where certs/bundle.c looks. */
static const char *const system_roots[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
};

/* The tree's own folder, without a slash at the end.  0; -1: it cannot be told. */
static int find_tree(char tree[PATH_MAX])
{
    const char *started = (const char *)getauxval(AT_EXECFN); /* where there is no /proc */
    ssize_t len = readlink("/proc/self/exe", tree, PATH_MAX - 1);
    if (len > 0)
        tree[len] = '\0';
    else if (!started || !realpath(started, tree))
        return -1;
    for (int i = 0; i < 2; i++) { /* /bin/sidekey */
        char *slash = strrchr(tree, '/');
        if (!slash)
            return -1;
        *slash = '\0';
    }
    return strlen(tree) < PATH_MAX - 64 ? 0 : -1;
}

static void name_roots(const char *tree)
{
    static char path[PATH_MAX];
    for (size_t i = 0; i < sizeof system_roots / sizeof *system_roots; i++)
        if (access(system_roots[i], R_OK) == 0)
            return;
    if (snprintf(path, sizeof path, "%s/share/ca-certificates.crt", tree) < (int)sizeof path && access(path, R_OK) == 0)
        (void)setenv("SSL_CERT_FILE", path, 0);
}

int main(int argc, char **argv)
{
    static char tree[PATH_MAX], loader[PATH_MAX], libraries[PATH_MAX], program[PATH_MAX];
    if (find_tree(tree) != 0) {
        fputs("sidekey: cannot tell where this program stands: start it by its full path\n", stderr);
        return EX_OSERR;
    }
    snprintf(libraries, sizeof libraries, "%.*s/lib", PATH_MAX - 64, tree);
    snprintf(loader, sizeof loader, "%.*s/lib/" LOADER, PATH_MAX - 64, tree);
    snprintf(program, sizeof program, "%.*s/lib/sidekey", PATH_MAX - 64, tree);
    char **args = calloc((size_t)argc + 7, sizeof *args);
    if (!args) {
        fputs("sidekey: out of memory\n", stderr);
        return EX_OSERR;
    }
    char *fixed[] = { loader, "--argv0", "sidekey", "--inhibit-cache", "--library-path", libraries, program };
    memcpy(args, fixed, sizeof fixed);
    for (int i = 1; i < argc; i++)
        args[sizeof fixed / sizeof *fixed + (size_t)i - 1] = argv[i];
    name_roots(tree);
    execv(loader, args);
    fprintf(stderr, "sidekey: %s: %s\n", loader, strerror(errno));
    return EX_OSERR;
}
