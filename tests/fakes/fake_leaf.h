/* tests/fakes/fake_leaf.c: tls_leaf_* without TLS; "der" is the one certificate that fits. */
#ifndef SIDEKEY_TESTS_FAKE_LEAF_H
#define SIDEKEY_TESTS_FAKE_LEAF_H

#include "net/tls/tls.h"

extern int fake_leaves; /* that are alive */

#endif
