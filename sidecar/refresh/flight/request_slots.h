/* refresh/flight/request_slots.h: how many token requests are out at once: for one host, and in all.   Keeper only.
 * Pure: no I/O, no loop.
 *
 * A request costs a connection, a handshake and their buffers, and a token endpoint that is met by a thousand
 * requests at the same moment answers with 429. Those who have to wait form one queue. A slot that becomes free goes to
 * the host with the fewest requests out, then to the one who has waited longest; the last REQUEST_SLOTS_SPARE slots go
 * only to hosts that have none out, so hosts that do not answer cannot take them all. Owner  the user of a slot
 * (embedded), through request_slot_give(). A zeroed struct request_slots is one that nobody uses.   Source  rule 1.2c.
 */
#ifndef SIDEKEY_REFRESH_FLIGHT_REQUEST_SLOTS_H
#define SIDEKEY_REFRESH_FLIGHT_REQUEST_SLOTS_H

#include "base/list.h"

#include <stdint.h>

#define REQUEST_SLOTS_HOST 8
#define REQUEST_SLOTS_ALL 32
#define REQUEST_SLOTS_SPARE 8

struct request_slot {
    struct list node; /* of the queue */
    struct request_slots *slots;
    uint64_t hash;  /* of the host */
    char host[300]; /* "": only the number in all counts */
    bool waits, held;
    void (*granted)(void *arg); /* called from another one's give: it must only note that the slot is there */
    void *arg;
};

struct request_slots {
    struct request_slot *holders[REQUEST_SLOTS_ALL];
    unsigned held;
    struct list queue; /* set up at the first use */
};

/* Free to take a slot.  slots is borrowed for the life of s; granted: see above. */
void request_slot_init(struct request_slot *s, struct request_slots *slots, void (*granted)(void *arg), void *arg);
/* Asks for a slot for a request to this host (copied).  True: it is held now; else granted() is called when it is.
 * Asked again for the same host, the answer is the same; for another host the slot that is held is given back first. */
bool request_slot_take(struct request_slot *s, const char *host);
/* Gives back what is held, or leaves the queue.  May be called at any time. */
void request_slot_give(struct request_slot *s);

#endif
