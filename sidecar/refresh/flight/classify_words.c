/* What token endpoints say, and what it means.  Codes of RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 9449 §5, OIDC Core
 * §3.1.2.6, and the providers' own.  More specific rows stand before general ones. */
#include "refresh/flight/classify.h"

#define COUNTS CLASSIFY_COUNTS
#define LOOK_AGAIN CLASSIFY_LOOK_AGAIN
#define REUSED CLASSIFY_REUSED

const struct classify_word classify_words[] = {
    /* too many requests, whatever the code and the status */
    { "slow_down", NULL, MSG_THROTTLE, 0 },
    { "rate_limited", NULL, MSG_THROTTLE, 0 },
    { "ratelimited", NULL, MSG_THROTTLE, 0 },
    { "rate_limit_exceeded", NULL, MSG_THROTTLE, 0 },
    { "user_rate_limit_exceeded", NULL, MSG_THROTTLE, 0 },
    { "too_many_requests", NULL, MSG_THROTTLE, 0 },
    { "TooManyRequestsException", NULL, MSG_THROTTLE, 0 }, /* Cognito */
    { "LimitExceededException", NULL, MSG_THROTTLE, 0 },   /* Cognito */
    { "quota_exceeded", NULL, MSG_THROTTLE, 0 },
    { "resource_exhausted", NULL, MSG_THROTTLE, 0 }, /* Google */
    { NULL, "AADSTS50196", MSG_THROTTLE, 0 },        /* Entra: request loop, with invalid_grant */
    { NULL, "too many requests", MSG_THROTTLE, 0 },  /* Zoho, with Access Denied */
    { NULL, "rate limit", MSG_THROTTLE, 0 },
    { NULL, "throttled", MSG_THROTTLE, 0 },
    { "ApiCallLimit", NULL, MSG_THROTTLE, 0 },    /* Lazada */
    { NULL, "frequency limit", MSG_THROTTLE, 0 }, /* Feishu */

    /* passing */
    { "temporarily_unavailable", NULL, MSG_TRANSIENT, 0 },
    { "service_unavailable", NULL, MSG_TRANSIENT, 0 },
    { "unavailable", NULL, MSG_TRANSIENT, 0 }, /* Google */
    { "server_error", NULL, MSG_AMBIGUOUS, COUNTS },
    { "internal_failure", NULL, MSG_AMBIGUOUS, COUNTS },
    { "internal_error", NULL, MSG_AMBIGUOUS, COUNTS },

    /* the client, not its token */
    { "invalid_client", NULL, MSG_CONFIG_ERROR, 0 },
    { "invalid_client_id", NULL, MSG_CONFIG_ERROR, 0 },
    { "invalid_client_secret", NULL, MSG_CONFIG_ERROR, 0 },
    { "incorrect_client_credentials", NULL, MSG_CONFIG_ERROR, 0 }, /* GitHub */
    { "bad_client_secret", NULL, MSG_CONFIG_ERROR, 0 },            /* Slack */
    { "bad_client_id", NULL, MSG_CONFIG_ERROR, 0 },                /* HubSpot */
    { "bad_credentials", NULL, MSG_CONFIG_ERROR, 0 },
    { "use_dpop_nonce", NULL, MSG_CONFIG_ERROR, 0 },
    { "invalid_dpop_proof", NULL, MSG_CONFIG_ERROR, 0 },
    { "unsupported_grant_type", NULL, MSG_CONFIG_ERROR, 0 },
    { "invalid_scope", NULL, MSG_CONFIG_ERROR, 0 }, /* the scopes of the configuration, or of the consent */
    { "invalid_target", NULL, MSG_CONFIG_ERROR, 0 },

    /* the refresh token, by its code */
    { "refresh_token_reused", NULL, MSG_DEAD, REUSED }, /* OpenAI */
    { "invalid_grant", NULL, MSG_DEAD, 0 },
    { "bad_refresh_token", NULL, MSG_DEAD, 0 },         /* GitHub with HTTP 200, HubSpot in status */
    { "invalid_refresh_token", NULL, MSG_DEAD, 0 },     /* Slack, Yahoo */
    { "refresh_token_expired", NULL, MSG_DEAD, 0 },     /* OpenAI, HTTP 401 */
    { "refresh_token_invalidated", NULL, MSG_DEAD, 0 }, /* OpenAI */
    { "refresh_token_invalid", NULL, MSG_DEAD, 0 },
    { "refresh_token_revoked", NULL, MSG_DEAD, 0 },
    { "refresh_token_not_found", NULL, MSG_DEAD, 0 },    /* Supabase */
    { "refresh_token_already_used", NULL, MSG_DEAD, 0 }, /* Supabase */
    { "expired_refresh_token", NULL, MSG_DEAD, 0 },
    { "session_not_found", NULL, MSG_DEAD, 0 }, /* Supabase */
    { "session_expired", NULL, MSG_DEAD, 0 },
    { "token_revoked", NULL, MSG_DEAD, 0 },    /* Slack */
    { "token_expired", NULL, MSG_DEAD, 0 },    /* Slack */
    { "account_inactive", NULL, MSG_DEAD, 0 }, /* Slack */
    { "invalid_code", NULL, MSG_DEAD, 0 },     /* Zoho */
    { "BXNIM0407E", NULL, MSG_DEAD, 0 },       /* IBM: invalid */
    { "BXNIM0408E", NULL, MSG_DEAD, 0 },       /* IBM: expired */
    { "login_required", NULL, MSG_DEAD, 0 },
    { "interaction_required", NULL, MSG_DEAD, 0 },
    { "consent_required", NULL, MSG_DEAD, 0 },
    { "account_selection_required", NULL, MSG_DEAD, 0 },

    /* the refresh token, by words beside any code: Atlassian (unauthorized_client), Twitch, Bitbucket, LinkedIn
     * (invalid_request), Strava and Fitbit (errors), Cognito (NotAuthorizedException), WeChat, Withings, Basecamp */
    { NULL, "invalid refresh token", MSG_DEAD, 0 },
    { NULL, "refresh token is invalid", MSG_DEAD, 0 },
    { NULL, "refresh token invalid", MSG_DEAD, 0 },
    { NULL, "refresh token is not valid", MSG_DEAD, 0 },
    { NULL, "refresh token is no longer valid", MSG_DEAD, 0 },
    { NULL, "refresh token not valid", MSG_DEAD, 0 },
    { NULL, "incorrect or invalid refresh token", MSG_DEAD, 0 }, /* Intuit */
    { NULL, "expired refresh token", MSG_DEAD, 0 },
    { NULL, "refresh token expired", MSG_DEAD, 0 },
    { NULL, "refresh token is expired", MSG_DEAD, 0 },
    { NULL, "refresh token has expired", MSG_DEAD, 0 },
    { NULL, "refresh token revoked", MSG_DEAD, 0 },
    { NULL, "refresh token is revoked", MSG_DEAD, 0 },
    { NULL, "refresh token was revoked", MSG_DEAD, 0 },
    { NULL, "refresh token has been revoked", MSG_DEAD, 0 },
    { NULL, "revoked refresh token", MSG_DEAD, 0 },
    { NULL, "unknown refresh token", MSG_DEAD, 0 },
    { NULL, "refresh token is unknown", MSG_DEAD, 0 },
    { NULL, "refresh token not found", MSG_DEAD, 0 },
    { NULL, "refresh token does not exist", MSG_DEAD, 0 },
    { NULL, "refresh token is inactive", MSG_DEAD, 0 },
    { NULL, "refresh token is not active", MSG_DEAD, 0 },
    { NULL, "refresh token has been used", MSG_DEAD, REUSED },
    { NULL, "refresh token has already been used", MSG_DEAD, REUSED },
    { NULL, "refresh token was already used", MSG_DEAD, REUSED },
    { NULL, "refresh token already used", MSG_DEAD, REUSED },
    { NULL, "refresh token reused", MSG_DEAD, REUSED },
    { "invalid_request", "grant or refresh token is invalid expired or revoked", MSG_DEAD, 0 }, /* LinkedIn */
    { "invalid_request", "authorization grant is invalid", MSG_DEAD, 0 },
    { "invalid_request", "token has been revoked", MSG_DEAD, 0 }, /* these four: @jmondi/oauth2-server */
    { "invalid_request", "token has expired", MSG_DEAD, 0 },
    { "invalid_request", "cannot verify the refresh token", MSG_DEAD, 0 },
    { "invalid_request", "cannot decrypt the refresh token", MSG_DEAD, 0 },
    { "invalid_token", "token expired was revoked or the token id is incorrect", MSG_DEAD, 0 }, /* UAA, HTTP 401 */
    { "invalid_token", "refresh token", MSG_DEAD, 0 },
    { "access_denied", "refresh token", MSG_DEAD, 0 },

    { "token_not_valid", NULL, MSG_DEAD, 0 },             /* Django REST framework, HTTP 401 */
    { "INVALID_ARGUMENT", "token expired", MSG_DEAD, 0 }, /* Google Identity Platform, Firebase */
    { "INVALID_ARGUMENT", "user disabled", MSG_DEAD, 0 },
    { "INVALID_ARGUMENT", "user not found", MSG_DEAD, 0 },
    { "OAuthException", "session has expired", MSG_DEAD, 0 }, /* Meta */
    { "IllegalRefreshToken", NULL, MSG_DEAD, 0 },             /* Lazada */

    /* words of resource servers: a gateway in front of the token endpoint uses them too */
    { "invalid_token", NULL, MSG_DEAD, LOOK_AGAIN },
    { "token_inactive", NULL, MSG_DEAD, LOOK_AGAIN },
    { "inactive_token", NULL, MSG_DEAD, LOOK_AGAIN },
    { "expired_token", NULL, MSG_DEAD, LOOK_AGAIN },              /* Baidu */
    { "invalid_request", "invalid token", MSG_DEAD, LOOK_AGAIN }, /* Zoom */

    /* the client again, by words */
    { NULL, "AADSTS700016", MSG_CONFIG_ERROR, 0 }, /* Entra, with unauthorized_client: no such application */
    { NULL, "client secret", MSG_CONFIG_ERROR, 0 },
    { NULL, "client id invalid", MSG_CONFIG_ERROR, 0 }, /* Strava */
    { NULL, "invalid client", MSG_CONFIG_ERROR, 0 },
    { NULL, "client authentication", MSG_CONFIG_ERROR, 0 },
    { "unauthorized", "bad credentials", MSG_CONFIG_ERROR, 0 }, /* UAA: wrong client */

    { NULL, "try again later", MSG_TRANSIENT, COUNTS },
    { "unauthorized_client", NULL, MSG_CONFIG_ERROR, COUNTS },
    { "invalid_request", NULL, MSG_CONFIG_ERROR, COUNTS },
    { NULL, NULL, MSG_CONFIG_ERROR, 0 },
};
