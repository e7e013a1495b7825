"""docs/http.md §7: every state of every connection has a deadline, every buffer a cap, every count a limit; and how it all ends."""
import base64
import contextlib
import json
import os
import pathlib
import queue
import re
import resource
import signal
import socket
import ssl
import threading
import time
import warnings

import harness
import pytest
import wire
from harness import API, until
from wire import TOKEN, field_of, read_message, status_of

HOST = f"Host: {API}\r\n"
SHORT_S = 0.6
TUNNEL = "open.sidekey.test"
DEADLINES = ("connect_head", "tls", "head", "dial", "first_byte", "idle", "tunnel_idle")


class Scene:
    """only(limit, ...) is a sidekey with these short deadlines; the others are so long that on no machine one of them is met instead, or by chance.
    open.sidekey.test has no rule: a tunnel to a plain server."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "limits")
        self.upstream = self.world.server(lambda peer: self.script(peer))
        self.script = wire.serve
        self.plain = self.world.server(echo, tls=False)
        self.silent = self.world.server(self.stall, tls=False)
        self.full, self.fillers = full_listener()
        self.over, self.made = threading.Event(), {}
        self.sidekey = self.only()

    def only(self, *short, seconds=SHORT_S):
        if (short, seconds) not in self.made:
            limits = {name: f"{round(seconds * 1000)}ms" if name in short else "5m" for name in DEADLINES}
            self.made[short, seconds] = self.world.start(self.world.config(self.upstream, hosts=(API, "silent.sidekey.test"), limits=limits, resolve={
                f"{TUNNEL}:443": f"127.0.0.1:{self.plain.port}", "silent.sidekey.test:443": f"127.0.0.1:{self.silent.port}",
                "full.sidekey.test:443": "127.0.0.1:%d" % self.full.getsockname()[1],
            }))
        return self.made[short, seconds]

    def playing(self, script):
        self.script = script
        self.upstream.hang_up()

    def stall(self, _peer=None):
        self.over.wait(4 * harness.PATIENCE_S)

    def close(self):
        self.over.set()
        for sock in [*self.fillers, self.full]:
            sock.close()
        self.world.close()


def echo(peer):
    while True:
        at = len(peer.received)
        if not peer.fill():
            return
        peer.send(peer.received[at:])


def full_listener():
    """A port whose queue is full: a SYN gets no answer at all."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        fillers.append(sock)
    return listener, fillers


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "limits", pki)
    yield made
    made.close()


