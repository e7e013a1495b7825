#include "tests/fakes/fake_command.h"

#include <assert.h>

#define COMMANDS 8

struct command {
    const char *name; /* NULL: this place is free */
    fetch_fn *fn;
    void *arg;
};

struct fake_command fake_command;
static struct command commands[COMMANDS];

void fake_command_reset(void)
{
    fake_command = (struct fake_command){ .starts = 0 };
    memset(commands, 0, sizeof commands);
}

static struct command *find(const char *name)
{
    for (int i = 0; i < COMMANDS; i++)
        if (name ? commands[i].name && strcmp(commands[i].name, name) == 0 : !commands[i].name)
            return &commands[i];
    return NULL;
}

struct command *command_start(char *const *argv, int64_t timeout_ms, fetch_fn *fn, void *arg, struct err *e)
{
    struct command *c = find(NULL);
    assert(c);
    if (fake_command.refuse) {
        err_set(e, "%s cannot be started: No such file or directory", argv[0]);
        return NULL;
    }
    fake_command.starts++;
    fake_command.timeout_ms = timeout_ms;
    *c = (struct command){ argv[0], fn, arg };
    return c;
}

void command_cancel(struct command *c)
{
    if (!c)
        return;
    fake_command.cancels++;
    c->name = NULL;
}

bool fake_command_runs(const char *name)
{
    return find(name) != NULL;
}

void fake_command_end(const char *name, const char *output)
{
    struct command *c = find(name), ended = *c;
    c->name = NULL;
    ended.fn(ended.arg, &(struct fetch_answer){ .status = output ? 200 : 0,
                                                .body = slice_str(output ? output : ""),
                                                .error = output ? NULL : "exit status 3" });
}
