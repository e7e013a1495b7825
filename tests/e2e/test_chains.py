"""Chained credentials: a credential whose request is made of the token of another one."""
import asyncio
import base64
import json
import threading
import time
import urllib.parse

import pytest
from harness import API, SIDEKEY, AsyncClient, environment, run, until
from json_server import JsonHandler, serving

ECHO = "/open/v2/echo"


class TokenEndpoint(JsonHandler):
    """/NAME gives token-of-NAME-N to who presents the newest token of its parent; server.dead has the names that refuse."""
    PARENTS = {"idp": None, "sts": "idp", "api": "sts"}

    def do_POST(self):
        params = dict(urllib.parse.parse_qsl(self.body().decode()))
        name, server = self.path.strip("/"), self.server
        with server.lock:
            parent = self.PARENTS[name]
            right = name not in server.dead and (parent is None or server.given.get(parent) in (params.get("subject_token"), params.get("client_secret"), params.get("client_assertion")))
            server.asked.append((name, right))
            if right:
                server.given[name] = f"token-of-{name}-{len(server.asked)}"
            if right and server.with_id_token and name == "idp":
                claims = {"aud": "me", "exp": int(time.time()) + 3600, "sub": "alice"}
                server.given[name] = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)) + ".eA"
                self.say(200, {"access_token": "not-this-one", "id_token": server.given[name], "expires_in": 3600, "refresh_token": "rt-2"})
                return
            self.say(200 if right else 400, {"access_token": server.given[name], "expires_in": 3600} if right else {"error": "invalid_client"})


@pytest.fixture
def tokens():
    with serving(TokenEndpoint, asked=[], given={}, dead=set(), with_id_token=False, lock=threading.Lock()) as server:
        yield server


@pytest.fixture
def config(make_config, tokens, pki):
    config = make_config()
    config["credentials"] = {
        "api": {"grant": "client_credentials", "token_url": f"{tokens.url}/api", "client_id": "me", "assertion": {"token": {"credential": "sts"}}},
        "sts": {"grant": "token_exchange", "token_url": f"{tokens.url}/sts", "subject_token": {"credential": "idp"}},
        "idp": {"grant": "client_credentials", "token_url": f"{tokens.url}/idp", "client_id": "me", "client_secret": make_config.write("idp-secret", "secret")},
    }
    config["rules"] = [{"match": {"host": API}, "credential": "api", "tls": {"ca_file": str(pki / "ca.pem")}}]
    return config


def states(sidekey):
    return {c["name"]: c for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]}


def test_each_link_is_refreshed_once_for_many_requests_and_status_shows_the_chain(start, config, tokens):
    sidekey = start(config)

    async def scene():
        clients = [AsyncClient(sidekey) for _ in range(20)]
        answers = await asyncio.gather(*[client.request("GET", ECHO) for client in clients])
        for client in clients:
            client.close()
        return answers
    for status, _, body in asyncio.run(scene()):
        assert status == 200 and json.loads(body)["headers"]["authorization"] == f"Bearer {tokens.given['api']}"
    assert sorted(tokens.asked) == [("api", True), ("idp", True), ("sts", True)]
    known = states(sidekey)
    assert known["api"]["chain"] == ["sts", "idp"] and known["sts"]["chain"] == ["idp"] and "chain" not in known["idp"]
    done = run([SIDEKEY, "status", "-c", sidekey.file, "--admin", "{}:{}".format(*sidekey.admin)], environment(sidekey.folder))
    assert done.returncode == 0 and b"sts <- idp" in done.stdout, done.stdout


def test_a_dead_parent_is_named_as_the_reason_and_its_return_is_enough(start, config, tokens):
    tokens.dead.add("idp")
    sidekey = start(config)
    status, _, body = sidekey.request(path=ECHO)
    problem = json.loads(body)
    assert status == 503 and problem["credential"] == "api" and "credential sts: credential idp: " in problem["detail"] and "invalid_client" in problem["detail"], problem
    assert {name for name, _ in tokens.asked} == {"idp"}, "nobody asks with a token that is not there"
    assert "credential idp" in states(sidekey)["api"]["last_error"]
    tokens.dead.clear()
    assert sidekey.get_admin("/reset/idp", "POST")[0] == 200
    until("the chain has healed", lambda: sidekey.request(path=ECHO)[0] == 200)


def test_client_secrets_can_be_tokens_too(start, config, tokens):
    config["credentials"]["api"] = {"grant": "client_credentials", "token_url": f"{tokens.url}/api", "client_id": "me", "client_auth": "body", "client_secret": {"credential": "sts"}}
    status, _, body = start(config).request(path=ECHO)
    assert status == 200 and json.loads(body)["headers"]["authorization"] == f"Bearer {tokens.given['api']}"


def test_the_id_token_of_the_parent_is_what_the_child_presents(start, config, tokens, make_config):
    """A person signs in at idp, and its ID token is exchanged."""
    config["credentials"]["idp"] |= {"grant": "refresh_token", "refresh_token": make_config.write("first", "rt-1"), "token": "id_token"}
    tokens.with_id_token = True
    status, _, body = start(config).request(path=ECHO)
    assert status == 200 and json.loads(body)["headers"]["authorization"] == f"Bearer {tokens.given['api']}"
    assert tokens.given["idp"].startswith("ey") and sorted(tokens.asked) == [("api", True), ("idp", True), ("sts", True)]


