/* Unit tests of certs/ca_set: years pass here as numbers.  What a program trusts is what it read from ca.pem at one
 * moment; the judge of a leaf is OpenSSL with exactly that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/ca_set.h"

#define DAY CA_SET_DAY_S
#define NOW ((int64_t)1700000000)
#define COUNT(array) (sizeof(array) / sizeof *(array))

static const char *const two[] = { "api.x.test", "*.wild.test", NULL };
static const char *const three[] = { "api.x.test", "*.wild.test", "new.y.test", NULL };
static EVP_PKEY *leaf_key;
static struct slice spki;

static const struct ca_set_options usual = { .hosts = two, .constrain = true, .renew = true };

static struct ca_set *set_of(const struct ca_set_options *options, int64_t now_s)
{
    struct err e = { "" };
    struct ca_set *set = ca_set_new(options, now_s, &e);
    if (!set)
        fail_msg("%s", e.text);
    return set;
}

static X509_STORE *read_by_program(const struct ca_set *set, int64_t now_s, int *ret_count)
{
    struct buf pem;
    buf_init(&pem, CA_SET_PEM_MAX);
    assert_int_equal(ca_set_add_pem(set, now_s, &pem), 0);
    BIO *bio = BIO_new_mem_buf(pem.len ? buf_slice(&pem).ptr : "", (int)pem.len);
    X509_STORE *store = X509_STORE_new();
    X509 *x;
    int n = 0;
    for (; (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)); n++) {
        assert_int_equal(X509_STORE_add_cert(store, x), 1);
        X509_free(x);
    }
    BIO_free(bio);
    buf_done(&pem);
    if (ret_count)
        *ret_count = n;
    return store;
}

static int certificates(const struct ca_set *set, int64_t now_s)
{
    int n;
    X509_STORE_free(read_by_program(set, now_s, &n));
    return n;
}

/* As the keeper does it: what is due, then ca.pem. */
static unsigned update(struct ca_set *set, int64_t now_s)
{
    struct err e = { "" };
    struct buf pem;
    unsigned done = 0;
    if (ca_set_update(set, now_s, &done, &e) != 0)
        fail_msg("%s", e.text);
    assert_false(ca_set_is_due(set, now_s));
    buf_init(&pem, CA_SET_PEM_MAX);
    assert_int_equal(ca_set_add_pem(set, now_s, &pem), 0);
    ca_set_published(set, buf_slice(&pem));
    buf_done(&pem);
    return done;
}

/* A new process with what the old one stored. */
static struct ca_set *restart(struct ca_set *set, const struct ca_set_options *options, int64_t now_s)
{
    struct err e = { "" };
    struct buf text;
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    assert_int_equal(ca_set_write(set, &text), 0);
    ca_set_free(set);
    struct ca_set *next = set_of(options, now_s);
    if (ca_set_read(next, buf_slice(&text), &e) != 0)
        fail_msg("%s", e.text);
    buf_done(&text);
    return next;
}

static int sign(struct ca_set *set, const char *host, int64_t now_s, X509 **ret, struct err *e)
{
    struct buf der;
    int64_t until_s;
    buf_init(&der, 1 << 16);
    int failed = ca_set_sign_leaf(set, slice_str(host), false, spki, now_s, &der, &until_s, e);
    if (!failed) {
        const unsigned char *at = (const unsigned char *)buf_slice(&der).ptr;
        *ret = d2i_X509(NULL, &at, (long)der.len);
        assert_non_null(*ret);
    }
    buf_done(&der);
    return failed;
}

static bool is_trusted(X509_STORE *trusted, struct ca_set *set, const char *host, int64_t now_s)
{
    struct err e = { "" };
    X509 *leaf = NULL;
    if (sign(set, host, now_s, &leaf, &e) != 0)
        fail_msg("%s: %s", host, e.text);
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_CTX_init(ctx, trusted, leaf, NULL), 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
    bool good = X509_verify_cert(ctx) == 1;
    X509_STORE_CTX_free(ctx);
    X509_free(leaf);
    return good;
}

/* ---- restarts ---- */

