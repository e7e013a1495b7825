#!/usr/bin/env python3
"""How much later an event of a stream (text/event-stream, chunked) arrives when sidekey stands between: two streams of one server at the same time, one straight
over TLS and one through sidekey, each event with the time at which it was written.   BUILD=build tests/bench/sse.py [EVENTS]; --judge: exit status by the target"""
import pathlib
import re
import select
import socket
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "fakes")]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402
import wire  # noqa: E402
from idle import Upstream  # noqa: E402

EVENTS = 2000
EVERY_S = 0.005
TARGET_MS = 0.3
STAMP = re.compile(rb"data: (\d+)\n\n")


def stream(peer):
    events = int(peer.read().target.rpartition("=")[2])
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(events):
        event = b"data: %d\n\n" % time.monotonic_ns()
        peer.send(b"%x\r\n%s\r\n" % (len(event), event))
        time.sleep(EVERY_S)
    peer.send(b"0\r\n\r\n")


def straight(port, pki):
    context = wire.ssl.create_default_context(cafile=str(pki / "ca.pem"))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=harness.API)


def ask(sock, events):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(f"GET /?n={events} HTTP/1.1\r\nHost: {harness.API}\r\nAccept: text/event-stream\r\n\r\n".encode())


def listen(socks, events):
    """For each socket the milliseconds from writing to reading of each event."""
    delays, tails = {sock: [] for sock in socks}, dict.fromkeys(socks, b"")
    end = time.monotonic() + events * EVERY_S * 4 + 20
    while any(len(d) < events for d in delays.values()):
        assert time.monotonic() < end, {s: len(d) for s, d in delays.items()}
        ready = [s for s in socks if s.pending()] or select.select(socks, [], [], 1)[0]
        for sock in ready:
            data = sock.recv(65536)
            now = time.monotonic_ns()
            assert data, "the stream ended early"
            text = tails[sock] + data
            found = list(STAMP.finditer(text))
            delays[sock] += [(now - int(m[1])) / 1e6 for m in found]
            tails[sock] = text[found[-1].end():] if found else text
    return [delays[sock] for sock in socks]


def row(name, delays):
    cut = statistics.quantiles(delays, n=100)
    print(f"{name:18} p50 {cut[49]:6.3f}   p90 {cut[89]:6.3f}   p99 {cut[98]:6.3f} ms")
    return cut[49]


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith("-")]
    events = int(arguments[0]) if arguments else EVENTS
    with tempfile.TemporaryDirectory(prefix="sk-sse-") as where:
        folder = pathlib.Path(where)
        pki = pki_maker.make(folder / "pki")
        world = wire.World(folder / "world", pki, "sse")
        upstream = Upstream(world.tls, stream, threads=True)
        try:
            sidekey = world.start(world.config(upstream, log={"level": "warn"}))
            socks = [straight(upstream.port, pki), sidekey.tls()]
            for sock in socks:
                ask(sock, events)
            direct, proxied = listen(socks, events)
            for sock in socks:
                sock.close()
            sidekey.stop()
            sidekey.expected_dead = True
            world.close()
        finally:
            upstream.close()
    print(f"{events} events on each stream, one each {EVERY_S * 1000:.0f} ms, both streams at once")
    added = row("through sidekey", proxied) - row("straight", direct)
    print(f"added              p50 {added:6.3f} ms  (target {TARGET_MS})")
    return 0 if added <= TARGET_MS or "--judge" not in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
