/* What Redis runs: each operation is one script, so nothing comes between its look and its write.  HGET and HSET only
 * (Redis 4, Valkey), and nothing that a narrow ACL would not give.  KEYS: lease, state, intent ("generation fp tag
 * owner", with an end), backoff (its length in ms, with an end). An owner's text has 32 bytes. */
#include "refresh/redis/store_redis_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define LUA_EXACT (INT64_C(1) << 53) /* numbers beyond are not whole in Lua */

#define FORGET_INTENT                                                                                                  \
    "local mark = redis.call('GET', KEYS[3])\n"                                                                        \
    "if mark and string.sub(mark, -32) == ARGV[1] then redis.call('DEL', KEYS[3]) end\n"

/* An owner of this process: the one that asks, or one before it (list: words with a space between). */
#define OURS(list)                                                                                                     \
    "local function ours(o) return o == ARGV[1] or (#o == 32 and string.find(" list ", o, 1, true) ~= nil) end\n"

/* Before Redis 5 a script that has asked for a time may write only like this; later ones always do. */
#define BY_EFFECT "if redis.replicate_commands then redis.replicate_commands() end\n"

/* What is left of the pause.  More than was asked for: the server's clock went back. */
#define LOOK_AT_BACKOFF                                                                                                \
    "local backoff = redis.call('PTTL', KEYS[4])\n"                                                                    \
    "if backoff > 0 then\n"                                                                                            \
    "  local most = tonumber(redis.call('GET', KEYS[4])) or 0\n"                                                       \
    "  if backoff > most then redis.call('PEXPIRE', KEYS[4], most); backoff = most end\n"                              \
    "end\n"                                                                                                            \
    "if backoff < 0 then backoff = 0 end\n"

