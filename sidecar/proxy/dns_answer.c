#include "proxy/dns_answer.h"

#include <errno.h>
#include <string.h>

#define HEADER_BYTES 12
#define LABEL_MAX 63
#define TTL_S 60

/* RFC 1035 §4.1.1, §3.2.2, RFC 3596 §2.1 */
enum rcode {
    RCODE_NONE = 0,
    RCODE_FORMAT = 1,
    RCODE_SERVER = 2,
    RCODE_NO_NAME = 3,
    RCODE_NO_OPCODE = 4,
    RCODE_REFUSED = 5
};
enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_AAAA = 28, CLASS_IN = 1 };

struct question {
    char name[DNS_NAME_MAX + 1];
    unsigned type, class;
    size_t end; /* of the question, from the start of the query */
};

static unsigned number_at(struct slice s, size_t at)
{
    return (unsigned)(uint8_t)s.ptr[at] << 8 | (uint8_t)s.ptr[at + 1];
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* The name of the question, which compresses nothing (RFC 1035 §4.1.4: there is no earlier name to point to).  A byte
 * that no host name has becomes '?'.  Returns where it ends; 0: malformed. */
static size_t read_name(struct slice query, char name[DNS_NAME_MAX + 1])
{
    size_t at = HEADER_BYTES, len = 0;
    while (at < query.len && query.ptr[at]) {
        size_t label = (uint8_t)query.ptr[at++];
        if (label > LABEL_MAX || at + label >= query.len || len + (len > 0) + label > DNS_NAME_MAX)
            return 0;
        if (len)
            name[len++] = '.';
        for (size_t i = 0; i < label; i++) {
            char c = lower(query.ptr[at + i]);
            bool usual = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
            name[len++] = usual ? c : '?';
        }
        at += label;
    }
    name[len] = '\0';
    return at < query.len ? at + 1 : 0;
}

static enum rcode read_question(struct slice query, struct question *ret)
{
    *ret = (struct question){ .end = HEADER_BYTES };
    if ((query.ptr[2] >> 3 & 15) != 0)
        return RCODE_NO_OPCODE;
    size_t end = number_at(query, 4) == 1 ? read_name(query, ret->name) : 0;
    if (end == 0 || end + 4 > query.len)
        return RCODE_FORMAT;
    ret->type = number_at(query, end);
    ret->class = number_at(query, end + 2);
    ret->end = end + 4;
    return ret->class == CLASS_IN ? RCODE_NONE : RCODE_REFUSED;
}

static bool is_localhost(const char *name)
{
    static const char local[] = "localhost";
    size_t len = strlen(name), tail = sizeof local - 1;
    return len >= tail && strcmp(name + len - tail, local) == 0 && (len == tail || name[len - tail - 1] == '.');
}

/* *ret_size: of address; 0: the name has none of this kind. */
static enum rcode find(const struct dns_names *names, const struct question *q, uint8_t address[16], size_t *ret_size)
{
    bool v6 = q->type == TYPE_AAAA;
    *ret_size = 0;
    if (q->type == TYPE_PTR)
        return RCODE_NO_NAME;
    if (is_localhost(q->name)) {
        static const uint8_t loopback4[4] = { 127, 0, 0, 1 }, loopback6[16] = { [15] = 1 };
        memcpy(address, v6 ? loopback6 : loopback4, v6 ? sizeof loopback6 : sizeof loopback4);
    } else {
        int failed = names->address_of(names->arg, q->name, v6, address);
        if (failed)
            return failed == -EINVAL ? RCODE_NO_NAME : RCODE_SERVER;
    }
    if (q->type == TYPE_A || (v6 && names->v6))
        *ret_size = v6 ? 16 : 4;
    return RCODE_NONE;
}

/* The record of the question's own name, which a pointer names. */
static size_t put_record(uint8_t *at, const struct question *q, const uint8_t *address, size_t size)
{
    const uint8_t head[12] = { 0xc0, HEADER_BYTES, 0, (uint8_t)q->type, 0, CLASS_IN, 0, 0, 0, TTL_S, 0, (uint8_t)size };
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, address, size);
    return sizeof head + size;
}

size_t dns_answer(const struct dns_names *names, struct slice query, uint8_t answer[DNS_ANSWER_MAX])
{
    struct question q;
    uint8_t address[16] = { 0 };
    size_t size = 0, len;
    if (query.len < HEADER_BYTES || (query.ptr[2] & 0x80))
        return 0;
    enum rcode rcode = read_question(query, &q);
    if (rcode == RCODE_NONE)
        rcode = find(names, &q, address, &size);
    len = q.end;
    memcpy(answer, query.ptr, len);
    memset(answer + 4, 0, HEADER_BYTES - 4);
    answer[2] = (uint8_t)(0x80 | (query.ptr[2] & 0x79)); /* an answer; opcode and RD as asked */
    answer[3] = (uint8_t)(0x80 | rcode);                 /* recursion is available */
    answer[5] = len > HEADER_BYTES;
    answer[7] = size > 0;
    if (size)
        len += put_record(answer + len, &q, address, size);
    return len;
}
