/* refresh/fetch/fetch_curl.h: libcurl, loaded by the keeper at its first use, and by no other process.   Keeper only.
 * libcurl loads some twenty libraries (LDAP, Kerberos, SSH, GnuTLS …). Loaded at run time, they are not in the workers,
 * which face the network, and cost workers and supervisor no memory.  The functions are called by their own names,
 * through a table. */
#ifndef SIDEKEY_REFRESH_FETCH_FETCH_CURL_H
#define SIDEKEY_REFRESH_FETCH_FETCH_CURL_H

#define CURL_DISABLE_TYPECHECK /* its macros would take the names away from ours */
#include <curl/curl.h>

#include "base/err.h"

/* clang-format off */
#define FETCH_CURL_FUNCTIONS(X) \
    X(curl_easy_cleanup) X(curl_easy_getinfo) X(curl_easy_init) X(curl_easy_recv) \
    X(curl_easy_send) X(curl_easy_setopt) X(curl_easy_strerror) X(curl_free) X(curl_getdate) X(curl_global_init_mem) \
    X(curl_multi_add_handle) X(curl_multi_assign) X(curl_multi_cleanup) X(curl_multi_info_read) \
    X(curl_multi_init) X(curl_multi_remove_handle) X(curl_multi_setopt) X(curl_multi_socket_action) \
    X(curl_slist_append) X(curl_slist_free_all) X(curl_url) X(curl_url_cleanup) \
    X(curl_url_get) X(curl_url_set) X(curl_version)
/* clang-format on */

struct fetch_curl {
#define FETCH_CURL_MEMBER(name) __typeof__(&(name)) call_##name;
    FETCH_CURL_FUNCTIONS(FETCH_CURL_MEMBER)
#undef FETCH_CURL_MEMBER
};

extern struct fetch_curl fetch_curl;

/* Loads libcurl.so.4 once; later calls do nothing.  0; -1 with e naming the library and the package that has it. */
MUST_CHECK int fetch_curl_load(struct err *e);
/* Starts it, after the load: what it frees is wiped, as tokens go through its buffers. */
CURLcode fetch_curl_start(void);

#ifndef FETCH_CURL_NAMES_STAY
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#define curl_easy_cleanup fetch_curl.call_curl_easy_cleanup
#define curl_easy_getinfo fetch_curl.call_curl_easy_getinfo
#define curl_easy_init fetch_curl.call_curl_easy_init
#define curl_easy_recv fetch_curl.call_curl_easy_recv
#define curl_easy_send fetch_curl.call_curl_easy_send
#define curl_easy_setopt fetch_curl.call_curl_easy_setopt
#define curl_easy_strerror fetch_curl.call_curl_easy_strerror
#define curl_free fetch_curl.call_curl_free
#define curl_getdate fetch_curl.call_curl_getdate
#define curl_global_init_mem fetch_curl.call_curl_global_init_mem
#define curl_multi_add_handle fetch_curl.call_curl_multi_add_handle
#define curl_multi_assign fetch_curl.call_curl_multi_assign
#define curl_multi_cleanup fetch_curl.call_curl_multi_cleanup
#define curl_multi_info_read fetch_curl.call_curl_multi_info_read
#define curl_multi_init fetch_curl.call_curl_multi_init
#define curl_multi_remove_handle fetch_curl.call_curl_multi_remove_handle
#define curl_multi_setopt fetch_curl.call_curl_multi_setopt
#define curl_multi_socket_action fetch_curl.call_curl_multi_socket_action
#define curl_slist_append fetch_curl.call_curl_slist_append
#define curl_slist_free_all fetch_curl.call_curl_slist_free_all
#define curl_url fetch_curl.call_curl_url
#define curl_url_cleanup fetch_curl.call_curl_url_cleanup
#define curl_url_get fetch_curl.call_curl_url_get
#define curl_url_set fetch_curl.call_curl_url_set
#define curl_version fetch_curl.call_curl_version
#endif

#endif
