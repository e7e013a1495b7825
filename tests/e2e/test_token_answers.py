"""Token requests that sidekey answers itself: real SDKs do their own OAuth dance against their providers' hosts, and none of them has a secret."""
import base64
import json
import ssl
import subprocess
import time
import urllib.parse

import pki as pki_maker
import pytest
from harness import PATIENCE_S, ROOT, SIDEKEY, environment, node, program_environment, run, until
from json_server import JsonHandler, serving

HOSTS = ["oauth2.googleapis.com", "www.googleapis.com", "login.microsoftonline.com", "graph.microsoft.com", "slack.com", "api.github.com", "api.openai.com", "api.anthropic.com",
         "login.salesforce.com", "x.my.salesforce.com"]
MICROSOFT = "https://login.microsoftonline.com"
TOKEN_PATHS = ("/token", "/oauth2/v4/token", "/t-1/oauth2/v2.0/token", "/api/oauth.v2.access", "/app/installations/42/access_tokens", "/services/oauth2/token")


class Provider(JsonHandler):
    """Every provider host: its API takes the real token alone."""

    def answer(self):
        body = self.body()
        host, path = self.headers["host"].removesuffix(":443"), self.path.partition("?")[0]
        self.server.seen.append((host, self.path, {k.lower(): v for k, v in self.headers.items()}, body.decode("latin-1")))
        given = {**{k.lower(): v for k, v in self.headers.items()}}
        token = given.get("authorization", "").removeprefix("Bearer ") or given.get("x-api-key", "")
        if path in TOKEN_PATHS:
            self.say(200, {"access_token": "of-somebody-else", "expires_in": 60})
        elif host == "login.microsoftonline.com":
            self.say(200, {"token_endpoint": f"{MICROSOFT}/t-1/oauth2/v2.0/token", "issuer": f"{MICROSOFT}/t-1/v2.0", "authorization_endpoint": f"{MICROSOFT}/t-1/oauth2/v2.0/authorize",
                           "jwks_uri": f"{MICROSOFT}/t-1/discovery/v2.0/keys", "tenant_discovery_endpoint": f"{MICROSOFT}/t-1/v2.0/.well-known/openid-configuration",
                           "metadata": [{"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net", "aliases": ["login.microsoftonline.com"]}]})
        elif not token.startswith("token-of-"):
            self.say(401, {"error": "invalid_token", "message": "no real token"})
        else:
            self.say(200, {"ok": True, "user": token, "total_count": 0, "repositories": [], "object": "list", "data": [{"id": token, "object": "model", "type": "model"}],
                           "has_more": False, "first_id": None, "last_id": None})

    do_GET = do_POST = answer


class TokenEndpoint(Provider):
    """Where sidekey gets the real tokens: /NAME gives token-of-NAME."""
    def answer(self):
        self.body()
        name = self.path.strip("/")
        if name == "dead":
            self.say(400, {"error": "invalid_grant"})
        elif name == "github":
            self.say(201, {"token": "token-of-github", "expires_at": "2099-01-01T00:00:00Z"})
        else:
            self.say(200, {"access_token": f"token-of-{name}", "expires_in": 3600, "instance_url": "https://x.my.salesforce.com", "id_token": "a.real.one"})
    do_GET = do_POST = answer


@pytest.fixture
def provider(pki):
    if not (pki / "providers.pem").exists():
        pki_maker.leaf(pki, "providers", HOSTS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "providers.pem", pki / "providers.key")
    with serving(TokenEndpoint, seen=[]) as tokens, serving(Provider, context, seen=[], tokens=tokens.url) as server:
        yield server


