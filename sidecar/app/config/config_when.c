#include "app/config/config_when.h"

#include <stddef.h>
#include <string.h>

#include "app/config/config.h"
#include "app/config/config_values.h"

#define WHEN(member) offsetof(struct rule, when.member)

static const struct field when_fields[] = {
    { "header", FIELD_STRING, .at = WHEN(header), .check = config_value_field,
      .about = "Header field that has the placeholder, such as authorization or x-api-key." },
    { "query", FIELD_STRING, .at = WHEN(query), .check = config_value_query_key,
      .about = "Query key that has the placeholder; give this or header." },
    { "equals", FIELD_STRING, .at = WHEN(equals), .check = config_value_placeholder,
      .about = "The complete value of that field or key, such as Bearer sk-team-a." },
    { "basic_password", FIELD_STRING, .at = WHEN(basic_password), .check = config_value_placeholder,
      .about = "The placeholder as the password of Basic credentials, with any user name; not with the other keys." },
    { .key = NULL },
};
const struct table config_when_table = { .fields = when_fields };

int config_when_check(struct schema *s, const json_t *node, const struct rule *r)
{
    const json_t *at = json_object_get(node, "when");
    const struct when *w = &r->when;
    bool asked = at && !tree_is_null(s->tree, at);
    if (w->any)
        at = node;
    int ways = (w->header != NULL) + (w->query != NULL) + (w->basic_password != NULL);
    if (r->answer)
        return 0;
    if (!asked && !w->any && r->others == OTHERS_PASS)
        return schema_error(s, json_object_get(node, "others"),
                            "others needs when, which is missing (or placeholder: auto)");
    if (!asked && !w->any)
        return 0;
    if (!w->any && ways != 1)
        return schema_error(s, at, "needs one of header, query and basic_password: the place of the placeholder");
    if (!w->any && !w->equals != !!w->basic_password)
        return schema_error(s, at,
                            w->equals
                                ? "equals needs header or query: with basic_password, the password is the placeholder"
                                : "equals is missing: give the value that the program sends there");
    if (r->only_if_header)
        return schema_error(s, json_object_get(node, "only_if"),
                            "only_if and when exclude each other: keep one of them");
    return 0;
}
