/* sidekey login NAME and sidekey logout NAME: a person signs in, on a terminal. */
#include "app/cmd/cmd.h"
#include "app/cmd/run_file.h"
#include "app/config/units.h"
#include "base/log.h"
#include "base/own_env.h"
#include "refresh/login/login_message.h"
#include "refresh/login/login.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

struct terminal {
    const char *command, *name; /* of the credential */
    bool starts_browser, spins, pastes;
    unsigned turn;
    bool spun; /* the spinner's line is there */
};

/* ---- which credential ---- */

static const struct credential_spec *find(const struct config *c, const char *command, const char *name)
{
    const struct credential_spec *only = NULL;
    const char *nearest = NULL;
    size_t count = 0;
    for (size_t i = 0; i < c->credential_count; i++) {
        const struct credential_spec *s = &c->credentials[i];
        if (name && strcmp(s->name, name) == 0)
            return s;
        if (name)
            units_nearer(name, s->name, &nearest);
        if (credential_spec_has_login(s)) {
            only = s;
            count++;
        }
    }
    if (name && nearest)
        cmd_fail(EX_USAGE, command, "%s has no credential \"%.64s\": did you mean \"%s\"?", c->path, name, nearest);
    else if (name)
        cmd_fail(EX_USAGE, command, "%s has no credential \"%.64s\"", c->path, name);
    else if (count != 1)
        cmd_fail(EX_USAGE, command, "%s: sidekey %s NAME",
                 count ? "several credentials can be signed in" : "no credential has login", command);
    return !name && count == 1 ? only : NULL;
}

/* ---- where a running sidekey listens ---- */

#define SOCKETS_MAX 4

struct sockets {
    char text[SOCKETS_MAX][PATH_MAX];
    const char *paths[SOCKETS_MAX + 1];
    size_t count;
};

/* login.sock stands beside the admin socket. */
static void add_socket(struct sockets *s, const char *admin_socket)
{
    const char *slash = strrchr(admin_socket, '/');
    if (slash
        && snprintf(s->text[s->count], PATH_MAX, "%.*s/" LOGIN_SOCKET, (int)(slash - admin_socket), admin_socket)
               < PATH_MAX) {
        s->paths[s->count] = s->text[s->count];
        s->count++;
    }
}

/* As for the commands that ask (admin_client.c), and what the running sidekey says of itself. */
static void find_sockets(const struct config *c, struct sockets *s)
{
    struct run_file running;
    char path[PATH_MAX];
    if (run_file_read(&running) == 0)
        add_socket(s, running.admin_socket);
    if (config_admin_socket(c).path)
        add_socket(s, c->admin_socket);
    if (c->admin_socket_default && snprintf(path, sizeof path, "%s/sidekey-%u/", c->store_file, geteuid()) < PATH_MAX)
        add_socket(s, path);
    if (c->admin_socket_default && snprintf(path, sizeof path, "%s/", c->ca_publish) < PATH_MAX)
        add_socket(s, path);
}

/* ---- the browser ---- */

static bool has_browser(void)
{
    const char *browser = getenv("BROWSER");
    if (browser && *browser)
        return true;
    return geteuid() != 0 && (getenv("DISPLAY") || getenv("WAYLAND_DISPLAY"));
}

static void run_browser(char *program, char *url)
{
    char *argv[] = { program, url, NULL };
    sigset_t none;
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    own_env_give_back();
    setsid();
    for (int fd = 0; fd <= 2 && nowhere >= 0; fd++)
        (void)!dup2(nowhere, fd);
    execvp(program, argv);
    _exit(127);
}

/* $BROWSER, as xdg-open reads it: its first word.  A browser that does not start is no failure: the URL is there. */
static void start_browser(const char *url)
{
    char program[512] = "xdg-open";
    const char *named = getenv("BROWSER");
    if (named && *named)
        snprintf(program, sizeof program, "%.*s", (int)strcspn(named, ":"), named);
    if (fork() == 0)
        run_browser(program, (char *)(uintptr_t)url);
}

/* ---- progress ---- */

static void clear_spinner(struct terminal *t)
{
    if (t->spun)
        fputs("\r\033[K", stderr);
    t->spun = false;
}

static void on_browser(void *arg, const char *url)
{
    const struct terminal *t = arg;
    fprintf(stderr, "%s to sign in (%s):\n\n  %s\n\n",
            t->starts_browser ? "Your browser opens this address" : "Open this address in a browser", t->name, url);
    if (t->pastes)
        fputs("If the browser runs on another machine, paste the address that it shows at the end, and press Enter.\n",
              stderr);
    if (t->starts_browser)
        start_browser(url);
}

static void on_device(void *arg, const char *url, const char *code, const char *whole_url)
{
    const struct terminal *t = arg;
    fprintf(stderr, "To sign in (%s), open this address on any device:\n\n  %s\n\nand enter the code:  %s\n\n", t->name,
            url, code);
    if (whole_url)
        fprintf(stderr, "The same with the code in it:\n\n  %s\n\n", whole_url);
}

