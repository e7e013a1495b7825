/* links: tests/fakes/fake_clock.c */
/* What is particular to the file store: the directory, its files when they are damaged, its lock when a process dies in
 * the middle.  Time stands still here unless a test moves it, so what becomes free does so for another reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rand.h"
#include "net/loop.h"
#include "refresh/store/lease_file.h"
#include "refresh/store/store_file.h"
#include "tests/fakes/fake_clock.h"
#include "tests/fakes/loop_turn.h"
#include "tests/fakes/files.h"

#define TURNS_MAX 4000 /* of at most 5 ms: far more than anything here takes */
#define TTL_MS 60000

static char top[64], dir[96];
static struct seal_ring *ring;
static struct store *a, *b;
static struct store_owner alice = { "alice" }, bob = { "bob" };

/* ---- files ---- */

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *at = path[next++ % 4];
    snprintf(at, sizeof path[0], "%s/%s", dir, name);
    return at;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

/* ---- asking and waiting ---- */

struct got {
    unsigned count;
    enum store_result result;
    uint64_t generation, stored;
    int64_t ttl_ms, throttled_ms;
    char error[512];
};

static void on_answer(void *arg, const struct store_answer *answer)
{
    struct got *got = arg;
    *got = (struct got){ got->count + 1,
                         answer->result,
                         answer->generation,
                         answer->state ? answer->state->generation : 0,
                         answer->ttl_ms,
                         answer->throttled_ms,
                         "" };
    if (answer->error)
        snprintf(got->error, sizeof got->error, "%s", answer->error);
}

/* As loop_turn(), and the fake clock moves: a timer that is set comes due. */
static void turn_of_ms(int64_t ms)
{
    fake_mono_ms += ms;
    loop_turn();
}

static struct got wait_for(struct got *got)
{
    for (int i = 0; got->count == 0 && i < TURNS_MAX; i++)
        loop_turn();
    return *got;
}

static struct got begin(struct store *s, const char *cred, const struct store_owner *owner)
{
    struct got got = { 0 };
    store_begin(s, cred, owner, TTL_MS, UINT64_MAX, on_answer, &got);
    return wait_for(&got);
}

static struct got renew(struct store *s, const char *cred, const struct store_owner *owner)
{
    struct got got = { 0 };
    store_renew(s, cred, owner, TTL_MS, on_answer, &got);
    return wait_for(&got);
}

static struct got release(struct store *s, const char *cred, const struct store_owner *owner)
{
    struct got got = { 0 };
    store_release(s, cred, owner, on_answer, &got);
    return wait_for(&got);
}

static struct got load(struct store *s, const char *cred)
{
    struct got got = { 0 };
    store_load(s, cred, on_answer, &got);
    return wait_for(&got);
}

static struct got commit(struct store *s, const char *cred, uint64_t parent)
{
    struct got got = { 0 };
    struct state state;
    state_init(&state);
    assert_int_equal(secret_set(&state.refresh_token, SLICE("very-secret-refresh-token")), 0);
    store_commit(s, cred, &alice, parent, &state, on_answer, &got);
    state_done(&state);
    return wait_for(&got);
}

static struct got throttle(struct store *s, const char *cred, int64_t pause_ms)
{
    struct got got = { 0 };
    store_throttle(s, cred, pause_ms, on_answer, &got);
    return wait_for(&got);
}

