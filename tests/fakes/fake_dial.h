/* tests/fakes/fake_dial.c: net/dial/dial.h where the test decides how an attempt ends. */
#ifndef SIDEKEY_TESTS_FAKE_DIAL_H
#define SIDEKEY_TESTS_FAKE_DIAL_H

#include "net/dial/dial.h"

/* Attempts that are under way. */
int fake_dial_pending(void);
/* The oldest attempt succeeds; returns the far end of its connection (non-blocking). */
int fake_dial_accept(void);
/* The oldest attempt fails. */
void fake_dial_fail(enum dial_error error, const char *text);

#endif
