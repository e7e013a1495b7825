#include "http/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "http/chars.h"

#define OWN_NAME "sidekey"
#define COUNT(table) (sizeof(table) / sizeof *(table))

static const struct rules_verdict pass = { 0, NULL };

static struct rules_verdict refuse(int status, const char *reason)
{
    return (struct rules_verdict){ status, reason };
}

/* failed: from a change of a message. */
static struct rules_verdict no_space(const struct message *m, int failed)
{
    if (failed == -ENOMEM)
        return refuse(503, "out_of_memory");
    return m->status ? refuse(502, "head_too_large") : refuse(431, "head_too_large");
}

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
    char first = name.len ? (char)(name.ptr[0] | 0x20) : '\0'; /* most names differ in it */
    for (size_t i = 0; i < count; i++)
        if (names[i][0] == first && slice_ieq(name, slice_str(names[i])))
            return true;
    return false;
}

bool rules_is_token(struct slice name)
{
    return name.len && chars_all(name, CHAR_TOKEN);
}

bool rules_is_value(struct slice value)
{
    return chars_all(value, CHAR_VALUE);
}

static bool starts_fold(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && slice_ieq(slice_of(text.ptr, prefix.len), prefix);
}

/* RFC 9110 §7.6.1 and fields of older practice; "upgrade" and "te" are handled separately. */
static const char *const hop_by_hop[] = {
    "connection", "keep-alive",     "proxy-connection",   "transfer-encoding",         "te",
    "upgrade",    "http2-settings", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization",
};

bool rules_name_forbidden(struct slice name)
{
    static const char *const names[] = { "host", "content-length", "trailer" };
    return is_one_of(name, names, COUNT(names)) || is_one_of(name, hop_by_hop, COUNT(hop_by_hop))
           || starts_fold(name, SLICE("proxy-"));
}

/* --- authority (docs/http.md §1) --- */

/* Writes a0 into the one Host, at its place; appends one where there is none. */
static int write_host(struct message *m, const struct authority *a0)
{
    char text[AUTHORITY_TEXT_MAX];
    struct slice host = slice_str(authority_text(a0, text));
    for (size_t i = 0; i < m->field_count; i++) {
        if (!slice_ieq(message_name_at(m, i), SLICE("host")))
            continue;
        return slice_eq(message_value_at(m, i), host) ? 0 : message_put(m, host, &m->fields[i].value);
    }
    return message_add(m, SLICE("Host"), host);
}

/* path: inside the target, "/…", "?…" or empty. */
static int write_origin_form(struct message *m, struct slice path)
{
    char first = path.len ? path.ptr[0] : '\0';
    if (first == '/') {
        m->target.at += (uint32_t)(m->target.len - path.len);
        m->target.len = (uint32_t)path.len;
        return 0;
    }
    if (first == '\0') /* RFC 9112 §3.2.4: OPTIONS for the whole server */
        return message_put(m, slice_eq(message_method(m), SLICE("OPTIONS")) ? SLICE("*") : SLICE("/"), &m->target);
    struct message_part slash, query; /* pieces that are put in a row lie in a row */
    int failed = message_put(m, SLICE("/"), &slash);
    if (failed == 0 && (failed = message_put(m, path, &query)) == 0)
        m->target = (struct message_part){ slash.at, slash.len + query.len };
    return failed;
}

static struct rules_verdict check_absolute(struct message *m, const struct authority *a0)
{
    struct authority got;
    struct slice path;
    if (authority_parse_uri(message_target(m), &got, &path) != 0)
        return refuse(400, "target_malformed");
    if (!authority_eq(&got, a0))
        return refuse(421, "target_differs");
    int failed = write_origin_form(m, path);
    if (failed == 0)
        failed = write_host(m, a0); /* RFC 9112 §3.2.2: Host is ignored */
    return failed ? no_space(m, failed) : pass;
}

static struct rules_verdict check_host(struct slice host, const struct authority *a0)
{
    struct authority got;
    if (authority_parse(host, a0->scheme, authority_scheme_port(a0->scheme), &got) != 0)
        return refuse(400, "host_malformed");
    return authority_eq(&got, a0) ? pass : refuse(421, "host_differs");
}

struct rules_verdict rules_check_authority(struct message *request, const struct authority *a0)
{
    size_t hosts;
    struct slice host = message_get(request, SLICE("host"), &hosts), target = message_target(request);
    if (slice_ieq(message_method(request), SLICE("CONNECT"))) /* in any case: some servers fold it */
        return refuse(405, "connect_inside");
    bool star = slice_eq(target, SLICE("*")), origin = target.len && target.ptr[0] == '/';
    if (hosts == 0 && (origin || star || request->minor == 1)) /* RFC 9112 §3.2: only HTTP/1.0 may leave it out */
        return refuse(400, "host_missing");
    if (hosts > 1)
        return refuse(400, "host_repeated");
    if (star && !slice_eq(message_method(request), SLICE("OPTIONS")))
        return refuse(400, "target_malformed");
    return origin || star ? check_host(host, a0) : check_absolute(request, a0);
}

