/* Token requests of programs: whatever comes, what is ours shows the placeholder of its rule, and nothing that shows
 * one is taken for another client's. */
#include <stdlib.h>

#include "proxy/answer.h"

#define PLACEHOLDER "sk-Zm9vYmFyMDEyMzQ1Njc4"
#define RUN "Zm9vYmFyMDEyMzQ1Njc4"

static const char *const types[] = { "application/x-www-form-urlencoded", "application/json", "text/plain", NULL };

static bool is_stray(void *arg, struct slice text)
{
    (void)arg;
    return memmem(text.ptr, text.len, RUN, sizeof RUN - 1) != NULL;
}

static void demand(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct rule rule = { .credential = (char *)(uintptr_t)"one",
                         .answered = { .any = (char *)(uintptr_t)PLACEHOLDER },
                         .answer = RULE_ANSWERS_TOKEN,
                         .answers_installation = size && bytes[0] & 4 };
    const struct rule *const rules[] = { &rule }, *whose = NULL;
    struct answer_error error = { 0 };
    struct message m;
    if (size < 2 || size > ANSWER_BODY_MAX)
        return 0;
    struct slice rest = slice_of(bytes + 1, size - 1), field = slice_cut(rest, '\n', &rest);
    const char *type = types[bytes[0] & 3];
    message_init(&m);
    bool built = message_start_request(&m, SLICE("POST"), SLICE("/token")) == 0
                 && (!type || message_add(&m, SLICE("content-type"), slice_str(type)) == 0)
                 && (!field.len || message_add(&m, SLICE("authorization"), field) == 0);
    if (built) {
        const struct answer_asked asked = {
            .request = &m, .body = rest, .rules = rules, .count = 1, .now_s = 1700000000, .is_stray = is_stray
        };
        enum answer_verdict verdict = answer_judge(&asked, &whose, &error);
        demand(verdict != ANSWER_OURS || whose == &rule);
        demand(verdict != ANSWER_ERROR || (error.status && error.code && error.text));
        bool plain = type == types[0] && memmem(rest.ptr ? rest.ptr : "", rest.len, RUN, sizeof RUN - 1);
        demand(verdict != ANSWER_OTHERS || !plain);
    }
    message_done(&m);
    return 0;
}
