#include "certs/ca_set_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/probe_host.h"
#include "certs/x509.h"

#define KEPT_MAX 12  /* of one key type, with those that have ended: a clock that was wrong loses none */
#define PEM_MAX 8192 /* of one authority and its key */

/* ---- life ---- */

static int want_hosts(struct ca_set *set)
{
    const char *const *hosts = set->options.constrain ? set->options.hosts : NULL;
    size_t count = 0;
    while (hosts && hosts[count])
        count++;
    if (!(set->wanted = calloc(count + 1, sizeof *set->wanted)))
        return -ENOMEM;
    set->wanted_count = hosts ? count : 1;
    for (size_t i = 0; i < count; i++)
        set->wanted[i] = hosts[i];
    return 0;
}

/* The key of an address does not depend on how it is written.  room: 17 bytes. */
static struct slice ip_key(struct slice host, char *room)
{
    size_t len = x509_host(host, (unsigned char *)room + 1);
    room[0] = '\0'; /* in no name */
    return slice_of(room, len > 1 ? 1 + len : 0);
}

static int name_hosts(struct ca_set *set)
{
    char room[17];
    const char *const *hosts = set->options.hosts;
    int failed = hosts && !(set->named = hash_new()) ? -ENOMEM : 0;
    for (; hosts && *hosts && failed == 0; hosts++) {
        struct slice host = slice_str(*hosts), ip = ip_key(host, room);
        failed = hash_put(set->named, ip.len ? ip : host, set);
    }
    return failed || !set->named ? failed : hash_put(set->named, SLICE(PROBE_HOST), set);
}

static int take_given(struct ca_set *set, int64_t now_s, struct err *e)
{
    const struct ca_set_options *o = &set->options;
    const struct ca_options given = { .permit_hosts = o->constrain ? o->hosts : NULL,
                                      .cert_file = o->cert_file,
                                      .key_file = o->key_file };
    if (!o->cert_file && !o->key_file)
        return 0;
    if (!(set->members[0].ca = ca_new(&given, now_s, e)))
        return -1;
    set->given = true;
    set->count = 1;
    return 0;
}

struct ca_set *ca_set_new(const struct ca_set_options *options, int64_t now_s, struct err *e)
{
    struct ca_set *set = calloc(1, sizeof *set);
    if (!set) {
        err_set(e, "out of memory");
        return NULL;
    }
    set->options = *options;
    set->options.constrain = options->constrain && options->hosts;
    if (want_hosts(set) != 0 || name_hosts(set) != 0)
        err_set(e, "out of memory");
    else if (take_given(set, now_s, e) == 0)
        return set;
    ca_set_free(set);
    return NULL;
}

void ca_set_free(struct ca_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        ca_free(set->members[i].ca);
    free(set->wanted);
    hash_free(set->named);
    free(set);
}

/* Takes one out. */
static void drop(struct ca_set *set, size_t at)
{
    ca_free(set->members[at].ca);
    set->count--;
    memmove(&set->members[at], &set->members[at + 1], (set->count - at) * sizeof *set->members);
}

void ca_set_undo(struct ca_set *set, size_t count)
{
    while (set->count > count)
        drop(set, set->count - 1);
}

/* ---- roles ---- */

/* The configuration limits what programs trust the CA for. */
static bool is_wide(const struct ca_set *set, const struct member *m)
{
    return set->options.constrain && !ca_is_constrained(m->ca) && !set->given;
}

static bool speaks_for(const struct member *m, const char *host)
{
    return host ? ca_permits(m->ca, host) : !ca_is_constrained(m->ca);
}

/* One whose turn has come and that has a day left; else a successor before its time; else one that is about to end. */
static int rank(const struct member *m, int64_t now_s)
{
    int lasts = ca_not_after_s(m->ca) - now_s > CA_SET_DAY_S;
    return 2 * lasts + !ca_set_is_pending(m, now_s);
}

static bool is_better(const struct member *a, const struct member *b, int64_t now_s)
{
    if (!b || rank(a, now_s) != rank(b, now_s))
        return !b || rank(a, now_s) > rank(b, now_s);
    if (a->signs_from_s != b->signs_from_s)
        return a->signs_from_s >= b->signs_from_s;
    return ca_not_before_s(a->ca) >= ca_not_before_s(b->ca); /* of the same second the later one */
}

/* unpublished: those count too that programs do not know yet. */
static struct member *signer(const struct ca_set *set, const char *host, bool rsa, bool unpublished, int64_t now_s)
{
    const struct member *best = NULL;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        if (ca_set_is_live(m, now_s) && !is_wide(set, m) && (m->published || unpublished)
            && (set->given || (ca_is_rsa(m->ca) == rsa && speaks_for(m, host))) && is_better(m, best, now_s))
            best = m;
    }
    return (struct member *)(uintptr_t)best;
}

