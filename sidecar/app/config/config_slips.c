#include "app/config/config_slips.h"

#include "app/config/field.h"
#include "app/config/units.h"
#include "base/memory_limit.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB ((uint64_t)1024 * 1024)
#define IDLE_CLIENT_BYTES (12 * (uint64_t)1024) /* docs/performance.md: an idle intercepted connection */
#define PROCESSES_BYTES (12 * MIB)              /* keeper, workers and supervisor without clients */
#define REPLAY_MOST (64 * MIB)
#define CONNECTIONS_MOST 10000

void config_slips_network(struct schema *s, const json_t *node, const char *text, const struct address *network)
{
    struct address host;
    char plain[64], means[64];
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(text, "/"), text);
    if (!strchr(text, '/') || address_parse_network(slice_str(plain), &host) != 0
        || memcmp(&host.sa, &network->sa, sizeof host.sa) == 0)
        return;
    address_text((const struct sockaddr *)&network->sa, means, sizeof means);
    *strrchr(means, ':') = '\0';
    bool six = means[0] == '[';
    means[strlen(means) - six] = '\0';
    schema_warn(s, node, "%.60s means %s%s: write that, or %s for the one address", text, means + six,
                strchr(text, '/'), plain);
}

/* ---- variables ---- */

struct search {
    const char *name, *nearest;
    bool found;
    char nearest_text[96];
};

static void search(const struct table *t, const char *prefix, struct search *look)
{
    for (const struct field *f = t->fields; f->key; f++) {
        char name[96];
        snprintf(name, sizeof name, "%s_%s", prefix, f->key);
        for (char *c = name; *c; c++)
            if (*c >= 'a' && *c <= 'z')
                *c = (char)(*c - 'a' + 'A');
        if (f->type == FIELD_OBJECT)
            search(f->table, name, look);
        if (!(f->flags & FIELD_ENV))
            continue;
        look->found = look->found || strcmp(name, look->name) == 0;
        const char *best = look->nearest;
        units_nearer(look->name, name, &best);
        if (best == name) {
            snprintf(look->nearest_text, sizeof look->nearest_text, "%s", name);
            look->nearest = look->nearest_text;
        }
    }
}

/* Kubernetes makes such variables for a Service of that name. */
static bool is_of_others(const char *name)
{
    return strcmp(name, "SIDEKEY_CONFIG") == 0 || strncmp(name, "SIDEKEY_PORT", 12) == 0
           || strncmp(name, "SIDEKEY_SERVICE_", 16) == 0 || strstr(name, "_SERVICE_HOST")
           || strstr(name, "_SERVICE_PORT") || strstr(name, "_TCP") || strncmp(name, "SIDEKEY_PRELOAD", 15) == 0;
}

/* Only what looks like a key: others may have variables that begin so. */
void config_slips_variables(struct schema *s, const struct table *t)
{
    for (char **variable = environ; variable && *variable; variable++) {
        char name[96];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*variable, "="), *variable);
        if (strncmp(name, "SIDEKEY_", 8) != 0 || is_of_others(name))
            continue;
        struct search look = { .name = name };
        search(t, "SIDEKEY", &look);
        if (!look.found && look.nearest)
            schema_warn(s, NULL, "the variable %s sets no key: did you mean %s?", name, look.nearest);
    }
}

/* ---- memory ---- */

static uint64_t at_most(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

void config_slips_fill_limits(struct config *c)
{
    uint64_t limit = memory_limit(), workers = c->workers ? c->workers : 1;
    uint64_t replay = limit ? at_most(limit / 4 / workers, REPLAY_MOST) : REPLAY_MOST;
    uint64_t connections = limit ? limit / 2 / workers / IDLE_CLIENT_BYTES : CONNECTIONS_MOST;
    if (c->limits.replay_total_bytes == CONFIG_REPLAY_TOTAL_UNSET)
        c->limits.replay_total_bytes = replay > c->replay_body_bytes ? replay : c->replay_body_bytes;
    if (c->limits.connections == 0)
        c->limits.connections =
            connections < CONNECTIONS_MOST ? (unsigned)connections + !connections : CONNECTIONS_MOST;
}

void config_slips_memory(struct schema *s, const struct config *c)
{
    uint64_t limit = memory_limit();
    uint64_t need =
        PROCESSES_BYTES + c->workers * (c->limits.replay_total_bytes + c->limits.connections * IDLE_CLIENT_BYTES);
    if (limit && need > limit)
        schema_warn(s, NULL,
                    "limits: %u worker%s with replay_total (%llu MiB) and connections (%u, 12 KiB each when idle) may "
                    "take %llu MiB, and the memory limit is %llu MiB: the kernel would kill them; lower both, or leave "
                    "them out: they follow the limit then",
                    c->workers, c->workers == 1 ? "" : "s", (unsigned long long)(c->limits.replay_total_bytes / MIB),
                    c->limits.connections, (unsigned long long)(need / MIB), (unsigned long long)(limit / MIB));
}
