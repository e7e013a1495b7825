/* tests/fakes/config_text.h: a configuration as text that is good, or bad with a reason.   For the unit tests of
 * app/config.  Everything asserts. */
#ifndef SIDEKEY_TESTS_CONFIG_TEXT_H
#define SIDEKEY_TESTS_CONFIG_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config/config.h"
#include "app/config/config_table.h"
#include "base/memory_limit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CRM                                                                                                            \
    "credentials:\n  crm:\n    grant: refresh_token\n    token_url: https://login.test/token\n"                        \
    "    client_id: me\n    client_secret: {env: SECRET}\n    refresh_token: {file: /run/r}\n"
#define RULE "rules:\n  - match: {host: api.test}\n    credential: crm\n"
#define RULE_IS(more) CRM RULE "    " more "\n"
#define SPEC_IS(text) "credentials: {a: " text "}\n"

struct said {
    char text[8192];
    unsigned errors, warnings;
};

/* config_options.report, into a struct said. */
static inline void hear(void *arg, bool warning, const char *text)
{
    struct said *s = arg;
    size_t len = strlen(s->text);
    snprintf(s->text + len, sizeof s->text - len, "%s%s\n", warning ? "warning: " : "", text);
    *(warning ? &s->warnings : &s->errors) += 1;
}

/* It must be good. */
static inline struct config *good(const char *text)
{
    struct err e = { "" };
    struct config *c = config_parse(slice_str(text), "f", NULL, &e);
    if (!c)
        fail_msg("%s\ngave %s", text, e.text);
    return c;
}

/* The whole text of what is wrong; place: "f:3:4: " or "" for any. */
static inline void bad(const char *text, const char *place, const char *why)
{
    struct said said = { "", 0, 0 };
    struct config_options o = { .report = hear, .report_arg = &said };
    struct err e = { "" };
    struct config *c = config_parse(slice_str(text), "f", &o, &e);
    if (c || !said.errors || !strstr(said.text, why) || !strstr(said.text, place))
        fail_msg("%s\ngave %s", text, said.text);
    if (!strstr(said.text, e.text) || !*e.text)
        fail_msg("the first error is not the one returned: %s / %s", e.text, said.text);
}

/* Names are labels of metrics, file names and words of the log: none needs an escape there (Prometheus text format: \,
 * " and newline do). */

#endif
