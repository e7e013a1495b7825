/* The configuration: any text gives a config or an error, never a crash, a leak or an unfilled rule. */
#include "app/config/config.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_options options = { .files = SCHEMA_FILES_NONE, .allow_inline_secrets = size % 2 };
    struct err e = { "" };
    struct config *c = config_parse(slice_of(data, size), "fuzz", &options, &e);
    if (!c) {
        if (!*e.text)
            abort();
        return 0;
    }
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct rule *r = &c->rules[i];
        if (!r->host || !r->name || !r->port || (r->credential && !r->inject_count)
            || r->replay_max_bytes == UINT64_MAX)
            abort();
    }
    for (size_t i = 0; i < c->credential_count; i++)
        if (!c->credentials[i].name || c->credentials[i].client_auth > CLIENT_AUTH_PRIVATE_KEY_JWT)
            abort();
    config_free(c);
    return 0;
}
