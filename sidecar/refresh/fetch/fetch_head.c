#include "refresh/fetch/fetch_head.h"

#include "refresh/fetch/fetch_curl.h"

#include <time.h>

#define VALUE_MAX 1024
#define LOCATION_MAX 8192
#define DATE_BYTES 64
#define WORD_MAX 16 /* before the status: "HTTP/1.1" */
#define LENGTH_MAX (UINT64_MAX / 2)

void fetch_head_init(struct fetch_head *h)
{
    *h = (struct fetch_head){ .whole = false };
    buf_init(&h->retry_after, VALUE_MAX);
    buf_init(&h->challenge, VALUE_MAX);
    buf_init(&h->location, LOCATION_MAX);
}

void fetch_head_done(struct fetch_head *h)
{
    buf_done(&h->retry_after);
    buf_done(&h->challenge);
    buf_done(&h->location);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_json(struct slice bytes)
{
    return bytes.len && (bytes.ptr[0] == '{' || bytes.ptr[0] == '[');
}

/* ---- fields ---- */

static int64_t read_date(struct slice value)
{
    char date[DATE_BYTES];
    if (value.len == 0 || value.len >= sizeof date)
        return 0;
    memcpy(date, value.ptr, value.len);
    date[value.len] = '\0';
    time_t at = curl_getdate(date, NULL);
    return at > 0 ? (int64_t)at : 0;
}

/* The first one counts, as much of it as there is room for. */
static void keep(struct buf *to, struct slice value)
{
    if (to->len == 0)
        (void)!buf_add(to, slice_of(value.ptr, value.len < to->cap ? value.len : to->cap));
}

static void note_length(struct fetch_head *h, struct slice value)
{
    uint64_t length;
    while (value.len) { /* "5, 5" */
        if (slice_u64(slice_trim(slice_cut(value, ',', &value)), LENGTH_MAX, &length) != 0)
            continue;
        h->length = h->has_length && h->length > length ? h->length : length;
        h->has_length = true;
    }
}

static void read_field(struct fetch_head *h, struct slice line)
{
    struct slice value, name = slice_trim(slice_cut(line, ':', &value));
    value = slice_trim(value);
    if (slice_ieq(name, SLICE("retry-after")))
        keep(&h->retry_after, value);
    else if (slice_ieq(name, SLICE("www-authenticate")))
        keep(&h->challenge, value);
    else if (slice_ieq(name, SLICE("location")))
        keep(&h->location, value);
    else if (slice_ieq(name, SLICE("content-length")))
        note_length(h, value);
    else if (slice_ieq(name, SLICE("transfer-encoding")))
        h->chunked = slice_ieq(slice_skip(value, value.len > 7 ? value.len - 7 : 0), SLICE("chunked"));
    else if (slice_ieq(name, SLICE("date")))
        h->date_s = read_date(value);
}

/* ---- the status line ---- */

/* A word, blanks, three digits.  0: that is none. */
static int status_in(struct slice line)
{
    uint64_t status = 0;
    size_t word = slice_find(line, ' ');
    if (word == 0 || word > WORD_MAX)
        return 0;
    struct slice rest = slice_trim(slice_skip(line, word));
    bool ends = rest.len == 3 || (rest.len > 3 && (rest.ptr[3] < '0' || rest.ptr[3] > '9'));
    return ends && slice_u64(slice_of(rest.ptr, 3), 999, &status) == 0 ? (int)status : 0;
}

/* One that nobody can read may have been a success. */
static void read_status(struct fetch_head *h, struct slice line)
{
    int status = status_in(line);
    bool http = slice_starts(line, SLICE("HTTP/"));
    h->begun = true;
    h->interim = http && status >= 100 && status < 200;
    h->no_answer = !http && status < 200;
    if (!h->interim && !h->no_answer)
        h->status = status < 200 ? 200 : status;
}

/* ---- lines ---- */

/* Lines end with LF; in a head whose first one ends with CR alone, all may.  false: that is not known yet. */
static bool learn_line_end(struct fetch_head *h, struct slice rest, bool ended)
{
    size_t cr = slice_find(rest, '\r'), lf = slice_find(rest, '\n'), behind = cr;
    while (behind < rest.len && rest.ptr[behind] == '\r')
        behind++;
    h->bare_cr = cr < lf && behind < lf;
    return lf < rest.len || behind < rest.len || ended;
}

/* false: this line has no end yet. */
static bool cut_line(struct fetch_head *h, struct slice bytes, struct slice *ret, size_t *ret_next)
{
    size_t end = h->looked + slice_find(slice_skip(bytes, h->looked), h->bare_cr ? '\r' : '\n'), from = h->at;
    h->looked = end;
    if (end == bytes.len)
        return false;
    *ret_next = end + 1;
    if (h->bare_cr && bytes.ptr[from] == '\n') /* of a CRLF among them */
        from++;
    while (end > from && bytes.ptr[end - 1] == '\r')
        end--;
    *ret = slice_of(bytes.ptr + from, end - from);
    return true;
}

static void end_at(struct fetch_head *h, size_t body_at)
{
    h->whole = true;
    h->body_at = body_at;
}

/* What stands before the status line is skipped; JSON there has no head.  false: no byte of it has come. */
static bool skip_to_begin(struct fetch_head *h, struct slice bytes)
{
    while (h->at < bytes.len && is_blank(bytes.ptr[h->at]))
        h->at++;
    h->looked = h->at;
    struct slice rest = slice_skip(bytes, h->at);
    if (is_json(slice_starts(rest, SLICE("\xef\xbb\xbf")) ? slice_skip(rest, 3) : rest)) {
        h->status = 200;
        h->no_head = true;
        end_at(h, h->at);
    }
    return rest.len > 0;
}

/* The empty line before the body is missing: no field begins so. */
static bool is_body(const struct fetch_head *h, struct slice bytes)
{
    return h->begun && is_json(slice_skip(bytes, h->at));
}

void fetch_head_read(struct fetch_head *h, struct slice bytes, bool ended)
{
    struct slice line;
    size_t next;
    while (!h->whole && !h->no_answer) {
        if (!h->begun && (!skip_to_begin(h, bytes) || h->whole || !learn_line_end(h, slice_skip(bytes, h->at), ended)))
            return;
        if (is_body(h, bytes)) {
            h->status = h->interim ? 200 : h->status;
            end_at(h, h->at);
            return;
        }
        if (!cut_line(h, bytes, &line, &next))
            return;
        if (!h->begun || (h->interim && slice_starts(line, SLICE("HTTP/"))))
            read_status(h, line);
        else if (line.len == 0 && h->interim)
            h->begun = h->interim = false;
        else if (line.len == 0)
            end_at(h, next);
        else if (!h->interim)
            read_field(h, line);
        h->at = h->looked = next;
    }
}
