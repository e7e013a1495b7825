/* sidekey doctor: does what the runtimes of this machine send come to sidekey, and do they trust it? */
#include "app/cmd/cmd.h"
#include "app/cmd/doctor_advice.h"
#include "app/cmd/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define RUNTIMES_MAX 16
#define TIMEOUT_S 30
#define TIMEOUT_MAX_S 600
#define WIDTH 80

struct doctor {
    struct cmd_config load;
    bool json;
    uint64_t timeout_s;
    char *const *command; /* NULL: none was given */
    struct target target; /* of the command */
    struct doctor_place place;
    struct doctor_finding findings[RUNTIMES_MAX];
    size_t count;
};

enum { DOCTOR_JSON = CMD_OWN, DOCTOR_TIMEOUT };

static int read_flags(struct doctor *d, int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG,
                                           { "json", no_argument, NULL, DOCTOR_JSON },
                                           { "timeout", required_argument, NULL, DOCTOR_TIMEOUT },
                                           CMD_LONG_END };
    int flag, failed;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT, flags)) != -1)
        switch (flag) {
        case '?': return EX_USAGE;
        case DOCTOR_JSON: d->json = true; break;
        case DOCTOR_TIMEOUT:
            if (slice_u64(slice_str(optarg), TIMEOUT_MAX_S, &d->timeout_s) != 0 || d->timeout_s == 0)
                return cmd_usage("doctor", "--timeout needs a number of seconds, 1 to %d", TIMEOUT_MAX_S);
            break;
        default:
            if ((failed = cmd_config_flag(&d->load, flag, optarg)) != 0)
                return failed;
        }
    if (optind < argc)
        d->command = argv + optind;
    return 0;
}

/* --- what to try --- */

/* Whose library does not load it: nothing is known of it but its kind. */
static void note_target(struct doctor *d)
{
    const struct target *t = &d->target;
    struct doctor_note *n = doctor_place_note(&d->place, "program");
    snprintf(n->text, sizeof n->text,
             "%.120s is %s: the preload library does not work in it; it is covered only if it honours HTTPS_PROXY",
             t->path, target_text(t->kind));
}

static bool add_runtime(struct doctor *d, const struct doctor_runtime *runtime)
{
    struct doctor_finding *f = &d->findings[d->count];
    f->runtime = runtime;
    if (d->count == RUNTIMES_MAX - 1 || !doctor_table_find(runtime, f->program))
        return false;
    d->count++;
    return true;
}

/* The runtime of the command; where it is none that we know, every one of them: it may use any.  Programs in Go do
 * alike, so one of ours stands for it. */
static void choose_runtimes(struct doctor *d)
{
    bool is_go = d->command && d->target.kind == ELF_GO;
    const char *file = is_go ? "go" : d->target.path;
    const struct doctor_runtime *one = d->command ? doctor_table_of(file) : NULL;
    if (one && is_go && add_runtime(d, one))
        return;
    if (d->command && !target_preloads(d->target.kind))
        note_target(d);
    if (one && !is_go) {
        d->findings[d->count].runtime = one;
        snprintf(d->findings[d->count++].program, PATH_MAX, "%s", d->target.path);
        return;
    }
    for (const struct doctor_runtime *r = doctor_runtimes; r->name; r++)
        (void)add_runtime(d, r);
}

/* The scripts may have made directories: those of Go's cache. */
static void remove_below(int at, const char *name, int depth)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlinkat(fd, e->d_name, 0) != 0 && depth < 8)
            remove_below(fd, e->d_name, depth + 1);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    (void)unlinkat(at, name, AT_REMOVEDIR);
}

