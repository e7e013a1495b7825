/* proxy/rule_path.h: how servers may read a path, for comparing it with patterns. Pure. The result is never sent.
 *
 * Servers decode escapes once, twice or not at all, take a backslash for a slash, cut segments at ';' or at a NUL, and
 * resolve dot segments before or after all that.  A pattern that tells paths apart counts only when all of them would
 * agree: the path has no dot segment in any reading, and its plain form matches as the path does as it came. */
#ifndef SIDEKEY_PROXY_RULE_PATH_H
#define SIDEKEY_PROXY_RULE_PATH_H

#include "base/slice.h"
#include "http/message.h"

struct rule_path {
    struct slice raw; /* as it came, without the query */
    struct slice
        plain; /* decoded until nothing is left to decode, segments cut, slashes merged; raw where it is ordinary */
    bool ambiguous; /* has a dot segment in some reading */
    char space[MESSAGE_LINE_MAX_BYTES];
};

/* target: origin-form, borrowed as long as p.  Ordinary paths are not copied. */
void rule_path_read(struct rule_path *p, struct slice target);
/* The plain form of text (a path, or a pattern without its star) into space, which has text.len bytes; returns its
 * length.  *ret_ambiguous may be NULL. */
size_t rule_path_plain(struct slice text, char *space, bool *ret_ambiguous);
/* Each percent sign of the path has two hex digits behind it (the query is not looked at). */
bool rule_path_escapes_valid(struct slice target);

#endif
