/* app/cmd/doctor_advice.h: the line that fixes what "sidekey doctor" has found.   Reads variables and looks for files.
 */
#ifndef SIDEKEY_APP_CMD_DOCTOR_ADVICE_H
#define SIDEKEY_APP_CMD_DOCTOR_ADVICE_H

#include "app/cmd/doctor_place.h"
#include "app/cmd/doctor_probe.h"

/* A line for sh(1), "" where there is none: all is well, or a note of p says it. */
void doctor_advice_fix(const struct doctor_finding *f, const struct doctor_place *p, char *const *command,
                       char ret[DOCTOR_FIX_MAX]);

#endif
