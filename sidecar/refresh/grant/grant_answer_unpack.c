/* Token responses that come compressed although we ask for none (RFC 9110 §12.5.3 allows any coding to whom says
 * nothing, and some servers do not listen), with or without a field that says so; and those in UTF-16. */
#include "refresh/grant/grant_answer_private.h"

#include <malloc.h>
#include <stdlib.h>
#include <zlib.h>

#define LAYERS 3 /* compressed twice is seen; more is no response */
#define PIECE 16384

static void *take(void *arg, unsigned count, unsigned size)
{
    (void)arg;
    return calloc(count, size);
}

/* The window has held the tokens. */
static void give_back(void *arg, void *at)
{
    (void)arg;
    if (at)
        explicit_bzero(at, malloc_usable_size(at));
    free(at);
}

static bool is_gzip(const unsigned char *at, size_t len)
{
    return len > 2 && at[0] == 0x1f && at[1] == 0x8b;
}

enum unpacked { UNPACKED_NOT, UNPACKED_CUT, UNPACKED_WHOLE };

/* bits: as inflateInit2() wants them.  What came out before an error or the cap stays. */
static enum unpacked inflate_into(struct slice in, int bits, struct buf *out)
{
    z_stream z = { .zalloc = take, .zfree = give_back };
    int result = inflateInit2(&z, bits);
    if (result != Z_OK)
        return UNPACKED_NOT;
    z.next_in = (Bytef *)(uintptr_t)in.ptr;
    z.avail_in = (uInt)in.len;
    while (result == Z_OK) {
        size_t room = buf_space(out) < PIECE ? buf_space(out) : PIECE;
        char *to = room ? buf_reserve(out, room) : NULL;
        if (!to)
            break;
        z.next_out = (Bytef *)to;
        z.avail_out = (uInt)room;
        result = inflate(&z, Z_SYNC_FLUSH);
        buf_grow(out, room - z.avail_out);
        if (result == Z_STREAM_END && is_gzip(z.next_in, z.avail_in)) /* one more member (RFC 1952 §2.2) */
            result = inflateReset(&z);
        if (result == Z_OK && z.avail_in == 0 && z.avail_out)
            break;
    }
    inflateEnd(&z);
    if (out->len == 0)
        return UNPACKED_NOT;
    return result == Z_STREAM_END ? UNPACKED_WHOLE : UNPACKED_CUT;
}

/* RFC 1950 §2.2. */
static bool is_zlib(const unsigned char *at, size_t len)
{
    return len > 2 && (at[0] & 0x8f) == 8 && (at[0] * 256 + at[1]) % 31 == 0;
}

/* Raw deflate has no mark of its own: it is tried on what is no text, and believed when an object comes out. */
static bool may_be_raw(const unsigned char *at, size_t len)
{
    for (size_t i = 0; i < len && i < 64; i++)
        if ((at[i] < ' ' && at[i] != '\t' && at[i] != '\r' && at[i] != '\n') || at[i] >= 0x80)
            return at[0] != '{' && at[0] != '[' && at[0] != '<' && at[0] != 0xef && at[0] != 0xff && at[0] != 0xfe
                   && at[0] != 0;
    return false;
}

static bool begins_object(const struct buf *out)
{
    struct slice s = buf_slice(out);
    size_t i = 0;
    while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\t' || s.ptr[i] == '\r' || s.ptr[i] == '\n'))
        i++;
    return i < s.len && (s.ptr[i] == '{' || s.ptr[i] == '[');
}

static enum unpacked uncompress_into(struct slice body, struct buf *out)
{
    const unsigned char *at = (const unsigned char *)body.ptr;
    enum unpacked result = UNPACKED_NOT;
    if (is_gzip(at, body.len) || is_zlib(at, body.len))
        result = inflate_into(body, 15 + 32, out);
    if (result != UNPACKED_NOT || !may_be_raw(at, body.len))
        return result;
    result = inflate_into(body, -15, out);
    if (result != UNPACKED_NOT && begins_object(out))
        return result;
    buf_done(out);
    return UNPACKED_NOT;
}

/* ---- UTF-16 ---- */

static int add_unit(struct buf *out, unsigned unit)
{
    char bytes[3] = { (char)(0xe0 | unit >> 12), (char)(0x80 | (unit >> 6 & 0x3f)), (char)(0x80 | (unit & 0x3f)) };
    if (unit < 0x80)
        return buf_add(out, slice_of(&(char){ (char)unit }, 1));
    if (unit >= 0x800) /* halves of a pair become what no strict parser takes: the lenient one passes over them */
        return buf_add(out, slice_of(bytes, 3));
    bytes[1] = (char)(0xc0 | unit >> 6);
    return buf_add(out, slice_of(bytes + 1, 2));
}

/* By its mark, or by the zeros beside the first characters, which are ASCII (RFC 4627 §3). */
static bool widen(struct slice body, struct buf *out)
{
    const unsigned char *at = (const unsigned char *)body.ptr;
    if (body.len < 4)
        return false;
    bool marked_le = at[0] == 0xff && at[1] == 0xfe, marked_be = at[0] == 0xfe && at[1] == 0xff;
    bool le = marked_le || (at[0] && !at[1] && at[2] && !at[3]), be = marked_be || (!at[0] && at[1] && !at[2] && at[3]);
    if (!le && !be)
        return false;
    for (size_t i = marked_le || marked_be ? 2 : 0; i + 1 < body.len; i += 2)
        if (add_unit(out, (unsigned)(le ? at[i] | at[i + 1] << 8 : at[i + 1] | at[i] << 8)) != 0)
            return false;
    return true;
}

bool grant_answer_unpack(struct slice body, struct buf *out, bool *io_cut)
{
    bool any = false;
    for (int layer = 0; layer < LAYERS; layer++) {
        struct buf next;
        buf_init_secret(&next, GRANT_ANSWER_MAX);
        enum unpacked result = uncompress_into(body, &next);
        bool more = result != UNPACKED_NOT || widen(body, &next);
        if (!more) {
            buf_done(&next);
            break;
        }
        *io_cut = *io_cut || result == UNPACKED_CUT;
        buf_done(out);
        *out = next;
        body = buf_slice(out);
        any = true;
    }
    return any;
}
