#include "app/config/config_listen.h"

#include "app/config/config.h"
#include "app/config/config_local.h"

#define CONFIG(member) offsetof(struct config, member)
#define END { .key = NULL }

static const char *const off[] = { "off", NULL };

static const struct field listen_fields[] = {
    { "proxy", FIELD_ADDRESS, FIELD_ENV, .at = CONFIG(listen_proxy), .initial = "127.0.0.1:8118", .words = off,
      .about = "IP:PORT that the proxy listens on; :PORT is every address, port 0 any free port; off is allowed with a "
               "socket." },
    { "socket", FIELD_STRING, FIELD_ENV, .at = CONFIG(listen_socket), .check = config_local_path,
      .about = "Path of a unix socket that the proxy also listens on; a client can be identified by its uid "
               "(clients.NAME.uids)." },
    { "socket_mode", FIELD_STRING, FIELD_ENV, .at = CONFIG(socket_mode), .initial = "0600", .check = config_local_mode,
      .about = "Permissions of the socket, octal; a program needs write permission to connect." },
    { "socket_group", FIELD_STRING, FIELD_ENV, .at = CONFIG(socket_group), .check = config_local_group,
      .about = "Group of the socket, name or number; default: the group that a new file in its directory gets." },
    { "admin", FIELD_ADDRESS, FIELD_ENV, .at = CONFIG(listen_admin), .initial = "127.0.0.1:9118", .words = off,
      .about = "IP:PORT of /livez, /readyz, /metrics and /status, or off; :PORT is every address, IPv4 and IPv6." },
    { "admin_socket", FIELD_STRING, FIELD_ENV, .at = CONFIG(admin_socket), .check = config_local_admin_path,
      .about = "Path of a unix socket (mode 0600) that serves the same to operators, or off; default admin.sock in "
               "$RUNTIME_DIRECTORY, else in the state directory." },
    { "gateway", FIELD_ADDRESS, FIELD_ENV, .at = CONFIG(listen_gateway), .initial = "off", .words = off,
      .about = "IP:PORT for programs with a base-URL setting: http://IP:PORT/RULE-NAME/path; or off." },
    { "transparent", FIELD_ADDRESS, FIELD_ENV, .at = CONFIG(listen_transparent), .initial = "off", .words = off,
      .about = "IP:PORT for connections that a firewall redirects to it (nftables or iptables REDIRECT); or off." },
    END,
};
const struct table config_listen_table = { .fields = listen_fields };

static const struct field gateway_fields[] = {
    { "hosts", FIELD_STRINGS, .at = CONFIG(gateway_hosts),
      .about = "Names by which clients reach listen.gateway, besides its address and localhost." },
    END,
};
const struct table config_listen_gateway_table = { .fields = gateway_fields };
