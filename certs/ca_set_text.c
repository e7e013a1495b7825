/* A set as text: with its keys, to be stored; without, to be published. */
#include "certs/ca_set_private.h"

#include <errno.h>
#include <inttypes.h>

#define SIGNS_FROM "signs-from "
#define HEADING "sidekey-ca 1\n"

static int add_member(const struct member *m, struct buf *out)
{
    int failed = buf_printf(out, SIGNS_FROM "%" PRId64 "\n", m->signs_from_s);
    if (failed == 0 && (failed = ca_add_pem(m->ca, out)) == 0)
        failed = ca_add_key_pem(m->ca, out);
    return failed;
}

int ca_set_write(const struct ca_set *set, struct buf *out)
{
    int failed = buf_add_str(out, HEADING);
    for (size_t i = 0; i < set->count && failed == 0; i++)
        failed = add_member(&set->members[i], out);
    return failed;
}

static bool has(const struct ca_set *set, const struct ca *ca, int64_t signs_from_s)
{
    for (size_t i = 0; i < set->count; i++)
        if (ca_same(set->members[i].ca, ca)) {
            struct member *m = (struct member *)(uintptr_t)&set->members[i];
            if (signs_from_s < m->signs_from_s) /* an operator made it sign early */
                m->signs_from_s = signs_from_s;
            return true;
        }
    return false;
}

/* One entry, from its line to the next. */
static int read_member(struct ca_set *set, struct slice text, struct err *e)
{
    uint64_t signs_from_s;
    struct slice rest, line = slice_cut(text, '\n', &rest);
    if (slice_u64(line, INT64_MAX, &signs_from_s) != 0)
        return err_set(e, "the stored CA is damaged");
    struct ca *ca = ca_from_pem(rest, e);
    if (!ca)
        return -1;
    if (has(set, ca, (int64_t)signs_from_s) || set->count == MEMBERS_MAX) {
        ca_free(ca);
        return 0;
    }
    set->members[set->count++] = (struct member){ .ca = ca, .signs_from_s = (int64_t)signs_from_s };
    return 0;
}

int ca_set_read(struct ca_set *set, struct slice text, struct err *e)
{
    static const struct slice mark = { "\n" SIGNS_FROM, sizeof "\n" SIGNS_FROM - 1 };
    size_t before = set->count;
    if (!slice_starts(text, SLICE(HEADING)))
        return err_set(e, "the stored CA has a version that this program does not support");
    text = slice_skip(text, sizeof HEADING - 2); /* its newline begins the first mark */
    while (text.len) {
        const char *at = memmem(text.ptr, text.len, mark.ptr, mark.len);
        if (!at)
            return 0;
        text = slice_skip(text, (size_t)(at - text.ptr) + mark.len);
        const char *next = text.len ? memmem(text.ptr, text.len, mark.ptr, mark.len) : NULL;
        if (read_member(set, slice_of(text.ptr, next ? (size_t)(next + 1 - text.ptr) : text.len), e) != 0) {
            ca_set_undo(set, before);
            return -1;
        }
    }
    return 0;
}

/* Those that sign before those that will; the younger first. */
static bool goes_before(const struct member *a, const struct member *b, int64_t now_s)
{
    if (ca_set_is_pending(a, now_s) != ca_set_is_pending(b, now_s))
        return !ca_set_is_pending(a, now_s);
    return a->signs_from_s >= b->signs_from_s;
}

int ca_set_add_pem(const struct ca_set *set, int64_t now_s, struct buf *out)
{
    const struct member *order[MEMBERS_MAX];
    size_t count = 0;
    int failed = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        size_t at = count;
        if (!set->given && (!ca_set_is_live(m, now_s) || (ca_is_rsa(m->ca) && !set->options.rsa)))
            continue;
        for (; at > 0 && goes_before(m, order[at - 1], now_s); at--)
            order[at] = order[at - 1];
        order[at] = m;
        count++;
    }
    for (size_t i = 0; i < count && failed == 0; i++)
        failed = ca_add_pem(order[i]->ca, out);
    return failed;
}

void ca_set_published(struct ca_set *set, struct slice pem)
{
    struct buf one;
    buf_init(&one, CA_SET_PEM_MAX);
    for (size_t i = 0; i < set->count && pem.len; i++) {
        buf_clear(&one);
        if (ca_add_pem(set->members[i].ca, &one) == 0
            && memmem(pem.ptr, pem.len, buf_slice(&one).ptr, buf_slice(&one).len)) {
            set->members[i].published = true;
            set->members[i].fresh = false;
        }
    }
    buf_done(&one);
}
