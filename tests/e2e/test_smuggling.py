"""docs/http.md §2, §3: what could mean two things is refused; all else is written anew, so that every reader reads the same."""
import contextlib
import os
import re
import socket

import h11
import harness
import pytest
import wire
from cases import chance, framing
from harness import API
from wire import TOKEN, status_of

QUIET_S = harness.PATIENCE_S


class Scene:
    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "smuggling")
        self.upstream = self.world.server(self.script)
        self.answers = None  # bytes for the next request instead of the usual answer, then the connection ends
        self.stays = False  # … or it stays, and the server answers whatever comes
        self.sidekey = self.world.start(self.world.config(self.upstream))
        self.reader = wire.Reader()
        self.plain_reader = wire.PlainReader()

    def script(self, peer):
        while request := peer.read_head():
            if self.answers is not None:
                peer.send(self.answers)
                if not self.stays:
                    return
                continue
            if peer.read_body(request).body is None:
                return  # cut short
            peer.send(wire.OK)

    def close(self):
        self.reader.close()
        self.plain_reader.close()
        self.world.close()


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "smuggling", pki)
    yield made
    made.close()


def exchange(scene, payload):
    """(what came back, how it ended): with the client still there, so that whoever ends it is the proxy."""
    with strict_tls(scene) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(payload)
        return wire.read_to_end(sock)


def strict_tls(scene):
    """A TLS client that tells a clean end from a cut one."""
    sock, _ = scene.sidekey.tunnel(timeout=QUIET_S)
    return scene.sidekey.context().wrap_socket(sock, server_hostname=API, suppress_ragged_eofs=False)


# --- three readers that are not ours ---------------------------------------------------------------------------------------------------------


def read_by_h11(connection, data):
    """The messages that h11 finds."""
    found = []
    connection.receive_data(data)
    connection.receive_data(b"")
    while True:
        event = connection.next_event()
        if isinstance(event, (h11.Request, h11.Response)):
            found.append({"raw": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in event.headers.raw_items()], "body": "", "trailers": []})
            if isinstance(event, h11.Request):
                found[-1].update(method=event.method.decode(), url=event.target.decode("latin-1"))
            else:
                found[-1].update(status=event.status_code)
        elif isinstance(event, h11.Data):
            found[-1]["body"] += event.data.decode("latin-1")
        elif isinstance(event, h11.EndOfMessage):
            found[-1]["trailers"] = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in event.headers.raw_items()]
        elif not isinstance(event, h11.InformationalResponse):
            return found


def pairs(flat):
    return [list(pair) for pair in zip(flat[::2], flat[1::2])]


def values(message, name):
    return [value for key, value in message["raw"] if key.lower() == name.lower()]


def judge(message, wanted, who):
    for key in ("method", "status", "body"):
        if key in wanted:
            assert message[key] == wanted[key], (who, key, message)
    if "target" in wanted:
        assert message["url"] == wanted["target"], (who, message["url"])
    for name, expected in wanted["has"].items():
        assert values(message, name) == expected, (who, name, message["raw"])
    for name in wanted["lacks"]:
        assert values(message, name) == [], (who, name, message["raw"])
    assert message["trailers"] == wanted["trailers"], (who, message["trailers"])


def opaque(data):
    """(the same bytes with GET for the first method and letters for what is over 0x7f in the first target, method, target).
    Readers know methods by a list and some refuse such bytes; what is asked of them is where the message ends and which fields it has."""
    line, _, rest = data.partition(b"\r\n")
    method, target, version = line.split(b" ")
    return b" ".join([b"GET", bytes(c if c < 0x80 else ord("u") for c in target), version]) + b"\r\n" + rest, method.decode(), target.decode("latin-1")


def read_alike(scene, kind, data, wanted, method="GET"):
    """All readers find exactly this one message in the bytes."""
    if kind == "request":
        data, sent, target = opaque(data)
        assert (sent, target) == (wanted["method"], wanted["target"]), data[:200]
        wanted = {key: value for key, value in wanted.items() if key not in ("method", "target")}
    for who, reader in (("node", scene.reader), ("llhttp", scene.plain_reader)):
        found = reader.read(kind, data, method)
        assert found["error"] is None and len(found["messages"]) == 1, (who, found, data)
        message = found["messages"][0]
        judge({**message, "raw": pairs(message["raw"]), "trailers": pairs(message["trailers"])}, wanted, who)
    connection = h11.Connection(h11.SERVER if kind == "request" else h11.CLIENT, max_incomplete_event_size=1 << 17)
    if kind == "response":
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
    found = read_by_h11(connection, data)
    assert len(found) == 1, found
    judge({**found[0], "body": found[0]["body"]}, wanted, "h11")


