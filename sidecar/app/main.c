/* The program is a table of commands. */
#include "app/cmd/cmd.h"
#include "app/config/units.h"
#include "base/own_env.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#define CONFIG_HELP                                                                                                    \
    "  -c, --config FILE         default: $SIDEKEY_CONFIG, ./sidekey.yaml,\n"                                          \
    "                            $XDG_CONFIG_HOME/sidekey/sidekey.yaml, /etc/sidekey/sidekey.yaml\n"                   \
    "  --set SECTION.KEY=VALUE   overrides $SIDEKEY_SECTION_KEY, which overrides the file\n"                           \
    "  --allow-inline-secrets    accept literal secrets in the file\n"

#define ASK_HELP                                                                                                       \
    "  --admin IP:PORT|PATH      address of the running sidekey; default: $SIDEKEY_LISTEN_ADMIN, the\n"                \
    "                            sidekey of this user, the configuration, 127.0.0.1:9118\n"

static int cmd_help(int argc, char **argv);

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* NULL: not listed */
    const char *help;
} commands[] = {
    { "init", cmd_init, "write a first sidekey.yaml for a provider",
      "Example: sidekey init google-service-account key=/run/secrets/service-account.json\n\n"
      "  PRESET                    the provider: see sidekey presets; on a terminal it may be left out\n"
      "  KEY=VALUE                 what the preset needs; a secret is the path of a file, or env:NAME.\n"
      "                            What is missing is asked for, on a terminal\n"
      "  host=HOST                 host of the API, for a preset that does not know it\n"
      "                            mcp needs only resource=URL: it asks the server, and registers a client\n"
      "  --name NAME               of the credential; default the preset's\n"
      "  -o, --output FILE         default sidekey.yaml; an existing file is never overwritten\n" },
    { "presets", cmd_presets, "list the providers that sidekey knows, or show one",
      "Example: sidekey presets show slack\n\n"
      "  show NAME                 what credentials.NAME.preset fills in, as YAML\n" },
    { "login", cmd_login, "sign in to a provider, with a browser or a device code",
      "Example: sidekey login crm\n\n"
      "Stores the refresh token of credential NAME, sealed, and never prints it.  A running sidekey uses it at once.\n"
      "Needs credentials.NAME.login, from the preset or the file.\n\n"
      "  NAME                      optional when only one credential can sign in\n"
      "  --device                  show a code to enter on any device (RFC 8628)\n"
      "  --no-browser              print the address instead of starting a browser; reads the address that the\n"
      "                            browser shows at the end, when it runs on another machine\n"
      "  --timeout TIME            how long to wait for the browser; default 10m\n" CONFIG_HELP },
    { "logout", cmd_login, "revoke what sidekey login stored, and forget it",
      "Example: sidekey logout crm\n\n"
      "Revokes the refresh token where the provider can do that (RFC 7009), and forgets the stored "
      "tokens.\n\n" CONFIG_HELP },
    { "serve", cmd_serve, "run the proxy",
      "Example: sidekey serve -c sidekey.yaml\n\n"
      "Runs until SIGTERM (ends after requests in flight) or a second SIGTERM (ends at once).\n"
      "It is ready when it prints: ready proxy=127.0.0.1:8118 admin=127.0.0.1:9118\n\n" CONFIG_HELP },
    { "run", cmd_run, "run a program with a private proxy",
      "Example: sidekey run -- curl https://api.example.com/v1/items\n\n"
      "Starts a private proxy in the background, then replaces itself with the program.\n\n"
      "  --layers LIST             auto (the default: env and preload), env (variables), preload (a library), or both\n"
      "  --check                   print which layers work for the program, and do not start it (exit status 1: a "
      "gap)\n"
      "  --strict                  do not start a program that may bypass the proxy (exit status 78)\n"
      "  --isolate                 in a network that ends at sidekey: covers any program, and nothing else is\n"
      "                            reachable; --check and --strict as above (exit status 69: not possible here)\n"
      "  --guard                   the kernel refuses TCP connections past the proxy (Linux 6.7; exit status 69)\n"
      "  --allow-local PORT        with --isolate, --guard: a port of the host's loopback that stays reachable\n"
      "  --linger                  keep the proxy while children of the program hold connections\n"
      "  --placeholder NAME=VALUE  set a variable for programs that do not start without a credential;\n"
      "                            NAME=@CREDENTIAL: to the placeholder that sidekey made for it\n"
      "  --java                    add a trust store and options for Java (every JVM prints a line about it)\n"
      "  -v, --verbose             print the proxy's address and the layers, and log to stderr\n" CONFIG_HELP },
    { "env", cmd_env, "print the environment variables that a program needs to use the proxy",
      "Example: eval \"$(sidekey env)\"\n\n"
      "  -f, --format sh|docker|k8s|json   default sh\n"
      "  --java                    add JAVA_TOOL_OPTIONS (every JVM prints a line about it)\n"
      "  --proxy HOST:PORT         the proxy as the program sees it; default listen.proxy\n"
      "  --ca-dir DIR              ca.pem and bundle.pem as the program sees them; default ca.publish\n"
      "  --placeholder NAME=@CREDENTIAL\n"
      "                            print the placeholder that sidekey made for it under that name\n"
      "  --key-files DIR           write key files without a secret for programs that insist on one, and print\n"
      "                            the variables that name them\n" CONFIG_HELP },
    { "doctor", cmd_doctor, "find out which programs here do not reach sidekey, or do not trust it",
      "Example: sidekey run -- sidekey doctor\n\n"
      "Lets each runtime that is installed (curl, OpenSSL, GnuTLS, git, Python, Node, Java, Go, Ruby, PHP,\n"
      "Perl) send one request, in the environment that it was started in, to a host that sidekey itself\n"
      "answers.  Prints whether it arrives, whether the runtime trusts the CA, by which layer it came, and\n"
      "the line that fixes it.  Exit status 0: no problems, 1: problems.\n\n"
      "  -- COMMAND                try only the runtime of this command (it is not started)\n"
      "  --json                    print the result as JSON\n"
      "  --timeout SECONDS         of each request; default 30\n" CONFIG_HELP },
    { "k8s", cmd_k8s, "print Kubernetes manifests for the configuration",
      "Example: sidekey k8s -c sidekey.yaml --name my-app --image registry.example/my-app:1.0 | kubectl apply -f -\n\n"
      "  KIND                      job, sidecar, volumes, redis, podmonitor, rules, prometheusrule, dashboard,\n"
      "                            component, policy or helm; without KIND: deployment, networkpolicy and pdb\n"
      "  --name NAME               name of the app; default my-app\n"
      "  --container NAME          name of the app's container; default app\n"
      "  --image IMAGE             image of the app\n"
      "  --sidekey-image IMAGE     image of sidekey\n"
      "  --replicas N              number of replicas; default 2\n" CONFIG_HELP },
    { "check", cmd_check, "check the configuration",
      "Example: sidekey check -c sidekey.yaml\n\n"
      "Prints every error with its line and column.  Exit status 0: no errors, 78: errors,\n"
      "77: other users can write to a file that it reads.\n\n" CONFIG_HELP },
    { "why", cmd_why, "print which rule applies to a request, and what sidekey would send",
      "Example: sidekey why GET https://api.example.com/v1/items\n\n"
      "  -H, --header \"NAME: VALUE\"   a header field of the request, such as a placeholder\n\n"
      "Never prints a token.  Exit status 0: a rule adds a credential, 1: none does.\n\n" CONFIG_HELP },
    { "ca", cmd_ca, "show the CA certificates that programs must trust, or make the next one",
      "Example: sidekey ca show > ca.pem\n\n"
      "  show                      print the certificates to stdout, and a description to stderr\n"
      "  rotate                    publish the next CA of a running proxy; it starts to sign in 30 days\n"
      "  rotate --now              the next CA signs at once: you must restart running programs\n\n" CONFIG_HELP },
    { "status", cmd_status, "show the credentials of a running proxy",
      "Example: sidekey status\n\n"
      "Prints state, generation, expiry and last error of each credential; never a token.\n\n"
      "  --json                    print the JSON of /status\n"
      "  --watch                   print it again every 2 s, until Ctrl-C\n" ASK_HELP CONFIG_HELP },
    { "refresh", cmd_refresh, "refresh a credential of a running proxy now",
      "Example: sidekey refresh crm\n\n"
      "Exit status 0: there is a newer token, 69: there is none; it prints the reason.\n\n" CONFIG_HELP },
    { "reset", cmd_reset, "forget that a credential's refresh tokens were refused, and try again",
      "Example: sidekey reset crm\n\n"
      "Forgets which refresh tokens of a credential were tried or refused, and tries the configured one.\n"
      "Use it when the provider has restored the grant.  A new refresh token needs no reset: configure it.\n"
      "Caution: a server with reuse detection may revoke the grant when it sees a spent token again.\n\n" CONFIG_HELP },
    { "reload", cmd_reload, "make a running proxy read its configuration again",
      "Example: sidekey reload\n\n"
      "Checks the file first.  Requests and streams in flight are not interrupted.\n"
      "A program file that was replaced since the start takes over (an upgrade).\n"
      "Exit status 0: reloaded, 69: refused (its log has the reason), 78: the file has errors.\n\n" CONFIG_HELP },
    { "healthcheck", cmd_healthcheck, "ask a running proxy whether it is ready",
      "Example: sidekey healthcheck\n\n"
      "Asks listen.admin_socket or listen.admin for /readyz.  Exit status 0: ready, 69: not.\n\n" ASK_HELP
          CONFIG_HELP },
    { "version", cmd_version, "print the version",
      "Example: sidekey version --verbose\n\n"
      "  -v, --verbose             also print the versions of the libraries\n" },
    { "help", cmd_help, "print this help, or the help of a command", "Example: sidekey help env\n" },
    { NULL, NULL, NULL, NULL },
};

