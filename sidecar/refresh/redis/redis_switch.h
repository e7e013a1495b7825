/* refresh/redis/redis_switch.h: hears from the sentinels that another server is the primary now (+switch-master), so
 * that a failover is followed at once and not only when the old primary breaks the connection: cut off from the others
 * it would take writes that are lost.   Keeper only.
 *
 * One connection to each of the first REDIS_SWITCH_LISTEN_MAX sentinels, made again with backoff (redis_client.h),
 * alive as long as it answers a PING. What one of them says is a hint and no more: who is told asks the sentinels, and
 * the server that they name for its ROLE.  Hints are passed on at most one each REDIS_SWITCH_FIRST_MS, and from one to
 * the next twice as long (up to REDIS_SWITCH_LAST_MS) while they do not cease. Owner  redis_switch_new()'s caller,
 * through redis_switch_free(), at any time but inside fn. Source
 * https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#pubsub-messages */
#ifndef SIDEKEY_REFRESH_REDIS_REDIS_SWITCH_H
#define SIDEKEY_REFRESH_REDIS_REDIS_SWITCH_H

#include "refresh/redis/redis_client.h"

#define REDIS_SWITCH_LISTEN_MAX 5
#define REDIS_SWITCH_FIRST_MS 1000
#define REDIS_SWITCH_LAST_MS 60000

struct redis_switch;
/* to: the new primary, as sentinel number "sentinel" of the list says.  From the loop. */
typedef void redis_switch_fn(void *arg, const struct authority *to, size_t sentinel);

/* All is borrowed for the listener's life.  NULL: out of memory. */
MUST_CHECK struct redis_switch *redis_switch_new(struct dialer *dialer, const struct redis_sentinels *s,
                                                 struct redis_account *account, redis_switch_fn *fn, void *arg);
/* Accepts NULL. */
void redis_switch_free(struct redis_switch *w);
/* "NAME OLD-HOST OLD-PORT NEW-HOST NEW-PORT", as the channel carries it.  0; -EINVAL: not of this primary, or no
 * address. */
MUST_CHECK int redis_switch_parse(struct slice text, const char *primary, struct authority *ret);

#endif
