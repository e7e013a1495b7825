/* What is stored for one credential, and its JSON form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "refresh/store/state.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

static void set(struct secret *s, const char *text)
{
    assert_int_equal(secret_set(s, slice_str(text)), 0);
}

static void assert_secret(const struct secret *s, struct slice want)
{
    assert_true(slice_eq(secret_peek(s), want));
}

static struct state full_state(void)
{
    struct state s;
    state_init(&s);
    s.generation = 7;
    set(&s.access_token, "at-7");
    set(&s.refresh_token, "rt-7");
    set(&s.alt_refresh, "rt-other");
    s.expires_wall_ms = 1700003600000;
    s.obtained_wall_ms = 1700000000000;
    s.refresh_in_ms = 1800000;
    memcpy(s.refresh_fp, "0123abcd", 9);
    memcpy(s.dead_fp, "feedbeef", 9);
    s.extra = json_pack("{s:s, s:{s:[i,b]}, s:n}", "scope", "a b", "nested", "deep", 1, 1, "nothing");
    assert_non_null(s.extra);
    return s;
}

static void assert_same(const struct state *a, const struct state *b)
{
    assert_int_equal(a->generation, b->generation);
    assert_secret(&a->access_token, secret_peek(&b->access_token));
    assert_secret(&a->refresh_token, secret_peek(&b->refresh_token));
    assert_secret(&a->alt_refresh, secret_peek(&b->alt_refresh));
    assert_int_equal(a->expires_wall_ms, b->expires_wall_ms);
    assert_int_equal(a->obtained_wall_ms, b->obtained_wall_ms);
    assert_int_equal(a->refresh_in_ms, b->refresh_in_ms);
    assert_string_equal(a->refresh_fp, b->refresh_fp);
    assert_string_equal(a->dead_fp, b->dead_fp);
    assert_true((!a->extra && !b->extra) || json_equal(a->extra, b->extra));
}

/* Through JSON and back into *ret (initialised here). */
static void round_trip(const struct state *s, struct state *ret)
{
    struct buf json;
    struct err e = { "" };
    buf_init_secret(&json, STATE_MAX_BYTES);
    assert_int_equal(state_write(s, &json), 0);
    state_init(ret);
    if (state_read(ret, buf_slice(&json), &e) != 0)
        fail_msg("%s", e.text);
    buf_done(&json);
}

static void what_is_written_is_read_back(void **unused)
{
    (void)unused;
    struct state s = full_state(), back;
    round_trip(&s, &back);
    assert_same(&s, &back);
    state_done(&back);
    state_done(&s);
}

static void an_empty_state_is_read_back(void **unused)
{
    (void)unused;
    struct state s, back;
    state_init(&s);
    round_trip(&s, &back);
    assert_same(&s, &back);
    assert_null(back.extra);
    state_done(&back);
    state_done(&s);
}

static void a_token_of_any_bytes_is_read_back(void **unused)
{
    (void)unused;
    const struct slice tokens[] = {
        SLICE("plain"),
        SLICE("quote\" back\\slash / tab\t"),
        SLICE("nul\0inside"),
        SLICE("\xff\xfe not text \x80"),
        SLICE("gr\xc3\xbc\xc3\x9f"),
        SLICE("\x01\x1f\x7f"),
        SLICE("\0"),
        SLICE("{\"base64\":\"YQ==\"}"),
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        struct state s, back;
        state_init(&s);
        assert_int_equal(secret_set(&s.refresh_token, tokens[i]), 0);
        round_trip(&s, &back);
        assert_secret(&back.refresh_token, tokens[i]);
        state_done(&back);
        state_done(&s);
    }
}

static void times_out_of_range_are_clamped_so_that_no_answer_is_lost(void **unused)
{
    (void)unused;
    static const struct {
        int64_t given, stored;
    } table[] = {
        { -1, 0 }, { INT64_MIN, 0 }, { INT64_MAX, 253402300799999 }, { 253402300799999, 253402300799999 }, { 0, 0 }
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct state s, back;
        state_init(&s);
        s.expires_wall_ms = s.obtained_wall_ms = s.refresh_in_ms = table[i].given;
        round_trip(&s, &back);
        assert_int_equal(back.expires_wall_ms, table[i].stored);
        assert_int_equal(back.obtained_wall_ms, table[i].stored);
        assert_int_equal(back.refresh_in_ms, table[i].stored);
        state_done(&back);
        state_done(&s);
    }
}

