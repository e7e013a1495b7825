#include "app/config/config_network.h"

const char *config_network_parent_url(char **io_text)
{
    enum parent_kind kind;
    struct authority at;
    return parent_parse(slice_str(*io_text), &kind, &at);
}

const char *config_network_parent_username(char **io_text)
{
    for (const char *c = *io_text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == ':')
            return "a user name must not contain a colon (RFC 7617) or control bytes";
    return strlen(*io_text) > PARENT_LOGIN_MAX ? "a user name has at most 255 bytes" : NULL;
}

const char *config_network_bypass(char **io_text)
{
    return parent_check_bypass(io_text);
}

int config_network_check_parent(struct schema *s, const json_t *node, void *config)
{
    const struct parent_options *p = &((struct config *)config)->parent;
    bool password = p->password.kind != SECRET_REF_NONE;
    if (!p->url && node)
        return schema_error(s, node, "url is missing: write http://host:port or socks5h://host:port");
    if (!p->url && p->username)
        return schema_error(s, node, "username needs url, which is missing");
    if (password && !p->username)
        return schema_error(s, node, "password needs username, which is missing");
    return 0;
}
