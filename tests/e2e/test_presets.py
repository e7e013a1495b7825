"""Presets: each one gets a token from a strict fake of its provider, which takes only what the provider's documentation asks for, and init writes a file that works."""
import base64
import hashlib
import json
import os
import pty
import re
import select
import ssl
import subprocess
import urllib.parse

import pki as pki_maker
import pytest
from harness import SIDEKEY, environment, run, until
from json_server import JsonHandler, serving

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT_JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TYPE = "urn:ietf:params:oauth:token-type:access_token"
POOL, ROBOT = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k8s", "robot@project.iam.gserviceaccount.com"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"


def claims(jwt):
    return json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))


def header(jwt):
    return json.loads(base64.urlsafe_b64decode(jwt.split(".")[0] + "=="))


def header_of(certificate):
    """What Entra ID wants to read: which certificate it is."""
    der = ssl.PEM_cert_to_DER_cert(certificate)
    def sum_of(name):
        return base64.urlsafe_b64encode(hashlib.new(name, der).digest()).rstrip(b"=").decode()
    return {"alg": "PS256", "typ": "JWT", "x5t": sum_of("sha1"), "x5t#S256": sum_of("sha256")}


def basic(asked):
    return base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode() == "me:secret"


class Asked:
    """A token request, as a provider reads it."""
    def __init__(self, handler):
        self.method, self.headers = handler.command, {k.lower(): v for k, v in handler.headers.items()}
        body = handler.body().decode()
        self.kind = self.headers.get("content-type", "").split(";")[0]
        self.is_json, self.is_form = self.kind == "application/json", self.kind == "application/x-www-form-urlencoded"
        self.params = json.loads(body or "{}") if self.is_json else dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        self.wanted_header = handler.server.wanted_header
        self.url = f"http://{self.headers['host']}{handler.path}"

    def has(self, **params):
        return all(self.params.get(k) == v for k, v in params.items())

    def lacks(self, *names):
        return not any(n in self.params or n in self.headers for n in names)


def spends(asked, how, **more):
    return (asked.is_json if how == "json" else asked.is_form) and asked.has(grant_type="refresh_token", refresh_token="rt-1", **more)


BODY = {"client_id": "me", "client_secret": "secret"}
PLAIN = {"access_token": "AT", "expires_in": 3600, "token_type": "Bearer"}
ROTATED = {**PLAIN, "refresh_token": "rt-2"}
SECRETS = {"client_id": "me", "client_secret": "client-secret", "refresh_token": "refresh-token"}

