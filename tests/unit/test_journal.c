/* What survives a crash of the keeper between a token request and its commit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "refresh/store/journal.h"
#include "tests/fakes/files.h"

#define NOW_MS INT64_C(1700000000123)

static char top[64];
static struct seal_ring *ring;
static struct journal *a, *b; /* two keepers over one directory */

/* The order in which the disk is asked: f, a file's bytes; r, its name; d, the directory.  These stand in the place of
 * libc's. */
static char order[16];

static void note(char what)
{
    size_t len = strlen(order);
    if (len + 1 < sizeof order)
        order[len] = what;
}

int fsync(int fd)
{
    struct stat st;
    note(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'd' : 'f');
    return (int)syscall(SYS_fsync, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    note('r');
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

static struct journal *open_journal(const struct seal_ring *with)
{
    struct err e = { "" };
    char dir[96];
    snprintf(dir, sizeof dir, "%s/state", top);
    struct journal *j = journal_open(dir, with, &e);
    if (!j)
        fail_msg("%s", e.text);
    return j;
}

static int setup(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/test_journal.XXXXXX");
    ring = seal_ring_new(SLICE("0123456789abcdef0123456789abcdef"), SLICE(""), NULL);
    if (!ring || !mkdtemp(top))
        return -1;
    a = open_journal(ring);
    b = open_journal(ring);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    journal_close(a);
    journal_close(b);
    seal_ring_free(ring);
    return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- files ---- */

static const char *path_of(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *at = path[next++ % 4];
    snprintf(at, sizeof path[0], "%s/state/journal/%s", top, name);
    return at;
}

/* ---- entries ---- */

/* Writes the answer whose refresh token is "secret-<parent + 1>". */
static int answer(struct journal *j, const char *cred, uint64_t parent)
{
    struct state s;
    char token[32];
    state_init(&s);
    s.generation = parent + 1;
    memcpy(s.refresh_fp, "0a1b2c3d", 9);
    snprintf(token, sizeof token, "secret-%d", (int)parent + 1);
    assert_int_equal(secret_set(&s.refresh_token, slice_str(token)), 0);
    s.extra = json_pack("{s:s}", "note", "kept");
    int failed = journal_answer(j, cred, parent, &s, NOW_MS);
    state_done(&s);
    return failed;
}

static void assert_entry(struct journal *j, const char *cred, enum journal_kind kind, uint64_t parent)
{
    struct journal_entry entry;
    struct err e = { "" };
    if (journal_read(j, cred, &entry, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(entry.kind, kind);
    assert_int_equal(entry.parent_gen, parent);
    if (kind == JOURNAL_ANSWER) {
        char token[32];
        snprintf(token, sizeof token, "secret-%d", (int)parent + 1);
        assert_true(slice_eq(secret_peek(&entry.state.refresh_token), slice_str(token)));
        assert_string_equal(json_string_value(json_object_get(entry.state.extra, "note")), "kept");
        assert_string_equal(entry.refresh_fp, "0a1b2c3d");
    }
    journal_entry_done(&entry);
}

static void at_first_nothing_is_pending(void **state)
{
    (void)state;
    assert_entry(a, "cred", JOURNAL_NONE, 0);
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_int_equal(count_files(path_of(""), ""), 0);
}

static void an_intent_is_read_back_with_all_its_facts(void **state)
{
    (void)state;
    struct journal_entry entry;
    struct stat st;
    assert_int_equal(journal_intent(a, "cred", 41, "deadbeef", NOW_MS), 0);
    assert_int_equal(journal_read(b, "cred", &entry, NULL), 0);
    assert_int_equal(entry.kind, JOURNAL_INTENT);
    assert_int_equal(entry.parent_gen, 41);
    assert_string_equal(entry.refresh_fp, "deadbeef");
    assert_int_equal(entry.at_ms, NOW_MS);
    assert_int_equal(entry.pid, getpid());
    journal_entry_done(&entry);
    assert_int_equal(stat(path_of("cred.intent"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_entry(a, "other", JOURNAL_NONE, 0);
}

static void a_fingerprint_may_be_missing(void **state)
{
    (void)state;
    static const char *const given[] = { "", "????????", "a b", "toolongfp" };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        struct journal_entry entry;
        assert_int_equal(journal_intent(a, "cred", 1, given[i], -5), 0);
        assert_int_equal(journal_read(a, "cred", &entry, NULL), 0);
        assert_int_equal(entry.kind, JOURNAL_INTENT);
        assert_string_equal(entry.refresh_fp, "");
        assert_int_equal(entry.at_ms, 0);
        journal_entry_done(&entry);
    }
}

static void an_answer_takes_the_place_of_its_intent(void **state)
{
    (void)state;
    assert_int_equal(journal_intent(a, "cred", 3, "deadbeef", NOW_MS), 0);
    assert_int_equal(answer(a, "cred", 3), 0);
    assert_int_equal(count_files(path_of(""), ".intent"), 0);
    assert_entry(b, "cred", JOURNAL_ANSWER, 3);
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_entry(b, "cred", JOURNAL_NONE, 0);
    assert_int_equal(count_files(path_of(""), ""), 0);
}

static void bytes_then_name_then_directory_are_on_disk_before_the_call_returns(void **state)
{
    (void)state;
    memset(order, 0, sizeof order);
    assert_int_equal(journal_intent(a, "cred", 3, "deadbeef", NOW_MS), 0);
    assert_string_equal(order, "frd");
    memset(order, 0, sizeof order);
    assert_int_equal(answer(a, "cred", 3), 0);
    assert_string_equal(order, "frdd"); /* then the intent goes */
    memset(order, 0, sizeof order);
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_string_equal(order, "d");
}

static void the_newest_answer_is_the_one_that_is_kept(void **state)
{
    (void)state;
    assert_int_equal(answer(a, "cred", 3), 0);
    assert_int_equal(answer(a, "cred", 4), 0);
    assert_entry(b, "cred", JOURNAL_ANSWER, 4);
    assert_int_equal(count_files(path_of(""), ""), 1);
}

static void an_answer_that_waits_for_its_store_outlives_the_next_intent(void **state)
{
    (void)state;
    assert_int_equal(answer(a, "cred", 3), 0);
    assert_int_equal(journal_intent(a, "cred", 4, "deadbeef", NOW_MS), 0);
    assert_entry(b, "cred", JOURNAL_ANSWER, 3);
    assert_int_equal(journal_clear(a, "cred"), 0); /* nothing was sent */
    assert_int_equal(count_files(path_of(""), ".intent"), 0);
    assert_entry(b, "cred", JOURNAL_ANSWER, 3);
    assert_int_equal(journal_clear(a, "cred"), 0); /* the first one's commit is done */
    assert_entry(b, "cred", JOURNAL_NONE, 0);
}

static void a_replay_finds_first_the_answer_and_then_the_intent_on_top_of_it(void **state)
{
    (void)state;
    assert_int_equal(answer(a, "cred", 3), 0);
    assert_int_equal(journal_intent(a, "cred", 4, "deadbeef", NOW_MS), 0);
    journal_close(a);
    a = open_journal(ring);
    assert_entry(a, "cred", JOURNAL_ANSWER, 3);
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_entry(a, "cred", JOURNAL_INTENT, 4);
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_entry(a, "cred", JOURNAL_NONE, 0);
}

static void a_response_is_kept_as_it_came(void **state)
{
    static const char bytes[] = "\x1f\x8b not \0 text, at-secret";
    struct journal_response r = {
        .parent_gen = 7, .seeded = true, .cut = true, .status = 203, .asked_wall_ms = NOW_MS
    };
    struct journal_response back = { 0 }, none = { 0 };
    struct journal_entry entry;
    struct err e = { "" };
    (void)state;
    assert_int_equal(journal_response_read(a, "crm", &none, &e), 0);
    assert_int_equal(none.status, 0);
    memcpy(r.refresh_fp, "0badcafe", 9);
    buf_init_secret(&r.body, sizeof bytes);
    assert_int_equal(buf_add(&r.body, slice_of(bytes, sizeof bytes)), 0);
    assert_int_equal(journal_intent(a, "crm", 7, "0badcafe", 5), 0);
    assert_int_equal(journal_response(a, "crm", &r, 5), 0);
    assert_int_equal(journal_read(b, "crm", &entry, &e), 0); /* the intent stays beside it */
    assert_int_equal(entry.kind, JOURNAL_INTENT);
    journal_entry_done(&entry);
    assert_int_equal(journal_response_read(b, "crm", &back, &e), 0);
    assert_int_equal(back.parent_gen, 7);
    assert_int_equal(back.status, 203);
    assert_true(back.seeded && back.cut && back.asked_wall_ms == NOW_MS);
    assert_string_equal(back.refresh_fp, "0badcafe");
    assert_true(slice_eq(buf_slice(&back.body), buf_slice(&r.body)));
    journal_response_done(&back);
    r.status = 200;
    assert_int_equal(journal_response(a, "crm", &r, 5), 0); /* a newer one */
    assert_int_equal(journal_response_forget(b, "crm"), 0); /* is not the one that b has read */
    assert_int_equal(journal_response_read(a, "crm", &back, &e), 0);
    assert_int_equal(back.status, 200);
    journal_response_done(&back);
    assert_int_equal(journal_response_forget(a, "crm"), 0);
    assert_int_equal(journal_response_read(b, "crm", &back, &e), 0);
    assert_int_equal(back.status, 0);
    journal_response_done(&r);
}

static void clear_forgets_only_what_this_keeper_wrote_or_read(void **state)
{
    (void)state;
    assert_int_equal(journal_intent(a, "cred", 3, "deadbeef", NOW_MS), 0);
    assert_int_equal(journal_clear(b, "cred"), 0);
    assert_entry(a, "cred", JOURNAL_INTENT, 3);
    assert_int_equal(answer(b, "cred", 3), 0); /* b was faster, and crashes now */
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_entry(a, "cred", JOURNAL_ANSWER, 3);
    assert_int_equal(answer(b, "cred", 4), 0); /* replaces what a has read */
    assert_int_equal(journal_clear(a, "cred"), 0);
    assert_entry(a, "cred", JOURNAL_ANSWER, 4);
}

static void an_entry_survives_the_death_of_its_writer(void **state)
{
    (void)state;
    struct journal_entry entry;
    pid_t pid = fork();
    if (pid == 0) {
        if (answer(a, "cred", 8) == 0)
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_entry(b, "cred", JOURNAL_ANSWER, 8);
    assert_int_equal(journal_read(b, "cred", &entry, NULL), 0);
    assert_int_equal(entry.pid, pid);
    journal_entry_done(&entry);
}

static void no_file_shows_a_token(void **state)
{
    (void)state;
    static char bytes[65536];
    assert_int_equal(answer(a, "cred", 1), 0);
    size_t len = read_file(path_of("cred.answer"), bytes, sizeof bytes);
    assert_true(len > 100);
    assert_null(memmem(bytes, len, "secret", 6));
}

/* ---- damage ---- */

/* The file is put aside whole, the text names it, and the next read does not see it. */
static void assert_put_aside(const char *file, const char *bytes, size_t len, int want, const char *what)
{
    struct journal_entry entry;
    struct err e = { "" };
    write_file(path_of(file), bytes, len);
    int failed = journal_read(a, "cred", &entry, &e);
    journal_entry_done(&entry);
    if (failed != want || !strstr(e.text, path_of(file)) || !strstr(e.text, what))
        fail_msg("%zu bytes: %d instead of %d: %s", len, failed, want, e.text);
    assert_int_equal(access(path_of(file), F_OK), -1);
}

static void a_file_that_was_cut_is_put_aside(void **state)
{
    (void)state;
    static const char *const files[] = { "cred.answer", "cred.intent" };
    static char good[4096];
    assert_int_equal(journal_intent(b, "cred", 2, "deadbeef", NOW_MS), 0);
    assert_int_equal(answer(a, "cred", 1), 0); /* does not touch b's intent */
    unsigned aside = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t len = read_file(path_of(files[i]), good, sizeof good);
        for (size_t cut = 0; cut < len; cut++)
            assert_put_aside(files[i], good, cut, -EBADMSG, "kept as");
        aside += (unsigned)len;
        assert_int_equal(count_files(path_of(""), ".bad"), aside); /* every one of them */
        if (i == 0) { /* that its token is spent is remembered, also by others */
            assert_entry(b, "cred", JOURNAL_LOST, 1);
            assert_int_equal(journal_lost_forget(b, "cred"), 0);
        }
    }
    assert_entry(a, "cred", JOURNAL_NONE, 0);
}

static void a_file_that_was_changed_is_put_aside(void **state)
{
    (void)state;
    static char good[4096];
    assert_int_equal(answer(a, "cred", 1), 0);
    size_t len = read_file(path_of("cred.answer"), good, sizeof good);
    size_t key_id = (size_t)((char *)memchr(good, '\n', len) - good) + 2; /* four bytes: they say which key */
    for (size_t at = 0; at < len; at++) {
        bool in_key_id = at >= key_id && at < key_id + 4;
        good[at] ^= 1;
        assert_put_aside("cred.answer", good, len, in_key_id ? -ENOKEY : -EBADMSG, in_key_id ? "key" : "damaged");
        good[at] ^= 1;
    }
    write_file(path_of("cred.answer"), good, len);
    assert_entry(a, "cred", JOURNAL_ANSWER, 1);
}

static void a_file_in_the_place_of_another_is_put_aside(void **state)
{
    (void)state;
    static char bytes[4096];
    assert_int_equal(answer(a, "other", 1), 0);
    size_t len = read_file(path_of("other.answer"), bytes, sizeof bytes);
    assert_put_aside("cred.answer", bytes, len, -EBADMSG, "damaged");
    assert_int_equal(answer(a, "cred", 1), 0);
    len = read_file(path_of("cred.answer"), bytes, sizeof bytes);
    assert_int_equal(unlink(path_of("cred.answer")), 0);
    assert_int_equal(journal_lost_forget(a, "cred"), 0);
    assert_put_aside("cred.intent", bytes, len, -EBADMSG, "damaged");
    assert_entry(a, "other", JOURNAL_ANSWER, 1);
}

static void a_file_of_another_key_is_put_aside(void **state)
{
    (void)state;
    struct journal_entry entry;
    struct err e = { "" };
    struct seal_ring *other = seal_ring_new(SLICE("fedcba9876543210fedcba9876543210"), SLICE(""), NULL);
    assert_int_equal(answer(a, "cred", 1), 0);
    struct journal *j = open_journal(other);
    assert_int_equal(journal_read(j, "cred", &entry, &e), -ENOKEY);
    assert_non_null(strstr(e.text, "another key"));
    journal_entry_done(&entry);
    assert_int_equal(count_files(path_of(""), ".bad"), 1);
    journal_close(j);
    seal_ring_free(other);
}

static void a_well_sealed_answer_that_this_version_cannot_read_stays(void **state)
{
    (void)state;
    struct journal_entry entry;
    struct err e = { "" };
    struct buf file;
    buf_init(&file, 4096);
    assert_int_equal(buf_add_str(&file, "sidekey-journal 1 answer 1 - 1 1 5\n"), 0);
    assert_int_equal(
        seal_blob(ring, SLICE("cred sidekey-journal 1 answer 1 - 1 1 5"), SLICE("{\"generation\":\"new\"}"), &file), 0);
    write_file(path_of("cred.answer"), file.data, file.len);
    buf_done(&file);
    assert_int_equal(journal_read(a, "cred", &entry, &e), -EPROTO);
    assert_non_null(strstr(e.text, "generation"));
    journal_entry_done(&entry);
    assert_int_equal(count_files(path_of(""), "cred.answer"), 1);
}

/* ---- what goes wrong while writing ---- */

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_told_and_harms_nothing(void **state)
{
    (void)state;
    assert_int_equal(answer(a, "cred", 1), 0);
    limit_file_size(64);
    int intent = journal_intent(a, "cred", 2, "deadbeef", NOW_MS), next = answer(a, "cred", 2);
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(intent, -EFBIG);
    assert_int_equal(next, -EFBIG);
    assert_entry(b, "cred", JOURNAL_ANSWER, 1);
    assert_int_equal(count_files(path_of(""), ""), 1);
}

static void a_directory_that_is_gone_is_told(void **state)
{
    (void)state;
    assert_int_equal(rmdir(path_of("")), 0);
    assert_int_equal(journal_intent(a, "cred", 2, "deadbeef", NOW_MS), -ENOENT);
    assert_int_equal(answer(a, "cred", 2), -ENOENT);
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = { "", "../cred", "a/b", "UPPER" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct journal_entry entry;
        struct err e = { "" };
        assert_int_equal(journal_intent(a, names[i], 1, "", NOW_MS), -EINVAL);
        assert_int_equal(answer(a, names[i], 1), -EINVAL);
        assert_int_equal(journal_clear(a, names[i]), 0);
        assert_int_equal(journal_read(a, names[i], &entry, &e), -EINVAL);
        assert_true(e.text[0] != '\0');
        journal_entry_done(&entry);
    }
    assert_int_equal(count_files(path_of(""), ""), 0);
}

static void a_directory_that_others_may_write_is_refused(void **state)
{
    (void)state;
    char dir[96];
    struct err e = { "" };
    snprintf(dir, sizeof dir, "%s/state", top);
    assert_int_equal(chmod(path_of(""), 0777), 0);
    assert_null(journal_open(dir, ring, &e));
    assert_non_null(strstr(e.text, "journal has mode 0777"));
    snprintf(dir, sizeof dir, "%s/not/there", top);
    assert_null(journal_open(dir, ring, &e));
    assert_non_null(strstr(e.text, dir));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(at_first_nothing_is_pending),
        TEST(an_intent_is_read_back_with_all_its_facts),
        TEST(a_fingerprint_may_be_missing),
        TEST(an_answer_takes_the_place_of_its_intent),
        TEST(bytes_then_name_then_directory_are_on_disk_before_the_call_returns),
        TEST(the_newest_answer_is_the_one_that_is_kept),
        TEST(an_answer_that_waits_for_its_store_outlives_the_next_intent),
        TEST(a_replay_finds_first_the_answer_and_then_the_intent_on_top_of_it),
        TEST(a_response_is_kept_as_it_came),
        TEST(clear_forgets_only_what_this_keeper_wrote_or_read),
        TEST(an_entry_survives_the_death_of_its_writer),
        TEST(no_file_shows_a_token),
        TEST(a_file_that_was_cut_is_put_aside),
        TEST(a_file_that_was_changed_is_put_aside),
        TEST(a_file_in_the_place_of_another_is_put_aside),
        TEST(a_file_of_another_key_is_put_aside),
        TEST(a_well_sealed_answer_that_this_version_cannot_read_stays),
        TEST(a_full_disk_is_told_and_harms_nothing),
        TEST(a_directory_that_is_gone_is_told),
        TEST(what_is_no_name_is_refused),
        TEST(a_directory_that_others_may_write_is_refused),
    };
    signal(SIGXFSZ, SIG_IGN); /* the limit on file size stands for a full disk */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
