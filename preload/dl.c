/* dlopen(): a library that is loaded with RTLD_DEEPBIND (PHP's extensions) would find libc's connect before ours. */
#include "preload/preload.h"

#include <dlfcn.h>

typedef void *dlopen_fn(const char *, int);

/* The last call must stay a jump: dlopen() searches the RUNPATH of its caller, which must be the program and not this
 * library. */
HOOK(void *, dlopen, const char *path, int flags)
{
    dlopen_fn *real = REAL(dlopen_fn, dlopen);
    if (!real)
        return NULL;
    if (!preload_get()->off[HOOK_dlopen])
        flags &= ~RTLD_DEEPBIND;
    return real(path, flags);
}
