/* sidekey init PRESET: a first sidekey.yaml, short and with comments.  Secrets stay where they are: the file names
 * theirs. */
#include "app/cmd/cmd.h"
#include "app/cmd/init_found.h"
#include "app/config/preset.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWERS_MAX 32

struct init {
    const char *preset, *name, *path;
    char *const *given; /* KEY=VALUE of the command line */
    size_t given_count, used;
    bool asks; /* a person is at the terminal */
    struct init_found found;
    struct buf out; /* the lines of the credential */
};

/* Keys whose value is a secret: the file gets a reference. */
static bool is_secret(const char *key)
{
    static const char *const keys[] = { "key", "certificate", "client_secret", "refresh_token" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

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

/* The answer without its line end, or NULL: nothing was said. */
static const char *ask(const char *key, bool optional, const char *about, char *line, size_t size)
{
    fprintf(stderr, "%s (%s%s)%s: ", key, about, optional ? "; may be empty" : "",
            is_secret(key) ? ", path of the file that holds it, or env:NAME" : "");
    if (!fgets(line, (int)size, stdin))
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    return *line ? line : NULL;
}

static int add_value(struct init *n, const char *key, const char *value, const char *about)
{
    bool env = is_secret(key) && strncmp(value, "env:", 4) == 0;
    const char *open = "", *close = "";
    if (is_secret(key)) {
        open = env ? "{env: " : "{file: ";
        close = "}";
    }
    int failed = buf_add(&n->out, SLICE("    ")) | buf_add(&n->out, slice_str(key)) | buf_add(&n->out, SLICE(": "))
                 | buf_add(&n->out, slice_str(open)) | str_add_json(&n->out, slice_str(env ? value + 4 : value))
                 | buf_add(&n->out, slice_str(close)) | buf_add(&n->out, SLICE("   # "))
                 | buf_add(&n->out, slice_str(about)) | buf_add(&n->out, SLICE("\n"));
    return failed ? cmd_fail(EX_OSERR, "init", "out of memory") : 0;
}

static int take_value(void *arg, const char *key, bool optional, const char *about)
{
    struct init *n = arg;
    char line[4096];
    const char *value = given(n, key);
    if (!value && n->asks && !(optional && n->found.count)) /* what a server says is all that it needs */
        value = ask(key, optional, about, line, sizeof line);
    if (value)
        return add_value(n, key, value, about);
    if (optional)
        return 0;
    return cmd_fail(EX_USAGE, "init", "%s is missing: write %s=%s (%s)", key, key,
                    is_secret(key) ? "PATH of the file that holds it" : "VALUE", about);
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
        return cmd_fail(EX_CANTCREAT, "init", "%s is there already: move it away, or write another one with -o FILE",
                        n->path);
    if (!f)
        return cmd_fail(EX_CANTCREAT, "init", "%s: %s", n->path, strerror(errno));
    int failed =
        fprintf(f, text, n->preset, n->preset, n->name, n->preset, (int)n->out.len, buf_slice(&n->out).ptr) < 0;
    if (fclose(f) != 0 || failed)
        return cmd_fail(EX_IOERR, "init", "%s: %s", n->path, strerror(errno));
    return EX_OK;
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
    if (c->rule_count)
        fprintf(stderr, "Next: sidekey run -c %s -- YOUR-PROGRAM\n", n->path);
    else
        fprintf(stderr,
                "Next: add a rule for the API, such as\n  rules: [{match: {host: api.example.com}, credential: "
                "%s}]\nthen: sidekey check -c %s\n",
                n->name, n->path);
    config_free(c);
    return EX_OK;
}

static int find_preset(struct init *n, char *word)
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

/* For an MCP server its URL is enough: the server says the rest. */
static int find_rest(struct init *n)
{
    char line[4096];
    const char *about = "URL of the MCP server", *resource = given(n, "resource");
    n->used = 0; /* it is counted when the values are taken */
    if (strcmp(n->preset, "mcp") != 0)
        return 0;
    if (!resource && n->asks)
        resource = ask("resource", false, about, line, sizeof line);
    if (!resource)
        return cmd_fail(EX_USAGE, "init", "resource is missing: write resource=URL (%s)", about);
    bool has_client = given(n, "client_id");
    n->used = 0;
    return init_found(resource, has_client, n->path, &n->found);
}

static int make(struct init *n)
{
    int status = find_rest(n);
    if (status == 0)
        status = preset_each_value(n->preset, take_value, n);
    if (status == 0 && n->used < n->given_count)
        status = cmd_fail(EX_USAGE, "init",
                          "preset %s takes no such value, or one was given twice: sidekey presets "
                          "show %s",
                          n->preset, n->preset);
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
    char *words[ANSWERS_MAX];
    size_t count;
    int status = read_words(&n, argc, argv, words, &count);
    if (status)
        return status;
    if (!count)
        return cmd_usage("init", "needs a preset: sidekey presets lists them");
    if ((status = find_preset(&n, words[0])) != 0)
        return status;
    n.given = words + 1;
    n.given_count = count - 1;
    buf_init(&n.out, 64 * 1024);
    status = make(&n);
    buf_done(&n.out);
    init_found_done(&n.found);
    return status;
}
