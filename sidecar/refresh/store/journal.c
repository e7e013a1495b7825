#include "refresh/store/journal.h"

#include "base/hash.h"
#include "base/rand.h"
#include "refresh/store/binding.h"
#include "refresh/store/state_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC "sidekey-journal"
#define VERSION "1"
#define LINE_MAX_BYTES 256
#define FILE_MAX_BYTES (STATE_MAX_BYTES + 2 * LINE_MAX_BYTES)

/* The first line of a file: MAGIC 1 KIND PARENT FP AT_MS PID ID. */
enum word { WORD_MAGIC, WORD_VERSION, WORD_KIND, WORD_PARENT, WORD_FP, WORD_AT, WORD_PID, WORD_ID, WORD_COUNT };

struct line {
    enum journal_kind kind;
    uint64_t parent_gen, at_ms, pid;
    uint64_t id; /* random: this very entry */
    char refresh_fp[9];
};

/* The entries of one credential that this journal wrote or read; 0: none. */
struct note {
    uint64_t intent, answer, response;
    char tag[BINDING_TAG_SIZE]; /* files are CRED@TAG.KIND; "": CRED.KIND */
};

struct journal {
    struct state_dir dir;
    const struct seal_ring *ring;
    struct hash *notes;
};

static const char *const kind_names[] = { [JOURNAL_NONE] = "",
                                          [JOURNAL_INTENT] = "intent",
                                          [JOURNAL_ANSWER] = "answer",
                                          [JOURNAL_RESPONSE] = "response",
                                          [JOURNAL_LOST] = "lost" };

/* No credential's name has an "@". */
static const char *name_of(const struct journal *j, const char *cred, enum journal_kind kind,
                           char name[STATE_DIR_FILE_SIZE])
{
    const struct note *note = hash_get(j->notes, slice_str(cred));
    const char *tag = note ? note->tag : "";
    snprintf(name, STATE_DIR_FILE_SIZE, "%.*s%s%s.%s", STATE_DIR_NAME_MAX, cred, *tag ? "@" : "", tag,
             kind_names[kind]);
    return name;
}

/* ---- opening ---- */

struct journal *journal_open(const char *dir, const struct seal_ring *ring, struct err *e)
{
    struct state_dir above;
    if (state_dir_open(&above, dir, e) != 0)
        return NULL;
    struct buf path;
    buf_init(&path, PATH_MAX);
    struct journal *j = calloc(1, sizeof *j);
    if (!j || !(j->notes = hash_new()) || buf_printf(&path, "%s/journal%c", above.path, '\0') != 0) {
        err_set(e, "%s/journal: out of memory, or the name is too long", dir);
        goto failed;
    }
    j->ring = ring;
    if (state_dir_open(&j->dir, buf_slice(&path).ptr, e) != 0)
        goto failed;
    state_dir_close(&above);
    buf_done(&path);
    return j;
failed:
    state_dir_close(&above);
    if (j)
        hash_free(j->notes);
    buf_done(&path);
    free(j);
    return NULL;
}

static void free_note(void *arg, struct slice cred, void *note)
{
    (void)arg, (void)cred;
    free(note);
}

const struct state_dir *journal_dir(const struct journal *j)
{
    return &j->dir;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    hash_each(j->notes, free_note, NULL);
    hash_free(j->notes);
    state_dir_close(&j->dir);
    free(j);
}

/* NULL: out of memory. */
static struct note *note_of(struct journal *j, const char *cred)
{
    struct note *note = hash_get(j->notes, slice_str(cred));
    if (note)
        return note;
    note = calloc(1, sizeof *note);
    if (note && hash_put(j->notes, slice_str(cred), note) != 0) {
        free(note);
        note = NULL;
    }
    return note;
}

/* The tag of the binding that the plain names belong to: the first one that came.  0; -errno. */
static int read_owner(struct journal *j, const char *cred, const char *ours, struct buf *ret)
{
    char name[STATE_DIR_FILE_SIZE];
    snprintf(name, sizeof name, "%.*s@binding", STATE_DIR_NAME_MAX, cred);
    int failed = state_dir_create(&j->dir, name, slice_str(ours));
    return failed == 0 || failed == -EEXIST ? state_dir_read(&j->dir, name, ret) : failed;
}

