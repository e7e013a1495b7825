/* http/h1_lines.h: the strict reader of the lines of a head or of trailers (RFC 9112 §2.2, §3, §4, §5).   Pure.   Used
 * by h1.c only.  It reads the start line alone: any token is a method, version 1.2 to 1.9 counts as 1.1 (RFC 9110
 * §2.5), and neither depends on the release of llhttp.  On fields it runs before llhttp and lets through only what
 * every release reads in the same way: CR LF and nothing else ends a line, names are tokens directly before the colon,
 * no folded lines, no control characters, and the caps on lines, fields and bytes.  It finds the end of the head, so
 * llhttp never sees a byte beyond it.
 * Fields of responses are not given to llhttp, which refuses what RFC 9112 §5.1 and §6.3 let a client take (each
 * release at another byte): h1_lines_read_field() hands out their names and values, judged by the same states. */
#ifndef SIDEKEY_HTTP_H1_LINES_H
#define SIDEKEY_HTTP_H1_LINES_H

#include "base/slice.h"

enum lines_kind { LINES_REQUEST, LINES_RESPONSE, LINES_TRAILERS };

struct lines {
    int state;
    bool start_done; /* the start line has been read, or there is none */
    bool done;       /* the empty line has been read */
    uint8_t at;      /* place in the version or status */
    uint8_t minor;   /* 0 or 1 */
    uint16_t code;   /* of a response, three digits */
    bool lenient;    /* a response: blanks before the colon are dropped (RFC 9112 §5.1) */
    bool cleaned;    /* … and there were some */
    uint16_t field_count, fields_max;
    uint32_t line_max; /* bytes of a request line */
    uint32_t method_bytes, target_bytes;
    uint32_t line_bytes; /* of the start line */
    uint32_t bytes;      /* in all */
    int status;          /* not 0: the next byte is refused, with this status */
    const char *reason;  /* constant */
};

enum lines_part {
    LINES_NOTHING, /* bytes between the parts, or none */
    LINES_NAME,    /* of the name */
    LINES_VALUE,   /* of the value, blanks around it included */
    LINES_FIELD,   /* the field is over */
};

/* Ready for a new block of lines.  Keeps limits and leniency, and no memory of its own. */
void h1_lines_start(struct lines *l, enum lines_kind kind);
/* Reads in until the start line is over, in another call until the empty line; returns how many of its bytes are good.
 * Then either all were taken, or l->start_done has become true, or l->done, or l->status is set. */
size_t h1_lines_read(struct lines *l, struct slice in);
/* After the start line: reads the next piece of a field; returns how many bytes of in it has, 0 when the next one is
 * refused or l->done. */
size_t h1_lines_read_field(struct lines *l, struct slice in, enum lines_part *ret_part);

#endif
