/* status: what /status says, for a terminal of 80 columns. */
#include "app/cmd/ask.h"
#include "base/clock.h"
#include "base/json_safe.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS 80
#define WATCH_EVERY_S 2

static bool colour; /* on a terminal, unless $NO_COLOR is set */

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static const char *paint(const char *state)
{
    if (!colour)
        return "";
    if (strcmp(state, "usable") == 0)
        return "\033[32m";
    return strcmp(state, "none") == 0 ? "\033[33m" : "\033[31m";
}

/* "in 48 min", "3 h ago" */
static const char *relative(const char *stamp, int64_t now_s, char text[32])
{
    static const struct {
        int64_t from_s, unit_s;
        const char *unit;
    } units[] = { { 2 * 86400, 86400, "d" }, { 2 * 3600, 3600, "h" }, { 120, 60, "min" }, { 0, 1, "s" } };
    struct tm at = { 0 };
    if (!stamp || !strptime(stamp, "%Y-%m-%dT%H:%M:%SZ", &at))
        return stamp ? stamp : "-";
    int64_t left_s = (int64_t)timegm(&at) - now_s, far_s = left_s < 0 ? -left_s : left_s;
    size_t i = 0;
    while (far_s < units[i].from_s)
        i++;
    long long count = far_s / units[i].unit_s;
    snprintf(text, 32, left_s < 0 ? "%lld %s ago" : "in %lld %s", count, units[i].unit);
    return text;
}

/* Words of text, below the row that they belong to. */
static void print_wrapped(const char *text)
{
    const char *indent = "  ";
    while (*text) {
        size_t room = COLUMNS - strlen(indent), len = strlen(text), cut = len;
        if (len > room) {
            for (cut = room; cut > 0 && text[cut] != ' ';)
                cut--;
            cut = cut ? cut : room;
        }
        printf("%s%.*s\n", indent, (int)cut, text);
        text += cut;
        text += strspn(text, " ");
        indent = "    ";
    }
}

/* Whose token it is made of, and so on. */
static void print_chain(const json_t *chain)
{
    char text[600] = "made of the token of ";
    for (size_t i = 0; i < json_array_size(chain); i++) {
        size_t len = strlen(text);
        const char *name = json_string_value(json_array_get(chain, i));
        snprintf(text + len, sizeof text - len, "%s%s", i ? " <- " : "", name ? name : "-");
    }
    if (json_array_size(chain))
        print_wrapped(text);
}

static void print_row(const json_t *c, int width, int64_t now_s)
{
    char expires[32], next[32], shown[128];
    const char *name = text_of(c, "name"), *state = text_of(c, "state"), *why = text_of(c, "last_error");
    state = state ? state : "-";
    name = name ? name : "-";
    int len = snprintf(shown, sizeof shown, "%s", name);
    if (len > width)
        memcpy(shown + width - 1, "~", 2);
    printf("%-*s %s%-15s%s %6lld  %-13s  %s\n", width, shown, paint(state), state, colour ? "\033[0m" : "",
           (long long)json_integer_value(json_object_get(c, "generation")),
           relative(text_of(c, "expires_at"), now_s, expires), relative(text_of(c, "next_refresh"), now_s, next));
    print_chain(json_object_get(c, "chain"));
    if (why)
        print_wrapped(why);
}

static int name_width(const json_t *list)
{
    size_t widest = strlen("CREDENTIAL");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = text_of(json_array_get(list, i), "name");
        widest = name && strlen(name) > widest ? strlen(name) : widest;
    }
    return widest < 24 ? (int)widest : 24;
}

static void print_status(json_t *root)
{
    const json_t *list = json_object_get(root, "credentials");
    int width = name_width(list);
    int64_t now_s = clock_wall_ms() / 1000;
    const char *part;
    json_t *why;
    printf("%-*s %-15s %6s  %-13s  %s\n", width, "CREDENTIAL", "STATE", "GEN", "EXPIRES", "NEXT REFRESH");
    for (size_t i = 0; i < json_array_size(list); i++)
        print_row(json_array_get(list, i), width, now_s);
    json_object_foreach(json_object_get(root, "degraded"), part, why)
    {
        char line[600];
        snprintf(line, sizeof line, "%s: %s", part, json_is_string(why) ? json_string_value(why) : "");
        printf("%sdegraded%s\n", colour ? "\033[33m" : "", colour ? "\033[0m" : "");
        print_wrapped(line);
    }
}

static int show(const struct config *config, const char *name, bool json)
{
    struct buf body;
    buf_init(&body, ADMIN_CLIENT_ANSWER_MAX);
    int failed = ask(config, name, "GET", "/status", &body);
    json_t *root = failed ? NULL : json_safe_load(buf_slice(&body), 0, NULL);
    if (!failed && !root)
        failed = cmd_fail(EX_PROTOCOL, name, "the response of the running sidekey is not JSON");
    else if (!failed && json)
        printf("%.*s\n", (int)body.len, buf_slice(&body).ptr);
    else if (!failed)
        print_status(root);
    json_decref(root);
    buf_done(&body);
    return failed;
}

/* Until a signal ends it; a proxy that is away for a while is shown as that. */
static int watch(const struct config *config, const char *name, bool json, bool terminal)
{
    for (;;) {
        if (terminal && !json)
            fputs("\033[H\033[2J", stdout);
        (void)!show(config, name, json);
        if (!terminal && !json)
            putchar('\n');
        if (fflush(stdout) != 0 || ferror(stdout))
            return EX_IOERR; /* its reader has gone */
        sleep(WATCH_EVERY_S);
    }
}

int cmd_status(int argc, char **argv)
{
    enum { JSON_FLAG = CMD_OWN, WATCH_FLAG, ADMIN_FLAG };
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "json", no_argument, NULL, JSON_FLAG },
                                           { "watch", no_argument, NULL, WATCH_FLAG },
                                           { "admin", required_argument, NULL, ADMIN_FLAG },
                                           CMD_LONG_END };
    struct cmd_config c = { .quiet = true };
    const char *admin = NULL;
    bool json = false, watching = false;
    int flag;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1) {
        json = json || flag == JSON_FLAG;
        watching = watching || flag == WATCH_FLAG;
        if (flag == ADMIN_FLAG)
            admin = optarg;
        if (flag == '?' || (flag < CMD_OWN && cmd_config_flag(&c, flag, optarg) != 0))
            return EX_USAGE;
    }
    if (optind < argc)
        return cmd_usage(argv[0], "takes no arguments");
    int failed = EX_OK;
    struct config *config = ask_config(&c, argv[0], admin, &failed);
    if (!config)
        return failed;
    bool terminal = isatty(STDOUT_FILENO);
    colour = terminal && !getenv("NO_COLOR");
    failed = watching ? watch(config, argv[0], json, terminal) : show(config, argv[0], json);
    config_free(config);
    return failed;
}
