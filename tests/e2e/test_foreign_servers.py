"""Authorization servers of others as judges: each one rotates, a keeper that dies costs no token, a dead token is known, and a new one in the file brings it back."""
import collections
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request

import harness
import pytest
from harness import PYTHON, ROOT, until
from test_clock import wall  # noqa: F401 (fixture)
from test_login import Login, Person

CLIENT = "sidekey"
SECRET = "a+b/c=d%e%41"  # what form encoding changes, and what looks as if it was encoded
ROTATIONS, LIFE = 25, 5  # after so many deaths of its keeper sidekey is started anew: the pauses between the starts of a keeper double

FAKES = ROOT / "tests/fakes"
SERVERS = {
    "node_oauth": ["node", FAKES / "foreign_node_oauth.mjs"],
    "jmondi": ["node", FAKES / "foreign_jmondi.mjs"],
    "authlib": [PYTHON, FAKES / "foreign_authlib.py"],
    "django": [PYTHON, FAKES / "foreign_django.py"],
    "glewlwyd": [PYTHON, FAKES / "foreign_glewlwyd.py"],
}
NEEDS = {  # what only `make test-world` installs
    "authlib": ("python3-authlib", lambda: importlib.util.find_spec("authlib") and importlib.util.find_spec("flask")),
    "django": ("python3-django-oauth-toolkit", lambda: importlib.util.find_spec("oauth2_provider")),
    "glewlwyd": ("glewlwyd", lambda: shutil.which("glewlwyd")),
}
SAYS_NOTHING = {"glewlwyd"}  # 400 with an empty body: what it means is known by counting
WORKS = {"body": set(SERVERS), "basic": {"django"}, "basic_raw": {"node_oauth", "jmondi", "glewlwyd"}}  # the rest may: a release reads Basic credentials as RFC 6749 §2.3.1 has them, or as letters


class Relay:
    """A port in front of another one on loopback: nothing is changed, and what was asked is kept."""

    def __init__(self, port):
        self.behind, self.asked = port, []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def sent(self):
        """{refresh token: how often it was sent}"""
        forms = [urllib.parse.parse_qs(body.decode()) for whole in self.asked for body in bodies(bytes(whole))]
        return collections.Counter(form["refresh_token"][0] for form in forms)

    def close(self):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                front, _ = self.listener.accept()
                back = socket.create_connection(("127.0.0.1", self.behind))
                self.asked.append(bytearray())
                threading.Thread(target=self._pump, args=(front, back, self.asked[-1]), daemon=True).start()
                threading.Thread(target=self._pump, args=(back, front, bytearray()), daemon=True).start()

    @staticmethod
    def _pump(source, sink, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def bodies(whole):
    """The bodies of the requests of one connection."""
    while b"\r\n\r\n" in whole:
        head, _, rest = whole.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?im)^content-length: *(\d+)", head)[1])
        yield rest[:length]
        whole = rest[length:]


class Server(harness.Process):
    """One of SERVERS, and the relay in front of its token endpoint."""

    def __init__(self, which, folder, **options):
        env = {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR), "NODE_NO_WARNINGS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        settings = {"client_id": CLIENT, "client_secret": SECRET, "folder": str(folder), **options}
        super().__init__(which, [*SERVERS[which], json.dumps(settings)], folder, env, subprocess.PIPE)
        ready = json.loads(self.wait_line(r"^\{.*\}$", self.out, 90)[0])  # many start at once
        self.control, token_url = ready["url"], urllib.parse.urlsplit(ready["token_url"])
        self.relay = Relay(token_url.port)
        self.token_url = f"http://127.0.0.1:{self.relay.port}{token_url.path}"
        self.ends, self.login = ready["ends"], ready.get("login")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path, **body):
        with self.opener.open(urllib.request.Request(self.control + path, json.dumps(body).encode()), timeout=harness.PATIENCE_S) as answer:
            return json.load(answer)

    def mint(self):
        return self.ask("/mint")["refresh_token"]


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.world] if name in NEEDS else []) for name in SERVERS])
def server(request, place):
    package, there = NEEDS.get(request.param, ("", lambda: True))
    if not there():
        pytest.skip(f"there is no package {package}")
    made = Server(request.param, place)
    yield made
    made.relay.close()
    made.stop()


@pytest.fixture
def config_for(make_config, server):
    """config_for(token, **more): a sidekey whose one credential is a grant of that server."""
    def make(token, **more):
        config = make_config()
        config["credentials"]["crm"].update(
            token_url=server.token_url, client_id=CLIENT, client_secret=make_config.write("client-secret", SECRET),
            refresh_token=make_config.write("refresh-token", token), forced_refresh_floor="1s", **more)
        return config
    return make


@pytest.fixture
def way(server):
    """How the secret reaches that server."""
    return {} if server.name in WORKS["basic"] else {"client_auth": "body"}


def credential(sidekey):
    """What /status says; nothing while there is no keeper."""
    status, text = sidekey.get_admin("/status")
    return json.loads(text)["credentials"][0] if status == 200 else collections.defaultdict(lambda: None)


def rotate(sidekey):
    return sidekey.get_admin("/refresh/crm", "POST")[0] == 200


def put(config, token):
    path = pathlib.Path(config["credentials"]["crm"]["refresh_token"]["file"])
    beside = path.with_suffix(".new")
    beside.write_text(token)
    beside.chmod(0o600)
    beside.rename(path)


