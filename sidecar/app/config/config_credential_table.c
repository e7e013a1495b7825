#include "app/config/config_credential_table.h"

#include "app/config/config_chain.h"
#include "app/config/config_grants.h"
#include "app/config/config_values.h"
#include "app/config/placeholders.h"
#include "app/config/preset.h"
#include "refresh/credential_spec.h"

#define SPEC(member) offsetof(struct credential_spec, member)
#define SECOND UINT64_C(1000)
#define HOUR (3600 * SECOND)
#define END { .key = NULL }
#define TEXT "{\"type\":\"string\"}"
#define SECRET "{\"$ref\":\"#/$defs/secret\"}"

static const char *const grants[] = { "static",     "refresh_token",  "client_credentials",
                                      "jwt_bearer", "token_exchange", "github_app",
                                      "metadata",   "command",        NULL };
static const char *const client_auths[] = { "basic", "basic_raw", "body", "none", "private_key_jwt", NULL };
static const char *const algs[] = { "auto", "RS256", "PS256", "ES256", NULL };
const char *const config_placeholder_words[] = { "off", "auto", NULL };
static const char *const placeholder_files[] = { "none", "google_service_account", "google_user", "certificate", "key",
                                                 NULL };
static const char *const bodies[] = { "form", "json", NULL };

static const struct field spec_tls_fields[] = {
    FIELD_TLS_FILES(SPEC, 0),
    END,
};
static const struct table spec_tls_table = { .fields = spec_tls_fields };

static const struct field assertion_fields[] = {
    { "key", FIELD_SECRET, .at = SPEC(assertion.key),
      .about = "Signing key: RSA or P-256 in PEM, not encrypted, or Google's JSON key file." },
    { "token", FIELD_CUSTOM, .read = config_chain_read_secret, .json = CHAIN_JSON, .at = SPEC(assertion.token),
      .about = "A ready-made assertion instead of key, such as a projected service-account token; read again for each "
               "request." },
    { "certificate", FIELD_SECRET, .at = SPEC(assertion.certificate),
      .about = "Certificate of key (PEM): its thumbprints go into the header (x5t, x5t#S256), as Entra ID wants." },
    { "alg", FIELD_ENUM, .at = SPEC(assertion.alg), .initial = "auto", .words = algs,
      .about = "Signature algorithm; auto is RS256 for RSA and ES256 for P-256." },
    { "kid", FIELD_STRING, .at = SPEC(assertion.kid), .check = config_value_text,
      .about = "Key id in the header; default that of Google's key file." },
    { "issuer", FIELD_STRING, .at = SPEC(assertion.issuer), .check = config_value_text,
      .about = "Claim iss; default the account of Google's key file, else client_id." },
    { "subject", FIELD_STRING, .at = SPEC(assertion.subject), .check = config_value_text,
      .about = "Claim sub; default the issuer (none with Google's key file, where sub means delegation)." },
    { "audience", FIELD_STRING, .at = SPEC(assertion.audience), .check = config_value_text,
      .about = "Claim aud; default token_url." },
    { "lifetime", FIELD_DURATION, .at = SPEC(assertion.lifetime_ms), .min = 120 * SECOND, .max = HOUR,
      .about = "Time from iat (60 s in the past) to exp; default 1h for jwt_bearer, 10m for github_app, 5m for "
               "private_key_jwt." },
    { "claims", FIELD_PAIRS, .at = SPEC(assertion.claims), .count_at = SPEC(assertion.claim_count),
      .check = config_value_claim, .about = "Additional claims for jwt_bearer and github_app." },
    END,
};
static const struct table assertion_table = { .fields = assertion_fields };

static const struct field impersonate_fields[] = {
    { "url", FIELD_STRING, FIELD_REQUIRED, .at = SPEC(impersonate.url), .check = config_value_token_url,
      .about = "URL that exchanges the first token for another, such as Google's generateAccessToken." },
    { "scope", FIELD_STRING, .at = SPEC(impersonate.scope), .check = config_value_text,
      .about = "Scopes of the second token." },
    { "lifetime", FIELD_DURATION, .at = SPEC(impersonate.lifetime_ms), .max = 24 * HOUR,
      .about = "Lifetime to request; default the server's." },
    END,
};
static const struct table impersonate_table = { .fields = impersonate_fields };

static const struct field response_fields[] = {
    { "access_token", FIELD_STRING, .at = SPEC(response.access_token), .check = config_value_pointer,
      .about = "The access token, such as /data/access_token; sidekey then looks for the other members next to it." },
    { "refresh_token", FIELD_STRING, .at = SPEC(response.refresh_token), .check = config_value_pointer,
      .about = "The refresh token." },
    { "expires_in", FIELD_STRING, .at = SPEC(response.expires_in), .check = config_value_pointer,
      .about = "The lifetime in seconds, or the expiry as a date or as seconds or milliseconds since 1970." },
    END,
};
static const struct table response_table = { .fields = response_fields };