static const struct command *find(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static void print_overview(FILE *to)
{
    fputs("Example: sidekey run -- curl https://api.example.com/v1/items\n\n"
          "sidekey runs next to a program and adds fresh credentials to its outbound HTTPS requests.\n\n",
          to);
    for (const struct command *c = commands; c->name; c++)
        fprintf(to, "  %-12s %s\n", c->name, c->summary);
    fputs("\nRead more: sidekey help COMMAND, man sidekey, man sidekey.yaml\n", to);
}

static int print_help(const struct command *c)
{
    printf("sidekey %s: %s\n\n%s", c->name, c->summary, c->help);
    return EX_OK;
}

static int unknown(const char *name)
{
    const char *best = NULL;
    for (const struct command *c = commands; c->name; c++)
        units_nearer(name, c->name, &best);
    if (best)
        fprintf(stderr, "sidekey: unknown command \"%.40s\": did you mean \"%s\"?\n", name, best);
    else
        fprintf(stderr, "sidekey: unknown command \"%.40s\": see sidekey help\n", name);
    return EX_USAGE;
}

static int cmd_help(int argc, char **argv)
{
    if (argc > 1) {
        const struct command *c = find(argv[1]);
        return c ? print_help(c) : unknown(argv[1]);
    }
    print_overview(stdout);
    return EX_OK;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* How many words argv[at] takes as a flag that every command knows (-c FILE, -cFILE, --set=S.K=V); 0: it is none. */
static int flag_words(const char *word)
{
    static const char *const with_value[] = { "-c", "--config", "--set" };
    if (strcmp(word, "--allow-inline-secrets") == 0)
        return 1;
    for (size_t i = 0; i < sizeof with_value / sizeof *with_value; i++) {
        size_t len = strlen(with_value[i]);
        if (strcmp(word, with_value[i]) == 0)
            return 2;
        if (strncmp(word, with_value[i], len) == 0 && (len == 2 || word[len] == '='))
            return 1;
    }
    return 0;
}

/* sidekey -c FILE serve: moves the command to the front, where the commands expect it. Returns the new index of the
 * argument that followed it; argc: there is no command. */
static int command_first(int argc, char **argv)
{
    int at = 1;
    for (int words; at < argc && (words = flag_words(argv[at])) > 0;)
        at += words;
    if (at >= argc)
        return argc;
    char *command = argv[at];
    memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof *argv);
    argv[1] = command;
    return at + 1;
}

/* The next socket or file of ours would get the number of a standard descriptor that is closed, and lines of the log
 * would go into it.  A program that is started by exec() finds it closed, as before. */
static void hold_standard_fds(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
            (void)!epoll_create1(EPOLL_CLOEXEC); /* a root without devices: nothing can be read or written here */
}

/* Before anything is read: other processes of the same user must not inspect this process, and no variable may change
 * how a library works. A program that is started by exec() is not protected. */
static void protect(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    own_env_begin();
}

int main(int argc, char **argv)
{
    hold_standard_fds();
    protect();
    if (argc < 2) {
        print_overview(stderr);
        return EX_USAGE;
    }
    int rest = command_first(argc, argv);
    if (is_help(argv[1]))
        return cmd_help(1, argv);
    if (rest == argc && flag_words(argv[1])) {
        fputs("sidekey: the command is missing after the flags, such as serve: see sidekey help\n", stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return cmd_version(1, argv + 1);
    if (strcmp(argv[1], "take-over") == 0)
        return cmd_take_over(argc - 1, argv + 1);
    const struct command *c = find(argv[1]);
    if (!c)
        return unknown(argv[1]);
    if (argc > rest && is_help(argv[rest]))
        return print_help(c);
    return c->run(argc - 1, argv + 1);
}
