#include "refresh/flight/request_slots.h"

#include <stdio.h>
#include <string.h>

/* FNV-1a: tells hosts apart quickly; the text decides. */
static uint64_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037U;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211U;
    return hash;
}

static bool same_host(const struct request_slot *a, const struct request_slot *b)
{
    return a->hash == b->hash && strcmp(a->host, b->host) == 0;
}

/* Requests of the same host that are out.  A request without a host shares with nobody. */
static unsigned out_for(const struct request_slots *all, const struct request_slot *s)
{
    unsigned count = 0;
    for (unsigned i = 0; i < all->held && s->host[0]; i++)
        count += same_host(all->holders[i], s);
    return count;
}

static bool fits(const struct request_slots *all, const struct request_slot *s, unsigned out)
{
    bool first = out == 0 && s->host[0];
    return out < REQUEST_SLOTS_HOST
           && all->held < (first ? REQUEST_SLOTS_ALL : REQUEST_SLOTS_ALL - REQUEST_SLOTS_SPARE);
}

static void hold(struct request_slot *s)
{
    struct request_slots *all = s->slots;
    list_remove(&s->node);
    s->waits = false;
    s->held = true;
    all->holders[all->held++] = s;
}

/* The one whose turn it is: NULL when nobody may have a slot now. */
static struct request_slot *next_of(struct request_slots *all)
{
    struct request_slot *best = NULL;
    unsigned fewest = REQUEST_SLOTS_HOST;
    for (struct list *l = all->queue.next; l != &all->queue && fewest > 0; l = l->next) {
        struct request_slot *s = LIST_ENTRY(l, struct request_slot, node);
        unsigned out = out_for(all, s);
        if (out >= fewest || !fits(all, s, out))
            continue;
        best = s;
        fewest = out;
    }
    return best;
}

void request_slot_init(struct request_slot *s, struct request_slots *slots, void (*granted)(void *arg), void *arg)
{
    *s = (struct request_slot){ .slots = slots, .granted = granted, .arg = arg };
    list_init(&s->node);
    if (!slots->queue.next)
        list_init(&slots->queue);
}

bool request_slot_take(struct request_slot *s, const char *host)
{
    if ((s->held || s->waits) && strcmp(s->host, host) == 0)
        return s->held;
    request_slot_give(s);
    snprintf(s->host, sizeof s->host, "%s", host);
    s->hash = hash_of(s->host);
    /* whoever waits already could not have it: a slot that is free goes to them as soon as it is */
    if (fits(s->slots, s, out_for(s->slots, s))) {
        hold(s);
        return true;
    }
    s->waits = true;
    list_push(&s->slots->queue, &s->node);
    return false;
}

void request_slot_give(struct request_slot *s)
{
    struct request_slots *all = s->slots;
    list_remove(&s->node);
    s->waits = false;
    if (!s->held)
        return;
    s->held = false;
    for (unsigned i = 0; i < all->held; i++)
        if (all->holders[i] == s)
            all->holders[i--] = all->holders[--all->held];
    for (struct request_slot *next; (next = next_of(all));) {
        hold(next);
        next->granted(next->arg);
    }
}
