#include "app/config/placeholders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "crypto/seal.h"
#include "crypto/throwaway.h"
#include "refresh/store/store_file.h"

#define BITS_MIN 95 /* 16 letters and digits; GitLab's tokens have 20 */
#define LENGTH_MAX 512
#define KEY_TEXT_MAX 4096

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
static const struct kind {
    const char *word; /* behind the brace */
    const char *alphabet;
    unsigned count, bits_by_100;
} kinds[] = {
    { "hex:", "0123456789abcdef", 16, 400 },
    { "digits:", "0123456789", 10, 332 },
    { "", letters, sizeof letters - 1, 595 },
};

/* --- formats --- */

/* "{hex:32}" at *io_at, which moves behind it.  NULL: it is none. */
static const struct kind *read_braces(const char **io_at, unsigned *ret_count)
{
    const struct kind *k = kinds;
    const char *at = *io_at + 1;
    uint64_t count;
    while (strncmp(at, k->word, strlen(k->word)) != 0)
        k++;
    at += strlen(k->word);
    size_t len = strcspn(at, "}");
    if (at[len] != '}' || slice_u64(slice_of(at, len), LENGTH_MAX, &count) != 0 || count == 0)
        return NULL;
    *ret_count = (unsigned)count;
    *io_at = at + len + 1;
    return k;
}

const char *placeholders_check_format(char **io_text)
{
    unsigned bits = 0, length = 0, count;
    if (**io_text == '!')
        return "must not begin with an exclamation mark";
    for (const char *c = *io_text; *c;) {
        if (*c == '{') {
            const struct kind *k = read_braces(&c, &count);
            if (!k)
                return "not a format: write ghp_{36}, {hex:32} or {digits:12}";
            bits += count * k->bits_by_100;
            length += count;
            continue;
        }
        if (!strchr(letters, *c) && !strchr("._-!", *c))
            return "only letters, digits and . _ - ! may stand around the braces";
        bits = strchr(letters, *c) ? bits : 0;
        length++;
        c++;
    }
    if (length > LENGTH_MAX)
        return "a placeholder has at most 512 bytes";
    return bits < BITS_MIN * 100 ? "the end needs more random characters, such as {20} or {hex:24}" : NULL;
}

const char *placeholders_check_variable(char **io_text)
{
    static const char more[] = "_0123456789";
    const char *c = *io_text;
    size_t len = strlen(c);
    for (size_t i = 0; i < len; i++)
        if (!(i && strchr(more, c[i])) && c[i] != '_' && !((c[i] | 32) >= 'a' && (c[i] | 32) <= 'z'))
            return "not the name of an environment variable";
    return len ? NULL : "not the name of an environment variable";
}

/* Of 256 values those beyond the last multiple of the alphabet are left out: all characters are equally likely. */
static int add_random(const struct kind *k, unsigned count, const unsigned char **io_random, const unsigned char *end,
                      struct buf *out)
{
    unsigned top = 256 - 256 % k->count;
    while (count && *io_random < end) {
        unsigned byte = *(*io_random)++;
        if (byte >= top)
            continue;
        if (buf_add(out, slice_of(k->alphabet + byte % k->count, 1)) != 0)
            return -ENOBUFS;
        count--;
    }
    return count ? -ENOBUFS : 0;
}

int placeholders_shape(const char *format, const unsigned char *random, struct buf *out)
{
    const unsigned char *end = random + PLACEHOLDERS_RANDOM_BYTES;
    int failed = 0;
    for (const char *c = format; *c && !failed;) {
        unsigned count;
        const struct kind *k = *c == '{' ? read_braces(&c, &count) : NULL;
        failed = k ? add_random(k, count, &random, end, out) : buf_add(out, slice_of(c++, 1));
    }
    return failed;
}

/* --- who has one --- */

static struct credential_spec *spec_of(const struct config *c, const char *name)
{
    for (size_t i = 0; name && i < c->credential_count; i++)
        if (c->credentials[i].name && strcmp(c->credentials[i].name, name) == 0)
            return &c->credentials[i];
    return NULL;
}

