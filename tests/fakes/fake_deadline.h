/* tests/fakes/fake_deadline.c: proxy/deadline.h on the fake clock. */
#ifndef SIDEKEY_TESTS_FAKE_DEADLINE_H
#define SIDEKEY_TESTS_FAKE_DEADLINE_H

#include "proxy/deadline.h"

/* Lets ms pass: everything that falls due runs, in its order and at its time. */
void fake_deadline_run(int64_t ms);
/* How many are set. */
int fake_deadline_count(void);

#endif
