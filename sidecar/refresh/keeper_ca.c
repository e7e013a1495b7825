/* The keeper's CA: kept in the state directory, made when it is due, published for programs, used for leaves. */
#include "refresh/keeper_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/tls/tls.h"
#include "certs/bundle.h"
#include "net/ipc/msg_parts.h"
#include "refresh/store/ca_file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY_MS (10 * 60 * 1000)
#define AGAIN_MS 60000 /* after something could not be published */
#define LEAF_MAX_BYTES 16384

#define ROTATIONS_MS (60 * 60 * 1000) /* for so many: KEEPER_CA_ROTATIONS */

enum change { CHANGE_DUE, CHANGE_ROTATE, CHANGE_ROTATE_NOW };

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static const char *date(int64_t at_s, char text[32])
{
    time_t at = (time_t)at_s;
    struct tm utc;
    if (at_s <= 0 || !gmtime_r(&at, &utc) || !strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc))
        snprintf(text, 32, "-");
    return text;
}

/* ---- what is stored ---- */

static bool is_kept(const struct keeper *k)
{
    return k->options->ca_keep && !k->options->ca_cert_file;
}

/* The memory is asked first: it is what programs have been told since this sidekey started. */
static void read_stored(struct keeper *k, const struct state_dir *dir)
{
    struct err e = { "" };
    if (k->options->ca_cert_file)
        return;
    if (ca_file_from_memory(k->options->ca_memfd, k->stores.ring, k->ca, &e) != 0)
        log_warn(log_msg("cannot use the CA in memory"), log_str("reason", e.text));
    if (!dir || ca_file_read(dir, k->stores.ring, k->ca, &e) == 0)
        return;
    int failed = ca_file_move_aside(dir);
    log_error(log_msg("cannot use the stored CA: sidekey makes a new one; restart the programs that trust the old one"),
              log_str("reason", e.text), log_str("moved_to", failed ? "" : CA_FILE_ASIDE),
              log_str("hint", "to use the old CA again, configure the right key and move the file back"));
}

static void store(struct keeper *k, const struct state_dir *dir)
{
    struct err e = { "" };
    if (dir && ca_file_write(dir, k->stores.ring, k->ca, &e) != 0)
        log_error(log_msg("cannot store the CA: the next start of sidekey makes a new CA, and running programs will "
                          "not trust it"),
                  log_str("reason", e.text));
}

/* For the keeper after this one; the supervisor holds it and cannot read it. */
static void hand_over(struct keeper *k)
{
    struct buf packet;
    if (!k->supervisor || k->options->ca_cert_file)
        return;
    buf_init(&packet, 1024);
    int fd = ca_file_to_memory(k->stores.ring, k->ca);
    int failed = fd < 0 ? fd : msg_encode(&(struct msg){ .type = MSG_CA }, &packet);
    if (failed == 0)
        failed = ipc_send(k->supervisor, buf_slice(&packet), fd);
    if (failed)
        log_warn(log_msg("cannot keep the CA in memory"), log_str("reason", strerror(-failed)));
    if (fd >= 0)
        close(fd);
    buf_done(&packet);
}

void keeper_ca_store_again(struct keeper *k)
{
    struct state_dir dir = { .fd = -1 };
    struct err why = { "" };
    bool kept = is_kept(k) && ca_file_open(&dir, k->options->state_dir, &why) == 0;
    if (is_kept(k) && !kept)
        log_error(log_msg("cannot store the CA"), log_str("reason", why.text));
    store(k, kept ? &dir : NULL);
    ca_file_close(&dir);
}

/* ---- what programs are told ---- */

/* What programs have read already may sign, also when nothing new can be written. */
static void read_published(struct keeper *k)
{
    struct buf pem;
    char path[PATH_MAX];
    if (!k->options->ca_publish || snprintf(path, sizeof path, "%s/ca.pem", k->options->ca_publish) >= (int)sizeof path)
        return;
    buf_init(&pem, CA_SET_PEM_MAX);
    FILE *f = fopen(path, "re");
    while (f && !feof(f) && !ferror(f)) {
        char *at = buf_reserve(&pem, 4096);
        if (!at)
            break;
        buf_grow(&pem, fread(at, 1, 4096, f));
    }
    if (f)
        fclose(f);
    ca_set_published(k->ca, buf_slice(&pem));
    buf_done(&pem);
}

