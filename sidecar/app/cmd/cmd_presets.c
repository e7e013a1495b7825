/* sidekey presets: the providers that the program knows, and what it knows of one. */
#include "app/cmd/cmd.h"
#include "app/config/preset.h"

#include <stdio.h>
#include <sysexits.h>

static void print_one(void *arg, const char *name, const char *about, const char *text)
{
    (void)arg, (void)text;
    printf("%-28s %s\n", name, about);
}

static int show(const char *name)
{
    const char *nearest, *text = preset_text(name, &nearest);
    if (text)
        return fputs(text, stdout) == EOF ? cmd_fail(EX_IOERR, "presets", "cannot print it") : EX_OK;
    if (nearest)
        return cmd_fail(EX_DATAERR, "presets", "there is no preset \"%.64s\": did you mean \"%s\"?", name, nearest);
    return cmd_fail(EX_DATAERR, "presets", "there is no preset \"%.64s\": sidekey presets lists them", name);
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