@contextlib.contextmanager
def ends(low=0.0):
    """What stands in the block must end by itself, not before low; begin it before the product's own clock begins.  However slow the machine is, it ends in
    a time in which no other deadline does."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert low <= took <= 2 * harness.PATIENCE_S, f"{took:.2f} s, not {low} and more"


def insist(attempt):
    """attempt() until it gives something back: a client that this machine lets stand still for a whole deadline has to begin again."""
    def once():
        with contextlib.suppress(OSError, EOFError):
            return attempt()
    return until("the client is in time", once, 2 * harness.PATIENCE_S)


def steady(limit_s, attempt, tries=20):
    """attempt(note) calls note() whenever something has passed, and says whether the connection still lives.  It may only die when nothing had passed for
    the limit: where this machine itself stood still for that long, the attempt says nothing."""
    for _ in range(tries):
        moments = [time.monotonic()]
        if attempt(lambda: moments.append(time.monotonic())):
            return
        moments.append(time.monotonic())
        longest = max(later - earlier for earlier, later in zip(moments, moments[2:] or moments[1:]))
        assert longest >= 0.9 * limit_s, f"ended, although it was never silent for longer than {longest:.2f} s"
    raise AssertionError(f"this machine stands still for {limit_s} s all the time")


def drip(sock, data, every_s=0.05):
    """A byte now and then, until something comes back: that, up to the end."""
    got = b""
    with contextlib.suppress(OSError):
        for n in range(len(data)):
            sock.sendall(data[n:n + 1])
            sock.settimeout(every_s)
            with contextlib.suppress(TimeoutError, socket.timeout):
                got = sock.recv(65536)
                break
    sock.settimeout(harness.PATIENCE_S)
    rest, end = wire.read_to_end(sock)
    return got + rest, end


DEFAULTS = {"connect_head": "10s", "tls": "10s", "head": "30s", "dial": "10s", "first_byte": "10m", "idle": "10m", "tunnel_idle": "10m", "upstream_idle": "4s", "drain": "25s", "reload_drain": "1h",
            "token_wait": "10s", "connections": None, "per_upstream": 256, "fields": 200, "request_line": "16KiB", "replay_body": "1MiB", "replay_total": None, "h2_buffer": "16MiB"}  # None: it follows the memory limit


def test_7_each_limit_has_a_default():
    """What the program says of itself."""
    done = harness.run([harness.SIDEKEY, "check", "--schema"])
    limits = json.loads(done.stdout)["properties"]["limits"]["properties"]
    assert {name: limit.get("default") for name, limit in limits.items()} == DEFAULTS


LONG = b"X-Long: " + b"v" * 1000


def test_7_a_head_of_connect_that_drips_is_cut(scene):
    def attempt():
        with ends(SHORT_S), socket.create_connection(scene.only("connect_head").proxy, timeout=harness.PATIENCE_S) as sock:
            answer, end = drip(sock, f"CONNECT {API}:443 HTTP/1.1\r\n".encode() + LONG)
        return answer and (status_of(answer), end)
    assert insist(attempt) in ((408, "eof"), (408, "broken"))


def test_7_a_connection_without_a_word_is_ended(scene):
    with ends(SHORT_S), socket.create_connection(scene.only("connect_head").proxy, timeout=harness.PATIENCE_S) as sock:
        assert wire.read_to_end(sock) == (b"", "eof")


def test_7_a_head_inside_the_tunnel_that_drips_is_cut(scene):
    with scene.only("head").tls() as sock, ends(SHORT_S):
        assert status_of(drip(sock, f"GET / HTTP/1.1\r\n{HOST}".encode() + LONG)[0]) == 408


def test_7_a_head_is_not_given_new_time_by_an_answer_before_it(scene):
    """Keep-alive: the second head drips."""
    with scene.only("head").tls() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        assert status_of(read_message(sock)[0]) == 200
        with ends(SHORT_S):
            assert status_of(drip(sock, f"GET / HTTP/1.1\r\n{HOST}".encode() + LONG)[0]) == 408


def test_7_an_idle_client_connection_is_ended(scene):
    def attempt():
        sock = scene.only("idle").tls()
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        return sock if status_of(read_message(sock)[0]) == 200 else None
    with ends(SHORT_S), insist(attempt) as sock:
        assert wire.read_to_end(sock) == (b"", "eof")


def hello(sidekey):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = sidekey.context().wrap_bio(incoming, outgoing, server_hostname=API)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def tunnel_for_hands(scene):
    """A tunnel in which the handshake must be quick: the wait for the hello is connect_head, the rest is tls."""
    sidekey = scene.only("connect_head", "tls")

    def attempt():
        sock, head = sidekey.tunnel()
        return (sidekey, sock) if status_of(head) == 200 else None
    return insist(attempt)


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 40, None])
def test_7_a_handshake_of_the_client_that_stalls_is_ended(scene, first):
    with ends(SHORT_S):
        sidekey, sock = tunnel_for_hands(scene)
        with sock:
            sock.sendall(hello(sidekey) if first is None else first)
            assert wire.read_to_end(sock)[1] in ("eof", "broken")


def test_7_a_handshake_of_the_client_that_drips_is_ended(scene):
    with ends(SHORT_S):
        _, sock = tunnel_for_hands(scene)
        with sock:
            assert drip(sock, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 400)[1] != "open"


def refused(sidekey, reason):
    line = f'sidekey_refused_total{{reason="{reason}"}} '
    return next((float(row[len(line):]) for row in sidekey.get_admin("/metrics")[1].splitlines() if row.startswith(line)), 0)


@pytest.mark.parametrize("reason, sni, first", [("client_tls", "wrong.sidekey.test", None), ("client_tls_timeout", None, b"\x16\x03\x01\x02\x00"),
                                                ("client_timeout", None, b"")])
def test_7_a_handshake_that_fails_or_stalls_is_counted(scene, reason, sni, first):
    sidekey = scene.sidekey if sni else scene.only("connect_head", "tls")
    before = refused(sidekey, reason)

    def attempt():
        sock, _ = sidekey.tunnel()
        with sock, contextlib.suppress(OSError):
            if sni:
                context = sidekey.context()
                context.check_hostname = False
                context.wrap_socket(sock, server_hostname=sni)
            else:
                sock.sendall(first)
                wire.read_to_end(sock)
        time.sleep(0.1)
        return refused(sidekey, reason) > before
    until("it is counted", attempt)


def closes(sidekey):
    lines = [line for line in sidekey.get_admin("/metrics")[1].splitlines() if line.startswith("sidekey_closes_total{")]
    return {tuple(re.findall(r'"(\w+)"', line)): float(line.rpartition(" ")[2]) for line in lines}


def test_7_why_connections_end_is_counted_and_all_words_are_there_from_the_start(scene):
    before = closes(scene.sidekey)
    assert {("client", "peer_closed"), ("client", "aborted"), ("upstream", "idle"), ("upstream", "upgraded")} <= set(before)
    scene.sidekey.tunnel()[0].close()
    until("it is counted", lambda: closes(scene.sidekey)[("client", "peer_closed")] >= before[("client", "peer_closed")] + 1)


def test_7_a_handshake_of_the_upstream_that_stalls_is_504(scene):
    """The same limit holds for the client's handshake, which is another one: it may be tried again."""
    sidekey = scene.only("tls", seconds=2)

    with insist(lambda: sidekey.tls("silent.sidekey.test")) as sock, ends(1):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: silent.sidekey.test\r\n\r\n")
        head, body = read_message(sock)
    assert status_of(head) == 504 and "; error=connection_timeout" in field_of(head, "proxy-status"), (head, body)
    assert TOKEN.encode() not in scene.silent.since(0)