static void a_restart_changes_nothing(void **state)
{
    (void)state;
    struct ca_set *set = set_of(&usual, NOW);
    assert_int_equal(update(set, NOW), CA_SET_MADE_FIRST);
    X509_STORE *program = read_by_program(set, NOW, NULL);
    for (int day = 1; day < 180; day += 7) {
        set = restart(set, &usual, NOW + day * DAY);
        assert_int_equal(update(set, NOW + day * DAY), 0);
        assert_true(is_trusted(program, set, "api.x.test", NOW + day * DAY));
        assert_int_equal(certificates(set, NOW + day * DAY), 1);
    }
    X509_STORE_free(program);
    ca_set_free(set);
}

static void what_was_stored_twice_is_there_once(void **state)
{
    (void)state;
    struct err e;
    struct buf text;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    assert_int_equal(ca_set_write(set, &text), 0);
    assert_int_equal(ca_set_read(set, buf_slice(&text), &e), 0);
    assert_int_equal(ca_set_count(set, NOW), 1);
    buf_done(&text);
    ca_set_free(set);
}

static void damaged_text_adds_nothing(void **state)
{
    (void)state;
    struct buf text, bad;
    struct ca_set *set = set_of(&usual, NOW), *empty = set_of(&usual, NOW);
    (void)update(set, NOW);
    buf_init_secret(&text, CA_SET_TEXT_MAX);
    buf_init_secret(&bad, CA_SET_TEXT_MAX);
    assert_int_equal(ca_set_write(set, &text), 0);
    for (size_t cut = 0; cut < text.len; cut += 13) {
        struct err e = { "" };
        int failed = ca_set_read(empty, slice_of(buf_slice(&text).ptr, cut), &e);
        assert_int_equal(ca_set_count(empty, NOW), 0);
        assert_true(failed == 0 || e.text[0]);
    }
    assert_int_equal(buf_add_str(&bad, "sidekey-ca 2\n"), 0);
    struct err e = { "" };
    assert_int_equal(ca_set_read(empty, buf_slice(&bad), &e), -1);
    assert_non_null(strstr(e.text, "version"));
    buf_done(&bad);
    buf_done(&text);
    ca_set_free(set);
    ca_set_free(empty);
}

/* ---- succession ---- */

/* Each program reads ca.pem at its start and is started again within a month: none is ever cut off. */
static void no_program_that_is_started_each_month_meets_a_stranger(void **state)
{
    (void)state;
    struct {
        X509_STORE *trusted;
        int64_t since_s;
    } programs[6];
    struct ca_set *set = set_of(&usual, NOW);
    size_t next = 0;
    memset(programs, 0, sizeof programs);
    for (int64_t at_s = NOW; at_s < NOW + 5 * 365 * DAY; at_s += 5 * DAY) {
        if ((at_s / DAY) % 3 == 0)
            set = restart(set, &usual, at_s);
        (void)update(set, at_s);
        int count = certificates(set, at_s);
        assert_true(count >= 1 && count <= 3);
        if ((at_s - NOW) % (5 * DAY) == 0) {
            X509_STORE_free(programs[next].trusted);
            programs[next].trusted = read_by_program(set, at_s, NULL);
            programs[next].since_s = at_s;
            next = (next + 1) % COUNT(programs);
        }
        for (size_t i = 0; i < COUNT(programs); i++)
            if (programs[i].trusted && at_s - programs[i].since_s <= CA_SET_HANDOVER_S) {
                assert_true(is_trusted(programs[i].trusted, set, "api.x.test", at_s));
                assert_true(is_trusted(programs[i].trusted, set, "a.wild.test", at_s));
            }
        assert_true(ca_set_expiry_s(set, at_s) - at_s > 100 * DAY);
    }
    for (size_t i = 0; i < COUNT(programs); i++)
        X509_STORE_free(programs[i].trusted);
    ca_set_free(set);
}