@pytest.fixture
def config(make_config, provider):
    pem = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout.decode()
    write = make_config.write
    google = write("google.json", json.dumps({"type": "service_account", "client_email": "robot@project.test", "private_key_id": "k1", "private_key": pem}))
    key, secret, refresh, rsa = write("api-key", "token-of-key"), write("a-secret", "secret"), write("a-refresh", "rt-1"), write("a-key.pem", pem)
    client = {"client_id": "app-1", "client_secret": secret}
    credentials = {
        "google": {"preset": "google-service-account", "key": google},
        "entra": {"preset": "entra", "tenant": "t-1", **client},
        "slack": {"preset": "slack", "refresh_token": refresh, **client},
        "github": {"preset": "github-app", "client_id": "4711", "key": rsa},
        "salesforce": {"preset": "salesforce", "domain": "x.my.salesforce.com", "refresh_token": refresh, **client},
    }
    for name, values in credentials.items():
        values |= {"token_url": f"{provider.tokens}/{name}", "placeholder": "auto"}
    credentials |= {name: {"preset": name, "key": key, "placeholder": "auto"} for name in ("openai", "anthropic")}
    where = f"127.0.0.1:{provider.server_address[1]}"
    return make_config(credentials=credentials, rules=[], network={"resolve": {f"{host}:443": where for host in HOSTS}})


@pytest.fixture
def sidekey(start, config, pki):
    del config["rules"]  # the presets' own
    return start(config, env={"SSL_CERT_FILE": str(pki / "ca.pem")})


@pytest.fixture
def told(sidekey, place):
    """What `sidekey env` prints for a program, key files and all."""
    keys = place / "keys"
    keys.mkdir()
    done = run([SIDEKEY, "env", "-c", sidekey.file, "--format", "json", "--proxy", sidekey.proxy_url, "--key-files", keys], environment(place))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


def ask(sidekey, host, path, body=None, **headers):
    """A token request by hand: (status, JSON)."""
    connection = sidekey.connection(host)
    text = body if isinstance(body, (str, bytes)) else urllib.parse.urlencode(body or {})
    connection.request("POST", path, text, {"content-type": "application/x-www-form-urlencoded", **{k.replace("_", "-"): v for k, v in headers.items()}})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text), answer.headers


def placeholders(told):
    names = ("AZURE_CLIENT_SECRET", "SLACK_BOT_TOKEN", "GH_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SF_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN")
    return [told[name] for name in names]


SDKS = {
    "google-auth-library": "token-of-google", "google-auth-library user": "token-of-google", "google-auth-library own JWT": "token-of-google", "@azure/identity": "token-of-entra", "@azure/identity certificate": "token-of-entra",
    "@slack/web-api": "token-of-slack", "@octokit/auth-app": "token-of-github", "@octokit/core": "token-of-github", "openai": "token-of-key", "@anthropic-ai/sdk": "token-of-key",
}


def user_file(told, place):
    path = place / "user.json"
    placeholder = told["CLOUDSDK_AUTH_ACCESS_TOKEN"]
    path.write_text(json.dumps({"type": "authorized_user", "client_id": "any", "client_secret": placeholder, "refresh_token": placeholder}))
    return str(path)


@pytest.mark.parametrize("sdk", SDKS)
def test_an_sdk_does_its_own_dance_without_a_secret(sidekey, provider, told, place, sdk):
    env = program_environment(sidekey, **told, USER_FILE=user_file(told, place))
    done = run([node(24), ROOT / "tests/e2e/sdks.mjs", sdk], env, seconds=4 * PATIENCE_S)
    assert done.stdout.decode().strip() == SDKS[sdk], (done.stdout, done.stderr, provider.seen)
    check_nothing_left(provider, told)


def check_nothing_left(provider, told):
    """No token request and no placeholder came to a provider."""
    for host, path, headers, body in provider.seen:
        assert "authorization" not in headers or not headers["authorization"].startswith("Bearer ey"), headers
        assert path.partition("?")[0] not in TOKEN_PATHS, (host, path, body)
        assert not any(p in json.dumps([path, headers, body]) for p in placeholders(told)), (host, path, headers)


