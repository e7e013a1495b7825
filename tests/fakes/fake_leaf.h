/* tests/fakes/fake_leaf.c: tls_leaf_* without TLS; "der" is the one certificate that fits. */
#ifndef SIDEKEY_TESTS_FAKE_LEAF_H
#define SIDEKEY_TESTS_FAKE_LEAF_H

#include "net/tls/tls.h"

extern int fake_leaves; /* that are alive */
extern bool fake_rsa_there;
/* The RSA key that was asked for is there. */
void fake_rsa_made(void);

#endif
