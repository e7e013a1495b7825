"""Chained credentials: a credential whose request is made of the token of another one."""
import asyncio
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import API, SIDEKEY, AsyncClient, environment, run, until

ECHO = "/open/v2/echo"


class TokenEndpoint(BaseHTTPRequestHandler):
    """/NAME gives token-of-NAME-N to who presents the newest token of its parent; server.dead has the names that refuse."""
    protocol_version = "HTTP/1.1"
    PARENTS = {"idp": None, "sts": "idp", "api": "sts"}

    def do_POST(self):
        params = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers.get("content-length", 0))).decode()))
        name, server = self.path.strip("/"), self.server
        with server.lock:
            parent = self.PARENTS[name]
            right = name not in server.dead and (parent is None or server.given.get(parent) in (params.get("subject_token"), params.get("client_secret"), params.get("client_assertion")))
            server.asked.append((name, right))
            if right:
                server.given[name] = f"token-of-{name}-{len(server.asked)}"
            self.say(200 if right else 400, {"access_token": server.given[name], "expires_in": 3600} if right else {"error": "invalid_client"})

    def say(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def tokens():
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint)
    server.asked, server.given, server.dead, server.lock = [], {}, set(), threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


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
