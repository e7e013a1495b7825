/* sidekey init PRESET: a first sidekey.yaml, short and with comments.  Secrets stay where they are: the file names
 * theirs. */
#include "app/cmd/cmd.h"
#include "app/cmd/init_found.h"
#include "app/cmd/init_value.h"
#include "app/config/preset.h"
#include "app/config/preset_hint.h"
#include "app/config/units.h"
#include "base/str.h"
#include "refresh/login/login.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWERS_MAX 32
#define LINE_MAX_BYTES 4096

struct init {
    const char *preset, *preset_text, *name, *path;
    char *const *given; /* KEY=VALUE of the command line */
    size_t given_count;
    bool asks; /* a person is at the terminal */
    struct init_found found;
    struct buf out;            /* the lines of the credential */
    char host[INIT_VALUE_MAX]; /* of the API, for a preset without rules; "": not said */
};

static const char *given(const struct init *n, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < n->given_count; i++)
        if (strncmp(n->given[i], key, len) == 0 && n->given[i][len] == '=')
            return n->given[i] + len + 1;
    for (size_t i = 0; i < n->found.count; i++)
        if (strncmp(n->found.values[i], key, len) == 0 && n->found.values[i][len] == '=')
            return n->found.values[i] + len + 1;
    return NULL;
}

/* ---- one value ---- */

/* NULL; else what is wrong with it, static. */
static const char *take_text(const struct init *n, const struct preset_value *v, const char *text,
                             char value[INIT_VALUE_MAX])
{
    const char *wrong = init_value_take(v->key, text, value);
    if (wrong || init_value_is_secret(v->key))
        return wrong;
    if (strncmp(v->about, "URL", 3) == 0)
        return init_value_url_wrong(value);
    return preset_value_wrong(n->preset_text, v->key, value);
}

