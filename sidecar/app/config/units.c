#include "app/config/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define WORD_MAX_BYTES 64

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = { { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
static const struct unit sizes[] = {
    { "GiB", 1u << 30 }, { "MiB", 1u << 20 }, { "KiB", 1u << 10 }, { "B", 1 }, { NULL, 0 }
};

static int scan(const struct unit *units, uint64_t max, struct slice text, uint64_t *ret)
{
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    uint64_t number;
    int failed = slice_u64(slice_of(text.ptr, digits), max, &number);
    if (failed)
        return failed;
    struct slice unit = slice_skip(text, digits);
    if (unit.len == 0 && number == 0) {
        *ret = 0;
        return 0;
    }
    for (const struct unit *u = units; u->name; u++)
        if (slice_eq(unit, slice_str(u->name))) {
            if (number > max / u->factor)
                return -ERANGE;
            *ret = number * u->factor;
            return 0;
        }
    return -EINVAL;
}

int units_duration(struct slice text, int64_t *ret_ms)
{
    uint64_t ms;
    int failed = scan(durations, UINT64_C(100) * 366 * 24 * 3600000, text, &ms);
    if (!failed)
        *ret_ms = (int64_t)ms;
    return failed;
}

int units_size(struct slice text, uint64_t *ret_bytes)
{
    return scan(sizes, UINT64_C(1) << 53, text, ret_bytes);
}

static const char *say(const struct unit *units, uint64_t value, char *text, size_t size)
{
    const struct unit *u = units;
    while (u[1].name && (value < u->factor || value % u->factor != 0))
        u++;
    snprintf(text, size, "%llu%s", (unsigned long long)(value / u->factor), u->name);
    return text;
}

const char *units_duration_text(int64_t ms, char *text, size_t size)
{
    return say(durations, ms < 0 ? 0 : (uint64_t)ms, text, size);
}

const char *units_size_text(uint64_t bytes, char *text, size_t size)
{
    return say(sizes, bytes, text, size);
}

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned units_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned rows[3][WORD_MAX_BYTES + 1];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    if (n > WORD_MAX_BYTES || m > WORD_MAX_BYTES)
        return WORD_MAX_BYTES;
    for (unsigned j = 0; j <= m; j++)
        last[j] = before[j] = j;
    for (unsigned i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = fold(a[i - 1]) == fold(b[j - 1]);
            row[j] = least(last[j - 1] + !same, 1 + least(last[j], row[j - 1]));
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        unsigned *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[m];
}

void units_nearer(const char *word, const char *candidate, const char **io_best)
{
    size_t len = strlen(word) > strlen(candidate) ? strlen(word) : strlen(candidate);
    unsigned far;
    if (len <= 3)
        far = 1;
    else if (len <= 7)
        far = 2;
    else
        far = 3;
    unsigned distance = units_distance(word, candidate);
    if (distance <= far && (!*io_best || distance < units_distance(word, *io_best)))
        *io_best = candidate;
}
