#include "app/cmd/cmd.h"
#include "base/log.h"

#include "app/config/config_file.h"
#include "app/config/placeholders.h"
#include "app/config/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static void say(const char *name, const char *format, va_list args)
{
    fprintf(stderr, "sidekey%s%s: ", *name ? " " : "", name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int cmd_fail(int status, const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(name, format, args);
    va_end(args);
    return status;
}

int cmd_usage(const char *name, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(name, format, args);
    va_end(args);
    fprintf(stderr, "Read more: sidekey help%s%s\n", *name ? " " : "", name);
    return EX_USAGE;
}

/* "--confg=x" → "confg" */
static const char *flag_word(const char *arg, char *word, size_t size)
{
    snprintf(word, size, "%.*s", (int)strcspn(arg + 2, "="), arg + 2);
    return word;
}

static void unknown_flag(const char *name, const char *arg, const struct option *long_flags)
{
    char word[64];
    const char *best = NULL;
    for (const struct option *o = long_flags; o->name && strncmp(arg, "--", 2) == 0; o++)
        units_nearer(flag_word(arg, word, sizeof word), o->name, &best);
    if (best)
        cmd_usage(name, "unknown flag %.80s: did you mean --%s?", arg, best);
    else
        cmd_usage(name, "unknown flag %.80s", arg);
}

int cmd_flag(int argc, char **argv, const char *flags, const struct option *long_flags)
{
    char only[64]; /* '+': flags end at the first word; ':': a missing value is told apart */
    snprintf(only, sizeof only, "+:%s", flags + (*flags == '+'));
    opterr = 0;
    int at = optind, flag = getopt_long(argc, argv, only, long_flags, NULL);
    if (flag == ':') {
        cmd_usage(argv[0], "%.80s needs a value", argv[at]);
        return '?';
    }
    if (flag == '?')
        unknown_flag(argv[0], argv[at], long_flags);
    return flag;
}

int cmd_config_flag(struct cmd_config *c, int flag, const char *value)
{
    size_t most = sizeof c->set / sizeof *c->set - 1;
    switch (flag) {
    case 'c': c->options.path = value; return 0;
    case CMD_INLINE: c->options.allow_inline_secrets = true; return 0;
    case CMD_SET: break;
    default: return -1;
    }
    if (c->set_count == most || !strchr(value, '='))
        return cmd_usage("", c->set_count == most ? "too many --set flags" : "--set needs SECTION.KEY=VALUE");
    c->set[c->set_count++] = value;
    return 0;
}

static void print_report(void *arg, bool warning, const char *text)
{
    struct cmd_config *c = arg;
    c->reported = c->reported || !warning;
    if (warning && c->quiet)
        return;
    if (c->errors != CMD_TO_LOG)
        fprintf(stderr, "%s%s\n", warning ? "warning: " : "", text);
    if (c->errors != CMD_TO_STDERR)
        LOG_AT(warning ? LOG_WARN : LOG_ERROR, log_msg("configuration"), log_str("reason", text));
}

/* false: they are needed, and cannot be had. */
static bool fill_placeholders(struct cmd_config *c, struct config *config)
{
    struct err e;
    bool needed = c->placeholders == CMD_PLACEHOLDERS_NEEDED;
    if (c->placeholders == CMD_PLACEHOLDERS_NONE || placeholders_fill(config, needed, c->key_files, &e) == 0)
        return true;
    if (needed)
        print_report(c, false, e.text);
    else
        fprintf(stderr, "warning: %s\n", e.text);
    return !needed;
}

struct config *cmd_config_load(struct cmd_config *c, int *ret_exit)
{
    struct err e = { "" };
    c->reported = false;
    c->options.set = c->set;
    c->options.report = print_report;
    c->options.report_arg = c;
    *ret_exit = EX_SOFTWARE;
    struct config *config = config_load(&c->options, ret_exit, &e);
    if (!config && !c->reported) /* what is wrong inside the file was printed already */
        print_report(c, false, e.text);
    if (config && config_take_env(config) != 0) {
        config_free(config);
        config = NULL;
        *ret_exit = cmd_fail(EX_OSERR, "", "out of memory");
    }
    if (config && !fill_placeholders(c, config)) {
        config_free(config);
        config = NULL;
        *ret_exit = EX_CONFIG;
    }
    return config;
}

int cmd_placeholder_flag(const char *command, struct cmd_placeholders *p, const char *text)
{
    if (!strchr(text, '='))
        return cmd_usage(command, "--placeholder needs NAME=VALUE or NAME=@CREDENTIAL, not '%.60s'", text);
    if (p->count == CMD_PLACEHOLDERS_MAX)
        return cmd_usage(command, "at most %d placeholders", CMD_PLACEHOLDERS_MAX);
    p->texts[p->count++] = text;
    return 0;
}

const char *cmd_placeholder(const char *command, const struct config *c, const char *text, char *name, size_t size)
{
    const char *value = strchr(text, '=') + 1;
    snprintf(name, size, "%.*s", (int)(value - text - 1), text);
    if (*value != '@')
        return value;
    const char *made = c->placeholders_known ? placeholders_of(c, value + 1) : NULL;
    if (!made)
        cmd_fail(0, command, "--placeholder %.60s: no credential or rule \"%.60s\" has placeholder: auto", name,
                 value + 1);
    return made;
}

struct config *cmd_config_load_or_default(struct cmd_config *c, int *ret_exit)
{
    char *path = NULL;
    struct err e;
    if (config_file_find(c->options.path, &path, ret_exit, &e) != 0) {
        c->options.set = c->set;
        struct config *config = config_parse(SLICE(""), "defaults", &c->options, &e);
        if (!config)
            fprintf(stderr, "%s\n", e.text);
        *ret_exit = EX_CONFIG;
        return config;
    }
    free(path);
    return cmd_config_load(c, ret_exit);
}