int journal_bind(struct journal *j, const char *cred, const char *binding)
{
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    char tag[BINDING_TAG_SIZE];
    struct buf owner;
    if (!note)
        return state_dir_is_name(cred) ? -ENOMEM : -EINVAL;
    binding_tag(binding, tag);
    buf_init(&owner, BINDING_TAG_SIZE);
    int failed = read_owner(j, cred, tag, &owner);
    if (failed == 0 && !slice_eq(buf_slice(&owner), slice_str(tag)))
        memcpy(note->tag, tag, sizeof tag);
    buf_done(&owner);
    return failed;
}

/* ---- the form of a file ---- */

static bool is_fingerprint(struct slice fp)
{
    for (size_t i = 0; i < fp.len; i++)
        if (!strchr("0123456789abcdef", fp.ptr[i]))
            return false;
    return fp.len > 0 && fp.len <= 8;
}

static struct line new_line(enum journal_kind kind, uint64_t parent_gen, const char *refresh_fp, int64_t at_ms)
{
    struct line line = {
        .kind = kind, .parent_gen = parent_gen, .at_ms = at_ms > 0 ? (uint64_t)at_ms : 0, .pid = (uint64_t)getpid()
    };
    struct slice fp = slice_of(refresh_fp, strnlen(refresh_fp, 9));
    if (is_fingerprint(fp))
        memcpy(line.refresh_fp, fp.ptr, fp.len);
    while (line.id == 0)
        rand_bytes(&line.id, sizeof line.id);
    return line;
}

/* The credential's name and the line: what the sealed part vouches for. */
static int add_aad(struct buf *aad, const char *cred, struct slice line)
{
    int failed = buf_printf(aad, "%s ", cred);
    return failed ? failed : buf_add(aad, line);
}

static int write_line(const struct line *line, struct buf *out)
{
    return buf_printf(out, MAGIC " " VERSION " %s %" PRIu64 " %s %" PRIu64 " %" PRIu64 " %" PRIu64,
                      kind_names[line->kind], line->parent_gen, line->refresh_fp[0] ? line->refresh_fp : "-",
                      line->at_ms, line->pid, line->id);
}

static int parse_line(struct slice text, struct line *ret)
{
    struct slice words[WORD_COUNT];
    for (size_t i = 0; i < WORD_COUNT; i++)
        words[i] = slice_cut(text, ' ', &text);
    struct line line = { .kind = JOURNAL_LOST };
    while (line.kind > JOURNAL_INTENT && !slice_eq(words[WORD_KIND], slice_str(kind_names[line.kind])))
        line.kind--;
    if (text.len != 0 || !slice_eq(words[WORD_MAGIC], SLICE(MAGIC)) || !slice_eq(words[WORD_VERSION], SLICE(VERSION))
        || !slice_eq(words[WORD_KIND], slice_str(kind_names[line.kind]))
        || slice_u64(words[WORD_PARENT], STATE_GENERATION_MAX, &line.parent_gen) != 0
        || slice_u64(words[WORD_AT], INT64_MAX, &line.at_ms) != 0
        || slice_u64(words[WORD_PID], INT64_MAX, &line.pid) != 0
        || slice_u64(words[WORD_ID], UINT64_MAX, &line.id) != 0)
        return -EBADMSG;
    if (is_fingerprint(words[WORD_FP]))
        memcpy(line.refresh_fp, words[WORD_FP].ptr, words[WORD_FP].len);
    else if (!slice_eq(words[WORD_FP], SLICE("-")))
        return -EBADMSG;
    *ret = line;
    return 0;
}

/* ---- writing ---- */

