"""network.parent_proxy: APIs and token endpoints are reached through a CONNECT proxy or a SOCKS5 server, and a failure there names it."""
import base64
import contextlib
import json
import re
import socket
import threading
import urllib.parse

import pytest
import wire
from harness import API, PATIENCE_S, until

LOGIN = "login.sidekey.test"
USER, PASSWORD = "me", "pa:ss word"


def take(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise OSError("the client left")
        data += piece
    return data


class Parent:
    """Writes down who was asked for, and leads there by its own table of names.  login: what it wants to hear."""

    def __init__(self, kind, places, login=None):
        self.places, self.login, self.asked = places, login, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'socks5h' if kind == 'socks' else 'http'}://127.0.0.1:{self.port}"
        self.open = self.socks if kind == "socks" else self.connect
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.run, args=(self.listener.accept()[0],), daemon=True).start()

    def connect(self, sock):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += take(sock, 1)
        target = head.split(b" ")[1].decode()
        self.asked.append(target)
        given = re.search(rb"(?im)^proxy-authorization: Basic (\S+)\r$", head)
        if self.login and (not given or base64.b64decode(given[1]).decode() != ":".join(self.login)):
            sock.sendall(b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return None
        return target, b"HTTP/1.1 200 Here\r\nContent-Length: 7\r\n\r\n"

    def socks(self, sock):
        methods = take(sock, take(sock, 2)[1])
        if self.login:
            sock.sendall(b"\5\2" if 2 in methods else b"\5\xff")
            user = take(sock, take(sock, 2)[1]).decode()
            good = (user, take(sock, take(sock, 1)[0]).decode()) == self.login
            sock.sendall(b"\1\0" if good else b"\1\1")
            if not good:
                self.asked.append("refused")
                return None
        else:
            sock.sendall(b"\5\0")
        assert take(sock, 4) == b"\5\1\0\3", "the name as it is"
        host = take(sock, take(sock, 1)[0]).decode()
        target = f"{host}:{int.from_bytes(take(sock, 2), 'big')}"
        self.asked.append(target)
        return target, b"\5\0\0\1\0\0\0\0\0\0"

    def run(self, sock):
        with contextlib.suppress(OSError), sock:
            sock.settimeout(PATIENCE_S)
            if found := self.open(sock):
                with socket.create_connection(("127.0.0.1", self.places[found[0]])) as there:
                    sock.sendall(found[1])
                    threading.Thread(target=self.pump, args=(there, sock), daemon=True).start()
                    self.pump(sock, there)

    @staticmethod
    def pump(source, to):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                to.sendall(piece)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def token_tls(auth, pki):
    """The token endpoint of the authorization server behind TLS: its port."""
    there = urllib.parse.urlsplit(auth.token_url)

    def pass_on(peer):
        with socket.create_connection((there.hostname, there.port)) as server:
            request = peer.read()
            server.sendall(request.head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + request.body)
            while piece := server.recv(65536):
                peer.send(piece)
    server = wire.Server(pass_on, wire.server_context(pki))
    yield server.port
    server.close()


@pytest.fixture
def parent(auth, token_tls):
    made = []

    def make(kind, login=None):
        made.append(Parent(kind, {f"{API}:443": auth.api_port, f"{LOGIN}:443": token_tls}, login))
        return made[-1]
    yield make
    for one in made:
        one.close()


def network(parent, make_config, login=True, **more):
    way = {"url": parent.url}
    if login:
        way |= {"username": USER, "password": make_config.write("parent-password", PASSWORD)}
    return {"parent_proxy": way, **more}


@pytest.mark.parametrize("kind", ["http", "socks"])
@pytest.mark.parametrize("login", [None, (USER, PASSWORD)])
def test_a_request_goes_by_the_parent(parent, make_config, start, kind, login):
    one = parent(kind, login)
    sidekey = start(make_config(network=network(one, make_config, bool(login))))
    status, _, body = sidekey.request()
    assert status == 200, body
    assert one.asked == [f"{API}:443"]


@pytest.mark.parametrize("kind", ["http", "socks"])
def test_a_refused_login_names_the_parent(parent, make_config, start, kind):
    one = parent(kind, (USER, "another"))
    sidekey = start(make_config(network=network(one, make_config)))
    sock, head = sidekey.tunnel(f"{API}:443")
    with sock:
        said = head + sock.recv(65536)
    assert said.startswith(b"HTTP/1.1 502") and b"connection_refused" in said, said
    assert f"parent proxy {one.url}: it refused the login".encode() in said
    assert PASSWORD.encode() not in said and all(PASSWORD.encode() not in text for text in sidekey.logs().values())


def test_a_parent_that_is_down_is_named(parent, make_config, start):
    one = parent("http")
    one.close()
    sidekey = start(make_config(network=network(one, make_config, False)))
    sock, head = sidekey.tunnel(f"{API}:443")
    with sock:
        said = head + sock.recv(65536)
    assert said.startswith(b"HTTP/1.1 502") and f"parent proxy {one.url}: connection refused".encode() in said, said


def test_what_no_proxy_and_resolve_name_is_dialled_directly(auth, parent, make_config, start):
    one = parent("http")
    sidekey = start(make_config(network=network(one, make_config, False, resolve={f"{API}:443": f"127.0.0.1:{auth.api_port}"}, no_proxy=["10.0.0.0/8"])))
    assert sidekey.request()[0] == 200
    sock, head = sidekey.tunnel("10.1.2.3:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 403"), head
    assert one.asked == []


@pytest.mark.parametrize("kind", ["http", "socks"])
def test_tokens_are_asked_for_by_the_parent_and_its_refusal_costs_no_grant(auth, parent, pki, make_config, start, kind):
    one = parent(kind, (USER, "another"))
    config = make_config(network=network(one, make_config, resolve={f"{API}:443": f"127.0.0.1:{auth.api_port}"}), limits={"drain": "3s", "token_wait": "2s"})
    config["credentials"]["crm"] |= {"token_url": f"https://{LOGIN}{urllib.parse.urlsplit(auth.token_url).path}", "tls": {"ca_file": str(pki / "ca.pem")},
                                     "required": False}
    sidekey = start(config)
    status, headers, body = sidekey.request()
    assert status == 503 and f"parent proxy {one.url}" in json.loads(body)["detail"], (status, body)
    assert one.asked and set(one.asked) <= {f"{LOGIN}:443", "refused"}
    one.login = (USER, PASSWORD)
    until("a token came by the parent", lambda: sidekey.request()[0] == 200)
    assert one.asked[-1] == f"{LOGIN}:443"
