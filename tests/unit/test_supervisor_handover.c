/* Unit tests of app/supervisor_handover: what another version of sidekey reads must not change unnoticed.  When one of
 * these numbers has to change, raise HANDOVER_LAYOUT, and then change it here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "app/supervisor_handover.h"

static void messages_between_versions_have_their_bytes(void **state)
{
    (void)state;
    const struct {
        struct msg m;
        const char *bytes; /* hex */
    } rows[] = {
        { { .type = MSG_DRAIN, .tag = MSG_DRAIN_LAST }, "0c11080000000100000000000000" },
        { { .type = MSG_DRAIN, .tag = MSG_DRAIN_SOON }, "0c11080000000200000000000000" },
        { { .type = MSG_PING }, "0f" },
        { { .type = MSG_READY }, "0b" },
        { { .type = MSG_ASK, .ask = MSG_ASK_METRICS, .tag = 7, .ok = true },
          "08100800000002000000000000001108000000070000000000000012080000000100000000000000" },
        { { .type = MSG_ASK, .ask = MSG_ASK_RELOAD, .tag = 7 },
          "081008000000050000000000000011080000000700000000000000" },
        { { .type = MSG_ASK, .ask = MSG_ASK_LIVE, .tag = 7 },
          "081008000000060000000000000011080000000700000000000000" },
        { { .type = MSG_ANSWER, .ask = MSG_ASK_LIVE, .tag = 7, .ok = true, .text = SLICE("x") },
          "090d0100000078100800000006000000000000001108000000070000000000000012080000000100000000000000" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf packet;
        char hex[256] = "";
        buf_init(&packet, sizeof hex / 2);
        assert_int_equal(msg_encode(&rows[i].m, &packet), 0);
        struct slice bytes = buf_slice(&packet);
        for (size_t at = 0; at < bytes.len; at++)
            snprintf(hex + 2 * at, 3, "%02x", (unsigned char)bytes.ptr[at]);
        assert_string_equal(hex, rows[i].bytes);
        buf_done(&packet);
    }
    assert_int_equal(HANDOVER_LAYOUT, 1);
}

static void records_of_counters_have_their_layout(void **state)
{
    (void)state;
    assert_int_equal(METRICS_AREA_BYTES, 8 * 1024 * 1024);
    assert_int_equal(offsetof(struct metrics_series, record_bytes), 8);
    assert_int_equal(offsetof(struct metrics_series, ended), 12);
    assert_int_equal(offsetof(struct metrics_series, family_bytes), 16);
    assert_int_equal(offsetof(struct metrics_series, name), 20);
}

static int text_fd(const char *text)
{
    int fd = memfd_create("text", 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static void a_text_of_another_layout_is_refused_with_its_version(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "{\"layout\":2,\"version\":\"9.9\"}", "cannot take over from version 9.9: restart sidekey" },
        { "{\"layout\":\"1\"}", "version (unknown)" },
        { "{}", "version (unknown)" },
        { "no JSON", "version (unknown)" },
        { "", "version (unknown)" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err e = { "" };
        int fd = text_fd(rows[i].text);
        assert_int_equal(supervisor_handover_check(fd, &e), -1);
        assert_non_null(strstr(e.text, rows[i].says));
        close(fd);
    }
}

static void on_overdue(void *child)
{
    (void)child;
}

static void make(struct supervisor *s)
{
    *s = (struct supervisor){ .worker_count = 1, .ca_memfd = -1, .counters.fd = -1, .on_overdue = on_overdue };
    list_init(&s->retired);
    listeners_init(&s->listeners, 1);
}

static void forget(struct supervisor *s)
{
    while (!list_empty(&s->retired))
        child_free(LIST_ENTRY(s->retired.next, struct child, node));
    child_free(s->keeper);
    child_free(s->workers[0]);
    supervisor_metrics_close(s);
}

/* The second one works on copies of the descriptors, as if it were the process after exec. */
static void what_is_written_is_read(void **state)
{
    (void)state;
    struct supervisor from, to;
    struct err e = { "" };
    char before[32];
    make(&from);
    make(&to);
    assert_int_equal(supervisor_metrics_open(&from), 0);
    *metrics_at(from.metrics, "sidekey_log_dropped_total") = 41;
    from.set = 3;
    from.keeper = child_new(&from, ROLE_KEEPER, 0);
    from.workers[0] = child_new(&from, ROLE_WORKER, 0);
    struct child *draining = child_new(&from, ROLE_WORKER, 0);
    draining->retired = true;
    draining->pid = from.keeper->pid = from.workers[0]->pid = 1;
    draining->overdue_ms = 1000;
    list_push(&from.retired, &draining->node);
    from.askers[from.asker_count].child = from.workers[0];
    from.askers[from.asker_count++].tag = 99;
    from.listeners.proxy[0] = memfd_create("proxy", MFD_CLOEXEC);
    snprintf(from.listeners.proxy_text, sizeof from.listeners.proxy_text, "127.0.0.1:8118");
    snprintf(from.listeners.local.path, sizeof from.listeners.local.path, "/run/sidekey/a.sock");
    snprintf(from.upgrade.program, sizeof from.upgrade.program, "/usr/bin/sidekey");
    supervisor_handover_keep_open(&from, true);
    assert_int_equal(fcntl(from.listeners.proxy[0], F_GETFD), 0);
    assert_int_equal(fcntl(from.workers[0]->counters.fd, F_GETFD), 0);
    int fd = supervisor_handover_write(&from);
    assert_true(fd >= 3);
    assert_int_equal(supervisor_handover_check(fd, &e), 0);
    assert_int_equal(supervisor_handover_read(fd, &to, before, &e), 0);
    assert_string_equal(before, SIDEKEY_VERSION);
    assert_string_equal(to.upgrade.program, "/usr/bin/sidekey");
    assert_int_equal(to.set, 4);
    assert_int_equal(to.listeners.proxy[0], from.listeners.proxy[0]);
    assert_int_equal(fcntl(to.listeners.proxy[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(to.listeners.admin, -1);
    assert_string_equal(to.listeners.proxy_text, "127.0.0.1:8118");
    assert_string_equal(to.listeners.local.path, "/run/sidekey/a.sock");
    assert_true(*metrics_at(to.metrics, "sidekey_log_dropped_total") == 41);
    struct child *first = LIST_ENTRY(to.retired.next, struct child, node);
    struct child *last = LIST_ENTRY(to.retired.prev, struct child, node);
    assert_false(first->held);
    assert_int_equal(first->overdue_ms, 1000);
    assert_true(last->held && last->retired && last->role == ROLE_WORKER && last->set == 3);
    assert_int_equal(to.asker_count, 1);
    assert_ptr_equal(to.askers[0].child, last);
    assert_true(supervisor_holds(&to) && !supervisor_holds(&from));
    forget(&from);
    forget(&to);
    close(from.listeners.proxy[0]);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_between_versions_have_their_bytes),
        cmocka_unit_test(records_of_counters_have_their_layout),
        cmocka_unit_test(a_text_of_another_layout_is_refused_with_its_version),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
