#include "app/config/url.h"

#include <errno.h>

int url_parse(struct slice text, struct authority *ret, struct slice *ret_path)
{
    enum scheme scheme = SCHEME_HTTPS;
    size_t skip = sizeof "https://" - 1;
    if (!(text.len >= skip && slice_ieq(slice_of(text.ptr, skip), SLICE("https://")))) {
        scheme = SCHEME_HTTP;
        skip = sizeof "http://" - 1;
        if (!(text.len >= skip && slice_ieq(slice_of(text.ptr, skip), SLICE("http://"))))
            return -EINVAL;
    }
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f || text.ptr[i] == '#')
            return -EINVAL;
    struct slice rest = slice_skip(text, skip);
    size_t end = slice_find(rest, '/'), query = slice_find(rest, '?');
    if (query < end) /* "https://host?query" has no path: the request line could not be written from it */
        return -EINVAL;
    struct authority to;
    if (authority_parse(slice_of(rest.ptr, end), scheme, authority_scheme_port(scheme), &to) != 0)
        return -EINVAL;
    *ret = to;
    *ret_path = end < rest.len ? slice_skip(rest, end) : SLICE("/");
    return 0;
}
