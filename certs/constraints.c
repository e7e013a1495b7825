#include "certs/constraints.h"

#include "certs/x509.h"

/* What no host can have (RFC 6761 §6.4): permitting it alone permits no name.  An excluded "" would say the same, and
 * Java refuses that. */
#define NO_NAME "invalid"

static bool add(STACK_OF(GENERAL_SUBTREE) * *list, GENERAL_NAME *base)
{
    GENERAL_SUBTREE *subtree = base ? GENERAL_SUBTREE_new() : NULL;
    if (!subtree || (!*list && !(*list = sk_GENERAL_SUBTREE_new_null()))) {
        GENERAL_SUBTREE_free(subtree);
        GENERAL_NAME_free(base);
        return false;
    }
    GENERAL_NAME_free(subtree->base);
    subtree->base = base;
    if (sk_GENERAL_SUBTREE_push(*list, subtree) > 0)
        return true;
    GENERAL_SUBTREE_free(subtree);
    return false;
}

/* A network is written as address and mask. */
static GENERAL_NAME *network(const unsigned char *ip, size_t len, unsigned char mask)
{
    unsigned char both[32];
    memcpy(both, ip, len);
    memset(both + len, mask, len);
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_OCTET_STRING *value = name ? ASN1_OCTET_STRING_new() : NULL;
    if (!value || ASN1_OCTET_STRING_set(value, both, (int)(2 * len)) != 1) {
        ASN1_OCTET_STRING_free(value);
        GENERAL_NAME_free(name);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, GEN_IPADD, value);
    return name;
}

/* A name of this type (text) that no host has: as the only permitted name it excludes all others. */
static GENERAL_NAME *no_such(int type)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *value = name ? ASN1_IA5STRING_new() : NULL;
    if (!value || ASN1_STRING_set(value, NO_NAME, (int)strlen(NO_NAME)) != 1) {
        ASN1_IA5STRING_free(value);
        GENERAL_NAME_free(name);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

static int permit(NAME_CONSTRAINTS *nc, const char *host, bool *io_names, bool *io_ips, struct err *e)
{
    struct slice name = slice_str(host);
    unsigned char ip[16];
    if (slice_starts(name, SLICE("*.")))
        name = slice_skip(name, 2);
    size_t kind = x509_host(name, ip);
    if (kind == 0)
        return err_set(e, "cannot permit the host \"%.200s\": not a host name (lower case, A-labels) or IP address",
                       host);
    *(kind == 1 ? io_names : io_ips) = true;
    GENERAL_NAME *one = kind == 1 ? x509_general_name(name) : network(ip, kind, 0xff);
    return add(&nc->permittedSubtrees, one) ? 0 : err_set(e, "out of memory");
}

NAME_CONSTRAINTS *constraints_new(const char *const *hosts, struct err *e)
{
    static const unsigned char any[16];
    NAME_CONSTRAINTS *nc = NAME_CONSTRAINTS_new();
    bool names = false, ips = false;
    if (!nc)
        goto out_of_memory;
    for (; *hosts; hosts++)
        if (permit(nc, *hosts, &names, &ips, e) != 0)
            goto failed;
    if (!names && !add(&nc->permittedSubtrees, x509_general_name(SLICE(NO_NAME))))
        goto out_of_memory;
    if (!add(&nc->permittedSubtrees, no_such(GEN_EMAIL)) || !add(&nc->permittedSubtrees, no_such(GEN_URI)))
        goto out_of_memory;
    if (!ips && (!add(&nc->excludedSubtrees, network(any, 4, 0)) || !add(&nc->excludedSubtrees, network(any, 16, 0))))
        goto out_of_memory;
    return nc;
out_of_memory:
    err_set(e, "out of memory");
failed:
    NAME_CONSTRAINTS_free(nc);
    return NULL;
}

static struct slice text_of(const ASN1_STRING *s)
{
    return slice_of((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
}

static bool ip_within(const unsigned char *ip, size_t len, struct slice network)
{
    const unsigned char *at = (const unsigned char *)network.ptr;
    bool same = network.len == 2 * len;
    for (size_t i = 0; same && i < len; i++)
        same = (ip[i] & at[len + i]) == (at[i] & at[len + i]);
    return same;
}

struct hash *constraints_names(const NAME_CONSTRAINTS *nc)
{
    struct hash *names = hash_new();
    for (int i = 0; names && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++) {
        GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i)->base;
        if (base->type == GEN_DNS && hash_put(names, text_of(base->d.dNSName), base) != 0) {
            hash_free(names);
            return NULL;
        }
    }
    return names;
}

/* RFC 5280 §4.2.1.10: a name lies within its own name and all to the right of a dot of it. */
static bool name_permitted(const struct hash *names, struct slice name)
{
    while (name.len && !hash_get(names, name))
        (void)slice_cut(name, '.', &name);
    return name.len > 0;
}

bool constraints_permit(const NAME_CONSTRAINTS *nc, const struct hash *names, const char *host)
{
    struct slice name = slice_str(host);
    unsigned char ip[16];
    if (slice_starts(name, SLICE("*.")))
        name = slice_skip(name, 2);
    size_t kind = x509_host(name, ip);
    if (kind == 1)
        return name_permitted(names, name);
    for (int i = 0; kind && i < sk_GENERAL_SUBTREE_num(nc->permittedSubtrees); i++) {
        const GENERAL_NAME *base = sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, i)->base;
        if (base->type == GEN_IPADD && ip_within(ip, kind, text_of(base->d.iPAddress)))
            return true;
    }
    return false;
}