# preset -> what the user writes, what the provider demands, what it answers
PROVIDERS = {
    "google-user": (SECRETS, lambda a: spends(a, "form", **BODY) and a.lacks("authorization"), {**PLAIN, "scope": CLOUD, "expires_in": 3599}),
    "google-service-account": ({"key": "google-key"},
                               lambda a: a.is_form and a.has(grant_type=JWT_BEARER) and a.lacks("authorization", "scope") and claims(a.params["assertion"])["aud"] == a.url
                               and claims(a.params["assertion"])["iss"] == "robot@project.test" and claims(a.params["assertion"])["scope"] == CLOUD, PLAIN),
    "gce-metadata": ({}, lambda a: a.method == "GET" and a.headers["metadata-flavor"] == "Google", {**PLAIN, "expires_in": 3599}),
    "entra": ({"tenant": "t-1", "client_id": "me", "client_secret": "client-secret"},
              lambda a: a.is_form and a.has(grant_type="client_credentials", scope="https://graph.microsoft.com/.default", **BODY) and a.lacks("authorization"),
              {**PLAIN, "ext_expires_in": 3600, "refresh_in": 1800}),
    "entra-certificate": ({"tenant": "t-1", "client_id": "me", "key": "rsa-key", "certificate": "rsa-certificate"},
                          lambda a: a.has(grant_type="client_credentials", client_assertion_type=CLIENT_JWT, client_id="me") and a.lacks("client_secret", "authorization")
                          and claims(a.params["client_assertion"])["aud"] == a.url and header(a.params["client_assertion"]) == a.wanted_header, PLAIN),
    "entra-federated": ({"tenant": "t-1", "client_id": "me", "assertion": {"token": "subject"}},
                        lambda a: a.has(grant_type="client_credentials", client_assertion_type=CLIENT_JWT, client_assertion="subject-token", client_id="me") and a.lacks("client_secret", "authorization"), PLAIN),
    "github-app": ({"client_id": "Iv1.app", "key": "rsa-key"},
                   lambda a: a.method == "POST" and claims(a.headers["authorization"].removeprefix("Bearer "))["iss"] == "Iv1.app" and "json" in a.headers["accept"],
                   {"token": "AT", "expires_at": "2099-01-01T00:00:00Z", "permissions": {}}),
    "github-git": ({"client_id": "Iv1.app", "key": "rsa-key"}, lambda a: claims(a.headers["authorization"].removeprefix("Bearer "))["iss"] == "Iv1.app", {"token": "AT", "expires_at": "2099-01-01T00:00:00Z"}),
    "google-workload-identity": ({"provider": POOL, "account": ROBOT, "subject_token": "subject", "impersonate": {"url": "BASE/impersonation"}},
                                 lambda a: a.has(grant_type=EXCHANGE, subject_token="subject-token", subject_token_type=JWT_TYPE, audience=POOL, requested_token_type=ACCESS_TYPE, scope=CLOUD)
                                 and a.lacks("authorization"), {**PLAIN, "access_token": "STS", "issued_token_type": ACCESS_TYPE}),
    "github-user": (SECRETS, lambda a: spends(a, "form", **BODY) and "json" in a.headers["accept"], {**ROTATED, "token_type": "bearer", "scope": "", "expires_in": 28800, "refresh_token_expires_in": 15811200}),
    "anthropic-oauth": ({"client_id": "me", "refresh_token": "refresh-token"}, lambda a: spends(a, "json", client_id="me") and a.headers["anthropic-beta"] == "oauth-2025-04-20" and a.lacks("authorization"), ROTATED),
    "anthropic-federation": ({"organization": "org-1", "federation_rule": "fr-1", "assertion": {"token": "subject"}},
                             lambda a: a.is_json and a.has(grant_type=JWT_BEARER, assertion="subject-token", federation_rule_id="fr-1", organization_id="org-1")
                             and a.headers["anthropic-beta"] == "oauth-2025-04-20,oidc-federation-2026-04-01", PLAIN),
    "openai-workload-identity": ({"provider": "idp-1", "account": "sa-1", "subject_token": "subject"},
                                 lambda a: a.is_json and a.has(grant_type=EXCHANGE, subject_token="subject-token", subject_token_type=JWT_TYPE, identity_provider_id="idp-1", service_account_id="sa-1"), PLAIN),
    "slack": (SECRETS, lambda a: spends(a, "form", **BODY), {"ok": True, "access_token": "AT", "expires_in": 43200, "refresh_token": "rt-2", "token_type": "bot", "team": {"id": "T1"}}),
    "salesforce": ({**SECRETS, "domain": "x.my.salesforce.com"}, lambda a: spends(a, "form", **BODY),
                   {"access_token": "AT", "instance_url": "https://x.my.salesforce.com", "issued_at": "1700000000000", "signature": "x=", "token_type": "Bearer"}),
    "atlassian": (SECRETS, lambda a: spends(a, "json", **BODY), {**ROTATED, "scope": "read:jira-work offline_access"}),
    "hubspot": (SECRETS, lambda a: spends(a, "form", **BODY), {**ROTATED, "token_type": "bearer", "expires_in": 1800}),
    "okta": ({"domain": "x.okta.com", "client_id": "me", "key": "rsa-key", "scope": "okta.users.read"},
             lambda a: a.has(grant_type="client_credentials", client_assertion_type=CLIENT_JWT, scope="okta.users.read") and claims(a.params["client_assertion"])["aud"] == a.url, PLAIN),
    "auth0": ({"domain": "x.auth0.com", "client_id": "me", "client_secret": "client-secret", "audience": "https://api.example"},
              lambda a: a.is_json and a.has(grant_type="client_credentials", audience="https://api.example", **BODY), {**PLAIN, "expires_in": 86400}),
    "keycloak": ({"domain": "sso.example", "realm": "staff", "client_id": "me", "client_secret": "client-secret"}, lambda a: a.has(grant_type="client_credentials") and basic(a), {**PLAIN, "not-before-policy": 0}),
    "xero": (SECRETS, lambda a: spends(a, "form") and basic(a), {**ROTATED, "expires_in": 1800, "id_token": "x"}),
    "quickbooks": (SECRETS, lambda a: spends(a, "form") and basic(a), {**ROTATED, "x_refresh_token_expires_in": 8726400}),
    "generic-refresh-token": (SECRETS, lambda a: spends(a, "form") and basic(a), ROTATED),
    "gitlab-user": ({**SECRETS, "login_scope": "read_api"}, lambda a: spends(a, "form") and basic(a), {**ROTATED, "created_at": 1700000000}),
    "entra-user": ({"tenant": "t-1", "client_id": "me", "login_scope": "User.Read offline_access", "refresh_token": "refresh-token"},
                   lambda a: spends(a, "form", client_id="me") and a.lacks("authorization", "client_secret"), {**ROTATED, "ext_expires_in": 3600}),
    "keycloak-user": ({**SECRETS, "domain": "sso.example", "realm": "staff"}, lambda a: spends(a, "form") and basic(a), {**ROTATED, "not-before-policy": 0}),
    "okta-user": ({**SECRETS, "domain": "x.okta.com", "login_scope": "okta.users.read offline_access"}, lambda a: spends(a, "form") and basic(a), ROTATED),
    "auth0-user": ({**SECRETS, "domain": "x.auth0.com", "audience": "https://api.example"}, lambda a: spends(a, "form", audience="https://api.example") and basic(a), {**ROTATED, "expires_in": 86400}),
    "generic-login": ({**SECRETS, "provider": "https://login.example"}, lambda a: spends(a, "form") and basic(a), ROTATED),
    "mcp": ({**SECRETS, "resource": "https://mcp.example/mcp", "domain": "mcp.example", "provider": "https://login.example"},
            lambda a: spends(a, "form", resource="https://mcp.example/mcp") and basic(a), ROTATED),
    "generic-client-credentials": ({"client_id": "me", "client_secret": "client-secret"}, lambda a: a.has(grant_type="client_credentials") and basic(a), PLAIN),
    "generic-jwt-bearer": ({"key": "rsa-key", "client_id": "me", "client_auth": "none"}, lambda a: a.has(grant_type=JWT_BEARER) and claims(a.params["assertion"])["aud"] == a.url, PLAIN),
    "generic-metadata": ({}, lambda a: a.method == "GET" and a.headers["metadata-flavor"] == "Google", PLAIN),
    "generic-github-app": ({"client_id": "Iv1.app", "key": "rsa-key"}, lambda a: claims(a.headers["authorization"].removeprefix("Bearer "))["iss"] == "Iv1.app",
                           {"token": "AT", "expires_at": "2099-01-01T00:00:00Z"}),
    "generic-token-exchange": ({"key": "subject", "client_auth": "none"}, lambda a: a.has(grant_type=EXCHANGE, subject_token="subject-token"), PLAIN),
}
# The second step of google-workload-identity: a server of its own.
IMPERSONATION = (None, lambda a: a.is_json and a.headers["authorization"] == "Bearer STS" and a.params["scope"] == [CLOUD], {"accessToken": "AT", "expireTime": "2099-01-01T00:00:00Z"})
LOCAL = {"generic-command": {"command": ["/bin/echo", '{"access_token": "AT", "expires_in": 600}']}}
STATIC = ("anthropic", "azure-openai", "gemini", "generic-static", "gitlab", "openai")


