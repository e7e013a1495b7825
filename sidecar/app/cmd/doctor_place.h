/* app/cmd/doctor_place.h: what the environment that "sidekey doctor" was started in says about sidekey.
 *
 * Reads variables, and asks the proxy that they name. */
#ifndef SIDEKEY_APP_CMD_DOCTOR_PLACE_H
#define SIDEKEY_APP_CMD_DOCTOR_PLACE_H

#include <limits.h>

#include "app/config/config.h"

#define DOCTOR_NOTES_MAX 8
#define DOCTOR_FIX_MAX (2 * PATH_MAX)

/* Something that is wrong whatever the runtime. */
struct doctor_note {
    const char *name; /* of the part: "proxy", "NO_PROXY" */
    char text[320];
    char fix[DOCTOR_FIX_MAX]; /* a line for sh(1); "": there is none */
};

struct doctor_place {
    bool proxy_named;      /* some variable names a proxy */
    bool reached;          /* … and sidekey answers there */
    bool preload;          /* programs that are started here load the preload library */
    char url[64];          /* of the proxy, for a fix: "$VARIABLE" of the one that answered, else the configured one */
    char ca_dir[PATH_MAX]; /* the published CA files, as far as is known */
    struct doctor_note notes[DOCTOR_NOTES_MAX];
    size_t note_count;
};

/* Looks around.  c: where no variable says where sidekey is, and for the hosts of its rules.  Waits some seconds for a
 * proxy that does not answer. */
void doctor_place_look(struct doctor_place *p, const struct config *c);
/* A request did not arrive: notes that nothing here leads to sidekey, if so.  Where all of them arrive, a network does
 * (run --isolate). */
void doctor_place_no_way(struct doctor_place *p);
/* One more note, for the caller to fill; the last one again where there is no space. */
struct doctor_note *doctor_place_note(struct doctor_place *p, const char *name);

#endif