static int write_entry(struct journal *j, const char *cred, const struct line *line, struct slice plain)
{
    char name[STATE_DIR_FILE_SIZE];
    struct buf file, aad;
    buf_init(&file, FILE_MAX_BYTES);
    buf_init(&aad, 2 * LINE_MAX_BYTES);
    int failed = write_line(line, &file);
    if (failed == 0)
        failed = add_aad(&aad, cred, buf_slice(&file));
    if (failed == 0)
        failed = buf_add_str(&file, "\n");
    if (failed == 0)
        failed = seal_blob(j->ring, buf_slice(&aad), plain, &file);
    if (failed == 0)
        failed = state_dir_replace(&j->dir, name_of(j, cred, line->kind, name), buf_slice(&file));
    buf_done(&aad);
    buf_done(&file);
    return failed;
}

int journal_intent(struct journal *j, const char *cred, uint64_t parent_gen, const char *refresh_fp, int64_t at_ms)
{
    struct line line = new_line(JOURNAL_INTENT, parent_gen, refresh_fp, at_ms);
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    if (!note)
        return state_dir_is_name(cred) ? -ENOMEM : -EINVAL;
    int failed = write_entry(j, cred, &line, SLICE(""));
    if (failed == 0)
        note->intent = line.id;
    return failed;
}

/* Removes the file if it is still that very entry.  0; -errno. */
static int remove_entry(struct journal *j, const char *cred, enum journal_kind kind, uint64_t id)
{
    char name[STATE_DIR_FILE_SIZE];
    struct buf file;
    struct slice sealed;
    struct line line;
    buf_init(&file, FILE_MAX_BYTES);
    int failed = state_dir_read(&j->dir, name_of(j, cred, kind, name), &file);
    if (failed == 0 && parse_line(slice_cut(buf_slice(&file), '\n', &sealed), &line) == 0 && line.id == id)
        failed = state_dir_remove(&j->dir, name);
    buf_done(&file);
    return failed == -ENOENT ? 0 : failed;
}

int journal_answer(struct journal *j, const char *cred, uint64_t parent_gen, const struct state *state, int64_t at_ms)
{
    struct line line = new_line(JOURNAL_ANSWER, parent_gen, state->refresh_fp, at_ms);
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    if (!note)
        return state_dir_is_name(cred) ? -ENOMEM : -EINVAL;
    struct buf plain;
    buf_init_secret(&plain, STATE_MAX_BYTES);
    int failed = state_write(state, &plain);
    if (failed == 0)
        failed = write_entry(j, cred, &line, buf_slice(&plain));
    buf_done(&plain);
    if (failed)
        return failed;
    note->answer = line.id;
    if (note->intent) /* if that fails it is only one intent too many, on a generation that will be gone */
        (void)remove_entry(j, cred, JOURNAL_INTENT, note->intent);
    note->intent = 0;
    return 0;
}

int journal_clear(struct journal *j, const char *cred)
{
    struct note *note = hash_get(j->notes, slice_str(cred));
    if (!note)
        return 0;
    enum journal_kind kind = note->intent ? JOURNAL_INTENT : JOURNAL_ANSWER;
    uint64_t *id = note->intent ? &note->intent : &note->answer;
    int failed = *id ? remove_entry(j, cred, kind, *id) : 0;
    if (failed == 0)
        *id = 0;
    return failed;
}

/* ---- reading ---- */

static int set_aside(struct journal *j, const char *name, int why, struct err *e)
{
    char bad[NAME_MAX + 1];
    uint64_t random;
    rand_bytes(&random, sizeof random);
    snprintf(bad, sizeof bad, "%s.%016" PRIx64 ".bad", name, random);
    const char *what =
        why == -ENOKEY
            ? "was sealed with another key: set that key as store.seal_key_previous, and rename the file back"
            : "is damaged: a token response may be lost with it";
    if (state_dir_rename(&j->dir, name, bad) == 0)
        err_set(e, "%s/%s %s; kept as %s", j->dir.path, name, what, bad);
    else
        err_set(e, "%s/%s %s; and sidekey cannot rename it: %s", j->dir.path, name, what, strerror(errno));
    return why;
}

