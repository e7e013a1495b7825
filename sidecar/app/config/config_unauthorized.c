#include "app/config/config_unauthorized.h"

#include "app/config/config_cross.h"
#include "app/config/config_values.h"

#define RULE(member) offsetof(struct rule, member)
#define MIB (UINT64_C(1) << 20)
#define END { .key = NULL }

#define MARK(member) offsetof(struct in_band_mark, member)
static const struct field mark_header_fields[] = {
    { "name", FIELD_STRING, FIELD_REQUIRED, .at = MARK(header), .check = config_value_field, .about = "Header field." },
    { "equals", FIELD_STRING, FIELD_REQUIRED, .at = MARK(header_equals), .check = config_value_text,
      .about = "Its complete value." },
    END,
};
static const struct table mark_header_table = { .fields = mark_header_fields };
static const struct field mark_json_fields[] = {
    { "pointer", FIELD_STRING, FIELD_REQUIRED, .at = MARK(pointer), .check = config_value_pointer,
      .about = "Place in the body, as a JSON pointer (RFC 6901)." },
    { "equals", FIELD_STRING, FIELD_REQUIRED, .at = MARK(equals),
      .about = "Value at that place: text, number or boolean." },
    END,
};
static const struct table mark_json_table = { .fields = mark_json_fields };
static const struct field mark_fields[] = {
    { "status", FIELD_UINT, FIELD_REQUIRED, .at = MARK(status), .min = 200, .max = 599,
      .about = "Status of such a response." },
    { "header", FIELD_OBJECT, .table = &mark_header_table,
      .about = "Header field that identifies the response; give this or json." },
    { "json", FIELD_OBJECT, .table = &mark_json_table,
      .about = "Value in the JSON body that identifies the response; the body is held back until it was inspected." },
    { "max_body", FIELD_SIZE, .at = MARK(max_body), .initial = "64KiB", .min = 1, .max = 64 << 10,
      .about = "Largest Content-Length of a body that sidekey inspects." },
    END,
};
static const struct table mark_table = { .fields = mark_fields,
                                         .size = sizeof(struct in_band_mark),
                                         .check = config_cross_check_mark };

static const struct field unauthorized_fields[] = {
    { "statuses", FIELD_CUSTOM, .read = config_cross_read_statuses,
      .about = "Statuses that mean \"the token was refused\"; default [401], [] for none.",
      .json = "{\"type\":\"array\",\"maxItems\":7,\"items\":{\"type\":\"integer\",\"minimum\":400,\"maximum\":599}}" },
    { "max_body", FIELD_SIZE, .at = RULE(replay_max_bytes), .max = 1024 * MIB,
      .about = "Largest request body kept to send again; default limits.replay_body." },
    { "replay", FIELD_BOOL, .at = RULE(replay), .initial = "true",
      .about = "Send the request again with the new token; false: pass the response on, and use the new token for the "
               "next request." },
    { "grpc", FIELD_CUSTOM, .read = config_cross_read_grpc_statuses,
      .about = "Statuses of gRPC calls that mean the same, in trailers-only responses; default [16] "
               "(UNAUTHENTICATED), [] for none.",
      .json = "{\"type\":\"array\",\"maxItems\":7,\"items\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":16}}" },
    { "also", FIELD_LIST, .at = RULE(also), .count_at = RULE(also_count), .table = &mark_table,
      .about = "Other responses that mean the same, such as a 200 with an error in its body." },
    END,
};
const struct table config_unauthorized = { .fields = unauthorized_fields };
