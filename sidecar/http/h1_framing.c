#include "http/h1_framing.h"

struct framing_fields {
    size_t lengths, codings, upgrades;
    struct slice length, coding;
    bool close, keep_alive, names_upgrade; /* members of Connection */
    bool expect_100;
    bool idle_said;
    uint64_t idle_s;
};

static void read_connection(struct framing_fields *f, struct slice list)
{
    while (list.len) {
        struct slice member = slice_trim(slice_cut(list, ',', &list));
        if (slice_ieq(member, SLICE("close")))
            f->close = true;
        else if (slice_ieq(member, SLICE("keep-alive")))
            f->keep_alive = true;
        else if (slice_ieq(member, SLICE("upgrade")))
            f->names_upgrade = true;
    }
}

/* "timeout=5, max=1000" */
static void read_keep_alive(struct framing_fields *f, struct slice list)
{
    while (list.len) {
        struct slice value, member = slice_trim(slice_cut(list, ',', &list)),
                            name = slice_trim(slice_cut(member, '=', &value));
        uint64_t seconds;
        if (slice_ieq(name, SLICE("timeout")) && slice_u64(slice_trim(value), UINT32_MAX, &seconds) == 0) {
            f->idle_s = f->idle_said && f->idle_s < seconds ? f->idle_s : seconds;
            f->idle_said = true;
        }
    }
}

static struct framing_fields read_fields(const struct message *m)
{
    struct framing_fields f = { 0 };
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice name = message_name_at(m, i), value = message_value_at(m, i);
        if (slice_ieq(name, SLICE("content-length"))) {
            f.lengths++;
            f.length = value;
        } else if (slice_ieq(name, SLICE("transfer-encoding"))) {
            f.codings++;
            f.coding = value;
        } else if (slice_ieq(name, SLICE("connection"))) {
            read_connection(&f, value);
        } else if (slice_ieq(name, SLICE("keep-alive"))) {
            read_keep_alive(&f, value);
        } else if (slice_ieq(name, SLICE("upgrade"))) {
            f.upgrades++;
        } else if (slice_ieq(name, SLICE("expect"))) {
            f.expect_100 = f.expect_100 || slice_ieq(value, SLICE("100-continue"));
        }
    }
    return f;
}

/* One Content-Length of plain digits, or one Transfer-Encoding that is "chunked", or none: all other mixtures are
 * refused. */
static const char *read_delimiter(const struct framing_fields *f, enum framing *ret, uint64_t *ret_length)
{
    if (f->lengths && f->codings)
        return "length_with_transfer_encoding";
    if (f->lengths > 1)
        return "content_length_repeated";
    if (f->lengths && slice_u64(f->length, INT64_MAX, ret_length) != 0)
        return "content_length_invalid";
    if (f->codings && (f->codings > 1 || !slice_ieq(f->coding, SLICE("chunked"))))
        return "transfer_encoding_invalid";
    if (f->lengths)
        *ret = FRAMING_LENGTH;
    else if (f->codings)
        *ret = FRAMING_CHUNKED;
    else
        *ret = FRAMING_NONE;
    return NULL;
}

/* RFC 9112 §6.3: the same length several times counts as that length. */
static bool is_one_length(const struct message *m, uint64_t *ret)
{
    bool any = false;
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice list = message_value_at(m, i);
        if (!slice_ieq(message_name_at(m, i), SLICE("content-length")))
            continue;
        if (list.len == 0 || list.ptr[list.len - 1] == ',')
            return false;
        while (list.len) {
            uint64_t length;
            if (slice_u64(slice_trim(slice_cut(list, ',', &list)), INT64_MAX, &length) != 0 || (any && length != *ret))
                return false;
            *ret = length;
            any = true;
        }
    }
    return any;
}

static void read_persistence(struct message *m, const struct framing_fields *f)
{
    m->keep_alive = !f->close && (m->minor == 1 || f->keep_alive);
}

const char *h1_framing_request(struct message *m)
{
    struct framing_fields f = read_fields(m);
    const char *bad = read_delimiter(&f, &m->framing, &m->length);
    if (bad)
        return bad;
    if (m->framing == FRAMING_CHUNKED && m->minor == 0)
        return "transfer_encoding_in_1_0";
    read_persistence(m, &f);
    if (slice_eq(message_method(m), SLICE("CONNECT"))) {
        if (m->framing == FRAMING_CHUNKED || m->length > 0)
            return "connect_with_body";
        m->framing = FRAMING_NONE;
    }
    /* Both are ignored in HTTP/1.0 (RFC 9110 §7.8, §10.1.1). */
    m->expect_100 = f.expect_100 && m->minor == 1;
    m->upgrade = f.upgrades && f.names_upgrade && m->minor == 1;
    return NULL;
}

static bool never_has_body(int status)
{
    return status < 200 || status == 204;
}

const char *h1_framing_response(struct message *m, bool to_head, bool to_connect, bool *ret_cleaned)
{
    struct framing_fields f = read_fields(m);
    const char *bad = read_delimiter(&f, &m->framing, &m->length);
    *ret_cleaned = bad || (m->framing == FRAMING_CHUNKED && m->minor == 0);
    if (bad && (f.codings || !is_one_length(m, &m->length)))
        return bad;
    if (bad)
        m->framing = FRAMING_LENGTH;
    read_persistence(m, &f);
    m->upgrade = m->status == 101;
    m->idle_s = (uint32_t)f.idle_s;
    m->keep_alive = m->keep_alive && (!f.idle_said || f.idle_s > 0);
    if (never_has_body(m->status)) {
        bool says_body = m->framing == FRAMING_CHUNKED || m->length > 0;
        if (says_body && m->status == 101)
            return "framing_without_body";
        *ret_cleaned = *ret_cleaned || says_body;
        m->framing = FRAMING_NONE;
        m->length = 0;
        m->keep_alive = m->keep_alive || (m->status < 200 && !m->upgrade); /* an interim answer ends nothing */
    } else if (to_connect && m->status < 300) {
        m->framing = FRAMING_NONE; /* RFC 9112 §6.3: both fields mean nothing here */
        m->length = 0;
    } else if (m->framing == FRAMING_NONE && !to_head && m->status != 304) {
        m->framing = FRAMING_EOF;
        m->keep_alive = false;
    }
    return NULL;
}

const char *h1_framing_trailers(const struct message *m)
{
    struct framing_fields f = read_fields(m);
    enum framing framing;
    uint64_t length;
    return read_delimiter(&f, &framing, &length);
}