static void a_successor_is_published_after_half_a_year_and_signs_a_month_later(void **state)
{
    (void)state;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    X509_STORE *old = read_by_program(set, NOW, NULL);
    int64_t made_s = NOW + CA_SET_SUCCESSOR_S, signs_s = made_s + CA_SET_HANDOVER_S;
    assert_false(ca_set_is_due(set, made_s - 1));
    assert_true(ca_set_is_due(set, made_s));
    assert_int_equal(update(set, made_s), CA_SET_MADE_SUCCESSOR);
    assert_int_equal(ca_set_handover_s(set, made_s), signs_s);
    X509_STORE *both = read_by_program(set, made_s, NULL);
    assert_int_equal(certificates(set, made_s), 2);
    assert_true(is_trusted(old, set, "api.x.test", signs_s - 1));
    assert_false(ca_set_is_due(set, signs_s - 1));
    assert_true(ca_set_is_due(set, signs_s));
    assert_int_equal(update(set, signs_s), CA_SET_SIGNS);
    assert_false(is_trusted(old, set, "api.x.test", signs_s));
    assert_true(is_trusted(both, set, "api.x.test", signs_s));
    int64_t end_s = NOW + CA_SET_LIFE_S;
    (void)update(set, end_s - 1);
    assert_int_equal(certificates(set, end_s - 1), 3); /* the next successor has come, and the first has not gone */
    (void)update(set, end_s);
    assert_int_equal(certificates(set, end_s), 2);
    X509_STORE_free(old);
    X509_STORE_free(both);
    ca_set_free(set);
}

/* sidekey was off while the successor was due. */
static void one_that_is_about_to_end_does_not_sign_what_a_successor_can(void **state)
{
    (void)state;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    int64_t late_s = NOW + CA_SET_LIFE_S - 3 * DAY;
    assert_int_equal(update(set, late_s), CA_SET_MADE_SUCCESSOR);
    X509_STORE *program = read_by_program(set, late_s, NULL);
    for (int64_t at_s = late_s; at_s < late_s + 40 * DAY; at_s += DAY / 2) {
        (void)update(set, at_s);
        assert_true(is_trusted(program, set, "api.x.test", at_s));
    }
    X509_STORE_free(program);
    ca_set_free(set);
}

static void a_clock_that_was_wrong_for_a_while_loses_nothing(void **state)
{
    (void)state;
    static const int64_t jumps[] = { 2 * DAY, 400 * DAY, 3000 * DAY, -400 * DAY, -10000 * DAY };
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    X509_STORE *program = read_by_program(set, NOW, NULL);
    for (size_t i = 0; i < COUNT(jumps); i++) {
        set = restart(set, &usual, NOW + jumps[i]);
        (void)update(set, NOW + jumps[i]);
        X509_STORE *then = read_by_program(set, NOW + jumps[i], NULL);
        assert_true(is_trusted(then, set, "api.x.test", NOW + jumps[i]));
        X509_STORE_free(then);
        set = restart(set, &usual, NOW + 60);
        (void)update(set, NOW + 60);
        assert_true(is_trusted(program, set, "api.x.test", NOW + 60));
        assert_int_equal(certificates(set, NOW + 60), 1);
    }
    X509_STORE_free(program);
    ca_set_free(set);
}

/* ---- hosts ---- */

static void a_new_host_gets_a_ca_of_its_own_and_the_others_keep_theirs(void **state)
{
    (void)state;
    struct ca_set_options more = usual;
    more.hosts = three;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    X509_STORE *program = read_by_program(set, NOW, NULL);
    set = restart(set, &more, NOW + DAY);
    assert_int_equal(update(set, NOW + DAY), CA_SET_MADE_FOR_HOSTS);
    assert_int_equal(certificates(set, NOW + DAY), 2);
    assert_true(is_trusted(program, set, "api.x.test", NOW + DAY));
    assert_true(is_trusted(program, set, "a.wild.test", NOW + DAY));
    assert_false(is_trusted(program, set, "new.y.test", NOW + DAY));
    X509_STORE *newer = read_by_program(set, NOW + DAY, NULL);
    assert_true(is_trusted(newer, set, "new.y.test", NOW + DAY));
    set = restart(set, &usual, NOW + 2 * DAY); /* and back: nothing is made */
    assert_int_equal(update(set, NOW + 2 * DAY), 0);
    set = restart(set, &more, NOW + 3 * DAY);
    assert_int_equal(update(set, NOW + 3 * DAY), 0);
    X509_STORE_free(program);
    X509_STORE_free(newer);
    ca_set_free(set);
}