@pytest.mark.slow
def test_twenty_five_rotations_and_a_keeper_that_is_killed_after_each(start, server, config_for, way):
    first = server.mint()
    config = config_for(first, **way)
    for lives in range(ROTATIONS // LIFE):
        sidekey = start(config)
        for _ in range(LIFE):
            until("a rotation", lambda: rotate(sidekey), seconds=90)
            sidekey.kill_child("keeper")
        until("the keeper is there", lambda: credential(sidekey)["state"] == "usable")
        if lives < ROTATIONS // LIFE - 1:
            assert sidekey.stop() == 0
            sidekey.expected_dead = True
    until("one more rotation", lambda: rotate(sidekey), seconds=90)
    sent, counts = server.relay.sent(), server.ask("/counts")
    assert set(sent.values()) == {1} and first in sent, sent.values()
    assert counts == {"rotations": len(sent), "reuse": 0} and len(sent) > ROTATIONS, counts


def test_a_dead_token_is_known_and_a_new_one_in_the_file_brings_it_back(start, server, config_for, way, wall):
    config = config_for(server.mint(), **way)
    counts = server.name in SAYS_NOTHING
    sidekey = start(config, env={key: value for key, value in wall.env.items() if "MONOTONIC" not in key} if counts else None)
    until("the first token", lambda: credential(sidekey)["generation"] == 1, seconds=30)
    server.ask("/end", refresh_token=config_token(config))
    passed = 0

    def verdict():
        nonlocal passed
        if counts and passed < 1200:  # five refusals over ten minutes
            passed += 100
            wall.jump(passed)
        return not rotate(sidekey) and credential(sidekey)["state"] == "reauth_required"
    assert not rotate(sidekey)
    assert not counts or credential(sidekey)["state"] != "reauth_required"
    until("the verdict", verdict, seconds=60)
    put(config, server.mint())
    until("the new token", lambda: credential(sidekey)["state"] == "usable" and credential(sidekey)["last_error"] is None, seconds=30)
    until("a rotation", lambda: rotate(sidekey), seconds=30)
    assert counts or set(server.relay.sent().values()) == {1}


def config_token(config):
    return pathlib.Path(config["credentials"]["crm"]["refresh_token"]["file"]).read_text()


def test_the_judge_counts_a_token_that_comes_twice(server):
    """Else the tests above could not fail.  Most of them end the grant then."""
    token = server.mint()
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": CLIENT, "client_secret": SECRET}

    def redeem(token):
        data = urllib.parse.urlencode({**form, "refresh_token": token}).encode()
        try:
            with server.opener.open(server.token_url, data, timeout=harness.PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            return json.loads(refused.read() or b'{"error": ""}')
    second = redeem(token)["refresh_token"]
    assert "error" in redeem(token) and server.ask("/counts") == {"rotations": 1, "reuse": 1}
    assert ("error" in redeem(second)) == server.ends
    assert max(server.relay.sent().values()) == 2


@pytest.mark.parametrize("auth_way", WORKS)
def test_a_client_secret_of_difficult_letters(start, server, config_for, auth_way):
    """What the server cannot read is a matter of configuration: the token lives, and the message has the way out."""
    token = server.mint()
    sidekey = start(config_for(token, client_auth=auth_way))
    until("an answer", lambda: credential(sidekey)["generation"] or credential(sidekey)["last_error"])
    now = credential(sidekey)
    if not now["generation"]:
        assert server.name not in WORKS[auth_way]
        assert now["last_error_class"] == "config" and now["state"] != "reauth_required" and set(server.relay.sent()) == {token}, now
        assert auth_way != "basic" or "client_auth: body, or basic_raw" in now["last_error"], now
        assert server.ask("/counts") == {"rotations": 0, "reuse": 0}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.mark.world
@pytest.mark.parametrize("which", ["django", "glewlwyd"])
def test_a_person_signs_in_there_the_token_rotates_and_logout_revokes_it(start, make_config, place, which):
    """Authorization code with PKCE, refresh, RFC 7009: no refresh token is live in the end."""
    package, there = NEEDS[which]
    if not there():
        pytest.skip(f"there is no package {package}")
    redirect_url = f"http://127.0.0.1:{free_port()}/callback"  # they compare it whole
    server = Server(which, place, redirect_uri=redirect_url)
    config = make_config()
    config["credentials"]["crm"] = {
        "grant": "refresh_token", "token_url": server.token_url, "client_id": CLIENT, "client_secret": make_config.write("client-secret", SECRET), "forced_refresh_floor": "1s",
        **({} if which in WORKS["basic"] else {"client_auth": "body"}), "login": {**server.login, "scope": "api", "redirect_url": redirect_url}}
    one = Login(place, config, "--no-browser")
    Person().go(one.url())
    assert "Signed in" in one.end()
    sidekey = start(config)
    until("a token", lambda: credential(sidekey)["state"] == "usable")
    assert server.ask("/live") == 1
    until("it rotates", lambda: rotate(sidekey) and server.ask("/counts")["rotations"] >= 1)
    assert server.ask("/live") == 1 and server.ask("/counts")["reuse"] == 0
    said = Login(place, config, command="logout", name="logout").end()
    assert said.endswith("is forgotten.\n"), said
    assert server.ask("/live") == 0 and server.ask("/counts")["reuse"] == 0
    until("no token", lambda: credential(sidekey)["state"] != "usable")
    server.relay.close()
    server.stop()
