/* DNS queries of an isolated program: whatever comes, the answer fits, repeats the question, and is one. */
#include <stdlib.h>
#include <string.h>

#include "proxy/dns_answer.h"

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static int address_of(void *arg, const char *name, bool v6, uint8_t address[16])
{
    (void)arg;
    demand(strlen(name) <= DNS_NAME_MAX);
    memset(address, 1, v6 ? 16 : 4);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct dns_names names = { .address_of = address_of, .v6 = true };
    uint8_t answer[DNS_ANSWER_MAX];
    size_t len = dns_answer(&names, slice_of((const char *)bytes, size), answer);
    demand(len <= sizeof answer);
    if (len == 0)
        return 0;
    demand(len >= 12 && (answer[2] & 0x80) && memcmp(answer, bytes, 2) == 0);
    /* an answer is no query: it is never answered */
    demand(dns_answer(&names, slice_of((const char *)answer, len), (uint8_t[DNS_ANSWER_MAX]){ 0 }) == 0);
    return 0;
}
