#include "app/config/config_seen.h"

#include <sys/stat.h>

#include "certs/bundle.h"

void config_seen_bytes(struct config_seen *seen, struct slice bytes)
{
    uint64_t sum = seen->sum ? seen->sum : UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < bytes.len; i++)
        sum = (sum ^ (unsigned char)bytes.ptr[i]) * UINT64_C(0x100000001b3);
    seen->sum = (sum ^ bytes.len) * UINT64_C(0x100000001b3);
}

void config_seen_file(struct config_seen *seen, const char *path)
{
    struct stat st;
    uint64_t what[8] = { 0 };
    config_seen_bytes(seen, slice_str(path));
    if (stat(path, &st) == 0) {
        const uint64_t is[] = { (uint64_t)st.st_dev,          (uint64_t)st.st_ino,
                                (uint64_t)st.st_size,         (uint64_t)st.st_mtim.tv_sec,
                                (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ctim.tv_sec,
                                (uint64_t)st.st_ctim.tv_nsec, 1 };
        memcpy(what, is, sizeof is);
    }
    config_seen_bytes(seen, slice_of((const char *)what, sizeof what));
}

void config_seen_system(struct config_seen *seen)
{
    const char *roots = bundle_system_path();
    config_seen_file(seen, roots ? roots : "");
    config_seen_file(seen, "/etc/hosts");
    config_seen_file(seen, "/etc/resolv.conf");
}

bool config_seen_same(const struct config_seen *a, const struct config_seen *b)
{
    return a->sum == b->sum && !a->unknown && !b->unknown;
}