class Provider(JsonHandler):
    def answer(self):
        name = self.path.strip("/")
        asked = Asked(self)
        _, demands, says = PROVIDERS.get(name, IMPERSONATION)
        try:
            right = demands(asked)
        except (KeyError, IndexError, ValueError):
            right = False
        if not right:
            self.server.refused.append((name, asked.method, asked.kind, asked.params, asked.headers))
        good = 201 if name in ("github-app", "github-git", "generic-github-app") else 200
        if name in self.server.dead:
            self.say(*self.server.dead[name])
        else:
            self.say(good if right else 400, says if right else {"error": "invalid_request"})
    do_GET = do_POST = answer


@pytest.fixture
def provider():
    with serving(Provider, refused=[], wanted_header={}, dead={}) as server:
        yield server


@pytest.fixture
def files(place, make_config, provider):
    pem = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout.decode()
    certificate = subprocess.run(["openssl", "req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=app"], check=True, capture_output=True, input=pem.encode()).stdout.decode()
    provider.wanted_header = header_of(certificate)
    google = json.dumps({"type": "service_account", "client_email": "robot@project.test", "private_key_id": "k1", "private_key": pem})
    texts = {"client-secret": "secret", "refresh-token": "rt-1", "rsa-key": pem, "rsa-certificate": certificate, "google-key": google, "subject": "subject-token", "api-key": "sk-real"}
    return {name: make_config.write(f"of-{name}", text) for name, text in texts.items()}


def written(values, files):
    def one(value):
        if isinstance(value, dict):
            return {k: one(v) for k, v in value.items()}
        return files.get(value, value)
    return {key: one(value) for key, value in values.items()}