def test_7_an_upstream_that_cannot_be_reached_in_time_is_504_on_connect(scene):
    with ends(SHORT_S):
        sock, head = scene.only("dial").tunnel("full.sidekey.test:443")
        sock.close()
    assert status_of(head) == 504, head
    assert field_of(head, "proxy-status").startswith("sidekey; error=connection_timeout"), head


def test_7_an_answer_that_does_not_begin_is_504(scene):
    scene.playing(lambda peer: peer.read() and scene.stall())
    with scene.only("first_byte").tls() as sock, ends(SHORT_S):
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        head, body = read_message(sock)
    assert status_of(head) == 504 and "; error=http_response_timeout" in field_of(head, "proxy-status")
    assert json.loads(body)["reason"]


def test_7_an_answer_that_stops_in_the_middle_is_cut_visibly(scene):
    def stall_in_body(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        scene.stall()
    scene.playing(stall_in_body)

    def attempt():
        sock, _ = scene.only("idle").tunnel()
        with scene.only("idle").context().wrap_socket(sock, server_hostname=API, suppress_ragged_eofs=False) as secured, ends(SHORT_S):
            secured.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
            answer, end = wire.read_to_end(secured)
        return answer and (answer, end)
    answer, end = insist(attempt)
    assert answer.endswith(b"half") and end == "broken"


def test_7_an_answer_that_is_only_slow_passes_whole(scene):
    """Idle is the time between two bytes, not the time for all.  Each byte waits until the one before has come."""
    limit_s, heard = 2, queue.Queue()

    def drip_body(peer):
        peer.read()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            peer.send(b"x")
            heard.get(timeout=harness.PATIENCE_S)
            time.sleep(limit_s / 8)

    def attempt(note):
        scene.playing(drip_body)
        with contextlib.suppress(OSError), scene.only("idle", seconds=limit_s).tls() as sock:
            sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
            head = harness.read_head(sock)
            for _ in range(12):
                note()
                if sock.recv(1) != b"x":
                    return False
                heard.put(None)
            return status_of(head) == 200
        return False
    steady(limit_s, attempt)


def test_7_an_upload_that_stops_in_the_middle_is_ended(scene):
    scene.playing(wire.serve)
    with scene.only("idle").tls() as sock, ends(SHORT_S):
        sock.sendall(f"POST / HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\nhalf".encode())
        answer, end = wire.read_to_end(sock)
    assert end != "open" and status_of(answer) in (None, 408, 504), answer


def test_7_an_upload_that_pauses_for_longer_than_an_answer_may_take_passes_whole(scene):
    """An upstream that this machine keeps waiting may miss the short limit of its first byte: then the client begins again."""
    scene.playing(wire.serve)

    def attempt():
        with scene.only("first_byte").tls() as sock:
            sock.sendall(f"POST / HTTP/1.1\r\n{HOST}Content-Length: 8\r\n\r\nhalf".encode())
            time.sleep(3 * SHORT_S)
            sock.sendall(b"half")
            return status_of(read_message(sock)[0]) == 200
    insist(attempt)


def test_7_an_idle_tunnel_is_ended(scene):
    def attempt():
        sock, head = scene.only("tunnel_idle").tunnel(f"{TUNNEL}:443")
        assert status_of(head) == 200
        sock.sendall(b"ping")
        return sock if sock.recv(100) == b"ping" else None
    with ends(SHORT_S), insist(attempt) as sock:
        assert wire.read_to_end(sock)[1] in ("eof", "broken")


def test_7_a_busy_tunnel_is_not_ended(scene):
    limit_s = 2

    def attempt(note):
        sock, head = scene.only("tunnel_idle", seconds=limit_s).tunnel(f"{TUNNEL}:443")
        assert status_of(head) == 200
        with sock, contextlib.suppress(OSError):
            for n in range(12):
                sock.sendall(b"ping%d" % n)
                if sock.recv(100) != b"ping%d" % n:
                    return False
                note()
                time.sleep(limit_s / 8)
            return True
        return False
    steady(limit_s, attempt)


# --- memory -------------------------------------------------------------------------------------------------------------------------------------------


def worker_kib(sidekey):
    rollup = pathlib.Path(f"/proc/{sidekey.child('worker')}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0])


@pytest.fixture(scope="module")
def roomy(folder, pki):
    """A sidekey with the usual limits."""
    world = wire.World(folder / "roomy", pki, "roomy")
    upstream = world.server()
    plain = world.server(echo, tls=False)
    world.sidekey = world.start(world.config(upstream, resolve={f"{TUNNEL}:443": f"127.0.0.1:{plain.port}"}))
    world.upstream, world.plain = upstream, plain
    yield world
    world.close()


SLOW = 20
NEVER = threading.Event()
LARGE = 64 << 20


def pour(peer):
    peer.read_head()
    with contextlib.suppress(OSError):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE >> 16):
            peer.send(bytes(1 << 16))


def never_read(peer):
    peer.read_head()
    NEVER.wait(4 * harness.PATIENCE_S)


@pytest.mark.serial
@pytest.mark.skipif(harness.SANITIZED, reason="judges memory")
@pytest.mark.parametrize("direction", ["down", "up", "tunnel"])
def test_7_who_reads_slowly_stops_the_writer_and_costs_little_memory(roomy, direction):
    """§7: at most 64 KiB waiting per direction; with TLS and all, 256 KiB for each connection."""
    sidekey = roomy.sidekey
    roomy.upstream.script = pour if direction == "down" else never_read
    roomy.plain.script = never_read
    roomy.upstream.hang_up()
    until("a first answer", lambda: worker_kib(sidekey))
    before, socks, sent = worker_kib(sidekey), [], 0
    for _ in range(SLOW):
        if direction == "tunnel":
            sock, _ = sidekey.tunnel(f"{TUNNEL}:443")
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        else:
            sock = sidekey.tls()
            sock.sendall(f"{'GET' if direction == 'down' else 'POST'} / HTTP/1.1\r\n{HOST}{'' if direction == 'down' else f'Content-Length: {LARGE}' + chr(13) + chr(10)}\r\n".encode())
        socks.append(sock)
    if direction != "down":
        for sock in socks:
            sock.settimeout(0.15)
            with contextlib.suppress(OSError):
                while sent < SLOW * LARGE:
                    sent += sock.send(bytes(1 << 16))
    time.sleep(0.7)
    grown = worker_kib(sidekey) - before
    for sock in socks:
        sock.close()
    roomy.upstream.script, roomy.plain.script = wire.serve, echo
    roomy.upstream.hang_up()
    assert grown <= SLOW * 256, f"{grown} KiB for {SLOW} connections"
    assert status_of(ask(sidekey)) == 200


@pytest.mark.parametrize("direction", ["down", "up"])
def test_7_who_reads_slowly_gets_every_byte(roomy, direction):
    """The other side is made to wait, and nothing is thrown away or cut for it."""
    body = os.urandom(1 << 20) * 8

    def script(peer):
        request = peer.read_head()
        if direction == "up":
            time.sleep(0.5)
            peer.read_body(request)
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + (b"ok" if request.body == body else b"no"))
        else:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    roomy.upstream.script = script
    roomy.upstream.hang_up()
    with roomy.sidekey.tls() as sock:
        sock.sendall(f"{'POST' if direction == 'up' else 'GET'} / HTTP/1.1\r\n{HOST}{f'Content-Length: {len(body)}' + chr(13) + chr(10) if direction == 'up' else ''}\r\n".encode())
        if direction == "up":
            sock.sendall(body)
        else:
            time.sleep(0.5)
        head, got = read_message(sock)
    roomy.upstream.script = wire.serve
    roomy.upstream.hang_up()
    assert status_of(head) == 200 and got == (b"ok" if direction == "up" else body)


