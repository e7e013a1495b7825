"""What real clients send and peers of ours take: https:// in a request line, protocols to switch to, methods, and the duties of an intermediary."""
import base64
import contextlib
import datetime
import email.utils
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile

import harness
import pytest
import wire
from harness import API
from wire import TOKEN, field_of, read_message, status_of

WORD = "client-password-41c7"
GET = f"GET https://{API}/a?b HTTP/1.1\r\nHost: {API}\r\n"
BARE = "bare.sidekey.test"  # no credential goes there


class Scene:
    """One upstream; a sidekey with a port and a socket for everybody, one that opens the port for https://, one that asks for passwords."""

    def __init__(self, folder, pki):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="skr-"))
        self.socket = str(self.folder / "s")
        self.world = wire.World(folder / "real", pki, "real")
        self.world.secrets.append(WORD)
        self.upstream = self.world.server(self.script)
        self.answer = wire.OK
        base = self.world.config(self.upstream, hosts=(API,), listen={"socket": self.socket}, resolve={f"{BARE}:443": f"127.0.0.1:{self.upstream.port}"})
        base["rules"].append(self.world.rule(BARE, credential=None))
        self.open = self.world.start(base)
        self.wide = self.start(base, clients={"absolute_https": True})
        self.known = self.start(base, clients={"app": {"password": self.world.secret("app", WORD), "rules": [API]}})
        self.upgrades = self.start(base, rules=[{**base["rules"][0], "upgrade": ["spdy/3.1", "tcp", "websocket"]}])

    def start(self, base, **changes):
        """Another one, with a CA of its own."""
        listen = {key: value for key, value in base["listen"].items() if key != "socket"}
        place = self.world.folder / str(len(self.world.running))
        for folder, mode in ((place, 0o755), (place / "state", 0o700), (place / "ca", 0o755)):
            folder.mkdir(mode=mode)
        return self.world.start({**base, "listen": listen, "ca": {"publish": str(place / "ca")}, "store": {**base["store"], "file": str(place / "state")}, **changes})

    def script(self, peer):
        while request := peer.read():
            peer.send(self.answer)
            if b" 101 " in self.answer[:20]:
                while piece := peer.sock.recv(65536):
                    peer.send(b"<" + piece + b">")
                return

    def close(self):
        self.world.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder, pki)
    yield made
    made.close()


def to_port(sidekey):
    return socket.create_connection(sidekey.proxy, timeout=harness.PATIENCE_S)


