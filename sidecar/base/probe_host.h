/* base/probe_host.h: the host that "sidekey doctor" asks for.   Pure.
 *
 * The proxy answers for it itself, without a rule, a token or an upstream (docs/http.md 1.17). No server can have this
 * name (RFC 6761 §6.4), so a request that bypasses sidekey reaches nobody. */
#ifndef SIDEKEY_BASE_PROBE_HOST_H
#define SIDEKEY_BASE_PROBE_HOST_H

#define PROBE_HOST "doctor.sidekey.invalid"
/* In the answer, before the word that says how the request came: "proxy", "transparent". */
#define PROBE_MARK "refs/sidekey-doctor/"

#endif