def ask(sidekey):
    with sidekey.tls() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        return read_message(sock)[0]


def idle_tunnels(roomy, count, kib_each):
    """count tunnels at once; the server's ends are only kept, not threads of their own."""
    kept, listener = [], socket.create_server(("127.0.0.1", 0), backlog=1024)

    def keep():
        with contextlib.suppress(OSError):
            while True:
                kept.append(listener.accept()[0])
    threading.Thread(target=keep, daemon=True).start()
    config = json.loads(json.dumps(roomy.sidekey.config))
    config["network"]["resolve"][f"{TUNNEL}:443"] = "127.0.0.1:%d" % listener.getsockname()[1]
    sidekey = roomy.start(config, f"many{count}")
    first = sidekey.tunnel(f"{TUNNEL}:443")[0]
    before, socks = worker_kib(sidekey), [first]
    try:
        for _ in range(count - 1):
            sock, head = sidekey.tunnel(f"{TUNNEL}:443")
            assert status_of(head) == 200
            socks.append(sock)
        until("all tunnels", lambda: len(kept) == count)
        grown = worker_kib(sidekey) - before
        by_port = {sock.getpeername(): sock for sock in kept}
        assert len(by_port) == count
        for sock in socks[::97]:
            sock.sendall(b"still here")
        for sock in kept[::97]:
            assert sock.recv(100) == b"still here"
            sock.sendall(b"so are we")
        for sock in socks[::97]:
            assert sock.recv(100) == b"so are we"
        assert harness.SANITIZED or grown <= count * kib_each, f"{grown} KiB for {count} tunnels"
        status, text = sidekey.get_admin("/metrics")
        assert status == 200 and str(count) in text
    finally:
        for sock in [*socks, *kept, listener]:
            sock.close()
    sidekey.stop()
    roomy.running.remove(sidekey)


