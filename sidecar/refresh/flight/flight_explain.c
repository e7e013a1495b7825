/* What went wrong with a token request, in words for people. */
#include "refresh/flight/flight_private.h"

#include "refresh/grant/refusal.h"

#include <stdio.h>
#include <string.h>

#define ADVICE_SIZE 160

/* What may be done about it; "": nothing is known. */
static void advise(const struct flight *f, const struct fetch_answer *a, const struct grant_answer *answer,
                   char text[ADVICE_SIZE])
{
    /* servers name the client in many ways, with 401 alone, or with 400 and not a word */
    bool client = a->status == 401 || (a->status == 400 && a->body.len == 0) || strcasestr(answer->code, "client")
                  || strcasestr(answer->said, "client");
    text[0] = '\0';
    if (a->redirect)
        snprintf(text, ADVICE_SIZE, " (a redirect to %.90s, which is not followed: check token_url)", a->redirect);
    else if (f->attempt.encoded && !f->attempt.impersonating && client && a->status >= 400 && a->status < 500)
        snprintf(text, ADVICE_SIZE,
                 " (the client's id or secret has characters that Basic encodes: try client_auth: body, or basic_raw)");
}

void flight_explain(const struct flight *f, const struct fetch_answer *a, struct grant_answer *answer, bool foreign,
                    char *why, char *text, size_t size)
{
    const char *who, *heard = a->cut && a->body.len == 0 ? "" : why; /* of what did not come there is nothing to say */
    if (grant_of(f->spec->grant)->way == GRANT_BY_COMMAND)
        who = "command";
    else if (f->attempt.impersonating)
        who = "impersonation";
    else
        who = "token endpoint";
    refusal_hide(why, secret_peek(&f->intent.spent));
    refusal_hide(answer->said, secret_peek(&f->intent.spent));
    char advice[ADVICE_SIZE];
    advise(f, a, answer, advice);
    int len;
    if (grant_of(f->spec->grant)->way == GRANT_BY_COMMAND)
        len = snprintf(text, size, "%s: %s", who, a->status ? why : a->error);
    else if (a->status)
        len = snprintf(text, size, "%s: HTTP %d, %s%s%s%s%s%s%s%s", who, a->status, a->cut ? a->error : "",
                       a->cut && heard[0] ? "; " : "", heard, advice, answer->said[0] ? ": \"" : "", answer->said,
                       answer->said[0] ? "\"" : "", foreign ? " (foreign_rotation: another program has used it)" : "");
    else
        len = snprintf(text, size, "%s: %s", who, a->error ? a->error : "no response");
    if (len >= (int)size)
        memcpy(text + size - 4, "...", 4);
}
