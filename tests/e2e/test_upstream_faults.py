"""What an upstream's connection does after, during and before its answer: a fault never overtakes what was read before it, and a client whose request went out
always gets a whole answer, a status, or an abort that it can see."""
import contextlib
import http.client
import socket
import subprocess
import threading
import time

import pytest
import wire
from harness import API, PATIENCE_S, until
from wire import status_of

MIB = 1 << 20
ENDS = {"close_notify": wire.Peer.end, "FIN": wire.Peer.cut, "reset": wire.Peer.reset}


class Scene:
    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "faults")
        self.script = wire.serve
        self.upstream = self.world.server(lambda peer: self.script(peer))
        self.sidekey = self.world.start(self.world.config(self.upstream))

    @contextlib.contextmanager
    def playing(self, script):
        before, self.script = self.script, script
        self.upstream.requests.clear()
        self.upstream.hang_up()
        try:
            yield
        finally:
            self.script = before
            self.upstream.hang_up()


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "faults", pki)
    yield made
    made.world.close()


GET = f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode()
POST = f"POST / HTTP/1.1\r\nHost: {API}\r\nContent-Length: 4\r\n\r\nbody".encode()


def served_before(scene):
    """A client connection that has had an answer: a close without a byte would look like a stale one, and the request would be sent again."""
    scene.script, script = wire.serve, scene.script
    sock = scene.sidekey.tls()
    sock.sendall(GET)
    assert status_of(wire.read_message(sock)[0]) == 200
    scene.script = script
    scene.upstream.hang_up()
    scene.upstream.requests.clear()
    return sock


