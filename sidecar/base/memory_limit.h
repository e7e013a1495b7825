/* base/memory_limit.h: how much memory the kernel lets this process and its siblings have (cgroups(7)).   Any process.
 */
#ifndef SIDEKEY_BASE_MEMORY_LIMIT_H
#define SIDEKEY_BASE_MEMORY_LIMIT_H

#include <stdint.h>

/* Bytes: the smallest memory.max (version 2) or memory.limit_in_bytes (version 1) from our cgroup up to the root; 0:
 * there is none, or it cannot be read. */
uint64_t memory_limit(void);
/* The same, for a /proc/self/cgroup and a /sys/fs/cgroup that are elsewhere. */
uint64_t memory_limit_of(const char *proc_cgroup, const char *sys_root);

#endif
