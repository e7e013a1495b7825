"""Upstreams without manners, on a client connection that has served before: the client gets the whole answer, or 502 while nothing has been sent, or an abort that
it can see; the request goes out once; and what came too much is never somebody else's answer."""
import contextlib
import http.client
import socket
import time

import pytest
import wire
from harness import API, PATIENCE_S
from wire import status_of

from test_upstream_faults import POST, Scene, served_before

WHOLE = (200, b"whole")
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"


def head(status="200 OK", fields="", version="1.1"):
    return f"HTTP/{version} {status}\r\n{fields}\r\n".encode()


def says(*pieces, pause=0.0):
    """Reads the request, writes each piece on its own, and waits for the other side to close."""
    def script(peer):
        peer.read()
        for piece in pieces:
            peer.send(piece)
            time.sleep(pause)
        peer.fill()
    return script


def says_and(end, *pieces):
    def script(peer):
        peer.read()
        for piece in pieces:
            peer.send(piece)
        end(peer)
    return script


def without_reading(answer):
    def script(peer):
        peer.read_head()
        peer.send(answer)
    return script


def raw(peer):
    """The socket below TLS."""
    return socket.socket(fileno=peer.sock.detach())


def garbage(*before):
    def script(peer):
        peer.read()
        for piece in before:
            peer.send(piece)
        time.sleep(0.02)
        below = raw(peer)
        below.sendall(b"this is no record of TLS\r\n" * 3)
        below.settimeout(5)
        with contextlib.suppress(OSError):
            below.recv(1)
        below.close()
    return script


def linger(peer):
    peer.sock.settimeout(3)
    with contextlib.suppress(OSError):
        peer.fill()