def test_pythons_google_auth_does_its_own_dance_without_a_secret(sidekey, provider, told, place):
    script = """
import google.auth, google.auth.transport.requests, json
credentials, _ = google.auth.default(scopes=['https://www.googleapis.com/auth/drive.readonly'])
session = google.auth.transport.requests.AuthorizedSession(credentials)
print(session.get('https://www.googleapis.com/drive/v3/about').json()['user'])
"""
    for path in (told["GOOGLE_APPLICATION_CREDENTIALS"], user_file(told, place)):
        env = program_environment(sidekey, **{**told, "GOOGLE_APPLICATION_CREDENTIALS": path})
        done = run(["/usr/bin/python3", "-c", script], env, seconds=4 * PATIENCE_S)
        assert done.stdout == b"token-of-google\n", (done.stdout, done.stderr)
    check_nothing_left(provider, told)


def test_pythons_google_auth_sends_the_api_a_jwt_of_its_own(sidekey, provider, told):
    """As Google's generated client libraries do with the key file of a service account."""
    script = """
import google.auth, google.auth.jwt, google.auth.transport.requests
credentials, _ = google.auth.default()
own = google.auth.jwt.Credentials.from_signing_credentials(credentials, 'https://www.googleapis.com/')
session = google.auth.transport.requests.AuthorizedSession(own)
print(session.get('https://www.googleapis.com/drive/v3/about').json()['user'])
"""
    done = run(["/usr/bin/python3", "-c", script], program_environment(sidekey, **told), seconds=4 * PATIENCE_S)
    assert done.stdout == b"token-of-google\n", (done.stdout, done.stderr)
    check_nothing_left(provider, told)


def test_a_jwt_of_its_own_counts_by_its_signature_its_issuer_and_its_end(sidekey, provider, told, place):
    other_key, own_key = place / "other.pem", place / "own.pem"
    other_key.write_bytes(subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout)
    own_key.write_text(json.loads(open(told["GOOGLE_APPLICATION_CREDENTIALS"], encoding="utf-8").read())["private_key"])
    now = int(time.time())

    def sends(pem=own_key, host="www.googleapis.com", alg="RS256", **claims):
        jwt = signed(pem, {"alg": alg, "typ": "JWT"}, {"iss": ACCOUNT, "sub": ACCOUNT, "aud": f"https://{host}/", "iat": now, "exp": now + 600, **claims})
        status, _, body = sidekey.request(path="/drive/v3/about", host=host, headers={"Authorization": f"Bearer {jwt}"})
        return status, json.loads(body).get("reason")
    assert sends() == (200, None) and provider.seen[-1][2]["authorization"] == "Bearer token-of-google"
    for wrong in ({"pem": other_key}, {"exp": now - 4000}, {"exp": None}, {"iss": "nobody" + ACCOUNT}, {"alg": "none"}, {"alg": "HS256"}, {"host": "slack.com"}):
        before = len(provider.seen)
        status, reason = sends(**wrong)
        if wrong != {"host": "slack.com"}:
            assert (status, reason) == (403, "placeholder_missing") and len(provider.seen) == before, (wrong, status, reason)
        else:  # its rule is for other paths: the JWT is refused there as the placeholder would be
            assert status == 403 and len(provider.seen) == before, (wrong, status, reason)


def test_what_is_answered_is_the_placeholder_and_what_the_real_response_has_beside_it(sidekey, told):
    placeholder = told["SF_ACCESS_TOKEN"]
    asked = {"grant_type": "refresh_token", "refresh_token": placeholder, "client_id": "app-1"}
    status, answer, headers = ask(sidekey, "x.my.salesforce.com", "/services/oauth2/token", asked)
    assert status == 200 and answer["access_token"] == placeholder and answer["token_type"] == "Bearer" and answer["expires_in"] > 86400
    assert answer["instance_url"] == "https://x.my.salesforce.com" and "id_token" not in answer and "refresh_token" not in answer
    assert headers["cache-control"] == "no-store" and headers["content-type"].startswith("application/json")
    basic = "Basic " + base64.b64encode(f"app-1:{urllib.parse.quote(placeholder)}".encode()).decode()
    status, answer, _ = ask(sidekey, "login.salesforce.com", "/services/oauth2/token", {"grant_type": "client_credentials"}, authorization=basic)
    assert status == 200 and answer["access_token"] == placeholder
    status, answer, _ = ask(sidekey, "login.salesforce.com", "/services/oauth2/token", json.dumps(asked), content_type="application/json")
    assert status == 200 and answer["access_token"] == placeholder


