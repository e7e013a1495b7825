#include "base/write_all.h"

#include <errno.h>
#include <unistd.h>

int write_all(int fd, struct slice bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno != EINTR)
            return -errno;
        bytes = slice_skip(bytes, n > 0 ? (size_t)n : 0);
    }
    return 0;
}