@pytest.mark.parametrize("how", ENDS)
def test_a_body_is_whole_when_its_length_has_come_whatever_the_connection_does_then(scene, how):
    """The reader is slow at times, so that some of the answer waits in sidekey when the fault comes."""
    body = bytes(range(256)) * (4 * MIB // 256)

    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        if how == "reset":
            peer.delivered()  # the reset comes after what is on its way
        ENDS[how](peer)
    cut = []
    with scene.playing(script):
        for i in range(40):
            connection = scene.sidekey.connection()
            connection.request("GET", "/")
            answer = connection.getresponse()
            try:
                if i % 4 == 0:
                    time.sleep(0.02)
                if answer.read() != body:
                    cut.append("other bytes")
            except (http.client.IncompleteRead, OSError) as error:
                cut.append(repr(error)[:60])
            connection.close()
    assert not cut, f"{len(cut)} of 40: {cut[:3]}"


def test_a_fault_in_the_same_write_as_the_head_is_502_and_the_post_is_sent_once(scene):
    """A bare close on a connection that has served before means "stale" to curl and Java: they send the POST again."""
    def script(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        peer.fill()
    with scene.playing(script):
        for path in ("", " after the first answer"):
            sock = served_before(scene) if path else scene.sidekey.tls()
            sock.sendall(POST)
            head, _ = wire.read_message(sock)
            sock.close()
            assert status_of(head) == 502, head
        assert [request.method for request in scene.upstream.requests] == ["POST"]


SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"


def receive(sock):
    """One answer as far as it comes: (status, body, all bytes).  The status is "abort" when the connection ended before it was whole."""
    data = b""
    while True:
        head, mark, body = data.partition(b"\r\n\r\n")
        if mark and b"content-length:" in head.lower() and len(body) >= int(wire.field_of(head, "content-length")):
            return status_of(head), body, data
        if mark and b"chunked" in head.lower() and body.endswith(b"0\r\n\r\n"):
            return status_of(head), b"".join(body.split(b"\r\n")[1::2]), data
        try:
            piece = sock.recv(65536)
        except OSError:
            piece = b""
        if not piece:
            return "abort", body, data
        data += piece


@pytest.mark.parametrize("writes", [1, 2, 3])
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("answer", [SMALL, CHUNKS], ids=["length", "chunks"])
def test_an_answer_that_is_cut_at_any_byte_is_whole_or_502_or_a_visible_abort(scene, answer, how, writes):
    """A POST on a client connection that has served before.  Never nothing at all, never a part that looks whole, never sent twice."""
    cut = 0

    def script(peer):
        peer.read()
        at = [cut * i // writes for i in range(writes + 1)]
        for start, end in zip(at, at[1:]):
            if end > start:
                peer.send(answer[start:end])
                if writes > 1:
                    time.sleep(0.002)
        if how == "reset":
            peer.delivered()
            time.sleep(0.002)
        ENDS[how](peer)
    sock = None
    with scene.playing(script):
        for cut in range(len(answer) + 1):
            if sock is None:
                sock = served_before(scene)
            scene.upstream.requests.clear()
            sock.sendall(POST)
            status, body, got = receive(sock)
            if cut == len(answer):
                assert (status, body) == (200, b"whole"), (cut, got)
            else:
                assert status == 502 or (status == "abort" and got.startswith(b"HTTP/1.1 200 OK")), (cut, got)
            assert len(scene.upstream.requests) == 1, (cut, got)
            if status == "abort" or b"connection: close" in got.lower():
                sock.close()
                sock = None
    if sock:
        sock.close()


@pytest.mark.parametrize("size", [2, 3, 16, 64])
def test_an_early_413_is_seen_by_a_client_that_sends_its_body_to_the_end_first(scene, size):
    """As http.client and requests do; the upstream reads on for a while, as nginx does."""
    def script(peer):
        if peer.read_head().method == "GET":
            peer.send(wire.OK)
            return
        peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        peer.sock.settimeout(1)
        with contextlib.suppress(OSError):
            while peer.sock.recv(1 << 16):
                pass
    body = bytes(size * MIB)
    with scene.playing(script):
        for _ in range(3):
            connection = scene.sidekey.connection()
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (413, b"too much")
            connection.close()


def test_a_slow_upload_still_sees_its_413(scene):
    """It stops for longer than two seconds on the way."""
    def script(peer):
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        while peer.fill():
            pass
    with scene.playing(script):
        sock = scene.sidekey.tls()
        sock.sendall(f"POST / HTTP/1.1\r\nHost: {API}\r\nContent-Length: 8000000\r\n\r\n".encode())
        for pause in (0.1, 2.5, 2.5, 0):
            sock.sendall(bytes(2000000))
            time.sleep(pause)
        head, body = wire.read_message(sock)
        sock.close()
    assert (status_of(head), body) == (413, b"too much")


class Relay:
    """Between sidekey and the upstream: what comes goes on after a while, ends too."""

    def __init__(self, port, delay):
        self.port, self.delay = port, delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                for a, b in ((sock, far), (far, sock)):
                    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    def carry(self, a, b):
        due, wake, over = [], threading.Condition(), []

        def give():
            while True:
                with wake:
                    while not due:
                        wake.wait()
                    at, piece = due.pop(0)
                time.sleep(max(0, at - time.monotonic()))
                with contextlib.suppress(OSError):
                    if not piece:
                        b.shutdown(socket.SHUT_WR)
                        return
                    b.sendall(piece)
        threading.Thread(target=give, daemon=True).start()
        piece = b"x"
        while piece and not over:
            try:
                piece = a.recv(65536)
            except OSError:
                piece = b""
            with wake:
                due.append((time.monotonic() + self.delay, piece))
                wake.notify()

    def close(self):
        self.listener.close()


def keep_alive_for(seconds, said):
    """A server that closes a connection so long after its last answer; it answers each POST once."""
    def script(peer):
        peer.sock.settimeout(seconds)
        while peer.read():
            field = b"Keep-Alive: timeout=%d\r\n" % seconds if said else b""
            peer.send(b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 2\r\n\r\nok")
    return script


@pytest.mark.parametrize("said", [False, True], ids=["unsaid", "Keep-Alive"])
def test_posts_never_meet_a_connection_that_its_server_closes_at_that_moment(folder, pki, said):
    """120 of them, each the first of its client connection or a later one, at times around the server's second, over 40 ms each way."""
    world = wire.World(folder / f"stale{said}", pki, "stale")
    upstream = world.server(keep_alive_for(1, said))
    relay = Relay(upstream.port, 0.04)
    config = world.config(upstream)
    config["network"]["resolve"][f"{API}:443"] = f"127.0.0.1:{relay.address[1]}"
    config["limits"]["upstream_idle"] = "4s"
    sidekey = world.start(config)
    failures, lock = [], threading.Lock()

    def caller(number):
        connection = sidekey.connection()
        for i in range(10):
            if number % 2:
                connection.close()
                connection = sidekey.connection()
            try:
                connection.request("POST", "/", b"body")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise OSError(answer.status)
            except (OSError, http.client.HTTPException) as error:
                with lock:
                    failures.append(repr(error))
                connection.close()
                connection = sidekey.connection()
            time.sleep(0.85 + 0.025 * ((number * 10 + i) % 12))
    threads = [threading.Thread(target=caller, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
        time.sleep(0.07)
    for thread in threads:
        thread.join()
    relay.close()
    world.close()
    assert not failures and len(upstream.requests) == 120, (len(upstream.requests), failures[:5])


def open_connections(upstream):
    return sum(1 for peer in upstream.peers if peer.sock.fileno() >= 0)


def test_calls_that_were_given_up_on_a_stuck_path_stop_no_other(folder, pki):
    """The path hangs; its callers give up after a while, each in another way.  The limit holds all the time."""
    world = wire.World(folder / "stuck", pki, "stuck")
    most = []

    def script(peer):
        while request := peer.read():
            most.append(open_connections(upstream))
            if request.target.startswith("/stuck"):
                with contextlib.suppress(OSError):
                    peer.fill()
                return
            peer.send(wire.OK)
    upstream = world.server(script)
    config = world.config(upstream)
    config["limits"]["per_upstream"] = 4
    sidekey = world.start(config)
    stuck = []
    for i in range(12):
        sock = sidekey.tls()
        sock.sendall(f"{'GET' if i % 2 else 'POST'} /stuck HTTP/1.1\r\nHost: {API}\r\nContent-Length: 4\r\n\r\nbody".encode())
        stuck.append(sock)
    until("four are upstream", lambda: len(most) >= 4)
    time.sleep(0.5)
    assert max(most) <= 4 and open_connections(upstream) <= 4
    for i, sock in enumerate(stuck):
        if i % 3 == 0:
            with contextlib.suppress(OSError):
                sock.settimeout(0.01)
                sock.unwrap()
        elif i % 3 == 1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    time.sleep(0.3)
    for _ in range(8):
        status, _, body = sidekey.request("POST", "/healthy", body="x")
        assert (status, body) == (200, b"ok")
    until("all are let go", lambda: open_connections(upstream) <= 1)
    assert max(most) <= 4
    world.close()


def test_the_limits_of_a_head_can_be_set(folder, pki):
    world = wire.World(folder / "limits", pki, "limits")
    upstream = world.server()
    config = world.config(upstream)
    config["limits"].update({"fields": 20, "request_line": "2KiB"})
    sidekey = world.start(config)
    for fields, line, status in ((19, 2000, 200), (20, 100, 431), (1, 2100, 414)):
        head = f"GET /{'a' * (line - 20)} HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n" + "".join(f"X-{i}: v\r\n" for i in range(fields - 1)) + "\r\n"
        assert status_of(wire.exchange(sidekey, head.encode())[0]) == status
    upstream.answer = lambda request: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20 + b"Content-Length: 0\r\n\r\n"
    assert status_of(wire.exchange(sidekey, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[0]) == 502
    world.close()


def test_an_upstream_that_asks_for_renegotiation_is_named(folder, pki):
    """TLS 1.2, after the request, as IIS and Apache do for a client certificate.  openssl s_server asks for it when "r" is typed."""
    world = wire.World(folder / "again", pki, "again")
    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    server = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{number}", "-cert", pki / "good.pem", "-key", pki / "good.key", "-tls1_2",
                               "-legacy_renegotiation"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for line in server.stdout:
            if line.startswith(b"ACCEPT"):
                break
        upstream = world.server()
        config = world.config(upstream)
        config["network"]["resolve"][f"{API}:443"] = f"127.0.0.1:{number}"
        sidekey = world.start(config)
        with sidekey.tls() as sock:
            sock.sendall(POST)
            for line in server.stdout:
                if line.startswith(b"POST / "):
                    break
            server.stdin.write(b"r\n")
            server.stdin.flush()
            head, body = wire.read_message(sock)
        assert status_of(head) == 502 and b"upstream_renegotiation" in body and b"it received the request" in body, (head, body)
        world.close()
    finally:
        server.kill()
        server.wait()
