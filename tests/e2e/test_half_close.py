"""Clients that end their side of the connection: most have given up, so their request ends upstream; with half_close in its rule they are answered when the
request was whole (RFC 9112 §9.6; RFC 8446 §6.1)."""
import contextlib
import json
import os
import pathlib
import select
import socket
import ssl
import struct
import threading
import time

import pytest
import wire
from harness import API, PATIENCE_S, until
from wire import TOKEN, status_of

PLAIN, AGAIN, QUITS = "plain.sidekey.test", "again.sidekey.test", "quits.sidekey.test"
WIRES = ("plain", "close_notify", "close_notify and FIN")


class Scene:
    """plain.sidekey.test is reached by http://, API in a tunnel, both with half_close; quits.sidekey.test (both ways) without.  again.sidekey.test refuses the
    first token."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "half")
        self.script = wire.serve
        self.upstream = self.world.server(lambda peer: self.script(peer))
        self.clear = self.world.server(lambda peer: self.script(peer), tls=False)
        self.endpoint = self.world.server(tls=False)
        self.endpoint.answer = self.mint
        self.minted = 0
        config = self.world.config(self.upstream, hosts=(API, AGAIN),
                                   resolve={f"{PLAIN}:80": f"127.0.0.1:{self.clear.port}", f"{QUITS}:80": f"127.0.0.1:{self.clear.port}",
                                            f"{QUITS}:443": f"127.0.0.1:{self.upstream.port}"})
        config["credentials"]["again"] = {"grant": "client_credentials", "token_url": f"http://127.0.0.1:{self.endpoint.port}/", "client_id": "x",
                                          "client_secret": self.world.secret("client-secret", "half-secret"), "required": True, "forced_refresh_floor": "1s"}
        config["rules"][1]["credential"] = "again"
        config["rules"].append(self.world.rule(PLAIN, match={"port": 80}, allow_http=True))
        for rule in config["rules"]:
            rule["half_close"] = True
        config["rules"] += [self.world.rule(QUITS, match={"port": 80}, allow_http=True, name="quits80"), self.world.rule(QUITS)]
        config["listen"]["socket"] = str(self.world.folder / "s")
        self.sidekey = self.world.start(config)

    def mint(self, _request):
        self.minted += 1
        body = json.dumps({"access_token": f"again-g{self.minted}", "token_type": "Bearer", "expires_in": 3600}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def server(self, how):
        return self.clear if how.startswith("plain") else self.upstream

    @contextlib.contextmanager
    def playing(self, script):
        before, self.script = self.script, script
        for server in (self.upstream, self.clear):
            server.requests.clear()
            server.hang_up()
        try:
            yield
        finally:
            self.script = before
            for server in (self.upstream, self.clear):
                server.hang_up()

    def open(self, how, host=API):
        if how.startswith("plain"):
            return Clear(self.sidekey, QUITS if host == QUITS else PLAIN)
        return Half(self.sidekey, host, how.endswith("FIN"))


class Clear:
    """A connection of plain http:// requests."""

    def __init__(self, sidekey, host=PLAIN):
        self.sock = socket.create_connection(sidekey.proxy, timeout=PATIENCE_S)
        self.origin, self.host = f"http://{host}", host

    def request(self, method="GET", path="/", fields="", body=b"", version="1.1"):
        return f"{method} {self.origin}{path} HTTP/{version}\r\nHost: {self.host}\r\n{fields}\r\n".encode() + body

    def send(self, data):
        self.sock.sendall(data)

    def finish(self):
        self.sock.shutdown(socket.SHUT_WR)

    def read_to_end(self):
        return wire.read_to_end(self.sock)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Half(Clear):
    """TLS in a tunnel, with the bytes in our hands: ssl.SSLSocket cannot say close_notify and read on."""

    def __init__(self, sidekey, host, fin):
        self.sock, head = sidekey.tunnel(f"{host}:443")
        assert status_of(head) == 200
        self.origin, self.host, self.fin = "", host, fin
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = sidekey.context().wrap_bio(self.incoming, self.outgoing, server_hostname=host)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.sock.recv(65536))
        self.flush()

    def flush(self):
        self.sock.sendall(self.outgoing.read())

    def send(self, data):
        self.tls.write(data)
        self.flush()

    def finish(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()
        if self.fin:
            with contextlib.suppress(OSError):  # sidekey may have heard close_notify and reset the connection
                self.sock.shutdown(socket.SHUT_WR)

    def read_to_end(self):
        """(bytes, "eof" only when close_notify came)."""
        data = b""
        while True:
            try:
                piece = self.tls.read(65536)
                if not piece:
                    return data, "eof"
                data += piece
            except ssl.SSLZeroReturnError:
                return data, "eof"
            except ssl.SSLWantReadError:
                piece = self.sock.recv(65536)
                if not piece:
                    return data, "broken"
                self.incoming.write(piece)
            except ssl.SSLError:
                return data, "broken"


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "half", pki)
    yield made
    made.world.close()


