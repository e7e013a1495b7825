#define FETCH_CURL_NAMES_STAY
#include "refresh/fetch/fetch_curl.h"

#include <dlfcn.h>
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