static const struct field login_fields[] = {
    { "issuer", FIELD_STRING, .at = SPEC(login.issuer), .check = config_value_token_url,
      .about = "The authorization server. Its metadata (RFC 8414, OpenID Connect Discovery) names the endpoints that "
               "are not written here; it must name the same issuer and token_url." },
    { "authorization_url", FIELD_STRING, .at = SPEC(login.authorization_url), .check = config_value_token_url,
      .about = "Where the browser is sent; sidekey login then uses an authorization code with PKCE (S256)." },
    { "device_authorization_url", FIELD_STRING, .at = SPEC(login.device_authorization_url),
      .check = config_value_token_url, .about = "Where a device code is requested (RFC 8628)." },
    { "revocation_url", FIELD_STRING, .at = SPEC(login.revocation_url), .check = config_value_token_url,
      .about = "Where sidekey logout revokes the refresh token (RFC 7009)." },
    { "scope", FIELD_STRING, .at = SPEC(login.scope), .check = config_value_text,
      .about = "Scope to request when signing in; default the credential's scope." },
    { "redirect_url", FIELD_STRING, .at = SPEC(login.redirect_url), .check = config_value_redirect_url,
      .about = "Redirect URL as registered at the provider, http on loopback; default http://127.0.0.1/callback. "
               "Without a port, sidekey uses a free one (RFC 8252)." },
    { "params", FIELD_PAIRS, .at = SPEC(login.params), .count_at = SPEC(login.param_count),
      .check = config_value_login_param,
      .about = "Additional parameters of the authorization request, such as prompt: consent." },
    END,
};
static const struct table login_table = { .fields = login_fields, .check = config_grants_check_login };

