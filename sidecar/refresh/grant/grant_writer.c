#include "refresh/grant/grant_writer.h"

#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>

/* Runs one append unless an earlier one failed. */
static void put(struct grant_writer *w, int (*add)(struct buf *, struct slice), struct slice bytes)
{
    if (w->failed == 0)
        w->failed = add(w->out, bytes);
}

/* The name of a member, and what stands before its value. */
static void begin_member(struct grant_writer *w, const char *name)
{
    bool json = w->as == GRANT_BODY_JSON, first = w->out->len == 0;
    if (json)
        put(w, buf_add, first ? SLICE("{") : SLICE(","));
    else
        put(w, buf_add, first ? SLICE("") : SLICE("&"));
    put(w, json ? str_add_json : str_add_form, slice_str(name));
    put(w, buf_add, json ? SLICE(":") : SLICE("="));
}

void grant_writer_add(struct grant_writer *w, const char *name, struct slice value)
{
    if (value.len == 0)
        return;
    begin_member(w, name);
    put(w, w->as == GRANT_BODY_JSON ? str_add_json : str_add_form, value);
}

void grant_writer_add_number(struct grant_writer *w, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    begin_member(w, name);
    put(w, buf_add, slice_str(text));
}

void grant_writer_add_words(struct grant_writer *w, const char *name, struct slice words)
{
    bool any = false;
    while (words.len) {
        struct slice one = slice_cut(words, ' ', &words);
        if (one.len == 0)
            continue;
        if (any)
            put(w, buf_add, SLICE(","));
        else {
            begin_member(w, name);
            put(w, buf_add, SLICE("["));
        }
        put(w, str_add_json, one);
        any = true;
    }
    if (any)
        put(w, buf_add, SLICE("]"));
}

void grant_writer_end(struct grant_writer *w)
{
    if (w->as != GRANT_BODY_JSON)
        return;
    if (w->out->len == 0)
        put(w, buf_add, SLICE("{"));
    put(w, buf_add, SLICE("}"));
}