def test_2_the_table_has_more_than_four_hundred_cases_and_names_each_once():
    tables = (framing.REFUSED_REQUESTS, framing.PASSED_REQUESTS, framing.REFUSED_ANSWERS, framing.BROKEN_ANSWERS, framing.CLEANED_ANSWERS,
              framing.PASSED_ANSWERS)
    names = re.findall(r'^    "(?:[^"\\]|\\.)+": \(', (harness.ROOT / "tests/e2e/cases/framing.py").read_text(), re.M)
    assert sum(map(len, tables)) == len(names) > 400, "a name that is given twice hides a case"


# --- requests ------------------------------------------------------------------------------------------------------------------------------------


def complete(scene, data):
    """The requests that a lenient upstream could take for whole."""
    return scene.reader.read("request", data)["messages"] if data else []


@pytest.mark.parametrize("what", framing.REFUSED_REQUESTS)
def test_2_a_request_that_could_mean_two_things_is_refused_and_the_connection_closed(scene, what):
    raw, status = framing.REFUSED_REQUESTS[what]
    before = scene.upstream.mark()
    answer, end = exchange(scene, raw.encode("latin-1"))
    assert status_of(answer) == status, answer[:300]
    assert b"\r\nproxy-status: sidekey; error=" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1, "§2: after a parse error the connection is not used again"
    assert end == "eof", "the client can read the whole answer, and then the end"
    assert complete(scene, scene.upstream.since(before)) == []
    assert b"smuggled" not in scene.upstream.since(before)


@pytest.mark.parametrize("what", framing.PASSED_REQUESTS)
def test_3_what_is_forwarded_is_read_alike_by_every_reader(scene, what):
    raw, wanted = framing.PASSED_REQUESTS[what]
    before = scene.upstream.mark()
    with scene.sidekey.tls(timeout=QUIET_S) as sock:
        sock.sendall(raw.encode("latin-1"))
        head, _ = wire.read_message(sock)
    assert status_of(head) == 200, head
    data = scene.upstream.since(before)
    wanted = {**wanted, "has": {"host": [API], "authorization": [f"Bearer {TOKEN}"], **wanted["has"]}}
    read_alike(scene, "request", data, wanted)
    assert data.split(b"\r\n")[0].endswith(b" HTTP/1.1")
    assert b"Via: " in data


def first_request(scene, data):
    """(how many whole requests llhttp finds, the first one as each of the three reads it)"""
    readings = []
    with contextlib.suppress(ValueError):  # half a request line
        data = opaque(data)[0]
    for reader in (scene.reader, scene.plain_reader):
        found = reader.read("request", data)["messages"]
        readings.append([(m["method"], m["url"], pairs(m["raw"]), m["body"], pairs(m["trailers"])) for m in found])
    assert len(readings[0]) == len(readings[1]), (readings, data)
    if not readings[0]:
        return 0, []
    m = read_by_h11(h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 17), data)[0]
    return len(readings[0]), [readings[0][0], readings[1][0], (m["method"], m["url"], m["raw"], m["body"], m["trailers"])]


@pytest.mark.slow
def test_3_what_chance_makes_of_the_table_is_refused_or_read_alike(scene):
    """SMUGGLING_SEED and SMUGGLING_CASES choose others and more of them."""
    seed, forwarded = int(os.environ.get("SMUGGLING_SEED", "1")), 0
    for n in range(int(os.environ.get("SMUGGLING_CASES", "500"))):
        raw, before = chance.request(f"{seed}-{n}").replace(b"\r\n", b"\r\nX-Case: %d\r\n" % n, 1), len(scene.upstream.log)
        with scene.sidekey.tls() as sock:
            sock.settimeout(0.15)
            with contextlib.suppress(OSError):
                sock.sendall(raw)
            answer, end = wire.read_to_end(sock)
        sent = {}
        for peer, piece in scene.upstream.log[before:]:
            sent[peer] = sent.get(peer, b"") + piece
        for data in sent.values():
            case = re.search(rb"X-Case: (\d+)", data)
            whole, readings = first_request(scene, data)
            if not whole or (case and int(case[1]) != n):  # one that came too late for its own turn
                continue
            assert b"HTTP/1.1 200 OK" in answer or end == "open", ("whole for the upstream, refused for the client", seed, n, raw, data)
            assert readings[0] == readings[1] == readings[2], (seed, n, raw, data)
            assert [value for name, value in readings[0][2] if name.lower() == "host"] == [API], (seed, n, raw, data)
            assert data.count(f"Bearer {TOKEN}".encode()) >= whole, (seed, n, raw, data)
            forwarded += 1
    assert forwarded > 20, "chance was too hard on them: nothing was compared"


