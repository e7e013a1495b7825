#include "base/hash.h"

#include "base/rand.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_BUCKETS 16

struct node {
    struct node *next;
    void *value;
    uint64_t sum;
    size_t len;
    char key[];
};

struct hash {
    struct node **buckets;
    size_t mask, count;
    uint64_t k0, k1;
};

static uint64_t rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
    v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012): one compression, three finalisation rounds. */
static uint64_t sum_of(const struct hash *h, struct slice key)
{
    uint64_t v[4] = { h->k0 ^ 0x736f6d6570736575U, h->k1 ^ 0x646f72616e646f6dU, h->k0 ^ 0x6c7967656e657261U,
                      h->k1 ^ 0x7465646279746573U };
    size_t whole = key.len & ~(size_t)7;
    uint64_t word;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, key.ptr + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)key.len << 56;
    for (size_t i = whole; i < key.len; i++)
        word |= (uint64_t)(unsigned char)key.ptr[i] << (8 * (i - whole));
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct hash *hash_new(void)
{
    struct hash *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->buckets = calloc(FIRST_BUCKETS, sizeof(struct node *));
    if (!h->buckets) {
        free(h);
        return NULL;
    }
    h->mask = FIRST_BUCKETS - 1;
    rand_bytes(&h->k0, sizeof h->k0);
    rand_bytes(&h->k1, sizeof h->k1);
    return h;
}

void hash_free(struct hash *h)
{
    if (!h)
        return;
    for (size_t i = 0; i <= h->mask; i++)
        for (struct node *n = h->buckets[i], *next; n; n = next) {
            next = n->next;
            free(n);
        }
    free(h->buckets);
    free(h);
}

/* In constant time: some keys stand for credentials. */
static struct node **find(const struct hash *h, struct slice key, uint64_t sum)
{
    struct node **at = &h->buckets[sum & h->mask];
    while (*at && !((*at)->sum == sum && slice_eq_secret(slice_of((*at)->key, (*at)->len), key)))
        at = &(*at)->next;
    return at;
}

void *hash_get(const struct hash *h, struct slice key)
{
    struct node *n = *find(h, key, sum_of(h, key));
    return n ? n->value : NULL;
}

static void grow(struct hash *h)
{
    size_t mask = h->mask * 2 + 1;
    struct node **wider = calloc(mask + 1, sizeof(struct node *));
    if (!wider)
        return; /* a slower table is still a right one */
    for (size_t i = 0; i <= h->mask; i++)
        for (struct node *n = h->buckets[i], *next; n; n = next) {
            next = n->next;
            n->next = wider[n->sum & mask];
            wider[n->sum & mask] = n;
        }
    free(h->buckets);
    h->buckets = wider;
    h->mask = mask;
}

int hash_put(struct hash *h, struct slice key, void *value)
{
    uint64_t sum = sum_of(h, key);
    struct node **at = find(h, key, sum);
    if (*at) {
        (*at)->value = value;
        return 0;
    }
    struct node *n = malloc(sizeof *n + key.len);
    if (!n)
        return -ENOMEM;
    *n = (struct node){ .value = value, .sum = sum, .len = key.len };
    if (key.len)
        memcpy(n->key, key.ptr, key.len);
    *at = n;
    if (++h->count > h->mask)
        grow(h);
    return 0;
}

void *hash_remove(struct hash *h, struct slice key)
{
    struct node **at = find(h, key, sum_of(h, key)), *n = *at;
    if (!n)
        return NULL;
    void *value = n->value;
    *at = n->next;
    free(n);
    h->count--;
    return value;
}

size_t hash_count(const struct hash *h)
{
    return h->count;
}

void hash_each(struct hash *h, void (*fn)(void *arg, struct slice key, void *value), void *arg)
{
    for (size_t i = 0; i <= h->mask; i++)
        for (struct node *n = h->buckets[i], *next; n; n = next) {
            next = n->next;
            fn(arg, slice_of(n->key, n->len), n->value);
        }
}