static int publish(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    struct buf pem;
    buf_init(&pem, CA_SET_PEM_MAX);
    int failed = ca_set_add_pem(k->ca, now_s(), &pem);
    if (failed)
        failed = err_set(e, "cannot write the CA as PEM: %s", strerror(-failed));
    else if (o->ca_publish)
        failed = bundle_publish(o->ca_publish, buf_slice(&pem), o->extra_roots, o->ca_keep || o->ca_cert_file, e);
    if (failed == 0)
        ca_set_published(k->ca, buf_slice(&pem));
    k->ca_unpublished = failed != 0;
    buf_done(&pem);
    return failed;
}

/* One line says what programs have to do. */
static void announce(const struct keeper *k, unsigned done)
{
    char until[32], from[32];
    date(k->ca_expiry_s, until);
    date(ca_set_handover_s(k->ca, now_s()), from);
    int64_t count = (int64_t)ca_set_count_published(k->ca, now_s());
    if (done & CA_SET_MADE_FIRST)
        log_info(log_msg("a new CA was made: programs must trust it from now on"), log_str("until", until));
    if (done & CA_SET_MADE_FOR_HOSTS)
        log_warn(log_msg("one more CA is published, for hosts that the other CAs are not valid for: restart running "
                         "programs that call these hosts, or make them read ca.pem again"),
                 log_int("certificates", count), log_str("until", until));
    if (done & CA_SET_MADE_SUCCESSOR && !(done & CA_SET_SIGNS))
        log_warn(
            log_msg(
                "the next CA is published: before it signs, restart running programs, or make them read ca.pem again"),
            log_str("signs_from", from), log_int("certificates", count));
    if (done & CA_SET_SIGNS)
        log_warn(log_msg("another CA signs from now on: restart programs that were started before it was published, or "
                         "make them read ca.pem again"),
                 log_int("certificates", count), log_str("until", until));
    if (done & CA_SET_DROPPED)
        log_warn(log_msg("a CA is no longer published: restart programs that trust only that one"),
                 log_int("certificates", count));
}

/* ---- changes ---- */

static int apply(struct keeper *k, enum change what, unsigned *ret_done, struct err *e)
{
    int failed = what == CHANGE_DUE ? ca_set_update(k->ca, now_s(), ret_done, e)
                                    : ca_set_rotate(k->ca, now_s(), what == CHANGE_ROTATE_NOW, ret_done, e);
    if (failed == 0 && (failed = publish(k, e)) != 0)
        ca_set_revert(k->ca);
    return failed;
}

/* Inside the lock of the directory: sidekeys that share it agree on one CA. */
static int change(struct keeper *k, enum change what, struct err *e)
{
    struct state_dir dir = { .fd = -1 };
    struct err why = { "" };
    unsigned done = 0;
    bool kept = is_kept(k) && ca_file_open(&dir, k->options->state_dir, &why) == 0;
    if (is_kept(k) && !kept)
        log_error(log_msg("cannot store the CA"), log_str("reason", why.text));
    read_stored(k, kept ? &dir : NULL);
    read_published(k);
    int failed = apply(k, what, &done, e);
    store(k, kept ? &dir : NULL);
    ca_file_close(&dir);
    hand_over(k);
    k->ca_expiry_s = ca_set_expiry_s(k->ca, now_s());
    if (failed)
        return -1;
    announce(k, done);
    if (done & (CA_SET_SIGNS | CA_SET_DROPPED))
        keeper_send_all(k, &(struct msg){ .type = MSG_MINT_ANEW });
    return 0;
}

static void look(struct keeper *k)
{
    struct err e = { "" };
    bool due = k->ca_unpublished || ca_set_is_due(k->ca, now_s());
    if (due && change(k, CHANGE_DUE, &e) != 0)
        log_error(log_msg("cannot publish the CA again: the published files stay as they are"),
                  log_str("reason", e.text));
    k->ca_looked_ms = clock_mono_ms();
    timer_set(&k->ca_look, k->ca_unpublished ? AGAIN_MS : LOOK_EVERY_MS);
}

void keeper_ca_on_timer(void *arg)
{
    look(arg);
}

void keeper_ca_look(struct keeper *k)
{
    bool due = ca_set_is_due(k->ca, now_s());
    if (due && !(k->ca_unpublished && clock_mono_ms() - k->ca_looked_ms < AGAIN_MS))
        look(k);
}

