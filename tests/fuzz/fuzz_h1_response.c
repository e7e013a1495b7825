/* Responses to GET, HEAD and CONNECT: the same verdict however they are cut; what goes to the client reads back as what
 * was meant. */
#include "tests/fuzz/fuzz_h1.h"

static void write_back(struct message *m, const char *answers)
{
    bool head_only = strcmp(answers, "HEAD") == 0 || m->status == 304;
    if (strcmp(answers, "CONNECT") == 0)
        return; /* a proxy answers its own CONNECT */
    if (m->framing == FRAMING_NONE && m->status >= 200 && m->status != 204 && !head_only)
        abort(); /* it would have ended with the connection */
    fuzz_written(H1_RESPONSES, answers, m, head_only);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const methods[] = { "", "HEAD", "CONNECT" };
    if (size == 0)
        return 0;
    const char *answers = methods[bytes[0] % 3];
    struct slice in = { (const char *)bytes + 1, size - 1 }, data;
    fuzz_cuts(H1_RESPONSES, answers, in, bytes[0] / 3);

    struct h1 *p = h1_new(H1_RESPONSES);
    demand(p != NULL);
    if (*answers)
        h1_expect(p, slice_str(answers));
    bool first = true; /* the method counts for the first final answer */
    for (enum h1_event event = H1_HEAD; event == H1_HEAD || event == H1_DATA || event == H1_END;) {
        event = h1_next(p, &in, &data);
        if (event != H1_HEAD)
            continue;
        struct message *m = h1_head(p), copy;
        const char *for_this = first ? answers : "";
        first = first && m->status < 200 && m->status != 101;
        message_init(&copy);
        demand(message_copy(&copy, m) == 0);
        write_back(&copy, for_this);
        message_done(&copy);
        if (rules_forward_response(m, true).status == 0) {
            size_t count;
            message_get(m, SLICE("alt-svc"), &count);
            demand(count == 0);
            message_get(m, SLICE("connection"), &count);
            demand(count == 0);
            write_back(m, for_this);
        }
    }
    h1_free(p);
    return 0;
}