def names():
    done = run([SIDEKEY, "presets"])
    return [line.split()[0] for line in done.stdout.decode().splitlines()]


def test_the_list_and_the_table_here_name_the_same_presets():
    assert set(names()) == {*PROVIDERS, *STATIC, *LOCAL}
    assert set(ARRIVES) == set(names()) - WITHOUT_HOST


def spoken(provider, files, chosen):
    """The credentials of these presets, whose tokens come from the fake."""
    base = f"http://127.0.0.1:{provider.server_address[1]}"

    def credential(name):
        if name in LOCAL:
            return {"preset": name, **LOCAL[name]}
        if name in STATIC:
            return {"preset": name, "key": files["api-key"]}
        return {"preset": name, **written(json.loads(json.dumps(PROVIDERS[name][0]).replace("BASE", base)), files), "token_url": f"{base}/{name}"}
    return {name: credential(name) for name in chosen}


def test_every_preset_gets_a_token_from_its_provider(start, make_config, provider, files):
    config = make_config(rules=[])
    config["credentials"] = {name: {**keys, "required": True} for name, keys in spoken(provider, files, [*PROVIDERS, *LOCAL]).items()}
    sidekey = start(config)
    states = {c["name"]: c for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]}
    assert not provider.refused, provider.refused
    until("every credential is usable", lambda: all(c["state"] == "usable" for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]), seconds=60)
    assert set(states) == {*PROVIDERS, *LOCAL}


DEAD = {
    "google-user": (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
    "github-user": (200, {"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired."}),
    "slack": (200, {"ok": False, "error": "invalid_refresh_token"}),
    "salesforce": (400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}),
    "atlassian": (403, {"error": "unauthorized_client", "error_description": "refresh_token is invalid"}),
    "hubspot": (400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token", "correlationId": "b"}),
    "xero": (400, {"error": "invalid_grant"}),
    "quickbooks": (400, {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}),
    "gitlab-user": (400, {"error": "invalid_grant", "error_description": "The provided authorization grant is invalid, expired, revoked."}),
    "entra-user": (400, {"error": "invalid_grant", "error_description": "AADSTS700082: The refresh token has expired due to inactivity.", "error_codes": [700082], "suberror": "bad_token"}),
    "okta-user": (400, {"error": "invalid_grant", "error_description": "The refresh token is invalid or expired."}),
    "auth0-user": (403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}),
    "keycloak-user": (400, {"error": "invalid_grant", "error_description": "Token is not active"}),
    "anthropic-oauth": (400, {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"}),
}


def test_every_preset_knows_the_word_of_its_provider_for_a_grant_that_is_over(start, make_config, provider, files):
    provider.dead = DEAD
    config = make_config(rules=[])
    config["credentials"] = spoken(provider, files, DEAD)
    sidekey = start(config)

    def states():
        return {c["name"]: (c["state"], c["last_error"]) for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]}
    until("all of them are over", lambda: {state for state, _ in states().values()} == {"reauth_required"} or None)
    for name, (_, error) in states().items():
        signs_in = "login:" in run([SIDEKEY, "presets", "show", name]).stdout.decode()
        assert (f"run sidekey login {name}" in error) == signs_in, (name, error)


WITHOUT_HOST = {"auth0", "auth0-user", "keycloak", "keycloak-user"} | {f"generic-{kind}" for kind in ("client-credentials", "command", "github-app", "jwt-bearer", "metadata", "login", "refresh-token", "static", "token-exchange")}
BEARER, NO_QUERY = {"authorization": "Bearer AT"}, "/x?kept=1"
GIT = {"authorization": "Basic " + base64.b64encode(b"x-access-token:AT").decode()}
# preset -> the host of its API, what arrives there of SENT beside the token, the path that arrives
ARRIVES = {
    "anthropic": ("api.anthropic.com", {"x-api-key": "sk-real"}, "/x?key=theirs&kept=1"),
    "anthropic-federation": ("api.anthropic.com", {**BEARER, "anthropic-beta": "files-api-2025-04-14,oauth-2025-04-20"}, "/x?key=theirs&kept=1"),
    "anthropic-oauth": ("api.anthropic.com", {**BEARER, "anthropic-beta": "files-api-2025-04-14,oauth-2025-04-20"}, "/x?key=theirs&kept=1"),
    "atlassian": ("api.atlassian.com", BEARER, "/x?key=theirs&kept=1"),
    "azure-openai": ("mine.openai.azure.com", {"api-key": "sk-real"}, "/x?key=theirs&kept=1"),
    **{name: ("graph.microsoft.com", BEARER, "/x?key=theirs&kept=1") for name in ("entra", "entra-certificate", "entra-federated", "entra-user")},
    "gce-metadata": ("storage.googleapis.com", BEARER, NO_QUERY),
    "gemini": ("generativelanguage.googleapis.com", {"x-goog-api-key": "sk-real"}, NO_QUERY),
    "github-app": ("api.github.com", BEARER, "/x?key=theirs&kept=1"),
    "github-git": ("github.com", GIT, "/x?key=theirs&kept=1"),
    "github-user": ("uploads.github.com", BEARER, "/x?key=theirs&kept=1"),
    "gitlab": ("gitlab.com", {"private-token": "sk-real"}, "/api/v4/x?kept=1"),
    "gitlab-user": ("gitlab.com", BEARER, "/api/v4/x?kept=1"),
    **{name: ("www.googleapis.com", BEARER, NO_QUERY) for name in ("google-service-account", "google-user", "google-workload-identity")},
    "hubspot": ("api.hubapi.com", BEARER, "/x?kept=1"),
    "mcp": ("mcp.example", BEARER, "/x?key=theirs&kept=1"),
    "okta": ("x.okta.com", BEARER, "/x?key=theirs&kept=1"),
    "okta-user": ("x.okta.com", BEARER, "/x?key=theirs&kept=1"),
    "openai": ("api.openai.com", {"authorization": "Bearer sk-real"}, "/x?key=theirs&kept=1"),
    "openai-workload-identity": ("api.openai.com", BEARER, "/x?key=theirs&kept=1"),
    "quickbooks": ("quickbooks.api.intuit.com", BEARER, "/x?key=theirs&kept=1"),
    "salesforce": ("x.my.salesforce.com", BEARER, "/x?key=theirs&kept=1"),
    "slack": ("slack.com", BEARER, "/api/x?kept=1"),
    "xero": ("api.xero.com", BEARER, "/x?key=theirs&kept=1"),
}
QUERIES = {"gitlab": "private_token=theirs&access_token=theirs", "gitlab-user": "private_token=theirs&access_token=theirs", "hubspot": "hapikey=theirs", "slack": "token=theirs"}
SENT = {"authorization": "Bearer theirs", "anthropic-beta": "files-api-2025-04-14"}
KEYS = {"anthropic": ["x-api-key"], "anthropic-federation": ["x-api-key"], "anthropic-oauth": ["x-api-key"], "azure-openai": ["api-key"], "gemini": ["x-goog-api-key"],
        "gitlab": ["private-token"], "gitlab-user": ["private-token"], **{name: ["x-goog-api-key"] for name in ("gce-metadata", "google-service-account", "google-user", "google-workload-identity")}}


class Api(JsonHandler):
    """Says what it was asked."""

    def do_GET(self):
        self.say(200, {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}})


