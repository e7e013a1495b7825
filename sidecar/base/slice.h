/* base/slice.h: a borrowed run of bytes.   Pure.
 * A slice owns nothing: the owner of the bytes defines their lifetime. May hold NUL; ptr may be NULL when len is 0. */
#ifndef SIDEKEY_BASE_SLICE_H
#define SIDEKEY_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

struct slice {
    const char *ptr;
    size_t len;
};

/* For string literals: SLICE("host"). */
#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })

/* View of a C string; NULL gives the empty slice. */
static inline struct slice slice_str(const char *text)
{
    return (struct slice){ text, text ? strlen(text) : 0 };
}

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){ ptr, len };
}

/* Bytes equal. */
bool slice_eq(struct slice a, struct slice b);
/* Bytes equal, ASCII case folded. */
bool slice_ieq(struct slice a, struct slice b);
/* Equal in a time that depends on the lengths alone: for passwords. */
bool slice_eq_secret(struct slice a, struct slice b);
/* a begins with prefix (exact case). */
bool slice_starts(struct slice a, struct slice prefix);
/* Without leading and trailing SP and HTAB (OWS, RFC 9110 §5.6.3). */
struct slice slice_trim(struct slice a);
/* Without its first n bytes (n capped at len). */
struct slice slice_skip(struct slice a, size_t n);
/* Splits at the first sep: returns the head, *rest gets the tail after sep (empty, ptr NULL, when sep is absent). */
struct slice slice_cut(struct slice a, char sep, struct slice *rest);
/* Index of the first byte c, or a.len. */
size_t slice_find(struct slice a, char c);
/* Plain decimal digits only, no sign, no space.  Returns 0; -EINVAL (empty, not digits), -ERANGE (over max). */
MUST_CHECK int slice_u64(struct slice a, uint64_t max, uint64_t *ret);
/* NUL-terminated heap copy (caller frees with free()); NULL when out of memory. */
MUST_CHECK char *slice_dup(struct slice a);

#endif