static void unknown_members_survive_a_rewrite(void **unused)
{
    (void)unused;
    static const char document[] =
        "{\"scope\":\"a\",\"access_token\":\"x\",\"from_tomorrow\":{\"k\":[1,2.5,null,\"\\u00fc\"]},\"generation\":3}";
    struct state s, back;
    state_init(&s);
    assert_int_equal(state_read(&s, slice_str(document), NULL), 0);
    assert_int_equal(json_object_size(s.extra), 2);
    round_trip(&s, &back);
    assert_same(&s, &back);
    assert_string_equal(json_string_value(json_object_get(back.extra, "scope")), "a");
    assert_int_equal(json_array_size(json_object_get(json_object_get(back.extra, "from_tomorrow"), "k")), 4);
    state_done(&back);
    state_done(&s);
}

static void an_extra_member_cannot_pose_as_one_of_ours(void **unused)
{
    (void)unused;
    struct state s, back;
    state_init(&s);
    s.generation = 4;
    set(&s.refresh_token, "ours");
    s.extra = json_pack("{s:s, s:i, s:s}", "refresh_token", "theirs", "generation", 99, "kept", "yes");
    round_trip(&s, &back);
    assert_int_equal(back.generation, 4);
    assert_secret(&back.refresh_token, SLICE("ours"));
    assert_int_equal(json_object_size(back.extra), 1);
    state_done(&back);
    state_done(&s);
}

static void what_is_wrong_is_refused_and_the_old_state_stays(void **unused)
{
    (void)unused;
    static const char *const documents[] = {
        "",
        " ",
        "{",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{}x",
        "{\"a\":1,\"a\":2}",
        "{\"generation\":-1}",
        "{\"generation\":1.5}",
        "{\"generation\":\"1\"}",
        "{\"generation\":null}",
        "{\"generation\":9223372036854775807}",
        "{\"generation\":99999999999999999999}",
        "{\"access_token\":1}",
        "{\"access_token\":null}",
        "{\"access_token\":{}}",
        "{\"access_token\":{\"base64\":7}}",
        "{\"access_token\":{\"base64\":\"***\"}}",
        "{\"refresh_token\":[\"x\"]}",
        "{\"alt_refresh\":true}",
        "{\"expires_wall_ms\":\"soon\"}",
        "{\"expires_wall_ms\":-5}",
        "{\"expires_wall_ms\":253402300800000}",
        "{\"obtained_wall_ms\":1e3}",
        "{\"refresh_in_ms\":null}",
        "{\"refresh_fp\":\"123456789\"}",
        "{\"refresh_fp\":5}",
        "{\"dead_fp\":\"a\\u0000b\"}",
        "{\"access_token\":\"\xff\"}",
    };
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct state s = full_state(), before = full_state();
        struct err e = { "" };
        if (state_read(&s, slice_str(documents[i]), &e) == 0)
            fail_msg("taken: %s", documents[i]);
        assert_true(e.text[0] != '\0');
        assert_same(&s, &before);
        state_done(&s);
        state_done(&before);
    }
}

static void an_error_never_quotes_the_document(void **unused)
{
    (void)unused;
    static const char *const documents[] = {
        "{\"access_token\":\"top-secret\" \"x\"}", "{\"access_token\": top-secret}",      "top-secret",
        "{\"expires_wall_ms\":\"top-secret\"}",    "{\"top-secret\":1,\"top-secret\":2}", "{\"dead_fp\":\"top-secret\"}"
    };
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct state s;
        struct err e = { "" };
        state_init(&s);
        assert_int_equal(state_read(&s, slice_str(documents[i]), &e), -1);
        assert_null(strstr(e.text, "secret"));
        state_done(&s);
    }
}

static void deep_nesting_is_refused(void **unused)
{
    (void)unused;
    static char document[200001];
    struct state s;
    memset(document, '[', sizeof document - 1);
    memcpy(document, "{\"x\":", 5);
    state_init(&s);
    assert_int_equal(state_read(&s, slice_str(document), NULL), -1);
    state_done(&s);
}