static int open_entry(struct journal *j, const char *cred, struct slice file, struct buf *plain, struct line *ret)
{
    struct slice sealed, text = slice_cut(file, '\n', &sealed);
    struct buf aad;
    buf_init(&aad, 2 * LINE_MAX_BYTES);
    int failed = parse_line(text, ret);
    if (failed == 0)
        failed = add_aad(&aad, cred, text);
    if (failed == 0)
        failed = seal_open(j->ring, buf_slice(&aad), sealed, plain);
    buf_done(&aad);
    return failed;
}

/* The file of that kind, opened.  0; -ENOENT; -errno. */
static int read_file(struct journal *j, const char *cred, enum journal_kind kind, struct buf *plain, struct line *ret)
{
    char name[STATE_DIR_FILE_SIZE];
    struct buf file;
    buf_init(&file, FILE_MAX_BYTES);
    int failed = state_dir_read(&j->dir, name_of(j, cred, kind, name), &file);
    if (failed == 0)
        failed = open_entry(j, cred, buf_slice(&file), plain, ret);
    if (failed == 0 && ret->kind != kind)
        failed = -EBADMSG;
    buf_done(&file);
    return failed;
}

/* A token is spent, and what came for it cannot be read: that must outlive this process.  line: as far as it could be
 * read; its bytes are not vouched for. */
static int write_lost(struct journal *j, const char *cred, const struct line *read)
{
    struct line line = new_line(JOURNAL_LOST, read->parent_gen, read->refresh_fp, (int64_t)read->at_ms);
    return write_entry(j, cred, &line, SLICE(""));
}

/* Reports a file that cannot be read, and puts aside one that never will be. */
static int unreadable(struct journal *j, const char *cred, enum journal_kind kind, const struct line *line, int failed,
                      const char *why, struct err *e)
{
    char name[STATE_DIR_FILE_SIZE];
    name_of(j, cred, kind, name);
    bool damaged = failed == -EBADMSG || failed == -ENOKEY, came = kind == JOURNAL_ANSWER || kind == JOURNAL_RESPONSE;
    int unwritten = damaged && came ? write_lost(j, cred, line) : 0;
    if (unwritten)
        return err_set(e, "%s/%s is damaged; cannot record it: %s", j->dir.path, name, strerror(-unwritten));
    if (damaged)
        return set_aside(j, name, failed, e);
    err_set(e, "cannot read %s/%s: %s", j->dir.path, name, why[0] ? why : strerror(-failed));
    return failed;
}

/* 0 (ret->kind NONE: no such file); -errno with e. */
static int read_entry(struct journal *j, const char *cred, enum journal_kind kind, struct journal_entry *ret,
                      uint64_t *ret_id, struct err *e)
{
    struct line line = { 0 };
    struct err why = { "" };
    struct buf plain;
    buf_init_secret(&plain, FILE_MAX_BYTES);
    int failed = read_file(j, cred, kind, &plain, &line);
    if (failed == 0 && kind == JOURNAL_ANSWER && state_read(&ret->state, buf_slice(&plain), &why) != 0)
        failed =
            /* its seal is good, so it is not damaged: another version's, or no memory.  It stays where it is */
            -EPROTO;
    buf_done(&plain);
    if (failed == -ENOENT)
        return 0;
    if (failed)
        return unreadable(j, cred, kind, &line, failed, why.text, e);
    ret->kind = kind;
    ret->parent_gen = line.parent_gen;
    ret->at_ms = (int64_t)line.at_ms;
    ret->pid = (int64_t)line.pid;
    memcpy(ret->refresh_fp, line.refresh_fp, sizeof ret->refresh_fp);
    *ret_id = line.id;
    return 0;
}

int journal_read(struct journal *j, const char *cred, struct journal_entry *ret, struct err *e)
{
    uint64_t id = 0;
    *ret = (struct journal_entry){ 0 };
    state_init(&ret->state);
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    if (!note) {
        err_set(e, "%s/%s: no such name, or out of memory", j->dir.path, cred);
        return state_dir_is_name(cred) ? -ENOMEM : -EINVAL;
    }
    int failed = read_entry(j, cred, JOURNAL_ANSWER, ret, &id, e);
    if (failed == 0 && ret->kind == JOURNAL_NONE)
        failed = read_entry(j, cred, JOURNAL_LOST, ret, &id, e);
    if (failed == 0 && ret->kind == JOURNAL_NONE)
        failed = read_entry(j, cred, JOURNAL_INTENT, ret, &id, e);
    /* another keeper may have put its answer in the place of its intent between the two looks */
    if (failed == 0 && ret->kind == JOURNAL_NONE)
        failed = read_entry(j, cred, JOURNAL_ANSWER, ret, &id, e);
    if (failed)
        return failed;
    note->intent = ret->kind == JOURNAL_INTENT ? id : 0;
    note->answer = ret->kind == JOURNAL_ANSWER ? id : 0;
    return 0;
}

