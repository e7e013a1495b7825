#include "app/config/config_local.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "no change" to the kernel */
#define ID_OVERFLOW 65534       /* user_namespaces(7): the overflow id, shown for ids that are not mapped here */
#define UIDS_MAX 1024

const char *config_local_path(char **io_text)
{
    if (**io_text != '/')
        return "the path of a socket must begin with /";
    return strlen(*io_text) > LISTEN_UNIX_PATH_MAX ? "is too long: the kernel allows 107 bytes for the path of a socket"
                                                   : NULL;
}

const char *config_local_admin_path(char **io_text)
{
    return strcmp(*io_text, "off") == 0 ? NULL : config_local_path(io_text);
}

const char *config_local_mode(char **io_text)
{
    const char *digits = *io_text + (**io_text == '0');
    bool octal = strlen(digits) == 3 && strspn(digits, "01234567") == 3;
    return octal ? NULL : "permissions are three octal digits: write \"0660\" for the owner and the group";
}

const char *config_local_group(char **io_text)
{
    return **io_text ? NULL : "is empty: write a group, or remove the key";
}

/* 0; -ENOENT: no number, and no name that is known here; -ERANGE: a number that is none. */
static int look_up(const char *text, bool group, uint32_t *ret)
{
    uint64_t number;
    if (*text >= '0' && *text <= '9') {
        if (slice_u64(slice_str(text), ID_MAX, &number) != 0)
            return -ERANGE;
        *ret = (uint32_t)number;
        return 0;
    }
    const struct passwd *user = group ? NULL : getpwnam(text);
    const struct group *gr = group ? getgrnam(text) : NULL;
    if (!user && !gr)
        return -ENOENT;
    *ret = user ? user->pw_uid : gr->gr_gid;
    return 0;
}

static int no_id(struct schema *s, const json_t *node, int failed, bool group, const char *text)
{
    const char *what = group ? "group" : "user";
    if (failed == -ERANGE)
        return schema_error(s, node, "\"%.40s\" is not a %s: write its name, or a number up to %u", text, what,
                            (unsigned)ID_MAX);
    return schema_error(s, node, "this machine has no %s \"%.40s\": write its number, or create it", what, text);
}

int config_local_read_uids(struct schema *s, const struct field *f, const json_t *node, void *client)
{
    struct client_spec *spec = client;
    size_t count = json_array_size(node);
    (void)f;
    if (!json_is_array(node) || count == 0 || count > UIDS_MAX)
        return schema_error(s, node, "needs a list of users, like [1000, app]");
    if (!(spec->uids = calloc(count, sizeof *spec->uids)))
        return schema_error(s, node, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(node, i);
        const char *text = schema_text(s, item);
        uint32_t uid = 0;
        if (!text)
            return -1;
        int failed = look_up(text, false, &uid);
        if (failed == -ENOENT && s->files == SCHEMA_FILES_NONE)
            continue;
        if (failed)
            return no_id(s, item, failed, false, text);
        spec->uids[spec->uid_count++] = uid;
    }
    return 0;
}

static bool has_uid(const struct client_spec *spec, uid_t uid)
{
    for (size_t i = 0; i < spec->uid_count; i++)
        if (spec->uids[i] == uid)
            return true;
    return false;
}

int config_local_check_client(struct schema *s, const json_t *node, const struct client_spec *client)
{
    const struct config *c = s->root;
    if (client->password.kind == SECRET_REF_NONE && !client->uids)
        return schema_error(s, node, "this client cannot connect: give it a password, or uids, or both");
    for (const struct client_spec *other = c->clients; other < client; other++)
        for (size_t i = 0; i < client->uid_count; i++)
            if (has_uid(other, client->uids[i]))
                return schema_error(s, json_object_get(node, "uids"),
                                    "uid %u belongs to the client \"%s\" already: list each user once",
                                    (unsigned)client->uids[i], other->name);
    return 0;
}

static int find_group(struct schema *s, const json_t *listen, struct config *c)
{
    uint32_t gid = 0;
    if (!c->socket_group)
        return 0;
    int failed = look_up(c->socket_group, true, &gid);
    c->socket_gid = gid;
    if (!failed || (failed == -ENOENT && s->files == SCHEMA_FILES_NONE))
        return 0;
    return no_id(s, json_object_get(listen, "socket_group"), failed, true, c->socket_group);
}

int config_local_check(struct schema *s, const json_t *node, struct config *c)
{
    const json_t *listen = json_object_get(node, "listen");
    if (c->listen_transparent.len && c->client_count)
        return schema_error(s, json_object_get(listen, "transparent"),
                            "listen.transparent: a redirected connection does not say which client made it: remove "
                            "clients, or give each client a sidekey of its own");
    if (c->listen_socket)
        return find_group(s, listen, c);
    if (c->listen_proxy.len == 0)
        return schema_error(s, listen, "listen: the proxy has no address: give proxy an address, or socket a path");
    if (c->socket_group)
        return schema_error(s, listen, "listen: socket_group needs socket: give socket a path");
    for (size_t i = 0; i < c->client_count; i++)
        if (c->clients[i].uids)
            return schema_error(
                s, json_object_get(json_object_get(node, "clients"), c->clients[i].name),
                "clients.%s.uids: sidekey can identify users only on a unix socket: give listen.socket a path",
                c->clients[i].name);
    return 0;
}

void config_local_warn(struct schema *s, const json_t *root, const struct config *c)
{
    const json_t *listen = json_object_get(root, "listen"), *clients = json_object_get(root, "clients");
    if (c->listen_socket && config_socket(c).mode & S_IWOTH && !c->client_count)
        schema_warn(s, json_object_get(listen, "socket_mode"),
                    "listen.socket_mode: every user of this machine can use the credentials: name clients with uids, "
                    "or write \"0660\"");
    for (size_t i = 0; i < c->client_count; i++)
        if (has_uid(&c->clients[i], ID_OVERFLOW))
            schema_warn(s, json_object_get(json_object_get(clients, c->clients[i].name), "uids"),
                        "clients.%s.uids: %d is the overflow uid: every user of another user namespace that is not "
                        "mapped here has it too",
                        c->clients[i].name, ID_OVERFLOW);
}
