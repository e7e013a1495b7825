#include "refresh/grant/grant.h"

/* Google's servers answer nobody who does not say this; for others (Azure: Metadata: true) the config has headers. */
static const struct credential_spec_param flavor[] = { { (char *)(uintptr_t)"Metadata-Flavor",
                                                         (char *)(uintptr_t)"Google" } };

static int add(struct grant_writer *w, const struct credential_spec *spec, const struct grant_secrets *secrets,
               struct grant_request *r, struct err *e)
{
    (void)w;
    (void)secrets;
    (void)e;
    if (spec->header_count == 0) {
        r->fields = flavor;
        r->field_count = 1;
    }
    return 0;
}

const struct grant grant_metadata = { "metadata", false, GRANT_BY_GET, false, add };