static int probe_all(struct doctor *d)
{
    const char *tmp = getenv("TMPDIR");
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s/sidekey-doctor.XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return cmd_fail(EX_CANTCREAT, "doctor", "cannot make a directory for the probes: %s", strerror(errno));
    int failed = 0;
    for (size_t i = 0; i < d->count && !failed; i++) {
        if (!d->json && isatty(STDERR_FILENO))
            fprintf(stderr, "\r\033[Ktrying %s …", d->findings[i].runtime->name);
        failed = doctor_probe(&d->findings[i], dir, (int64_t)d->timeout_s * 1000);
    }
    if (!d->json && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    remove_below(AT_FDCWD, dir, 0);
    return failed ? cmd_fail(EX_OSERR, "doctor", "cannot start a probe: %s", strerror(-failed)) : 0;
}

/* --- what was found --- */

static bool all_is_well(const struct doctor *d)
{
    bool well = d->place.note_count == 0 && d->count > 0;
    for (size_t i = 0; i < d->count; i++)
        well = well && d->findings[i].state == DOCTOR_WELL;
    return well;
}

/* By which layer it came. */
static const char *layer(const struct doctor *d, const struct doctor_finding *f)
{
    if (strcmp(f->way, "proxy") == 0)
        return "env";
    if (strcmp(f->way, "transparent") == 0 && d->place.preload)
        return "preload";
    return *f->way ? f->way : "-";
}

static const char *state_text(const struct doctor_finding *f)
{
    static const char *const texts[] = {
        [DOCTOR_WELL] = "arrives",
        [DOCTOR_NO_TRUST] = "arrives at sidekey, but it does not trust sidekey's CA",
        [DOCTOR_NO_ARRIVAL] = "does not arrive at sidekey",
        [DOCTOR_LATE] = "took too long; sidekey stopped it",
        [DOCTOR_UNTRIED] = "could not be tried",
    };
    return texts[f->state];
}

static bool arrives(const struct doctor_finding *f)
{
    return f->state == DOCTOR_WELL || f->state == DOCTOR_NO_TRUST;
}

static bool all_arrive(const struct doctor *d)
{
    bool all = true;
    for (size_t i = 0; i < d->count; i++)
        all = all && arrives(&d->findings[i]);
    return all;
}

static const char *yes_or_no(bool known, bool yes)
{
    if (!known)
        return "-";
    return yes ? "yes" : "no";
}

static void print_row(const struct doctor *d, const struct doctor_finding *f)
{
    bool tried = f->state != DOCTOR_LATE && f->state != DOCTOR_UNTRIED;
    printf("%-9s %-9s %-7s %-12s %.*s\n", f->runtime->name, yes_or_no(tried, arrives(f)),
           yes_or_no(arrives(f), f->state == DOCTOR_WELL), layer(d, f), WIDTH - 42, f->program);
}

/* At spaces, to the width of a screen; lines after the first are indented by two more. */
static void print_wrapped(int indent, const char *text)
{
    size_t column = (size_t)indent;
    printf("%*s", indent, "");
    for (struct slice rest = slice_str(text), word; rest.len; column += word.len) {
        word = slice_cut(rest, ' ', &rest);
        if (column > (size_t)indent && column + 1 + word.len > WIDTH) {
            printf("\n%*s", indent + 2, "");
            column = (size_t)indent + 2;
        } else if (column > (size_t)indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word.len, word.ptr);
    }
    putchar('\n');
}

/* fix is never broken: it is for copying. */
static void print_trouble(const char *what, const char *said, const char *fix)
{
    char text[400];
    putchar('\n');
    print_wrapped(0, what);
    snprintf(text, sizeof text, "it says: %s", said);
    if (*said)
        print_wrapped(2, text);
    if (*fix)
        printf("  fix: %s\n", fix);
}

static void print_text(const struct doctor *d)
{
    char fix[DOCTOR_FIX_MAX], text[400];
    if (d->count)
        printf("%-9s %-9s %-7s %-12s %s\n", "runtime", "arrives", "trusts", "layer", "program");
    for (size_t i = 0; i < d->count; i++)
        print_row(d, &d->findings[i]);
    for (size_t i = 0; i < d->place.note_count; i++) {
        const struct doctor_note *n = &d->place.notes[i];
        snprintf(text, sizeof text, "%s: %s", n->name, n->text);
        print_trouble(text, "", n->fix);
    }
    for (size_t i = 0; i < d->count; i++) {
        const struct doctor_finding *f = &d->findings[i];
        if (f->state == DOCTOR_WELL)
            continue;
        doctor_advice_fix(f, &d->place, d->command, fix);
        snprintf(text, sizeof text, "%s: its request %s", f->runtime->name, state_text(f));
        print_trouble(text, f->said, fix);
    }
    if (all_is_well(d))
        puts("\nNo problems: every request reaches sidekey, and every runtime trusts it.");
    else if (d->count == 0)
        puts("No runtime was found that could be tried.");
}

static json_t *json_of(const struct doctor *d, const struct doctor_finding *f)
{
    static const char *const states[] = { "well", "no_trust", "no_arrival", "late", "untried" };
    char fix[DOCTOR_FIX_MAX];
    doctor_advice_fix(f, &d->place, d->command, fix);
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:s}", "name", f->runtime->name, "program", f->program,
                     "state", states[f->state], "arrives", arrives(f), "trusts", f->state == DOCTOR_WELL, "layer",
                     *f->way ? layer(d, f) : "", "said", f->said, "fix", fix);
}

static int print_json(const struct doctor *d)
{
    json_t *notes = json_array(), *runtimes = json_array();
    int failed = 0;
    for (size_t i = 0; i < d->place.note_count; i++) {
        const struct doctor_note *n = &d->place.notes[i];
        failed |=
            json_array_append_new(notes, json_pack("{s:s, s:s, s:s}", "name", n->name, "text", n->text, "fix", n->fix));
    }
    for (size_t i = 0; i < d->count; i++)
        failed |= json_array_append_new(runtimes, json_of(d, &d->findings[i]));
    json_t *root = json_pack("{s:b, s:o, s:o}", "well", all_is_well(d), "notes", notes, "runtimes", runtimes);
    if (!root || failed || json_dumpf(root, stdout, JSON_INDENT(2)) != 0)
        failed = cmd_fail(EX_SOFTWARE, "doctor", "out of memory");
    else
        putchar('\n');
    json_decref(root);
    return failed;
}

static int examine(struct doctor *d)
{
    struct err e;
    int status = 0;
    if (d->command && target_inspect(d->command[0], &d->target, &e) != 0)
        return cmd_fail(127, "doctor", "%s", e.text);
    struct config *c = cmd_config_load_or_default(&d->load, &status);
    if (!c)
        return status;
    doctor_place_look(&d->place, c);
    config_free(c);
    choose_runtimes(d);
    if ((status = probe_all(d)) != 0)
        return status;
    if (!all_arrive(d))
        doctor_place_no_way(&d->place);
    if (!d->json)
        print_text(d);
    else if ((status = print_json(d)) != 0)
        return status;
    return fflush(stdout) == 0 ? !all_is_well(d) : cmd_fail(EX_IOERR, "doctor", "cannot write");
}

int cmd_doctor(int argc, char **argv)
{
    static struct doctor d = { .load.quiet = true, .load.options.files = SCHEMA_FILES_NONE, .timeout_s = TIMEOUT_S };
    int status = read_flags(&d, argc, argv);
    return status ? status : examine(&d);
}
