#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/loop.h"

static char trail[64]; /* what ran, in order */
static size_t trail_len;

static void mark(char c)
{
    assert_true(trail_len < sizeof trail - 1);
    trail[trail_len++] = c;
    trail[trail_len] = 0;
}

static int clear_trail(void **state)
{
    (void)state;
    trail_len = 0;
    trail[0] = 0;
    return 0;
}

static struct later first, second, third;

static void run_a(struct later *l)
{
    (void)l;
    mark('a');
}
static void run_b(struct later *l)
{
    (void)l;
    mark('b');
}
static void run_ask_second(struct later *l)
{
    (void)l;
    mark('x');
    loop_later_ask(&second);
}
static void run_cancel_second(struct later *l)
{
    (void)l;
    mark('c');
    loop_later_cancel(&second);
}
static void run_again(struct later *l)
{
    mark('r');
    if (trail_len < 20)
        loop_later_ask(l);
}

static void on_pipe(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)revents;
    mark('i');
    ev_io_stop(loop, w);
}
static void on_pipe_asks(struct ev_loop *loop, ev_io *w, int revents)
{
    loop_later_ask(&first);
    on_pipe(loop, w, revents);
}

static int readable_fd(void)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    close(fds[1]); /* end of file: readable for ever */
    return fds[0];
}

static void never_runs_inside_the_call_that_asked(void **state)
{
    (void)state;
    loop_later_init(&first, run_a);
    loop_later_ask(&first);
    assert_string_equal(trail, "");
    ev_run(loop_get(), EVRUN_NOWAIT);
    assert_string_equal(trail, "a");
}

static void asking_twice_runs_once_and_in_the_order_asked(void **state)
{
    (void)state;
    loop_later_init(&first, run_a);
    loop_later_init(&second, run_b);
    loop_later_ask(&second);
    loop_later_ask(&first);
    loop_later_ask(&second);
    ev_run(loop_get(), EVRUN_NOWAIT);
    ev_run(loop_get(), EVRUN_NOWAIT);
    assert_string_equal(trail, "ba");
}

static void cancelled_work_does_not_run(void **state)
{
    (void)state;
    loop_later_init(&first, run_a);
    loop_later_cancel(&first);
    loop_later_ask(&first);
    loop_later_cancel(&first);
    ev_run(loop_get(), EVRUN_NOWAIT);
    assert_string_equal(trail, "");
    loop_later_ask(&first);
    ev_run(loop_get(), EVRUN_NOWAIT);
    assert_string_equal(trail, "a");
}

static void work_may_cancel_other_work_of_its_own_batch(void **state)
{
    (void)state;
    loop_later_init(&first, run_cancel_second);
    loop_later_init(&second, run_b);
    loop_later_init(&third, run_a);
    loop_later_ask(&first);
    loop_later_ask(&second);
    loop_later_ask(&third);
    ev_run(loop_get(), EVRUN_NOWAIT);
    assert_string_equal(trail, "ca");
}

static void work_asked_by_work_runs_without_a_sleep(void **state)
{
    (void)state;
    loop_later_init(&first, run_ask_second);
    loop_later_init(&second, run_b);
    loop_later_ask(&first);
    ev_run(loop_get(), 0); /* would return after "x" if nothing kept the loop, and hang if it slept */
    assert_string_equal(trail, "xb");
}

static void runs_after_every_event_of_its_turn_and_before_the_sleep(void **state)
{
    (void)state;
    struct ev_loop *loop = loop_get();
    int one = readable_fd(), two = readable_fd();
    ev_io asks, other;
    ev_io_init(&asks, on_pipe_asks, one, EV_READ);
    ev_io_init(&other, on_pipe, two, EV_READ);
    loop_later_init(&first, run_a);
    ev_io_start(loop, &asks);
    ev_io_start(loop, &other);
    ev_run(loop, EVRUN_ONCE);
    assert_string_equal(trail, "iia");
    close(one);
    close(two);
}

static void work_that_asks_for_itself_for_ever_lets_descriptors_run(void **state)
{
    (void)state;
    struct ev_loop *loop = loop_get();
    int fd = readable_fd();
    ev_io w;
    ev_io_init(&w, on_pipe, fd, EV_READ);
    loop_later_init(&first, run_again);
    loop_later_ask(&first);
    ev_io_start(loop, &w);
    ev_run(loop, 0);
    char *io = strchr(trail, 'i');
    assert_non_null(io);
    assert_true(io - trail <= 2);
    assert_int_equal(trail_len, 20);
    close(fd);
}

static void sigpipe_is_ignored(void **state)
{
    (void)state;
    loop_get();
    struct sigaction now;
    assert_int_equal(sigaction(SIGPIPE, NULL, &now), 0);
    assert_ptr_equal(now.sa_handler, SIG_IGN);
}

static void the_loop_works_on_in_a_forked_child(void **state)
{
    (void)state;
    loop_get();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        loop_forked();
        int fd = readable_fd();
        ev_io w;
        ev_io_init(&w, on_pipe, fd, EV_READ);
        ev_io_start(loop_get(), &w);
        ev_run(loop_get(), 0);
        _exit(strcmp(trail, "i") == 0 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(never_runs_inside_the_call_that_asked, clear_trail),
        cmocka_unit_test_setup(asking_twice_runs_once_and_in_the_order_asked, clear_trail),
        cmocka_unit_test_setup(cancelled_work_does_not_run, clear_trail),
        cmocka_unit_test_setup(work_may_cancel_other_work_of_its_own_batch, clear_trail),
        cmocka_unit_test_setup(work_asked_by_work_runs_without_a_sleep, clear_trail),
        cmocka_unit_test_setup(runs_after_every_event_of_its_turn_and_before_the_sleep, clear_trail),
        cmocka_unit_test_setup(work_that_asks_for_itself_for_ever_lets_descriptors_run, clear_trail),
        cmocka_unit_test_setup(sigpipe_is_ignored, clear_trail),
        cmocka_unit_test_setup(the_loop_works_on_in_a_forked_child, clear_trail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
