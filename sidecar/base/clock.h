/* base/clock.h: the two clocks.   Any process.   tests/fakes/fake_clock.c takes this file's place in unit tests. */
#ifndef SIDEKEY_BASE_CLOCK_H
#define SIDEKEY_BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since boot, suspend included (CLOCK_BOOTTIME): the same number in every process of the machine,
 * never jumps.  For deadlines and for expiry inside the program. */
int64_t clock_mono_ms(void);
/* Milliseconds since 1970 UTC; may jump.  For stored absolute times only. */
int64_t clock_wall_ms(void);

#endif
