#!/usr/bin/env python3
"""What a connection that does nothing costs in memory, and what a reader who does not read costs: PSS of the workers, before and after.

Four kinds: opaque CONNECT tunnels; intercepted TLS connections after one request each, idle; WebSockets (TLS on both legs); slow readers of a 1 GiB answer.
The kernel's socket buffers are not in these figures.   BUILD=build tests/bench/idle.py [CONNECTIONS]; with --judge the exit status says whether the targets hold."""
import contextlib
import os
import pathlib
import re
import resource
import select
import socket
import ssl
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "fakes")]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402
import wire  # noqa: E402

CONNECTIONS = 10_000
SPARE_FILES = 300
PARKED_S = 3.5  # sidekey parks what was idle for two seconds
TARGET_IDLE_KB = 20
TARGET_TLS_KB = 25  # of one TLS leg; OpenSSL holds most of it: tests/bench/memory.py compares with haproxy
TARGET_READER_KIB = 256
READERS = 8
GIB = 1 << 30
OPAQUE = "opaque.sidekey.test"
HELLO = b"x" * 4096


def raise_files():
    """The soft limit to the hard one, for this process and what it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


def held(peer):
    """The upstream of tunnels and WebSockets: says what is asked of it once, then nothing."""
    request = peer.read_head()
    if request and request.get("upgrade"):
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")


def answer_all(peer):
    while peer.read():
        peer.send(wire.OK)
        peer.server.requests.clear()
        peer.requests.clear()


def echo(peer):
    peer.send(peer.take(len(HELLO)))


def pour(peer):
    """A GiB to each, as fast as it is taken."""
    block = b"\0" * 65536
    while peer.read():
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
        for _ in range(GIB // len(block)):
            peer.send(block)


class Upstream:
    """A server in a process of its own (its memory and descriptors are not the client's): plays the script with each connection and keeps it."""

    def __init__(self, context, script, threads=False):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.requests, self.log, self.kept = [], [], []
        self.context, self.script, self.threads = context, script, threads
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                self.serve()
            os._exit(0)

    def serve(self):
        while True:
            sock, _ = self.listener.accept()
            if self.threads:
                threading.Thread(target=self.play, args=(sock,), daemon=True).start()
            else:
                self.play(sock)

    def play(self, sock):
        with contextlib.suppress(OSError):
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            self.kept.append(sock)
            self.log.clear()
            self.script(wire.Peer(self, sock))

    def close(self):
        self.listener.close()
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def pss_kib(sidekey):
    total = 0
    for pid, name in sidekey.children().items():
        if "worker" in name:
            total += int(re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return total


def open_opaque(sidekey, _context):
    sock, head = sidekey.tunnel(f"{OPAQUE}:443")
    assert wire.status_of(head) == 200, head
    sock.sendall(HELLO)
    assert wire.read_exactly(sock, len(HELLO)) == HELLO
    return sock


def ask(sock):
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {harness.API}\r\nAuthorization: x\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode())
    assert harness.read_answer(sock).endswith(b"ok")


def open_intercepted(sidekey, context):
    sock = sidekey.tls(context=context)
    ask(sock)
    return sock


def open_websocket(sidekey, context):
    sock = sidekey.tls(context=context)
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {harness.API}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    assert harness.read_head(sock).startswith(b"HTTP/1.1 101")
    return sock


def open_slow(sidekey, context):
    sock = sidekey.tls(context=context)
    sock.sendall(f"GET / HTTP/1.1\r\nHost: {harness.API}\r\n\r\n".encode())
    assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    return sock


def each(sidekey, opener, count, warm):
    """KiB of PSS for each of count connections, beyond what the first few cost."""
    context = sidekey.context()
    first = [opener(sidekey, context) for _ in range(warm)]
    time.sleep(PARKED_S)
    before = pss_kib(sidekey)
    began = time.monotonic()
    rest = [opener(sidekey, context) for _ in range(count)]
    opened = time.monotonic() - began
    time.sleep(PARKED_S)
    after = pss_kib(sidekey)
    held = select.poll()
    for sock in first + rest:
        held.register(sock, select.POLLIN | select.POLLRDHUP)
    assert not held.poll(0), "a connection was not held"
    for sock in first if opener is open_intercepted else []:
        ask(sock)  # parked, it still serves
    for sock in first + rest:
        sock.close()
    return (after - before) / count, opened, after


def slow_readers(sidekey, count):
    """As each(): the most seen while every reader takes 4 KiB each 50 ms for three seconds."""
    context = sidekey.context()
    first = [open_slow(sidekey, context) for _ in range(2)]
    time.sleep(0.5)
    before = most = pss_kib(sidekey)
    began = time.monotonic()
    rest = [open_slow(sidekey, context) for _ in range(count)]
    opened = time.monotonic() - began
    for _ in range(60):
        for sock in rest:
            with contextlib.suppress(ssl.SSLWantReadError):
                sock.recv(4096)
        most = max(most, pss_kib(sidekey))
        time.sleep(0.05)
    for sock in first + rest:
        sock.close()
    return (most - before) / count, opened, most


def run(name, folder, pki, count, script, measure, tls=True, threads=False, workers=1, limit_kb=TARGET_IDLE_KB):
    """One kind against a sidekey of its own.  True when it is within its limit."""
    folder = folder / name.replace(" ", "-")
    world = wire.World(folder, pki, "idle")
    upstream = Upstream(world.tls if tls else None, script, threads)
    try:
        limits = {"connections": 20_000, "connect_head": "5m", "per_upstream": 20_000, "drain": "1s"}
        sidekey = world.start(world.config(upstream, limits=limits, workers=workers, log={"level": "warn"}, unmatched="tunnel",
                                           resolve={f"{OPAQUE}:443": f"127.0.0.1:{upstream.port}"}))
        kib, seconds, whole = measure(sidekey, count)
        fits = kib * 1.024 <= limit_kb
        print(f"{name:32} {count:6} x {kib * 1.024:7.1f} kB  (target {limit_kb:.0f})   worker{'s' if workers > 1 else ' '} {whole / 1024:6.1f} MiB, "
              f"opened in {seconds:5.1f} s{'' if fits else '   OVER'}", flush=True)
        sidekey.stop()
        sidekey.expected_dead = True
        world.close()
        return fits
    finally:
        upstream.close()


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("-")]
    want = int(arguments[0]) if arguments else CONNECTIONS
    files = raise_files()
    count = min(want, files - SPARE_FILES)
    workers = 1 if 2 * count + SPARE_FILES <= files else 2  # an opaque tunnel holds two descriptors
    if count < want or workers > 1:
        print(f"RLIMIT_NOFILE is {files}: {want} tunnels in one worker need {2 * want + SPARE_FILES} (ulimit -Hn); "
              f"{count} of them in {workers} worker{'s' if workers > 1 else ''} are measured")
    sockets = min(count, 2000)
    with tempfile.TemporaryDirectory(prefix="sk-idle-") as where:
        folder = pathlib.Path(where)
        pki = pki_maker.make(folder / "pki")

        def idle(opener):
            return lambda sidekey, n: each(sidekey, opener, n, 32)
        held_well = [
            run("opaque tunnel", folder, pki, count, echo, idle(open_opaque), tls=False, workers=workers),
            run("intercepted, between requests", folder, pki, count, answer_all, idle(open_intercepted), threads=True, limit_kb=TARGET_TLS_KB),
            run("WebSocket, TLS on both legs", folder, pki, sockets, held, idle(open_websocket), limit_kb=2 * TARGET_TLS_KB),
            run("slow reader of 1 GiB", folder, pki, READERS, pour, slow_readers, threads=True, limit_kb=TARGET_READER_KIB * 1.024),
        ]
    return 0 if all(held_well) or "--judge" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
