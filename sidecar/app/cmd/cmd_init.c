/* sidekey init PRESET: a first sidekey.yaml, short and with comments.  Secrets stay where they are: the file names
 * theirs. */
#include "app/cmd/cmd.h"
#include "app/cmd/init_found.h"
#include "app/cmd/init_value.h"
#include "app/config/preset.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWERS_MAX 32
#define LINE_MAX_BYTES 4096

struct init {
    const char *preset, *name, *path;
    char *const *given; /* KEY=VALUE of the command line */
    size_t given_count, used;
    bool asks; /* a person is at the terminal */
    struct init_found found;
    struct buf out;            /* the lines of the credential */
    char host[INIT_VALUE_MAX]; /* of the API, for a preset without rules; "": not said */
};

static const char *given(struct init *n, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < n->given_count; i++)
        if (strncmp(n->given[i], key, len) == 0 && n->given[i][len] == '=') {
            n->used++;
            return n->given[i] + len + 1;
        }
    for (size_t i = 0; i < n->found.count; i++)
        if (strncmp(n->found.values[i], key, len) == 0 && n->found.values[i][len] == '=')
            return n->found.values[i] + len + 1;
    return NULL;
}

/* The answer without its line end, or NULL: nothing was said.  *ret_end: nothing more will be said. */
static const char *ask(const char *key, bool optional, const char *about, char *line, bool *ret_end)
{
    fprintf(stderr, "%s (%s%s)%s: ", key, about, optional ? "; may be empty" : "",
            init_value_is_secret(key) ? ", path of the file that holds it, or env:NAME" : "");
    *ret_end = !fgets(line, LINE_MAX_BYTES, stdin);
    if (*ret_end)
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    return *line ? line : NULL;
}

/* Until there is an answer that will do.  Returns 0, value[0] == '\0': none; EX_USAGE, reported. */
static int ask_for(const char *key, bool optional, const char *about, char value[INIT_VALUE_MAX])
{
    char line[LINE_MAX_BYTES];
    bool end = false;
    const char *wrong = NULL;
    do {
        const char *text = ask(key, optional, about, line, &end);
        wrong = text ? init_value_take(key, text, value) : NULL;
        if (wrong)
            fprintf(stderr, "%s: %s\n", key, wrong);
        if (!text && (end || optional))
            return 0;
        if (!wrong && text)
            return 0;
    } while (!end);
    return EX_USAGE;
}

static int add_value(struct init *n, const char *key, const char *value, const char *about)
{
    bool env = init_value_is_secret(key) && strncmp(value, "env:", 4) == 0;
    const char *open = "", *close = "";
    if (init_value_is_secret(key)) {
        open = env ? "{env: " : "{file: ";
        close = "}";
    }
    int failed = buf_add(&n->out, SLICE("    ")) | buf_add(&n->out, slice_str(key)) | buf_add(&n->out, SLICE(": "))
                 | buf_add(&n->out, slice_str(open)) | str_add_json(&n->out, slice_str(env ? value + 4 : value))
                 | buf_add(&n->out, slice_str(close)) | buf_add(&n->out, SLICE("   # "))
                 | buf_add(&n->out, slice_str(about)) | buf_add(&n->out, SLICE("\n"));
    return failed ? cmd_fail(EX_OSERR, "init", "out of memory") : 0;
}

/* From the command line, from what was found, or from the person; "": it was not said. */
static int get_value(struct init *n, const char *key, bool optional, const char *about, char value[INIT_VALUE_MAX])
{
    const char *text = given(n, key), *wrong;
    value[0] = '\0';
    if (text && (wrong = init_value_take(key, text, value)))
        return cmd_fail(EX_USAGE, "init", "%s: %s", key, wrong);
    if (!text && n->asks && !(optional && n->found.count)) /* what a server says is all that it needs */
        return ask_for(key, optional, about, value);
    return 0;
}

static int take_value(void *arg, const char *key, bool optional, const char *about)
{
    struct init *n = arg;
    char value[INIT_VALUE_MAX];
    int status = get_value(n, key, optional, about, value);
    if (status)
        return status;
    if (value[0])
        return add_value(n, key, value, about);
    if (optional)
        return 0;
    return cmd_fail(EX_USAGE, "init", "%s is missing: write %s=%s (%s)", key, key,
                    init_value_is_secret(key) ? "PATH of the file that holds it" : "VALUE", about);
}

/* A preset without rules does not know the API. */
static int take_host(struct init *n)
{
    if (preset_has_rules(n->preset))
        return 0;
    return get_value(n, "host", true, "host of the API that gets the token, such as api.example.com", n->host);
}

static int add_rule(struct init *n)
{
    if (!n->host[0])
        return 0;
    int failed = buf_add_str(&n->out, "rules:\n  - match: {host: ") | str_add_json(&n->out, slice_str(n->host))
                 | buf_printf(&n->out, "}\n    credential: %s\n", n->name);
    return failed ? cmd_fail(EX_OSERR, "init", "out of memory") : 0;
}

static int is_there(const struct init *n)
{
    return cmd_fail(EX_CANTCREAT, "init", "%s is there already: move it away, or write another one with -o FILE",
                    n->path);
}

static int write_file(const struct init *n)
{
    static const char text[] = "# Made by sidekey init %s.  All keys: man sidekey.yaml.\n"
                               "# What the preset fills in: sidekey presets show %s\n"
                               "credentials:\n"
                               "  %s:\n"
                               "    preset: %s\n"
                               "%.*s";
    int fd = open(n->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f && errno == EEXIST)
        return is_there(n);
    if (!f)
        return cmd_fail(EX_CANTCREAT, "init", "%s: %s", n->path, strerror(errno));
    int failed =
        fprintf(f, text, n->preset, n->preset, n->name, n->preset, (int)n->out.len, buf_slice(&n->out).ptr) < 0;
    if (fclose(f) != 0 || failed)
        return cmd_fail(EX_IOERR, "init", "%s: %s", n->path, strerror(errno));
    return EX_OK;
}

