/* app/config/placeholders.h: `placeholder: auto`: what a program sends in place of a token, made by sidekey.   A
 * placeholder is no secret, but nobody guesses it.  It follows from the seal key and the name of its credential or rule
 * (HKDF), so it outlives rotations and restarts, and is the same on all machines that share a seal key.  It looks like
 * the provider's token, since some programs look at theirs.
 *
 * A format is text of letters, digits and . _ - ! with {N}, {hex:N} and {digits:N}: so many random characters.  The
 * last run of letters and digits must be long enough to be met nowhere else: rules know a placeholder by it
 * (proxy/when.h). */
#ifndef SIDEKEY_APP_CONFIG_PLACEHOLDERS_H
#define SIDEKEY_APP_CONFIG_PLACEHOLDERS_H

#include "app/config/config.h"

#define PLACEHOLDERS_DEFAULT_FORMAT "sidekey-{40}"
#define PLACEHOLDERS_RANDOM_BYTES 1024 /* that one format may use up */

/* As the functions of config_values.h: placeholder_format, and a name in placeholder_variables. */
const char *placeholders_check_format(char **io_text);
const char *placeholders_check_variable(char **io_text);
/* After the checks of rule r: it answers with, or asks for the placeholder of its credential, or its own; `when` and
 * `only_if` of the rule win.  Until placeholders_fill() a word that nobody sends stands there.  Returns 0; -1,
 * reported. */
int placeholders_check_rule(struct schema *s, const json_t *node, struct rule *r);
/* Appends a placeholder of that format, made of PLACEHOLDERS_RANDOM_BYTES random bytes.  Returns 0; -ENOBUFS, -ENOMEM.
 */
MUST_CHECK int placeholders_shape(const char *format, const unsigned char *random, struct buf *out);
/* Fills in all placeholders of c.  A process of its own reads the seal key; ours never has it.  make: a key is made in
 * the state directory when there is none, as the keeper would.  private_too: c->throwaway_pem is wanted, by those who
 * write key files.  Returns 0, also when c has none; -1 with e. */
MUST_CHECK int placeholders_fill(struct config *c, bool make, bool private_too, struct err *e);
/* Of the credential of that name, else of the rule; NULL: it has none. */
const char *placeholders_of(const struct config *c, const char *name);
/* Calls fn for each variable of all credentials with its placeholder, as long as fn returns 0.  A variable that two
 * credentials want is nobody's: clash (may be NULL) is told.  Returns what fn returned last. */
int placeholders_each(const struct config *c, int (*fn)(void *arg, const char *variable, const char *value),
                      void (*clash)(const char *variable, const char *one, const char *other), void *arg);

#endif
