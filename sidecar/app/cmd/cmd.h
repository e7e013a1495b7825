/* app/cmd/cmd.h: the sub-commands.   argv[0] is the command's own name; each returns the exit status (sysexits(3)).
 * --help and -h right after the name never reach a command: main prints the help of its table. */
#ifndef SIDEKEY_APP_CMD_CMD_H
#define SIDEKEY_APP_CMD_CMD_H

#include <getopt.h>

#include "app/config/config.h"

/* One command of sidekey(1) each: argv[0] is its name.  Returns the exit status. */
int cmd_serve(int argc, char **argv);
/* Not for people: "take-over trial|serve FD" and the flags of serve (app/supervisor_handover.h). */
int cmd_take_over(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_healthcheck(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_refresh(int argc, char **argv);
int cmd_reset(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_k8s(int argc, char **argv);
int cmd_env(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_ca(int argc, char **argv);
int cmd_presets(int argc, char **argv);
int cmd_init(int argc, char **argv);
int cmd_login(int argc, char **argv); /* and logout */
int cmd_version(int argc, char **argv);

/* What every command understands that reads the configuration: -c FILE, --set SECTION.KEY=VALUE,
 * --allow-inline-secrets. */
struct cmd_config {
    struct config_options options;
    const char *set[65]; /* NULL-terminated */
    size_t set_count;
    bool quiet;     /* warnings are not printed */
    bool reported;  /* the last load has printed an error */
    bool key_files; /* the private key that key files for programs have is wanted too */
    /* placeholders (app/config/placeholders.h): the load fails without them, and makes a key where there is none; or
     * it tells that they are not known.  Default: they are not filled in. */
    enum { CMD_PLACEHOLDERS_NONE, CMD_PLACEHOLDERS_NEEDED, CMD_PLACEHOLDERS_LOOKED_UP } placeholders;
    enum { CMD_TO_STDERR, CMD_TO_BOTH, CMD_TO_LOG } errors; /* where errors and warnings go */
};
enum { CMD_SET = 256, CMD_INLINE, CMD_OWN }; /* a command's own long-only flags begin at CMD_OWN */
#define CMD_CONFIG_SHORT "c:"
#define CMD_CONFIG_LONG                                                                                                \
    { "config", required_argument, NULL, 'c' }, { "set", required_argument, NULL, CMD_SET },                           \
    {                                                                                                                  \
        "allow-inline-secrets", no_argument, NULL, CMD_INLINE                                                          \
    }
#define CMD_LONG_END { NULL, 0, NULL, 0 }

/* As getopt_long(), which it is; after the last flag -1.  An unknown flag or a missing value is reported and gives '?':
 * return EX_USAGE then. argv[0] names the command in messages. */
int cmd_flag(int argc, char **argv, const char *flags, const struct option *long_flags);
/* Takes a flag of CMD_CONFIG_LONG.  0; -1: not one of these; EX_USAGE, reported. */
MUST_CHECK int cmd_config_flag(struct cmd_config *c, int flag, const char *value);
/* Loads the configuration, removes {env: …} secrets from the environment, prints every error and warning to c->errors.
 * NULL: *ret_exit is the exit status. */
MUST_CHECK struct config *cmd_config_load(struct cmd_config *c, int *ret_exit);
/* The flags --placeholder of one command. */
#define CMD_PLACEHOLDERS_MAX 32
struct cmd_placeholders {
    const char *texts[CMD_PLACEHOLDERS_MAX]; /* borrowed: NAME=VALUE, NAME=@CREDENTIAL */
    size_t count;
};
/* One more.  0; EX_USAGE, reported: it has no "=", or there are too many. */
MUST_CHECK int cmd_placeholder_flag(const char *command, struct cmd_placeholders *p, const char *text);
/* What --placeholder NAME=VALUE sets: VALUE, or for @WORD the placeholder that sidekey made for the credential or rule
 * WORD. text has a "=".  name gets what is before it.  Valid as long as c and text; NULL: reported. */
const char *cmd_placeholder(const char *command, const struct config *c, const char *text, char *name, size_t size);
/* The same; without any configuration the defaults. */
MUST_CHECK struct config *cmd_config_load_or_default(struct cmd_config *c, int *ret_exit);
/* Prints "sidekey NAME: …" and where to read on.  Returns EX_USAGE. */
int cmd_usage(const char *name, const char *format, ...) PRINTF_LIKE(2, 3);
/* Prints "sidekey NAME: …".  Returns status. */
int cmd_fail(int status, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

#endif
