#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "net/listen_unix.h"

static char folder[64], path[96];

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sidekey-test-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/s", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a test left something there */
}

static struct listen_unix open_at(const struct listen_place *at)
{
    struct listen_unix u = { .fd = -1 };
    struct err e = { "" };
    if (listen_unix_open(at, &u, &e) != 0)
        fail_msg("%s", e.text);
    return u;
}

static void refused(const struct listen_place *at, const char *why)
{
    struct listen_unix u = { .fd = -7 };
    struct err e = { "" };
    assert_int_equal(listen_unix_open(at, &u, &e), -1);
    assert_int_equal(u.fd, -7);
    if (!strstr(e.text, why) || !strstr(e.text, at->path))
        fail_msg("%s: not \"%s\"", e.text, why);
}

static int knock(void)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    close(fd);
    return -errno;
}

static unsigned mode_now(void)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void it_listens_and_its_name_goes_with_it(void **state)
{
    (void)state;
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix u = open_at(&at);
    assert_true(fcntl(u.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(u.fd, F_GETFL) & O_NONBLOCK);
    int fd = knock();
    assert_true(fd >= 0);
    close(fd);
    listen_unix_remove(&u);
    assert_int_equal(u.fd, -1);
    assert_int_not_equal(access(path, F_OK), 0);
    listen_unix_remove(&u);
}

/* strace would see it too: the mode that bind(2) gives is all there ever is, whatever umask the operator has. */
static void the_mode_is_the_one_that_was_asked_for(void **state)
{
    static const mode_t modes[] = { 0600, 0660, 0666, 0700, 0000 };
    (void)state;
    mode_t before = umask(0027);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct listen_unix u = open_at(&(struct listen_place){ .path = path, .mode = modes[i] });
        assert_int_equal(mode_now(), modes[i]);
        assert_int_equal(umask(0027), 0027);
        listen_unix_remove(&u);
    }
    umask(before);
}

static void a_group_is_given_and_taken_back(void **state)
{
    (void)state;
    struct stat st;
    struct err e;
    gid_t group = geteuid() == 0 ? 4321 : getegid();
    struct listen_place at = { .path = path, .mode = 0660, .has_group = true, .group = group };
    struct listen_unix u = open_at(&at);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_gid, group);
    assert_int_equal(mode_now(), 0660);
    assert_int_equal(listen_unix_permit(&u, &(struct listen_place){ .path = path, .mode = 0600 }, &e), 0);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(mode_now(), 0600);
    listen_unix_remove(&u);
}

static void a_group_that_may_not_be_given_leaves_nothing_behind(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip();
    refused(&(struct listen_place){ .path = path, .mode = 0660, .has_group = true, .group = 0 },
            "only root, or a member of the group, can set it");
    assert_int_not_equal(access(path, F_OK), 0);
}

static void what_a_dead_process_left_is_replaced(void **state)
{
    (void)state;
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix dead = open_at(&at);
    close(dead.fd);
    assert_int_equal(knock(), -ECONNREFUSED);
    struct listen_unix u = open_at(&at);
    int fd = knock();
    assert_true(fd >= 0);
    close(fd);
    listen_unix_remove(&u);
}

static void a_name_that_is_anothers_by_now_stays(void **state)
{
    (void)state;
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix first = open_at(&at);
    struct err e;
    assert_int_equal(unlink(path), 0);
    struct listen_unix second = open_at(&at);
    assert_int_equal(listen_unix_permit(&first, &(struct listen_place){ .path = path, .mode = 0666 }, &e), -1);
    assert_non_null(strstr(e.text, "another program replaced the socket"));
    listen_unix_remove(&first);
    assert_int_equal(mode_now(), 0600);
    listen_unix_remove(&second);
}

static void what_lives_is_in_use_and_stays(void **state)
{
    (void)state;
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix u = open_at(&at);
    refused(&at, "address already in use");
    refused(&at, "ss -xlp");
    int fd = knock();
    assert_true(fd >= 0);
    close(fd);
    listen_unix_remove(&u);
}

static void a_full_queue_is_life_too(void **state)
{
    (void)state;
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix u = open_at(&at);
    assert_int_equal(listen(u.fd, 0), 0);
    int fd = knock();
    refused(&at, "address already in use");
    close(fd);
    listen_unix_remove(&u);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    struct listen_place at = { .path = path, .mode = 0600 };
    char inside[128];
    (void)state;
    close(open(path, O_CREAT | O_WRONLY, 0600));
    refused(&at, "a file that is not a socket has this path");
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    mkdir(path, 0700);
    refused(&at, "a file that is not a socket has this path");
    rmdir(path);
    snprintf(inside, sizeof inside, "%s/elsewhere", folder);
    assert_int_equal(symlink(inside, path), 0); /* leads nowhere */
    refused(&at, "a file that is not a socket has this path");
    assert_int_not_equal(access(inside, F_OK), 0);
    unlink(path);
}

