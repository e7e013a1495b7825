/* Whatever a token endpoint says: what comes out is a token that a header may carry, or a reason.  And whatever
 * somebody chose as a value in it (a display name): it never becomes a token. */
#include "refresh/grant/grant.h"
#include "refresh/flight/state_from_answer.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int status, struct slice body, bool cut)
{
    struct grant_answer a = { .lifetime_ms = 0 };
    char why[GRANT_WHY_BYTES] = "";
    const struct grant_input in = { .status = status, .body = body, .cut = cut };
    enum grant_result result = grant_answer_parse(&in, &a, why);
    struct slice token = secret_peek(&a.access_token);
    if (result == GRANT_TOKEN) {
        struct state parent, next;
        /* under a status of failure an access token counts only with a refresh token beside it */
        if ((status > 299 && secret_empty(&a.refresh_token) && !a.refresh_unfit) || token.len == 0
            || token.len > GRANT_TOKEN_MAX || a.lifetime_ms < 0 || a.expires_wall_ms < 0 || a.refresh_in_ms < 0)
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
    } else if (why[0] == '\0' || (result == GRANT_ERROR) != (a.code[0] != '\0') || token.len)
        abort();
    grant_answer_done(&a);
}

/* ---- the attacker: a value of his in a response of a server that escapes it as JSON asks, and in forms ---- */

static void add_escaped(struct buf *out, const uint8_t *data, size_t size, bool raw_bytes)
{
    for (size_t i = 0; i < size; i++) {
        char escape[8];
        bool plain = data[i] >= ' ' && data[i] != '"' && data[i] != '\\' && (raw_bytes || data[i] < 0x7f);
        snprintf(escape, sizeof escape, "\\u%04x", data[i]);
        if (data[i] == '"' || data[i] == '\\')
            snprintf(escape, sizeof escape, "\\%c", data[i]);
        if (buf_add(out, plain ? slice_of(&data[i], 1) : slice_str(escape)) != 0)
            abort();
    }
}

static bool is_ours(const struct secret *token, const char *ours)
{
    return secret_empty(token) || slice_eq(secret_peek(token), slice_str(ours));
}

/* before, the attacker's value, behind: what is read of it, however much of it has come, is ours or nothing.  seed:
 * where it is cut, and how his bytes are written. */
static void attack(const char *before, const uint8_t *data, size_t size, const char *behind, unsigned seed, bool form)
{
    struct buf body;
    buf_init(&body, 8 * size + 4096);
    if (buf_add_str(&body, before) != 0)
        abort();
    if (form)
        for (size_t i = 0; i < size; i++) {
            if (buf_printf(&body, "%%%02x", data[i]) != 0)
                abort();
        }
    else
        add_escaped(&body, data, size, seed & 1);
    if (buf_add_str(&body, behind) != 0)
        abort();
    const size_t lens[] = { body.len, body.len * seed / 256,
                            strlen(before) + (body.len - strlen(before)) * seed / 256 };
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        size_t len = lens[i];
        struct grant_answer a = { .lifetime_ms = 0 };
        char why[GRANT_WHY_BYTES] = "";
        const struct grant_input in = { .status = 200,
                                        .body = slice_of(buf_slice(&body).ptr, len),
                                        .cut = len < body.len };
        (void)grant_answer_parse(&in, &a, why);
        if (!is_ours(&a.access_token, "our-access") || !is_ours(&a.refresh_token, "our-refresh"))
            abort();
        grant_answer_done(&a);
    }
    buf_done(&body);
}

static void attack_one(const uint8_t *data, size_t size)
{
    static const struct {
        const char *before, *behind;
        bool form;
    } shapes[] = {
        { "{\"name\":\"", "\",\"access_token\":\"our-access\",\"refresh_token\":\"our-refresh\"}", false },
        { "{\"access_token\":\"our-access\",\"user\":{\"name\":\"", "\"},\"refresh_token\":\"our-refresh\"}", false },
        { "<b>Notice</b>: x\n{\"refresh_token\":\"our-refresh\",\"a\":[[[[[[[[\"",
          "\"]]]]]]]],\"access_token\":\"our-access\"} //", false },
        { "{\"refresh_token\":\"our-refresh\",\"refresh_token\":\"our-refresh\",\"n\":1e999,\"name\":\"", "\"}",
          false },
        { "{\"data\":{\"access_token\":\"our-access\",\"name\":\"", "\"},\"n\":\"\xe9\"}", false },
        { "[{\"name\":\"", "\"}]", false },
        { "name=", "&access_token=our-access&refresh_token=our-refresh", true },
    };
    size_t i = data[0] % (sizeof shapes / sizeof *shapes);
    attack(shapes[i].before, data + 2, size - 2, shapes[i].behind, data[1], shapes[i].form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    check(200, body, false);
    check(200, body, true);
    check(400, body, false);
    if (size > 2 && size < 4096)
        attack_one(data, size);
    (void)grant_answer_jwt_expiry(body);
    return 0;
}
