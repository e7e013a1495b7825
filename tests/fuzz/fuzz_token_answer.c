/* Whatever a token endpoint says: what comes out is a token that a header may carry, or a reason. */
#include "refresh/grant/grant.h"
#include "refresh/flight/state_from_answer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int status, struct slice body)
{
    struct grant_answer a = { .lifetime_ms = 0 };
    char why[128] = "";
    enum grant_result result = grant_parse(status, body, &a, why);
    struct slice token = secret_peek(&a.access_token);
    if (result == GRANT_TOKEN) {
        struct state parent, next;
        if (status > 299 || token.len == 0 || token.len > GRANT_TOKEN_MAX || a.lifetime_ms < 0 || a.expires_wall_ms < 0
            || a.refresh_in_ms < 0)
            abort();
        for (size_t i = 0; i < token.len; i++)
            if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
                abort();
        state_init(&parent);
        state_init(&next);
        if (state_from_answer(&parent, &a, SLICE("old"), "", 0, 1700000000000, &next) != 0 || next.generation != 1
            || secret_empty(&next.refresh_token))
            abort();
        state_done(&next);
    } else if (why[0] == '\0' || (result == GRANT_ERROR) != (a.code[0] != '\0'))
        abort();
    grant_answer_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    check(200, body);
    check(400, body);
    (void)grant_jwt_expiry(body);
    return 0;
}
