#include "base/rand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void rand_bytes(void *out, size_t n)
{
    char *at = out;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

uint64_t rand_below(uint64_t bound)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound, value;
    do
        rand_bytes(&value, sizeof value);
    while (value >= limit);
    return value % bound;
}
