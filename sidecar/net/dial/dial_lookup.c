#include "net/dial/dial_private.h"

#include <stdlib.h>

#include "net/loop.h"

struct dial_lookup {
    struct address at;
    dial_lookup_fn *fn;
    void *arg;
    struct resolve *question;
    struct later later;
    bool leads_there;
};

static bool same_ip(const struct address *a, const struct address *b)
{
    struct address network = *b;
    network.prefix = b->sa.ss_family == AF_INET ? 32 : 128;
    return address_within(&network, (const struct sockaddr *)&a->sa);
}

static void on_lookup_over(struct later *later)
{
    struct dial_lookup *l = LIST_ENTRY(later, struct dial_lookup, later);
    l->fn(l->arg, l->leads_there);
    free(l);
}

static void on_looked_up(void *arg, const struct address *addresses, size_t count, const char *error)
{
    struct dial_lookup *l = arg;
    (void)error;
    l->question = NULL;
    for (size_t i = 0; i < count; i++)
        l->leads_there |= same_ip(&l->at, &addresses[i]);
    loop_later_ask(&l->later);
}

struct dial_lookup *dial_lookup_start(struct dialer *d, const struct authority *name, const struct authority *at,
                                      dial_lookup_fn *fn, void *arg)
{
    char key[AUTHORITY_TEXT_MAX];
    const struct dial_override *override = dialer_override(d, name);
    struct dial_lookup *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->fn = fn;
    l->arg = arg;
    loop_later_init(&l->later, on_lookup_over);
    if (address_parse(slice_str(authority_key(at, key)), at->port, &l->at) != 0)
        loop_later_ask(&l->later);
    else if (override)
        on_looked_up(l, &override->to, 1, NULL);
    else if (!(l->question = resolve_start(d->resolver, name->host, on_looked_up, l))) {
        free(l);
        return NULL;
    }
    return l;
}

void dial_lookup_cancel(struct dial_lookup *l)
{
    if (!l)
        return;
    resolve_cancel(l->question);
    loop_later_cancel(&l->later);
    free(l);
}