CHUNKED = head(fields="Transfer-Encoding: chunked\r\n")
# name: (what the upstream does, what the client gets): (status, body), a status, or "abort"
RUDE = {
    "a head byte by byte": (says(*[SMALL[i:i + 1] for i in range(len(SMALL))], pause=0.001), WHOLE),
    "a head in two halves with a pause": (says(SMALL[:9], SMALL[9:], pause=0.2), WHOLE),
    "two answers in one write": (says(SMALL + OTHER), WHOLE),
    "two answers, one after the other": (says(SMALL, OTHER), WHOLE),
    "two answers, the second with a pause": (says(SMALL, OTHER, pause=0.1), WHOLE),
    "two answers in chunks": (says(CHUNKED + b"5\r\nwhole\r\n0\r\n\r\n" + OTHER), WHOLE),
    "more than its length": (says(SMALL + b"and more"), WHOLE),
    "more than its length, and close": (says_and(wire.Peer.cut, head(fields="Content-Length: 5\r\nConnection: close\r\n") + b"whole and more"), WHOLE),
    "close said, and not done": (says_and(linger, head(fields="Content-Length: 5\r\nConnection: close\r\n") + b"whole"), WHOLE),
    "100 that nobody asked for": (says(head("100 Continue") + SMALL), WHOLE),
    "100 twice": (says(head("100 Continue"), head("100 Continue"), SMALL, pause=0.01), WHOLE),
    "100 behind the answer": (says(SMALL + head("100 Continue")), WHOLE),
    "100 with a length": (says(head("100 Continue", "Content-Length: 5\r\n") + SMALL), WHOLE),
    "103 many times": (says(head("103 Early Hints", "Link: </a>\r\n") * 20 + SMALL), WHOLE),
    "103 without end": (says(head("103 Early Hints", "Link: </a>\r\n") * 5000 + SMALL), 502),
    "103, then close": (says_and(wire.Peer.end, head("103 Early Hints")), 502),
    "102, then nothing, then an answer": (says(head("102 Processing"), SMALL, pause=0.3), WHOLE),
    "101 that nobody asked for": (says(head("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: x\r\n") + b"whole"), 502),
    "HTTP/1.0 with a length": (says(head(fields="Content-Length: 5\r\n", version="1.0") + b"whole"), WHOLE),
    "HTTP/1.0 that stays": (says(head(fields="Content-Length: 5\r\nConnection: keep-alive\r\n", version="1.0") + b"whole"), WHOLE),
    "HTTP/1.0 until the end": (says_and(wire.Peer.end, head(version="1.0") + b"whole"), WHOLE),
    "HTTP/1.0 until a FIN without close_notify": (says_and(wire.Peer.cut, head(version="1.0") + b"whole"), "abort"),
    "HTTP/1.1 until the end": (says_and(wire.Peer.end, head() + b"whole"), WHOLE),
    "HTTP/1.1 until a reset": (says_and(wire.Peer.reset, head() + b"whole"), "abort"),
    "204 with a body": (says(head("204 No Content") + b"whole"), 204),
    "204 with a length and a body": (says(head("204 No Content", "Content-Length: 5\r\n") + b"whole"), 204),
    "304 with a body": (says(head("304 Not Modified", "Content-Length: 5\r\n") + b"whole"), 304),
    "205 with a body": (says(head("205 Reset Content", "Content-Length: 5\r\n") + b"whole"), (205, b"whole")),
    "no reason": (says(b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nwhole"), WHOLE),
    "no reason and no blank": (says(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nwhole"), WHOLE),
    "a reason in UTF-8": (says("HTTP/1.1 200 tr\u00e8s bien\r\nContent-Length: 5\r\n\r\nwhole".encode()), WHOLE),
    "an empty line before the head": (says(b"\r\n" + SMALL), 502),
    "lines of LF alone": (says(SMALL.replace(b"\r\n", b"\n")), 502),
    "a status of four digits": (says(head("2000 OK", "Content-Length: 5\r\n") + b"whole"), 502),
    "a status below 100": (says(head("099 No", "Content-Length: 5\r\n") + b"whole"), 502),
    "a status of 999": (says(head("999 Odd", "Content-Length: 5\r\n") + b"whole"), (999, b"whole")),
    "another protocol": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), 502),
    "a page without a head": (says_and(wire.Peer.end, b"<html>whole</html>"), 502),
    "ICY": (says(b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nwhole"), 502),
    "a length that is no number": (says(head(fields="Content-Length: five\r\n") + b"whole"), 502),
    "a length below zero": (says(head(fields="Content-Length: -5\r\n") + b"whole"), 502),
    "two lengths": (says(head(fields="Content-Length: 5\r\nContent-Length: 6\r\n") + b"whole"), 502),
    "a length and chunks": (says(head(fields="Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + b"5\r\nwhole\r\n0\r\n\r\n"), 502),
    "gzip, chunked": (says(head(fields="Transfer-Encoding: gzip, chunked\r\n") + b"5\r\nwhole\r\n0\r\n\r\n"), 502),
    "chunks with a pause in the size": (says(CHUNKED, b"0", b"5\r", b"\nwho", b"le\r", b"\n0\r\n", b"\r\n", pause=0.01), WHOLE),
    "chunks with trailers": (says(CHUNKED + b"5\r\nwhole\r\n0\r\nX-A: b\r\nX-A: c\r\n\r\n"), 200),
    "chunks without the last empty line": (says_and(wire.Peer.end, CHUNKED + b"5\r\nwhole\r\n0\r\n"), "abort"),
    "chunks of LF alone": (says(CHUNKED + b"5\nwhole\n0\n\n"), 502),
    "chunks that end with garbage": (says(CHUNKED, b"5\r\nwhole\r\n", b"zz\r\n", pause=0.05), "abort"),
    "a chunk of 2^63": (says(CHUNKED, b"8000000000000000\r\nwhole", pause=0.05), "abort"),
    "close_notify and no answer": (says_and(wire.Peer.end), 502),
    "FIN and no answer": (says_and(wire.Peer.cut), 502),
    "a reset and no answer": (says_and(wire.Peer.reset), 502),
    "garbage instead of TLS": (garbage(), 502),
    "garbage in the head": (garbage(SMALL[:20]), 502),
    "garbage in the body": (garbage(head(fields="Content-Length: 9\r\n") + b"whole"), "abort"),
    "garbage behind the answer": (garbage(SMALL), WHOLE),
    "a reset behind the answer at once": (says_and(wire.Peer.reset, SMALL), WHOLE),
    "an answer before the body was read": (without_reading(SMALL), WHOLE),
    "an answer of 408 before the body was read": (without_reading(head("408 Request Timeout", "Content-Length: 5\r\nConnection: close\r\n") + b"whole"), (408, b"whole")),
    "a head of a megabyte": (says(head(fields="X-A: " + "v" * (1 << 20) + "\r\nContent-Length: 5\r\n") + b"whole"), 502),
    "a body byte by byte": (says(head(fields="Content-Length: 5\r\n"), b"w", b"h", b"o", b"l", b"e", pause=0.02), WHOLE),
}


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "rude", pki)
    yield made
    made.world.close()


def receive(sock):
    """One answer as far as it comes: (status, body, all bytes); "abort" when the connection ended before it was whole."""
    recorded = Recorded(sock, pieces := [])
    sock.settimeout(PATIENCE_S)
    try:
        while True:
            answer = http.client.HTTPResponse(recorded)
            answer.begin()
            if answer.status >= 200 or answer.status == 101:
                break
        body = answer.read()
        return answer.status, body, b"".join(pieces)
    except (OSError, http.client.HTTPException) as error:
        return "abort", getattr(error, "partial", b""), b"".join(pieces)


class Recorded:
    """A socket for HTTPResponse, which reads past 1xx and knows what has no body."""

    def __init__(self, sock, pieces):
        self.sock, self.pieces = sock, pieces

    def makefile(self, mode):
        return self

    def readline(self, limit=-1):
        line = b""
        while not line.endswith(b"\n") and (piece := self.read(1)):
            line += piece
        return line

    def read(self, n):
        data = b""
        while len(data) < n and (piece := self.sock.recv(n - len(data))):
            data += piece
        self.pieces.append(data)
        return data

    def flush(self):
        pass

    def close(self):
        pass


def next_answer(scene, sock):
    """What a GET gets, on the same connection if it is open, else on another one."""
    get = f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode()
    try:
        sock.sendall(get)
        got = receive(sock)
        if got[0] != "abort":
            return got[:2]
    except OSError:
        pass
    fresh = scene.sidekey.tls()
    fresh.sendall(get)
    return receive(fresh)[:2]


@pytest.mark.parametrize("what", RUDE)
def test_a_rude_upstream_leads_to_a_whole_answer_502_or_a_visible_abort(scene, what):
    script, wanted = RUDE[what]
    with scene.playing(script):
        sock = served_before(scene)
        sock.sendall(POST)
        status, body, got = receive(sock)
        if wanted == "abort":  # or the fault came before anything had been sent on
            assert status == 502 or (status == "abort" and got.startswith(b"HTTP/1.1 200 OK")), got[:300]
        else:
            assert ((status, body) if isinstance(wanted, tuple) else status) == wanted, got[:300]
        assert [request.method for request in scene.upstream.requests] == ["POST"]
    assert next_answer(scene, sock) == (200, b"ok")
