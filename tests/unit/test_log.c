/* links: tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static int fd;
static char text[1 << 17];

static int up(void **state)
{
    (void)state;
    fd = memfd_create("log", MFD_CLOEXEC);
    log_setup("proc", LOG_INFO, LOG_JSON, fd);
    return fd < 0;
}

static int down(void **state)
{
    (void)state;
    log_buffer(false);
    log_setup("proc", LOG_INFO, LOG_JSON, STDERR_FILENO);
    close(fd);
    return 0;
}

static const char *written(void)
{
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

static json_t *only_line(void)
{
    const char *line = written();
    size_t len = strlen(line);
    assert_true(len > 0 && len <= 4096 && line[len - 1] == '\n' && strchr(line, '\n') == line + len - 1);
    json_t *json = json_loadb(line, len, 0, NULL);
    assert_non_null(json);
    return json;
}

static void an_event_is_one_json_line(void **state)
{
    (void)state;
    log_info(log_msg("hello"), log_str("text", "a \"b\" \\ \n \x7f \xff"), log_int("number", -7),
             log_slice("part", SLICE("x")), log_str("none", NULL));
    json_t *json = only_line();
    assert_string_equal(json_string_value(json_object_get(json, "msg")), "hello");
    assert_string_equal(json_string_value(json_object_get(json, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(json, "proc")), "proc");
    assert_string_equal(json_string_value(json_object_get(json, "ts")), "2023-11-14T22:13:20.000Z");
    assert_int_equal(json_integer_value(json_object_get(json, "number")), -7);
    assert_string_equal(json_string_value(json_object_get(json, "part")), "x");
    assert_string_equal(json_string_value(json_object_get(json, "none")), "");
    json_decref(json);
}

static void logfmt_quotes_only_what_needs_it(void **state)
{
    (void)state;
    log_setup("proc", LOG_INFO, LOG_LOGFMT, fd);
    log_warn(log_msg("two words"), log_str("plain", "a/b"), log_str("odd", "a=b"), log_str("empty", ""),
             log_int("n", 1));
    assert_non_null(
        strstr(written(), " level=warn proc=proc msg=\"two words\" plain=a/b odd=\"a=b\" empty=\"\" n=1\n"));
}

static void below_the_level_nothing_is_written(void **state)
{
    (void)state;
    log_debug(log_msg("hidden"));
    assert_string_equal(written(), "");
    assert_false(log_enabled(LOG_DEBUG));
}

/* Whatever is cut, the line stays one valid JSON object below PIPE_BUF. */
static void a_line_that_is_too_long_is_cut_where_it_stays_json(void **state)
{
    static const char *const fillers[] = { "x", "\"", "\x01", "\xff", "ab\\" };
    (void)state;
    for (size_t f = 0; f < sizeof fillers / sizeof *fillers; f++)
        for (size_t len = 3900; len < 4200; len++) {
            static char value[8192];
            value[0] = '\0';
            size_t unit = strlen(fillers[f]);
            for (size_t i = 0; i + unit <= len / (f == 1 ? 2 : f > 1 && f < 4 ? 6 : 1); i += unit)
                memcpy(value + i, fillers[f], unit + 1);
            assert_int_equal(ftruncate(fd, 0), 0);
            assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
            log_error(log_msg("m"), log_str("a", value), log_str("b", value), log_int("n", 1234567), log_str("c", "x"),
                      log_str("d", "x"));
            json_decref(only_line());
        }
}

static void lines_wait_for_the_end_of_the_turn_and_a_warning_does_not(void **state)
{
    (void)state;
    log_buffer(true);
    log_info(log_msg("one"));
    assert_string_equal(written(), "");
    log_flush();
    assert_non_null(strstr(written(), "one"));
    log_info(log_msg("two"));
    log_warn(log_msg("three"));
    const char *two = strstr(written(), "two"), *three = strstr(text, "three");
    assert_true(two && three && two < three);
}

static void more_than_the_buffer_is_written_in_order_and_nothing_is_lost(void **state)
{
    (void)state;
    log_buffer(true);
    for (int i = 0; i < 600; i++)
        log_info(log_msg("line"), log_int("n", i));
    log_flush();
    const char *at = written();
    for (int i = 0; i < 600; i++) {
        char part[32];
        snprintf(part, sizeof part, "\"n\":%d}\n", i);
        assert_non_null(at = strstr(at, part));
    }
}

static void levels_have_names(void **state)
{
    enum log_level level;
    (void)state;
    assert_true(log_level_parse(SLICE("warn"), &level) == 0 && level == LOG_WARN);
    assert_int_not_equal(log_level_parse(SLICE("WARN"), &level), 0);
    assert_int_not_equal(log_level_parse(SLICE(""), &level), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_event_is_one_json_line),
        T(logfmt_quotes_only_what_needs_it),
        T(below_the_level_nothing_is_written),
        T(a_line_that_is_too_long_is_cut_where_it_stays_json),
        T(lines_wait_for_the_end_of_the_turn_and_a_warning_does_not),
        T(more_than_the_buffer_is_written_in_order_and_nothing_is_lost),
        T(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