static void a_buf_that_is_too_small_keeps_its_content(void **unused)
{
    (void)unused;
    struct state s = full_state();
    struct buf whole;
    buf_init_secret(&whole, STATE_MAX_BYTES);
    assert_int_equal(state_write(&s, &whole), 0);
    for (size_t cap = 6; cap < whole.len + 6; cap++) {
        struct buf out;
        buf_init_secret(&out, cap);
        assert_int_equal(buf_add_str(&out, "before"), 0);
        assert_int_equal(state_write(&s, &out), -ENOBUFS);
        assert_true(slice_eq(buf_slice(&out), SLICE("before")));
        buf_done(&out);
    }
    buf_done(&whole);
    state_done(&s);
}

static void a_copy_is_deep_and_replaces(void **unused)
{
    (void)unused;
    struct state s = full_state(), copy, before = full_state();
    state_init(&copy);
    set(&copy.alt_refresh, "goes away");
    assert_int_equal(state_copy(&copy, &s), 0);
    assert_same(&copy, &before);
    assert_int_equal(json_object_set_new(s.extra, "scope", json_string("changed")), 0);
    state_done(&s);
    assert_same(&copy, &before);
    state_done(&copy);
    state_done(&before);
}

static void a_state_may_be_copied_onto_itself(void **unused)
{
    (void)unused;
    struct state s = full_state(), before = full_state();
    assert_int_equal(state_copy(&s, &s), 0);
    assert_same(&s, &before);
    state_done(&s);
    state_done(&before);
}

static void what_jansson_frees_is_wiped(void **unused)
{
    (void)unused;
#ifdef SANITIZED
    skip(); /* looks at freed memory on purpose */
#else
    struct state s;
    state_init(&s);
    char text[4096];
    memset(text, 'S', sizeof text);
    json_t *string = json_stringn(text, sizeof text);
    volatile const char *inside = json_string_value(string);
    json_decref(string);
    size_t left = 0;
    for (size_t i = 64; i < sizeof text; i++) /* the allocator's own notes are at the front */
        left += inside[i] == 'S';
    assert_int_equal(left, 0);
#endif
}

static void tried_tokens_are_known_and_the_oldest_makes_room(void **state)
{
    struct state s, copy;
    struct buf out;
    struct err e;
    char fp[9];
    (void)state;
    state_init(&s);
    state_init(&copy);
    state_add_tried(&s, "");
    assert_string_equal(s.tried, "");
    for (unsigned i = 0; i < STATE_TRIED_MAX + 3; i++) {
        snprintf(fp, sizeof fp, "%08x", i);
        state_add_tried(&s, fp);
        state_add_tried(&s, fp);
        assert_true(state_has_tried(&s, fp));
    }
    assert_false(state_has_tried(&s, "00000002"));
    assert_true(state_has_tried(&s, "00000003"));
    assert_false(state_has_tried(&s, "0000000"));
    assert_false(state_has_tried(&s, ""));
    buf_init_secret(&out, STATE_MAX_BYTES);
    assert_int_equal(state_write(&s, &out), 0);
    assert_int_equal(state_read(&copy, buf_slice(&out), &e), 0);
    assert_string_equal(copy.tried, s.tried);
    buf_done(&out);
    state_done(&s);
    state_done(&copy);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(an_empty_state_is_read_back),
        cmocka_unit_test(a_token_of_any_bytes_is_read_back),
        cmocka_unit_test(times_out_of_range_are_clamped_so_that_no_answer_is_lost),
        cmocka_unit_test(unknown_members_survive_a_rewrite),
        cmocka_unit_test(an_extra_member_cannot_pose_as_one_of_ours),
        cmocka_unit_test(what_is_wrong_is_refused_and_the_old_state_stays),
        cmocka_unit_test(an_error_never_quotes_the_document),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(a_buf_that_is_too_small_keeps_its_content),
        cmocka_unit_test(a_copy_is_deep_and_replaces),
        cmocka_unit_test(a_state_may_be_copied_onto_itself),
        cmocka_unit_test(what_jansson_frees_is_wiped),
        cmocka_unit_test(tried_tokens_are_known_and_the_oldest_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