static void assert_result(struct got got, enum store_result want)
{
    if (got.count != 1 || got.result != want)
        fail_msg("%u answers, %d instead of %d: %s", got.count, (int)got.result, (int)want, got.error);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static struct store *open_store(void)
{
    struct err e = { "" };
    struct store *s = store_file_new(dir, ring, &e);
    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static int setup(void **state)
{
    (void)state;
    fake_mono_ms = 1000000;
    fake_wall_ms = (int64_t)time(NULL) * 1000;
    snprintf(top, sizeof top, "/tmp/test_store_file.XXXXXX");
    assert_non_null(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/state", top);
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), NULL);
    assert_non_null(ring);
    a = open_store();
    b = open_store();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_free(a);
    store_free(b);
    seal_ring_free(ring);
    (void)chmod(dir, 0700);
    return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- the directory ---- */

static void assert_refused(const char *path, const char *what, const char *way_out)
{
    struct err e = { "" };
    assert_null(store_file_new(path, ring, &e));
    assert_has(e.text, path);
    assert_has(e.text, what);
    assert_has(e.text, way_out);
}

static void the_directory_is_made_for_this_user_alone(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_result(commit(a, "cred", 0), STORE_OK);
    assert_result(begin(a, "cred", &alice), STORE_WON);
    assert_int_equal(stat(in_dir("cred.state"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(in_dir("cred.lock"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_directory_that_others_may_use_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = { 0770, 0702, 0777, 02770, 01777, 0755, 0750, 0701, 0740 };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char mode[8];
        snprintf(mode, sizeof mode, "%04o", (unsigned)modes[i]);
        assert_int_equal(chmod(dir, modes[i]), 0);
        assert_refused(dir, mode, "chmod 0700");
    }
    assert_int_equal(chmod(dir, 0700), 0);
    store_free(open_store());
}

static void a_directory_of_another_user_is_refused(void **state)
{
    (void)state;
    assert_refused("/", "belongs to user id 0", "chown");
}

static void a_directory_that_cannot_be_made_says_why(void **state)
{
    (void)state;
    char path[160];
    snprintf(path, sizeof path, "%s/missing/state", top);
    assert_refused(path, "the directory above it is missing", "mkdir -p");
    snprintf(path, sizeof path, "%s/file", top);
    write_file(path, "", 0);
    assert_refused(path, "Not a directory", "");
}

static void what_a_dead_writer_left_is_removed_and_nothing_else(void **state)
{
    (void)state;
    static const char *const theirs[] = { "thesis.tmp",
                                          "cred.state.0123.tmp",
                                          "notes",
                                          "0123456789abcdef.tmp",
                                          "cred.state.0123456789ABCDEF.tmp",
                                          "cred.state.0123456789abcdef.tmp.tmp" };
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        write_file(in_dir(theirs[i]), "mine", 4);
    write_file(in_dir("cred.state.0123456789abcdef.tmp"), "half", 4);
    assert_int_equal(chmod(in_dir("cred.state.0123456789abcdef.tmp"), 0600), 0);
    write_file(in_dir("cred.state.1123456789abcdef.tmp"), "open to others", 14);
    assert_int_equal(chmod(in_dir("cred.state.1123456789abcdef.tmp"), 0644), 0);
    assert_int_equal(link(in_dir("thesis.tmp"), strdupa(in_dir("cred.state.2123456789abcdef.tmp"))), 0);
    size_t all = count_files(dir, "");
    store_free(open_store());
    assert_int_equal(count_files(dir, ""), all); /* may still be at work */
    fake_wall_ms += 3600 * 1000;
    store_free(open_store());
    assert_int_equal(count_files(dir, ""), all - 1);
    assert_int_not_equal(access(in_dir("cred.state.0123456789abcdef.tmp"), F_OK), 0);
}

static void no_file_shows_a_token(void **state)
{
    (void)state;
    static char bytes[65536];
    assert_result(commit(a, "cred", 0), STORE_OK);
    size_t len = read_file(in_dir("cred.state"), bytes, sizeof bytes);
    assert_true(len > 100);
    assert_null(memmem(bytes, len, "secret", 6));
    assert_null(memmem(bytes, len, "token", 5));
}

static void what_is_no_name_is_an_error(void **state)
{
    (void)state;
    static const char *const names[] = { "",
                                         "a/b",
                                         "../cred",
                                         "UPPER",
                                         "a b",
                                         "caf\xc3\xa9",
                                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_result(begin(a, names[i], &alice), STORE_ERROR);
        assert_result(load(a, names[i]), STORE_ERROR);
        assert_result(commit(a, names[i], 0), STORE_ERROR);
    }
    assert_int_equal(count_files(dir, ""), 0);
}

/* ---- damaged files: an error, never "nothing stored" ---- */

static void assert_unreadable(const char *what)
{
    struct got got = load(a, "cred");
    assert_result(got, STORE_ERROR);
    assert_has(got.error, in_dir("cred.state"));
    assert_has(got.error, what);
    assert_false(a->engine->up(a));
    assert_result(begin(a, "cred", &alice), STORE_ERROR);
    assert_result(load(a, "other"), STORE_OK);
    assert_true(a->engine->up(a));
}

static void a_file_that_was_cut_anywhere_is_an_error(void **state)
{
    (void)state;
    static char good[65536];
    assert_result(commit(a, "cred", 0), STORE_OK);
    size_t len = read_file(in_dir("cred.state"), good, sizeof good);
    for (size_t cut = 0; cut < len; cut++) {
        write_file(in_dir("cred.state"), good, cut);
        assert_unreadable("damaged");
    }
    write_file(in_dir("cred.state"), good, len);
    assert_int_equal(load(a, "cred").stored, 1);
}

static void a_file_that_was_changed_anywhere_is_an_error(void **state)
{
    (void)state;
    static char good[65536];
    assert_result(commit(a, "cred", 0), STORE_OK);
    size_t len = read_file(in_dir("cred.state"), good, sizeof good);
    for (size_t at = 0; at < len; at++) {
        good[at] ^= 1;
        write_file(in_dir("cred.state"), good, len);
        assert_unreadable("");
        good[at] ^= 1;
    }
}

static void something_else_in_the_place_of_a_file_is_an_error(void **state)
{
    (void)state;
    assert_result(commit(a, "other", 0), STORE_OK);
    assert_int_equal(link(in_dir("other.state"), in_dir("cred.state")), 0); /* the file of another credential */
    assert_unreadable("another credential");
    assert_int_equal(unlink(in_dir("cred.state")), 0);
    assert_int_equal(symlink("other.state", in_dir("cred.state")), 0);
    assert_unreadable("not a regular file");
    assert_int_equal(unlink(in_dir("cred.state")), 0);
    assert_int_equal(mkfifo(in_dir("cred.state"), 0600), 0);
    assert_unreadable("not a regular file");
    assert_int_equal(unlink(in_dir("cred.state")), 0);
    assert_int_equal(mkdir(in_dir("cred.state"), 0700), 0);
    assert_unreadable("not a regular file");
    assert_int_equal(rmdir(in_dir("cred.state")), 0);
    write_file(in_dir("cred.state"), "x", 1);
    assert_int_equal(truncate(in_dir("cred.state"), INT64_C(1) << 30), 0);
    assert_unreadable("too long");
}

static void a_file_of_another_key_says_so_and_stays(void **state)
{
    (void)state;
    assert_result(commit(a, "cred", 0), STORE_OK);
    struct seal_ring *other = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE(""), NULL);
    assert_non_null(other);
    struct store *s = store_file_new(dir, other, NULL);
    assert_non_null(s);
    struct got got = load(s, "cred");
    assert_result(got, STORE_ERROR);
    assert_has(got.error, "another key");
    store_free(s);
    seal_ring_free(other);
    assert_int_equal(load(a, "cred").stored, 1);
}

static void a_commit_over_an_unreadable_first_line_is_an_error(void **state)
{
    (void)state;
    static const char *const heads[] = { "",
                                         "\n",
                                         "sidekey-state 1 \n",
                                         "sidekey-state 1 x\n",
                                         "sidekey-state 2 1\n",
                                         "sidekey-state 1 0\n",
                                         "sidekey-state 1 -1\n",
                                         "sidekey-state 1 1",
                                         "sidekey-state 1 99999999999999999999\n" };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        write_file(in_dir("cred.state"), heads[i], strlen(heads[i]));
        struct got got = commit(a, "cred", 0);
        assert_result(got, STORE_ERROR);
        assert_has(got.error, "damaged");
    }
}

/* ---- a disk that says no ---- */

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_an_error_and_harms_nothing(void **state)
{
    (void)state;
    assert_result(commit(a, "cred", 0), STORE_OK);
    assert_result(begin(a, "cred", &alice), STORE_WON);
    limit_file_size(64);
    struct got got = commit(a, "cred", 1);
    limit_file_size(RLIM_INFINITY);
    assert_result(got, STORE_ERROR);
    assert_has(got.error, in_dir("cred.state"));
    assert_has(got.error, strerror(EFBIG));
    assert_int_equal(count_files(dir, ".tmp"), 0);
    assert_int_equal(load(a, "cred").stored, 1);
    assert_result(begin(b, "cred", &bob), STORE_BUSY); /* the answer is not stored: the lease stays for the next try */
    assert_result(commit(a, "cred", 1), STORE_OK);
}

static void a_lease_that_cannot_be_written_is_an_error_and_not_held(void **state)
{
    (void)state;
    limit_file_size(10);
    struct got got = begin(a, "cred", &alice);
    limit_file_size(RLIM_INFINITY);
    assert_result(got, STORE_ERROR);
    assert_has(got.error, in_dir("cred.lock"));
    assert_result(begin(b, "cred", &bob), STORE_WON);
}

static void a_directory_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    assert_result(commit(a, "cred", 0), STORE_OK);
    assert_int_equal(chmod(dir, 0500), 0);
    struct got got = commit(a, "cred", 1);
    assert_result(got, STORE_ERROR);
    assert_has(got.error, strerror(EACCES));
    assert_result(begin(a, "new", &alice), STORE_ERROR);
    assert_int_equal(load(a, "cred").stored, 1);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_result(commit(a, "cred", 1), STORE_OK);
}

/* ---- the lock file ---- */

/* A process that takes the lease (or only enters the section) and waits to be killed. */
static pid_t start_holder(bool section_only)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        loop_forked();
        struct state_dir d;
        struct store *s = store_file_new(dir, ring, NULL);
        struct store_owner owner;
        rand_bytes(owner.bytes, sizeof owner.bytes);
        bool held = section_only ? state_dir_open(&d, dir, NULL) == 0 && lease_file_enter(&d, "cred") >= 0
                                 : begin(s, "cred", &owner).result == STORE_WON;
        if (held && write(ready[1], "1", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end_holder(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_killed_holder_frees_at_once(void **state)
{
    (void)state;
    pid_t holder = start_holder(false);
    assert_result(begin(a, "cred", &alice), STORE_BUSY);
    end_holder(holder);
    assert_result(begin(a, "cred", &alice), STORE_WON);
    assert_result(begin(b, "cred", &bob), STORE_BUSY);
}

static void a_stopped_holder_keeps_it_until_its_time_and_no_longer(void **state)
{
    (void)state;
    pid_t holder = start_holder(false);
    assert_int_equal(kill(holder, SIGSTOP), 0);
    fake_mono_ms += TTL_MS - 1;
    struct got got = begin(a, "cred", &alice);
    assert_result(got, STORE_BUSY);
    assert_int_equal(got.ttl_ms, 1);
    fake_mono_ms += 1;
    assert_result(begin(a, "cred", &alice), STORE_WON);
    end_holder(holder); /* its death changes nothing for the new owner */
    assert_result(begin(b, "cred", &bob), STORE_BUSY);
    assert_result(renew(a, "cred", &alice), STORE_OK);
}

static void a_store_that_is_freed_frees_its_leases_at_once(void **state)
{
    (void)state;
    assert_result(begin(a, "cred", &alice), STORE_WON);
    store_free(a);
    a = NULL;
    assert_result(begin(b, "cred", &bob), STORE_WON);
}

static void the_same_owner_may_begin_twice(void **state)
{
    (void)state;
    assert_result(begin(a, "cred", &alice), STORE_WON);
    fake_mono_ms += TTL_MS / 2;
    assert_result(begin(a, "cred", &alice), STORE_WON);
    fake_mono_ms += TTL_MS - 1;
    assert_result(begin(b, "cred", &bob), STORE_BUSY);
    assert_result(renew(a, "cred", &alice), STORE_OK);
}

/* alice has the lease and lives; the line on disk says otherwise.  Bob must get it, and alice learn that she lost it.
 */
static void assert_no_lease(const char *line, size_t len)
{
    assert_result(begin(a, "cred", &alice), STORE_WON);
    assert_result(begin(b, "cred", &bob), STORE_BUSY);
    write_file(in_dir("cred.lock"), line, len);
    assert_result(begin(b, "cred", &bob), STORE_WON);
    assert_result(renew(a, "cred", &alice), STORE_LOST);
    assert_result(release(b, "cred", &bob), STORE_OK);
}

static void a_line_of_another_boot_or_a_broken_one_is_no_lease(void **state)
{
    (void)state;
    char line[256];
    assert_result(begin(a, "cred", &alice), STORE_WON);
    size_t len = read_file(in_dir("cred.lock"), line, sizeof line);
    assert_result(release(a, "cred", &alice), STORE_OK);
    char *last = memrchr(line, ' ', len), *boot = (char *)memrchr(line, ' ', (size_t)(last - line)) + 1;
    for (const char *end = line; end < last; end++) /* everything up to the end of the boot id is needed */
        assert_no_lease(line, (size_t)(end - line));
    for (size_t at = 0; at < 16; at++) { /* the magic */
        line[at] ^= 1;
        assert_no_lease(line, len);
        line[at] ^= 1;
    }
    boot[0] = boot[0] == '0' ? '1' : '0';
    assert_no_lease(line, len);
}

static void a_pause_of_another_boot_or_a_broken_one_is_none(void **state)
{
    (void)state;
    char line[256];
    assert_result(throttle(a, "cred", 60000), STORE_OK);
    assert_int_equal(load(b, "cred").throttled_ms, 60000);
    size_t len = read_file(in_dir("cred.throttle"), line, sizeof line);
    for (size_t end = 0; end < len - 1; end++) {
        write_file(in_dir("cred.throttle"), line, end);
        assert_int_equal(load(b, "cred").throttled_ms, 0);
    }
    line[len - 2] = line[len - 2] == '0' ? '1' : '0'; /* the boot */
    write_file(in_dir("cred.throttle"), line, len);
    assert_int_equal(begin(b, "cred", &bob).throttled_ms, 0);
    assert_result(throttle(a, "cred", 1000), STORE_OK);
    assert_int_equal(load(b, "cred").throttled_ms, 1000);
}

static void a_pause_is_measured_by_no_wall_clock_and_never_longer_than_it_may_be(void **state)
{
    (void)state;
    assert_result(throttle(a, "cred", 60000), STORE_OK);
    fake_wall_ms -= 24 * 3600 * 1000;
    assert_int_equal(load(b, "cred").throttled_ms, 60000);
    fake_wall_ms += 48 * 3600 * 1000;
    fake_mono_ms += 20000;
    assert_int_equal(load(b, "cred").throttled_ms, 40000);
    fake_mono_ms -= 900000; /* the clock of another time namespace: what it says is not ours */
    assert_int_equal(load(b, "cred").throttled_ms, 0);
}

static void a_pause_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    limit_file_size(10);
    struct got got = throttle(a, "cred", 60000);
    limit_file_size(RLIM_INFINITY);
    assert_result(got, STORE_ERROR);
    assert_has(got.error, in_dir("cred.throttle"));
    assert_int_equal(load(b, "cred").throttled_ms, 0);
}

static void who_removes_the_lock_file_breaks_the_lease(void **state)
{
    (void)state;
    assert_result(begin(a, "cred", &alice), STORE_WON);
    assert_int_equal(unlink(in_dir("cred.lock")), 0);
    assert_result(begin(b, "cred", &bob), STORE_WON);
    assert_result(renew(a, "cred", &alice), STORE_LOST);
    assert_result(begin(a, "cred", &alice), STORE_BUSY);
}

static void a_taken_section_is_tried_again_until_it_is_free(void **state)
{
    (void)state;
    struct got got = { 0 };
    struct state_dir d;
    assert_int_equal(state_dir_open(&d, dir, NULL), 0);
    int section = lease_file_enter(&d, "cred");
    assert_true(section >= 0);
    assert_int_equal(lease_file_enter(&d, "cred"), -EAGAIN);
    store_begin(a, "cred", &alice, TTL_MS, 0, on_answer, &got);
    for (int i = 0; i < 5; i++)
        loop_turn();
    assert_int_equal(got.count, 0);
    close(section);
    for (int i = 0; got.count == 0 && i < TURNS_MAX; i++)
        turn_of_ms(5);
    assert_result(got, STORE_WON);
    state_dir_close(&d);
}

static void a_process_that_is_stopped_in_the_section_is_an_error_and_not_a_hang(void **state)
{
    (void)state;
    pid_t holder = start_holder(true);
    struct got got = { 0 }, cancelled = { 0 };
    assert_int_equal(kill(holder, SIGSTOP), 0);
    store_begin(a, "cred", &alice, TTL_MS, 0, on_answer, &got);
    struct store_op *op = store_begin(a, "cred", &bob, TTL_MS, 0, on_answer, &cancelled);
    for (int i = 0; i < 5; i++)
        loop_turn();
    assert_int_equal(got.count, 0);
    assert_result(load(a, "cred"), STORE_OK); /* reading needs no section */
    store_cancel(a, op);
    fake_mono_ms += 5000;
    assert_result(wait_for(&got), STORE_ERROR);
    assert_has(got.error, in_dir("cred.lock"));
    assert_has(got.error, "stopped");
    store_begin(a, "cred", &alice, TTL_MS, 0, on_answer, &cancelled);
    loop_turn();
    store_free(a); /* while one waits */
    a = NULL;
    end_holder(holder);
    assert_result(begin(b, "cred", &bob), STORE_WON);
    assert_int_equal(cancelled.count, 0);
}

/* ---- the watch ---- */

static void on_change(void *arg, const char *credential)
{
    (void)credential;
    ++*(unsigned *)arg;
}

static void wait_changes(const unsigned *count, unsigned want)
{
    for (int i = 0; *count < want && i < TURNS_MAX; i++)
        turn_of_ms(5);
    assert_int_equal(*count, want);
}

static void the_watch_tells_of_files_put_back_damaged_or_removed(void **state)
{
    (void)state;
    static char first[65536];
    unsigned count = 0;
    assert_result(commit(a, "cred", 0), STORE_OK);
    size_t len = read_file(in_dir("cred.state"), first, sizeof first);
    assert_result(commit(a, "cred", 1), STORE_OK);
    b->engine->watch(b, on_change, &count);
    write_file(in_dir("cred.state"), first, len); /* in place: only the poll can see it */
    wait_changes(&count, 1);
    write_file(in_dir("cred.state"), "?", 1);
    wait_changes(&count, 2);
    assert_int_equal(unlink(in_dir("cred.state")), 0);
    wait_changes(&count, 3);
    assert_result(commit(a, "cred", 0), STORE_OK);
    wait_changes(&count, 4);
}

static void the_watch_does_not_wait_for_its_poll(void **state)
{
    (void)state;
    enum { ROUNDS = 10 };
    unsigned count = 0;
    b->engine->watch(b, on_change, &count);
    double start_s = ev_time();
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_result(commit(a, "cred", i), STORE_OK);
        wait_changes(&count, i + 1);
    }
    assert_true(ev_time() - start_s < (ROUNDS - 2) * 0.5); /* by the poll alone it takes one period each */
}

static void a_watch_that_ended_is_silent(void **state)
{
    (void)state;
    unsigned first = 0, second = 0;
    b->engine->watch(b, on_change, &first);
    b->engine->watch(b, on_change, &second);
    assert_result(commit(a, "cred", 0), STORE_OK);
    wait_changes(&second, 1);
    assert_int_equal(first, 0);
    b->engine->watch(b, NULL, NULL);
    assert_result(commit(a, "cred", 1), STORE_OK);
    for (int i = 0; i < 5; i++)
        loop_turn();
    assert_int_equal(second, 1);
}

/* ---- the seal key ---- */

static int seal_key(struct secret *ret, struct err *e)
{
    *e = (struct err){ "" };
    return store_file_seal_key(dir, ret, e);
}

static void the_seal_key_is_made_once_and_for_this_user_alone(void **state)
{
    (void)state;
    struct secret first = { 0 }, second = { 0 };
    struct err e;
    struct stat st;
    assert_int_equal(seal_key(&first, &e), 0);
    assert_int_equal(seal_key(&second, &e), 0);
    assert_int_equal(first.len, 65);
    assert_true(slice_eq(secret_peek(&first), secret_peek(&second)));
    assert_int_equal(stat(in_dir("seal.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct seal_ring *made = seal_ring_new(secret_peek(&first), SLICE(""), &e);
    assert_non_null(made);
    seal_ring_free(made);
    assert_int_equal(unlink(in_dir("seal.key")), 0);
    assert_int_equal(seal_key(&second, &e), 0);
    assert_false(slice_eq(secret_peek(&first), secret_peek(&second)));
    secret_done(&first);
    secret_done(&second);
}

static void a_seal_key_that_cannot_be_trusted_is_refused(void **state)
{
    (void)state;
    struct secret key = { 0 };
    struct err e;
    assert_int_equal(seal_key(&key, &e), 0);
    assert_int_equal(chmod(in_dir("seal.key"), 0640), 0);
    assert_int_equal(seal_key(&key, &e), -1);
    assert_has(e.text, "0640");
    assert_has(e.text, "chmod 0600");
    assert_int_equal(chmod(in_dir("seal.key"), 0600), 0);
    assert_int_equal(truncate(in_dir("seal.key"), 0), 0);
    assert_int_equal(seal_key(&key, &e), -1);
    assert_has(e.text, in_dir("seal.key"));
    assert_int_equal(unlink(in_dir("seal.key")), 0);
    assert_int_equal(symlink("nowhere", in_dir("seal.key")), 0);
    assert_int_equal(seal_key(&key, &e), -1);
    secret_done(&key);
}

static void no_new_key_is_made_beside_states_of_an_old_one(void **state)
{
    (void)state;
    struct secret key = { 0 };
    struct err e;
    assert_result(commit(a, "cred", 0), STORE_OK);
    assert_int_equal(seal_key(&key, &e), -1);
    assert_has(e.text, "restore it");
    assert_int_equal(count_files(dir, "seal.key"), 0);
}

static void keepers_that_start_together_get_the_same_key(void **state)
{
    (void)state;
    enum { KEEPERS = 8 };
    char keys[KEEPERS][65];
    int out[2];
    assert_int_equal(pipe(out), 0);
    for (int i = 0; i < KEEPERS; i++)
        if (fork() == 0) {
            struct secret key = { 0 };
            struct err e;
            bool written = seal_key(&key, &e) == 0 && write(out[1], key.ptr, key.len) == (ssize_t)sizeof keys[0];
            _exit(!written);
        }
    for (int i = 0; i < KEEPERS; i++) {
        int status = -1;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(read(out[0], keys, sizeof keys), sizeof keys);
    for (int i = 1; i < KEEPERS; i++)
        assert_memory_equal(keys[i], keys[0], sizeof keys[0]);
    assert_int_equal(count_files(dir, ".tmp"), 0);
    close(out[0]);
    close(out[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(the_directory_is_made_for_this_user_alone),
        TEST(a_directory_that_others_may_use_is_refused),
        TEST(a_directory_of_another_user_is_refused),
        TEST(a_directory_that_cannot_be_made_says_why),
        TEST(what_a_dead_writer_left_is_removed_and_nothing_else),
        TEST(no_file_shows_a_token),
        TEST(what_is_no_name_is_an_error),
        TEST(a_file_that_was_cut_anywhere_is_an_error),
        TEST(a_file_that_was_changed_anywhere_is_an_error),
        TEST(something_else_in_the_place_of_a_file_is_an_error),
        TEST(a_file_of_another_key_says_so_and_stays),
        TEST(a_commit_over_an_unreadable_first_line_is_an_error),
        TEST(a_full_disk_is_an_error_and_harms_nothing),
        TEST(a_lease_that_cannot_be_written_is_an_error_and_not_held),
        TEST(a_directory_that_cannot_be_written_is_an_error),
        TEST(a_killed_holder_frees_at_once),
        TEST(a_stopped_holder_keeps_it_until_its_time_and_no_longer),
        TEST(a_store_that_is_freed_frees_its_leases_at_once),
        TEST(the_same_owner_may_begin_twice),
        TEST(a_line_of_another_boot_or_a_broken_one_is_no_lease),
        TEST(a_pause_of_another_boot_or_a_broken_one_is_none),
        TEST(a_pause_is_measured_by_no_wall_clock_and_never_longer_than_it_may_be),
        TEST(a_pause_that_cannot_be_written_is_an_error),
        TEST(who_removes_the_lock_file_breaks_the_lease),
        TEST(a_taken_section_is_tried_again_until_it_is_free),
        TEST(a_process_that_is_stopped_in_the_section_is_an_error_and_not_a_hang),
        TEST(the_watch_tells_of_files_put_back_damaged_or_removed),
        TEST(the_watch_does_not_wait_for_its_poll),
        TEST(a_watch_that_ended_is_silent),
        TEST(the_seal_key_is_made_once_and_for_this_user_alone),
        TEST(a_seal_key_that_cannot_be_trusted_is_refused),
        TEST(no_new_key_is_made_beside_states_of_an_old_one),
        TEST(keepers_that_start_together_get_the_same_key),
    };
    (void)loop_get();
    signal(SIGCHLD, SIG_DFL); /* the children are waited for here, not by the loop */
    signal(SIGXFSZ, SIG_IGN); /* the limit on file size stands for a full disk */
    uid_t user = geteuid();
    if (user == 0 && seteuid(65534) != 0) /* modes mean nothing to root */
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)!seteuid(user);
    (void)prctl(PR_SET_DUMPABLE, 1); /* the leak checker traces this process, which the change of user forbids */
    return failed;
}
