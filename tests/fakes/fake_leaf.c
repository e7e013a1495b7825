/* Stands in for the leaves of net/tls/tls_server.c: a leaf is a count of its references. */
#include "tests/fakes/fake_leaf.h"

#include <stdlib.h>

struct tls_leaf {
    int refs;
};

int fake_leaves;
bool fake_rsa_there;
static void (*fake_rsa_fn)(void *arg);
static void *fake_rsa_arg;

struct slice tls_server_spki(const struct tls_server *s)
{
    (void)s;
    return SLICE("spki");
}

struct slice tls_server_rsa_spki(struct tls_server *s, void (*fn)(void *arg), void *arg)
{
    (void)s;
    fake_rsa_fn = fn;
    fake_rsa_arg = arg;
    return fake_rsa_there ? SLICE("rsa spki") : (struct slice){ NULL, 0 };
}

void fake_rsa_made(void)
{
    fake_rsa_there = true;
    fake_rsa_fn(fake_rsa_arg);
}

struct tls_leaf *tls_leaf_new(struct tls_server *s, struct slice der)
{
    (void)s;
    if (!slice_eq(der, SLICE("der")))
        return NULL;
    struct tls_leaf *leaf = calloc(1, sizeof *leaf);
    if (leaf) {
        leaf->refs = 1;
        fake_leaves++;
    }
    return leaf;
}

struct tls_leaf *tls_leaf_ref(struct tls_leaf *leaf)
{
    leaf->refs++;
    return leaf;
}

void tls_leaf_free(struct tls_leaf *leaf)
{
    if (!leaf || --leaf->refs)
        return;
    fake_leaves--;
    free(leaf);
}