def rounds():
    """The presets of ARRIVES, so that those of one round have different hosts."""
    left, taken = dict(ARRIVES), []
    while left:
        hosts = {}
        for name, (host, _, _) in left.items():
            hosts.setdefault(host, name)
        taken.append(list(hosts.values()))
        left = {name: what for name, what in left.items() if name not in taken[-1]}
    return taken


@pytest.mark.parametrize("chosen", rounds(), ids=lambda chosen: f"{len(chosen)} presets")
def test_each_api_gets_the_token_where_it_wants_it_and_no_other_credential(start, make_config, provider, files, pki, chosen):
    hosts = sorted({host for host, _, _ in ARRIVES.values()})
    if not (pki / "presets.pem").exists():
        pki_maker.leaf(pki, "presets", hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "presets.pem", pki / "presets.key")
    with serving(Api, context) as api:
        config = make_config(network={"resolve": {f"{host}:443": f"127.0.0.1:{api.server_address[1]}" for host in hosts}})
        del config["rules"]  # the presets' own
        config["credentials"] = spoken(provider, files, chosen)
        sidekey = start(config, env={"SSL_CERT_FILE": str(pki / "ca.pem")})
        for name in chosen:
            host, wanted, path = ARRIVES[name]
            sent = {**SENT, **{key: "theirs" for key in KEYS.get(name, [])}}
            status, _, body = sidekey.request(path=f"{path.partition('?')[0]}?{QUERIES.get(name, 'key=theirs')}&kept=1", host=host, headers=sent)
            got = json.loads(body)
            assert status == 200, (name, status, body)
            assert got["path"] == path, (name, got)
            expected = {**{key: value for key, value in SENT.items() if key != "authorization"}, **wanted}
            seen = {key: value for key, value in got["headers"].items() if key in (*expected, *sent)}
            assert seen == expected, (name, got)
    assert not provider.refused, provider.refused