WRONG = {
    "a cycle": ({"idp": {"grant": "token_exchange", "token_url": "https://x.test/", "subject_token": {"credential": "sts"}}}, b"is made of its own token"),
    "itself": ({"sts": {"grant": "token_exchange", "token_url": "https://x.test/", "subject_token": {"credential": "sts"}}}, b"is made of its own token"),
    "nobody": ({"sts": {"grant": "token_exchange", "token_url": "https://x.test/", "subject_token": {"credential": "ipd"}}}, b'there is no credential "ipd": did you mean "idp"?'),
    "two sources": ({"sts": {"grant": "token_exchange", "token_url": "https://x.test/", "subject_token": {"credential": "idp", "env": "X"}}}, b"needs exactly one of"),
    "a refresh token": ({"sts": {"grant": "refresh_token", "token_url": "https://x.test/", "client_auth": "none", "refresh_token": {"credential": "idp"}}}, b"unknown key"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_chain_that_cannot_work_is_a_configuration_error(config, place, what):
    changed, why = WRONG[what]
    path = place / "wrong.yaml"
    path.write_text(json.dumps({**config, "credentials": {**config["credentials"], **changed}}))
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    assert done.returncode == 78 and why in done.stderr, done.stderr


class Identity(JsonHandler):
    """Where machines get a token that says who they are, as GitHub Actions, GCE and Azure (IMDS) answer."""

    def do_GET(self):
        given, path = {k.lower(): v for k, v in self.headers.items()}, self.path
        right = {
            "/actions?api-version=2&audience=sts": given.get("authorization") == "Bearer runner-token",
            "/computeMetadata/v1/instance/service-accounts/default/identity?audience=sts": given.get("metadata-flavor") == "Google" and "authorization" not in given,
            "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=sts": given.get("metadata") == "true",
        }.get(path)
        text = {"/actions": json.dumps({"count": 1, "value": "identity-of-actions"}), "/compute": "identity-of-gce\n", "/metadat": json.dumps({"access_token": "identity-of-azure"})}[path[:8]]
        self.server.asked.append((path, right))
        body = text.encode() if right else b"no"
        self.send_response(200 if right else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Exchange(TokenEndpoint):
    def do_POST(self):
        params = dict(urllib.parse.parse_qsl(self.body().decode()))
        self.say(200, {"access_token": "for-" + params["subject_token"], "expires_in": 3600})


@pytest.fixture
def identity():
    with serving(Exchange) as exchange, serving(Identity, asked=[], exchange=f"{exchange.url}/") as server:
        server.port = server.server_address[1]
        yield server


METADATA = "http://169.254.169.254"
FETCHED = {
    "actions": {"url_env": "ACTIONS_ID_TOKEN_REQUEST_URL", "query": "audience=sts", "bearer": {"env": "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}, "pointer": "/value"},
    "gce": {"url": f"{METADATA}/computeMetadata/v1/instance/service-accounts/default/identity?audience=sts"},
    "azure": {"url": f"{METADATA}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=sts", "pointer": "/access_token"},
}


@pytest.mark.parametrize("where", FETCHED)
def test_a_subject_token_is_fetched_where_machines_get_theirs(start, make_config, identity, pki, where):
    config = make_config()
    config["credentials"] = {"crm": {"grant": "token_exchange", "token_url": identity.exchange, "subject_token": {"http": FETCHED[where]}}}
    config["rules"] = [{"match": {"host": API}, "credential": "crm", "tls": {"ca_file": str(pki / "ca.pem")}}]
    config["network"]["resolve"]["169.254.169.254:80"] = f"127.0.0.1:{identity.port}"
    env = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{identity.port}/actions?api-version=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-token"}
    status, _, body = start(config, env=env).request(path=ECHO)
    assert status == 200 and json.loads(body)["headers"]["authorization"] == f"Bearer for-identity-of-{where}", (body, identity.asked)
    assert identity.asked and all(right for _, right in identity.asked)


def test_an_identity_that_cannot_be_fetched_is_the_reason(start, make_config, identity, pki):
    config = make_config()
    http = {"url": f"http://127.0.0.1:{identity.port}/actions?api-version=2&audience=sts"}
    config["credentials"] = {"crm": {"grant": "token_exchange", "token_url": identity.exchange, "subject_token": {"http": http}}}
    config["rules"] = [{"match": {"host": API}, "credential": "crm", "tls": {"ca_file": str(pki / "ca.pem")}}]
    status, _, body = start(config).request(path=ECHO)
    assert status == 503 and "HTTP 403" in json.loads(body)["detail"], body


WRONG_HTTP = {
    "plain http": ({"url": "http://example.com/"}, b"needs https"),
    "no url": ({"pointer": "/x"}, b"needs one of url and url_env"),
    "an unknown key": ({"url": "https://x.test/", "header": "x"}, b"http has url"),
    "a command": ({"url": "https://x.test/", "bearer": {"command": ["x"]}}, b"bearer must be"),
    "a bad pointer": ({"url": "https://x.test/", "pointer": "x"}, b"a JSON pointer must begin with /"),
}


@pytest.mark.parametrize("what", WRONG_HTTP)
def test_a_source_that_cannot_work_is_a_configuration_error(make_config, place, what):
    http, why = WRONG_HTTP[what]
    path = place / "wrong.yaml"
    path.write_text(json.dumps(make_config(credentials={"x": {"grant": "token_exchange", "token_url": "https://x.test/", "subject_token": {"http": http}}}, rules=[])))
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    assert done.returncode == 78 and why in done.stderr, done.stderr
