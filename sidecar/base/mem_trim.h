/* base/mem_trim.h: a process that will only wait for a while gives back what its start needed.   One thread.
 * Free heap goes back to the kernel, and clean pages of program and libraries are unmapped: they stay in the page
 * cache, where the kernel may take them when memory is short (mapped, they count as in use), and come back by a minor
 * fault each when they are needed. */
#ifndef SIDEKEY_BASE_MEM_TRIM_H
#define SIDEKEY_BASE_MEM_TRIM_H

#define MEM_TRIM_AFTER_MS 300 /* of quiet: what start or refresh touched is not needed any more */

/* About 1 ms of work; call it when idle, never on a hot path.  Does nothing where /proc is not readable. */
void mem_trim_now(void);

#endif