/* a0's port is the default: "host" alone means it too. */
static bool is_host_of(struct slice host, const struct authority *a0)
{
    struct authority got;
    return authority_parse(host, a0->scheme, a0->port, &got) == 0 && authority_eq(&got, a0);
}

struct rules_verdict rules_check_connect(const struct message *request, const struct authority *a0)
{
    size_t hosts;
    struct slice host = message_get(request, SLICE("host"), &hosts);
    if (hosts == 0)
        return request->minor ? refuse(400, "host_missing") : pass;
    if (hosts > 1)
        return refuse(400, "host_repeated");
    return is_host_of(host, a0) ? pass : refuse(400, "host_differs");
}

struct rules_verdict rules_check_absolute_https(const struct message *request, const struct authority *a0)
{
    size_t hosts;
    struct slice host = message_get(request, SLICE("host"), &hosts);
    for (size_t i = 0; i < request->field_count; i++) {
        struct slice name = message_name_at(request, i);
        if (slice_ieq(name, SLICE("origin")) || starts_fold(name, SLICE("sec-fetch-")))
            return refuse(403, "browser_request");
    }
    bool fits = hosts == 1 ? is_host_of(host, a0) : hosts == 0 && request->minor == 0;
    return fits ? pass : refuse(403, "host_differs");
}

/* --- forwarding (docs/http.md §3) --- */

/* Names that Connection cannot remove: else a client could strip fields that protect it or us (RFC 9110 §7.6.1). */
static bool stays_when_named(struct slice name)
{
    static const char *const names[] = { "host", "content-length", "transfer-encoding", "authorization", "cookie" };
    return is_one_of(name, names, COUNT(names));
}

/* Only then is each field compared with each member. */
static bool connection_names_fields(const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++) {
        if (!slice_ieq(message_name_at(m, i), SLICE("connection")))
            continue;
        struct slice value = message_value_at(m, i);
        if (!slice_ieq(value, SLICE("keep-alive")) && !slice_ieq(value, SLICE("close")))
            return true;
    }
    return false;
}

/* Only what comes in chunks can have trailers. */
static int remember_connection(struct message *m)
{
    int failed = 0;
    m->connection = (struct message_part){ 0, 0 };
    for (size_t i = 0; i < m->field_count && m->framing == FRAMING_CHUNKED && failed == 0; i++) {
        struct message_part value, comma;
        if (!slice_ieq(message_name_at(m, i), SLICE("connection")))
            continue;
        if ((failed = message_put(m, message_value_at(m, i), &value)) != 0
            || (failed = message_put(m, SLICE(","), &comma)) != 0)
            break;
        /* pieces that are put in a row lie in a row */
        m->connection.at = m->connection.len ? m->connection.at : value.at;
        m->connection.len += value.len + comma.len;
    }
    return failed;
}

/* keep_upgrade: Upgrade itself is meant for the next hop. */
static int drop_hop_by_hop(struct message *m, bool keep_upgrade)
{
    bool named = connection_names_fields(m);
    int failed = named ? remember_connection(m) : 0;
    uint64_t drop[MESSAGE_FIELDS_MAX / 64] = {
        0
    }; /* decided first: Connection must stay readable until the last field is checked */
    size_t kept = 0;
    for (size_t i = 0; i < m->field_count; i++) {
        struct slice name = message_name_at(m, i);
        if (keep_upgrade && slice_ieq(name, SLICE("upgrade")))
            continue;
        if (is_one_of(name, hop_by_hop, COUNT(hop_by_hop))
            || (named && !stays_when_named(name) && message_has_token(m, SLICE("connection"), name)))
            drop[i / 64] |= (uint64_t)1 << (i % 64);
    }
    for (size_t i = 0; i < m->field_count; i++)
        if (!(drop[i / 64] >> (i % 64) & 1))
            m->fields[kept++] = m->fields[i];
    m->field_count = kept;
    return failed;
}

/* Splits at the first comma outside of quotes and comments (RFC 9110 §5.6.4, §5.6.5).
 * An unfinished quote or comment extends to the end; *ret_whole is then false (may be NULL). */
static struct slice cut_member(struct slice list, struct slice *rest, bool *ret_whole)
{
    bool quoted = false;
    size_t depth = 0;
    for (size_t i = 0; i < list.len; i++) {
        char c = list.ptr[i];
        if (c == '\\' && (quoted || depth))
            i++;
        else if (c == '"' && depth == 0)
            quoted = !quoted;
        else if (c == '(' && !quoted)
            depth++;
        else if (c == ')' && !quoted && depth)
            depth--;
        else if (c == ',' && !quoted && depth == 0) {
            *rest = slice_skip(list, i + 1);
            return slice_of(list.ptr, i);
        }
    }
    if (ret_whole)
        *ret_whole = *ret_whole && !quoted && depth == 0;
    *rest = (struct slice){ NULL, 0 };
    return list;
}

