#include "app/config/scalar.h"

#include "app/config/units.h"
#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void *at(const struct field *f, void *base)
{
    return (char *)base + f->at;
}

static int read_string(const struct field *f, const char *text, void *base, struct err *e)
{
    if (!*text)
        return err_set(e, "is empty: write a value, or remove the key");
    char *copy = strdup(text);
    const char *wrong;
    if (!copy)
        wrong = "out of memory";
    else if (f->check)
        wrong = f->check(&copy);
    else
        wrong = NULL;
    if (wrong) {
        free(copy);
        return err_set(e, "%s", wrong);
    }
    char **to = at(f, base);
    free(*to);
    *to = copy;
    return 0;
}

static int read_bool(const struct field *f, const char *text, bool plain, void *base, struct err *e)
{
    bool yes = strcmp(text, "true") == 0;
    if (!plain || (!yes && strcmp(text, "false") != 0))
        return err_set(e, "\"%.40s\" is not a boolean: write true or false, without quotes", text);
    *(bool *)at(f, base) = yes;
    return 0;
}

static int read_number(const struct field *f, const char *text, bool plain, uint64_t *ret, struct err *e)
{
    uint64_t most;
    if (f->type == FIELD_PORT)
        most = UINT16_MAX;
    else if (f->max)
        most = f->max;
    else
        most = UINT32_MAX;
    uint64_t least = f->type == FIELD_PORT ? 1 : f->min;
    int failed = slice_u64(slice_str(text), UINT64_MAX, ret);
    if (failed == 0 && !plain)
        return err_set(e, "\"%s\" is text, but a number is needed: write %s without quotes", text, text);
    if (failed == -EINVAL)
        return err_set(e, "\"%.40s\" is not a number: write digits only", text);
    if (failed || *ret > most || *ret < least)
        return err_set(e, "%.40s is out of range: write %llu to %llu", text, (unsigned long long)least,
                       (unsigned long long)most);
    return 0;
}

static int read_duration(const struct field *f, const char *text, void *base, struct err *e)
{
    int64_t ms;
    char low[32], high[32];
    int failed = units_duration(slice_str(text), &ms);
    if (failed == -EINVAL)
        return err_set(e, "\"%.40s\" is not a duration: write a number with its unit, like 250ms, 30s, 5m or 1h", text);
    if (failed || (f->max && ((uint64_t)ms < f->min || (uint64_t)ms > f->max)))
        return err_set(e, "%.40s is out of range: write %s to %s", text,
                       units_duration_text((int64_t)f->min, low, sizeof low),
                       units_duration_text(f->max ? (int64_t)f->max : INT64_C(3162240000000), high, sizeof high));
    *(int64_t *)at(f, base) = ms;
    return 0;
}

static int read_size(const struct field *f, const char *text, void *base, struct err *e)
{
    uint64_t bytes;
    char low[32], high[32];
    int failed = units_size(slice_str(text), &bytes);
    if (failed == -EINVAL)
        return err_set(e, "\"%.40s\" is not a size: write a number with its unit, like 512B, 64KiB or 1MiB", text);
    if (failed || (f->max && (bytes < f->min || bytes > f->max)))
        return err_set(e, "%.40s is out of range: write %s to %s", text, units_size_text(f->min, low, sizeof low),
                       units_size_text(f->max ? f->max : UINT64_C(1) << 53, high, sizeof high));
    *(uint64_t *)at(f, base) = bytes;
    return 0;
}

/* "a, b or c" */
static void list_words(const char *const *words, char *text, size_t size)
{
    size_t len = 0;
    *text = '\0';
    for (size_t i = 0; words[i] && len < size; i++) {
        const char *glue = words[i + 1] ? ", " : " or ";
        if (i == 0)
            glue = "";
        int more = snprintf(text + len, size - len, "%s%s", glue, words[i]);
        len += more > 0 ? (size_t)more : 0;
    }
}

static int read_enum(const struct field *f, const char *text, void *base, struct err *e)
{
    const char *best = NULL;
    char all[160];
    for (unsigned i = 0; f->words[i]; i++) {
        if (strcmp(text, f->words[i]) == 0) {
            memcpy(at(f, base), &i, sizeof i);
            return 0;
        }
        units_nearer(text, f->words[i], &best);
    }
    list_words(f->words, all, sizeof all);
    for (size_t i = 0; f->later && f->later[i]; i++)
        if (strcmp(text, f->later[i]) == 0)
            return err_set(e, "\"%s\" is not supported in this version (0.1): write %s", text, all);
    if (best)
        return err_set(e, "\"%.40s\" is unknown: did you mean \"%s\"?", text, best);
    return err_set(e, "\"%.40s\" is unknown: write %s", text, all);
}

/* ":9118" and "*:9118" are every address of the machine, "localhost:9118" is 127.0.0.1: as other servers read them. */
static const char *spelled_out(const char *text, char *full, size_t size)
{
    static const struct {
        const char *prefix, *address;
    } words[] = { { ":", "[::]" }, { "*:", "[::]" }, { "localhost:", "127.0.0.1" } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].prefix);
        if (strncmp(text, words[i].prefix, n) != 0 || strchr(text + n, ':'))
            continue;
        int len = snprintf(full, size, "%s:%s", words[i].address, text + n);
        return len > 0 && (size_t)len < size ? full : text;
    }
    return text;
}

static int read_address(const struct field *f, const char *given, void *base, struct err *e)
{
    struct address to = { .len = 0 };
    char full[80];
    const char *text = spelled_out(given, full, sizeof full);
    bool off = f->words && strcmp(text, f->words[0]) == 0;
    if (!off && address_parse(slice_str(text), 0, &to) != 0)
        return err_set(e, "\"%.60s\" is not an address: write IP:PORT, like 127.0.0.1:8118 or [::1]:8118%s", given,
                       f->words ? ", or off" : "");
    if (!off && !strchr(*text == '[' ? strchr(text, ']') : text, ':'))
        return err_set(e, "\"%.60s\" has no port: write IP:PORT (port 0 takes a free one)", given);
    *(struct address *)at(f, base) = to;
    return 0;
}

bool scalar_is(enum field_type type)
{
    return type <= FIELD_ADDRESS;
}

int scalar_read(const struct field *f, const char *text, bool plain, void *base, struct err *e)
{
    uint64_t number;
    switch (f->type) {
    case FIELD_STRING: return read_string(f, text, base, e);
    case FIELD_BOOL: return read_bool(f, text, plain, base, e);
    case FIELD_DURATION: return read_duration(f, text, base, e);
    case FIELD_SIZE: return read_size(f, text, base, e);
    case FIELD_ENUM: return read_enum(f, text, base, e);
    case FIELD_ADDRESS: return read_address(f, text, base, e);
    case FIELD_UINT:
    case FIELD_PORT: break;
    default: return err_set(e, "needs more than a single value");
    }
    if (read_number(f, text, plain, &number, e) != 0)
        return -1;
    if (f->type == FIELD_PORT)
        *(uint16_t *)at(f, base) = (uint16_t)number;
    else
        *(unsigned *)at(f, base) = (unsigned)number;
    return 0;
}
