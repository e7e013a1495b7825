/* tests/fakes/fake_clock.h: the numbers that fake_clock.c returns. */
#ifndef SIDEKEY_TESTS_FAKE_CLOCK_H
#define SIDEKEY_TESTS_FAKE_CLOCK_H

#include <stdint.h>

extern int64_t fake_mono_ms, fake_wall_ms;

#endif
