#include "refresh/flight/classify.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <time.h>

/* First row that covers the status wins. A refusal without a code is nobody's verdict on the refresh token. */
static const struct {
    int from, to;
    enum msg_class failure;
} statuses[] = {
    { 200, 299, MSG_AMBIGUOUS },    /* empty or broken: the token may have been rotated */
    { 300, 399, MSG_CONFIG_ERROR }, /* redirects are not followed */
    { 401, 401, MSG_TRANSIENT },    /* without a code: a gateway */
    { 403, 403, MSG_TRANSIENT },    { 407, 407, MSG_TRANSIENT }, { 408, 408, MSG_AMBIGUOUS },
    { 421, 421, MSG_TRANSIENT },    { 423, 425, MSG_TRANSIENT }, { 429, 429, MSG_THROTTLE },
    { 400, 499, MSG_CONFIG_ERROR }, { 500, 599, MSG_AMBIGUOUS },
};

static enum msg_class by_status(const struct classify_input *in)
{
    if (in->html && in->status >= 400 && in->status < 500 && in->status != 408 && in->status != 429)
        return MSG_TRANSIENT;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (in->status >= statuses[i].from && in->status <= statuses[i].to)
            return statuses[i].failure;
    return MSG_AMBIGUOUS;
}

/* The next letter or digit, in lower case; '\0': none. */
static char next_plain(struct slice *text)
{
    while (text->len) {
        unsigned char c = (unsigned char)text->ptr[0];
        *text = slice_skip(*text, 1);
        if (isalnum(c))
            return (char)tolower(c);
    }
    return '\0';
}

/* text begins with word (exact: and ends with it), by letters and digits alone. */
static bool begins(struct slice text, const char *word, bool exact)
{
    struct slice rest = slice_str(word);
    for (char want; (want = next_plain(&rest)) != '\0';)
        if (next_plain(&text) != want)
            return false;
    return !exact || next_plain(&text) == '\0';
}

static bool says(struct slice text, const char *word)
{
    for (; text.len; text = slice_skip(text, 1))
        if (begins(text, word, false))
            return true;
    return false;
}

/* Words are those of the authorization server only in an answer to a request that it understood. */
static bool matches(const struct classify_word *w, const struct classify_input *in)
{
    bool heard = in->status < 500 && in->status != 408 && !in->html;
    return (!w->code || (in->code.len && begins(in->code, w->code, true)))
           && (!w->said || (heard && says(in->said, w->said)));
}

static const struct classify_word *find_word(const struct classify_input *in)
{
    const struct classify_word *w = classify_words;
    while ((w->code || w->said) && !matches(w, in))
        w++;
    return w->code || w->said ? w : NULL;
}

/* The status alone, or with a code that nobody knows: does it count? */
static bool unknown_counts(const struct classify_input *in)
{
    /* the phrase of the status is no code */
    bool named = in->code.len && !begins(in->code, "unauthorized", true) && !begins(in->code, "forbidden", true);
    if (in->status == 401 || in->status == 403 || in->status == 422 || (in->status >= 200 && in->status <= 299))
        return named && !(in->status != 422 && in->status > 299 && begins(in->code, "access_denied", true));
    return in->status == 400;
}

static struct classify_verdict by_code_or_status(const struct classify_input *in)
{
    const struct classify_word *w = find_word(in);
    bool known_code = in->code.len && in->status < 500 && in->status != 408;
    struct classify_verdict v = { .failure = known_code ? MSG_CONFIG_ERROR : by_status(in) };
    if (w)
        v.failure = w->failure;
    if (in->status == 429)
        v.failure = MSG_THROTTLE; /* no verdict on anything */
    else if (w) {
        v.counts = (w->flags & CLASSIFY_COUNTS) && unknown_counts(in);
        v.look_again = (w->flags & CLASSIFY_LOOK_AGAIN) != 0;
        v.reused = (w->flags & CLASSIFY_REUSED) != 0;
    } else
        v.counts = unknown_counts(in);
    return v;
}

struct classify_verdict classify(const struct classify_input *in)
{
    if (in->status == 0)
        return (struct classify_verdict){ .failure = in->sent ? MSG_AMBIGUOUS : MSG_TRANSIENT };
    struct classify_verdict v = by_code_or_status(in);
    if ((v.failure == MSG_AMBIGUOUS || v.failure == MSG_TRANSIENT) && in->status >= 400 && in->retry_after)
        v.failure = MSG_THROTTLE; /* it says when to come again: nothing is sent before, by nobody */
    /* Without a refresh token in the request there is none that could be dead: then what was configured is wrong. */
    if (!in->spends_token)
        v = (struct classify_verdict){ .failure = v.failure == MSG_DEAD ? MSG_CONFIG_ERROR : v.failure };
    return v;
}

bool classify_refusals_add(struct refusals *r, const char *fp, bool page, int64_t now_ms)
{
    if (strcmp(r->fp, fp) != 0) {
        snprintf(r->fp, sizeof r->fp, "%s", fp);
        r->count = 0;
        r->first_ms = now_ms;
    }
    r->count += r->count < 1000;
    return r->count >= REFUSALS_MOST && now_ms - r->first_ms >= (page ? REFUSALS_PAGE_MS : REFUSALS_SPAN_MS);
}

/* Seconds since 1970, or 0.  Servers may send the first form only; who reads must know all three (RFC 9110 §5.6.7). */
static int64_t http_date(struct slice value)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                         "%a %b %e %H:%M:%S %Y" };
    char text[40];
    if (value.len >= sizeof text)
        return 0;
    memcpy(text, value.ptr, value.len);
    text[value.len] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm utc = { 0 };
        const char *end = strptime(text, forms[i], &utc);
        if (end && *end == '\0')
            return (int64_t)timegm(&utc);
    }
    return 0;
}

int64_t classify_retry_after_ms(struct slice value, int64_t date_s, int64_t now_s)
{
    uint64_t seconds = 0;
    value = slice_trim(value);
    if (value.len == 0)
        return 0;
    int failed = slice_u64(value, 300, &seconds);
    if (failed == -ERANGE)
        seconds = 300;
    else if (failed) {
        int64_t at = http_date(value), since = at - (date_s ? date_s : now_s);
        if (at == 0)
            return 0;
        if (since < 1)
            seconds = 1;
        else if (since > 300)
            seconds = 300;
        else
            seconds = (uint64_t)since;
    }
    return (int64_t)(seconds ? seconds : 1) * 1000;
}
