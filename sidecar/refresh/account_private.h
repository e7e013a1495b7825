/* refresh/account_private.h: inside the account, for account*.c only.
 * account.c has the state and the schedule; account_secrets.c the configured secrets; account_flight.c the start and
 * end of a flight; account_chain.c what waits for other credentials. */
#ifndef SIDEKEY_REFRESH_ACCOUNT_PRIVATE_H
#define SIDEKEY_REFRESH_ACCOUNT_PRIVATE_H

#include "refresh/account.h"

/* account.c */
/* Sets the timer for the next background pass. */
void account_schedule(struct account *a);
/* The pause between two forced refreshes, in ms. */
int64_t account_forced_floor(const struct account *a);
/* Takes a newer state, or another token under the same number, and publishes it. */
void account_take(struct account *a, const struct state *state);
/* Something has changed: the next try may be made at once, unless the token host wants a pause. */
void account_unstick(struct account *a);

/* account_secrets.c */
/* 0; -ENOMEM. */
MUST_CHECK int account_watch_secrets(struct account *a);
void account_unwatch_secrets(struct account *a);
/* A secret's file has changed, or a->reset is set: a flight, where that may help. */
void account_secret_changed(struct account *a);
/* The configured refresh token is none that the stored state knows: a flight must look at it.  One that a program
 * prints may always be new. */
bool account_seed_may_be_new(const struct account *a);

/* account_chain.c */
/* Every parent has a token that may be used.  false: one is asked for it; account_fly() is called again when it has
 * answered, or the account has failed with its reason. */
bool account_chain_ready(struct account *a, const struct schedule_need *need);
/* A flight has failed: a token of the parent that was refused is not used again before a newer one was asked for. */
void account_chain_failed(struct account *a, const struct flight_result *r);
/* Tells the workers, and the credentials whose parent it is. */
void account_publish(struct account *a);
void account_refuse(struct account *a, enum msg_class failure, int64_t retry_after_ms, const char *text);
/* Nothing is waited for any more. */
void account_chain_drain(struct account *a);

/* account_flight.c */
/* What is held does not satisfy the need. */
bool account_needed(const struct account *a, const struct schedule_need *need);
/* Starts a flight; there is none under way. */
void account_fly(struct account *a, const struct schedule_need *need);
/* Makes the series of what may happen, at 0: a rate needs the value before the first one. */
void account_meet_counters(struct account *a);
/* Counts an event. */
void account_event(struct account *a, enum flight_event event);

#endif
