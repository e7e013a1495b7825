/* sidekey presets: the providers that the program knows, and what it knows of one. */
#include "app/cmd/cmd.h"
#include "app/config/preset.h"
#include "app/config/preset_hint.h"

#include <stdio.h>
#include <sysexits.h>

static void print_one(void *arg, const char *name, const char *about, const char *text)
{
    (void)arg, (void)text;
    printf("%-28s %s\n", name, about);
}

static int show(const char *name)
{
    const char *text = preset_text(name, NULL);
    struct err e;
    if (text)
        return fputs(text, stdout) == EOF ? cmd_fail(EX_IOERR, "presets", "cannot print it") : EX_OK;
    preset_hint(name, &e);
    return cmd_fail(EX_DATAERR, "presets", "%s", e.text);
}

int cmd_presets(int argc, char **argv)
{
    static const struct option flags[] = { CMD_LONG_END };
    if (cmd_flag(argc, argv, "", flags) != -1)
        return EX_USAGE;
    if (optind == argc) {
        preset_each(print_one, NULL);
        return EX_OK;
    }
    if (optind == argc - 2 && strcmp(argv[optind], "show") == 0)
        return show(argv[optind + 1]);
    return cmd_usage("presets", "takes nothing, or show NAME");
}