static void four_sign_at_most_and_the_next_successor_speaks_for_all(void **state)
{
    (void)state;
    static char names[12][32];
    static const char *list[COUNT(names) + 1];
    struct ca_set_options options = { .hosts = list, .constrain = true, .renew = true };
    struct ca_set *set = NULL;
    X509_STORE *first = NULL;
    for (size_t i = 0; i < COUNT(names); i++) {
        int64_t at_s = NOW + (int64_t)i * DAY;
        snprintf(names[i], sizeof names[i], "h%zu.test", i);
        list[i] = names[i];
        set = set ? restart(set, &options, at_s) : set_of(&options, at_s);
        (void)update(set, at_s);
        first = first ? first : read_by_program(set, at_s, NULL);
        int count = certificates(set, at_s);
        assert_int_equal(count, i < CA_SET_SIGNERS_MAX ? (int)i + 1 : CA_SET_SIGNERS_MAX);
        X509_STORE *program = read_by_program(set, at_s, NULL);
        for (size_t k = 0; k <= i; k++)
            assert_true(is_trusted(program, set, names[k], at_s));
        assert_true(is_trusted(first, set, names[0], at_s)); /* the oldest programs go on longest */
        X509_STORE_free(program);
    }
    int64_t at_s = NOW + CA_SET_SUCCESSOR_S;
    assert_int_equal(update(set, at_s), CA_SET_MADE_SUCCESSOR);
    assert_int_equal(certificates(set, at_s), CA_SET_SIGNERS_MAX + 1);
    X509_STORE *program = read_by_program(set, at_s, NULL);
    at_s += CA_SET_HANDOVER_S;
    (void)update(set, at_s);
    for (size_t k = 0; k < COUNT(names); k++)
        assert_true(is_trusted(program, set, names[k], at_s));
    X509_STORE_free(program);
    X509_STORE_free(first);
    ca_set_free(set);
}

static void only_what_a_rule_names_is_signed(void **state)
{
    (void)state;
    static const char *const hosts[] = { "up.test", "*.wild.test", "127.0.0.1", "fd00::7", NULL };
    static const struct {
        const char *host;
        bool ok;
    } rows[] = {
        { "up.test", true },         { "deep.evil.up.test", false },
        { "evil.up.test", false },   { "a.wild.test", true },
        { "a.b.wild.test", false },  { "wild.test", false },
        { "127.0.0.1", true },       { "127.0.0.2", false },
        { "fd00::7", true },         { "fd00:0::7", true },
        { "fd00::8", false },        { "x.test", false },
        { "*.wild.test", false },    { "", false },
        { "up.test.", false },       { "UP.test", false },
        { "up.test\n.wild", false },
    };
    for (int constrain = 0; constrain < 2; constrain++) {
        struct ca_set *set =
            set_of(&(struct ca_set_options){ .hosts = hosts, .constrain = constrain, .renew = true }, NOW);
        (void)update(set, NOW);
        for (size_t i = 0; i < COUNT(rows); i++) {
            struct err e = { "" };
            X509 *leaf = NULL;
            if (sign(set, rows[i].host, NOW, &leaf, &e) != (rows[i].ok ? 0 : -1))
                fail_msg("%s: %s", rows[i].host, e.text);
            X509_free(leaf);
        }
        ca_set_free(set);
    }
}

static void a_ca_for_everything_goes_when_constraints_are_asked_for(void **state)
{
    (void)state;
    struct ca_set_options wide = usual;
    wide.constrain = false;
    struct ca_set *set = set_of(&wide, NOW);
    (void)update(set, NOW);
    set = restart(set, &usual, NOW + DAY);
    assert_int_equal(update(set, NOW + DAY), CA_SET_DROPPED | CA_SET_MADE_FIRST);
    assert_int_equal(certificates(set, NOW + DAY), 1);
    X509_STORE *program = read_by_program(set, NOW + DAY, NULL);
    assert_true(is_trusted(program, set, "api.x.test", NOW + DAY));
    set = restart(set, &wide, NOW + 2 * DAY);
    assert_int_equal(update(set, NOW + 2 * DAY), CA_SET_MADE_FOR_HOSTS);
    X509_STORE_free(program);
    ca_set_free(set);
}

