/* base/list.h: intrusive circular doubly linked list.   Pure, owns nothing.
 * A node that is in no list points at itself: list_remove() may be called on it any number of times. */
#ifndef SIDEKEY_BASE_LIST_H
#define SIDEKEY_BASE_LIST_H

#include <stdbool.h>

#include "base/container.h"

struct list {
    struct list *next, *prev;
};

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)

/* Makes a head empty, or a node single. */
static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Appends a single node at the tail. */
static inline void list_push(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Inserts a single node at the front. */
static inline void list_unshift(struct list *head, struct list *node)
{
    list_push(head->next, node);
}

/* Takes the node out of its list, if any; it is single afterwards. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes the first node out; NULL when empty. */
static inline struct list *list_shift(struct list *head)
{
    struct list *first = head->next;
    if (first == head)
        return NULL;
    list_remove(first);
    return first;
}

/* Moves every node of from to the empty list to: lets a callback add to from while to is walked. */
static inline void list_take(struct list *to, struct list *from)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

#endif
