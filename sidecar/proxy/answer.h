/* proxy/answer.h: token requests of programs that sidekey answers itself (rules[].answer: token; docs/http.md §3.18).
 * Pure.  The program's SDK insists on its OAuth dance; it gets the credential's placeholder as its access token, and
 * what it then sends with that gets the real one.  Nothing of such a request leaves.
 *
 * Read: forms and JSON (RFC 6749 §4, §6), Basic (§2.3.1), assertions (RFC 7523) signed with the throw-away key
 * (crypto/throwaway.h), and GitHub's installation tokens, asked for with a JWT as Bearer. */
#ifndef SIDEKEY_PROXY_ANSWER_H
#define SIDEKEY_PROXY_ANSWER_H

#include "proxy/rule.h"
#include "proxy/tokens.h"

#define ANSWER_BODY_MAX (64 * 1024)
/* 20 days.  Programs that set a timer to the end in milliseconds of 32 bits have it fire at once beyond 24. */
#define ANSWER_LIFETIME_S 1728000

enum answer_verdict {
    ANSWER_OURS,   /* a placeholder of ours, or an assertion by the throw-away key: *ret is the rule whose it is */
    ANSWER_OTHERS, /* nothing of ours is in it: as the rule's others says */
    ANSWER_STRAY,  /* placeholders of two credentials, or one that no answering rule takes: never sent on */
    ANSWER_ERROR,  /* it is ours and wrong, or cannot be read: *ret_error */
};

struct answer_error { /* RFC 6749 §5.2; static text */
    int status;
    const char *code, *text;
};

struct answer_asked {
    const struct message *request;
    struct slice body;               /* whole */
    const struct rule *const *rules; /* that answer this host, method and path, for this client */
    size_t count;
    struct slice throwaway_der;                     /* the public key; empty: there is none */
    int64_t now_s;                                  /* since 1970 */
    bool (*is_stray)(void *arg, struct slice text); /* does text have any placeholder of ours? */
    void *arg;
};

/* Placeholders are compared in constant time. */
enum answer_verdict answer_judge(const struct answer_asked *a, const struct rule **ret, struct answer_error *ret_error);
/* The answer of rule r: head in m (cleared), JSON in body.  token: its members beside the token are passed
 * (instance_url …); ID tokens never are, since sidekey cannot make one for its own token.  0; -ENOMEM, -ENOBUFS. */
MUST_CHECK int answer_build(const struct rule *r, const struct token *token, int64_t now_s, struct message *m,
                            struct buf *body);
/* The same for a refusal.  retry_after_s: 0: none. */
MUST_CHECK int answer_build_error(const struct answer_error *error, int64_t retry_after_s, struct message *m,
                                  struct buf *body);

#endif
