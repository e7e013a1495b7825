/* sidekey why METHOD URL: which rule wins, and what would be sent.  The value of a token is never known here. */
#include "app/cmd/cmd.h"
#include "app/config/url.h"
#include "http/rules.h"
#include "app/config/units.h"
#include "base/clock.h"
#include "proxy/own_jwt.h"
#include "proxy/rule_index.h"
#include "proxy/rule_refusal.h"
#include "refresh/grant/grant.h"

#include <stdio.h>
#include <sysexits.h>

#define FIELDS_MAX 32

struct question {
    const struct config *config;
    struct authority to;
    struct slice method;
    struct message request; /* method, path and the fields of -H */
    char host[AUTHORITY_TEXT_MAX];
};

/* The format with "<access_token of crm>" where the token will be. */
static void print_format(const char *format, const char *credential)
{
    for (const char *c = format; *c; c++) {
        if (*c != '{') {
            putchar(*c);
            continue;
        }
        size_t len = strcspn(c + 1, "}");
        printf("<%.*s of %s>", (int)len, c + 1, credential);
        c += len + 1;
    }
}

static void print_inject(const struct rule *r)
{
    for (size_t n = 0; n < r->inject_count; n++) {
        const struct inject_item *i = &r->inject[n];
        switch (i->in) {
        case INJECT_HEADER: printf("  set     %s: ", i->name); break;
        case INJECT_QUERY: printf("  set     ?%s=", i->name); break;
        case INJECT_USERINFO: printf("  set     authorization: Basic base64 of "); break;
        }
        print_format(i->format, r->credential);
        putchar('\n');
    }
}

static void print_placeholder(const struct rule *r)
{
    const struct when *w = &r->when;
    if (w->any)
        printf("  strip   the placeholder, where it stands\n");
    if (w->header)
        printf("  strip   %s, the placeholder\n", w->header);
    if (w->query)
        printf("  strip   ?%s=, the placeholder\n", w->query);
    if (w->basic_password)
        printf("  strip   authorization, the placeholder\n");
}

static void print_changes(const struct rule *r)
{
    print_placeholder(r);
    print_inject(r);
    for (char **name = r->strip; name && *name; name++)
        printf("  strip   %s\n", *name);
    for (char **name = r->strip_query; name && *name; name++)
        printf("  strip   ?%s=\n", *name);
    for (size_t i = 0; i < r->append_count; i++)
        printf("  append  %s: %s\n", r->append[i].name, r->append[i].value);
    for (size_t i = 0; i < r->set_if_absent_count; i++)
        printf("  default %s: %s\n", r->set_if_absent[i].name, r->set_if_absent[i].value);
    if (r->only_if_header)
        printf("  only if %s is exactly \"%s\"; otherwise the request is sent unchanged\n", r->only_if_header,
               r->only_if_equals);
}

static const struct credential_spec *find_spec(const struct config *c, const char *name)
{
    const struct credential_spec *s = c->credentials;
    while (strcmp(s->name, name) != 0)
        s++;
    return s;
}

static void print_credential(const struct credential_spec *s)
{
    char from[256];
    printf("credential: %s (%s, ", s->name, grant_of(s->grant)->name);
    if (s->grant == GRANT_STATIC)
        printf("%s)\n", secret_ref_text(&s->token, from, sizeof from));
    else if (s->grant == GRANT_COMMAND)
        printf("%s)\n", s->command[0]);
    else
        printf("%s)\n", s->token_url);
}

static void print_again(const struct rule *r)
{
    char size[32];
    if (r->also_count)
        printf("refused:    also %zu kind%s of response in band (on_unauthorized.also)\n", r->also_count,
               r->also_count == 1 ? "" : "s");
    if (!r->replay)
        printf("refused:    never sent again (on_unauthorized.replay: false)\n");
    if (!r->unauthorized[0] || !r->replay)
        return;
    printf("refused:   ");
    for (const int *status = r->unauthorized; *status; status++)
        printf("%s %d", status == r->unauthorized ? "" : ",", *status);
    printf(" refreshes and sends again, once; bodies up to %s\n",
           units_size_text(r->replay_max_bytes, size, sizeof size));
}

static void print_network(const struct question *q)
{
    const struct config *c = q->config;
    for (size_t i = 0; i < c->override_count; i++) {
        const struct dial_override *o = &c->overrides[i];
        char text[64];
        if (strcmp(o->host, q->to.host) != 0 || (o->port && o->port != q->to.port))
            continue;
        printf("dials:      %s (network.resolve)\n",
               address_text((const struct sockaddr *)&o->to.sa, text, sizeof text));
        return;
    }
    if (parent_serves(&c->parent, &q->to))
        printf("dials:      through parent proxy %s (network.parent_proxy)\n", c->parent.url);
}

static void print_wanted(const struct rule *r)
{
    const struct when *w = &r->when;
    const char *where = "the Basic password";
    if (w->any) {
        printf("no: needs the placeholder of %s (sidekey env prints it)\n",
               r->own_placeholder == RULE_OWN_PLACEHOLDER ? r->name : r->credential);
        return;
    }
    if (!w->basic_password)
        where = w->header ? w->header : w->query;
    printf("no: needs %s \"%s\" (try -H)\n", where, w->basic_password ? w->basic_password : w->equals);
}

static void print_rules(const struct question *q, const struct rule *winner)
{
    const struct config *c = q->config;
    size_t others = 0;
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct rule *r = &c->rules[i];
        const char *differs = rule_mismatch(r, &q->to, &q->request);
        if (!rule_knows(r, &q->to)) {
            others++;
            continue;
        }
        printf("rules[%zu]:   %-24s ", i, r->name);
        if (differs && strcmp(differs, "placeholder") == 0)
            print_wanted(r);
        else if (differs)
            printf("no: different %s (%s:%u)\n", differs, r->host, r->port);
        else
            puts(r == winner ? "wins" : "matches, but a more exact or earlier rule wins");
    }
    if (others)
        printf("rules:      %zu more for other hosts or ports\n", others);
}

