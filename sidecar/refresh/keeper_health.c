/* What is wrong around the keeper while tokens are valid: told, and put right where that can be done. */
#include "refresh/keeper_private.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "refresh/store/store_file.h"

const char *keeper_part_name(enum keeper_part part)
{
    static const char *const names[KEEPER_PARTS] = { [KEEPER_STORE] = "store",
                                                     [KEEPER_JOURNAL] = "journal",
                                                     [KEEPER_STATE_DIR] = "state_directory",
                                                     [KEEPER_CA_VOLUME] = "ca_volume" };
    return names[part];
}

static const char *journal_fault(const struct keeper *k)
{
    int fault = state_dir_fault(journal_dir(k->stores.journal));
    return fault ? strerror(fault) : NULL;
}

const char *keeper_part_fault(const struct keeper *k, enum keeper_part part)
{
    switch (part) {
    case KEEPER_STORE:
        return k->stores.store->engine->up(k->stores.store) ? NULL : "does not respond, or does not accept writes";
    case KEEPER_JOURNAL: return journal_fault(k);
    case KEEPER_STATE_DIR: return k->dir_error.text[0] ? k->dir_error.text : NULL;
    case KEEPER_CA_VOLUME: return k->ca_unpublished ? "ca.pem cannot be written: see the log" : NULL;
    case KEEPER_PARTS: break;
    }
    return NULL;
}

/* ---- the state directory ---- */

/* Each part of it: 1 when one was missing and is there again; -1 with e. */
static int put_back(struct keeper *k, struct err *e)
{
    int dir = state_dir_again(&k->stores.dir, e);
    if (dir < 0)
        return -1;
    if (dir == 1 && !secret_empty(&k->stores.dir_key)
        && store_file_seal_key_again(&k->stores.dir, secret_peek(&k->stores.dir_key), e) != 0)
        return -1;
    int journal = state_dir_again(journal_dir(k->stores.journal), e);
    int store = journal < 0 || !k->stores.store->engine->again ? 0 : k->stores.store->engine->again(k->stores.store, e);
    if (journal < 0 || store < 0)
        return -1;
    return dir || journal || store;
}

bool keeper_health_look(struct keeper *k)
{
    struct err e = { "" };
    int found = put_back(k, &e);
    if (found == 1)
        log_warn(
            log_msg(
                "the state directory was removed: sidekey makes it again, and writes its state from memory into it"),
            log_str("directory", k->stores.dir.path));
    if (found < 0 && strcmp(e.text, k->dir_error.text) != 0)
        log_error(log_msg("the state directory is missing and cannot be made again: sidekey continues from memory, and "
                          "a restart would lose its tokens"),
                  log_str("directory", k->stores.dir.path), log_str("reason", e.text),
                  log_str("hint", "make it again with mode 0700, for the user that sidekey runs as"));
    k->dir_error = e;
    return found == 1;
}
