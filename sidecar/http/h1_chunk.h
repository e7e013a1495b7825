/* http/h1_chunk.h: the chunked coding (RFC 9112 §7.1), read without copying.   Pure.   Used by h1.c only.
 * Our own and not llhttp's: its releases differ here (bare LF, CR after the size, the CR LF after the data,
 * extensions), and a proxy that reads a size differently from the next hop allows request smuggling.  Extensions are
 * checked and dropped. */
#ifndef SIDEKEY_HTTP_H1_CHUNK_H
#define SIDEKEY_HTTP_H1_CHUNK_H

#include "base/slice.h"

#define CHUNK_EXTENSIONS_MAX_BYTES (8 * 1024) /* of a whole body */
#define CHUNK_SIZE_MAX_DIGITS 16

enum chunk_event {
    CHUNK_MORE, /* all of *in was taken */
    CHUNK_DATA, /* *ret_data = body bytes inside in's memory */
    CHUNK_LAST, /* the line of the last chunk has been read: trailers and an empty line follow */
    CHUNK_BAD,  /* status and reason say why */
};

struct chunk {
    int state;
    unsigned digits;
    uint32_t extension_bytes;
    uint64_t left; /* bytes of the chunk that have not come yet */
    bool lenient;  /* a response: blanks after the size and around the parts of extensions (RFC 9112 §7.1.1: BWS) */
    bool cleaned;  /* … and there were some */
    int status;
    const char *reason; /* constant */
};

/* At the first byte of a chunked body. */
void h1_chunk_start(struct chunk *c, bool lenient);
enum chunk_event h1_chunk_next(struct chunk *c, struct slice *in, struct slice *ret_data);

#endif