static int answer_refused(const struct problem *p)
{
    printf("response:   %d: %s%s%s\n", p->status, p->detail, p->hint ? ": " : "", p->hint ? p->hint : "");
    return 1;
}

static int answer_unmatched(const struct question *q)
{
    printf("response:   no rule names %s: the connection is tunnelled%s: sidekey reads and changes nothing (unmatched: "
           "%s)\n",
           q->host, q->config->unmatched == UNMATCHED_REPORT ? " and logged" : "",
           q->config->unmatched == UNMATCHED_REPORT ? "report" : "tunnel");
    return 1;
}

/* Rules know host, method and path, but the placeholder is another one. */
static int answer_untouched(const struct question *q)
{
    printf("sends:      %.*s https://%s unchanged, without a token (others: pass)\n", (int)q->method.len, q->method.ptr,
           q->host);
    return 1;
}

static int answer_here(const struct question *q, const struct rule *r)
{
    print_credential(find_spec(q->config, r->credential));
    printf("response:   sidekey answers token requests with the placeholder of %s or its key file; others are %s\n",
           r->credential, r->others == OTHERS_PASS ? "forwarded unchanged (others: pass)" : "refused (others: refuse)");
    return 0;
}

static int answer(const struct question *q)
{
    const struct config *c = q->config;
    const struct rule *r = NULL;
    struct problem refused;
    struct rule_index *index = rule_index_new(c->rules, c->rule_count);
    if (!index)
        return EX_OSERR;
    enum rule_match match = rule_index_find(index, &q->to, &q->request, &r);
    bool stray = !(match == RULE_FOUND && r->answer)
                 && rule_index_stray_placeholder(index, match == RULE_FOUND ? r : NULL, &q->request);
    rule_index_free(index);
    print_rules(q, match == RULE_FOUND ? r : NULL);
    const struct rule_question asked = {
        .a0 = &q->to, .request = &q->request, .stray = stray, .deny_unmatched = c->unmatched == UNMATCHED_DENY
    };
    if (rule_refusal(match, r, &asked, &refused))
        return answer_refused(&refused);
    if (match == RULE_PLACEHOLDER)
        return answer_untouched(q);
    if (match != RULE_FOUND)
        return answer_unmatched(q);
    if (r->answer)
        return answer_here(q, r);
    if (r->credential)
        print_credential(find_spec(c, r->credential));
    printf("sends:      %.*s %s://%s, and\n", (int)q->method.len, q->method.ptr,
           q->to.scheme == SCHEME_HTTP ? "http" : "https", q->host);
    print_changes(r);
    if (r->credential)
        print_again(r);
    print_network(q);
    return r->credential ? 0 : 1;
}

/* "name: value", as curl's -H.  Returns 0; EX_USAGE, reported. */
static int add_field(struct message *request, const char *text)
{
    struct slice value, name = slice_cut(slice_str(text), ':', &value);
    if (!rules_is_token(name) || !rules_is_value(slice_trim(value)))
        return cmd_usage("why", "-H needs a field: -H 'authorization: Bearer sk-team-a'");
    return message_add(request, name, slice_trim(value)) == 0 ? 0 : cmd_usage("why", "too many fields");
}

static int ask(struct question *q, char *const fields[], size_t count)
{
    bool replaced;
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++)
        status = add_field(&q->request, fields[i]);
    const struct own_jwt_key key = { buf_slice(&q->config->throwaway_der), q->config->rules, q->config->rule_count };
    if (status == 0 && own_jwt_replace(&key, clock_wall_ms() / 1000, &q->request, &replaced) != 0)
        status = EX_OSERR;
    return status ? status : answer(q);
}

int cmd_why(int argc, char **argv)
{
    static const struct option flags[] = { CMD_CONFIG_LONG, { "header", required_argument, NULL, 'H' }, CMD_LONG_END };
    char *fields[FIELDS_MAX];
    size_t field_count = 0;
    struct slice path;
    struct cmd_config load = { .quiet = true,
                               .options.files = SCHEMA_FILES_NONE,
                               .placeholders = CMD_PLACEHOLDERS_LOOKED_UP };
    struct question q = { 0 };
    int flag, status;
    while ((flag = cmd_flag(argc, argv, CMD_CONFIG_SHORT "H:", flags)) != -1) {
        if (flag == '?')
            return EX_USAGE;
        if (flag == 'H') {
            if (field_count == FIELDS_MAX)
                return cmd_usage("why", "too many -H");
            fields[field_count++] = optarg;
            continue;
        }
        if ((status = cmd_config_flag(&load, flag, optarg)) != 0)
            return status;
    }
    if (argc - optind != 2)
        return cmd_usage("why", "needs a method and a URL: sidekey why GET https://api.example.com/v1/x");
    q.method = slice_str(argv[optind]);
    if (url_parse(slice_str(argv[optind + 1]), &q.to, &path) != 0)
        return cmd_usage(
            "why",
            "the URL must begin with http:// or https://, without a user and a fragment: https://api.example.com/v1/x");
    struct config *c = cmd_config_load(&load, &status);
    if (!c)
        return status;
    q.config = c;
    authority_key(&q.to, q.host);
    message_init(&q.request);
    if (message_start_request(&q.request, q.method, path) == 0)
        status = ask(&q, fields, field_count);
    else
        status = cmd_usage("why", "the URL is too long");
    message_done(&q.request);
    config_free(c);
    return status;
}