/* The answer without its line end, or NULL: nothing was said.  *ret_end: nothing more will be said. */
static const char *ask(const char *key, bool optional, const char *about, char *line, bool *ret_end)
{
    fprintf(stderr, "%s (%s%s)%s: ", key, about, optional ? "; may be empty" : "",
            init_value_is_secret(key) ? ", path of the file that holds it, or env:NAME" : "");
    *ret_end = !fgets(line, LINE_MAX_BYTES, stdin);
    if (*ret_end) {
        fputc('\n', stderr);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return *line ? line : NULL;
}

/* Until there is an answer that will do.  Returns 0, value[0] == '\0': none; EX_USAGE, reported. */
static int ask_for(const struct init *n, const struct preset_value *v, bool optional, char value[INIT_VALUE_MAX])
{
    char line[LINE_MAX_BYTES];
    bool end = false;
    const char *wrong = NULL;
    do {
        const char *text = ask(v->key, optional, v->about, line, &end);
        wrong = text ? take_text(n, v, text, value) : NULL;
        if (wrong)
            fprintf(stderr, "%s: %s\n", v->key, wrong);
        if (!text && (end || optional))
            return 0;
        if (!wrong && text)
            return 0;
    } while (!end);
    return EX_USAGE;
}

/* "program argument" -> ["program", "argument"] */
static int add_words(struct buf *out, const char *text)
{
    int failed = buf_add(out, SLICE("["));
    for (bool more = false; *text && !failed; more = true) {
        size_t len = strcspn(text, " ");
        if (more)
            failed = buf_add(out, SLICE(", "));
        if (!failed)
            failed = str_add_json(out, slice_of(text, len));
        text += len + strspn(text + len, " ");
    }
    return failed ? failed : buf_add(out, SLICE("]"));
}

/* The value as YAML: the place of a secret, a list of words, or a text. */
static int add_yaml(struct buf *out, const char *key, const char *value)
{
    if (strcmp(key, "command") == 0)
        return add_words(out, value);
    if (!init_value_is_secret(key))
        return str_add_json(out, slice_str(value));
    bool env = strncmp(value, "env:", 4) == 0;
    int failed = buf_add_str(out, env ? "{env: " : "{file: ");
    if (!failed)
        failed = str_add_json(out, slice_str(value + (env ? 4 : 0)));
    return failed ? failed : buf_add(out, SLICE("}"));
}

static int add_value(struct init *n, const char *key, const char *value, const char *about)
{
    int failed = buf_add(&n->out, SLICE("    ")) | buf_add_str(&n->out, key) | buf_add(&n->out, SLICE(": "))
                 | add_yaml(&n->out, key, value) | buf_add(&n->out, SLICE("   # ")) | buf_add_str(&n->out, about)
                 | buf_add(&n->out, SLICE("\n"));
    return failed ? cmd_fail(EX_OSERR, "init", "out of memory") : 0;
}

/* From the command line, from what was found, or from the person; "": it was not said. */
static int get_value(const struct init *n, const struct preset_value *v, bool optional, char value[INIT_VALUE_MAX])
{
    const char *text = given(n, v->key), *wrong;
    value[0] = '\0';
    if (text && (wrong = take_text(n, v, text, value)))
        return cmd_fail(EX_USAGE, "init", "%s: %s (%s)", v->key, wrong, v->about);
    if (!text && n->asks && !(optional && n->found.count)) /* what a server says is all that it needs */
        return ask_for(n, v, optional, value);
    return 0;
}

/* It was written before: its line is there. */
static bool has_line(const struct init *n, const char *key)
{
    char line[PRESET_KEY_MAX + 8];
    int len = snprintf(line, sizeof line, "\n    %s: ", key);
    struct slice out = buf_slice(&n->out);
    return memmem(out.ptr, out.len, line + 1, (size_t)len - 1);
}

static int take_value(void *arg, const struct preset_value *v)
{
    struct init *n = arg;
    char value[INIT_VALUE_MAX];
    bool optional = v->unless && (!*v->unless || has_line(n, v->unless));
    const char *instead = v->unless && strcmp(v->unless, "refresh_token") == 0 ? ", or refresh_token=PATH" : "";
    int status = get_value(n, v, optional, value);
    if (status)
        return status;
    if (value[0])
        return add_value(n, v->key, value, v->about);
    if (optional)
        return 0;
    return cmd_fail(EX_USAGE, "init", "%s is missing: write %s=%s (%s)%s", v->key, v->key,
                    init_value_is_secret(v->key) ? "PATH of the file that holds it" : "VALUE", v->about, instead);
}

/* A preset without rules does not know the API. */
static int take_host(struct init *n)
{
    static const struct preset_value host = { "host", "",
                                              "host of the API that gets the token, such as "
                                              "api.example.com" };
    return preset_has_rules(n->preset) ? 0 : get_value(n, &host, true, n->host);
}

static int add_rule(struct init *n)
{
    if (!n->host[0])
        return 0;
    int failed = buf_add_str(&n->out, "rules:\n  - match: {host: ") | str_add_json(&n->out, slice_str(n->host))
                 | buf_printf(&n->out, "}\n    credential: %s\n", n->name);
    return failed ? cmd_fail(EX_OSERR, "init", "out of memory") : 0;
}

/* ---- before anybody is asked ---- */

struct keys {
    const char *word; /* before its "=" */
    bool found;
    char nearest[PRESET_KEY_MAX], all[512];
};

static void see_word(struct keys *k, const char *key)
{
    const char *best = k->nearest[0] ? k->nearest : NULL;
    size_t len = strlen(k->all);
    k->found = k->found || strcmp(key, k->word) == 0;
    units_nearer(k->word, key, &best);
    if (best == key)
        snprintf(k->nearest, sizeof k->nearest, "%s", key);
    snprintf(k->all + len, sizeof k->all - len, "%s%s", len ? ", " : "", key);
}

static int see_value(void *arg, const struct preset_value *v)
{
    see_word(arg, v->key);
    return 0;
}

/* The preset takes such a value, and there is no second one. */
static int check_word(const struct init *n, size_t i)
{
    const char *text = n->given[i];
    char word[PRESET_KEY_MAX];
    size_t len = strcspn(text, "=");
    if (!text[len])
        return cmd_fail(EX_USAGE, "init", "word %zu is not KEY=VALUE: sidekey presets show %s lists the keys", i + 1,
                        n->preset);
    snprintf(word, sizeof word, "%.*s", (int)len, text);
    struct keys k = { .word = word };
    (void)preset_each_value(n->preset, see_value, &k);
    if (!preset_has_rules(n->preset))
        see_word(&k, "host");
    if (!k.found && k.nearest[0])
        return cmd_fail(EX_USAGE, "init", "preset %s takes no value \"%s\": did you mean %s?", n->preset, word,
                        k.nearest);
    if (!k.found)
        return cmd_fail(EX_USAGE, "init", "preset %s takes no such value \"%s\": it takes %s", n->preset, word,
                        k.all[0] ? k.all : "none");
    return given(n, word) == text + len + 1 ? 0 : cmd_fail(EX_USAGE, "init", "%s= is given twice", word);
}

static int is_there(const struct init *n)
{
    return cmd_fail(EX_CANTCREAT, "init", "%s exists already: move it away, or write another one with -o FILE",
                    n->path);
}

static int check_path(const struct init *n)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(n->path, '/');
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", slash == n->path ? 1 : (int)(slash - n->path), n->path);
    if (access(n->path, F_OK) == 0)
        return is_there(n);
    if (access(folder, W_OK) != 0)
        return cmd_fail(EX_CANTCREAT, "init", "%s: cannot write a file there: %s", folder, strerror(errno));
    return 0;
}