/* What a rule that answers cannot have, and what it needs. */
static int check_answer(struct schema *s, const json_t *node, struct rule *r, const struct credential_spec *spec)
{
    static const char *const not_with[] = { "inject", "when", "only_if", "placeholder", "append", "set_if_absent" };
    const json_t *at = json_object_get(node, "answer");
    for (size_t i = 0; i < sizeof not_with / sizeof *not_with; i++)
        if (json_object_get(node, not_with[i]))
            return schema_error(s, json_object_get(node, not_with[i]),
                                "%s cannot be used with answer: token: remove it", not_with[i]);
    if (!spec || spec->placeholder != PLACEHOLDER_AUTO)
        return schema_error(s, at, "answer: token needs a credential with placeholder: auto, which is what it answers");
    if (asprintf(&r->answered.any, "placeholderOfCredential%08zu",
                 (size_t)(spec - ((const struct config *)s->root)->credentials))
        < 0) {
        r->answered.any = NULL;
        return schema_error(s, node, "out of memory");
    }
    r->answers_installation = spec->grant == GRANT_GITHUB_APP;
    if (spec->client_id && !(r->answer_client_id = strdup(spec->client_id)))
        return schema_error(s, node, "out of memory");
    if (r->methods)
        return 0;
    r->methods = calloc(2, sizeof *r->methods);
    return r->methods && (r->methods[0] = strdup("POST")) ? 0 : schema_error(s, node, "out of memory");
}

int placeholders_check_rule(struct schema *s, const json_t *node, struct rule *r)
{
    const struct config *c = s->root;
    const struct credential_spec *spec = spec_of(c, r->credential);
    bool own = r->own_placeholder == RULE_OWN_PLACEHOLDER;
    const json_t *at = json_object_get(node, "placeholder");
    if (r->answer)
        return check_answer(s, node, r, spec);
    if (own && !spec)
        return schema_error(s, at, "placeholder: auto needs a credential: add credential: NAME to the rule");
    if (own && (when_is_set(&r->when) || r->only_if_header))
        return schema_error(s, at, "placeholder: auto asks for a placeholder, and so does %s: keep one of them",
                            r->only_if_header ? "only_if" : "when");
    if ((!own && !(spec && spec->placeholder == PLACEHOLDER_AUTO)) || when_is_set(&r->when) || r->only_if_header)
        return 0;
    int len = own ? asprintf(&r->when.any, "placeholderOfRule%08zu", (size_t)(r - c->rules))
                  : asprintf(&r->when.any, "placeholderOfCredential%08zu", (size_t)(spec - c->credentials));
    if (len >= 0)
        return 0;
    r->when.any = NULL;
    return schema_error(s, node, "out of memory");
}

/* Calls fn for the place of each placeholder of c, in one order.  Returns what fn returned last, not 0 ends it. */
static int each_place(struct config *c,
                      int (*fn)(void *arg, const char *kind, const char *name, const struct credential_spec *spec,
                                char **place),
                      void *arg)
{
    int failed = 0;
    for (size_t i = 0; i < c->credential_count && !failed; i++)
        if (c->credentials[i].placeholder == PLACEHOLDER_AUTO)
            failed =
                fn(arg, "credential", c->credentials[i].name, &c->credentials[i], &c->credentials[i].placeholder_text);
    for (size_t i = 0; i < c->rule_count && !failed; i++)
        if (c->rules[i].own_placeholder == RULE_OWN_PLACEHOLDER)
            failed = fn(arg, "rule", c->rules[i].name, spec_of(c, c->rules[i].credential), &c->rules[i].when.any);
    return failed;
}

static int see_one(void *arg, const char *kind, const char *name, const struct credential_spec *spec, char **place)
{
    (void)arg, (void)kind, (void)name, (void)spec, (void)place;
    return 1;
}

/* --- a process of its own, which has the key for a moment --- */

struct deriving {
    struct seal_ring *ring;
    FILE *to;
};