def to_socket(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(harness.PATIENCE_S)
    sock.connect(path)
    return sock


def ask(sock, raw, to_head=False):
    """(status, head, body)"""
    with sock:
        sock.sendall(raw.encode("latin-1"))
        head, body = read_message(sock, to_head)
        return status_of(head), head, body


def reason(answer):
    return json.loads(answer[2])["reason"]


# --- https:// in a request line ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["the socket", "a password", "absolute_https"])
def test_1_10_an_https_target_is_served_with_its_token(scene, way):
    before = scene.upstream.mark()
    word = base64.b64encode(f"app:{WORD}".encode()).decode()
    sock = to_socket(scene.socket) if way == "the socket" else to_port(scene.known if way == "a password" else scene.wide)
    status, head, body = ask(sock, GET + (f"Proxy-Authorization: Basic {word}\r\n" if way == "a password" else "") + "\r\n")
    assert status == 200 and body == wire.OK.split(b"\r\n\r\n")[1], head
    sent = scene.upstream.since(before)
    assert sent.startswith(b"GET /a?b HTTP/1.1\r\n") and f"\r\nHost: {API}\r\n".encode() in sent and f"Bearer {TOKEN}".encode() in sent
    assert b"Proxy-Authorization" not in sent


@pytest.mark.parametrize("extra", ["", "Proxy-Authorization: Basic eDp5\r\n"])
def test_1_10_an_open_port_takes_none(scene, extra):
    before = scene.upstream.mark()
    answer = ask(to_port(scene.open), GET + extra + "\r\n")
    assert answer[0] == 403 and reason(answer) == "absolute_https" and scene.upstream.since(before) == b""


def test_1_10_without_the_password_it_is_407(scene):
    assert ask(to_port(scene.known), GET + "\r\n")[0] == 407


BROWSERS = {
    "Origin": (GET + "Origin: https://evil.test\r\n", "browser_request"),
    "Origin: null": (GET + "Origin: null\r\n", "browser_request"),
    "Sec-Fetch-Site": (GET + "Sec-Fetch-Site: same-origin\r\n", "browser_request"),
    "Sec-Fetch-Mode": (GET + "sec-fetch-mode: navigate\r\n", "browser_request"),
    "another Host": (GET.replace(f"Host: {API}", "Host: 127.0.0.1:8118"), "host_differs"),
    "the proxy's Host": (GET.replace(f"Host: {API}", "Host: localhost"), "host_differs"),
    "another port": (GET.replace(f"Host: {API}", f"Host: {API}:8443"), "host_differs"),
    "two Hosts": (GET + f"Host: {API}\r\n", "host_differs"),
    "no Host": (GET.replace(f"Host: {API}\r\n", ""), "host_differs"),
}


@pytest.mark.parametrize("what", BROWSERS)
@pytest.mark.parametrize("way", ["the socket", "absolute_https"])
def test_1_10_what_a_web_page_could_send_is_refused(scene, way, what):
    raw, why = BROWSERS[what]
    before = scene.upstream.mark()
    answer = ask(to_socket(scene.socket) if way == "the socket" else to_port(scene.wide), raw + "\r\n")
    assert answer[0] == 403 and reason(answer) == why and scene.upstream.since(before) == b""


def test_1_10_rules_and_authority_are_those_of_connect(scene):
    """A host that no rule names is reached without a credential; addresses are judged; the connection may be kept and each request is judged by itself."""
    with to_socket(scene.socket) as sock:
        for raw, status in ((GET + "\r\n", 200), (GET.replace(API, "user@" + API) + "\r\n", 400)):
            sock.sendall(raw.encode())
            assert status_of(read_message(sock)[0]) == status
    answer = ask(to_socket(scene.socket), "GET https://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
    assert answer[0] == 403 and reason(answer) == "address_not_allowed"
    assert ask(to_socket(scene.socket), f"GET https://{API}:443/ HTTP/1.1\r\nHost: {API}:443\r\n\r\n")[0] == 200
    assert ask(to_socket(scene.socket), f"GET https://{API}/ HTTP/1.0\r\n\r\n")[0] == 200


# --- CONNECT and its Host --------------------------------------------------------------------------------------------------------------------

CONNECTS = {
    "the usual": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n\r\n", 200),
    "Host without the port": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}\r\n\r\n", 200),
    "Host in capitals with a dot": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API.upper()}.:443\r\n\r\n", 200),
    "HTTP/1.0 without Host": (f"CONNECT {API}:443 HTTP/1.0\r\n\r\n", 200),
    "no Host": (f"CONNECT {API}:443 HTTP/1.1\r\n\r\n", 400),
    "an empty Host": (f"CONNECT {API}:443 HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "two Hosts": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\nHost: {API}:443\r\n\r\n", 400),
    "two Hosts in HTTP/1.0": (f"CONNECT {API}:443 HTTP/1.0\r\nHost: {API}\r\nHost: {API}\r\n\r\n", 400),
    "another Host": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: evil.sidekey.test\r\n\r\n", 400),
    "another Host in HTTP/1.0": (f"CONNECT {API}:443 HTTP/1.0\r\nHost: evil.sidekey.test\r\n\r\n", 400),
    "another port": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:8443\r\n\r\n", 400),
    "a list of Hosts": (f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}, evil\r\n\r\n", 400),
}


@pytest.mark.parametrize("what", CONNECTS)
def test_1_11_connect_has_one_host_that_names_its_target(scene, what):
    raw, status = CONNECTS[what]
    with to_port(scene.open) as sock:
        sock.sendall(raw.encode())
        assert status_of(harness.read_head(sock)) == status


# --- protocols to switch to --------------------------------------------------------------------------------------------------------------------


def switching(protocol, extra=""):
    return f"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{extra}\r\n".encode()


@contextlib.contextmanager
def answering(scene, answer):
    scene.answer = answer
    try:
        yield
    finally:
        scene.answer = wire.OK