def test_another_clients_token_request_is_forwarded_whole_or_refused_as_others_says(sidekey, provider, config, pki):
    asked = {"grant_type": "refresh_token", "refresh_token": "a-real-one", "client_secret": "a real secret"}
    for body in (urllib.parse.urlencode(asked), "a=" + "x" * 60_000):
        status, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", body, expect="100-continue")
        assert status == 200 and answer["access_token"] == "of-somebody-else"
        host, path, headers, got = provider.seen[-1]
        assert (host, path, got) == ("oauth2.googleapis.com", "/token", body) and "authorization" not in headers
    status, _, _ = ask(sidekey, "login.microsoftonline.com", "/other/path", asked)
    assert status == 200 and provider.seen[-1][1] == "/other/path", "a rule that answers speaks of its own requests alone"
    config["rules"] = [{"name": "answers", "match": {"host": "oauth2.googleapis.com", "paths": ["/token"]}, "credential": "google", "answer": "token"}]
    sidekey.file.write_text(json.dumps(config))
    assert sidekey.reload()[0] == 200
    until("the new rules", lambda: ask(sidekey, "oauth2.googleapis.com", "/token", asked)[0] == 403)  # the answer comes before the new processes
    before = len(provider.seen)
    status, problem, _ = ask(sidekey, "oauth2.googleapis.com", "/token", asked)
    assert status == 403 and problem["reason"] == "placeholder_missing" and len(provider.seen) == before