static void without_rules_there_is_one_that_speaks_for_nobody(void **state)
{
    (void)state;
    static const char *const none[] = { NULL };
    struct ca_set *set = set_of(&(struct ca_set_options){ .hosts = none, .constrain = true, .renew = true }, NOW);
    struct err e = { "" };
    X509 *leaf;
    (void)update(set, NOW);
    assert_int_equal(certificates(set, NOW), 1);
    assert_int_equal(sign(set, "api.x.test", NOW, &leaf, &e), -1);
    assert_true(ca_set_expiry_s(set, NOW) > NOW);
    ca_set_free(set);
}

/* ---- by hand ---- */

static void a_rotation_publishes_now_and_signs_in_a_month(void **state)
{
    (void)state;
    unsigned done;
    struct err e;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    X509_STORE *old = read_by_program(set, NOW, NULL);
    assert_int_equal(ca_set_rotate(set, NOW + DAY, false, &done, &e), 0);
    assert_int_equal(done, CA_SET_MADE_SUCCESSOR);
    assert_int_equal(ca_set_rotate(set, NOW + DAY, false, &done, &e), 0); /* it is there already */
    assert_int_equal(done, 0);
    (void)update(set, NOW + DAY);
    assert_int_equal(certificates(set, NOW + DAY), 2);
    assert_true(is_trusted(old, set, "api.x.test", NOW + DAY));
    X509_STORE *both = read_by_program(set, NOW + DAY, NULL);
    assert_int_equal(ca_set_rotate(set, NOW + 2 * DAY, true, &done, &e), 0); /* the same, before its time */
    assert_int_equal(done, CA_SET_SIGNS);
    assert_int_equal(certificates(set, NOW + 2 * DAY), 2);
    set = restart(set, &usual, NOW + 3 * DAY);
    (void)update(set, NOW + 3 * DAY);
    assert_false(is_trusted(old, set, "api.x.test", NOW + 3 * DAY));
    assert_true(is_trusted(both, set, "api.x.test", NOW + 3 * DAY));
    X509_STORE_free(old);
    X509_STORE_free(both);
    ca_set_free(set);
}

static void many_rotations_at_once_stay_within_bounds(void **state)
{
    (void)state;
    unsigned done;
    struct err e;
    struct ca_set *set = set_of(&usual, NOW);
    (void)update(set, NOW);
    for (int i = 1; i < 100; i++) {
        assert_int_equal(ca_set_rotate(set, NOW + i, true, &done, &e), 0);
        (void)update(set, NOW + i);
        assert_true(certificates(set, NOW + i) <= CA_SET_SIGNERS_MAX);
        X509_STORE *program = read_by_program(set, NOW + i, NULL);
        assert_true(is_trusted(program, set, "api.x.test", NOW + i));
        X509_STORE_free(program);
    }
    ca_set_free(set);
}

static void what_could_not_be_published_does_not_sign(void **state)
{
    (void)state;
    unsigned done;
    struct err e = { "" };
    X509 *leaf;
    struct ca_set *set = set_of(&usual, NOW);
    assert_int_equal(ca_set_update(set, NOW, &done, &e), 0);
    assert_int_equal(sign(set, "api.x.test", NOW, &leaf, &e), -1);
    assert_non_null(strstr(e.text, "published"));
    assert_int_equal(ca_set_count_published(set, NOW), 0);
    (void)update(set, NOW);
    assert_int_equal(ca_set_count_published(set, NOW), 1);
    X509_STORE *program = read_by_program(set, NOW, NULL);
    assert_int_equal(ca_set_rotate(set, NOW + 1, true, &done, &e), 0);
    assert_true(is_trusted(program, set, "api.x.test", NOW + 1));
    ca_set_revert(set);
    assert_int_equal(ca_set_count(set, NOW + 1), 1);
    X509_STORE_free(program);
    ca_set_free(set);
}