static const struct field spec_fields[] = {
    { "preset", FIELD_STRING, .at = SPEC(preset), .check = config_value_text,
      .about = "A provider that sidekey knows: it fills in what is not written here (sidekey presets)." },
    { "key", FIELD_CUSTOM, .read = preset_read_value, .about = "The key that the preset asks for.", .json = SECRET },
    { "certificate", FIELD_CUSTOM, .read = preset_read_value, .about = "The certificate of the key, for presets.",
      .json = SECRET },
    { "tenant", FIELD_CUSTOM, .read = preset_read_value, .about = "The tenant, for presets.", .json = TEXT },
    { "domain", FIELD_CUSTOM, .read = preset_read_value, .about = "The provider's host, for presets.", .json = TEXT },
    { "realm", FIELD_CUSTOM, .read = preset_read_value, .about = "The realm, for presets.", .json = TEXT },
    { "account", FIELD_CUSTOM, .read = preset_read_value, .about = "The account, for presets.", .json = TEXT },
    { "provider", FIELD_CUSTOM, .read = preset_read_value, .about = "The identity provider, for presets.",
      .json = TEXT },
    { "organization", FIELD_CUSTOM, .read = preset_read_value, .about = "The organization, for presets.",
      .json = TEXT },
    { "federation_rule", FIELD_CUSTOM, .read = preset_read_value, .about = "The federation rule, for presets.",
      .json = TEXT },
    { "login_scope", FIELD_CUSTOM, .read = preset_read_value, .about = "The scope of login, for presets.",
      .json = TEXT },
    { "grant", FIELD_ENUM, .at = SPEC(grant), .words = grants, .about = "How access tokens are obtained." },
    { "token_url", FIELD_STRING, .at = SPEC(token_url), .check = config_value_url,
      .about = "The token endpoint: https, or http on loopback (grant: metadata: also http on link-local addresses)." },
    { "client_id", FIELD_STRING, .at = SPEC(client_id), .check = config_value_text, .about = "OAuth client id." },
    { "client_secret", FIELD_CUSTOM, .read = config_chain_read_secret, .json = CHAIN_JSON, .at = SPEC(client_secret),
      .about = "OAuth client secret." },
    { "refresh_token", FIELD_SECRET, .at = SPEC(refresh_token),
      .about = "The first refresh token. sidekey tries a new value here once, at once; apart from that it uses the "
               "stored token, which is newer." },
    { "login", FIELD_OBJECT, .table = &login_table,
      .about = "How a person signs in (sidekey login); refresh_token is then not needed." },
    { "token", FIELD_CUSTOM, .read = config_grants_read_token,
      .about = "The token itself (grant: static); with other grants access_token or id_token: which member of the "
               "response is the token.",
      .json = "{\"anyOf\":[{\"enum\":[\"access_token\",\"id_token\"]},{\"$ref\":\"#/$defs/secret\"}]}" },
    { "response", FIELD_OBJECT, .table = &response_table,
      .about = "JSON pointers (RFC 6901) to the members of a response that does not have them at its top level." },
    { "scope", FIELD_STRING, .at = SPEC(scope), .check = config_value_text, .about = "Scope to request." },
    { "audience", FIELD_STRING, .at = SPEC(audience), .check = config_value_text, .about = "Audience to request." },
    { "resource", FIELD_STRING, .at = SPEC(resource), .check = config_value_text,
      .about = "Resource to request (RFC 8707)." },
    { "assertion", FIELD_OBJECT, .table = &assertion_table,
      .about = "The JWT of jwt_bearer, github_app and client_auth: private_key_jwt." },
    { "subject_token", FIELD_CUSTOM, .read = config_chain_read_secret, .json = CHAIN_JSON, .at = SPEC(subject_token),
      .about = "The token to exchange (grant: token_exchange); read again for each exchange." },
    { "subject_token_type", FIELD_STRING, .at = SPEC(subject_token_type), .check = config_value_text,
      .about = "Type of subject_token; default urn:ietf:params:oauth:token-type:jwt." },
    { "actor_token", FIELD_CUSTOM, .read = config_chain_read_secret, .json = CHAIN_JSON, .at = SPEC(actor_token),
      .about = "Token of the acting party (grant: token_exchange)." },
    { "actor_token_type", FIELD_STRING, .at = SPEC(actor_token_type), .check = config_value_text,
      .about = "Type of actor_token; default the same as subject_token_type." },
    { "requested_token_type", FIELD_STRING, .at = SPEC(requested_token_type), .check = config_value_text,
      .about = "Type of token to request (grant: token_exchange)." },
    { "impersonate", FIELD_OBJECT, .table = &impersonate_table,
      .about = "A second request, sent with the first token as Bearer; its response has the token to use." },
    { "installation", FIELD_STRING, .at = SPEC(installation), .check = config_value_number_id,
      .about = "Installation id of a GitHub app on github.com (for other hosts set token_url)." },
    { "command", FIELD_STRINGS, .at = SPEC(command),
      .about = "A program and its arguments, run without a shell, that prints a token response or an ExecCredential "
               "(grant: command)." },
    { "headers", FIELD_PAIRS, .at = SPEC(headers), .count_at = SPEC(header_count), .check = config_value_request_field,
      .about = "Additional header fields of the token request; default Metadata-Flavor: Google for grant: metadata." },
    { "params", FIELD_PAIRS, .at = SPEC(params), .count_at = SPEC(param_count), .check = config_value_param,
      .about = "Additional parameters of the token request." },
    { "client_auth", FIELD_ENUM, .at = SPEC(client_auth), .words = client_auths,
      .about = "How the client authenticates; default basic, or none without client_secret. basic_raw: Basic without "
               "percent-encoding, for servers that do not decode it." },
    { "body", FIELD_ENUM, .at = SPEC(body), .initial = "form", .words = bodies,
      .about = "Encoding of the token request." },
    { "tls", FIELD_OBJECT, .table = &spec_tls_table, .about = "TLS settings for the token endpoint." },
    { "required", FIELD_BOOL, .at = SPEC(required), .initial = "false",
      .about = "/readyz answers 503 until this credential is usable." },
    { "placeholder", FIELD_ENUM, .at = SPEC(placeholder), .initial = "off", .words = config_placeholder_words,
      .about = "auto: sidekey makes a placeholder that looks like the provider's token; programs send it (sidekey env, "
               "run), and rules of the credential ask for it." },
    { "placeholder_format", FIELD_STRING, .at = SPEC(placeholder_format), .check = placeholders_check_format,
      .about = "What it looks like: text with {N} for N random letters and digits, {hex:N} or {digits:N}, such as "
               "ghp_{36}; default that of the preset." },
    { "placeholder_variables", FIELD_STRINGS, .at = SPEC(placeholder_variables), .check = placeholders_check_variable,
      .about = "Environment variables that sidekey run sets to it, and sidekey env prints; default those of the "
               "preset." },
    { "placeholder_file", FIELD_ENUM, .at = SPEC(placeholder_file), .initial = "none", .words = placeholder_files,
      .about = "Key file without a secret that sidekey run and sidekey env --key-files write for programs that insist "
               "on one; a rule with answer: token takes what they do with it." },
    { "placeholder_file_variables", FIELD_STRINGS, .at = SPEC(placeholder_file_variables),
      .check = placeholders_check_variable, .about = "Environment variables that get its path." },
    { "default_lifetime", FIELD_DURATION, .at = SPEC(default_lifetime_ms), .max = 8784 * HOUR,
      .about = "Lifetime when the response gives none; default: the token is used until the upstream answers 401." },
    { "forced_refresh_floor", FIELD_DURATION, .at = SPEC(forced_floor_ms), .initial = "30s", .min = SECOND,
      .max = 24 * HOUR, .about = "Shortest time between two forced refreshes." },
    END,
};
const struct table config_credential_table = { .fields = spec_fields,
                                               .size = sizeof(struct credential_spec),
                                               .name_at = SPEC(name),
                                               .init = config_grants_init_spec,
                                               .check = config_grants_check_spec };