def signed(pem, header, claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")
    text = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", pem], input=text, capture_output=True, check=True)
    return (text + b"." + part(done.stdout)).decode()


BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCOUNT = "google@sidekey.iam.gserviceaccount.com"


def test_what_is_ours_and_wrong_is_an_oauth_error_and_never_leaves(sidekey, provider, told, place):
    own, slack = told["CLOUDSDK_AUTH_ACCESS_TOKEN"], told["SLACK_BOT_TOKEN"]
    other_key = place / "other.pem"
    other_key.write_bytes(subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout)
    key_file = json.loads(open(told["GOOGLE_APPLICATION_CREDENTIALS"], encoding="utf-8").read())
    own_key = place / "own.pem"
    own_key.write_text(key_file["private_key"])
    claims = {"iss": ACCOUNT, "exp": int(time.time()) + 600, "aud": "x"}

    def bearer(pem, alg="RS256", **more):
        return {"grant_type": BEARER, "assertion": signed(pem, {"alg": alg}, {**claims, **more})}
    form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": own})
    wrong = [
        ({"grant_type": "password", "client_secret": own}, {}, 400, "unsupported_grant_type"),
        ({"refresh_token": own}, {}, 400, "invalid_request"),
        ("{not json", {"content_type": "application/json"}, 400, "invalid_request"),
        ("[1]", {"content_type": "application/json"}, 400, "invalid_request"),
        (form + "&refresh_token=x", {}, 400, "invalid_request"),
        (form, {"content_type": "text/plain"}, 400, "invalid_request"),
        (form, {"content_encoding": "gzip"}, 400, "invalid_request"),
        (bearer(other_key), {}, 400, "invalid_grant"),
        (bearer(own_key, exp=int(time.time()) - 4000), {}, 400, "invalid_grant"),
        (bearer(own_key, alg="none"), {}, 400, "invalid_grant"),
        (bearer(own_key, target_audience="https://service.example"), {}, 400, "invalid_request"),
    ]
    for body, headers, status, code in wrong:
        got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", body, **headers)
        assert (got, answer.get("error")) == (status, code), (body, got, answer)
        assert own not in json.dumps(answer)
    stray = [{"grant_type": "refresh_token", "refresh_token": slack}, {"grant_type": "x", "nested": slack}, {"grant_type": "refresh_token", "refresh_token": own, "client_secret": slack}]
    for body in stray[:2]:
        got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", body)
        assert got == 403 and answer["reason"] == "placeholder_stray", (body, answer)
    got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", json.dumps({"a": [{"b": slack}]}), content_type="application/json")
    assert got == 403 and answer["reason"] == "placeholder_stray"
    got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", {"grant_type": "refresh_token", "refresh_token": "real"}, x_api_key=slack)
    assert got == 403 and answer["reason"] == "placeholder_stray"
    got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", "a=" + "x" * 70_000)
    assert got == 413 and answer["reason"] == "token_request_too_large"
    assert not provider.seen, "nothing of all that left"
    got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", bearer(own_key))
    assert got == 200 and answer["access_token"] == own
    got, answer, _ = ask(sidekey, "oauth2.googleapis.com", "/token", bearer(other_key, iss="somebody@real.iam.gserviceaccount.com"))
    assert got == 200 and answer["access_token"] == "of-somebody-else", "another client's own assertion"


def test_a_dead_grant_is_told_to_the_sdk(start, config, provider, pki):
    del config["rules"]
    config["credentials"] = {"slack": {**config["credentials"]["slack"], "token_url": f"{provider.tokens}/dead"}}
    sidekey = start(config, env={"SSL_CERT_FILE": str(pki / "ca.pem")})
    done = run([SIDEKEY, "env", "-c", sidekey.file, "--format", "json", "--proxy", sidekey.proxy_url], environment(sidekey.folder))
    placeholder = json.loads(done.stdout)["SLACK_BOT_TOKEN"]
    status, answer, _ = ask(sidekey, "slack.com", "/api/oauth.v2.access", {"grant_type": "refresh_token", "refresh_token": placeholder})
    assert status == 400 and answer["error"] == "invalid_grant" and "invalid_grant" in answer["error_description"], answer
    assert not provider.seen


def test_a_body_that_does_not_come_has_its_time(start, config, pki):
    del config["rules"]
    sidekey = start(config | {"limits": {**config["limits"], "head": "1s"}}, env={"SSL_CERT_FILE": str(pki / "ca.pem")})
    answer = sidekey.raw(b"POST /token HTTP/1.1\r\nHost: oauth2.googleapis.com\r\nContent-Length: 50\r\n\r\ngrant_type=", "oauth2.googleapis.com")
    assert answer.startswith(b"HTTP/1.1 408 ") and b"body_timeout" in answer, answer


def test_run_writes_the_key_files_and_sets_their_variables(config, place, pki):
    del config["rules"]
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    script = 'stat -c %a "$GOOGLE_APPLICATION_CREDENTIALS" "$PRIVATE_KEY_PATH" && cat "$GOOGLE_APPLICATION_CREDENTIALS" && grep -c BEGIN "$AZURE_CLIENT_CERTIFICATE_PATH"'
    done = run([SIDEKEY, "run", "-c", path, "--", "sh", "-c", script], environment(place, {"SSL_CERT_FILE": str(pki / "ca.pem")}))
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert said.startswith("600\n600\n{") and said.endswith("}\n2\n") and ACCOUNT in said and "robot@project.test" not in said


def test_why_and_check_know_rules_that_answer(config, place):
    path = place / "why.yaml"
    del config["rules"]
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "why", "-c", path, "POST", "https://oauth2.googleapis.com/token"], environment(place))
    assert done.returncode == 0 and b"sidekey answers token requests with the placeholder of google" in done.stdout, (done.stdout, done.stderr)
    for wrong, why in (({"inject": [{"in": "userinfo"}]}, b"inject cannot be used with answer: token"), ({"credential": "key"}, b"needs a credential with placeholder: auto")):
        rule = {"match": {"host": "a.test"}, "credential": "google", "answer": "token", **wrong}
        credentials = {**config["credentials"], "key": {"grant": "static", "token": {"env": "X"}}}
        path.write_text(json.dumps({**config, "credentials": credentials, "rules": [rule]}))
        done = run([SIDEKEY, "check", "-c", path], environment(place))
        assert done.returncode == 78 and why in done.stderr, done.stderr
