#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *e, const char *format, ...)
{
    if (!e)
        return -1;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return -1;
}

int err_wrap(struct err *e, const char *format, ...)
{
    if (!e)
        return -1;
    char rest[sizeof e->text];
    memcpy(rest, e->text, sizeof rest);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (len >= 0 && (size_t)len < sizeof e->text)
        snprintf(e->text + len, sizeof e->text - (size_t)len, "%s", rest);
    return -1;
}
