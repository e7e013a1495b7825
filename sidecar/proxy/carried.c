#include "proxy/carried.h"

#include <errno.h>

#include "base/str.h"
#include "http/query.h"

struct walk {
    carried_fn *fn;
    void *arg;
    size_t field;
    bool over;
    struct buf plain; /* what is decoded */
};

static const struct slice nowhere = { NULL, 0 };

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static void look(struct walk *w, struct slice text, struct slice whole)
{
    size_t i = 0;
    while (i < text.len && !w->over) {
        size_t begin = i;
        while (i < text.len && is_letter_or_digit(text.ptr[i]))
            i++;
        if (i - begin >= CARRIED_RUN_MIN)
            w->over = !w->fn(w->arg, &(struct carried){ slice_of(text.ptr + begin, i - begin), whole, w->field });
        i++; /* what ends a run is in none */
    }
}

static int look_basic(struct walk *w, struct slice coded)
{
    struct slice user, password;
    buf_clear(&w->plain);
    int failed = str_add_unbase64(&w->plain, coded);
    if (failed)
        return failed == -ENOMEM ? failed : 0; /* no base64: there is nothing in it */
    user = slice_cut(buf_slice(&w->plain), ':', &password);
    look(w, user, user);
    look(w, password, password);
    return 0;
}

static int look_field(struct walk *w, struct slice value)
{
    struct slice rest, scheme = slice_cut(value, ' ', &rest);
    rest = slice_trim(rest);
    if (!rest.len) {
        look(w, value, value);
        return 0;
    }
    look(w, scheme, nowhere);
    look(w, rest, rest);
    return slice_ieq(scheme, SLICE("Basic")) ? look_basic(w, rest) : 0;
}

static int look_decoded(struct walk *w, struct slice text, bool may_stand)
{
    buf_clear(&w->plain);
    int failed = query_add_decoded(&w->plain, text);
    if (failed == 0)
        look(w, buf_slice(&w->plain), may_stand ? buf_slice(&w->plain) : nowhere);
    return failed;
}

static int look_target(struct walk *w, struct slice target)
{
    struct slice query, path = slice_cut(target, '?', &query);
    int failed = look_decoded(w, path, false);
    while (query.len && !w->over && failed == 0) {
        struct slice value, name = slice_cut(slice_cut(query, '&', &query), '=', &value);
        failed = look_decoded(w, name, false);
        if (failed == 0)
            failed = look_decoded(w, value, true);
    }
    return failed;
}

int carried_each(const struct message *request, carried_fn *fn, void *arg)
{
    struct walk w = { .fn = fn, .arg = arg, .field = CARRIED_TARGET };
    buf_init_secret(&w.plain, MESSAGE_HEAD_MAX_BYTES + 4);
    int failed = look_target(&w, message_target(request));
    for (size_t i = 0; i < request->field_count && !w.over && failed == 0; i++) {
        w.field = i;
        failed = look_field(&w, slice_trim(message_value_at(request, i)));
    }
    buf_done(&w.plain);
    return failed ? -ENOMEM : 0;
}

void carried_each_of(struct slice text, carried_fn *fn, void *arg)
{
    struct walk w = { .fn = fn, .arg = arg, .field = CARRIED_TARGET };
    look(&w, text, text);
}
