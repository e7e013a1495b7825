#include "base/mem_trim.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LISTED_MAX 256

struct mapping {
    uintptr_t from, to;
    char access[5];
    unsigned long inode, anonymous_kib;
};

/* Only pages that are unchanged from their file: a page that was written to (relocations) has no other copy. */
static int droppable(const struct mapping *m)
{
    return m->inode && m->access[1] == '-' && m->access[3] == 'p' && m->anonymous_kib == 0;
}

/* Fills list from /proc/self/smaps; returns how many may be dropped. Nothing is unmapped while the file is read. */
static size_t list_mappings(FILE *smaps, struct mapping *list)
{
    char line[512];
    size_t count = 0;
    struct mapping now = { 0, 0, "", 0, 0 };
    while (fgets(line, sizeof line, smaps)) {
        struct mapping head = { 0, 0, "", 0, 0 };
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu", &from, &to, head.access, &head.inode) == 4) {
            head.from = from;
            head.to = to;
            now = head;
        } else if (sscanf(line, "Anonymous: %lu kB", &now.anonymous_kib) == 1 && droppable(&now)
                   && count < LISTED_MAX) {
            list[count++] = now;
        }
    }
    return count;
}

void mem_trim_now(void)
{
    struct mapping list[LISTED_MAX];
    FILE *smaps = fopen("/proc/self/smaps", "re");
    (void)malloc_trim(0);
    if (!smaps)
        return;
    size_t count = list_mappings(smaps, list);
    fclose(smaps);
    for (size_t i = 0; i < count; i++)
        (void)madvise((void *)list[i].from, list[i].to - list[i].from, MADV_DONTNEED);
}
