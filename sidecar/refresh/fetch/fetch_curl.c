#define FETCH_CURL_NAMES_STAY
#include "refresh/fetch/fetch_curl.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#define LIBRARY "libcurl.so.4"

/* Tells tools of packagers what the ELF header cannot: that a library is loaded at run time.  ELF note "FDO", type
 * 0x407c0c0a (the Package Metadata group's "dlopen metadata"). */
#define DLOPEN                                                                                                         \
    "[{\"feature\":\"token-endpoints\",\"description\":\"Requests to token endpoints over HTTP\","                     \
    "\"priority\":\"required\",\"soname\":[\"" LIBRARY "\"]}]"
__attribute__((used, section(".note.dlopen"))) _Alignas(4) static const struct {
    uint32_t name_size, text_size, type;
    char name[4];
    _Alignas(4) char text[sizeof DLOPEN];
} note = { sizeof "FDO", sizeof DLOPEN, 0x407c0c0a, "FDO", DLOPEN };

struct fetch_curl fetch_curl;

static const struct {
    const char *name;
    size_t at;
} functions[] = {
#define ROW(function) { #function, offsetof(struct fetch_curl, call_##function) },
    FETCH_CURL_FUNCTIONS(ROW)
#undef ROW
};

int fetch_curl_load(struct err *e)
{
    static void *library;
    if (library)
        return 0;
    /* One of the libraries that come along is GnuTLS, for a protocol that we do not speak: it need not start. */
    (void)setenv("GNUTLS_NO_IMPLICIT_INIT", "1", 1);
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return err_set(e, "%s cannot be loaded (Debian's package is libcurl4): %s", LIBRARY, dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(handle, functions[i].name);
        if (!found) {
            dlclose(handle);
            return err_set(e, "%s has no %s: it is too old", LIBRARY, functions[i].name);
        }
        /* POSIX: a function's address fits a void pointer */
        memcpy((char *)&fetch_curl + functions[i].at, &found, sizeof found);
    }
    library = handle;
    return 0;
}

/* Requests and responses go through libcurl's buffers: what it frees is wiped. */
static void wipe_and_free(void *at)
{
    if (at)
        explicit_bzero(at, malloc_usable_size(at));
    free(at);
}

static void *move_and_wipe(void *old, size_t size)
{
    size_t had = old ? malloc_usable_size(old) : 0;
    void *at = malloc(size);
    if (at && old) {
        memcpy(at, old, had < size ? had : size);
        wipe_and_free(old);
    }
    return at;
}

CURLcode fetch_curl_start(void)
{
    return fetch_curl.call_curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_and_free, move_and_wipe, strdup,
                                                calloc);
}