static struct script scripts[KINDS] = {
    /* ARGV: owner, ttl, known generation, former owners.  A lease without an end is nobody's of ours: it gets one. */
    [BEGIN] = { .text = BY_EFFECT OURS("ARGV[4]") "local gen = redis.call('HGET', KEYS[2], 'gen') or '0'\n"
                                                  "local blob = redis.call('HGET', KEYS[2], 'blob') or ''\n"
                                                  "local owner = redis.call('GET', KEYS[1])\n"
                                                  "if tonumber(gen) > tonumber(ARGV[3]) then\n"
                                                  "  if owner and ours(owner) then redis.call('DEL', KEYS[1]) end\n"
                                                  "  return {'fresh', gen, blob}\n"
                                                  "end\n"
                                                  "if owner and not ours(owner) then\n"
                                                  "  local left = redis.call('PTTL', KEYS[1])\n"
                                                  "  if left < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]); left = "
                                                  "tonumber(ARGV[2]) end\n"
                                                  "  return {'busy', gen, left}\n"
                                                  "end\n" LOOK_AT_BACKOFF
                                                  "local intent = redis.call('HGET', KEYS[2], 'intent') or ''\n"
                                                  "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"
                                                  "redis.call('HSET', KEYS[2], 'intent', ARGV[1])\n"
                                                  "return {'won', gen, blob, backoff, intent}\n" },
    /* ARGV: owner, ttl */
    [RENEW] = { .text = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost', '0'} end\n"
                        "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                        "return {'ok', '0'}\n" },
    /* ARGV: owner, parent, next, blob, exp_ms, dead_fp, channel.  The lease does not matter while the parent is
       current; ours is released. */
    [COMMIT] = { .text = FORGET_INTENT "local gen = redis.call('HGET', KEYS[2], 'gen') or '0'\n"
                                       "local said = 'stale'\n"
                                       "if gen == ARGV[2] then\n"
                                       "  redis.call('HSET', KEYS[2], 'gen', ARGV[3], 'blob', ARGV[4], 'parent', "
                                       "ARGV[2], 'exp_ms', ARGV[5], 'dead_fp', ARGV[6])\n"
                                       "  redis.call('PUBLISH', ARGV[7], ARGV[3])\n"
                                       "  gen = ARGV[3]; said = 'ok'\n"
                                       "end\n"
                                       "if redis.call('GET', KEYS[1]) == ARGV[1] then\n"
                                       "  redis.call('DEL', KEYS[1]); redis.call('HSET', KEYS[2], 'intent', '')\n"
                                       "end\n"
                                       "if said == 'ok' then return {said, gen} end\n"
                                       "return {said, gen, redis.call('HGET', KEYS[2], 'blob') or ''}\n" },
    /* ARGV: owner */
    [RELEASE] = { .text = FORGET_INTENT "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost', '0'} end\n"
                                        "redis.call('DEL', KEYS[1])\n"
                                        "redis.call('HSET', KEYS[2], 'intent', '')\n"
                                        "return {'ok', '0'}\n" },
    [LOAD] = { .text = BY_EFFECT LOOK_AT_BACKOFF "return {'ok', redis.call('HGET', KEYS[2], 'gen') or '0', "
                                                 "redis.call('HGET', KEYS[2], 'blob') or '', backoff}\n" },
    /* ARGV: owner, parent, fp, tag, the tag of one that counts no more, hold, former owners.  An intent for another
       generation is past. */
    [MARK] = { .text = BY_EFFECT LOOK_AT_BACKOFF OURS(
                   "ARGV[7]") "local gen = redis.call('HGET', KEYS[2], 'gen') or '0'\n"
                              "if gen == ARGV[2] then\n"
                              "  local mark = redis.call('GET', KEYS[3]) or ''\n"
                              "  local for_gen, fp, tag, owner = string.match(mark, '^(%S+) (%S+) (%S+) (%S+)$')\n"
                              "  if for_gen == gen and fp == ARGV[3] and not ours(owner) and tag ~= ARGV[5] then "
                              "return {'busy', gen} end\n"
                              "  redis.call('SET', KEYS[3], gen .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[1], "
                              "'PX', ARGV[6])\n"
                              "end\n"
                              "return {'ok', gen, redis.call('HGET', KEYS[2], 'blob') or '', backoff}\n" },
    /* ARGV: pause.  The longer one stands. */
    [THROTTLE] = { .text = BY_EFFECT "if redis.call('PTTL', KEYS[4]) < tonumber(ARGV[1]) then redis.call('SET', "
                                     "KEYS[4], ARGV[1], 'PX', ARGV[1]) end\n"
                                     "return {'ok', '0'}\n" },
    /* A write that changes nothing. */
    [PROBE] = { .text = "redis.call('HSET', KEYS[2], 'intent', redis.call('HGET', KEYS[2], 'intent') or '')\n"
                        "return {'ok', '0'}\n" },
    /* ARGV: generation, blob, exp_ms, dead_fp, channel, "same": over a state of this generation too.  Only forward. */
    [RESTORE] = { .text = "local gen = redis.call('HGET', KEYS[2], 'gen') or '0'\n"
                          "if tonumber(gen) > tonumber(ARGV[1]) then return {'ok', gen} end\n"
                          "if gen == ARGV[1] and ARGV[6] ~= 'same' then return {'ok', gen} end\n"
                          "redis.call('HSET', KEYS[2], 'gen', ARGV[1], 'blob', ARGV[2], 'parent', gen, 'exp_ms', "
                          "ARGV[3], 'dead_fp', ARGV[4])\n"
                          "redis.call('PUBLISH', ARGV[5], ARGV[1])\n"
                          "return {'ok', ARGV[1]}\n" },
};

void store_redis_name_scripts(void)
{
    for (enum redis_kind k = 0; k < KINDS; k++) /* without SHA-1 the text itself is sent each time */
        if (scripts[k].text && digest_sha1_hex(slice_str(scripts[k].text), scripts[k].sha1) != 0)
            return;
}

const char *store_redis_key(const struct cred *cred, const char *what, char key[KEY_SIZE])
{
    snprintf(key, KEY_SIZE, "{sidekey:%s}:%s", cred->name, what);
    return key;
}

/* The numbers of one command as text. */
struct texts {
    char owner[OWNER_TEXT], former[FORMER_OWNERS * OWNER_TEXT], first[24], second[24], third[24], channel[KEY_SIZE];
};

static struct slice number(char text[24], int64_t n)
{
    snprintf(text, 24, "%" PRId64, n);
    return slice_str(text);
}

static struct slice generation(char text[24], uint64_t n)
{
    return number(text, n < (uint64_t)LUA_EXACT ? (int64_t)n : LUA_EXACT);
}

static struct slice owner_text(const struct store_op *op, char text[OWNER_TEXT])
{
    for (size_t i = 0; i < STORE_OWNER_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", op->owner.bytes[i]);
    return slice_str(text);
}

static struct slice former_owners(const struct cred *cred, char text[FORMER_OWNERS * OWNER_TEXT])
{
    size_t len = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < FORMER_OWNERS && i < cred->formers; i++)
        len += (size_t)snprintf(text + len, OWNER_TEXT + 1, "%s%s", i ? " " : "", cred->former[i]);
    return slice_of(text, len);
}

void store_redis_disown(const struct store_op *op)
{
    struct cred *cred = op->cred;
    char text[OWNER_TEXT];
    bool has_owner =
        op->kind == BEGIN || op->kind == RENEW || op->kind == COMMIT || op->kind == RELEASE || op->kind == MARK;
    if (!cred || !has_owner)
        return;
    owner_text(op, text);
    for (unsigned i = 0; i < FORMER_OWNERS && i < cred->formers; i++)
        if (strcmp(cred->former[i], text) == 0)
            return;
    memcpy(cred->former[cred->formers++ % FORMER_OWNERS], text, sizeof text);
}

static size_t add_kept(const struct store_op *op, const struct redis_kept *k, struct texts *t, struct slice *argv)
{
    argv[0] = buf_slice(&k->blob);
    argv[1] = number(t->third, k->expires_wall_ms);
    argv[2] = slice_str(k->dead_fp);
    argv[3] = slice_str(store_redis_key(op->cred, "changed", t->channel));
    return 4;
}

/* What stands behind the keys; how many. */
static size_t add_args(const struct store_op *op, enum redis_kind kind, struct texts *t, struct slice *argv)
{
    switch (kind) {
    case BEGIN:
    case RENEW:
        argv[0] = owner_text(op, t->owner);
        argv[1] = number(t->first, op->ttl_ms > 0 ? op->ttl_ms : 1);
        argv[2] = generation(t->second, op->generation);
        argv[3] = former_owners(op->cred, t->former);
        return kind == BEGIN ? 4 : 2;
    case COMMIT:
        argv[0] = owner_text(op, t->owner);
        argv[1] = generation(t->first, op->generation);
        argv[2] = generation(t->second, op->next.generation);
        return 3 + add_kept(op, &op->next, t, argv + 3);
    case RELEASE: argv[0] = owner_text(op, t->owner); return 1;
    case MARK:
        argv[0] = owner_text(op, t->owner);
        argv[1] = generation(t->first, op->generation);
        argv[2] = slice_str(op->intent.fp);
        argv[3] = slice_str(op->intent.tag);
        argv[4] = slice_str(op->intent.instead);
        argv[5] = number(t->second, op->intent.hold_ms > 0 ? op->intent.hold_ms : 1);
        argv[6] = former_owners(op->cred, t->former);
        return 7;
    case THROTTLE: argv[0] = number(t->first, op->ttl_ms > 0 ? op->ttl_ms : 1); return 1;
    case RESTORE:
        argv[0] = generation(t->first, op->cred->kept.generation);
        add_kept(op, &op->cred->kept, t, argv + 1);
        argv[5] = op->unfit ? SLICE("same") : SLICE("");
        return 6;
    default: return 0;
    }
}

int store_redis_build(struct store_op *op, bool asking)
{
    enum redis_kind kind = op->healing ? RESTORE : op->kind;
    const struct script *script = &scripts[kind];
    char lease[KEY_SIZE], state[KEY_SIZE], intent[KEY_SIZE], backoff[KEY_SIZE];
    struct slice argv[REDIS_ARGS_MAX];
    struct texts texts;
    size_t argc = 0;
    buf_clear(&op->command.bytes);
    op->command.skip = asking;
    int failed = asking ? redis_wire_add(&op->command.bytes, (struct slice[]){ SLICE("ASKING") }, 1) : 0;
    store_redis_key(op->cred, "lease", lease);
    store_redis_key(op->cred, "state", state);
    store_redis_key(op->cred, "intent", intent);
    store_redis_key(op->cred, "backoff", backoff);
    if (kind == PEEK) {
        argv[argc++] = SLICE("HGET");
        argv[argc++] = slice_str(state);
        argv[argc++] = SLICE("gen");
    } else {
        bool by_name = script->sha1[0] && !op->with_text;
        argv[argc++] = by_name ? SLICE("EVALSHA") : SLICE("EVAL");
        argv[argc++] = slice_str(by_name ? script->sha1 : script->text);
        argv[argc++] = SLICE("4");
        argv[argc++] = slice_str(lease);
        argv[argc++] = slice_str(state);
        argv[argc++] = slice_str(intent);
        argv[argc++] = slice_str(backoff);
        argc += add_args(op, kind, &texts, argv + argc);
    }
    return failed ? failed : redis_wire_add(&op->command.bytes, argv, argc);
}
