#include "base/memory_limit.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LIMIT ((uint64_t)1 << 60) /* version 1 writes a huge number for none */

static void read_one(const char *path, uint64_t *io_least)
{
    char text[32] = "", *end;
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    bool got = fgets(text, sizeof text, f) != NULL;
    fclose(f);
    uint64_t value = got ? strtoull(text, &end, 10) : 0; /* "max" is no number */
    if (got && end != text && value && value < NO_LIMIT && (!*io_least || value < *io_least))
        *io_least = value;
}

/* group: a path in the hierarchy; what is above the cgroup namespace is not seen, and its root is read as well. */
static void climb(const char *root, const char *group, const char *file, uint64_t *io_least)
{
    char path[2 * PATH_MAX], at[PATH_MAX];
    if (snprintf(at, sizeof at, "%s", group) >= (int)sizeof at)
        return;
    for (;;) {
        snprintf(path, sizeof path, "%s%s/%s", root, at, file);
        read_one(path, io_least);
        char *slash = strrchr(at, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* "0::/a/b" (version 2), "7:memory:/a/b" (version 1). */
static void read_line(char *line, const char *sys_root, uint64_t *io_least)
{
    char memory[PATH_MAX];
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return;
    *group++ = '\0';
    if (strcmp(controllers, ":") == 0) {
        climb(sys_root, group, "memory.max", io_least);
    } else if (strstr(controllers, "memory")) {
        snprintf(memory, sizeof memory, "%s/memory", sys_root);
        climb(memory, group, "memory.limit_in_bytes", io_least);
    }
}

uint64_t memory_limit_of(const char *proc_cgroup, const char *sys_root)
{
    char line[PATH_MAX];
    uint64_t least = 0;
    FILE *f = fopen(proc_cgroup, "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        read_line(line, sys_root, &least);
    fclose(f);
    return least;
}

uint64_t memory_limit(void)
{
    return memory_limit_of("/proc/self/cgroup", "/sys/fs/cgroup");
}
