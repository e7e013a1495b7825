/* Unit tests of certs/bundle: what is published, how it is replaced, and which error a person reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs/bundle.h"

#define PEM(text) "-----BEGIN CERTIFICATE-----\n" text "\n-----END CERTIFICATE-----\n"
#define COUNT(array) (sizeof(array) / sizeof *(array))

static char dir[] = "/tmp/sidekey-test-bundle-XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[16][256];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s", dir, name);
    return paths[turn];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *get(const char *name)
{
    static char text[1 << 20];
    FILE *f = fopen(path_of(name), "r");
    if (!f)
        fail_msg("%s is not there", name);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void publish(const char *ca_pem, const char *const *extra_roots)
{
    struct err e = { "" };
    if (bundle_publish(path_of("out"), slice_str(ca_pem), extra_roots, true, &e) != 0)
        fail_msg("%s", e.text);
}

static int entries(const char *name)
{
    DIR *d = opendir(path_of(name));
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void the_bundle_is_system_roots_then_extra_roots_then_ours(void **state)
{
    (void)state;
    put("system.pem", "# comment\n" PEM("SYSTEM"));
    put("one.pem", "-----BEGIN CERTIFICATE-----\nONE\n-----END CERTIFICATE-----"); /* its last line has no end */
    put("two.pem", "-----BEGIN TRUSTED CERTIFICATE-----\nTWO\n-----END TRUSTED CERTIFICATE-----\n");
    setenv("SSL_CERT_FILE", path_of("system.pem"), 1);
    const char *const extra[] = { path_of("one.pem"), path_of("two.pem"), NULL };
    publish(PEM("OURS"), extra);
    assert_string_equal(get("out/ca.pem"), PEM("OURS"));
    assert_string_equal(
        get("out/bundle.pem"),
        "# comment\n" PEM("SYSTEM")
            PEM("ONE") "-----BEGIN TRUSTED CERTIFICATE-----\nTWO\n-----END TRUSTED CERTIFICATE-----\n" PEM("OURS"));
}

static void a_certificate_that_is_there_is_not_added_again(void **state)
{
    (void)state;
    put("system.pem", "# A\n" PEM("AAAA") "# B\n" PEM("BBBB"));
    put("same.pem",
        "# A again\n" PEM("AAAA") PEM("CCCC") "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----");
    put("cut.pem", PEM("CCCC") PEM("DDDD") "-----BEGIN CERTIFICATE-----\nE");
    setenv("SSL_CERT_FILE", path_of("system.pem"), 1);
    const char *const extra[] = { path_of("system.pem"), path_of("same.pem"), path_of("cut.pem"), NULL };
    publish(PEM("AAAA"), extra);
    assert_string_equal(get("out/bundle.pem"), "# A\n" PEM("AAAA") "# B\n" PEM("BBBB") "# A\n# B\n# A again\n" PEM(
                                                   "CCCC") PEM("DDDD") "-----BEGIN CERTIFICATE-----\nE\n" PEM("AAAA"));
}

