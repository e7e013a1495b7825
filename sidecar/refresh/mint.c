#include "refresh/keeper_room.h"

#include "base/clock.h"
#include "base/log.h"

#define LEAF_MAX_BYTES 16384

void keeper_mint(struct worker_link *w, const struct msg *m)
{
    struct keeper *k = w->keeper;
    struct msg answer = { .type = MSG_LEAF, .name = m->name };
    struct buf der;
    struct err e = { "" };
    buf_init(&der, LEAF_MAX_BYTES);
    bool ok = ca_sign_leaf(k->ca, m->name, m->der, clock_wall_ms() / 1000, &der, &answer.until_s, &e) == 0;
    if (ok)
        answer.der = buf_slice(&der);
    else {
        answer.until_s = 0;
        answer.text = slice_str(e.text);
        log_warn(log_msg("leaf refused"), log_str("reason", e.text));
    }
    (*metrics_at(k->metrics, "sidekey_leaves_total{result=\"%s\"}", ok ? "signed" : "refused"))++;
    keeper_send(w, &answer);
    buf_done(&der);
}