def allow_tunnels(count):
    """So many, or fewer where the hard limit of open files is lower: two for each, here and in the worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = count if hard == resource.RLIM_INFINITY else min(count, (hard - 500) // 2)
    if possible < count:
        warnings.warn(f"{hard} open files here: {possible} tunnels instead of {count}", stacklevel=2)
    assert possible >= 1500, f"only {hard} open files here"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * possible + 500), hard))
    return possible


@pytest.mark.serial
def test_7_two_thousand_idle_tunnels(roomy):
    idle_tunnels(roomy, allow_tunnels(2000), 8)


@pytest.mark.serial
@pytest.mark.world
@pytest.mark.release
@pytest.mark.slow
def test_7_ten_thousand_idle_tunnels(roomy):
    idle_tunnels(roomy, allow_tunnels(9990), 8)


# --- counts -------------------------------------------------------------------------------------------------------------------------------------------


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_7_without_file_descriptors_it_waits_and_never_spins(folder, pki):
    world = wire.World(folder / "emfile", pki, "emfile")
    sidekey = world.start(world.config(world.server()))
    assert status_of(ask(sidekey)) == 200
    worker = sidekey.child("worker")
    kept = sidekey.tls()
    used = len(os.listdir(f"/proc/{worker}/fd"))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 6, used + 6))
    crowd = [socket.create_connection(sidekey.proxy, timeout=harness.PATIENCE_S) for _ in range(40)]
    time.sleep(0.3)
    before = cpu_seconds(worker)
    time.sleep(1.0)
    spent = cpu_seconds(worker) - before
    assert spent < 0.3, f"{spent} s of CPU in a second of waiting"
    kept.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
    assert status_of(read_message(kept)[0]) in (200, 502), "who is in is served as far as descriptors go"
    for sock in crowd:
        sock.close()
    until("it serves again", lambda: quietly(lambda: status_of(ask(sidekey)) == 200))
    kept.close()
    world.close()


def quietly(check):
    try:
        return check()
    except (OSError, EOFError, AssertionError):
        return False


def test_7_beyond_the_limit_of_connections_new_ones_wait_outside(folder, pki):
    world = wire.World(folder / "crowd", pki, "crowd")
    sidekey = world.start(world.config(world.server(), limits={"connections": 4}))
    inside = [sidekey.tls() for _ in range(4)]
    for sock in inside: # an answer proves that the worker has counted it
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        assert status_of(read_message(sock)[0]) == 200
    with socket.create_connection(sidekey.proxy, timeout=0.5) as late:
        late.sendall(f"CONNECT {API}:443 HTTP/1.1\r\n{HOST}\r\n".encode())
        with pytest.raises(TimeoutError):
            late.recv(1)
        assert sidekey.get_admin("/livez")[0] == 200, "operators are not clients"
        inside.pop().close()
        late.settimeout(harness.PATIENCE_S)
        assert status_of(harness.read_head(late)) == 200
    for sock in inside:
        sock.close()
    world.close()


@pytest.mark.parametrize("first", ["", f"CONNECT {API}:443 HTTP/1.1\r\n", f"CONNECT {API}:443 HTTP/1.1\r\n{HOST}\r\n"])
def test_7_silent_strangers_keep_nobody_out(folder, pki, first):
    """Ten times as many connections as there are slots say nothing, half a head, or CONNECT and then nothing: who has a request is served meanwhile."""
    world = wire.World(folder / f"strangers{len(first)}", pki, "strangers")
    patient = {name: "10m" for name in DEADLINES}  # no deadline frees their places
    sidekey = world.start(world.config(world.server(), limits={**patient, "connections": 20}))
    silent = []
    for _ in range(200):
        silent.append(socket.create_connection(sidekey.proxy, timeout=harness.PATIENCE_S))
        silent[-1].sendall(first.encode())
    for _ in range(3):
        with sidekey.tls() as sock:
            sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
            assert status_of(read_message(sock)[0]) == 200
    for sock in silent:
        sock.close()
    world.close()


def test_7_a_client_has_its_share_of_the_connections(folder, pki):
    """One of two clients takes all it can get; the other one is served."""
    world = wire.World(folder / "shares", pki, "shares")
    words = {"greedy": "greedy-word-22aa", "modest": "modest-word-31bb"}
    world.secrets += words.values()
    clients = {name: {"password": world.secret(name, word), "rules": [API]} for name, word in words.items()}
    sidekey = world.start(world.config(world.server(), limits={"connections": 8}, clients=clients))

    def connect(name):
        sock = socket.create_connection(sidekey.proxy, timeout=harness.PATIENCE_S)
        word = base64.b64encode(f"{name}:{words[name]}".encode()).decode()
        sock.sendall(f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\nProxy-Authorization: Basic {word}\r\n\r\n".encode())
        return sock, status_of(harness.read_head(sock))
    taken = [connect("greedy") for _ in range(6)]
    assert [status for _, status in taken] == [200] * 4 + [503] * 2
    taken.append(connect("modest"))
    assert taken[-1][1] == 200
    taken[0][0].close()
    harness.until("its slot is free", lambda: connect("greedy")[1] == 200)
    for sock, _ in taken:
        sock.close()
    world.close()


# --- the end ------------------------------------------------------------------------------------------------------------------------------------------


class Leaving:
    """A sidekey that is told to end while one request is in flight; release() lets its answer come."""

    def __init__(self, folder, pki, drain):
        self.gate, self.begun = threading.Event(), threading.Event()
        self.world = wire.World(folder, pki, "leaving")
        server = self.world.server(self.script)
        self.sidekey = self.world.start(self.world.config(server, limits={"drain": drain}))
        self.idle = self.sidekey.tls()
        self.idle.sendall(f"GET /quick HTTP/1.1\r\n{HOST}\r\n".encode())
        read_message(self.idle)
        self.fresh = self.sidekey.tls()
        self.busy = self.sidekey.tls()
        self.busy.sendall(f"GET /slow HTTP/1.1\r\n{HOST}\r\n".encode())
        assert self.begun.wait(harness.PATIENCE_S)

    def script(self, peer):
        while request := peer.read():
            if request.target == "/slow":
                self.begun.set()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf" if self.half else b"")
                self.gate.wait(4 * harness.PATIENCE_S)
                peer.send(b"half" if self.half else wire.OK)
            else:
                peer.send(wire.OK)

    half = False

    def tell(self, number=signal.SIGTERM):
        os.kill(self.sidekey.pid, number)

    def refuses(self):
        try:
            socket.create_connection(self.sidekey.proxy, timeout=harness.PATIENCE_S).close()
            return False
        except OSError:
            return True

    def close(self):
        self.gate.set()
        self.sidekey.expected_dead = True
        for sock in (self.idle, self.fresh, self.busy):
            sock.close()
        self.world.close()


@pytest.fixture
def leaving(folder, pki, request):
    made = []

    def begin(drain):
        made.append(Leaving(folder / f"leaving-{request.node.name[:30]}", pki, drain))
        return made[0]
    yield begin
    made[0].close()


def test_7_sigterm_lets_the_request_in_flight_end_and_takes_no_other(leaving):
    scene = leaving("10m")
    scene.tell()
    assert wire.read_to_end(scene.idle) == (b"", "eof"), "an idle connection is closed at once"
    until("new connections are refused", scene.refuses)
    assert scene.sidekey.popen.poll() is None
    scene.gate.set()
    head, body = read_message(scene.busy)
    assert status_of(head) == 200 and body == b"ok" and field_of(head, "connection") == "close"
    assert wire.read_to_end(scene.busy) == (b"", "eof")
    assert scene.sidekey.popen.wait(harness.PATIENCE_S) == 0


def test_7_who_drains_is_alive_and_not_ready(leaving):
    scene = leaving("10m")
    assert scene.sidekey.get_admin("/readyz")[0] == 200
    scene.tell()
    until("it is not ready", lambda: scene.sidekey.get_admin("/readyz")[0] == 503)
    for path in ("/readyz", "/readyz?verbose", "/healthz"):
        status, text = scene.sidekey.get_admin(path)
        assert status == 503 and "draining" in text
    assert scene.sidekey.get_admin("/livez") == (200, "ok\n")
    assert "sidekey_connections" in scene.sidekey.get_admin("/metrics")[1]
    scene.gate.set()
    assert status_of(read_message(scene.busy)[0]) == 200, "what was in flight is finished all the same"
    assert scene.sidekey.popen.wait(harness.PATIENCE_S) == 0


def test_7_old_processes_that_drain_tell_operators_so_too(leaving):
    """After a reload the new processes end first at a SIGTERM: the old ones, with a request in flight, answer instead of them."""
    scene = leaving("10m")
    sidekey = scene.sidekey
    old = sidekey.child("worker")
    assert sidekey.reload() == (200, "reloaded\n")
    until("the new processes", lambda: len(sidekey.children()) == 4 and sidekey.get_admin("/readyz")[0] == 200)
    scene.tell()
    until("of the workers only the old one is left", lambda: [pid for pid, name in sidekey.children().items() if "worker" in name] == [old])
    for _ in range(3):
        status, text = sidekey.get_admin("/readyz")
        assert status == 503 and "draining" in text
    scene.gate.set()
    assert status_of(read_message(scene.busy)[0]) == 200
    assert sidekey.popen.wait(harness.PATIENCE_S) == 0


def test_7_when_only_a_keeper_is_left_operators_are_refused(folder, pki, auth, make_config, start):
    """A keeper waits for the token request that it has sent: until then nobody is there to answer, and nobody is left to wait."""
    auth.faults({"delay_ms": 10000})
    sidekey = start(make_config(limits={"drain": "1s"}))
    until("the token request is on its way", lambda: auth.counts["token_requests"] == 1)
    os.kill(sidekey.pid, signal.SIGTERM)
    until("only the keeper is left", lambda: [name for name in sidekey.children().values() if "worker" in name] == [])
    assert sidekey.children(), "the keeper is there"
    with pytest.raises(ConnectionError):
        sidekey.get_admin("/readyz")
    sidekey.expected_dead = True
    assert sidekey.popen.wait(harness.PATIENCE_S) == 0


def test_7_an_operator_who_says_nothing_delays_the_end_by_a_second_at_most(folder, pki):
    world = wire.World(folder / "mute", pki, "mute")
    sidekey = world.start(world.config(world.server(), limits={"drain": "10m"}))
    with socket.create_connection(sidekey.admin, timeout=harness.PATIENCE_S):
        os.kill(sidekey.pid, signal.SIGTERM)
        assert sidekey.popen.wait(harness.PATIENCE_S) == 0
    world.close()


def test_7_a_second_sigterm_ends_at_once(leaving):
    scene = leaving("10m")
    scene.tell()
    until("new connections are refused", scene.refuses)
    scene.tell()
    scene.sidekey.popen.wait(harness.PATIENCE_S)
    assert wire.read_to_end(scene.busy)[1] in ("eof", "broken")


def test_7_after_the_time_for_draining_what_still_runs_is_cut(leaving):
    scene = leaving("700ms")
    with ends(0.7):
        scene.tell()
        assert scene.sidekey.popen.wait(harness.PATIENCE_S) == 0
    answer, _ = wire.read_to_end(scene.busy)
    assert b"200" not in answer