static int check_name(const struct init *n)
{
    const char *c = n->name;
    while (isalnum((unsigned char)*c) || (c > n->name && (*c == '-' || *c == '_' || *c == '.')))
        c++;
    return c > n->name && !*c ? 0
                              : cmd_fail(EX_USAGE, "init", "--name needs letters and digits, and - _ . between them");
}

static int check_words(const struct init *n)
{
    int status = check_name(n);
    for (size_t i = 0; i < n->given_count && status == 0; i++)
        status = check_word(n, i);
    return status ? status : check_path(n);
}

/* ---- the file ---- */

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

/* Most providers refuse a redirect URL that is not registered there.  A client that has just registered itself has it.
 */
static void say_redirect(const struct init *n, const struct credential_spec_login *login)
{
    bool registered = n->found.count && !given(n, "client_id");
    if ((login->authorization_url || login->issuer) && !registered)
        fprintf(stderr, "At the provider, register this redirect URL for your client: %s\n",
                login->redirect_url ? login->redirect_url : LOGIN_REDIRECT);
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
        say_redirect(n, &c->credentials[0].login);
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
    struct err e;
    if ((n->preset_text = preset_text(word, NULL))) {
        n->preset = word;
        n->name = n->name ? n->name : word;
        return 0;
    }
    preset_hint(word, &e);
    return cmd_fail(EX_USAGE, "init", "%s", e.text);
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
    static const struct preset_value value = { "resource", NULL, "URL of the MCP server" };
    char resource[INIT_VALUE_MAX];
    if (strcmp(n->preset, "mcp") != 0)
        return 0;
    int status = get_value(n, &value, false, resource);
    if (status == 0 && !resource[0])
        status = cmd_fail(EX_USAGE, "init", "resource is missing: write resource=URL (%s)", value.about);
    return status ? status : init_found(resource, given(n, "client_id"), n->path, &n->found);
}

static int make(struct init *n)
{
    int status = check_words(n);
    if (status == 0)
        status = find_rest(n);
    if (status == 0)
        status = preset_each_value(n->preset, take_value, n);
    if (status == 0)
        status = take_host(n);
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