UPGRADES = {  # what the request has, and the protocol that is switched to
    "kubectl exec": ("POST /exec HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n", "SPDY/3.1"),
    "docker attach": ("POST /attach HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}", "tcp"),
    "a GET": ("GET /attach HTTP/1.1\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: TCP\r\n\r\n", "tcp"),
}


@pytest.mark.parametrize("what", UPGRADES)
def test_3_12_a_protocol_that_the_rule_names_is_relayed_as_bytes(scene, what):
    raw, protocol = UPGRADES[what]
    with answering(scene, switching(protocol) + b"first"), scene.upgrades.tls(API) as sock:
        sock.sendall(raw.format(API).encode())
        head = harness.read_head(sock)
        assert status_of(head) == 101 and field_of(head, "upgrade").lower() == protocol.lower(), head
        assert wire.read_exactly(sock, 5) == b"first"
        for piece in (b"\x00\x01binary", b"GET / HTTP/1.1\r\n\r\n"):
            sock.sendall(piece)
            assert wire.read_exactly(sock, len(piece) + 2) == b"<" + piece + b">"
    assert f"Bearer {TOKEN}" in scene.upstream.requests[-1].get("authorization")


def test_3_12_without_the_rules_word_it_is_an_ordinary_request(scene):
    with scene.open.tls(API) as sock:
        sock.sendall(UPGRADES["docker attach"][0].format(API).encode())
        assert status_of(read_message(sock)[0]) == 200
    assert scene.upstream.requests[-1].get("upgrade") is None


@pytest.mark.parametrize("answer", ["websocket", "h2c", "tcp, spdy/3.1", "SPDY/3.1"])
def test_3_12_a_101_to_another_protocol_than_was_asked_for_is_502(scene, answer):
    with answering(scene, switching(answer)), scene.upgrades.tls(API) as sock:
        sock.sendall(UPGRADES["docker attach"][0].format(API).encode())
        assert status_of(read_message(sock)[0]) == 502


# --- duties of an intermediary -----------------------------------------------------------------------------------------------------------------


def ask_inside(scene, raw, host=API, to_head=False):
    with scene.open.tls(host) as sock:
        sock.sendall(raw.encode("latin-1"))
        return read_message(sock, to_head)


def test_3_15_options_with_no_hops_left_is_answered_here(scene):
    before = scene.upstream.mark()
    for target in ("/", "*"):
        head, body = ask_inside(scene, f"OPTIONS {target} HTTP/1.1\r\nHost: {API}\r\nMax-Forwards: 0\r\n\r\n")
        assert status_of(head) == 200 and body == b"" and field_of(head, "date") and field_of(head, "content-length") == "0"
    assert scene.upstream.since(before) == b""


def test_3_15_trace_with_no_hops_left_shows_no_secret(scene):
    before = scene.upstream.mark()
    head, body = ask_inside(scene, f"TRACE /a HTTP/1.1\r\nHost: {BARE}\r\nCookie: sweet\r\nAuthorization: mine\r\nX-Api-Key: k\r\nMax-Forwards: 0\r\n\r\n", BARE)
    assert status_of(head) == 200 and field_of(head, "content-type") == "message/http"
    assert body.startswith(b"TRACE /a HTTP/1.1\r\n") and b"Via: 1.1 sidekey" in body
    assert not [word for word in (b"sweet", b"mine", b"X-Api-Key") if word in body] and scene.upstream.since(before) == b""


def test_3_15_max_forwards_is_counted_down_and_left_alone_elsewhere(scene):
    for method, sent, got in (("OPTIONS", "1", "0"), ("OPTIONS", "300", "299"), ("GET", "0", "0"), ("GET", "x", "x")):
        assert status_of(ask_inside(scene, f"{method} / HTTP/1.1\r\nHost: {API}\r\nMax-Forwards: {sent}\r\n\r\n")[0]) == 200
        assert scene.upstream.requests[-1].get("max-forwards") == got
    assert status_of(ask_inside(scene, f"OPTIONS / HTTP/1.1\r\nHost: {API}\r\nMax-Forwards: x\r\n\r\n")[0]) == 400