/* "1.1 sidekey", "HTTP/1.1 sidekey (comment)". */
static bool via_member_is_ours(struct slice member)
{
    struct slice by = slice_trim(member);
    size_t end = 0;
    while (by.len && by.ptr[0] != ' ' && by.ptr[0] != '\t')
        by = slice_skip(by, 1);
    by = slice_trim(by);
    while (end < by.len && char_is(by.ptr[end], CHAR_TOKEN))
        end++;
    return slice_ieq(slice_of(by.ptr, end), SLICE(OWN_NAME))
           && (end == by.len || by.ptr[end] == ' ' || by.ptr[end] == '\t' || by.ptr[end] == '(');
}

static bool via_is_ours(const struct message *m)
{
    for (size_t i = 0; i < m->field_count; i++) {
        bool is_via = slice_ieq(message_name_at(m, i), SLICE("via"));
        for (struct slice rest = message_value_at(m, i); is_via && rest.len;)
            if (via_member_is_ours(cut_member(rest, &rest, NULL)))
                return true;
    }
    return false;
}

/* RFC 9110 §7.6.3: with the version in which the message came. */
static int add_via(struct message *m, bool via)
{
    static const char *const names[] = { "1.0 " OWN_NAME, "1.1 " OWN_NAME, "2 " OWN_NAME };
    return via ? message_add(m, SLICE("Via"), slice_str(names[m->http2 + (m->http2 || m->minor > 0)])) : 0;
}

static bool is_websocket(struct slice protocol)
{
    return slice_ieq(protocol, SLICE("websocket"));
}

/* Without its one key, a genuine response could not be verified (RFC 6455 §4.1). Other protocols are allowed after a
 * body with a known end, as docker sends it. */
static bool may_switch(const struct message *m, struct slice protocol, const char *const *allowed)
{
    static const char *const usual[] = { "websocket", NULL };
    size_t keys;
    bool listed = false;
    for (const char *const *a = allowed ? allowed : usual; *a && !listed; a++)
        listed = slice_ieq(protocol, slice_str(*a));
    if (!listed || !is_websocket(protocol))
        return listed && m->framing != FRAMING_CHUNKED;
    message_get(m, SLICE("sec-websocket-key"), &keys);
    return m->framing == FRAMING_NONE && keys == 1;
}

/* The first protocol of the client's that may be let through; where others were offered beside it, it alone is. */
static int narrow_upgrade(struct message *m, const char *const *allowed)
{
    struct slice chosen = { NULL, 0 };
    size_t offers = 0;
    for (size_t i = 0; m->upgrade && i < m->field_count; i++) {
        if (!slice_ieq(message_name_at(m, i), SLICE("upgrade")))
            continue;
        struct slice rest = message_value_at(m, i);
        for (; rest.len; offers++) {
            struct slice protocol = slice_trim(slice_cut(rest, ',', &rest));
            if (!chosen.len && may_switch(m, protocol, allowed))
                chosen = protocol;
        }
    }
    m->upgrade = chosen.len > 0;
    if (!m->upgrade || offers == 1)
        return 0;
    return message_set(m, SLICE("Upgrade"), chosen);
}

struct rules_verdict rules_forward_request(struct message *request, const struct authority *a0, bool via,
                                           const char *const *upgrades)
{
    if (via_is_ours(request))
        return refuse(508, "loop");
    bool te_trailers = message_has_token(request, SLICE("te"), SLICE("trailers"));
    int failed = narrow_upgrade(request, upgrades);
    if (failed == 0)
        failed = drop_hop_by_hop(request, request->upgrade);
    if (failed == 0 && te_trailers)
        failed = message_add(request, SLICE("TE"), SLICE("trailers"));
    if (failed == 0)
        failed = write_host(request, a0);
    if (failed == 0)
        failed = add_via(request, via);
    return failed ? no_space(request, failed) : pass;
}

/* A member of Proxy-Status begins with the name of the proxy, a token or a string (RFC 9209 §2). */
static bool status_member_is_ours(struct slice member)
{
    member = slice_trim(member);
    if (member.len && member.ptr[0] == '"')
        member = slice_skip(member, 1);
    size_t len = sizeof OWN_NAME - 1;
    return starts_fold(member, SLICE(OWN_NAME)) && (member.len == len || !char_is(member.ptr[len], CHAR_TOKEN));
}

/* Rewrites field i without the members that claim to be ours; returns false when nothing is left of it, or when it is
 * malformed: then readers may not agree where a member begins. */
