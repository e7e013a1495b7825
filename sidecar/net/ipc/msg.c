#include "net/ipc/msg.h"

#include <errno.h>

/* A packet: one byte type, then fields {tag byte, u32 length, bytes}; numbers are 8 bytes, host order (same machine,
 * same program). */
enum tag {
    TAG_NAME = 1,
    TAG_GENERATION,
    TAG_STATE,
    TAG_TOKEN,
    TAG_EXPIRES,
    TAG_REFRESH_AT,
    TAG_EXTRA_KEY,
    TAG_EXTRA_VALUE,
    TAG_REASON,
    TAG_DEADLINE,
    TAG_CLASS,
    TAG_RETRY_AFTER,
    TAG_TEXT,
    TAG_DER,
    TAG_UNTIL,
    TAG_ASK,
    TAG_TAG,
    TAG_OK,
    TAG_OFFSET,
    TAG_MORE
};

#define HOST_MAX 253

static int put_bytes(struct buf *out, enum tag tag, struct slice bytes)
{
    uint32_t len = (uint32_t)bytes.len;
    char head[5] = { (char)tag };
    int failed;
    if (bytes.len > UINT32_MAX)
        return -EINVAL;
    memcpy(head + 1, &len, sizeof len);
    failed = buf_add(out, slice_of(head, sizeof head));
    return failed ? failed : buf_add(out, bytes);
}

static int put_number(struct buf *out, enum tag tag, int64_t value)
{
    return value == 0 ? 0 : put_bytes(out, tag, slice_of(&value, sizeof value));
}

static int put_text(struct buf *out, enum tag tag, struct slice text)
{
    return text.len == 0 ? 0 : put_bytes(out, tag, text);
}

static bool within_limits(const struct msg *m)
{
    bool named = m->type != MSG_MINT && m->type != MSG_LEAF;
    return m->type >= MSG_HELLO && m->type <= MSG_PING && m->name.len <= (named ? MSG_NAME_MAX : HOST_MAX)
           && m->token.len <= MSG_TOKEN_MAX && m->extra_count <= MSG_EXTRAS_MAX && m->state >= MSG_NONE
           && m->state <= MSG_REAUTH && m->reason >= MSG_EXPIRING && m->reason <= MSG_FORCED
           && m->failure >= MSG_TRANSIENT && m->failure <= MSG_UNKNOWN_CREDENTIAL && m->ask >= MSG_ASK_READY
           && m->ask <= MSG_ASK_RESET;
}

static int put_extras(struct buf *out, const struct msg *m)
{
    int failed = 0;
    for (size_t i = 0; i < m->extra_count && failed == 0; i++) {
        failed = put_bytes(out, TAG_EXTRA_KEY, m->extras[i].key);
        if (failed == 0)
            failed = put_bytes(out, TAG_EXTRA_VALUE, m->extras[i].value);
    }
    return failed;
}

int msg_encode(const struct msg *m, struct buf *out)
{
    char type = (char)m->type;
    int failed;
    if (!within_limits(m))
        return -EINVAL;
    if ((failed = buf_add(out, slice_of(&type, 1))) || (failed = put_text(out, TAG_NAME, m->name))
        || (failed = put_number(out, TAG_GENERATION, (int64_t)m->generation))
        || (failed = put_number(out, TAG_STATE, m->state)) || (failed = put_text(out, TAG_TOKEN, m->token))
        || (failed = put_number(out, TAG_EXPIRES, m->expires_ms))
        || (failed = put_number(out, TAG_REFRESH_AT, m->refresh_at_ms)) || (failed = put_extras(out, m))
        || (failed = put_number(out, TAG_REASON, m->reason)) || (failed = put_number(out, TAG_DEADLINE, m->deadline_ms))
        || (failed = put_number(out, TAG_CLASS, m->failure))
        || (failed = put_number(out, TAG_RETRY_AFTER, m->retry_after_ms)) || (failed = put_text(out, TAG_TEXT, m->text))
        || (failed = put_text(out, TAG_DER, m->der)) || (failed = put_number(out, TAG_UNTIL, m->until_s))
        || (failed = put_number(out, TAG_ASK, m->ask)) || (failed = put_number(out, TAG_TAG, (int64_t)m->tag))
        || (failed = put_number(out, TAG_OK, m->ok)) || (failed = put_number(out, TAG_OFFSET, (int64_t)m->offset))
        || (failed = put_number(out, TAG_MORE, m->more)))
        return failed;
    return 0;
}

