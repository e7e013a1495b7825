"""No request may be forgotten: many short connections, new handshakes, held 401s and uploads at once, and nobody waits longer than work explains."""
import collections
import contextlib
import hashlib
import json
import os
import random
import signal
import threading
import time

import harness
import pytest
import wire
from wire import read_message, status_of

SECONDS = float(os.environ.get("STALL_SECONDS", "12"))
CLIENTS = 12
STALLED = 30.0  # an answer takes milliseconds, on a slow machine seconds; sidekey's own limits are a minute here
HOSTS = [f"h{n}.sidekey.test" for n in range(4)]
SIZES = [0, 0, 1, 300, 16_384, 70_000, 250_000, 900_000]


class Storm:
    """An API that wants a newer token every second, refuses before it has read the body, pauses and hangs up as it likes."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "storm")
        self.minted, self.wanted, self.over = 0, 1, False
        self.endpoint = self.world.server(tls=False)
        self.endpoint.answer = self.mint
        self.upstream = self.world.server(self.script)
        config = self.world.config(self.upstream, hosts=HOSTS)
        config["credentials"] = {"crm": {"grant": "client_credentials", "token_url": f"http://127.0.0.1:{self.endpoint.port}/", "client_id": "x",
                                         "client_secret": self.world.secret("client", "storm-secret"), "forced_refresh_floor": "1s", "required": True}}
        self.sidekey = self.world.start(config)
        harness.until("a token", lambda: self.minted)

    def mint(self, _request):
        self.minted += 1
        body = json.dumps({"access_token": f"storm-g{self.minted}", "token_type": "Bearer", "expires_in": 3600})
        return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def script(self, peer):
        chance = random.Random()
        while request := peer.read_head():
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.01)
            if int(request.get("authorization").rpartition("-g")[2]) < self.wanted:
                how = chance.choice(["early", "late", "close"])
                if how == "late":
                    peer.read_body(request)
                peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n%s\r\nno" % (b"Connection: close\r\n" if how == "close" else b""))
                if how == "close":
                    return
                if how == "early":
                    peer.read_body(request)
                continue
            peer.read_body(request)
            told = hashlib.sha256(request.body).hexdigest().encode()
            close = chance.random() < 0.3
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n%s\r\n%s" % (b"Connection: close\r\n" if close else b"", told))
            del peer.requests[:], peer.server.requests[:], peer.server.log[:]
            peer.received, peer.taken = peer.received[peer.taken:], 0
            if close:
                return

    def ask(self, sock, host, chance):
        size = chance.choice(SIZES)
        body = random.randbytes(size)
        framing = "Transfer-Encoding: chunked" if size and chance.random() < 0.3 else f"Content-Length: {size}"
        head = f"{'PUT' if size else 'GET'} /x HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n".encode()
        data = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body) if "chunked" in framing else body
        if chance.random() < 0.5:
            head, data = head + data[:1000], data[1000:]
        sock.sendall(head)
        at = 0
        while at < len(data):
            step = chance.randrange(1, 200_000)
            sock.sendall(data[at:at + step])
            at += step
            if chance.random() < 0.2:
                time.sleep(chance.random() * 0.005)
        answer, text = read_message(sock)
        return status_of(answer), text == hashlib.sha256(body).hexdigest().encode(), answer

    def client(self, seed, tally, stalls):
        chance = random.Random(seed)
        while not self.over:
            host = chance.choice(HOSTS)
            began, what = time.monotonic(), "connect"
            try:
                with self.sidekey.tls(host, timeout=STALLED) as sock:
                    for _ in range(chance.choice([1, 1, 2, 5])):
                        began, what = time.monotonic(), "request"
                        status, right, answer = self.ask(sock, host, chance)
                        tally[status] += 1
                        if status not in (200, 401, 502) or (status == 200 and not right):
                            stalls.append((seed, status, right, answer))
                        if b"onnection: close" in answer:
                            break
            except TimeoutError:
                stalls.append((seed, what, time.monotonic() - began))
            except (OSError, EOFError) as error:
                tally[type(error).__name__] += 1

    def hold_up(self):
        """Stops the worker for some milliseconds, again and again: what came meanwhile comes at once, as to a loop that is busy."""
        chance = random.Random(0)
        worker = self.sidekey.child("worker")
        while not self.over:
            os.kill(worker, signal.SIGSTOP)
            time.sleep(chance.random() * 0.01)
            os.kill(worker, signal.SIGCONT)
            time.sleep(chance.random() * 0.01)


@pytest.fixture
def storm(folder, pki):
    made = Storm(folder / "storm", pki)
    yield made
    made.world.close()


@pytest.mark.slow
def test_nobody_is_left_waiting(storm):
    tally, stalls = collections.Counter(), []
    threads = [threading.Thread(target=storm.client, args=(seed, tally, stalls)) for seed in range(CLIENTS)]
    threads.append(threading.Thread(target=storm.hold_up))
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not stalls:
        time.sleep(1.3)  # longer than the floor of forced refreshes
        storm.wanted = storm.minted + 1
        storm.upstream.peers[:] = [peer for peer in storm.upstream.peers if peer.sock.fileno() >= 0]
    storm.over = True
    for thread in threads:
        thread.join(STALLED * 3)
    assert not stalls, (stalls[:3], tally)
    assert tally[200] > CLIENTS and tally[200] > sum(tally.values()) - tally[200], tally
