#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/websocket.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 §1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct row {
    const char *keys[2], *accepts[2];
    bool good;
};

static void fill(struct message *m, const char *name, const char *const values[2])
{
    message_init(m);
    for (size_t i = 0; i < 2 && values[i]; i++)
        assert_int_equal(message_add(m, slice_str(name), slice_str(values[i])), 0);
}

static void an_answer_is_good_when_it_was_made_from_the_one_key(void **state)
{
    static const char long_key[] = KEY KEY KEY KEY;
    static const struct row rows[] = {
        { { KEY }, { ACCEPT }, true },
        { { KEY }, { NULL }, false },
        { { NULL }, { ACCEPT }, false },
        { { KEY }, { ACCEPT, ACCEPT }, false },
        { { KEY, KEY }, { ACCEPT }, false },
        { { KEY }, { KEY }, false },
        { { KEY }, { "S3PPLMBITXAQ9KYGZZHZRBK+XOO=" }, false },
        { { KEY }, { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo" }, false },
        { { KEY }, { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=," }, false },
        { { "dGhlIHNhbXBsZSBub25jZQ=" }, { ACCEPT }, false },
        { { long_key }, { ACCEPT }, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message request, answer;
        fill(&request, "sec-webSocket-key", rows[i].keys);
        fill(&answer, "SEC-WEBSOCKET-ACCEPT", rows[i].accepts);
        if (websocket_accepted(&request, &answer) != rows[i].good)
            fail_msg("row %zu", i);
        message_done(&request);
        message_done(&answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_good_when_it_was_made_from_the_one_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
