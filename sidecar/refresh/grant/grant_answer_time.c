/* The ends of tokens as the wild has them. */
#include "refresh/grant/grant_answer_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LIFETIME_MAX_S 2147483647.0 /* as 32-bit clients clamp it */

static struct slice text_of(const json_t *value)
{
    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value)) : SLICE("");
}

double grant_answer_number(const json_t *value)
{
    if (json_is_number(value))
        return json_number_value(value);
    struct slice text = slice_trim(text_of(value));
    char copy[64], *end = NULL;
    if (text.len == 0 || text.len >= sizeof copy || ((text.ptr[0] < '0' || text.ptr[0] > '9') && text.ptr[0] != '-'))
        return (double)NAN;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    double number = strtod(copy, &end);
    return *end == '\0' ? number : (double)NAN;
}

static int64_t clamp_ms(double seconds)
{
    if (!(seconds > 0))
        return 0;
    return (int64_t)((seconds < LIFETIME_MAX_S ? seconds : LIFETIME_MAX_S) * 1000);
}

/* A duration in seconds as milliseconds; 0: absent, not positive, no number. */
static int64_t duration_ms(const json_t *value)
{
    return clamp_ms(grant_answer_number(value));
}

/* What stands behind the time of day: nothing (taken for UTC), Z, GMT, UTC, +01:00, +0100.  false: something else. */
static bool zone_s(const char *at, int64_t *ret)
{
    int hours = 0, minutes = 0, used = 0;
    char sign = '+';
    *ret = 0;
    at += strspn(at, " ");
    if (*at == '\0' || strcasecmp(at, "Z") == 0 || strcasecmp(at, "GMT") == 0 || strcasecmp(at, "UTC") == 0)
        return true;
    bool colon = sscanf(at, "%c%2d:%2d%n", &sign, &hours, &minutes, &used) == 3 && at[used] == '\0';
    if (!colon && !(sscanf(at, "%c%2d%2d%n", &sign, &hours, &minutes, &used) == 3 && at[used] == '\0'))
        return false;
    if ((sign != '+' && sign != '-') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *ret = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);
    return true;
}

/* RFC 3339 and ISO 8601 (2026-01-02T03:04:05[.678][zone]), or RFC 1123 (Fri, 02 Jan 2026 03:04:05 GMT).  0: neither. */
static int64_t date_ms(struct slice text)
{
    char copy[48];
    struct tm utc = { 0 };
    int64_t offset_s;
    text = slice_trim(text);
    if (text.len == 0 || text.len >= sizeof copy)
        return 0;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const char *at = strptime(copy, "%Y-%m-%d", &utc);
    if (at && *at != 'T' && *at != 't' && *at != ' ')
        return 0;
    if (!at) {
        const char *comma = strchr(copy, ',');
        at = strptime(comma ? comma + 1 : copy, " %d %b %Y", &utc);
    }
    if (!at || !*at || !(at = strptime(at + 1, "%H:%M:%S", &utc)))
        return 0;
    if (*at == '.' || *at == ',')
        at += 1 + strspn(at + 1, "0123456789");
    if (!zone_s(at, &offset_s))
        return 0;
    int64_t seconds = (int64_t)timegm(&utc) - offset_s;
    return seconds > 0 ? seconds * 1000 : 0;
}

/* A point in time: a date, or seconds (or, when absurd as such, milliseconds) since 1970. */
static int64_t moment_ms(const json_t *value)
{
    int64_t date = date_ms(text_of(value));
    if (date)
        return date;
    double number = grant_answer_number(value);
    if (!(number > 1e9) || number > 1e14)
        return 0;
    return (int64_t)(number > 1e11 ? number : number * 1000);
}

/* Which of the two a value is that may be either. */
static void read_either(const json_t *value, struct grant_answer *ret)
{
    ret->expires_wall_ms = moment_ms(value);
    if (ret->expires_wall_ms == 0)
        ret->lifetime_ms = duration_ms(value);
}

/* By the names, the first that says something.  Zoho: expires_in beside expires_in_sec is in milliseconds. */
static const struct {
    const char *name;
    enum { DURATION, MOMENT, EITHER } is;
} names[] = {
    { "expires_in_sec", DURATION },
    { "expires_in", DURATION },
    { "expire_in", DURATION },
    { "expires_at", MOMENT },
    { "expire_time", MOMENT },
    { "expires_on", MOMENT },
    { "expiration_timestamp", MOMENT },
    { "token_expiry", MOMENT },
    { "expiry_date", MOMENT },
    { "expiry", EITHER },
    { "expires", EITHER },
    { "expire", EITHER },
    { "expiration", EITHER },
};

static void read_named(size_t i, const json_t *value, struct grant_answer *ret)
{
    switch (names[i].is) {
    case DURATION:
        ret->lifetime_ms = duration_ms(value);
        if (ret->lifetime_ms == 0)
            ret->expires_wall_ms = date_ms(text_of(value));
        break;
    case MOMENT: ret->expires_wall_ms = moment_ms(value); break;
    case EITHER: read_either(value, ret); break;
    }
}

/* Keycloak; GitHub and Microsoft; Intuit */
static const char *const refresh_lives[] = { "refresh_expires_in", "refresh_token_expires_in",
                                             "x_refresh_token_expires_in" };

void grant_answer_times(const json_t *object, const json_t *expires, struct grant_answer *ret)
{
    if (expires)
        read_either(expires, ret);
    for (size_t i = 0;
         i < sizeof names / sizeof *names && !expires && ret->lifetime_ms == 0 && ret->expires_wall_ms == 0; i++)
        read_named(i, grant_answer_member(object, names[i].name), ret);
    ret->refresh_in_ms = duration_ms(json_object_get(object, "refresh_in"));
    for (size_t i = 0; i < sizeof refresh_lives / sizeof *refresh_lives && ret->refresh_lifetime_ms == 0; i++)
        ret->refresh_lifetime_ms = duration_ms(grant_answer_member(object, refresh_lives[i]));
}
