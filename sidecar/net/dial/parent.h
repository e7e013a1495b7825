/* net/dial/parent.h: the parent proxy: its address, its login, and the targets that use it (docs/http.md 6.8a). Worker
 * and keeper. No sockets: net/dial/parent_talk does the protocol. Its password is a secret that workers read: it gives
 * access to a proxy, not to an API. Owner  the struct that embeds it, through parent_done().  A zeroed struct is "no
 * parent". */
#ifndef SIDEKEY_NET_DIAL_PARENT_H
#define SIDEKEY_NET_DIAL_PARENT_H

#include "base/secret_ref.h"
#include "http/authority.h"

#define PARENT_NAME_MAX (AUTHORITY_TEXT_MAX + 16)
#define PARENT_LOGIN_MAX 255 /* bytes of user name and of password (RFC 1929 §2) */

enum parent_kind {
    PARENT_NONE,
    PARENT_CONNECT, /* http://: RFC 9110 §9.3.6 */
    PARENT_SOCKS5,  /* socks5h://: RFC 1928, names are looked up there */
};

struct parent_options { /* network.parent_proxy and network.no_proxy, owned by the config */
    char *url;          /* NULL: none */
    char *username;     /* NULL: no login */
    struct secret_ref password;
    char **no_proxy; /* NULL-terminated, each as parent_check_bypass() left it; NULL: empty */
};

struct parent {
    enum parent_kind kind;
    struct authority at;
    char name[PARENT_NAME_MAX]; /* "http://proxy.test:3128", for messages */
    const struct parent_options *options;
    struct secret password;
};

/* "http://host:port" or "socks5h://host:port", a "/" at the end allowed.  NULL, or what is wrong with it; never repeats
 * the text. */
const char *parent_parse(struct slice url, enum parent_kind *ret_kind, struct authority *ret_at);
/* One entry of no_proxy: "*", "host", ".suffix" (every name below it), an IP address or a network; normalises *io_text
 * (heap). NULL, or what is wrong. */
const char *parent_check_bypass(char **io_text);
/* Reads the password (secret_ref_read: may block).  options: borrowed until done; NULL, or without url: no parent.
 * 0; -1 with e, and p is zeroed. */
MUST_CHECK int parent_init(struct parent *p, const struct parent_options *options, struct err *e);
void parent_done(struct parent *p);
/* The way to this target leads through a parent with these options.  False when there is none, when no_proxy names the
 * target, and for this machine's own loopback: "localhost" at the parent would be another machine (RFC 6761 §6.3). */
bool parent_serves(const struct parent_options *options, const struct authority *to);

#endif
