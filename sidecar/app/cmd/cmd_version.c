#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>

#include "app/cmd/cmd.h"
#include "app/config/tree.h"
#include "http/h1.h"
#include "net/dial/dns.h"
#include "net/loop.h"
#include "net/tls/tls.h"
#include "refresh/fetch/fetch.h"
#include "refresh/redis/redis_wire.h"

static void print_libraries(void)
{
    int major, minor;
    loop_library(&major, &minor);
    printf("%s\n%s\nc-ares %s\nlibev %d.%d\nllhttp %s\njansson %s\nlibyaml %s\nhiredis %s\n", tls_library(),
           fetch_library(), dns_library(), major, minor, h1_library(), jansson_version_str(), tree_library(),
           redis_wire_library());
}

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
        return cmd_usage("version", "takes no arguments");
    puts("sidekey " SIDEKEY_VERSION);
    if (verbose)
        print_libraries();
    return EX_OK;
}
