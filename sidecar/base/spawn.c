#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

/* User, directories, language, proxies, and where tools keep their settings: paths and names, never secrets.
 * NULL-terminated; a name that ends in '*' stands for all that begin so. */
static const char *const variables[] = { "PATH",
                                         "HOME",
                                         "USER",
                                         "LOGNAME",
                                         "SHELL",
                                         "LANG",
                                         "LANGUAGE",
                                         "LC_*",
                                         "TZ",
                                         "TMPDIR",
                                         "XDG_CONFIG_HOME",
                                         "XDG_DATA_HOME",
                                         "XDG_CACHE_HOME",
                                         "XDG_STATE_HOME",
                                         "XDG_RUNTIME_DIR",
                                         "DBUS_SESSION_BUS_ADDRESS",
                                         "SSH_AUTH_SOCK",
                                         "GNUPGHOME",
                                         "KRB5CCNAME",
                                         "KRB5_CONFIG",
                                         "SSL_CERT_FILE",
                                         "SSL_CERT_DIR",
                                         "HTTP_PROXY",
                                         "HTTPS_PROXY",
                                         "NO_PROXY",
                                         "http_proxy",
                                         "https_proxy",
                                         "no_proxy",
                                         "CREDENTIALS_DIRECTORY",
                                         "KUBERNETES_SERVICE_HOST",
                                         "KUBERNETES_SERVICE_PORT",
                                         "KUBECONFIG",
                                         "AWS_PROFILE",
                                         "AWS_REGION",
                                         "AWS_DEFAULT_REGION",
                                         "AWS_CONFIG_FILE",
                                         "AWS_SHARED_CREDENTIALS_FILE",
                                         "AWS_ROLE_ARN",
                                         "AWS_WEB_IDENTITY_TOKEN_FILE",
                                         "AZURE_CONFIG_DIR",
                                         "AZURE_CLIENT_ID",
                                         "AZURE_TENANT_ID",
                                         "AZURE_FEDERATED_TOKEN_FILE",
                                         "CLOUDSDK_CONFIG",
                                         "GOOGLE_APPLICATION_CREDENTIALS",
                                         "VAULT_ADDR",
                                         "VAULT_NAMESPACE",
                                         "VAULT_CACERT",
                                         "PASSWORD_STORE_DIR",
                                         NULL };

static bool is_allowed(const char *entry)
{
    size_t len = strcspn(entry, "=");
    for (const char *const *name = variables; *name; name++) {
        size_t n = strlen(*name);
        if ((*name)[n - 1] == '*' ? len >= n && strncmp(entry, *name, n - 1) == 0
                                  : len == n && strncmp(entry, *name, n) == 0)
            return true;
    }
    return false;
}

/* Heap; the strings are the environment's own. */
static char **environment(char *extra)
{
    size_t n = 0, at = 0;
    while (environ && environ[n])
        n++;
    char **list = calloc(n + 2, sizeof *list);
    if (!list)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (is_allowed(environ[i]))
            list[at++] = environ[i];
    list[at] = extra;
    return list;
}

/* What we ignore and block is not the program's business. */
static void set_attributes(posix_spawnattr_t *a)
{
    sigset_t every, none;
    sigfillset(&every);
    sigemptyset(&none);
    posix_spawnattr_init(a);
    posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(a, 0);
    posix_spawnattr_setsigdefault(a, &every);
    posix_spawnattr_setsigmask(a, &none);
}

int spawn_program(char *const *argv, char *extra, int output, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    char **env = environment(extra);
    if (!env)
        return -ENOMEM;
    set_attributes(&attributes);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    int failed = posix_spawnp(ret_pid, argv[0], &files, &attributes, argv, env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    free(env);
    return -failed;
}
