/* app/cmd/run_files.h: configuration files for programs that take their trust, or their proxy, from no variable: wget,
 * PHP, apt, curl.   They lie in the run's directory; a variable leads each program to its own, which has what stood in
 * the user's before. */
#ifndef SIDEKEY_APP_CMD_RUN_FILES_H
#define SIDEKEY_APP_CMD_RUN_FILES_H

#include "app/cmd/run_proxies.h"

/* Writes the files to dir and sets WGETRC, PHP_INI_SCAN_DIR, APT_CONFIG; proxy_url (NULL: none) goes into those whose
 * program would prefer the user's (WGETRC, CURL_HOME).  0; -errno. */
MUST_CHECK int run_files_write(const char *dir, const char *proxy_url, const struct run_proxies *before);

#endif