def test_3_names_keep_their_case_and_order(scene):
    before = scene.upstream.mark()
    with scene.sidekey.tls() as sock:
        sock.sendall((framing.GET + "X-b: 1\r\nx-A: 2\r\nX-B: 3\r\n\r\n").encode())
        wire.read_message(sock)
    assert b"\r\nX-b: 1\r\nx-A: 2\r\nX-B: 3\r\n" in scene.upstream.since(before)


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_2_the_verdict_is_the_same_however_the_bytes_are_cut(scene, cut):
    """Pieces of a few bytes, each in a record of its own."""
    for raw, status in (("GET / HTTP/1.1\r\n" + framing.H + "X-A : b\r\n\r\n", 400), (framing.chunked("2\r\nabc\r\n0\r\n\r\n"), 400),
                        (framing.chunked("2;x=\"y\"\r\nab\r\n0\r\nX-A: 1\r\n\r\n"), 200), (framing.GET + "\r\n", 200)):
        with scene.sidekey.tls(timeout=QUIET_S) as sock:
            for at in range(0, len(raw), cut):
                with contextlib.suppress(OSError):
                    sock.sendall(raw[at:at + cut].encode("latin-1"))
            assert status_of(wire.read_message(sock)[0]) == status, raw


def test_2_a_request_behind_a_refused_one_is_never_answered(scene):
    for raw in ("POST / HTTP/1.1\r\n" + framing.H + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + framing.NEXT,
                framing.chunked("zz\r\n\r\n" + framing.NEXT)):
        before = scene.upstream.mark()
        answer, _ = exchange(scene, raw.encode())
        assert status_of(answer) == 400 and answer.count(b"HTTP/1.1") == 1
        assert b"/smuggled" not in scene.upstream.since(before)


def test_2_neither_leg_is_used_after_a_parse_error(scene):
    """The upstream connection that holds half a body is gone: the next request has one of its own."""
    answer, _ = exchange(scene, framing.chunked("3\r\nabc\r\nzz\r\n").encode())
    assert status_of(answer) == 400
    half = scene.upstream.requests[-1]
    before = scene.upstream.mark()
    assert status_of(exchange(scene, (framing.GET + "Connection: close\r\n\r\n").encode())[0]) == 200
    users = {peer for peer, _ in scene.upstream.log[before:]}
    assert not [peer for peer in users if half in peer.requests]


@pytest.mark.parametrize("size", [65536, 65530])
def test_2_a_head_without_room_for_what_we_add_is_431(scene, size):
    """It fits as it comes; with Via and Authorization it would have more than 64 KiB."""
    before = scene.upstream.mark()
    with scene.sidekey.tls(timeout=QUIET_S) as sock:
        head = framing.GET + "\r\n"
        sock.sendall(head.replace("\r\n\r\n", f"\r\nX-A: {'v' * (size - len(head) - 7)}\r\n\r\n").encode())
        assert status_of(wire.read_message(sock)[0]) == 431 and scene.upstream.since(before) == b""


def test_2_no_lenient_flag_of_llhttp_is_ever_set():
    """Each of them is a way to smuggle; what they forgive is refused by name."""
    sources = [*(harness.ROOT / "sidecar").rglob("*.[ch]")]
    assert len(sources) > 100
    assert [path for path in sources if "llhttp_set_lenient" in path.read_text()] == []


def test_2_what_comes_behind_a_refused_connect_is_never_read(scene):
    """The bytes behind a CONNECT are the other protocol's, also when there will be none."""
    hidden = f"GET http://{API}/smuggled HTTP/1.1\r\nHost: {API}\r\n\r\n"
    for target in ("169.254.169.254:443", "user@x:443", "127.0.0.1:1"):
        with socket.create_connection(scene.sidekey.proxy, timeout=QUIET_S) as sock:
            sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{hidden}".encode())
            answer, end = wire.read_to_end(sock)
        assert status_of(answer) in (400, 403) and answer.count(b"HTTP/1.1 ") == 1 and end == "eof", answer


