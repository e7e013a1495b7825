"""docs/http.md §4: a request is sent again at most once, when that is safe, and the client sees one whole answer."""
import collections
import contextlib
import json
import os
import signal
import threading
import time

import harness
import pytest
import wire
from wire import field_of, read_message, status_of

NAMES = ("get", "head", "post", "chunked", "running", "large", "expect", "out", "other", "never", "broken", "long", "closing", "upgrade", "slow-token", "stale", "grpc", "first", "second", "third", "full", "small", "late")
CAP = 256 * 1024


class Scene:
    """One credential, host and rule for each name.  The API of NAME.again.test takes every token but the first."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "again")
        self.world.secrets += ["again-secret"]
        self.minted = collections.Counter()
        self.token_fault = {}
        self.endpoint = self.world.server(tls=False)
        self.endpoint.answer = self.mint
        self.upstream = self.world.server(lambda peer: self.scripts.get(peer.tls[2].split(".")[0], self.judge)(peer))
        self.scripts = {}
        hosts = {name: f"{name}.sidekey.test" for name in NAMES}
        config = self.world.config(self.upstream, hosts=hosts.values(), limits={"token_wait": "20s", "replay_body": "256KiB", "replay_total": "300KiB"})
        secret = self.world.secret("client", "again-secret")
        config["credentials"] = {name: {"grant": "client_credentials", "token_url": f"http://127.0.0.1:{self.endpoint.port}/{name}", "client_id": "x", "client_secret": secret,
                                        "forced_refresh_floor": "1s", "required": True} for name in NAMES}
        for name, rule in zip(NAMES, config["rules"]):
            rule["credential"] = name
        self.rule(config, "out")["on_unauthorized"] = {"statuses": []}
        self.rule(config, "other")["on_unauthorized"] = {"statuses": [403, 419]}
        self.rule(config, "grpc")["on_unauthorized"] = {"also": [{"status": 200, "header": {"name": "grpc-status", "equals": "16"}}]}
        self.sidekey = self.world.start(config)
        harness.until("all tokens", lambda: all(self.minted[name] for name in NAMES))
        time.sleep(1.2)  # the floor of forced refreshes, once for all

    @staticmethod
    def rule(config, name):
        return next(rule for rule in config["rules"] if rule["credential"] == name)

    def mint(self, request):
        name = request.target.strip("/")
        fault = self.token_fault.get(name)
        if fault and self.minted[name]:
            return fault
        self.minted[name] += 1
        body = json.dumps({"access_token": f"again-{name}-g{self.minted[name]}", "token_type": "Bearer", "expires_in": 3600})
        self.world.secrets.append(json.loads(body)["access_token"])
        return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    def judge(self, peer, refusal=401, body=b"refused"):
        while request := peer.read():
            if generation(request) >= 2:
                peer.send(wire.OK)
            else:
                peer.send(b"HTTP/1.1 %d No\r\nWWW-Authenticate: Bearer\r\nContent-Length: %d\r\n\r\n%s" % (refusal, len(body), body))

    def seen(self, name):
        return [request for request in self.upstream.requests if request.get("host") == f"{name}.sidekey.test"]

    def tls(self, name):
        return self.sidekey.tls(f"{name}.sidekey.test")


def generation(request):
    return int(request.get("authorization").rpartition("-g")[2])


def head(name, *lines, method="GET", path="/"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {name}.sidekey.test", *lines, "", ""]).encode()


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "again", pki)
    yield made
    made.world.close()


def twice(scene, name):
    """Two sends, the second with a newer token: the requests."""
    seen = scene.seen(name)
    assert [generation(request) for request in seen] == [1, 2], [request.head for request in seen]
    assert seen[0].target == seen[1].target and seen[0].method == seen[1].method
    return seen


def test_4_the_client_never_sees_the_first_401(scene):
    with scene.tls("get") as sock:
        sock.sendall(head("get", path="/a?b=c"))
        answer, body = read_message(sock)
        assert status_of(answer) == 200 and body == b"ok" and field_of(answer, "www-authenticate") is None
        sock.sendall(head("get"))
        assert status_of(read_message(sock)[0]) == 200, "and the connection lives on"
    assert [generation(request) for request in scene.seen("get")] == [1, 2, 2]
    assert scene.minted["get"] == 2


def test_4_a_head_request_is_sent_again(scene):
    def script(peer):
        while request := peer.read():
            peer.send(b"HTTP/1.1 %d X\r\nContent-Length: 7\r\n\r\n" % (200 if generation(request) > 1 else 401))
    scene.scripts["head"] = script
    with scene.tls("head") as sock:
        sock.sendall(head("head", method="HEAD"))
        assert status_of(read_message(sock, True)[0]) == 200
    twice(scene, "head")


def test_4_a_body_is_sent_again_as_it_was(scene):
    with scene.tls("post") as sock:
        body = bytes(range(256)) * 300
        sock.sendall(head("post", f"Content-Length: {len(body)}", method="POST") + body)
        assert status_of(read_message(sock)[0]) == 200
    first, second = twice(scene, "post")
    assert first.body == second.body == body


def test_4_a_chunked_body_is_sent_again_with_its_trailers(scene):
    with scene.tls("chunked") as sock:
        sock.sendall(head("chunked", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n")
        assert status_of(read_message(sock)[0]) == 200
    first, second = twice(scene, "chunked")
    assert first.body == second.body == b"hello world"
    assert first.trailers == second.trailers == b"X-Sum: 11\r\n"


def test_4_an_upload_that_still_runs_when_the_401_comes_is_read_on_and_replayed(scene):
    refused = threading.Event()

    def script(peer):
        request = peer.read_head()
        if generation(request) < 2:
            peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            refused.set()
            with contextlib.suppress(OSError):
                while peer.fill():
                    pass
            return
        peer.read_body(request)
        peer.send(wire.OK)
    scene.scripts["running"] = script
    body = b"r" * (CAP - 50_000)
    with scene.tls("running") as sock:
        sock.sendall(head("running", f"Content-Length: {len(body)}", method="POST") + body[:40_000])
        assert refused.wait(harness.PATIENCE_S)
        for at in range(40_000, len(body), 20_000):
            sock.sendall(body[at:at + 20_000])
            time.sleep(0.005)
        assert status_of(read_message(sock)[0]) == 200
    assert twice(scene, "running")[1].body == body


def explained(sidekey, credential):
    """What the log says of a refusal that the program has got: (reason, hint)."""
    def found():
        lines = [json.loads(line) for line in sidekey.out.read_text().splitlines() if "the upstream refused the token" in line and line.endswith("}")]
        return [(line["reason"], line["hint"]) for line in lines if line["credential"] == credential]
    return harness.until("the log explains it", found)[-1]


def test_4_a_body_beyond_the_cap_gets_the_401_itself(scene):
    def script(peer):
        while request := peer.read():
            peer.send(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 7\r\n\r\nrefused")
    scene.scripts["large"] = script
    before = counted(scene, "too_large")
    body = b"l" * (CAP + 100_000)
    with scene.tls("large") as sock:
        sock.sendall(head("large", f"Content-Length: {len(body)}", method="POST") + body)
        answer, text = read_message(sock)
    assert status_of(answer) == 401 and text == b"refused" and field_of(answer, "www-authenticate") == "Bearer"
    assert len(scene.seen("large")) == 1 and scene.seen("large")[0].body == body
    harness.until("it is counted", lambda: counted(scene, "too_large") > before)
    reason, hint = explained(scene.sidekey, "large")
    assert "too large" in reason and "limits.replay_body" in hint


def test_4_all_copies_of_a_worker_together_have_a_cap_and_give_it_back(scene):
    """Two uploads of 200 KiB, room for one: the second gets its 401 itself.  When both are over there is room again."""
    def script(peer):
        while request := peer.read():
            if generation(request) < 2:
                gate.wait(harness.PATIENCE_S)
                peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
            else:
                peer.send(wire.OK)

    def upload(name):
        sock = scene.tls(name)
        sock.sendall(head(name, f"Content-Length: {len(body)}", method="POST") + body)
        harness.until("it is there", lambda: scene.seen(name) and scene.seen(name)[0].body == body)
        return sock
    body, gate = b"t" * 200 * 1024, threading.Event()
    scene.scripts.update(first=script, second=script, third=script)
    socks = [upload("first"), upload("second")]
    gate.set()
    assert [status_of(read_message(sock)[0]) for sock in socks] == [200, 401]
    socks.append(upload("third"))
    assert status_of(read_message(socks[2])[0]) == 200
    for sock in socks:
        sock.close()
    assert [len(scene.seen(name)) for name in ("first", "second", "third")] == [2, 1, 2]
    assert scene.seen("third")[1].body == body


def test_4_a_small_body_is_sent_again_however_full_the_pool_is_and_stalled_copies_go_first(scene):
    """Uploads whose answers do not come fill it.  A small POST that meets a revoked token needs nothing of it; a large one gets the room of those that stand still."""
    gate = threading.Event()

    def script(peer):
        while request := peer.read():
            gate.wait(harness.PATIENCE_S)
            peer.send(wire.OK if generation(request) > 1 else b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")

    def post(name, size):
        sock = scene.tls(name)
        sock.sendall(head(name, f"Content-Length: {size}", method="POST") + b"b" * size)
        return sock
    scene.scripts["full"] = script
    held = [post("full", 240 * 1024), post("full", 92 * 1024)]
    harness.until("they are there", lambda: len([r for r in scene.seen("full") if r.body]) == 2)
    with post("small", 1000) as sock:
        assert status_of(read_message(sock)[0]) == 200
    assert [len(request.body) for request in scene.seen("small")] == [1000, 1000]
    time.sleep(2.1)  # from here on they stand still
    with post("late", 200 * 1024) as sock:
        assert status_of(read_message(sock)[0]) == 200
    assert len(scene.seen("late")) == 2
    gate.set()
    assert status_of(read_message(held[0])[0]) == 401, "its copy was given up"
    for sock in held:
        sock.close()


def counted(scene, action):
    text = scene.sidekey.get_admin("/metrics")[1]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("sidekey_unauthorized") and f'action="{action}"' in line)


def test_4_grpc_says_401_by_a_field_of_a_200(scene):
    """An answer of trailers only: grpc-status 16 (UNAUTHENTICATED) stands in its head.  Other codes are answers like any other."""
    def script(peer):
        while request := peer.read():
            code = 7 if request.target == "/denied" else 0 if generation(request) > 1 else 16
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: %d\r\nContent-Length: 0\r\n\r\n" % code)
    scene.scripts["grpc"] = script
    with scene.tls("grpc") as sock:
        for target, code, sends in (("/denied", "7", 1), ("/s/m", "0", 3), ("/denied", "7", 4)):
            sock.sendall(head("grpc", "Content-Length: 5", "TE: trailers", method="POST", path=target) + b"\0\0\0\0\0")
            answer, _ = read_message(sock)
            assert status_of(answer) == 200 and field_of(answer, "grpc-status") == code
            assert len(scene.seen("grpc")) == sends
    assert [generation(request) for request in scene.seen("grpc")] == [1, 1, 2, 2]
    assert {request.body for request in scene.seen("grpc")} == {b"\0\0\0\0\0"}


def test_4_with_expect_100_continue_the_second_send_is_free(scene):
    def script(peer):
        while request := peer.read_head():
            if generation(request) < 2:
                peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
                return
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.read_body(request)
            peer.send(wire.OK)
    scene.scripts["expect"] = script
    body = b"e" * (CAP * 4)  # beyond the cap: nothing of it was consumed at the 401
    with scene.tls("expect") as sock:
        sock.sendall(head("expect", "Expect: 100-continue", f"Content-Length: {len(body)}", method="POST"))
        assert status_of(read_message(sock)[0]) == 100, "of the second send"
        sock.sendall(body)
        assert status_of(read_message(sock)[0]) == 200
    first, second = twice(scene, "expect")
    assert first.get("expect") == second.get("expect") == "100-continue" and second.body == body


def test_4_a_rule_may_opt_out(scene):
    with scene.tls("out") as sock:
        sock.sendall(head("out"))
        answer, body = read_message(sock)
    assert status_of(answer) == 401 and body == b"refused"
    assert len(scene.seen("out")) == 1 and scene.minted["out"] == 1


def test_4_a_rule_may_name_other_statuses(scene):
    scene.scripts["other"] = lambda peer: scene.judge(peer, 419)
    with scene.tls("other") as sock:
        sock.sendall(head("other"))
        assert status_of(read_message(sock)[0]) == 200
    twice(scene, "other")
    scene.scripts["other"] = lambda peer: (peer.read(), peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    scene.upstream.hang_up()
    with scene.tls("other") as sock:
        sock.sendall(head("other"))
        assert status_of(read_message(sock)[0]) == 401
    assert len(scene.seen("other")) == 3, "401 is none of them"


def test_4_at_most_two_sends_and_the_second_answer_in_full(scene):
    def script(peer):
        while request := peer.read():
            text = b"answer %d" % generation(request)
            peer.send(b"HTTP/1.1 401 No\r\nX-Number: %d\r\nContent-Length: %d\r\n\r\n%s" % (generation(request), len(text), text))
    scene.scripts["never"] = script
    with scene.tls("never") as sock:
        sock.sendall(head("never"))
        answer, body = read_message(sock)
    assert status_of(answer) == 401 and body == b"answer 2" and field_of(answer, "x-number") == "2"
    twice(scene, "never")
    reason, hint = explained(scene.sidekey, "never")
    assert "newer token too" in reason and "scope" in hint


def test_4_without_a_newer_token_the_401_passes_whole(scene):
    scene.token_fault["broken"] = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{\"error\":\"invalid_client\"} "[:-1]
    with scene.tls("broken") as sock:
        sock.sendall(head("broken"))
        answer, body = read_message(sock)
        assert status_of(answer) == 401 and body == b"refused" and field_of(answer, "www-authenticate") == "Bearer"
    assert [generation(request) for request in scene.seen("broken")] == [1]
    reason, hint = explained(scene.sidekey, "broken")
    assert "invalid_client" in reason and "client_secret" in hint


def test_4_a_401_that_passes_because_the_keeper_stands_still_is_explained(start, make_config, auth):
    sidekey = start(make_config(limits={"token_wait": "2s"}))
    assert sidekey.request()[0] == 200
    auth.revoke_access()
    keeper = sidekey.child("keeper")
    os.kill(keeper, signal.SIGSTOP)
    try:
        assert sidekey.request()[0] == 401
    finally:
        os.kill(keeper, signal.SIGCONT)
    reason, hint = explained(sidekey, "crm")
    assert "limits.token_wait" in reason and "/livez" in hint
    lines = [json.loads(line) for line in sidekey.out.read_text().splitlines()]
    assert [(line["level"], line["reason"]) for line in lines if line["msg"] == "request" and line["status"] == 401] == [("warn", "unauthorized")]


def test_4_a_401_with_a_long_body_is_thrown_away_unread(scene):
    scene.scripts["long"] = lambda peer: scene.judge(peer, body=b"n" * 3_000_000)
    with scene.tls("long") as sock:
        sock.sendall(head("long"))
        answer, body = read_message(sock)
    assert status_of(answer) == 200 and body == b"ok"
    twice(scene, "long")


def test_4_a_401_that_ends_its_connection_is_sent_again_on_another(scene):
    def script(peer):
        request = peer.read()
        peer.send(wire.OK if generation(request) > 1 else b"HTTP/1.1 401 No\r\nConnection: close\r\n\r\nuntil the end")
    scene.scripts["closing"] = script
    with scene.tls("closing") as sock:
        sock.sendall(head("closing"))
        assert status_of(read_message(sock)[0]) == 200
    twice(scene, "closing")


def test_4_a_websocket_whose_handshake_gets_401_is_tried_again(scene):
    def script(peer):
        while request := peer.read_head():
            if generation(request) > 1:
                peer.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\nwelcome")
                return
            peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
    scene.scripts["upgrade"] = script
    with scene.tls("upgrade") as sock:
        sock.sendall(head("upgrade", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13"))
        assert status_of(harness.read_head(sock)) == 101
        assert wire.read_exactly(sock, 7) == b"welcome"
    first, second = twice(scene, "upgrade")
    assert first.get("upgrade") == second.get("upgrade") == "websocket"


def test_4_many_refused_at_once_cost_one_refresh(scene):
    def one(answers):
        with scene.tls("slow-token") as sock:
            sock.sendall(head("slow-token"))
            answers.append(status_of(read_message(sock)[0]))
    answers = []
    threads = [threading.Thread(target=one, args=(answers,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(harness.PATIENCE_S)
    assert answers == [200] * 12
    assert scene.minted["slow-token"] == 2


# --- connections that are closed at the worst moment ---------------------------------------------------------------------------------------------


class Stale:
    """A server that answers the first request of a connection and breaks off at the second, which it has read."""

    def __init__(self, scene, break_off, fresh_too=False):
        self.break_off, self.fresh_too, self.seen = break_off, fresh_too, []
        scene.scripts["stale"] = self.script
        scene.upstream.hang_up()

    def script(self, peer):
        served = 0
        while request := peer.read():
            self.seen.append(request.target)
            if request.target != "/warm" and (served or self.fresh_too):
                self.break_off(peer)
                return
            served += 1
            peer.send(wire.OK)


def clean(peer):
    peer.end()


def reset(peer):
    peer.reset()


def half_an_answer(peer):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-")
    time.sleep(0.05)
    peer.end()


def ask_stale(scene, method, *lines, body=b""):
    with scene.tls("stale") as sock:
        sock.sendall(head("stale", path="/warm"))
        assert status_of(read_message(sock)[0]) == 200
        sock.sendall(head("stale", *lines, method=method, path="/x") + body)
        return status_of(read_message(sock, method == "HEAD")[0])


@pytest.mark.parametrize("break_off", [clean, reset])
@pytest.mark.parametrize("method, lines, body, status, sends", [
    ("GET", (), b"", 200, 2), ("HEAD", (), b"", 200, 2), ("OPTIONS", (), b"", 200, 2), ("DELETE", (), b"", 200, 2),
    ("PUT", ("Content-Length: 5",), b"hello", 200, 2), ("PUT", ("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n", 200, 2),
    ("POST", ("Content-Length: 5",), b"hello", 502, 1), ("POST", (), b"", 502, 1), ("PATCH", ("Content-Length: 0",), b"", 502, 1),
])
def test_4_a_dead_connection_is_tried_anew_only_for_what_may_be_repeated(scene, break_off, method, lines, body, status, sends):
    server = Stale(scene, break_off)
    assert ask_stale(scene, method, *lines, body=body) == status
    assert server.seen == ["/warm"] + ["/x"] * sends


def test_4_after_the_first_byte_of_an_answer_nothing_is_tried_anew(scene):
    server = Stale(scene, half_an_answer)
    assert ask_stale(scene, "GET") == 502
    assert server.seen == ["/warm", "/x"]


@pytest.mark.parametrize("break_off", [clean, reset])
def test_4_a_fresh_connection_that_dies_is_no_stale_one(scene, break_off):
    """Also the second send gets no third."""
    server = Stale(scene, break_off, fresh_too=True)
    with scene.tls("stale") as sock:
        sock.sendall(head("stale", path="/x"))
        assert status_of(read_message(sock)[0]) == 502
    assert server.seen == ["/x"]
    server.seen.clear()
    assert ask_stale(scene, "GET") == 502
    assert server.seen == ["/warm", "/x", "/x"]


def test_4_an_idle_connection_that_becomes_readable_is_never_used(scene):
    """A server that says goodbye (408, as some do) while the connection waits in the pool: even a POST is safe."""
    def script(peer):
        peer.read()
        peer.send(wire.OK)
        time.sleep(0.05)
        peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        peer.delivered()
        gone.append(peer)
    gone = []
    scene.scripts["stale"] = script
    scene.upstream.hang_up()
    for turn in range(4):
        with scene.tls("stale") as sock:
            sock.sendall(head("stale", "Content-Length: 2", method="POST") + b"hi")
            assert status_of(read_message(sock)[0]) == 200
        harness.until("it has said goodbye", lambda turn=turn: len(gone) > turn)
        time.sleep(0.15)
