#include "http/basic.h"

#include <errno.h>

#include "base/str.h"

int basic_read(struct slice field, struct buf *plain, struct slice *ret_user, struct slice *ret_password)
{
    struct slice coded, scheme = slice_cut(field, ' ', &coded);
    if (!slice_ieq(scheme, SLICE("Basic")))
        return -EINVAL;
    int failed = str_add_unbase64(plain, slice_trim(coded));
    if (failed)
        return failed;
    size_t colon = slice_find(buf_slice(plain), ':');
    if (colon == plain->len)
        return -EINVAL;
    *ret_user = slice_of(buf_slice(plain).ptr, colon);
    *ret_password = slice_skip(buf_slice(plain), colon + 1);
    return 0;
}
