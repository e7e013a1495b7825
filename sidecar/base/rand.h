/* base/rand.h: random numbers from the kernel (getrandom(2)).   Any thread, any process. */
#ifndef SIDEKEY_BASE_RAND_H
#define SIDEKEY_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

/* Fills n bytes; cannot fail (aborts when the kernel has no entropy source at all). */
void rand_bytes(void *out, size_t n);
/* Uniform in [0, bound); bound > 0. */
uint64_t rand_below(uint64_t bound);

#endif
