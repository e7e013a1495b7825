/* Unit tests of app/cmd/target: what kind of program "run" is asked to start, judged by its file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/cmd/target.h"

static char folder[] = "/tmp/test-target-XXXXXX";

static const char *write_file(const char *name, const char *text, size_t size, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    return path;
}

static void a_program_is_found_as_execvp_finds_it(void **state)
{
    struct target t;
    struct err e;
    (void)state;
    assert_int_equal(target_inspect("true", &t, &e), 0);
    assert_int_equal(t.kind, ELF_DYNAMIC);
    assert_true(t.path[0] == '/' && target_preloads(t.kind) && !*t.script);
    assert_int_equal(target_inspect("no-such-program-anywhere", &t, &e), -1);
    assert_int_equal(target_inspect("/etc/passwd", &t, &e), -1);
    assert_int_equal(target_inspect("", &t, &e), -1);
}

static void a_script_is_judged_by_its_interpreter(void **state)
{
    static const char *const lines[] = { "#!/bin/sh\n", "#! /bin/sh -e\n", "#!/usr/bin/env sh\n",
                                         "#!/usr/bin/env -S A=1 sh -u\n" };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char path[PATH_MAX];
        struct target t;
        struct err e;
        write_file("script", lines[i], strlen(lines[i]), path);
        assert_int_equal(target_inspect(path, &t, &e), 0);
        assert_int_equal(t.kind, ELF_DYNAMIC);
        assert_string_equal(t.script, path);
        assert_string_equal(strrchr(t.path, '/'), "/sh");
    }
}

static void what_cannot_be_read_as_a_program_is_unknown_and_never_a_crash(void **state)
{
    static const struct {
        const char *text;
        size_t size;
    } files[] = {
        { "", 0 },
        { "\x7f"
          "ELF",
          4 },
        { "plain text", 10 },
        { "#!", 2 },
        { "#!/nowhere/at/all\n", 18 },
        { "#!/usr/bin/env\n", 15 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[PATH_MAX];
        struct target t;
        struct err e;
        write_file("odd", files[i].text, files[i].size, path);
        assert_int_equal(target_inspect(path, &t, &e), 0);
        assert_int_equal(t.kind, ELF_UNKNOWN);
    }
}

/* This test's own binary, with its header changed. */
static void the_elf_header_says_whether_the_library_can_be_loaded(void **state)
{
    enum { CLASS_AT = 4, MACHINE_AT = 18, PHNUM_AT = 56 };
    static char image[1 << 16];
    static const struct {
        size_t at;
        char value;
        enum elf_kind want;
    } rows[] = {
        { 5, 1, ELF_DYNAMIC },          /* as it is: little-endian */
        { MACHINE_AT, 8, ELF_FOREIGN }, /* MIPS */
        { CLASS_AT, 1, ELF_FOREIGN },   /* 32-bit */
        { PHNUM_AT, 0, ELF_STATIC },    /* no interpreter */
    };
    (void)state;
    FILE *f = fopen("/proc/self/exe", "rb");
    assert_non_null(f);
    size_t size = fread(image, 1, sizeof image, f);
    fclose(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[PATH_MAX], before = image[rows[i].at];
        struct target t;
        struct err e;
        image[rows[i].at] = rows[i].value;
        write_file("image", image, size, path);
        image[rows[i].at] = before;
        assert_int_equal(target_inspect(path, &t, &e), 0);
        assert_int_equal(t.kind, rows[i].want);
        assert_int_equal(target_preloads(t.kind), rows[i].want == ELF_DYNAMIC);
    }
}

static void a_name_says_whether_a_program_reads_proxy_variables(void **state)
{
    static const struct {
        const char *path, *script;
        enum target_proxy want;
    } rows[] = {
        { "/usr/bin/curl", "", TARGET_PROXY_HONOURS },        { "/usr/bin/node", "/usr/bin/npm", TARGET_PROXY_HONOURS },
        { "/usr/bin/node", "", TARGET_PROXY_IGNORES },        { "/usr/bin/node", "/srv/app.js", TARGET_PROXY_IGNORES },
        { "/usr/bin/php8.2", "", TARGET_PROXY_IGNORES },      { "/usr/bin/python3.11", "", TARGET_PROXY_UNKNOWN },
        { "/usr/bin/curl-config", "", TARGET_PROXY_UNKNOWN }, { "curl", "", TARGET_PROXY_HONOURS },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct target t = { .kind = ELF_DYNAMIC };
        snprintf(t.path, sizeof t.path, "%s", rows[i].path);
        snprintf(t.script, sizeof t.script, "%s", rows[i].script);
        assert_int_equal(target_proxy(&t), rows[i].want);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = { "script", "odd", "image" };
    char path[PATH_MAX];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_is_found_as_execvp_finds_it),
        cmocka_unit_test(a_script_is_judged_by_its_interpreter),
        cmocka_unit_test(what_cannot_be_read_as_a_program_is_unknown_and_never_a_crash),
        cmocka_unit_test(the_elf_header_says_whether_the_library_can_be_loaded),
        cmocka_unit_test(a_name_says_whether_a_program_reads_proxy_variables),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
