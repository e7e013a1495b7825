/* tests/fakes/files.h: files of a test, read, written and counted.  Everything asserts. */
#ifndef SIDEKEY_TESTS_FILES_H
#define SIDEKEY_TESTS_FILES_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* The first size bytes of the file; returns how many there were. */
static inline size_t read_file(const char *path, char *bytes, size_t size)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t len = fread(bytes, 1, size, f);
    fclose(f);
    return len;
}

/* In place, as an editor or cp does. */
static inline void write_file(const char *path, const char *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* Files in dir whose name ends so ("": all). */
static inline unsigned count_files(const char *dir, const char *tail)
{
    unsigned count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *entry; (entry = readdir(d));) {
        size_t len = strlen(entry->d_name), tail_len = strlen(tail);
        count += entry->d_type == DT_REG && len >= tail_len && strcmp(entry->d_name + len - tail_len, tail) == 0;
    }
    closedir(d);
    return count;
}

#endif
