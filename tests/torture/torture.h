/* tests/torture/torture.h: scenarios in which the n-th allocation fails, n = 1, 2, 3 … until a run needs no more; once
 * it alone, once it and all after it.
 *
 * Our own objects get their memory through the linker's --wrap; jansson and OpenSSL through their hooks.  After each
 * run everything that it allocated must be free again, and no run may take longer than TORTURE_RUN_S.  Built with the
 * sanitizers, which see the rest. PROGRAM               all scenarios            TORTURE_MAX=n   at most n places each,
 * evenly spread (for make test) PROGRAM NAME          one of them PROGRAM NAME N [all]  one run: for a debugger */
#ifndef SIDEKEY_TESTS_TORTURE_H
#define SIDEKEY_TESTS_TORTURE_H

#include <stdbool.h>
#include <stddef.h>

#define TORTURE_RUN_S 120

struct torture {
    const char *name;  /* a sentence with underscores, as tests have */
    void (*run)(void); /* leaves everything as it was */
};

/* Sets the hooks: before the first allocation of a main() that prepares something itself. */
void torture_prepare(void);
/* main()'s body. */
int torture_main(int argc, char **argv, const struct torture *list, size_t count);
/* The test's own part, which never fails: between pause and go_on. */
void torture_pause(void);
void torture_go_on(void);
/* Has an allocation failed in this run? */
bool torture_struck(void);
/* As assert(), with the place of the failed allocation. */
#define CHECK(truth) ((truth) ? (void)0 : torture_fail(__FILE__, __LINE__, #truth))
_Noreturn void torture_fail(const char *file, int line, const char *truth);

#endif