static bool take_extra(struct msg *m, enum tag tag, struct slice bytes)
{
    if (tag == TAG_EXTRA_KEY) {
        if (m->extra_count == MSG_EXTRAS_MAX)
            return false;
        m->extras[m->extra_count++].key = bytes;
        return true;
    }
    if (m->extra_count == 0)
        return false;
    m->extras[m->extra_count - 1].value = bytes;
    return true;
}

static bool take_number(struct msg *m, enum tag tag, int64_t value)
{
    bool small = value >= 0 && value <= 255;
    switch (tag) {
    case TAG_GENERATION: m->generation = (uint64_t)value; return true;
    case TAG_EXPIRES: m->expires_ms = value; return true;
    case TAG_REFRESH_AT: m->refresh_at_ms = value; return true;
    case TAG_DEADLINE: m->deadline_ms = value; return true;
    case TAG_RETRY_AFTER: m->retry_after_ms = value; return true;
    case TAG_UNTIL: m->until_s = value; return true;
    case TAG_TAG: m->tag = (uint64_t)value; return true;
    case TAG_OK: m->ok = value != 0; return true;
    case TAG_OFFSET: m->offset = (uint64_t)value; return true;
    case TAG_MORE: m->more = value != 0; return true;
    case TAG_STATE: m->state = (enum msg_state)(small ? value : 255); return small;
    case TAG_REASON: m->reason = (enum msg_reason)(small ? value : 255); return small;
    case TAG_CLASS: m->failure = (enum msg_class)(small ? value : 255); return small;
    case TAG_ASK: m->ask = (enum msg_ask)(small ? value : 255); return small;
    default: return false;
    }
}

static bool take(struct msg *m, enum tag tag, struct slice bytes)
{
    int64_t number;
    switch (tag) {
    case TAG_NAME: m->name = bytes; return true;
    case TAG_TOKEN: m->token = bytes; return true;
    case TAG_TEXT: m->text = bytes; return true;
    case TAG_DER: m->der = bytes; return true;
    case TAG_EXTRA_KEY:
    case TAG_EXTRA_VALUE: return take_extra(m, tag, bytes);
    default:
        if (bytes.len != sizeof number)
            return false;
        memcpy(&number, bytes.ptr, sizeof number);
        return take_number(m, tag, number);
    }
}

int msg_decode(struct slice packet, struct msg *ret)
{
    struct msg m = { .type = 0 };
    uint32_t len;
    if (packet.len == 0)
        return -EBADMSG;
    m.type = (enum msg_type)(unsigned char)packet.ptr[0];
    packet = slice_skip(packet, 1);
    while (packet.len) {
        if (packet.len < 1 + sizeof len)
            return -EBADMSG;
        enum tag tag = (enum tag)(unsigned char)packet.ptr[0];
        memcpy(&len, packet.ptr + 1, sizeof len);
        packet = slice_skip(packet, 1 + sizeof len);
        if (len > packet.len || !take(&m, tag, slice_of(packet.ptr, len)))
            return -EBADMSG;
        packet = slice_skip(packet, len);
    }
    if (!within_limits(&m))
        return -EBADMSG;
    *ret = m;
    return 0;
}

const char *msg_class_name(enum msg_class c)
{
    static const char *const names[] = { "transient", "ambiguous", "throttle",           "clock", "config", "dead",
                                         "store",     "recent",    "unknown_credential", "link",  "slow" };
    return c >= MSG_TRANSIENT && c <= MSG_SLOW ? names[c] : "unknown";
}

const char *msg_state_name(enum msg_state s)
{
    static const char *const names[] = { "none", "usable", "reauth_required" };
    return s >= MSG_NONE && s <= MSG_REAUTH ? names[s] : "unknown";
}