/* A person must sign in before there is a token. */
static bool needs_login(const struct config *c)
{
    const struct credential_spec *spec = c->credentials;
    return c->credential_count == 1 && spec->grant == GRANT_REFRESH_TOKEN && credential_spec_has_login(spec)
           && spec->refresh_token.kind == SECRET_REF_NONE;
}

static void say_next(const struct init *n, const struct config *c)
{
    const char *first = "Next:";
    if (!c->rule_count) {
        fprintf(stderr,
                "Next: add a rule for the API, such as\n  rules: [{match: {host: api.example.com}, credential: "
                "%s}]\nthen: sidekey check -c %s\n",
                n->name, n->path);
        first = "then:";
    }
    if (needs_login(c)) {
        fprintf(stderr, "%s sidekey login -c %s\n", first, n->path);
        first = "then:";
    }
    fprintf(stderr, "%s sidekey run -c %s -- YOUR-PROGRAM\n", first, n->path);
}

/* What is wrong is printed; the file stays, because a person can finish it. */
static int check(const struct init *n)
{
    struct cmd_config load = { .options = { .path = n->path, .files = SCHEMA_FILES_ALL } };
    int status;
    struct config *c = cmd_config_load(&load, &status);
    fprintf(stderr, "%s is written.\n", n->path);
    if (!c) {
        fprintf(stderr, "Correct the errors above, then: sidekey check -c %s\n", n->path);
        return status;
    }
    say_next(n, c);
    config_free(c);
    return EX_OK;
}

static int find_preset(struct init *n, const char *word)
{
    const char *nearest;
    if (preset_text(word, &nearest)) {
        n->preset = word;
        n->name = n->name ? n->name : word;
        return 0;
    }
    return nearest ? cmd_fail(EX_USAGE, "init", "there is no preset \"%.64s\": did you mean \"%s\"?", word, nearest)
                   : cmd_fail(EX_USAGE, "init", "there is no preset \"%.64s\": sidekey presets lists them", word);
}

static void list_preset(void *arg, const char *name, const char *about, const char *text)
{
    (void)arg, (void)text;
    fprintf(stderr, "  %-27s %s\n", name, about);
}

/* line holds the answer. */
static int ask_preset(struct init *n, char line[LINE_MAX_BYTES])
{
    bool end = false;
    if (!n->asks)
        return cmd_usage("init", "needs a preset: sidekey presets lists them");
    preset_each(list_preset, NULL);
    while (!end) {
        const char *word = ask("preset", false, "one of these", line, &end);
        if (word && find_preset(n, word) == 0)
            return 0;
    }
    return EX_USAGE;
}

/* For an MCP server its URL is enough: the server says the rest. */
static int find_rest(struct init *n)
{
    char resource[INIT_VALUE_MAX];
    static const char about[] = "URL of the MCP server";
    if (strcmp(n->preset, "mcp") != 0)
        return 0;
    int status = get_value(n, "resource", false, about, resource);
    bool has_client = given(n, "client_id");
    n->used = 0; /* they are counted when the values are taken */
    if (status == 0 && !resource[0])
        status = cmd_fail(EX_USAGE, "init", "resource is missing: write resource=URL (%s)", about);
    return status ? status : init_found(resource, has_client, n->path, &n->found);
}

static int make(struct init *n)
{
    int status = access(n->path, F_OK) == 0 ? is_there(n) : find_rest(n);
    if (status == 0)
        status = preset_each_value(n->preset, take_value, n);
    if (status == 0)
        status = take_host(n);
    if (status == 0 && n->used < n->given_count)
        status = cmd_fail(EX_USAGE, "init",
                          "preset %s takes no such value, or one was given twice: sidekey presets "
                          "show %s",
                          n->preset, n->preset);
    if (status == 0)
        status = add_rule(n);
    if (status == 0)
        status = write_file(n);
    return status ? status : check(n);
}

/* Flags and words in any order.  Returns 0; EX_USAGE, reported. */
static int read_words(struct init *n, int argc, char **argv, char **words, size_t *ret_count)
{
    static const struct option flags[] = { { "name", required_argument, NULL, CMD_OWN },
                                           { "output", required_argument, NULL, 'o' },
                                           CMD_LONG_END };
    for (*ret_count = 0;;) {
        int flag = cmd_flag(argc, argv, "o:", flags);
        if (flag == '?')
            return EX_USAGE;
        if (flag == 'o')
            n->path = optarg;
        else if (flag == CMD_OWN)
            n->name = optarg;
        else if (optind == argc)
            return 0;
        else if (*ret_count == ANSWERS_MAX)
            return cmd_usage("init", "too many words");
        else
            words[(*ret_count)++] = argv[optind++];
    }
}

int cmd_init(int argc, char **argv)
{
    struct init n = { .path = "sidekey.yaml", .asks = isatty(STDIN_FILENO) && isatty(STDERR_FILENO) };
    char *words[ANSWERS_MAX], line[LINE_MAX_BYTES];
    size_t count;
    int status = read_words(&n, argc, argv, words, &count);
    if (status)
        return status;
    bool named = count && !strchr(words[0], '=');
    if ((status = named ? find_preset(&n, words[0]) : ask_preset(&n, line)) != 0)
        return status;
    n.given = words + named;
    n.given_count = count - named;
    buf_init(&n.out, 64 * 1024);
    status = make(&n);
    buf_done(&n.out);
    init_found_done(&n.found);
    return status;
}
