#include "refresh/fetch/fetch_roots.h"

#include "certs/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct version { /* of a file: another one has another of these */
    struct timespec changed;
    off_t size;
    ino_t inode;
};

struct fetch_roots_entry {
    struct fetch_roots_entry *next;
    char *ca_file;              /* NULL: the system's roots alone */
    struct version system, own; /* of what was read */
    struct tls_roots *roots;
};

void fetch_roots_init(struct fetch_roots *r)
{
    r->entries = NULL;
}

static void free_entry(struct fetch_roots_entry *entry)
{
    tls_roots_free(entry->roots);
    free(entry->ca_file);
    free(entry);
}

void fetch_roots_done(struct fetch_roots *r)
{
    while (r->entries) {
        struct fetch_roots_entry *entry = r->entries;
        r->entries = entry->next;
        free_entry(entry);
    }
}

static struct version version_of(const char *path)
{
    struct stat st;
    if (!path || stat(path, &st) != 0)
        return (struct version){ .size = -1 };
    return (struct version){ st.st_mtim, st.st_size, st.st_ino };
}

static bool same(const struct version *a, const struct version *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec && a->size == b->size
           && a->inode == b->inode;
}

static bool is_for(const struct fetch_roots_entry *entry, const char *ca_file)
{
    return ca_file && entry->ca_file ? strcmp(ca_file, entry->ca_file) == 0 : ca_file == entry->ca_file;
}

static struct fetch_roots_entry *find(struct fetch_roots *r, const char *ca_file)
{
    struct fetch_roots_entry *entry = r->entries;
    while (entry && !is_for(entry, ca_file))
        entry = entry->next;
    if (entry || !(entry = calloc(1, sizeof *entry)))
        return entry;
    if (ca_file && !(entry->ca_file = strdup(ca_file))) {
        free(entry);
        return NULL;
    }
    entry->next = r->entries;
    r->entries = entry;
    return entry;
}

/* The roots for ca_file (NULL: only the system's), valid until the next call with the same ca_file.
 * NULL with e: the file cannot be read, or memory is short.  NULL with an empty e: this system has no bundle of roots,
 * and there is no ca_file. */
static struct tls_roots *roots_for(struct fetch_roots *r, const char *ca_file, struct err *e);

/* The system's roots are parsed once, for their own entry; the others share them. */
static struct tls_roots *make(struct fetch_roots *r, const char *system, const char *ca_file, struct err *e)
{
    if (!ca_file)
        return tls_roots_new(NULL, system, e);
    struct tls_roots *base = system ? roots_for(r, NULL, e) : NULL;
    return base || !system ? tls_roots_new(base, ca_file, e) : NULL;
}

static struct tls_roots *roots_for(struct fetch_roots *r, const char *ca_file, struct err *e)
{
    const char *path = bundle_system_path();
    err_set(e, "%s", "");
    if (!path && !ca_file)
        return NULL;
    const struct version system = version_of(path), own = version_of(ca_file); /* before they are read */
    struct fetch_roots_entry *entry = find(r, ca_file);
    if (!entry) {
        err_set(e, "out of memory");
        return NULL;
    }
    if (entry->roots && same(&entry->system, &system) && same(&entry->own, &own))
        return entry->roots;
    tls_roots_free(entry->roots);
    entry->roots = make(r, path, ca_file, e);
    entry->system = system;
    entry->own = own;
    return entry->roots;
}

static CURLcode on_context(CURL *easy, void *ctx, void *arg)
{
    struct fetch_trust *t = arg;
    struct err e;
    (void)easy;
    struct tls_roots *roots = roots_for(t->roots, t->ca_file, &e);
    if (!roots && *e.text) {
        snprintf(t->refusal, sizeof t->refusal, "%s", e.text);
        return CURLE_SSL_CACERT_BADFILE;
    }
    if (roots && tls_roots_use(roots, ctx) != 0)
        return CURLE_OUT_OF_MEMORY;
    return tls_revocation_watch_for(ctx, t->refusal) == 0 ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

CURLcode fetch_roots_trust(struct fetch_trust *t, CURL *easy)
{
    if (!tls_revocation_knows(curl_version()))
        return t->ca_file ? curl_easy_setopt(easy, CURLOPT_CAINFO, t->ca_file) : CURLE_OK;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, t);
    /* libcurl would resume a session that was verified against another credential's roots: it sees no difference */
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    if (!bundle_system_path() && !t->ca_file)
        return code; /* a system without a bundle that we know of: libcurl's own place stays */
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
    if (code == CURLE_OK)
        code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    return code;
}
