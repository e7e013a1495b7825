/* States as Redis keeps them: sealed, and the last one of each credential kept here as well, so that a server that lost
 * it gets it back. */
#include "refresh/redis/store_redis_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* "CRED GENERATION", as in state_file.c: a name has no space. */
static struct slice aad_of(const char *cred, uint64_t generation, char aad[STATE_DIR_NAME_MAX + 32])
{
    int len = snprintf(aad, STATE_DIR_NAME_MAX + 32, "%s %" PRIu64, cred, generation);
    return slice_of(aad, (size_t)len);
}

int store_redis_seal(const struct seal_ring *ring, const char *cred, uint64_t generation, const struct state *state,
                     struct redis_kept *to)
{
    char aad[STATE_DIR_NAME_MAX + 32];
    struct state next = *state; /* borrows everything but the number */
    struct buf plain;
    next.generation = generation;
    to->generation = generation;
    to->expires_wall_ms = state->expires_wall_ms;
    snprintf(to->dead_fp, sizeof to->dead_fp, "%s", state->dead_fp);
    buf_init_secret(&plain, STATE_MAX_BYTES);
    buf_done(&to->blob);
    buf_init(&to->blob, STATE_MAX_BYTES + 64);
    int failed = generation > STATE_GENERATION_MAX ? -ERANGE : state_write(&next, &plain);
    if (failed == 0)
        failed = seal_blob(ring, aad_of(cred, generation, aad), buf_slice(&plain), &to->blob);
    buf_done(&plain);
    return failed;
}

int store_redis_unseal(const struct seal_ring *ring, const char *cred, uint64_t generation, struct slice blob,
                       struct state *ret, struct err *e)
{
    char aad[STATE_DIR_NAME_MAX + 32];
    struct buf plain;
    struct err why = { "" };
    state_done(ret);
    state_init(ret);
    if (generation == 0)
        return 0;
    buf_init_secret(&plain, STATE_MAX_BYTES + 64);
    int failed = seal_open(ring, aad_of(cred, generation, aad), blob, &plain);
    if (failed == -ENOKEY)
        failed = err_set(e,
                         "the state of \"%s\" in Redis was sealed with another key: every replica needs the same "
                         "store.seal_key (set the key before it as store.seal_key_previous)",
                         cred);
    else if (failed == -EBADMSG)
        failed = err_set(e,
                         "the state of \"%s\" in Redis is damaged (cut, changed, or another credential's): DEL "
                         "{sidekey:%s}:state (a replica that has the last good one writes it back, else sign in again)",
                         cred, cred);
    else if (failed)
        failed = err_set(e, "the state of \"%s\" cannot be opened: %s", cred, strerror(-failed));
    else if (state_read(ret, buf_slice(&plain), &why) != 0)
        failed = err_set(e, "the state of \"%s\" in Redis cannot be read (%s): a newer sidekey may have written it",
                         cred, why.text);
    else
        ret->generation = generation; /* the sealed number, whatever the JSON says */
    buf_done(&plain);
    return failed;
}

void store_redis_kept_done(struct redis_kept *k)
{
    buf_done(&k->blob);
    *k = (struct redis_kept){ .generation = 0 };
    buf_init(&k->blob, STATE_MAX_BYTES + 64);
}

static void take(struct redis_kept *k, uint64_t generation, int64_t expires_wall_ms, const char *dead_fp)
{
    k->generation = generation;
    k->expires_wall_ms = expires_wall_ms;
    snprintf(k->dead_fp, sizeof k->dead_fp, "%s", dead_fp);
}

static void save(struct cred *cred)
{
    const struct state_dir *dir = &cred->store->dir;
    const struct redis_kept *k = &cred->kept;
    int failed = dir->path ? kept_file_write(dir, cred->name, k->generation, buf_slice(&k->blob), cred->useless) : 0;
    if (failed)
        log_warn(
            log_msg(
                "cannot keep the newest state on disk: after a restart, sidekey would accept an older one from Redis"),
            log_str("credential", cred->name), log_str("directory", dir->path), log_str("reason", strerror(-failed)));
    else
        cred->useless = false;
}

static int recall(const struct cred *cred, struct redis_kept *to, struct err *e)
{
    const struct store_redis *s = cred->store;
    struct state state;
    uint64_t generation = 0;
    int failed = kept_file_read(&s->dir, cred->name, &generation, &to->blob);
    if (failed == -ENOENT)
        return 0;
    if (failed)
        return err_set(e, "%s",
                       failed == -EBADMSG ? "it is truncated, or its first line is not sidekey's" : strerror(-failed));
    state_init(&state);
    failed = store_redis_unseal(s->options.ring, cred->name, generation, buf_slice(&to->blob), &state, NULL);
    if (failed == 0)
        take(to, generation, state.expires_wall_ms, state.dead_fp);
    else
        err_set(e, "it is damaged, or was sealed with a key that is neither store.seal_key nor seal_key_previous");
    state_done(&state);
    return failed;
}

void store_redis_recall(struct cred *cred)
{
    const struct state_dir *dir = &cred->store->dir;
    struct err e = { "" };
    if (!dir->path || recall(cred, &cred->kept, &e) == 0)
        return;
    store_redis_kept_done(&cred->kept);
    cred->useless = true;
    log_warn(log_msg("cannot use the state on disk: sidekey uses the state in Redis"),
             log_str("credential", cred->name), log_str("directory", dir->path), log_str("reason", e.text));
}

void store_redis_keep(struct cred *cred, uint64_t generation, struct slice blob, int64_t expires_wall_ms,
                      const char *dead_fp)
{
    struct redis_kept *k = &cred->kept;
    if (generation < k->generation || (generation == k->generation && slice_eq(blob, buf_slice(&k->blob))))
        return;
    store_redis_kept_done(k);
    if (buf_add(&k->blob, blob) != 0)
        return; /* without a copy nothing can be given back, and nothing is worse than before */
    take(k, generation, expires_wall_ms, dead_fp);
    save(cred);
}

void store_redis_keep_again(struct cred *cred)
{
    if (cred->kept.generation)
        save(cred);
}