static void files_are_for_everyone_to_read_and_nobody_to_write(void **state)
{
    (void)state;
    struct stat st;
    mode_t before = umask(077);
    publish(PEM("OURS"), NULL);
    umask(before);
    assert_int_equal(stat(path_of("out"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(path_of("out/ca.pem"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    assert_int_equal(stat(path_of("out/bundle.pem"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
}

static void a_reader_of_the_old_file_keeps_it_whole(void **state)
{
    (void)state;
    char text[256];
    publish(PEM("OLD"), NULL);
    FILE *f = fopen(path_of("out/ca.pem"), "r");
    publish(PEM("NEWandlongerthantheother"), NULL);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, PEM("OLD"));
    assert_string_equal(get("out/ca.pem"), PEM("NEWandlongerthantheother"));
    assert_int_equal(entries("out"), 3); /* nothing is left beside them */
}

static void an_earlier_bundle_is_not_read_back_as_system_roots(void **state)
{
    (void)state;
    publish(PEM("FIRSTSTARTSS"), NULL);
    setenv("SSL_CERT_FILE", path_of("out/bundle.pem"), 1);
    publish(PEM("SECONDSTARTS"), NULL);
    assert_null(strstr(get("out/bundle.pem"), "FIRSTSTARTSS"));
    assert_non_null(strstr(get("out/bundle.pem"), "SECONDSTARTS"));
    assert_int_equal(symlink(path_of("out/bundle.pem"), path_of("link.pem")), 0);
    setenv("SSL_CERT_FILE", path_of("link.pem"), 1);
    publish(PEM("THIRDSTARTSS"), NULL);
    assert_null(strstr(get("out/bundle.pem"), "SECONDSTARTS"));
}

static void the_system_bundle_is_the_named_one_when_it_exists(void **state)
{
    (void)state;
    put("system.pem", PEM("SYSTEM"));
    setenv("SSL_CERT_FILE", path_of("system.pem"), 1);
    assert_string_equal(bundle_system_path(), getenv("SSL_CERT_FILE"));
    static const char *const useless[] = { "/absent/file.pem", "/tmp", "" };
    for (size_t i = 0; i < COUNT(useless); i++) {
        setenv("SSL_CERT_FILE", useless[i], 1);
        const char *found = bundle_system_path();
        assert_true(!found || (strcmp(found, useless[i]) != 0 && access(found, R_OK) == 0));
    }
    unsetenv("SSL_CERT_FILE");
    const char *found = bundle_system_path();
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) == 0)
        assert_string_equal(found, "/etc/ssl/certs/ca-certificates.crt");
}

static void a_failure_names_the_file_and_leaves_the_old_ones(void **state)
{
    (void)state;
    put("system.pem", PEM("SYSTEM"));
    setenv("SSL_CERT_FILE", path_of("system.pem"), 1);
    publish(PEM("OLD"), NULL);
    put("empty.pem", "");
    put("der.pem", "0\x82\x01");
    const struct {
        const char *extra, *cause;
    } rows[] = {
        { path_of("absent.pem"), "No such file" },
        { path_of("empty.pem"), "no PEM certificate" },
        { path_of("der.pem"), "no PEM certificate" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *const extra[] = { rows[i].extra, NULL };
        struct err e = { "" };
        assert_int_equal(bundle_publish(path_of("out"), SLICE(PEM("NEW")), extra, true, &e), -1);
        if (!strstr(e.text, rows[i].extra) || !strstr(e.text, rows[i].cause))
            fail_msg("%s", e.text);
        assert_string_equal(get("out/ca.pem"), PEM("OLD"));
        assert_int_equal(entries("out"), 3);
    }
}

static void a_directory_that_cannot_be_is_named(void **state)
{
    (void)state;
    static char endless[5000];
    memset(endless, 'x', sizeof endless - 1);
    put("file", "");
    const char *const bad[] = { path_of("absent/out"), path_of("file"), endless };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err e = { "" };
        assert_int_equal(bundle_publish(bad[i], SLICE(PEM("OURS")), NULL, true, &e), -1);
        assert_non_null(strstr(e.text, i == 2 ? "xxxx" : bad[i]));
    }
    mkdir(path_of("taken"), 0755);
    mkdir(path_of("taken/bundle.pem"), 0755);
    struct err e = { "" };
    assert_int_equal(bundle_publish(path_of("taken"), SLICE(PEM("OURS")), NULL, true, &e), -1);
    assert_non_null(strstr(e.text, "taken/bundle.pem"));
    assert_int_equal(entries("taken"), 2);
}

static void more_than_a_bundle_can_be_is_refused(void **state)
{
    (void)state;
    struct err e = { "" };
    const char *const extra[] = { "/dev/zero", NULL };
    assert_int_equal(bundle_publish(path_of("out"), SLICE(PEM("OURS")), extra, true, &e), -1);
    assert_non_null(strstr(e.text, "/dev/zero"));
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char line[128];
    snprintf(line, sizeof line, "rm -rf %s", dir);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bundle_is_system_roots_then_extra_roots_then_ours),
        cmocka_unit_test(a_certificate_that_is_there_is_not_added_again),
        cmocka_unit_test(files_are_for_everyone_to_read_and_nobody_to_write),
        cmocka_unit_test(a_reader_of_the_old_file_keeps_it_whole),
        cmocka_unit_test(an_earlier_bundle_is_not_read_back_as_system_roots),
        cmocka_unit_test(the_system_bundle_is_the_named_one_when_it_exists),
        cmocka_unit_test(a_failure_names_the_file_and_leaves_the_old_ones),
        cmocka_unit_test(a_directory_that_cannot_be_is_named),
        cmocka_unit_test(more_than_a_bundle_can_be_is_refused),
    };
    return cmocka_run_group_tests_name("bundle", tests, set_up, tear_down);
}