static bool signs_for_any(const struct ca_set *set, const struct member *m, int64_t now_s)
{
    for (size_t i = 0; i < set->wanted_count; i++)
        if (signer(set, set->wanted[i], ca_is_rsa(m->ca), true, now_s) == m)
            return true;
    return false;
}

/* ---- making ---- */

/* hosts and the probe host, which a new CA permits too; none is made for its sake alone.  Heap; NULL: out of memory. */
static const char **and_probe_host(const char *const *hosts)
{
    size_t count = 0;
    while (hosts[count])
        count++;
    const char **list = calloc(count + 2, sizeof *list);
    if (list && count)
        memcpy(list, hosts, count * sizeof *list);
    if (list)
        list[count] = PROBE_HOST;
    return list;
}

static int make(struct ca_set *set, const char *const *hosts, bool rsa, int64_t signs_from_s, int64_t now_s,
                struct err *e)
{
    if (set->count == MEMBERS_MAX)
        return err_set(e, "there are already %d CAs", MEMBERS_MAX);
    const char **permitted = set->options.constrain ? and_probe_host(hosts) : NULL;
    if (set->options.constrain && !permitted)
        return err_set(e, "out of memory");
    const struct ca_options options = { .permit_hosts = permitted,
                                        .lifetime_s = set->options.renew ? CA_SET_LIFE_S : 0,
                                        .rsa = rsa };
    struct ca *ca = ca_new(&options, now_s, e);
    free(permitted);
    if (!ca)
        return -1;
    set->members[set->count++] = (struct member){ .ca = ca, .signs_from_s = signs_from_s, .fresh = true };
    return 0;
}

static size_t count_live(const struct ca_set *set, bool rsa, bool pending, int64_t now_s)
{
    size_t n = 0;
    for (size_t i = 0; i < set->count; i++)
        n += ca_set_is_live(&set->members[i], now_s) && ca_is_rsa(set->members[i].ca) == rsa
             && (pending || !ca_set_is_pending(&set->members[i], now_s));
    return n;
}

/* Which CA to remove when there are too many: the oldest that signs for no host, else the youngest, which the fewest
 * programs have read. */
static size_t victim(const struct ca_set *set, bool rsa, int64_t now_s)
{
    size_t idle = set->count, young = set->count;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        if (!ca_set_is_live(m, now_s) || ca_is_rsa(m->ca) != rsa || ca_set_is_pending(m, now_s))
            continue;
        if (!signs_for_any(set, m, now_s)
            && (idle == set->count || ca_not_before_s(m->ca) < ca_not_before_s(set->members[idle].ca)))
            idle = i;
        if (young == set->count || ca_not_before_s(m->ca) >= ca_not_before_s(set->members[young].ca))
            young = i;
    }
    return idle < set->count ? idle : young;
}

static void make_space(struct ca_set *set, bool rsa, int64_t now_s, unsigned *io_done)
{
    while (count_live(set, rsa, false, now_s) >= CA_SET_SIGNERS_MAX) {
        drop(set, victim(set, rsa, now_s));
        *io_done |= CA_SET_DROPPED;
    }
}

/* The hosts of the rules that no current CA is valid for.  NULL-terminated, heap; NULL: out of memory. */
static const char **uncovered(const struct ca_set *set, bool rsa, int64_t now_s, size_t *ret_count)
{
    const char **list = calloc(set->wanted_count + 1, sizeof *list);
    size_t n = 0;
    for (size_t i = 0; list && i < set->wanted_count; i++)
        if (!signer(set, set->wanted[i], rsa, true, now_s))
            list[n++] = set->wanted[i];
    *ret_count = n;
    return list;
}

static int make_for_hosts(struct ca_set *set, bool rsa, int64_t now_s, unsigned *io_done, struct err *e)
{
    size_t count;
    make_space(set, rsa, now_s, io_done);
    const char **hosts = uncovered(set, rsa, now_s, &count);
    int failed = hosts ? make(set, hosts, rsa, now_s, now_s, e) : err_set(e, "out of memory");
    free(hosts);
    *io_done |= failed ? 0 : CA_SET_MADE_FOR_HOSTS;
    return failed;
}