ACCEPT = "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"
HANDSHAKE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"


def test_2_what_comes_behind_a_refused_upgrade_is_a_request_and_judged(scene):
    """RFC 9110 §7.8: until the 101 it is HTTP.  The second one names another host."""
    before = scene.upstream.mark()
    with scene.sidekey.tls(timeout=QUIET_S) as sock:
        sock.sendall((framing.GET + HANDSHAKE + "\r\nGET /smuggled HTTP/1.1\r\nHost: evil.sidekey.test\r\n\r\n" + framing.GET + "Authorization: mine\r\n\r\n").encode())
        assert [status_of(wire.read_message(sock)[0]) for _ in range(3)] == [200, 421, 200]
    data = scene.upstream.since(before)
    assert b"smuggled" not in data and b"mine" not in data and data.count(f"Bearer {TOKEN}".encode()) == 2


def test_2_behind_a_101_nothing_is_read_as_http_and_nothing_gets_the_token(scene):
    """A tunnel is a tunnel: what looks like a request in it goes by untouched, and its connection never comes back to the pool."""
    before = scene.upstream.mark()
    with answering(scene, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + ACCEPT + "\r\n"
                          "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"):
        answer, _ = exchange(scene, (framing.GET + HANDSHAKE + "\r\n" + framing.GET + "Authorization: mine\r\n\r\n").encode())
    assert status_of(answer) == 101 and answer.endswith(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), "§4: an upgraded request is not sent again"
    assert scene.upstream.since(before).count(f"Bearer {TOKEN}".encode()) == 1
    assert status_of(ask(scene)[0]) == 200
    assert scene.upstream.peers[-1].requests[0].get("upgrade") is None, "on a connection of its own"


