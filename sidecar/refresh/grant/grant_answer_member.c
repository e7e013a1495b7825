/* Members by their names, as people spell them: access_token, accessToken, Access-Token. */
#include "refresh/grant/grant_answer_private.h"

#include <ctype.h>

#define PLACES_DEPTH 8 /* the parsers keep no more than that of what matters */

/* The next letter or digit, in lower case; '\0': none. */
static char next_plain(const char **at)
{
    while (**at && !isalnum((unsigned char)**at))
        ++*at;
    return **at ? (char)tolower((unsigned char)*(*at)++) : '\0';
}

bool grant_answer_is_name(const char *name, const char *plain)
{
    char c;
    while ((c = next_plain(&name)) != '\0')
        if (c != next_plain(&plain))
            return false;
    return next_plain(&plain) == '\0';
}

bool grant_answer_says_nothing(const json_t *v)
{
    const char *text = json_string_value(v);
    return json_is_null(v) || json_is_false(v) || (text && strspn(text, " \t\r\n") == json_string_length(v));
}

const json_t *grant_answer_member(const json_t *object, const char *plain)
{
    const json_t *found = json_object_get(object, plain);
    const char *name;
    json_t *value;
    if (found && !grant_answer_says_nothing(found))
        return found;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!grant_answer_says_nothing(value) && grant_answer_is_name(name, plain))
            return value;
    }
    return NULL;
}

static bool has_refresh(const json_t *v, int depth)
{
    const char *name;
    json_t *inner;
    if (depth > PLACES_DEPTH)
        return false;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (has_refresh(json_array_get(v, i), depth + 1))
            return true;
    json_object_foreach((json_t *)(uintptr_t)v, name, inner)
    {
        if (grant_answer_is_name(name, "refresh_token") && !grant_answer_says_nothing(inner))
            return true;
        if (has_refresh(inner, depth + 1))
            return true;
    }
    return false;
}

bool grant_answer_has_refresh(const json_t *object)
{
    return has_refresh(object, 0);
}