/* When the youngest CA that is valid for host was made; INT64_MAX: there is none. */
static int64_t youngest_s(const struct ca_set *set, const char *host, bool rsa, int64_t now_s)
{
    int64_t made_s = INT64_MIN;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        if (ca_set_is_live(m, now_s) && ca_is_rsa(m->ca) == rsa && speaks_for(m, host)
            && ca_not_before_s(m->ca) + CA_BACKDATE_S > made_s)
            made_s = ca_not_before_s(m->ca) + CA_BACKDATE_S;
    }
    return made_s == INT64_MIN ? INT64_MAX : made_s;
}

static bool needs_successor(const struct ca_set *set, bool rsa, int64_t now_s)
{
    for (size_t i = 0; set->options.renew && i < set->wanted_count; i++)
        if (youngest_s(set, set->wanted[i], rsa, now_s) <= now_s - CA_SET_SUCCESSOR_S)
            return true;
    return false;
}

static int make_due(struct ca_set *set, bool rsa, int64_t now_s, unsigned *io_done, struct err *e)
{
    size_t missing;
    const char **hosts = uncovered(set, rsa, now_s, &missing);
    free(hosts);
    if (!hosts)
        return err_set(e, "out of memory");
    if (count_live(set, rsa, true, now_s) == 0) {
        *io_done |= CA_SET_MADE_FIRST;
        return make(set, set->options.hosts, rsa, now_s, now_s, e);
    }
    if (missing)
        return make_for_hosts(set, rsa, now_s, io_done, e);
    if (!needs_successor(set, rsa, now_s))
        return 0;
    *io_done |= CA_SET_MADE_SUCCESSOR;
    return make(set, set->options.hosts, rsa, now_s + CA_SET_HANDOVER_S, now_s, e);
}

/* ---- what is due ---- */

static void drop_wide(struct ca_set *set, int64_t now_s, unsigned *io_done)
{
    for (size_t i = set->count; i-- > 0;)
        if (is_wide(set, &set->members[i])) {
            *io_done |= ca_set_is_live(&set->members[i], now_s) ? CA_SET_DROPPED : 0;
            drop(set, i);
        }
}

/* Of those out of their time the oldest go. */
static void drop_ended(struct ca_set *set, bool rsa, int64_t now_s)
{
    for (;;) {
        size_t kept = 0, oldest = set->count;
        for (size_t i = 0; i < set->count; i++) {
            if (ca_is_rsa(set->members[i].ca) != rsa)
                continue;
            kept++;
            if (!ca_set_is_live(&set->members[i], now_s)
                && (oldest == set->count
                    || ca_not_after_s(set->members[i].ca) < ca_not_after_s(set->members[oldest].ca)))
                oldest = i;
        }
        if (kept <= KEPT_MAX || oldest == set->count)
            return;
        drop(set, oldest);
    }
}

/* The moments that change what is due are those of the authorities: the last one that was, and the next one. */
static void see_moment(struct ca_set *set, int64_t at_s, int64_t now_s)
{
    if (at_s <= now_s && at_s > set->from_s)
        set->from_s = at_s;
    if (at_s > now_s && at_s < set->until_s)
        set->until_s = at_s;
}

static void see_time(struct ca_set *set, int64_t now_s, unsigned *io_done)
{
    if (set->next_signs_s && set->next_signs_s <= now_s)
        *io_done |= CA_SET_SIGNS;
    set->next_signs_s = ca_set_handover_s(set, now_s);
    set->from_s = INT64_MIN;
    set->until_s = INT64_MAX;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        see_moment(set, m->signs_from_s, now_s);
        see_moment(set, ca_not_before_s(m->ca), now_s);
        see_moment(set, ca_not_after_s(m->ca), now_s);
        if (set->options.renew)
            see_moment(set, ca_not_before_s(m->ca) + CA_BACKDATE_S + CA_SET_SUCCESSOR_S, now_s);
    }
}

int ca_set_update(struct ca_set *set, int64_t now_s, unsigned *ret_done, struct err *e)
{
    unsigned done = 0;
    int failed = 0;
    if (!set->given) {
        drop_wide(set, now_s, &done);
        for (int rsa = 0; rsa <= set->options.rsa && !failed; rsa++) {
            drop_ended(set, rsa, now_s);
            size_t before = set->count;
            failed = make_due(set, rsa, now_s, &done, e);
            if (failed && set->count > before)
                ca_set_undo(set, before);
        }
    }
    see_time(set, now_s, &done);
    *ret_done = done;
    return failed;
}

bool ca_set_is_due(const struct ca_set *set, int64_t now_s)
{
    return !set->given && (now_s < set->from_s || now_s >= set->until_s);
}

