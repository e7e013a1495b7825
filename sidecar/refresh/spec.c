#include "refresh/spec.h"

#include <stdlib.h>

void spec_done(struct spec *s)
{
    for (size_t i = 0; i < s->param_count; i++) {
        free(s->params[i].name);
        free(s->params[i].value);
    }
    free(s->params);
    secret_ref_done(&s->client_secret);
    secret_ref_done(&s->refresh_token);
    secret_ref_done(&s->token);
    free(s->name);
    free(s->token_url);
    free(s->client_id);
    free(s->scope);
    free(s->audience);
    free(s->ca_file);
    free(s->cert_file);
    free(s->key_file);
    *s = (struct spec){ 0 };
}
