#include "app/config/config_when.h"

#include <stddef.h>
#include <string.h>

#include "app/config/config.h"
#include "app/config/config_values.h"

#define WHEN(member) offsetof(struct rule, when.member)

static const struct field when_fields[] = {
    { "header", FIELD_STRING, .at = WHEN(header), .check = value_field,
      .about = "The field that holds the placeholder, such as authorization or x-api-key." },
    { "query", FIELD_STRING, .at = WHEN(query), .check = value_query_key,
      .about = "The query key that holds it; this or header." },
    { "equals", FIELD_STRING, .at = WHEN(equals), .check = value_placeholder,
      .about = "The whole value of that field or key, such as Bearer sk-team-a." },
    { "basic_password", FIELD_STRING, .at = WHEN(basic_password), .check = value_placeholder,
      .about = "The placeholder as the password of Basic credentials, with any user name; this alone." },
    { .key = NULL },
};
const struct table config_when_table = { .fields = when_fields };

int config_when_check(struct schema *s, const json_t *node, const struct rule *r)
{
    const struct config *c = s->root;
    const json_t *at = json_object_get(node, "when");
    const struct when *w = &r->when;
    bool asked = at && !tree_is_null(s->tree, at);
    int ways = (w->header != NULL) + (w->query != NULL) + (w->basic_password != NULL);
    if (!asked && r->others == OTHERS_PASS)
        return schema_error(s, json_object_get(node, "others"), "others has no meaning without when");
    if (!asked)
        return 0;
    if (ways != 1)
        return schema_error(s, at, "needs one of header, query and basic_password: where is the placeholder?");
    if (!w->equals != !!w->basic_password)
        return schema_error(s, at,
                            w->equals ? "equals belongs to header or query: basic_password is the placeholder"
                                      : "equals is missing: the value that the program sends there");
    if (r->only_if_header)
        return schema_error(s, json_object_get(node, "only_if"),
                            "only_if and when exclude each other: when chooses the rule, only_if judges after that");
    for (const struct rule *other = c->rules; other < r; other++)
        if (other->host && other->port == r->port && strcmp(other->host, r->host) == 0 && rule_shadows(other, r))
            return schema_error(s, at, "rules[%zu] takes this placeholder for the same host and paths already",
                                (size_t)(other - c->rules));
    return 0;
}
