#include "proxy/in_band.h"

#include "base/json_safe.h"

#include <stdlib.h>

static bool field_says(const struct in_band_mark *m, const struct message *head)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (slice_ieq(message_name_at(head, i), slice_str(m->header))
            && slice_eq(message_value_at(head, i), slice_str(m->header_equals)))
            return true;
    return false;
}

/* RFC 6839 §3.1: application/json, or anything that ends in +json. */
static bool is_json(const struct message *head)
{
    struct slice rest, type = slice_trim(slice_cut(message_get(head, SLICE("content-type"), NULL), ';', &rest));
    return slice_ieq(type, SLICE("application/json"))
           || (type.len > 5 && slice_ieq(slice_skip(type, type.len - 5), SLICE("+json")));
}

static bool may_be_said_in(const struct in_band_mark *m, const struct message *head)
{
    size_t coded = 0;
    (void)message_get(head, SLICE("content-encoding"), &coded);
    return head->framing == FRAMING_LENGTH && head->length > 0 && head->length <= m->max_body && coded == 0
           && is_json(head);
}

static bool same_status(const struct in_band_mark *m, const struct message *head)
{
    return (int)m->status == head->status;
}

enum in_band in_band_head(const struct rule *r, const struct message *head)
{
    enum in_band found = IN_BAND_NO;
    for (size_t i = 0; i < r->also_count; i++) {
        const struct in_band_mark *m = &r->also[i];
        if (!same_status(m, head))
            continue;
        if (m->header && field_says(m, head))
            return IN_BAND_YES;
        if (m->pointer && may_be_said_in(m, head))
            found = IN_BAND_BODY;
    }
    return found;
}

const char *in_band_pointer_fault(const char *pointer)
{
    if (*pointer && *pointer != '/')
        return "a JSON pointer must begin with /";
    for (const char *c = pointer; *c; c++)
        if (*c == '~' && c[1] != '0' && c[1] != '1')
            return "write ~ as ~0, and / within a name as ~1";
    return NULL;
}

/* Scalars are compared as they are written. */
static bool equals(const json_t *node, const char *text)
{
    if (json_is_string(node))
        return slice_eq(slice_of(json_string_value(node), json_string_length(node)), slice_str(text));
    if (!json_is_boolean(node) && !json_is_number(node))
        return false;
    char *written = json_dumps(node, JSON_ENCODE_ANY);
    bool same = written && strcmp(written, text) == 0;
    free(written);
    return same;
}

bool in_band_body(const struct rule *r, const struct message *head, struct slice body)
{
    json_t *root = json_safe_load(body, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool said = false;
    for (size_t i = 0; root && !said && i < r->also_count; i++) {
        const struct in_band_mark *m = &r->also[i];
        if (m->pointer && same_status(m, head) && may_be_said_in(m, head))
            said = equals(json_safe_at(root, m->pointer), m->equals);
    }
    json_decref(root);
    return said;
}
