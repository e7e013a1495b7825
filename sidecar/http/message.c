#include "http/message.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_FIELDS 32
#define FIRST_TEXT 2048

void message_init(struct message *m)
{
    *m = (struct message){ .minor = 1, .keep_alive = true };
    buf_init(&m->text, MESSAGE_HEAD_MAX_BYTES);
}

void message_done(struct message *m)
{
    buf_done(&m->text);
    free(m->fields);
    message_init(m);
}

void message_clear(struct message *m)
{
    struct message kept = *m;
    buf_clear(&kept.text);
    message_init(m);
    m->text = kept.text;
    m->fields = kept.fields;
    m->field_space = kept.field_space;
}

static int grow_fields(struct message *m, size_t space)
{
    struct message_field *fields = reallocarray(m->fields, space, sizeof *fields);
    if (!fields)
        return -ENOMEM;
    m->fields = fields;
    m->field_space = space;
    return 0;
}

int message_copy(struct message *to, const struct message *from)
{
    struct slice text = buf_slice(&from->text);
    message_clear(to);
    if (to->field_space < from->field_count && grow_fields(to, from->field_count) != 0)
        return -ENOMEM;
    int failed = buf_add(&to->text, text);
    if (failed != 0)
        return failed;

    struct message copy = *from;
    copy.text = to->text;
    copy.fields = to->fields;
    copy.field_space = to->field_space;
    if (from->field_count)
        memcpy(copy.fields, from->fields, from->field_count * sizeof *copy.fields);
    *to = copy;
    return 0;
}

/* The place of bytes inside the message's own text, which moves when it grows; SIZE_MAX: they are not in it. */
static size_t place_inside(const struct message *m, struct slice bytes)
{
    struct slice text = buf_slice(&m->text);
    uintptr_t base = (uintptr_t)text.ptr, at = (uintptr_t)bytes.ptr;
    if (text.len == 0 || at < base || at - base >= text.len)
        return SIZE_MAX;
    return at - base;
}

/* The text holds n more bytes where it is. */
static bool has_room(const struct message *m, size_t n)
{
    const struct buf *t = &m->text;
    return t->data && t->space - t->start - t->len >= n && t->cap - t->len >= n;
}

static struct message_part append(struct message *m, struct slice bytes)
{
    struct buf *t = &m->text;
    struct message_part part = { (uint32_t)t->len, (uint32_t)bytes.len };
    if (bytes.len)
        memcpy(t->data + t->start + t->len, bytes.ptr, bytes.len);
    t->len += bytes.len;
    return part;
}

int message_put(struct message *m, struct slice bytes, struct message_part *ret)
{
    if (has_room(m, bytes.len)) {
        *ret = append(m, bytes);
        return 0;
    }
    if (bytes.len > buf_space(&m->text))
        return -ENOBUFS;
    size_t inside = place_inside(m, bytes);
    /* The first message takes a typical head in one allocation. */
    size_t want = m->text.data == NULL && bytes.len < FIRST_TEXT ? FIRST_TEXT : bytes.len;
    char *to = buf_reserve(&m->text, want);
    if (!to)
        return -ENOMEM;
    if (bytes.len)
        memcpy(to, inside == SIZE_MAX ? bytes.ptr : m->text.data + m->text.start + inside, bytes.len);
    *ret = (struct message_part){ (uint32_t)m->text.len, (uint32_t)bytes.len };
    buf_grow(&m->text, bytes.len);
    return 0;
}

int message_add_parts(struct message *m, struct message_part name, struct message_part value)
{
    if (m->field_count == MESSAGE_FIELDS_MAX)
        return -ENOBUFS;
    if (m->field_count == m->field_space && grow_fields(m, m->field_space ? 2 * m->field_space : FIRST_FIELDS) != 0)
        return -ENOMEM;
    m->fields[m->field_count++] = (struct message_field){ name, value, false };
    return 0;
}

int message_add(struct message *m, struct slice name, struct slice value)
{
    struct message_part name_part, value_part;
    if (has_room(m, name.len + value.len)) {
        name_part = append(m, name);
        return message_add_parts(m, name_part, append(m, value));
    }
    /* The first copy may move the text under a value that lies inside it. */
    size_t inside = place_inside(m, value);
    int failed = message_put(m, name, &name_part);
    if (failed != 0)
        return failed;
    if (inside != SIZE_MAX)
        value.ptr = m->text.data + m->text.start + inside;
    if ((failed = message_put(m, value, &value_part)) != 0)
        return failed;
    return message_add_parts(m, name_part, value_part);
}

int message_set(struct message *m, struct slice name, struct slice value)
{
    message_remove(m, name);
    return message_add(m, name, value);
}

static size_t remove_all(struct message *m, struct slice name, bool (*same)(struct slice, struct slice))
{
    size_t kept = 0, count = m->field_count;
    for (size_t i = 0; i < count; i++)
        if (!same(message_name_at(m, i), name))
            m->fields[kept++] = m->fields[i];
    m->field_count = kept;
    return count - kept;
}

size_t message_remove(struct message *m, struct slice name)
{
    return remove_all(m, name, slice_ieq);
}

static char dashed(char c)
{
    if (c == '_')
        return '-';
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool message_names_alike(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (dashed(a.ptr[i]) != dashed(b.ptr[i]))
            return false;
    return true;
}

size_t message_remove_alike(struct message *m, struct slice name)
{
    return remove_all(m, name, message_names_alike);
}

bool message_has_alike(const struct message *m, struct slice name)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (message_names_alike(message_name_at(m, i), name))
            return true;
    return false;
}

void message_remove_at(struct message *m, size_t i)
{
    size_t behind = m->field_count - i - 1;
    memmove(m->fields + i, m->fields + i + 1, behind * sizeof *m->fields);
    m->field_count--;
}

struct slice message_get(const struct message *m, struct slice name, size_t *ret_count)
{
    struct slice first = { NULL, 0 };
    size_t count = 0;
    for (size_t i = 0; i < m->field_count; i++) {
        if (m->fields[i].name.len != name.len || !slice_ieq(message_name_at(m, i), name))
            continue;
        if (count++ == 0)
            first = message_value_at(m, i);
        if (!ret_count)
            break;
    }
    if (ret_count)
        *ret_count = count;
    return first;
}

static bool list_has(struct slice list, struct slice token)
{
    while (list.len) {
        struct slice member = slice_cut(list, ',', &list);
        if (slice_ieq(slice_trim(member), token))
            return true;
    }
    return false;
}

bool message_has_token(const struct message *m, struct slice name, struct slice token)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (m->fields[i].name.len == name.len && slice_ieq(message_name_at(m, i), name)
            && list_has(message_value_at(m, i), token))
            return true;
    return false;
}

int message_start_request(struct message *m, struct slice method, struct slice target)
{
    int failed = message_put(m, method, &m->method);
    return failed ? failed : message_put(m, target, &m->target);
}

int message_start_response(struct message *m, int status, struct slice reason)
{
    m->status = status;
    return message_put(m, reason, &m->reason);
}