BODIES = {
    "no body": ("GET", "", b"", b""),
    "length": ("POST", "Content-Length: 5\r\n", b"whole", b"whole"),
    "chunks": ("POST", "Transfer-Encoding: chunked\r\n", b"5\r\nwhole\r\n0\r\n\r\n", b"whole"),
}


@pytest.mark.parametrize("version, body", [("1.1", "no body"), ("1.1", "length"), ("1.1", "chunks"), ("1.0", "no body"), ("1.0", "length")])
@pytest.mark.parametrize("how", WIRES)
def test_a_whole_request_is_answered_after_its_end(scene, how, version, body):
    method, fields, sent, arrived = BODIES[body]
    gate = threading.Event()

    def script(peer):
        peer.read()
        assert gate.wait(PATIENCE_S)
        peer.send(wire.OK)
    with scene.playing(script):
        client = scene.open(how)
        client.send(client.request(method, "/", fields, sent, version))
        client.finish()
        until("it is upstream", lambda: scene.server(how).requests)
        time.sleep(0.1)  # the end has come by now
        gate.set()
        answer, end = client.read_to_end()
        client.close()
    assert status_of(answer) == 200 and answer.endswith(b"\r\n\r\nok") and end == "eof", (answer, end)
    assert [(r.body, r.get("authorization")) for r in scene.server(how).requests] == [(arrived, f"Bearer {TOKEN}")]


@pytest.mark.parametrize("fields, part", [("Content-Length: 5\r\n", b"hal"), ("Transfer-Encoding: chunked\r\n", b"3\r\nhal\r\n"),
                                          ("Transfer-Encoding: chunked\r\n", b"5\r\nhal")])
@pytest.mark.parametrize("how", WIRES)
def test_a_request_that_was_cut_is_no_request(scene, how, fields, part):
    ended = threading.Event()

    def script(peer):
        peer.read_head()
        while peer.fill():
            pass
        ended.set()
    with scene.playing(script):
        client = scene.open(how)
        client.send(client.request("POST", "/", fields, part))
        until("its head is upstream", lambda: scene.server(how).requests)
        client.finish()
        assert ended.wait(PATIENCE_S), "the upstream is still held"
        assert client.read_to_end()[0] == b""
        client.close()


@pytest.mark.parametrize("how", WIRES)
def test_all_requests_of_a_pipeline_are_answered_after_its_end(scene, how):
    with scene.playing(wire.serve):
        client = scene.open(how)
        client.send(client.request(path="/1") + client.request("POST", "/2", "Content-Length: 3\r\n", b"two") + client.request(path="/3"))
        client.finish()
        answer, end = client.read_to_end()
        client.close()
    assert answer.count(b"HTTP/1.1 200 OK") == 3 and answer.endswith(b"ok") and end == "eof", answer
    assert [r.target for r in scene.server(how).requests] == ["/1", "/2", "/3"]


def test_a_large_answer_reaches_a_slow_reader_whole_after_its_end(scene):
    size = 3 << 20

    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    with scene.playing(script):
        client = scene.open("plain")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.send(client.request())
        client.finish()
        got = client.sock.recv(1024)
        time.sleep(0.5)
        rest, end = client.read_to_end()
        client.close()
    assert len((got + rest).partition(b"\r\n\r\n")[2]) == size and end == "eof"


@pytest.mark.parametrize("fin", ["close_notify", "close_notify and FIN"])
def test_a_401_is_still_refreshed_and_sent_again_after_the_end(scene, fin):
    seen = []

    def script(peer):
        while request := peer.read():
            seen.append((request.get("authorization"), request.body))
            peer.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno" if len(seen) == 1 else wire.OK)
    with scene.playing(script):
        time.sleep(1.1)  # the floor of forced refreshes
        client = scene.open(fin, AGAIN)
        client.send(client.request("POST", "/", "Content-Length: 5\r\n", b"whole"))
        client.finish()
        answer, end = client.read_to_end()
        client.close()
    assert status_of(answer) == 200 and end == "eof"
    assert len(seen) == 2 and seen[0][1] == seen[1][1] == b"whole" and seen[0][0] != seen[1][0], seen