URLS = {
    "google-user": ("https://www.googleapis.com/drive/v3/files", "https://oauth2.googleapis.com/token", "Bearer <access_token of x>"),
    "entra": ("https://graph.microsoft.com/v1.0/me", "https://login.microsoftonline.com/t-1/oauth2/v2.0/token", "Bearer"),
    "github-app": ("https://api.github.com/user", "", "Bearer"),
    "github-git": ("https://github.com/o/r.git/info/refs", "", "x-access-token:<access_token of x>"),
    "anthropic": ("https://api.anthropic.com/v1/messages", "", "x-api-key: <access_token of x>"),
    "anthropic-oauth": ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/oauth/token", "append  anthropic-beta: oauth-2025-04-20"),
    "openai": ("https://api.openai.com/v1/responses", "", "Bearer"),
    "azure-openai": ("https://mine.openai.azure.com/openai", "", "api-key: <access_token of x>"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/models", "", "x-goog-api-key: <access_token of x>"),
    "gitlab": ("https://gitlab.com/api/v4/projects", "", "private-token: <access_token of x>"),
    "slack": ("https://slack.com/api/chat.postMessage", "https://slack.com/api/oauth.v2.access", "strip   ?token="),
    "salesforce": ("https://x.my.salesforce.com/services/data", "https://x.my.salesforce.com/services/oauth2/token", "Bearer"),
    "okta": ("https://x.okta.com/api/v1/users", "https://x.okta.com/oauth2/v1/token", "Bearer"),
    "xero": ("https://api.xero.com/connections", "https://identity.xero.com/connect/token", "Bearer"),
}


@pytest.mark.parametrize("name", URLS)
def test_a_preset_makes_the_rules_of_its_hosts(place, files, name):
    url, token_url, sends = URLS[name]
    values = written(PROVIDERS[name][0], files) if name in PROVIDERS else {"key": files["api-key"]}
    if name.startswith("github-"):
        values = {**values, "client_id": "Iv1.app", "key": files["rsa-key"], "installation": "42"}
    path = place / "preset.yaml"
    path.write_text(json.dumps({"credentials": {"x": {"preset": name, **values}}}))
    done = run([SIDEKEY, "why", "-c", path, "GET", url], environment(place))
    said = done.stdout.decode()
    assert done.returncode == 0 and sends in said and token_url in said, (said, done.stderr)


def test_presets_show_prints_what_is_filled_in_and_names_the_nearest():
    done = run([SIDEKEY, "presets", "show", "slack"])
    assert done.returncode == 0 and b"https://slack.com/api/oauth.v2.access" in done.stdout and b"documentation: https://" in done.stdout
    done = run([SIDEKEY, "presets", "show", "slakc"])
    assert done.returncode == 65 and b'did you mean "slack"' in done.stderr


def init(place, *args):
    return run([SIDEKEY, "init", *args], environment(place), cwd=place)


def test_init_writes_a_file_that_works_and_never_overwrites(place, files):
    done = init(place, "openai", f"key={files['api-key']['file']}")
    text = (place / "sidekey.yaml").read_text()
    assert done.returncode == 0 and b"Next: sidekey run -c sidekey.yaml" in done.stderr, done.stderr
    assert "preset: openai" in text and "sk-real" not in text
    assert run([SIDEKEY, "check", "-c", place / "sidekey.yaml"], environment(place)).returncode == 0
    done = init(place, "gemini", "key=/x")
    assert done.returncode == 73 and b"exists already" in done.stderr and (place / "sidekey.yaml").read_text() == text


def test_init_names_the_login_where_a_person_must_sign_in_first(place, files):
    secret = files["client-secret"]["file"]
    done = init(place, "github-user", "client_id=me", f"client_secret={secret}", "-o", "user.yaml")
    assert done.stderr.endswith(b"Next: sidekey login -c user.yaml\nthen: sidekey run -c user.yaml -- YOUR-PROGRAM\n"), done
    done = init(place, "github-user", "client_id=me", f"client_secret={secret}", f"refresh_token={files['refresh-token']['file']}", "-o", "token.yaml")
    assert done.stderr.endswith(b"is written.\nNext: sidekey run -c token.yaml -- YOUR-PROGRAM\n"), done
    done = init(place, "keycloak-user", "client_id=me", "domain=https://sso.example.com/", "realm=staff", "-o", "api.yaml")
    assert b"Next: add a rule" in done.stderr and b"then: sidekey login -c api.yaml" in done.stderr, done


def test_init_makes_the_rule_of_an_api_that_no_preset_knows(place, files):
    done = init(place, "generic-static", f"key={files['api-key']['file']}", "host=https://api.example.com")
    assert done.returncode == 0 and b"warning" not in done.stderr, done
    said = run([SIDEKEY, "why", "-c", place / "sidekey.yaml", "GET", "https://api.example.com/v1"], environment(place))
    assert said.returncode == 0 and b"Bearer <access_token of generic-static>" in said.stdout, said
    done = init(place, "openai", f"key={files['api-key']['file']}", "host=api.example.com", "-o", "other.yaml")
    assert done.returncode == 64 and not (place / "other.yaml").exists(), done


def test_init_writes_a_command_as_the_words_that_it_has(place):
    done = init(place, "generic-command", "command=/bin/echo  tok en", "host=api.example.com")
    assert done.returncode == 0 and 'command: ["/bin/echo", "tok", "en"]' in (place / "sidekey.yaml").read_text(), done


def test_init_takes_no_secret_in_place_of_its_file_and_does_not_repeat_it(place, files):
    (place / "here").write_text("sk-real")
    (place / "here").chmod(0o600)
    done = init(place, "openai", "key=sk-proj-pasted/by+mistake==")
    assert done.returncode == 64 and b"not the secret itself" in done.stderr and b"pasted" not in done.stderr and not (place / "sidekey.yaml").exists(), done
    assert init(place, "openai", "key=here").returncode == 0
    assert run([SIDEKEY, "check", "-c", place / "sidekey.yaml"], environment(place), cwd="/").returncode == 0, "it works from any directory"


def test_init_says_what_is_missing_and_what_is_too_much(place):
    done = init(place, "slack", "client_id=me")
    assert done.returncode == 64 and b"client_secret is missing: write client_secret=PATH" in done.stderr
    done = init(place, "openai", "key=env:OPENAI", "colour=red")
    assert done.returncode == 64 and b"takes no such value" in done.stderr
    done = init(place, "opnai")
    assert done.returncode == 64 and b'did you mean "openai"' in done.stderr
    assert init(place).returncode == 64 and not (place / "sidekey.yaml").exists()


WRONG = {
    "a name of several presets": (["google", "key=KEY"], 64, "did you mean one of gce-metadata, google-service-account, google-user"),
    "a product's name": (["jira"], 64, 'did you mean "atlassian"?'),
    "a key with a slip": (["openai", "kye=KEY"], 64, 'takes no value "kye": did you mean key?'),
    "a key in capitals": (["openai", "Key=KEY"], 64, "did you mean key?"),
    "a key of another preset": (["openai", "tenant=t", "key=KEY"], 64, "it takes key"),
    "a word that is no pair": (["openai", "KEY"], 64, "word 1 is not KEY=VALUE"),
    "a key twice": (["openai", "key=KEY", "key=KEY"], 64, "key= is given twice"),
    "an empty value": (["openai", "key="], 64, "key: it is empty"),
    "a tenant that is a sentence": (["entra", "tenant=my tenant", "client_id=me", "client_secret=KEY"], 64, "tenant: write its id or its domain"),
    "a URL as the domain": (["keycloak", "domain=https://sso.example.com/realms/staff", "realm=staff", "client_id=me", "client_secret=KEY"], 64, "domain: write only the host"),
    "half a domain": (["salesforce", "domain=acme", "client_id=me", "client_secret=KEY"], 64, "such as example.my.salesforce.com"),
    "a URL as the host": (["generic-static", "key=KEY", "host=https://api.example.com/v1"], 64, "host: write only the host"),
    "a token URL without https": (["generic-client-credentials", "token_url=login.example.com/token", "client_id=me", "client_secret=KEY"], 64, "token_url: write the whole URL"),
    "a token URL in the clear": (["generic-client-credentials", "token_url=http://login.example.com/token", "client_id=me", "client_secret=KEY"], 64, "token_url: write the whole URL"),
    "an MCP server without https": (["mcp", "resource=mcp.example.com"], 64, "resource: write the whole URL"),
    "no installation": (["github-app", "client_id=Iv1.a", "key=KEY"], 64, "installation is missing"),
    "nothing to sign in with": (["google-user", "client_id=me", "client_secret=KEY"], 64, "login_scope is missing"),
    "a name that YAML reads otherwise": (["openai", "key=KEY", "--name", "a: b"], 64, "--name needs letters"),
    "a directory that is not there": (["openai", "key=KEY", "-o", "nowhere/sidekey.yaml"], 73, "nowhere: cannot write a file there"),
}


@pytest.mark.parametrize("what", WRONG)
def test_init_refuses_what_could_not_work_before_it_writes(place, files, what):
    words, status, says = WRONG[what]
    done = init(place, *[word.replace("KEY", files["api-key"]["file"]) if word != "a: b" else word for word in words])
    assert done.returncode == status and says in done.stderr.decode(), done
    assert not list(place.glob("*.yaml")) and "sk-real" not in done.stderr.decode()


def test_init_names_the_redirect_url_that_the_provider_must_know(place, files):
    secret = files["client-secret"]["file"]
    for words, url in ((["atlassian", "login_scope=read:me offline_access", "client_id=me"], "http://localhost:8765/callback"), (["github-user", "client_id=me"], "http://127.0.0.1/callback")):
        done = init(place, *words, f"client_secret={secret}", "-o", f"{words[0]}.yaml")
        assert done.returncode == 0 and f"register this redirect URL for your client: {url}\n".encode() in done.stderr, done
    assert b"redirect" not in init(place, "openai", f"key={files['api-key']['file']}", "-o", "o.yaml").stderr


def said(terminal, seen):
    """All that has come from the terminal until now."""
    try:
        while select.select([terminal], [], [], 0)[0]:
            seen += os.read(terminal, 1000)
    except OSError:  # the other end is closed
        pass
    return seen


class Asking:
    """sidekey init on a terminal."""
    def __init__(self, place, *args):
        self.mine, theirs = pty.openpty()
        self.child = subprocess.Popen([SIDEKEY, "init", *args], stdin=theirs, stdout=theirs, stderr=theirs, cwd=place, env=environment(place))
        os.close(theirs)
        self.seen, self.heard = bytearray(), 0

    def answer(self, question, answer):
        until(f"it asks for {question}", lambda: said(self.mine, self.seen)[self.heard:].split(b"\n")[-1].startswith(question.encode() + b" (") and self.seen.endswith(b": "))
        self.heard = len(self.seen)
        os.write(self.mine, answer.encode() + b"\n")

    def end(self):
        status = self.child.wait(30)
        said(self.mine, self.seen)
        os.close(self.mine)
        return status


def test_init_asks_on_a_terminal(place, files):
    asking = Asking(place, "keycloak", "--name", "sso", "-o", "k.yaml")
    for question, answer in (("client_id", "me"), ("client_secret", files["client-secret"]["file"]), ("domain", "sso.example.com"), ("realm", "staff"), ("host", "")):
        asking.answer(question, answer)
    assert asking.end() == 0, bytes(asking.seen)
    text = (place / "k.yaml").read_text()
    assert re.search(r'sso:\n    preset: keycloak\n    client_id: "me"', text) and 'realm: "staff"' in text


def test_init_asks_again_for_a_value_that_will_not_do(place, files):
    asking = Asking(place, "salesforce")
    for question, answer in (("client_id", ""), ("client_id", "me"), ("client_secret", files["client-secret"]["file"]), ("refresh_token", ""), ("login_scope", ""),
                             ("domain", "acme"), ("domain", "https://acme.my.salesforce.com/services"), ("domain", "https://acme.my.salesforce.com/")):
        asking.answer(question, answer)
    assert asking.end() == 0, bytes(asking.seen)
    assert 'domain: "acme.my.salesforce.com"' in (place / "sidekey.yaml").read_text()
    asking = Asking(place, "xero", "-o", "xero.yaml")
    for question, answer in (("client_id", "me"), ("client_secret", files["client-secret"]["file"]), ("refresh_token", ""), ("login_scope", ""), ("login_scope", "openid offline_access")):
        asking.answer(question, answer)
    assert asking.end() == 0, bytes(asking.seen)


def test_init_lists_the_presets_and_asks_again_for_what_will_not_do(place, files):
    asking = Asking(place)
    for question, answer in (("preset", "opnai"), ("preset", "openai"), ("key", ""), ("key", "sk-proj-pasted"), ("key", files["api-key"]["file"])):
        asking.answer(question, answer)
    assert asking.end() == 0, bytes(asking.seen)
    assert b"did you mean" in asking.seen and b"generic-static" in asking.seen and b"not the secret itself" in asking.seen
    assert "sk-proj" not in (place / "sidekey.yaml").read_text()