static struct member *pending(const struct ca_set *set, bool rsa, int64_t now_s)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        if (ca_set_is_live(m, now_s) && ca_set_is_pending(m, now_s) && ca_is_rsa(m->ca) == rsa)
            return (struct member *)(uintptr_t)m;
    }
    return NULL;
}

int ca_set_rotate(struct ca_set *set, int64_t now_s, bool at_once, unsigned *ret_done, struct err *e)
{
    unsigned done = 0;
    int failed = 0;
    if (set->given)
        return err_set(e, "the CA comes from ca.cert_file: replace that file and reload");
    for (int rsa = 0; rsa <= set->options.rsa && !failed; rsa++) {
        struct member *next = pending(set, rsa, now_s);
        if (next && at_once) {
            next->signs_from_s = now_s;
            done |= CA_SET_SIGNS;
        } else if (!next) {
            if (at_once)
                make_space(set, rsa, now_s, &done);
            failed = make(set, set->options.hosts, rsa, at_once ? now_s : now_s + CA_SET_HANDOVER_S, now_s, e);
            done |= at_once ? CA_SET_MADE_SUCCESSOR | CA_SET_SIGNS : CA_SET_MADE_SUCCESSOR;
        }
    }
    see_time(set, now_s, &done);
    *ret_done = done;
    return failed;
}

void ca_set_revert(struct ca_set *set)
{
    for (size_t i = set->count; i-- > 0;)
        if (set->members[i].fresh)
            drop(set, i);
}

int64_t ca_set_handover_s(const struct ca_set *set, int64_t now_s)
{
    int64_t first_s = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->members[i];
        if (ca_set_is_live(m, now_s) && ca_set_is_pending(m, now_s) && (!first_s || m->signs_from_s < first_s))
            first_s = m->signs_from_s;
    }
    return first_s;
}

/* ---- how many ---- */

size_t ca_set_count_published(const struct ca_set *set, int64_t now_s)
{
    size_t n = 0;
    for (size_t i = 0; i < set->count; i++)
        n += ca_set_is_live(&set->members[i], now_s) && set->members[i].published;
    return n;
}

size_t ca_set_count(const struct ca_set *set, int64_t now_s)
{
    return count_live(set, false, true, now_s) + count_live(set, true, true, now_s);
}

/* Without rules none signs: then the last end of all. */
static int64_t last_end_s(const struct ca_set *set, int64_t now_s)
{
    int64_t last_s = 0;
    for (size_t i = 0; i < set->count; i++)
        if (ca_set_is_live(&set->members[i], now_s) && ca_not_after_s(set->members[i].ca) > last_s)
            last_s = ca_not_after_s(set->members[i].ca);
    return last_s;
}

int64_t ca_set_expiry_s(const struct ca_set *set, int64_t now_s)
{
    int64_t first_s = 0;
    for (int rsa = 0; rsa <= set->options.rsa; rsa++)
        for (size_t i = 0; i < set->wanted_count; i++) {
            const struct member *m = signer(set, set->wanted[i], rsa, true, now_s);
            if (m && (!first_s || ca_not_after_s(m->ca) < first_s))
                first_s = ca_not_after_s(m->ca);
        }
    return first_s ? first_s : last_end_s(set, now_s);
}

/* ---- leaves ---- */

/* host: shorter than 256 bytes. */
static bool is_named(const struct ca_set *set, struct slice host)
{
    char room[2 + 256] = "*.";
    struct slice parent, ip = ip_key(host, room + 2);
    if (!set->named || hash_get(set->named, ip.len ? ip : host))
        return true;
    (void)slice_cut(host, '.', &parent);
    if (parent.len == 0)
        return false;
    memcpy(room + 2, parent.ptr, parent.len);
    return hash_get(set->named, slice_of(room, 2 + parent.len));
}

int ca_set_sign_leaf(struct ca_set *set, struct slice host, bool rsa, struct slice spki_der, int64_t now_s,
                     struct buf *out_der, int64_t *ret_not_after_s, struct err *e)
{
    unsigned char ip[16];
    char text[256];
    size_t kind = x509_host(host, ip);
    if (kind == 0 || host.len >= sizeof text)
        return err_set(e, "not a host name (lower case, A-labels) or IP address");
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (!is_named(set, host))
        return err_set(e, "the CA is not valid for %s: no rule names it", text);
    const struct member *m = signer(set, text, rsa, false, now_s);
    if (m)
        return ca_sign_leaf(m->ca, host, spki_der, now_s, out_der, ret_not_after_s, e);
    if (rsa && !set->options.rsa)
        return err_set(e, "the client does not support ECDSA certificates, and there is no CA with an RSA key");
    return err_set(e, "there is no published CA for %s", text);
}