static void on_waiting(void *arg, int64_t left_ms)
{
    struct terminal *t = arg;
    int64_t left_s = left_ms > 0 ? left_ms / 1000 : 0;
    if (!t->spins)
        return;
    fprintf(stderr, "\r\033[K%c waiting for you to sign in, %" PRId64 ":%02" PRId64 " left ", "|/-\\"[t->turn++ % 4],
            left_s / 60, left_s % 60);
    t->spun = true;
}

static void on_note(void *arg, const char *text)
{
    struct terminal *t = arg;
    clear_spinner(t);
    fprintf(stderr, "sidekey %s: %s\n", t->command, text);
}

/* ---- the commands ---- */

struct words {
    struct cmd_config c;
    enum login_way way;
    bool no_browser;
    int64_t patience_ms;
    const char *name;
};

static int read_words(struct words *w, int argc, char **argv)
{
    enum { DEVICE = CMD_OWN, NO_BROWSER, TIMEOUT };
    static const struct option login_flags[] = { CMD_CONFIG_LONG,
                                                 { "device", no_argument, NULL, DEVICE },
                                                 { "no-browser", no_argument, NULL, NO_BROWSER },
                                                 { "timeout", required_argument, NULL, TIMEOUT },
                                                 CMD_LONG_END };
    static const struct option logout_flags[] = { CMD_CONFIG_LONG, CMD_LONG_END };
    const struct option *flags = strcmp(argv[0], "login") == 0 ? login_flags : logout_flags;
    for (int flag; (flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1 || (optind < argc && !w->name);) {
        if (flag == -1)
            w->name = argv[optind++];
        else if (flag == DEVICE)
            w->way = LOGIN_DEVICE;
        else if (flag == NO_BROWSER)
            w->no_browser = true;
        else if (flag == TIMEOUT && units_duration(slice_str(optarg), &w->patience_ms) == 0 && w->patience_ms > 0)
            continue;
        else if (flag == TIMEOUT)
            return cmd_usage(argv[0], "--timeout needs a duration, such as 5m");
        else if (flag == '?' || cmd_config_flag(&w->c, flag, optarg) != 0)
            return EX_USAGE;
    }
    return optind < argc ? cmd_usage(argv[0], "takes one credential") : 0;
}

static int sign_in(const struct login_options *o, struct terminal *t)
{
    struct login_result result;
    struct err e = { "" };
    int status = login_run(o, &result, &e);
    clear_spinner(t);
    if (status)
        return cmd_fail(status, "login", "%s", e.text);
    fprintf(stderr, "Signed in%s%s. The token is stored for %s, and refreshed from now on.\n",
            result.account[0] ? " as " : "", result.account, t->name);
    return EX_OK;
}

static int sign_out(const struct login_options *o, struct terminal *t)
{
    struct err note = { "" }, e = { "" };
    int status = login_out(o, &note, &e);
    if (status)
        return cmd_fail(status, "logout", "%s", e.text);
    fprintf(stderr, "Signed out: what was stored for %s is forgotten.\n", t->name);
    if (note.text[0])
        fprintf(stderr, "%s\n", note.text);
    return EX_OK;
}

static int with_config(const struct words *w, const char *command, const struct config *config)
{
    bool out = strcmp(command, "logout") == 0;
    const struct credential_spec *spec = find(config, command, w->name);
    struct terminal t = { .command = command, .starts_browser = !w->no_browser && has_browser() };
    if (!spec)
        return EX_USAGE;
    if (spec->grant != GRANT_REFRESH_TOKEN || (!out && !credential_spec_has_login(spec)))
        return cmd_fail(EX_CONFIG, command,
                        "credential %s has no login: it needs grant: refresh_token, and login: {issuer: URL}, or "
                        "authorization_url or device_authorization_url there",
                        spec->name);
    struct keeper_options keeper = config_keeper(config);
    static struct sockets sockets;
    find_sockets(config, &sockets);
    t.name = spec->name;
    t.pastes = !out && !t.starts_browser;
    t.spins = isatty(STDERR_FILENO) && !(t.pastes && isatty(STDIN_FILENO));
    const struct login_options o = { .keeper = &keeper,
                                     .spec = spec,
                                     .keeper_sockets = sockets.paths,
                                     .way = w->way,
                                     .has_browser = t.starts_browser || w->no_browser,
                                     .paste_fd = t.pastes ? STDIN_FILENO : -1,
                                     .patience_ms = w->patience_ms,
                                     .progress = { on_browser, on_device, on_waiting, on_note, &t } };
    return out ? sign_out(&o, &t) : sign_in(&o, &t);
}

int cmd_login(int argc, char **argv)
{
    struct words w = { .patience_ms = LOGIN_PATIENCE_MS };
    int status = read_words(&w, argc, argv);
    if (status)
        return status;
    log_setup("login", LOG_WARN, LOG_LOGFMT, STDERR_FILENO);
    struct config *config = cmd_config_load(&w.c, &status);
    if (!config)
        return status;
    status = with_config(&w, argv[0], config);
    config_free(config);
    return status;
}