static bool clean_status(struct message *m, size_t i)
{
    struct slice rest = message_value_at(m, i);
    struct message_part kept = { 0, 0 };
    bool whole = true;
    while (rest.len) {
        struct slice member = cut_member(rest, &rest, &whole);
        if (status_member_is_ours(member))
            continue;
        if (kept.len == 0)
            member = slice_trim(member);
        struct slice text = message_slice(m, m->fields[i].value);
        uint32_t at = m->fields[i].value.at + (uint32_t)(member.ptr - text.ptr);
        if (kept.len == 0)
            kept.at = at;
        else { /* close the gap that was left by one of ours */
            memmove(m->text.data + m->text.start + kept.at + kept.len, ",", 1);
            memmove(m->text.data + m->text.start + kept.at + kept.len + 1, member.ptr, member.len);
            kept.len++;
        }
        kept.len += (uint32_t)member.len;
    }
    kept.len = (uint32_t)slice_trim(message_slice(m, kept)).len;
    m->fields[i].value = kept;
    return kept.len > 0 && whole;
}

static void drop_forged_status(struct message *m)
{
    for (size_t i = m->field_count; i-- > 0;)
        if (slice_ieq(message_name_at(m, i), SLICE("proxy-status")) && !clean_status(m, i))
            message_remove_at(m, i);
}

struct rules_verdict rules_forward_response(struct message *response, bool via)
{
    size_t upgrades = 0;
    if (response->status == 101
        && (!message_has_token(response, SLICE("connection"), SLICE("upgrade"))
            || !message_get(response, SLICE("upgrade"), &upgrades).len || upgrades != 1))
        return refuse(502, "upgrade_invalid");
    int failed = drop_hop_by_hop(response, response->status == 101);
    message_remove(response, SLICE("alt-svc"));
    drop_forged_status(response);
    if (failed == 0)
        failed = add_via(response, via);
    return failed ? no_space(response, failed) : pass;
}

void rules_add_date(struct message *response, time_t now)
{
    static char text[80];
    static time_t written = -1;
    struct tm tm;
    size_t dates;
    message_get(response, SLICE("date"), &dates);
    if (dates)
        return;
    if (now != written && gmtime_r(&now, &tm)) {
        static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * tm.tm_wday, tm.tm_mday,
                 months + 3 * tm.tm_mon, (1900 + tm.tm_year) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
        written = now;
    }
    if (message_add(response, SLICE("Date"), slice_str(text)) != 0)
        return; /* no room: the answer is worth more than its date */
}

int64_t rules_hops_left(struct message *request, bool *ret_bad)
{
    size_t count;
    uint64_t hops;
    char text[24];
    struct slice value = message_get(request, SLICE("max-forwards"), &count);
    *ret_bad = false;
    if (!count
        || (!slice_eq(message_method(request), SLICE("OPTIONS"))
            && !slice_ieq(message_method(request), SLICE("TRACE"))))
        return -1;
    *ret_bad = count > 1 || slice_u64(value, INT32_MAX, &hops) != 0;
    if (*ret_bad || hops == 0)
        return *ret_bad ? -1 : 0;
    snprintf(text, sizeof text, "%" PRIu64, hops - 1);
    if (message_set(request, SLICE("Max-Forwards"), slice_str(text)) != 0)
        *ret_bad = true;
    return (int64_t)hops;
}

static bool was_named(const struct message *head, struct slice name)
{
    struct slice list = message_slice(head, head->connection);
    while (list.len)
        if (slice_ieq(slice_trim(slice_cut(list, ',', &list)), name))
            return true;
    return false;
}

/* RFC 9110 §6.5.1: fields that frame, route, authenticate, control the response or describe how to read the content. */
void rules_filter_trailers(struct message *trailers, const struct message *head, const char *const *injected)
{
    static const char *const names[] = {
        "host",
        "content-length",
        "trailer",
        "via",
        "alt-svc",
        "proxy-status",
        "forwarded",
        "authorization",
        "www-authenticate",
        "authentication-info",
        "cookie",
        "set-cookie",
        "content-encoding",
        "content-type",
        "content-range",
        "cache-control",
        "expect",
        "max-forwards",
        "pragma",
        "range",
        "age",
        "date",
        "expires",
        "location",
        "retry-after",
        "vary",
        "warning",
    };
    size_t managed = 0, kept = 0;
    while (injected && injected[managed])
        managed++;
    for (size_t i = 0; i < trailers->field_count; i++) {
        struct slice name = message_name_at(trailers, i);
        if (!is_one_of(name, names, COUNT(names)) && !rules_name_forbidden(name) && !is_one_of(name, injected, managed)
            && !was_named(head, name))
            trailers->fields[kept++] = trailers->fields[i];
    }
    trailers->field_count = kept;
}
