#include "app/cmd/cmd.h"
#include "refresh/fetch/fetch.h"

#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>
#include <yaml.h>

/* By hand: the headers of these libraries stay in their own rooms. */
const char *OpenSSL_version(int what);
const char *ares_version(int *number);
int ev_version_major(void);
int ev_version_minor(void);

int cmd_version(int argc, char **argv)
{
    static const struct option flags[] = { { "verbose", no_argument, NULL, 'v' }, CMD_LONG_END };
    bool verbose = false;
    int flag;
    while ((flag = cmd_flag(argc, argv, "v", flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        verbose = true;
    }
    if (optind < argc)
        return cmd_usage("version", "takes no words");
    puts("sidekey " SIDEKEY_VERSION);
    if (verbose)
        printf("%s\n%s\nc-ares %s\nlibev %d.%d\njansson %s\nlibyaml %s\n", OpenSSL_version(0), fetch_library(),
               ares_version(NULL), ev_version_major(), ev_version_minor(), jansson_version_str(),
               yaml_get_version_string());
    return EX_OK;
}
