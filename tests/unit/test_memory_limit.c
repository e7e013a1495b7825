/* memory_limit.c: the smallest limit on the way up, in both versions of cgroups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory_limit.h"

static char dir[64];

/* Makes what is above it, too. */
static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static uint64_t limit(const char *cgroup)
{
    char proc[128], sys[128];
    write_file("cgroup", cgroup);
    snprintf(proc, sizeof proc, "%s/cgroup", dir);
    snprintf(sys, sizeof sys, "%s/sys", dir);
    return memory_limit_of(proc, sys);
}

static void the_smallest_limit_on_the_way_up_counts(void **state)
{
    (void)state;
    write_file("sys/memory.max", "max\n");
    write_file("sys/pods/memory.max", "67108864\n");
    write_file("sys/pods/a/memory.max", "134217728\n");
    write_file("sys/pods/b/memory.max", "33554432\n");
    write_file("sys/free/memory.max", "max\n");
    write_file("sys/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* version 1's "none" */
    write_file("sys/memory/box/memory.limit_in_bytes", "50000000\n");
    static const struct {
        const char *cgroup;
        uint64_t bytes;
    } table[] = { { "0::/pods/a\n", 67108864 },
                  { "0::/pods/b\n", 33554432 },
                  { "0::/free\n", 0 },
                  { "0::/\n", 0 },
                  { "0::/not/there\n", 0 },
                  { "0::/pods/a/below/that/is/not/there\n", 67108864 },
                  { "9:name=systemd:/x\n4:cpu,memory:/box\n0::/free\n", 50000000 },
                  { "4:memory:/box\n0::/pods/b\n", 33554432 },
                  { "4:memory:/\n", 0 },
                  { "", 0 },
                  { "nonsense\n:\n::\n", 0 } };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(limit(table[i].cgroup), table[i].bytes);
    assert_int_equal(memory_limit_of("/not/there", dir), 0);
}

int main(void)
{
    strcpy(dir, "/tmp/sidekey-memory-XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_smallest_limit_on_the_way_up_counts) };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) == 0 ? failed : 1;
}
