#include "http/h1_chunk.h"

#include "base/str.h"

#include "http/chars.h"

enum chunk_state {
    SIZE,
    SIZE_BLANK, /* blanks after the size, in lenient mode */
    EXTENSION,  /* first byte after ';' */
    EXTENSION_NAME,
    EXTENSION_NAME_BLANK, /* blanks after it */
    EXTENSION_VALUE,      /* first byte after '=' */
    EXTENSION_TOKEN,
    EXTENSION_QUOTED,
    EXTENSION_PAIR, /* after a backslash */
    EXTENSION_DONE, /* after the closing quote */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
};

void h1_chunk_start(struct chunk *c, bool lenient)
{
    *c = (struct chunk){ .state = SIZE, .lenient = lenient };
}

static bool refuse(struct chunk *c, int status, const char *reason)
{
    c->status = status;
    c->reason = reason;
    return false;
}

static bool go(struct chunk *c, enum chunk_state next)
{
    c->state = (int)next;
    return true;
}

static bool takes_blank(struct chunk *c, char byte)
{
    bool blank = c->lenient && (byte == ' ' || byte == '\t');
    c->cleaned = c->cleaned || blank;
    return blank;
}

static bool take_size(struct chunk *c, char byte)
{
    int digit = str_hex_value(byte);
    if (digit >= 0) {
        if (c->digits++ == CHUNK_SIZE_MAX_DIGITS || c->left > (uint64_t)INT64_MAX >> 4)
            return refuse(c, 400, "chunk_size_overflow");
        c->left = c->left << 4 | (uint64_t)digit;
        return true;
    }
    if (c->digits && takes_blank(c, byte))
        return go(c, SIZE_BLANK);
    if (c->digits && byte == '\r')
        return go(c, SIZE_LF);
    if (c->digits && byte == ';')
        return go(c, EXTENSION);
    return refuse(c, 400, byte == '\n' ? "bare_lf" : "chunk_size_invalid");
}

/* What may follow a whole extension. */
static bool take_extension_end(struct chunk *c, char byte)
{
    if (byte == ';')
        return go(c, EXTENSION);
    if (byte == '\r')
        return go(c, SIZE_LF);
    return refuse(c, 400, byte == '\n' ? "bare_lf" : "chunk_extension_invalid");
}

static enum chunk_state after_blank(int state)
{
    if (state == EXTENSION_NAME)
        return EXTENSION_NAME_BLANK;
    return state == EXTENSION_TOKEN ? EXTENSION_DONE : (enum chunk_state)state;
}

static bool take_extension(struct chunk *c, char byte)
{
    bool token = char_is(byte, CHAR_TOKEN), text = char_is(byte, CHAR_VALUE);
    if (++c->extension_bytes > CHUNK_EXTENSIONS_MAX_BYTES)
        return refuse(c, 413, "chunk_extensions_too_long");
    if (c->state != EXTENSION_QUOTED && c->state != EXTENSION_PAIR && takes_blank(c, byte))
        return go(c, after_blank(c->state));
    switch ((enum chunk_state)c->state) {
    case SIZE_BLANK: return take_extension_end(c, byte);
    case EXTENSION_NAME_BLANK: return byte == '=' ? go(c, EXTENSION_VALUE) : take_extension_end(c, byte);
    case EXTENSION: return token ? go(c, EXTENSION_NAME) : refuse(c, 400, "chunk_extension_invalid");
    case EXTENSION_NAME:
        if (token)
            return true;
        return byte == '=' ? go(c, EXTENSION_VALUE) : take_extension_end(c, byte);
    case EXTENSION_VALUE:
        if (byte == '"')
            return go(c, EXTENSION_QUOTED);
        return token ? go(c, EXTENSION_TOKEN) : refuse(c, 400, "chunk_extension_invalid");
    case EXTENSION_TOKEN: return token ? true : take_extension_end(c, byte);
    case EXTENSION_QUOTED:
        if (byte == '"')
            return go(c, EXTENSION_DONE);
        if (byte == '\\')
            return go(c, EXTENSION_PAIR);
        return text ? true : refuse(c, 400, "chunk_extension_invalid");
    case EXTENSION_PAIR: return text ? go(c, EXTENSION_QUOTED) : refuse(c, 400, "chunk_extension_invalid");
    default: return take_extension_end(c, byte); /* EXTENSION_DONE */
    }
}

static bool take(struct chunk *c, char byte)
{
    switch ((enum chunk_state)c->state) {
    case SIZE: return take_size(c, byte);
    case SIZE_LF: return byte == '\n' ? go(c, DATA) : refuse(c, 400, "bare_cr");
    case DATA_CR: return byte == '\r' ? go(c, DATA_LF) : refuse(c, 400, "chunk_end_invalid");
    case DATA_LF: c->digits = 0; return byte == '\n' ? go(c, SIZE) : refuse(c, 400, "chunk_end_invalid");
    default: return take_extension(c, byte);
    }
}

static enum chunk_event take_data(struct chunk *c, struct slice *in, struct slice *ret_data)
{
    size_t n = in->len < c->left ? in->len : (size_t)c->left;
    *ret_data = slice_of(in->ptr, n);
    *in = slice_skip(*in, n);
    c->left -= n;
    if (c->left == 0)
        c->state = DATA_CR;
    return CHUNK_DATA;
}

enum chunk_event h1_chunk_next(struct chunk *c, struct slice *in, struct slice *ret_data)
{
    for (;;) {
        if (c->state == DATA && c->left == 0)
            return CHUNK_LAST;
        if (in->len == 0)
            return CHUNK_MORE;
        if (c->state == DATA)
            return take_data(c, in, ret_data);
        if (!take(c, in->ptr[0]))
            return CHUNK_BAD;
        *in = slice_skip(*in, 1);
    }
}
