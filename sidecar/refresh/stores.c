#include "refresh/stores.h"

#include "base/dir_trust.h"
#include "base/trusted_file.h"
#include "refresh/fetch/fetch_url.h"
#include "refresh/redis/store_redis.h"
#include "refresh/store/binding.h"
#include "refresh/store/store_bound.h"
#include "refresh/store/store_file.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static int open_ring(struct stores *s, const struct keeper_options *o, struct err *e)
{
    struct secret current = { 0 }, previous = { 0 };
    int failed = o->seal_key.kind == SECRET_REF_NONE ? store_file_seal_key(o->state_dir, &current, e)
                                                     : secret_ref_read_exact(&o->seal_key, &current, e);
    if (failed == 0 && o->seal_key.kind != SECRET_REF_NONE)
        failed = seal_key_judge(secret_peek(&current), e);
    if (failed == 0 && o->seal_key_previous.kind != SECRET_REF_NONE)
        failed = secret_ref_read_exact(&o->seal_key_previous, &previous, e);
    if (failed == 0 && o->seal_key.kind == SECRET_REF_NONE && secret_set(&s->dir_key, secret_peek(&current)) != 0)
        failed = err_set(e, "out of memory");
    if (failed == 0 && !(s->ring = seal_ring_new(secret_peek(&current), secret_peek(&previous), e)))
        failed = -1;
    secret_done(&current);
    secret_done(&previous);
    return failed;
}

/* A directory that we may not use is a matter of permission, everything else one of the disk. */
int stores_directory_status(const char *dir, mode_t open_to)
{
    struct stat st;
    if (trusted_file_check_dir(dir, NULL) == -EPERM)
        return EX_NOPERM;
    /* root may use it, and does not */
    if (stat(dir, &st) == 0 && (st.st_uid != geteuid() || st.st_mode & open_to))
        return EX_NOPERM;
    return access(dir, R_OK | W_OK | X_OK) != 0 && (errno == EACCES || errno == EPERM || errno == EROFS) ? EX_NOPERM
                                                                                                         : EX_IOERR;
}

/* A server that does not answer yet stops nobody: cached tokens, the journal and on_lock_error are there for that. */
static int open_redis(struct stores *s, const struct keeper_options *o, struct err *e)
{
    if (!(s->names = calloc(o->spec_count + 1, sizeof *s->names))) {
        err_set(e, "out of memory");
        return EX_OSERR;
    }
    for (size_t i = 0; i < o->spec_count; i++)
        s->names[i] = o->specs[i].name;
    const struct store_redis_options redis = { o->redis, s->ring, &o->network, s->names, o->state_dir };
    return (s->store = store_redis_new(&redis, e)) ? 0 : EX_CONFIG;
}

/* NULL: nothing that is stored depends on whom we ask. */
static char *binding_for(const struct credential_spec *s)
{
    char authority[300];
    return s->token_url && fetch_url_host(s->token_url, authority, sizeof authority) == 0
               ? binding_text(authority, s->client_id)
               : NULL;
}

/* What another token_url's authority, or another client, has issued is not for this one (rule 2.7b). */
static int bind_one(struct stores *s, const struct credential_spec *spec, struct store_bound_row *row, struct err *e)
{
    char *text = binding_for(spec);
    *row = (struct store_bound_row){ spec->name, text };
    int failed = text ? journal_bind(s->journal, spec->name, text) : 0;
    if (failed)
        return err_set(e, "cannot write %s/%s@binding: %s", journal_dir(s->journal)->path, spec->name,
                       strerror(-failed));
    return 0;
}

static int bind_all(struct stores *s, const struct keeper_options *o, struct err *e)
{
    size_t count = o->spec_count;
    struct store_bound_row *rows = calloc(count + 1, sizeof *rows);
    int failed = rows ? 0 : err_set(e, "out of memory");
    for (size_t i = 0; i < count && !failed; i++)
        failed = bind_one(s, &o->specs[i], &rows[i], e);
    struct store *bound = failed ? NULL : store_bound_new(s->store, rows, count);
    if (!failed && !bound)
        failed = err_set(e, "out of memory");
    for (size_t i = 0; rows && i < count; i++)
        free((char *)(uintptr_t)rows[i].binding);
    free(rows);
    s->store = bound ? bound : s->store;
    return failed;
}

static int open_all(struct stores *s, const struct keeper_options *o, struct err *e)
{
    const char *dir = o->state_dir;
    if (dir_trust_make(dir, 0700) != 0) {
        int failed = errno;
        err_set(e, "cannot make the state directory %s: %s", dir, strerror(failed));
        return failed == EACCES || failed == EPERM || failed == EROFS ? EX_NOPERM : EX_IOERR;
    }
    if (open_ring(s, o, e) != 0)
        return o->seal_key.kind == SECRET_REF_NONE ? stores_directory_status(dir, S_IRWXG | S_IRWXO) : EX_CONFIG;
    if (state_dir_open(&s->dir, dir, e) != 0 || !(s->journal = journal_open(dir, s->ring, e)))
        return stores_directory_status(dir, S_IRWXG | S_IRWXO);
    if (o->redis && o->redis->url)
        return open_redis(s, o, e);
    if (!(s->store = store_file_new(dir, s->ring, e)))
        return stores_directory_status(dir, S_IRWXG | S_IRWXO);
    for (size_t i = 0; i < o->spec_count; i++)
        if (store_file_check(s->store, s->ring, o->specs[i].name, e) != 0)
            return EX_CONFIG; /* a wrong key is told now, not at the first request */
    return 0;
}

int stores_open(struct stores *s, const struct keeper_options *o, struct err *e)
{
    int status = open_all(s, o, e);
    if (status != 0)
        return status;
    return bind_all(s, o, e) == 0 ? 0 : stores_directory_status(o->state_dir, S_IRWXG | S_IRWXO);
}

void stores_close(struct stores *s)
{
    journal_close(s->journal);
    state_dir_close(&s->dir);
    secret_done(&s->dir_key);
    store_free(s->store);
    free(s->names);
    seal_ring_free(s->ring);
    *s = (struct stores){ .dir.fd = -1 };
}