/* 0; how long the oldest of the last rotations is still in the way. */
static int64_t rotate_again_in_ms(struct keeper *k)
{
    int64_t now_ms = clock_mono_ms(), oldest_ms = k->ca_rotated_ms[0];
    if (oldest_ms && now_ms - oldest_ms < ROTATIONS_MS)
        return oldest_ms + ROTATIONS_MS - now_ms;
    memmove(k->ca_rotated_ms, k->ca_rotated_ms + 1, sizeof k->ca_rotated_ms - sizeof *k->ca_rotated_ms);
    k->ca_rotated_ms[KEEPER_CA_ROTATIONS - 1] = now_ms;
    return 0;
}

int keeper_ca_rotate(struct keeper *k, bool at_once, struct buf *out, bool *ret_ok)
{
    struct err e = { "" };
    char from[32];
    int64_t wait_ms = rotate_again_in_ms(k);
    *ret_ok = false;
    if (wait_ms)
        return buf_printf(out, "refused: the CA was rotated %d times within the last hour; try again in %d min\n",
                          KEEPER_CA_ROTATIONS, (int)(wait_ms / 60000) + 1);
    *ret_ok = change(k, at_once ? CHANGE_ROTATE_NOW : CHANGE_ROTATE, &e) == 0;
    if (!*ret_ok)
        return buf_printf(out, "%s\n", e.text);
    if (at_once)
        return buf_add_str(
            out,
            "another CA signs from now on: restart the programs that use sidekey, or make them read ca.pem again\n");
    return buf_printf(out,
                      "the next CA is published and signs from %s: until then, restart the programs that use sidekey, "
                      "or make them read ca.pem again\n",
                      date(ca_set_handover_s(k->ca, now_s()), from));
}

/* ---- life ---- */

int keeper_ca_open(struct keeper *k, struct err *e)
{
    const struct keeper_options *o = k->options;
    const struct ca_set_options options = { .hosts = o->permit_hosts,
                                            .constrain = o->ca_constrain,
                                            .rsa = o->ca_rsa,
                                            .renew = o->ca_keep,
                                            .cert_file = o->ca_cert_file,
                                            .key_file = o->ca_key_file };
    if (!(k->ca = ca_set_new(&options, now_s(), e)))
        return EX_CONFIG;
    if (change(k, CHANGE_DUE, e) == 0)
        return 0;
    if (ca_set_count_published(k->ca, now_s()) == 0)
        return k->ca_unpublished && o->ca_publish ? stores_directory_status(o->ca_publish, S_IWGRP | S_IWOTH)
                                                  : EX_CONFIG;
    log_error(log_msg("cannot publish the CA again: the published files stay as they are"), log_str("reason", e->text));
    return 0;
}

void keeper_ca_start(struct keeper *k)
{
    hand_over(k);
    timer_set(&k->ca_look, k->ca_unpublished ? AGAIN_MS : LOOK_EVERY_MS);
}

bool keeper_ca_usable(const struct keeper *k)
{
    return ca_set_count_published(k->ca, now_s()) > 0;
}

void keeper_ca_gauges(struct keeper *k)
{
    *metrics_at(k->metrics, "sidekey_ca_expiry_timestamp_seconds") = (double)k->ca_expiry_s;
    *metrics_at(k->metrics, "sidekey_ca_certificates") = (double)ca_set_count_published(k->ca, now_s());
}

/* MINT → LEAF. */
void keeper_ca_mint(struct worker_link *w, const struct msg *m)
{
    struct keeper *k = w->keeper;
    struct msg answer = { .type = MSG_LEAF, .name = m->name, .tag = m->tag };
    struct buf der;
    struct err e = { "" };
    buf_init(&der, LEAF_MAX_BYTES);
    keeper_ca_look(k);
    bool by_rsa = m->tag == TLS_LEAF_RSA_BY_RSA, ok = false;
    if (by_rsa && !k->options->ca_rsa)
        err_set(&e, "the client does not support ECDSA signatures: set ca.rsa: true, then load ca.pem into its trust "
                    "store again");
    else
        ok = ca_set_sign_leaf(k->ca, m->name, by_rsa, m->der, now_s(), &der, &answer.until_s, &e) == 0;
    if (ok)
        answer.der = buf_slice(&der);
    else {
        answer.until_s = 0;
        answer.text = slice_str(e.text);
        log_warn(log_msg("cannot sign a leaf certificate"), log_str("reason", e.text));
    }
    (*metrics_at(k->metrics, "sidekey_leaves_total{result=\"%s\"}", ok ? "signed" : "refused"))++;
    keeper_send(w, &answer);
    buf_done(&der);
}