int journal_lost_forget(struct journal *j, const char *cred)
{
    char name[STATE_DIR_FILE_SIZE];
    return state_dir_remove(&j->dir, name_of(j, cred, JOURNAL_LOST, name));
}

void journal_entry_done(struct journal_entry *entry)
{
    state_done(&entry->state);
    *entry = (struct journal_entry){ 0 };
}

/* ---- responses: the sealed part begins with a line STATUS CUT SEEDED ASKED, then come the bytes ---- */

int journal_response(struct journal *j, const char *cred, const struct journal_response *r, int64_t at_ms)
{
    struct line line = new_line(JOURNAL_RESPONSE, r->parent_gen, r->refresh_fp, at_ms);
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    struct buf plain;
    if (!note)
        return state_dir_is_name(cred) ? -ENOMEM : -EINVAL;
    buf_init_secret(&plain, STATE_MAX_BYTES);
    int failed = buf_printf(&plain, "%d %d %d %" PRId64 "\n", r->status, r->cut, r->seeded, r->asked_wall_ms);
    if (failed == 0)
        failed = buf_add(&plain, buf_slice(&r->body));
    if (failed == 0)
        failed = write_entry(j, cred, &line, buf_slice(&plain));
    buf_done(&plain);
    if (failed == 0)
        note->response = line.id;
    return failed;
}

static int parse_response(struct slice plain, struct journal_response *ret)
{
    struct slice body, rest = slice_cut(plain, '\n', &body);
    uint64_t numbers[4];
    for (size_t i = 0; i < 4; i++)
        if (slice_u64(slice_cut(rest, ' ', &rest), i == 3 ? INT64_MAX : 999, &numbers[i]) != 0)
            return -EPROTO;
    ret->status = (int)numbers[0];
    ret->cut = numbers[1] != 0;
    ret->seeded = numbers[2] != 0;
    ret->asked_wall_ms = (int64_t)numbers[3];
    buf_init_secret(&ret->body, body.len);
    return buf_add(&ret->body, body);
}

int journal_response_read(struct journal *j, const char *cred, struct journal_response *ret, struct err *e)
{
    struct line line = { 0 };
    struct buf plain;
    struct note *note = state_dir_is_name(cred) ? note_of(j, cred) : NULL;
    if (!note)
        return err_set(e, "%s/%s: no such name, or out of memory", j->dir.path, cred);
    buf_init_secret(&plain, FILE_MAX_BYTES);
    int failed = read_file(j, cred, JOURNAL_RESPONSE, &plain, &line);
    bool there = failed != -ENOENT;
    if (failed == 0)
        failed = parse_response(buf_slice(&plain), ret);
    buf_done(&plain);
    if (!there)
        return 0;
    if (failed) {
        journal_response_done(ret);
        return unreadable(j, cred, JOURNAL_RESPONSE, &line, failed, "", e);
    }
    ret->parent_gen = line.parent_gen;
    memcpy(ret->refresh_fp, line.refresh_fp, sizeof ret->refresh_fp);
    note->response = line.id;
    return 0;
}

int journal_response_forget(struct journal *j, const char *cred)
{
    struct note *note = hash_get(j->notes, slice_str(cred));
    int failed = note && note->response ? remove_entry(j, cred, JOURNAL_RESPONSE, note->response) : 0;
    if (note && failed == 0)
        note->response = 0;
    return failed;
}

void journal_response_done(struct journal_response *r)
{
    buf_done(&r->body);
    *r = (struct journal_response){ 0 };
}