def test_3_16_an_answer_without_a_date_gets_one(scene):
    head, _ = ask_inside(scene, f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n")
    date = email.utils.parsedate_to_datetime(field_of(head, "date"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - date).total_seconds()) < 60
    with answering(scene, b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"):
        head, _ = ask_inside(scene, f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n")
    assert head.lower().count(b"\r\ndate:") == 1 and field_of(head, "date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    refused, _ = ask_inside(scene, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
    assert status_of(refused) == 421 and field_of(refused, "date")


# --- rules and what stands for a path or a method --------------------------------------------------------------------------------------------

LIMITED = {"match": {"host": API, "paths": ["/v2/*"], "methods": ["GET", "POST"]}}


@pytest.fixture(scope="module")
def limited(scene):
    config = scene.world.config(scene.upstream)
    config["rules"][0]["match"] |= LIMITED["match"]
    return scene.start(config)


PATHS = ["..%3b/", "%252e%252e/", "..%252f", "..%255c", "..%00/", "..%09/", "..%20/", "..%23/", "%c0%ae%c0%ae/", "..%c0%af", "%25c0%25ae./", "..;/", "..%5c", "%2e%2e/", "..%ef%bc%8f", ".%09./",
         "%25252e%25252e%25252f", "..%3f/", "..%0d%0a/",
         "%ef%b9%92%ef%b9%92/", "..%ef%b9%a8", "..%f8%80%80%80%af"]


@pytest.mark.parametrize("path", PATHS)
def test_1_12_a_path_that_servers_may_read_otherwise_gets_no_token(scene, limited, path):
    before = scene.upstream.mark()
    with limited.tls(API) as sock:
        sock.sendall(f"GET /v2/{path}admin HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        assert status_of(read_message(sock)[0]) == 403
    assert scene.upstream.since(before) == b""


@pytest.mark.parametrize("path", ["%u002e%u002e/", "..%u2215", "..%/", "a%2/", "%"])
def test_1_13_a_bad_escape_in_the_path_of_a_request_with_a_credential_is_400(scene, limited, path):
    before = scene.upstream.mark()
    with limited.tls(API) as sock:
        sock.sendall(f"GET /v2/{path} HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        assert status_of(read_message(sock)[0]) == 400
    assert scene.upstream.since(before) == b""
    with scene.open.tls(BARE) as sock:
        sock.sendall(f"GET /v2/{path} HTTP/1.1\r\nHost: {BARE}\r\n\r\n".encode())
        assert status_of(read_message(sock)[0]) == 200, "without a credential it is the client's own affair"


def test_1_13_what_programs_live_by_is_forwarded_as_it_came(scene, limited):
    for path in ("/v2/a|b{c}\"d`e^f", "/v2/caf\xc3\xa9?q=\xe2\x82\xac", "/v2/a%2Fb%20c;x=y", "/v2/?q=%zz"):
        with limited.tls(API) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {API}\r\n\r\n".encode("latin-1"))
            assert status_of(read_message(sock)[0]) == 200
        assert scene.upstream.requests[-1].target == path


@pytest.mark.parametrize("extra", ["X-HTTP-Method-Override: DELETE\r\n", "x_http_method_override: delete\r\n", "X-HTTP-Method: PUT\r\n", "X-Method-Override: PATCH\r\n", "?_method=DELETE", "?a=b&%5Fmethod=put"])
def test_1_14_a_method_that_is_asked_for_beside_is_judged_by_the_rule(scene, limited, extra):
    before = scene.upstream.mark()
    query, fields = (extra, "") if extra[0] == "?" else ("", extra)
    with limited.tls(API) as sock:
        sock.sendall(f"POST /v2/x{query} HTTP/1.1\r\nHost: {API}\r\n{fields}Content-Length: 0\r\n\r\n".encode())
        assert status_of(read_message(sock)[0]) == 403
    assert scene.upstream.since(before) == b""


def test_1_14_one_that_the_rule_allows_passes_and_so_does_any_without_a_list(scene, limited):
    for sidekey, value in ((limited, "GET"), (scene.open, "DELETE")):
        with sidekey.tls(API) as sock:
            sock.sendall(f"POST /v2/x HTTP/1.1\r\nHost: {API}\r\nX-HTTP-Method-Override: {value}\r\nContent-Length: 0\r\n\r\n".encode())
            assert status_of(read_message(sock)[0]) == 200
        assert scene.upstream.requests[-1].get("x-http-method-override") == value