static int derive_one(void *arg, const char *kind, const char *name, const struct credential_spec *spec, char **place)
{
    struct deriving *d = arg;
    unsigned char random[PLACEHOLDERS_RANDOM_BYTES];
    char info[256];
    struct buf text;
    (void)place;
    buf_init(&text, LENGTH_MAX);
    int len = snprintf(info, sizeof info, "sidekey placeholder 1 %s %s", kind, name);
    int failed = seal_derive(d->ring, slice_of(info, (size_t)len), random, sizeof random);
    if (!failed)
        failed = placeholders_shape(spec->placeholder_format ? spec->placeholder_format : PLACEHOLDERS_DEFAULT_FORMAT,
                                    random, &text);
    if (!failed)
        failed = fprintf(d->to, "%.*s\n", (int)text.len, buf_slice(&text).ptr) < 0;
    buf_done(&text);
    return failed;
}

static int read_key(const struct config *c, bool make, struct secret *ret, struct err *e)
{
    if (c->seal_key.kind != SECRET_REF_NONE)
        return secret_ref_read_exact(&c->seal_key, ret, e);
    return make ? store_file_seal_key(c->store_file, ret, e) : store_file_seal_key_read(c->store_file, ret, e);
}

static bool answers(const struct config *c)
{
    for (size_t i = 0; i < c->rule_count; i++)
        if (c->rules[i].answer)
            return true;
    return false;
}

/* Two lines: the public key and the private one, in base64. */
static int derive_key(const struct deriving *d)
{
    static const char info[] = "sidekey throw-away key 1";
    unsigned char seed[THROWAWAY_SEED_BYTES];
    struct buf pem, der, text;
    buf_init_secret(&pem, KEY_TEXT_MAX);
    buf_init(&der, KEY_TEXT_MAX);
    buf_init_secret(&text, 2 * KEY_TEXT_MAX);
    int failed = seal_derive(d->ring, slice_of(info, sizeof info - 1), seed, sizeof seed);
    if (!failed && (failed = throwaway_key(seed, &pem, &der)) == 0
        && (failed = str_add_base64(&text, buf_slice(&der))) == 0 && (failed = buf_add_str(&text, "\n")) == 0
        && (failed = str_add_base64(&text, buf_slice(&pem))) == 0)
        failed = fprintf(d->to, "%.*s\n", (int)text.len, buf_slice(&text).ptr) < 0;
    explicit_bzero(seed, sizeof seed);
    buf_done(&pem);
    buf_done(&der);
    buf_done(&text);
    return failed;
}

/* One line for each; or '!' and the reason. */
static void derive_all(struct config *c, bool make, FILE *to)
{
    struct deriving d = { .to = to };
    struct secret key = { 0 };
    struct err e = { "out of memory" };
    if (read_key(c, make, &key, &e) == 0)
        d.ring = seal_ring_new(secret_peek(&key), SLICE(""), &e);
    if (!d.ring || each_place(c, derive_one, &d) != 0 || (answers(c) && derive_key(&d) != 0))
        fprintf(to, "!%s\n", e.text);
    seal_ring_free(d.ring);
    secret_done(&key);
}

static int take_one(void *arg, const char *kind, const char *name, const struct credential_spec *spec, char **place)
{
    char line[sizeof(struct err) + LENGTH_MAX];
    FILE *from = arg;
    (void)kind, (void)name, (void)spec;
    if (!fgets(line, sizeof line, from) || line[0] == '!')
        return -EIO;
    line[strcspn(line, "\n")] = '\0';
    char *copy = strdup(line);
    if (!copy)
        return -ENOMEM;
    free(*place);
    *place = copy;
    return 0;
}

static int replace(char **text, const char *by)
{
    char *copy = strdup(by);
    if (!copy)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

/* The rules of a credential ask for what it has. */
static int share(struct config *c)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        struct rule *r = &c->rules[i];
        char **place = r->answer ? &r->answered.any : &r->when.any;
        const struct credential_spec *spec = *place ? spec_of(c, r->credential) : NULL;
        if (spec && r->own_placeholder != RULE_OWN_PLACEHOLDER && replace(place, spec->placeholder_text) != 0)
            return -ENOMEM;
    }
    return 0;
}

