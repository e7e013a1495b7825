/* The code becomes tokens, once. */
#include "refresh/login/login_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#define TRIES 5 /* as long as nothing was sent */
#define TRY_AGAIN_MS 1000

void login_code_done(struct login_code *c)
{
    secret_done(&c->code);
    secret_done(&c->verifier);
    free(c->redirect_uri);
    *c = (struct login_code){ .grant_type = NULL };
}

int login_redeem(struct login *l, const struct login_code *code, struct login_response *ret, struct err *e)
{
    const struct grant_member members[] = { { "grant_type", slice_str(code->grant_type) },
                                            { code->member, secret_peek(&code->code) },
                                            { "redirect_uri", slice_str(code->redirect_uri) },
                                            { "code_verifier", secret_peek(&code->verifier) },
                                            { "resource", slice_str(l->spec->resource) } };
    for (int i = 0; i < TRIES; i++) {
        if (i)
            login_sleep(TRY_AGAIN_MS);
        login_response_done(ret);
        if (login_post(l, l->spec->token_url, members, sizeof members / sizeof *members, ret, e) != 0)
            return EX_UNAVAILABLE;
        if (ret->status || ret->sent)
            break; /* a code is good for one request */
    }
    return 0;
}

int login_read(const struct login *l, const struct login_response *r, struct grant_answer *ret, struct err *e)
{
    char why[GRANT_WHY_BYTES] = "";
    const struct grant_input in = { r->status, buf_slice(&r->body), r->cut, l->spec };
    if (r->status == 0 || r->status >= 300)
        return login_refused(l->spec->token_url, r, e);
    enum grant_result result = grant_answer_parse(&in, ret, why);
    if (result == GRANT_ERROR)
        return login_refused(l->spec->token_url, r, e);
    if (result != GRANT_TOKEN) {
        err_set(e, "the token response cannot be used: %s", why);
        return EX_UNAVAILABLE;
    }
    int status = login_check_audience(l->spec, buf_slice(&r->body), secret_peek(&ret->access_token), e);
    if (status || !secret_empty(&ret->refresh_token))
        return status;
    err_set(e, "the provider gave no refresh token: request one, for example with login: {scope: \"… offline_access\"} "
               "or login: {params: {access_type: offline, prompt: consent}}, as its documentation says");
    return EX_UNAVAILABLE;
}
