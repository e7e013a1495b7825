#include "refresh/fetch/fetch_head.h"

#include "refresh/fetch/fetch_curl.h"

#include <time.h>

#define RETRY_AFTER_MAX 128
#define CHALLENGE_MAX 1024
#define DATE_BYTES 64
#define WORD_MAX 16 /* before the status: "HTTP/1.1" */

void fetch_head_init(struct fetch_head *h)
{
    *h = (struct fetch_head){ .whole = false };
    buf_init(&h->retry_after, RETRY_AFTER_MAX);
    buf_init(&h->challenge, CHALLENGE_MAX);
}

void fetch_head_done(struct fetch_head *h)
{
    buf_done(&h->retry_after);
    buf_done(&h->challenge);
}

static int64_t read_date(struct slice value)
{
    char date[DATE_BYTES];
    if (value.len >= sizeof date)
        return 0;
    memcpy(date, value.ptr, value.len);
    date[value.len] = '\0';
    time_t at = curl_getdate(date, NULL);
    return at > 0 ? (int64_t)at : 0;
}

static struct slice without_end(struct slice line)
{
    while (line.len && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    return line;
}

/* "HTTP/1.1 103": another head follows. */
static bool is_interim(struct slice line)
{
    struct slice status;
    (void)slice_cut(line, ' ', &status);
    return status.len && status.ptr[0] == '1';
}

void fetch_head_line(struct fetch_head *h, struct slice bytes)
{
    struct slice value, line = without_end(bytes);
    h->bytes += bytes.len;
    bool begins = slice_starts(line, SLICE("HTTP/"));
    h->interim = begins ? is_interim(line) : h->interim;
    h->whole = (line.len == 0 && !h->interim) || (h->whole && !begins);
    struct slice name = slice_cut(line, ':', &value);
    value = slice_trim(value);
    if (slice_ieq(name, SLICE("retry-after")) && h->retry_after.len == 0)
        (void)!buf_add(&h->retry_after, value);
    if (slice_ieq(name, SLICE("www-authenticate")) && h->challenge.len == 0)
        (void)!buf_add(&h->challenge, slice_of(value.ptr, value.len < CHALLENGE_MAX ? value.len : CHALLENGE_MAX));
    if (slice_ieq(name, SLICE("transfer-encoding")))
        h->chunked = slice_ieq(slice_skip(value, value.len > 7 ? value.len - 7 : 0), SLICE("chunked"));
    if (slice_ieq(name, SLICE("date")) && value.len < DATE_BYTES)
        h->date_s = read_date(value);
}

/* ---- a head that libcurl has not found ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* A word, a blank, three digits.  0: that is none. */
static int status_in(struct slice line)
{
    size_t at = slice_find(line, ' ');
    if (at == 0 || at > WORD_MAX || line.len < at + 4 || (line.len > at + 4 && !is_blank(line.ptr[at + 4])))
        return 0;
    uint64_t status = 0;
    if (slice_u64(slice_of(line.ptr + at + 1, 3), 999, &status) != 0 || status < 200)
        return 0;
    return (int)status;
}

int fetch_head_find(struct fetch_head *h, struct slice bytes, size_t *ret_body_at)
{
    struct slice rest = bytes;
    while (rest.len && is_blank(rest.ptr[0]))
        rest = slice_skip(rest, 1);
    struct slice bare = slice_starts(rest, SLICE("\xef\xbb\xbf")) ? slice_skip(rest, 3) : rest;
    if (bare.len && (bare.ptr[0] == '{' || bare.ptr[0] == '[')) {
        *ret_body_at = bytes.len - rest.len;
        h->whole = true;
        return 200;
    }
    int status = status_in(without_end(slice_of(rest.ptr, slice_find(rest, '\n'))));
    if (status == 0)
        return 0;
    while (rest.len && !h->whole) {
        size_t end = slice_find(rest, '\n');
        if (end == rest.len)
            return 0;
        fetch_head_line(h, slice_of(rest.ptr, end + 1));
        rest = slice_skip(rest, end + 1);
    }
    *ret_body_at = bytes.len - rest.len;
    return h->whole ? status : 0;
}