static int take_line(struct buf *to, FILE *from)
{
    char line[2 * KEY_TEXT_MAX];
    bool read = fgets(line, sizeof line, from);
    buf_clear(to);
    int failed = read ? str_add_unbase64(to, slice_of(line, strcspn(line, "\n"))) : -EIO;
    explicit_bzero(line, sizeof line);
    return failed;
}

static int take_key(struct config *c, bool private_too, FILE *from)
{
    int failed = take_line(&c->throwaway_der, from);
    if (!failed)
        failed = take_line(&c->throwaway_pem, from);
    if (!private_too)
        buf_done(&c->throwaway_pem);
    return failed;
}

/* The whole output of the process: lines, or why not. */
static int take_all(struct config *c, bool private_too, FILE *from, struct err *e)
{
    char first[sizeof(struct err) + 2];
    int begin = fgetc(from);
    if (begin == '!' && fgets(first, sizeof first, from)) {
        first[strcspn(first, "\n")] = '\0';
        return err_set(e, "the placeholders (placeholder: auto) follow from the seal key: %s", first);
    }
    if (begin == EOF || ungetc(begin, from) == EOF || each_place(c, take_one, from) != 0 || share(c) != 0
        || (answers(c) && take_key(c, private_too, from) != 0))
        return err_set(e, "cannot derive the placeholders (placeholder: auto)");
    c->placeholders_known = true;
    return 0;
}

int placeholders_fill(struct config *c, bool make, bool private_too, struct err *e)
{
    int ends[2];
    if (!each_place(c, see_one, NULL))
        return 0;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_set(e, "cannot derive the placeholders: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        FILE *to = fdopen(ends[1], "w");
        if (to) {
            derive_all(c, make, to);
            fclose(to);
        }
        _exit(0);
    }
    close(ends[1]);
    FILE *from = pid > 0 ? fdopen(ends[0], "r") : NULL;
    int failed =
        from ? take_all(c, private_too, from, e) : err_set(e, "cannot derive the placeholders: %s", strerror(errno));
    if (from)
        fclose(from);
    else
        close(ends[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return failed;
}

/* --- for programs --- */

const char *placeholders_of(const struct config *c, const char *name)
{
    const struct credential_spec *spec = spec_of(c, name);
    if (spec && spec->placeholder_text)
        return spec->placeholder_text;
    for (size_t i = 0; i < c->rule_count; i++)
        if (c->rules[i].own_placeholder == RULE_OWN_PLACEHOLDER && strcmp(c->rules[i].name, name) == 0)
            return c->rules[i].when.any;
    return NULL;
}

static bool wants(const struct credential_spec *spec, const char *variable)
{
    char **name = spec->placeholder_text ? spec->placeholder_variables : NULL;
    while (name && *name && strcmp(*name, variable) != 0)
        name++;
    return name && *name;
}

/* Another credential that wants the same. */
static const struct credential_spec *rival(const struct config *c, const struct credential_spec *spec,
                                           const char *variable)
{
    for (size_t i = 0; i < c->credential_count; i++)
        if (&c->credentials[i] != spec && wants(&c->credentials[i], variable))
            return &c->credentials[i];
    return NULL;
}

int placeholders_each(const struct config *c, int (*fn)(void *arg, const char *variable, const char *value),
                      void (*clash)(const char *variable, const char *one, const char *other), void *arg)
{
    int failed = 0;
    for (size_t i = 0; i < c->credential_count; i++) {
        const struct credential_spec *spec = &c->credentials[i];
        for (char **name = spec->placeholder_text ? spec->placeholder_variables : NULL; name && *name; name++) {
            const struct credential_spec *other = rival(c, spec, *name);
            if (!other)
                failed = fn(arg, *name, spec->placeholder_text);
            else if (clash && other > spec)
                clash(*name, spec->name, other->name);
            if (failed)
                return failed;
        }
    }
    return 0;
}
