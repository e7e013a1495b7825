/* base/write_all.h: a file gets all of its bytes.   Any process; blocks as write(2) does. */
#ifndef SIDEKEY_BASE_WRITE_ALL_H
#define SIDEKEY_BASE_WRITE_ALL_H

#include "base/slice.h"

/* Goes on after a part, and after a signal.  0; -errno: a part may have been written. */
MUST_CHECK int write_all(int fd, struct slice bytes);

#endif
