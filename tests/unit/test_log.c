/* links: tests/fakes/fake_clock.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fakes/fake_clock.h"

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
            fake_mono_ms += 1000;
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

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

static ssize_t read_some(int from, char *to, size_t size)
{
    struct pollfd ready = { .fd = from, .events = POLLIN };
    return poll(&ready, 1, 0) == 1 ? read(from, to, size) : 0;
}

/* What a pipe or a socket holds now; more than text has room for is read and forgotten. */
static const char *drained(int from)
{
    size_t len = 0;
    for (ssize_t n; (n = read_some(from, text + len, sizeof text - 1 - len)) > 0; len += (size_t)n)
        if (len > sizeof text / 2)
            len = 0;
    text[len] = '\0';
    return text;
}

static void a_reader_that_stands_still_stops_nobody_and_the_log_says_what_is_missing(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        int ends[2]; /* reading, writing */
        uint64_t before = log_dropped();
        assert_int_equal(kind ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) : pipe2(ends, O_CLOEXEC), 0);
        log_setup("proc", LOG_INFO, LOG_JSON, ends[1]);
        for (int i = 0; i < 20000; i++)
            log_info(log_msg("a line among many"), log_int("i", i));
        uint64_t missing = log_dropped() - before;
        assert_true(missing > 0 && missing < 20000);
        assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
        drained(ends[0]);
        log_info(log_msg("and on"));
        log_flush();
        drained(ends[0]);
        log_info(log_msg("and on"));
        const char *rest = drained(ends[0]);
        assert_int_equal(rest[0], '{');
        assert_non_null(strstr(rest, "log lines were dropped"));
        assert_non_null(strstr(rest, "\"msg\":\"and on\""));
        char number[64];
        snprintf(number, sizeof number, "\"dropped\":%llu}", (unsigned long long)(log_dropped() - before));
        assert_non_null(strstr(rest, number));
        log_info(log_msg("once more"));
        assert_null(strstr(drained(ends[0]), "were dropped"));
        log_setup("proc", LOG_INFO, LOG_JSON, fd);
        close(ends[0]);
        close(ends[1]);
    }
}

static void a_log_that_cannot_be_written_is_counted(void **state)
{
    (void)state;
    uint64_t before = log_dropped();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    log_setup("proc", LOG_INFO, LOG_JSON, full);
    log_info(log_msg("nowhere"));
    assert_int_equal(log_dropped() - before, 1);
    log_setup("proc", LOG_INFO, LOG_JSON, fd);
    close(full);
}

/* The bytes that the log's file may have: behind them the disk is full. */
static void room(rlim_t bytes)
{
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, RLIM_INFINITY }), 0);
}

static void a_full_disk_tears_no_line_and_the_count_is_that_of_the_lines(void **state)
{
    (void)state;
    uint64_t before = log_dropped();
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t space = 100; space < 500; space += 7) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        log_setup("proc", LOG_INFO, LOG_JSON, fd);
        before = log_dropped();
        room(space);
        for (int i = 0; i < 20; i++)
            log_info(log_msg("a line among many"), log_int("i", i));
        uint64_t missing = log_dropped() - before;
        room(RLIM_INFINITY);
        log_info(log_msg("there is room"));
        missing += log_dropped() - before - missing;
        log_info(log_msg("and on"));
        size_t lines = 0;
        char number[64];
        snprintf(number, sizeof number, "\"dropped\":%llu}", (unsigned long long)missing);
        const char *all = written(), *at = all;
        assert_non_null(strstr(all, number));
        for (const char *end; (end = strchr(at, '\n')); at = end + 1, lines++) {
            json_t *json = json_loadb(at, (size_t)(end - at), 0, NULL);
            assert_non_null(json);
            json_decref(json);
        }
        assert_int_equal(*at, '\0');
        assert_int_equal(lines + missing, 20 + 2 + 1); /* all events, and the line that tells of the gap */
    }
    signal(SIGXFSZ, SIG_DFL);
}

static size_t count_of(const char *part)
{
    size_t count = 0;
    for (const char *at = written(); (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

static void a_warning_that_repeats_is_one_line_a_second_and_a_count(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        log_warn(log_msg("request"), log_str("host", "a.test"), log_int("dur_ms", i), log_str("reason", "down"));
        log_warn(log_msg("request"), log_str("host", "b.test"), log_int("dur_ms", i), log_str("reason", "down"));
        log_info(log_msg("served"));
    }
    assert_int_equal(count_of("a.test"), 1);
    assert_int_equal(count_of("b.test"), 1);
    assert_int_equal(count_of("served"), 1000);
    fake_mono_ms += 1000;
    log_flush();
    assert_int_equal(count_of("a.test"), 2);
    assert_int_equal(count_of("\"msg\":\"request\",\"host\":\"a.test\",\"reason\":\"down\",\"repeated\":999}\n"), 1);
    log_flush();
    assert_int_equal(count_of("a.test"), 2);
    log_warn(log_msg("request"), log_str("host", "a.test"), log_str("reason", "down"));
    assert_int_equal(count_of("a.test"), 3);
    log_warn(log_msg("request"), log_str("host", "a.test"), log_str("reason", "down"));
    log_close();
    assert_int_equal(count_of("\"repeated\":1}"), 1);
}

static void more_repeats_than_places_are_counted_all_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++)
        for (int n = 0; n < 2; n++)
            log_error(log_msg("m"), log_int("status", i), log_str("detail", n ? "x" : "y"));
    log_close();
    assert_int_equal(count_of("\"repeated\":1}"), 200);
    assert_int_equal(count_of("\"msg\":\"m\""), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_event_is_one_json_line),
        T(logfmt_quotes_only_what_needs_it),
        T(below_the_level_nothing_is_written),
        T(a_line_that_is_too_long_is_cut_where_it_stays_json),
        T(lines_wait_for_the_end_of_the_turn_and_a_warning_does_not),
        T(more_than_the_buffer_is_written_in_order_and_nothing_is_lost),
        T(a_reader_that_stands_still_stops_nobody_and_the_log_says_what_is_missing),
        T(a_log_that_cannot_be_written_is_counted),
        T(a_full_disk_tears_no_line_and_the_count_is_that_of_the_lines),
        T(a_warning_that_repeats_is_one_line_a_second_and_a_count),
        T(more_repeats_than_places_are_counted_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
