#include "app/config/preset_hint.h"

#include <stdio.h>
#include <string.h>

#include "app/config/preset.h"
#include "app/config/units.h"

#define NAMES_MAX 6
#define LEAST_BYTES 3 /* less is in too many */

struct names {
    const char *word;
    char text[256], nearest[PRESET_KEY_MAX]; /* the first part of a name: "github" */
    size_t count;
};

static void add(struct names *n, const char *name)
{
    size_t len = strlen(n->text);
    if (n->count++ < NAMES_MAX)
        snprintf(n->text + len, sizeof n->text - len, "%s%s", len ? ", " : "", name);
}

static void see_whole(void *arg, const char *name, const char *about, const char *text)
{
    struct names *n = arg;
    (void)text;
    if (strcasestr(name, n->word) || strcasestr(about, n->word))
        add(n, name);
}

static void see_part(void *arg, const char *name, const char *about, const char *text)
{
    struct names *n = arg;
    const char *best = n->nearest[0] ? n->nearest : NULL;
    char part[PRESET_KEY_MAX];
    (void)about, (void)text;
    snprintf(part, sizeof part, "%.*s", (int)strcspn(name, "-"), name);
    units_nearer(n->word, part, &best);
    if (best == part)
        snprintf(n->nearest, sizeof n->nearest, "%s", part);
}

void preset_hint(const char *word, struct err *e)
{
    struct names n = { .word = word };
    const char *nearest = NULL;
    (void)!preset_text(word, &nearest);
    preset_each(see_part, &n);
    if (nearest && n.nearest[0] && units_distance(word, n.nearest) < units_distance(word, nearest))
        nearest = NULL;
    if (!nearest && strlen(word) >= LEAST_BYTES)
        preset_each(see_whole, &n);
    if (!nearest && !n.count) {
        n.word = n.nearest;
        if (n.nearest[0])
            preset_each(see_whole, &n);
    }
    if (n.count > 1)
        err_set(e, "there is no preset \"%.64s\": did you mean one of %s%s?", word, n.text,
                n.count > NAMES_MAX ? " (sidekey presets lists more)" : "");
    else if (n.count || nearest)
        err_set(e, "there is no preset \"%.64s\": did you mean \"%s\"?", word, nearest ? nearest : n.text);
    else
        err_set(e, "there is no preset \"%.64s\": sidekey presets lists them", word);
}