def held(scene, how, act, host=API, seconds=PATIENCE_S):
    """An upstream that does not answer, and a client with a whole request that then does what act says: whether the upstream is let go in that time."""
    let_go = threading.Event()

    def script(peer):
        peer.read()
        with contextlib.suppress(OSError):
            while peer.fill():
                pass
        let_go.set()
    with scene.playing(script):
        client = scene.open(how, host)
        client.send(client.request())
        until("it is upstream", lambda: scene.server(how).requests)
        act(client)
        found = let_go.wait(seconds)
        client.close()
    return found


def finish_then_reset(client):
    client.finish()
    time.sleep(0.1)
    client.reset()


@pytest.mark.parametrize("how", WIRES)
def test_a_reset_frees_the_upstream_at_once_also_after_the_end(scene, how):
    assert held(scene, how, lambda client: client.reset())
    assert held(scene, how, finish_then_reset)


def test_an_end_without_close_notify_is_a_death_and_frees_the_upstream(scene):
    assert held(scene, "close_notify", lambda client: client.sock.shutdown(socket.SHUT_WR))


@pytest.mark.parametrize("how", WIRES)
def test_an_end_alone_keeps_the_upstream_where_the_rule_says_so(scene, how):
    assert not held(scene, how, lambda client: client.finish(), seconds=1)


GIVE_UP = {"an end": lambda client: client.finish(), "a close": lambda client: (client.finish(), client.close()), "a reset": lambda client: client.reset(),
           "FIN alone": lambda client: client.sock.shutdown(socket.SHUT_WR)}


@pytest.mark.parametrize("act", GIVE_UP)
@pytest.mark.parametrize("how", WIRES)
def test_a_client_that_gives_up_frees_the_upstream_before_its_answer(scene, how, act):
    assert held(scene, how, GIVE_UP[act], QUITS)


@pytest.mark.parametrize("act", GIVE_UP)
@pytest.mark.parametrize("how", WIRES)
def test_a_client_that_gives_up_frees_the_upstream_in_the_middle_of_a_stream(scene, how, act):
    let_go = threading.Event()

    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata:0\n\n\r\n")
        with contextlib.suppress(OSError):
            while peer.fill():
                pass
        let_go.set()
    with scene.playing(script):
        client = scene.open(how, QUITS)
        client.send(client.request())
        until("an event is here", lambda: select.select([client.sock], [], [], 1)[0])
        time.sleep(0.1)
        GIVE_UP[act](client)
        assert let_go.wait(PATIENCE_S), "the upstream still talks to nobody"
        client.close()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("how", ["plain", "close_notify and FIN"])
def test_a_stream_to_one_who_is_gone_ends_with_a_write_and_costs_no_time_before(scene, how):
    """close() says no more than that the client sends nothing; the next event finds out.  The descriptor is readable all the while."""
    more, ended = threading.Event(), threading.Event()

    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata:0\n\n\r\n")
        assert more.wait(PATIENCE_S)
        with contextlib.suppress(OSError):
            peer.send(b"8\r\ndata:1\n\n\r\n")
            while peer.fill():
                pass
        ended.set()
    with scene.playing(script):
        client = scene.open(how)
        client.send(client.request())
        until("an event is here", lambda: select.select([client.sock], [], [], 1)[0])
        time.sleep(0.3)
        client.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while client.sock.recv(65536):  # nothing unread: the kernel would send a reset
                pass
        client.sock.setblocking(True)
        client.finish()
        client.close()
        worker = scene.sidekey.child("worker")
        before = cpu_seconds(worker)
        time.sleep(1)
        spent = cpu_seconds(worker) - before
        assert spent < 0.2, f"{spent} s of CPU in a second of waiting"
        assert not ended.is_set()
        more.set()
        assert ended.wait(PATIENCE_S), "the upstream still talks to nobody"


def test_on_the_unix_socket_a_close_is_told_from_an_end(scene):
    def unix(client):
        client.sock.close()
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(PATIENCE_S)
        client.sock.connect(scene.sidekey.socket)
        return client
    with scene.playing(wire.serve):
        client = unix(Clear(scene.sidekey))
        client.send(client.request())
        client.finish()
        answer, end = client.read_to_end()
        client.close()
    assert status_of(answer) == 200 and end == "eof"
    let_go = threading.Event()

    def script(peer):
        peer.read()
        while peer.fill():
            pass
        let_go.set()
    with scene.playing(script):
        client = unix(Clear(scene.sidekey))
        client.send(client.request())
        until("it is upstream", lambda: scene.clear.requests)
        client.close()
        assert let_go.wait(PATIENCE_S)


def test_the_admin_port_answers_after_the_end_too(scene):
    with socket.create_connection(scene.sidekey.admin, timeout=PATIENCE_S) as sock:
        sock.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answer, end = wire.read_to_end(sock)
    assert answer.startswith(b"HTTP/1.1 200") and end == "eof"
