#include "base/secret.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int secret_set(struct secret *s, struct slice bytes)
{
    if (bytes.len == 0) {
        secret_done(s);
        return 0;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t mapped = (bytes.len + page - 1) / page * page;
    char *ptr = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED)
        return -ENOMEM;
    (void)mlock(ptr, mapped); /* RLIMIT_MEMLOCK may say no: then swap is the operator's matter */
    (void)madvise(ptr, mapped, MADV_DONTDUMP);
    memcpy(ptr, bytes.ptr, bytes.len);
    secret_done(s);
    *s = (struct secret){ ptr, bytes.len, mapped };
    return 0;
}

void secret_done(struct secret *s)
{
    if (s->ptr) {
        explicit_bzero(s->ptr, s->mapped);
        munmap(s->ptr, s->mapped);
    }
    *s = (struct secret){ NULL, 0, 0 };
}