static void a_socket_of_another_kind_is_left_alone(void **state)
{
    (void)state;
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof name), 0);
    refused(&(struct listen_place){ .path = path, .mode = 0600 }, "cannot tell whether the existing socket is in use");
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
}

static void what_is_in_the_way_is_named(void **state)
{
    char text[160], name[121];
    (void)state;
    snprintf(text, sizeof text, "the directory %s/none does not exist: create it", folder);
    snprintf(path, sizeof path, "%s/none/s", folder);
    refused(&(struct listen_place){ .path = path, .mode = 0600 }, text);
    refused(&(struct listen_place){ .path = "/proc/s", .mode = 0600 }, "cannot listen on /proc/s");
    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[120] = '\0';
    struct listen_unix u;
    struct err e;
    assert_int_equal(listen_unix_open(&(struct listen_place){ .path = name }, &u, &e), -1);
    assert_non_null(strstr(e.text, "at most 107 bytes"));
}

/* A second process in the same directory waits until the first is done with looking and binding. */
static void two_that_start_at_once_do_not_take_each_others_name(void **state)
{
    struct listen_place at = { .path = path, .mode = 0600 };
    struct listen_unix dead = open_at(&at);
    (void)state;
    close(dead.fd);
    int lock = open(folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    int ready[2], status;
    assert_int_equal(pipe(ready), 0);
    pid_t other = fork();
    if (other == 0) {
        struct listen_unix u;
        struct err e;
        char byte = listen_unix_open(&at, &u, &e) == 0 ? 'y' : 'n';
        _exit(write(ready[1], &byte, 1) == 1 && byte == 'n' ? 0 : 1);
    }
    /* it must not have come to removing the dead name; were it not to wait, what follows would be in use */
    usleep(50000);
    assert_int_equal(unlink(path), 0);
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(fd, 8), 0);
    close(lock);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0); /* "in use" */
    close(fd);
    close(ready[0]);
    close(ready[1]);
}

static void who_waits_when_nobody_will_accept_is_hung_up_on(void **state)
{
    (void)state;
    char byte;
    struct listen_unix u = open_at(&(struct listen_place){ .path = path, .mode = 0600 });
    int waiting = knock();
    listen_unix_refuse(u.fd);
    assert_int_equal(recv(waiting, &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(knock(), -ECONNREFUSED);
    close(waiting);
    listen_unix_remove(&u);
}

static void a_group_that_cannot_be_given_does_not_wait_for_itself(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    int status;
    pid_t other = fork(); /* gives up being root */
    if (other == 0) {
        struct listen_unix u;
        struct err e;
        if (chmod(folder, 0777) != 0 || setuid(54001) != 0)
            _exit(2);
        int failed = listen_unix_open(
            &(struct listen_place){ .path = path, .mode = 0660, .has_group = true, .group = 54009 }, &u, &e);
        bool said = failed && strstr(e.text, "only root, or a member of the group, can set it");
        _exit(said && access(path, F_OK) != 0 ? 0 : 1); /* who had waited for itself would say that it is in use */
    }
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
}

static void the_kernel_names_the_peer(void **state)
{
    (void)state;
    struct listen_unix u = open_at(&(struct listen_place){ .path = path, .mode = 0666 });
    uid_t uid = 77;
    pid_t pid = 77;
    int fd = knock(), peer = accept(u.fd, NULL, NULL);
    assert_int_equal(listen_unix_peer(peer, &uid, &pid), 0);
    assert_int_equal(uid, geteuid());
    assert_int_equal(pid, getpid());
    close(fd);
    close(peer);
    assert_int_equal(listen_unix_peer(u.fd + 100, &uid, &pid), -EBADF);
    listen_unix_remove(&u);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_listens_and_its_name_goes_with_it),
        TEST(the_mode_is_the_one_that_was_asked_for),
        TEST(a_group_is_given_and_taken_back),
        TEST(a_group_that_may_not_be_given_leaves_nothing_behind),
        TEST(what_a_dead_process_left_is_replaced),
        TEST(a_name_that_is_anothers_by_now_stays),
        TEST(what_lives_is_in_use_and_stays),
        TEST(a_full_queue_is_life_too),
        TEST(what_is_no_socket_is_left_alone),
        TEST(a_socket_of_another_kind_is_left_alone),
        TEST(what_is_in_the_way_is_named),
        TEST(two_that_start_at_once_do_not_take_each_others_name),
        TEST(who_waits_when_nobody_will_accept_is_hung_up_on),
        TEST(a_group_that_cannot_be_given_does_not_wait_for_itself),
        TEST(the_kernel_names_the_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
