/* tests/fakes/fake_command.h: programs that end when the test says so, in the place of refresh/fetch/command.c. */
#ifndef SIDEKEY_TESTS_FAKE_COMMAND_H
#define SIDEKEY_TESTS_FAKE_COMMAND_H

#include "refresh/fetch/command.h"

extern struct fake_command {
    int starts, cancels;
    bool refuse; /* command_start() fails */
    int64_t timeout_ms;
} fake_command;

void fake_command_reset(void);
/* Is it running?  name: its argv[0]. */
bool fake_command_runs(const char *name);
/* It ends with this output; NULL: it failed. */
void fake_command_end(const char *name, const char *output);

#endif
