/* base/container.h: from a member to the struct that it is in.   Pure. */
#ifndef SIDEKEY_BASE_CONTAINER_H
#define SIDEKEY_BASE_CONTAINER_H

#include <stddef.h>

#define CONTAINER_OF(member_at, type, member) ((type *)(void *)((char *)(member_at) - offsetof(type, member)))

#endif
