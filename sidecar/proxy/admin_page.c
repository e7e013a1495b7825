#include "proxy/admin_page.h"

#include <stdio.h>
#include <string.h>

#include "base/embedded.h"
#include "base/rand.h"

#define PLACE "@NONCE@"

int admin_page(struct buf *out, char policy[ADMIN_PAGE_POLICY_BYTES])
{
    uint64_t random[2];
    char nonce[33];
    int failed = 0;
    rand_bytes(random, sizeof random);
    snprintf(nonce, sizeof nonce, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
    snprintf(policy, ADMIN_PAGE_POLICY_BYTES,
             "default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; img-src data:; connect-src 'self'; "
             "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
             nonce, nonce);
    const char *at = status_page[0].text;
    for (const char *place; failed == 0 && (place = strstr(at, PLACE)); at = place + strlen(PLACE)) {
        failed = buf_add(out, slice_of(at, (size_t)(place - at)));
        failed = failed ? failed : buf_add_str(out, nonce);
    }
    return failed ? failed : buf_add_str(out, at);
}