@pytest.mark.parametrize("expect", ["Expect: 100-continue\r\n", "", "Expect: y 100-continue\r\n"])
@pytest.mark.parametrize("status", ["200 OK", "417 No", "302 Found"])
def test_2_an_answer_before_the_body_costs_both_connections(scene, expect, status):
    """0.CL: the server has not read the body, so the body may be its next request.  It must not be anybody's."""
    hidden = "GET /smuggled HTTP/1.1\r\nX: "
    with answering(scene, f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nhi", stays=True), strict_tls(scene) as sock:
        sock.sendall((framing.GET + f"{expect}Content-Length: {len(hidden)}\r\n\r\n").encode())
        head, body = wire.read_message(sock)
        assert body == b"hi" and wire.field_of(head, "connection") == "close"
        early = scene.upstream.peers[-1]
        with contextlib.suppress(OSError):
            sock.sendall((hidden + framing.NEXT).encode())
        assert wire.read_to_end(sock)[0] == b""
    before = scene.upstream.mark()
    assert status_of(ask(scene)[0]) == 200
    assert early not in {peer for peer, _ in scene.upstream.log[before:]} and b"smuggled" not in scene.upstream.since(before)


# --- answers -------------------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(scene, raw, stays=False):
    scene.answers, scene.stays = raw.encode("latin-1"), stays
    try:
        yield
    finally:
        scene.answers, scene.stays = None, False


def ask(scene, method="GET"):
    """Connection: close, so the end of the answer is told apart from a pause."""
    return exchange(scene, f"{method} / HTTP/1.1\r\n{framing.H}Connection: close\r\n\r\n".encode())


@pytest.mark.parametrize("what", framing.REFUSED_ANSWERS)
def test_2_an_answer_that_could_mean_two_things_is_502(scene, what):
    method, raw = framing.REFUSED_ANSWERS[what]
    with answering(scene, raw):
        answer, end = ask(scene, method)
    last = answer[answer.rindex(b"HTTP/1.1 "):]  # 1xx may have gone before
    assert status_of(last) == 502 and end == "eof", (answer[:500], end)
    assert b"Proxy-Status: sidekey; error=" in last and b"evil" not in answer
    assert status_of(ask(scene)[0]) == 200, "the next one is served"


@pytest.mark.parametrize("what", framing.BROKEN_ANSWERS)
def test_2_an_answer_that_breaks_off_never_looks_whole(scene, what):
    method, raw = framing.BROKEN_ANSWERS[what]
    with answering(scene, raw):
        answer, end = ask(scene, method)
    if status_of(answer) == 502:  # nothing of it had gone out
        assert b"Proxy-Status: sidekey; error=" in answer and b"200 OK" not in answer and end == "eof"
        assert status_of(ask(scene)[0]) == 200
        return
    assert status_of(answer) == 200
    assert end == "broken", "no close_notify either"
    node = scene.reader.read("response", answer)
    assert node["messages"] == [] and node["error"], node
    assert status_of(ask(scene)[0]) == 200


@pytest.mark.parametrize("what", framing.CLEANED_ANSWERS)
def test_3_an_answer_that_all_readers_take_in_one_way_is_cleaned_and_its_connection_closed(scene, what):
    method, raw, wanted = framing.CLEANED_ANSWERS[what]
    with answering(scene, raw, stays=True):
        answer, end = ask(scene, method)
        used = scene.upstream.peers[-1]
    assert end == "eof", (answer, end)
    read_alike(scene, "response", answer[answer.rindex(b"HTTP/1.1 "):], wanted, method)
    before = scene.upstream.mark()
    assert status_of(ask(scene)[0]) == 200, "and the next one is not the rest of this one"
    assert used not in {peer for peer, _ in scene.upstream.log[before:]}, "its connection is not used again"


@pytest.mark.parametrize("what", framing.PASSED_ANSWERS)
def test_3_an_answer_is_read_alike_by_every_reader(scene, what):
    method, raw, wanted = framing.PASSED_ANSWERS[what]
    with answering(scene, raw):
        answer, end = ask(scene, method)
    assert end == "eof", (answer, end)
    read_alike(scene, "response", answer, wanted, method)
    assert b"evil" not in answer
    assert status_of(ask(scene)[0]) == 200, "and the next one is not the rest of this one"


def as_read(message, fields=pairs):
    return message["status"], fields(message["raw"]), message["body"], fields(message["trailers"])


@pytest.mark.slow
def test_3_what_chance_makes_of_an_answer_is_refused_or_read_alike(scene):
    """Refused is 502 or an abort: that is either one whole answer for all three, or none."""
    seed, whole = int(os.environ.get("SMUGGLING_SEED", "1")), 0
    for n in range(int(os.environ.get("SMUGGLING_CASES", "500"))):
        method, raw = chance.answer(f"{seed}-{n}")
        with answering(scene, raw.decode("latin-1")):
            answer, end = ask(scene, method)
        node, plain = (reader.read("response", answer, method) for reader in (scene.reader, scene.plain_reader))
        case = (seed, n, method, raw, answer)
        assert end in ("eof", "broken"), case
        if end == "broken":
            assert node["messages"] == [] or node["error"], case
            continue
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 17)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        [one], [two], [three] = node["messages"], plain["messages"], read_by_h11(connection, answer)
        assert as_read(one) == as_read(two) == as_read(three, list), case
        whole += one["status"] != 502
    assert whole > 50, "chance was too hard on them: nothing was compared"


@pytest.mark.parametrize("upgrade, connection, accept", [("h2c", "Upgrade", ACCEPT), ("websocket, h2c", "Upgrade", ACCEPT), ("websocket", "close", ACCEPT), (None, "Upgrade", ACCEPT),
                                                         ("websocket", "Upgrade", ""), ("websocket", "Upgrade", ACCEPT * 2), ("websocket", "Upgrade", ACCEPT.replace("ICX", "icx"))])
def test_3_a_101_that_is_no_answer_to_our_handshake_is_502(scene, upgrade, connection, accept):
    lines = f"Connection: {connection}\r\n" + (f"Upgrade: {upgrade}\r\n" if upgrade else "") + accept
    with answering(scene, f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\nanything goes"):
        with strict_tls(scene) as sock:
            sock.sendall((framing.GET + HANDSHAKE + "\r\n").encode())
            head, body = wire.read_message(sock)
    assert status_of(head) == 502 and b"anything" not in body, head


def test_3_an_upstream_that_speaks_without_being_asked_loses_its_connection(scene):
    """What it says between two requests is never the answer to the next one, although it would go on serving."""
    with answering(scene, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", stays=True), strict_tls(scene) as sock:
        for _ in range(3):
            sock.sendall((framing.GET + "\r\n").encode())
            assert wire.read_message(sock)[1] == b""
        users = {peer for peer, _ in scene.upstream.log[-3:]}
    assert len(users) == 3, "each answer was followed by another, so each connection had one turn"
    for _ in range(3):
        answer, _ = ask(scene)
        assert status_of(answer) == 200 and b"evil" not in answer