static void in_memory_it_lives_for_ten_years_without_a_successor(void **state)
{
    (void)state;
    struct ca_set_options memory = usual;
    memory.renew = false;
    struct ca_set *set = set_of(&memory, NOW);
    (void)update(set, NOW);
    X509_STORE *program = read_by_program(set, NOW, NULL);
    for (int64_t at_s = NOW; at_s < NOW + 9 * 365 * DAY; at_s += 90 * DAY) {
        assert_int_equal(update(set, at_s), 0);
        assert_true(is_trusted(program, set, "api.x.test", at_s));
    }
    X509_STORE_free(program);
    ca_set_free(set);
}

static void with_rsa_there_are_two_and_each_signs_for_its_clients(void **state)
{
    (void)state;
    struct ca_set_options both = usual;
    both.rsa = true;
    struct ca_set *set = set_of(&usual, NOW);
    struct err e = { "" };
    struct buf der;
    int64_t until_s;
    (void)update(set, NOW);
    buf_init(&der, 1 << 16);
    assert_int_equal(ca_set_sign_leaf(set, SLICE("api.x.test"), true, spki, NOW, &der, &until_s, &e), -1);
    assert_non_null(strstr(e.text, "RSA key"));
    X509_STORE *program = read_by_program(set, NOW, NULL);
    set = restart(set, &both, NOW + DAY);
    assert_int_equal(update(set, NOW + DAY), CA_SET_MADE_FIRST);
    assert_int_equal(certificates(set, NOW + DAY), 2);
    assert_true(is_trusted(program, set, "api.x.test", NOW + DAY));
    assert_int_equal(ca_set_sign_leaf(set, SLICE("api.x.test"), true, spki, NOW + DAY, &der, &until_s, &e), 0);
    const unsigned char *at = (const unsigned char *)buf_slice(&der).ptr;
    X509 *leaf = d2i_X509(NULL, &at, (long)der.len);
    assert_int_equal(X509_get_signature_nid(leaf), NID_sha256WithRSAEncryption);
    X509_free(leaf);
    buf_done(&der);
    X509_STORE_free(program);
    ca_set_free(set);
}

static int set_up(void **state)
{
    static unsigned char der[256];
    unsigned char *at = der;
    (void)state;
    leaf_key = EVP_EC_gen("P-256");
    spki = slice_of(der, (size_t)i2d_PUBKEY(leaf_key, &at));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(leaf_key);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_changes_nothing),
        cmocka_unit_test(what_was_stored_twice_is_there_once),
        cmocka_unit_test(damaged_text_adds_nothing),
        cmocka_unit_test(no_program_that_is_started_each_month_meets_a_stranger),
        cmocka_unit_test(a_successor_is_published_after_half_a_year_and_signs_a_month_later),
        cmocka_unit_test(one_that_is_about_to_end_does_not_sign_what_a_successor_can),
        cmocka_unit_test(a_clock_that_was_wrong_for_a_while_loses_nothing),
        cmocka_unit_test(a_new_host_gets_a_ca_of_its_own_and_the_others_keep_theirs),
        cmocka_unit_test(four_sign_at_most_and_the_next_successor_speaks_for_all),
        cmocka_unit_test(only_what_a_rule_names_is_signed),
        cmocka_unit_test(a_ca_for_everything_goes_when_constraints_are_asked_for),
        cmocka_unit_test(without_rules_there_is_one_that_speaks_for_nobody),
        cmocka_unit_test(a_rotation_publishes_now_and_signs_in_a_month),
        cmocka_unit_test(many_rotations_at_once_stay_within_bounds),
        cmocka_unit_test(what_could_not_be_published_does_not_sign),
        cmocka_unit_test(in_memory_it_lives_for_ten_years_without_a_successor),
        cmocka_unit_test(with_rsa_there_are_two_and_each_signs_for_its_clients),
    };
    return cmocka_run_group_tests_name("ca_set", tests, set_up, tear_down);
}
