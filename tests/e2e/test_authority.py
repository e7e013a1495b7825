"""docs/http.md §1: one authority for each request, and a secret that goes nowhere else.  Every listener but A0 is a canary."""
import contextlib
import itertools
import json
import socket
import ssl

import pytest
import wire
from harness import API, PATIENCE_S, PLACEHOLDER, until
from wire import OTHER_TOKEN, TOKEN, exchange, status_of, tls_in

EVIL, OTHER, BARE, PUNY, PLAIN, KEYED = (f"{name}.sidekey.test" for name in ("evil", "other", "bare", "xn--bcher-kva", "plain", "keyed"))


class Scene:
    """A0 and what must stay silent beside it."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "authority")
        self.a0 = self.world.server()
        self.canary = self.world.server()
        self.plain_canary = self.world.server(tls=False)
        self.plain = self.world.server(tls=False)
        other = self.world.rule(OTHER, "other")
        config = self.world.config(self.a0, hosts=(API, PUNY, KEYED), resolve={
            **{name: f"127.0.0.1:{self.canary.port}" for name in (f"{EVIL}:443", f"{OTHER}:443", f"{BARE}:443", f"{API}:8443", f"sub.{API}:443")},
            **{name: f"127.0.0.1:{self.plain_canary.port}" for name in (f"{API}:80", f"{EVIL}:80", f"{OTHER}:80")},
            f"{PLAIN}:80": f"127.0.0.1:{self.plain.port}",
        })
        config["credentials"]["other"] = {"grant": "static", "token": self.world.secret("other-token", OTHER_TOKEN)}
        config["rules"][2]["inject"] = [{"in": "header", "name": "X-Api-Key", "format": "{access_token}"}, {"in": "query", "name": "key", "format": "{access_token}"}]
        config["rules"] += [other, self.world.rule(BARE, None), self.world.rule(PLAIN, allow_http=True, match={"port": 80})]
        config["rules"].append(self.world.rule("localhost", match={"port": self.plain.port}))
        config["network"]["resolve"][f"localhost:{self.plain.port}"] = f"127.0.0.1:{self.plain.port}"
        self.sidekey = self.world.start(config)
        self.context = self.sidekey.context()
        self.context.check_hostname = False

    def marks(self):
        self.before = {server: server.mark() for server in (self.a0, self.canary, self.plain_canary, self.plain)}
        self.count = {server: len(server.requests) for server in self.before}

    def silent(self, *servers):
        for server in servers:
            assert server.since(self.before[server]) == b"", "a byte of HTTP came to a listener that is not A0"

    def requests(self, server):
        return server.requests[self.count[server]:]

    def tunnel(self, connect=f"{API}:443", sni=API):
        sock, head = self.sidekey.tunnel(connect)
        assert status_of(head) == 200, head
        return self.context.wrap_socket(sock, server_hostname=sni)

    def send(self, payload, connect=f"{API}:443", sni=API):
        with self.tunnel(connect, sni) as sock:
            sock.sendall(payload)
            return b"%s\r\n\r\n%s" % wire.read_message(sock)


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder / "authority", pki)
    yield made
    made.world.close()


def request(target, *lines, method="GET"):
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, f"Authorization: {PLACEHOLDER}", "", ""]).encode("latin-1")


# What names A0 in other letters, and what does not.
SAME = [API, API.upper(), API + ".", API + ":443", API + ":", "Api.SideKey.Test.:443", f"{API}\t", f"  {API}"]
DIFFERENT = [EVIL, OTHER, API + ":8443", API + ":80", "sub." + API, "sidekey.test", "apisidekey.test", API + ".evil.test", "127.0.0.1", "[::1]", "localhost", PUNY]
MALFORMED = ["", ".", API + "..", "." + API, "api..sidekey.test", "user@" + API, f"{API}@{EVIL}", f"{EVIL}@{API}", API + "::", ":443", "api%2esidekey.test", API + ":443:443",
             f"{API}/{EVIL}", f"{API}\\@{EVIL}", f"{API},{EVIL}", f"{API} {EVIL}", "\xc3\xa4pi.sidekey.test", f"[{API}]", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1",
             "[::1%25lo]", API + ":99999", API + ":+443", API + ":0", "*.sidekey.test", f"{API}#x", f"{API}?x", f"https://{API}", "a" * 64 + ".test", f"{API}\x00.{EVIL}"]

# (target, Host lines) → 200, 400 or 421
ORIGIN_FORM = [*[("/p", (f"Host: {text}",), 200) for text in SAME], *[("/p", (f"Host: {text}",), 421) for text in DIFFERENT], *[("/p", (f"Host: {text}",), 400) for text in MALFORMED],
               ("/p", (), 400), ("/p", (f"Host: {API}", f"Host: {API}"), 400), ("/p", (f"Host: {API}", f"host: {EVIL}"), 400), ("/p", (f"Host : {API}",), 400),
               ("/p", (f"Host: {EVIL}", f"HOST: {API}"), 400), ("/p", ("Host:", f" {API}"), 400), ("/p", (f"Host: {API}", f"X-Forwarded-Host: {EVIL}"), 200),
               (f"//{EVIL}/x", (f"Host: {API}",), 200), ("*", (f"Host: {API}",), 400), ("p", (f"Host: {API}",), 400), (f"{API}:443", (f"Host: {API}",), 400)]
ABSOLUTE_FORM = [(f"https://{API}/p", (f"Host: {API}",), 200), (f"HTTPS://{API.upper()}.:443/p", (f"Host: {API}",), 200), (f"https://{API}/p", (f"Host: {EVIL}",), 200),
                 (f"https://{API}?q", (f"Host: {API}",), 200), (f"https://{API}", (f"Host: {API}",), 200), (f"https://{EVIL}/p", (f"Host: {API}",), 421), (f"https://{OTHER}/p", (f"Host: {OTHER}",), 421),
                 (f"http://{API}/p", (f"Host: {API}",), 421), (f"http://{API}:443/p", (f"Host: {API}",), 421), (f"https://{API}:8443/p", (f"Host: {API}",), 421),
                 (f"https://user@{API}/p", (f"Host: {API}",), 400), (f"https://{API}@{EVIL}/p", (f"Host: {API}",), 400), (f"https://{EVIL}\\@{API}/p", (f"Host: {API}",), 400),
                 ("https:///p", (f"Host: {API}",), 400), (f"ftp://{API}/p", (f"Host: {API}",), 400), (f"https:/{API}/p", (f"Host: {API}",), 400), (f"https://{API}/p#f", (f"Host: {API}",), 400),
                 (f"https://{API}/p", (), 400), (f"https://{API}/p", (f"Host: {API}", f"Host: {API}"), 400), (f"https://{API}%00.{EVIL}/p", (f"Host: {API}",), 400)]
CONNECTS = [f"{API}:443", f"{API.upper()}:443", f"{API}.:443"]


@pytest.mark.parametrize("connect, sni", [*itertools.product(CONNECTS, [API, API.upper()]), (CONNECTS[0], API + ".")])
def test_1_2_and_1_3_host_and_target_must_name_the_host_of_connect(scene, connect, sni):
    """§1.2 (origin-form), §1.3 (absolute-form): the same verdicts however CONNECT and SNI write the name."""
    for target, hosts, expected in [*ORIGIN_FORM, *ABSOLUTE_FORM]:
        scene.marks()
        answer = scene.send(request(target, *hosts), connect, sni)
        case = (connect, sni, target, hosts, answer[:200])
        assert status_of(answer) == expected, case
        scene.silent(scene.canary, scene.plain_canary, scene.plain)
        if expected != 200:
            assert not scene.requests(scene.a0), case
            assert b"proxy-status: sidekey" in answer.lower(), case
            continue
        [seen] = scene.requests(scene.a0)
        assert seen.all("host") == [API], case
        assert seen.all("authorization") == [f"Bearer {TOKEN}"], case
        assert seen.target.startswith("/"), case
    assert {peer.tls[2] for peer in scene.a0.peers if peer.tls} <= {API, PUNY, KEYED}, "§1.6: the SNI that we send comes from A0"


@pytest.mark.parametrize("connect", CONNECTS)
@pytest.mark.parametrize("sni", [EVIL, OTHER, "sidekey.test", f"sub.{API}", f"{API}.evil.test", PUNY])
def test_1_4_an_sni_that_differs_is_answered_with_unrecognized_name(scene, connect, sni):
    scene.marks()
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        scene.tunnel(connect, sni)
    scene.silent(*scene.before)


def test_1_4_no_sni_is_refused_where_a_credential_applies(scene):
    scene.marks()
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        scene.tunnel(sni=None)
    scene.silent(*scene.before)


def test_1_4_no_sni_passes_where_no_rule_has_a_credential(scene):
    scene.marks()
    assert status_of(scene.send(request("/", f"Host: {BARE}"), f"{BARE}:443", None)) == 200
    [seen] = scene.requests(scene.canary)
    assert seen.all("authorization") == [PLACEHOLDER], "a rule without a credential changes nothing"


def test_1_4_a_ticket_of_one_host_opens_no_other(scene):
    """The SNI is judged before a ticket can have a say."""
    context = scene.context
    with scene.tunnel() as sock:
        sock.sendall(request("/", f"Host: {API}"))
        wire.read_message(sock)
        session = sock.session
    for connect, sni, expected in ((f"{OTHER}:443", API, None), (f"{OTHER}:443", OTHER, OTHER), (f"{API}:443", OTHER, None)):
        sock, _ = scene.sidekey.tunnel(connect)
        scene.marks()
        if expected is None:
            with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
                context.wrap_socket(sock, server_hostname=sni, session=session)
            scene.silent(*scene.before)
            continue
        with context.wrap_socket(sock, server_hostname=sni, session=session) as secured:
            secured.sendall(request("/", f"Host: {OTHER}"))
            wire.read_message(secured)
        [seen] = scene.requests(scene.canary)
        assert seen.all("authorization") == [f"Bearer {OTHER_TOKEN}"], "and never the token of the ticket's host"


def test_1_2_each_pipelined_request_is_judged_by_itself(scene):
    scene.marks()
    with scene.tunnel() as sock:
        sock.sendall(request("/1", f"Host: {API}") + request("/2", f"Host: {EVIL}") + request("/3", f"Host: {API}"))
        assert [status_of(wire.read_message(sock)[0]) for _ in range(3)] == [200, 421, 200]
    assert [seen.target for seen in scene.requests(scene.a0)] == ["/1", "/3"]
    scene.silent(scene.canary, scene.plain_canary)


def test_1_2_connect_inside_a_tunnel_is_refused(scene):
    scene.marks()
    answer = scene.send(request(f"{EVIL}:443", f"Host: {EVIL}:443", method="CONNECT"))
    assert status_of(answer) in (400, 405)
    scene.silent(*scene.before)


@pytest.mark.parametrize("connect", ["[::1%25lo]:443", "0177.0.0.1:443", "2130706433:443", "127.0.0.1.:0", f"user:pass@{API}:443", f"{API}:443/", f"{API}\\:443", "[::1:443", "::1:443", f"{API}:4 43",
                                     f"{API}:+443", f"{API}..:443", "\xc3\xa4.sidekey.test:443", f"{API}#:443", f"{API}?:443", f"{API},{EVIL}:443", "0x7f000001:443", "127.0.0.1.evil.0x1:443"])
def test_1_1_connect_takes_only_a_canonical_authority(scene, connect):
    scene.marks()
    sock, head = scene.sidekey.tunnel(connect)
    sock.close()
    assert status_of(head) == 400, head
    scene.silent(*scene.before)


def test_1_1_punycode_is_a_name_like_any_other(scene):
    for connect, host in ((PUNY, PUNY), (PUNY.upper(), PUNY), (PUNY, PUNY.upper() + ".:443")):
        scene.marks()
        assert status_of(scene.send(request("/", f"Host: {host}"), f"{connect}:443", PUNY)) == 200
        [seen] = scene.requests(scene.a0)
        assert seen.all("host") == [PUNY]
    scene.marks()
    assert status_of(scene.send(request("/", "Host: b\xc3\xbccher.sidekey.test"), f"{PUNY}:443", PUNY)) == 400
    scene.silent(*scene.before)


def test_1_6_a_rule_pins_the_port(scene):
    """api:8443 is not api:443: an unmatched tunnel, from end to end, with nothing of ours in it."""
    scene.marks()
    sock, head = scene.sidekey.tunnel(f"{API}:8443")
    assert status_of(head) == 200
    theirs = ssl.create_default_context(cafile=scene.world.pki / "ca.pem")
    with theirs.wrap_socket(sock, server_hostname=API) as secured:
        secured.sendall(request("/", f"Host: {API}:8443"))
        assert status_of(wire.read_message(secured)[0]) == 200
    [seen] = scene.requests(scene.canary)
    assert seen.all("authorization") == [PLACEHOLDER]
    scene.silent(scene.a0, scene.plain_canary)


def test_1_7_every_client_copy_of_what_we_set_is_gone(scene):
    scene.marks()
    payload = (f"POST / HTTP/1.1\r\nHost: {API}\r\nauthorization: one\r\nAUTHORIZATION: two\r\nAuthorization: {PLACEHOLDER}\r\nConnection: Authorization, host\r\n"
               "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n1\r\nx\r\n0\r\nAuthorization: three\r\naUTHORIZATION: four\r\nX-Sum: 1\r\nHost: evil\r\n\r\n")
    assert status_of(scene.send(payload.encode())) == 200
    [seen] = scene.requests(scene.a0)
    assert seen.all("authorization") == [f"Bearer {TOKEN}"]
    assert seen.all("host") == [API]
    assert b"uthorization" not in seen.trailers and b"Host" not in seen.trailers and b"X-Sum: 1" in seen.trailers, seen.trailers
    assert b"three" not in scene.a0.since(scene.before[scene.a0]) and b"placeholder" not in seen.head


@pytest.mark.parametrize("named", ["keep-alive", "x-api-key", "X-API-KEY, close", "close, X-Api-Key ,x"])
def test_1_7_connection_cannot_strip_what_we_set_and_no_copy_stays_beside_it(scene, named):
    scene.marks()
    payload = (f"POST /?key=mine&k%65y=too&a=b HTTP/1.1\r\nHost: {KEYED}\r\nX-API-Key: one\r\nConnection: {named}\r\nx-api-key: two\r\n"
               "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Api-Key: three\r\nx-sum: 1\r\n\r\n")
    assert status_of(scene.send(payload.encode(), f"{KEYED}:443", KEYED)) == 200
    [seen] = scene.requests(scene.a0)
    assert seen.all("x-api-key") == [TOKEN] and seen.target == f"/?a=b&key={TOKEN}"
    assert not any("api" in value.lower() for value in seen.all("connection")), "the next hop is not told to strip it either"
    assert seen.trailers == b"x-sum: 1\r\n"


def test_1_7_a_host_without_a_credential_keeps_the_authorization_that_connection_names(scene):
    scene.marks()
    assert status_of(scene.send(request("/", f"Host: {BARE}", "Connection: authorization, cookie", "Cookie: a=b"), f"{BARE}:443", BARE)) == 200
    [seen] = scene.requests(scene.canary)
    assert seen.all("authorization") == [PLACEHOLDER] and seen.all("cookie") == ["a=b"]


def test_1_8_trace_passes_where_there_is_nothing_to_echo(scene):
    scene.marks()
    assert status_of(scene.send(request("/", f"Host: {BARE}", method="TRACE"), f"{BARE}:443", BARE)) == 200
    assert scene.requests(scene.canary)[0].method == "TRACE"


def test_1_8_trace_is_refused_where_a_token_would_go(scene):
    scene.marks()
    answer = scene.send(request("/", f"Host: {API}", method="TRACE"))
    assert status_of(answer) == 405, answer
    scene.silent(*scene.before)


def test_1_8_redirects_are_passed_and_never_followed(scene):
    scene.marks()
    scene.a0.answer = lambda seen: f"HTTP/1.1 302 Found\r\nLocation: https://{EVIL}/\r\nContent-Length: 0\r\n\r\n".encode()
    try:
        answer = scene.send(request("/", f"Host: {API}"))
    finally:
        scene.a0.answer = lambda seen: wire.OK
    assert status_of(answer) == 302 and f"Location: https://{EVIL}/".encode() in answer
    scene.silent(scene.canary, scene.plain_canary)


def plainly(scene, payload):
    with socket.create_connection(scene.sidekey.proxy, timeout=PATIENCE_S) as sock:
        sock.sendall(payload)
        return b"%s\r\n\r\n%s" % wire.read_message(sock)


@pytest.mark.parametrize("target", [f"http://{API}:443/", f"http://{API.upper()}.:443/x", f"http://{OTHER}:443/"])
def test_1_8_no_token_goes_into_plain_http_unless_the_rule_says_so(scene, target):
    scene.marks()
    answer = plainly(scene, request(target, f"Host: {API}"))
    members = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert status_of(answer) == 403 and members["reason"] == "plain_http" and members["credential"] and members["hint"], answer
    scene.silent(*scene.before)


def test_1_8_loopback_needs_no_allow_http(scene):
    scene.marks()
    assert status_of(plainly(scene, request(f"http://localhost:{scene.plain.port}/x", "Host: x"))) == 200
    [seen] = scene.requests(scene.plain)
    assert seen.all("authorization") == [f"Bearer {TOKEN}"] and seen.all("host") == [f"localhost:{scene.plain.port}"], "a port that is no default stays"


def test_1_6_plain_http_to_a_port_without_a_rule_carries_nothing_of_ours(scene):
    scene.marks()
    assert status_of(plainly(scene, request(f"http://{API}/x", f"Host: {OTHER}"))) == 200
    [seen] = scene.requests(scene.plain_canary)
    assert seen.all("host") == [API] and seen.all("authorization") == [PLACEHOLDER], "RFC 9112 §3.2.2: Host is made from the target"
    scene.silent(scene.a0, scene.canary)


@pytest.mark.parametrize("target", [f"http://{PLAIN}/x?y", f"HTTP://{PLAIN.upper()}.:80/x?y"])
@pytest.mark.parametrize("host", [PLAIN, EVIL, f"{PLAIN}:99"])
def test_1_8_plain_http_with_allow_http_goes_to_the_host_of_the_target(scene, target, host):
    scene.marks()
    assert status_of(plainly(scene, request(target, f"Host: {host}"))) == 200
    [seen] = scene.requests(scene.plain)
    assert (seen.target, seen.all("host"), seen.all("authorization")) == ("/x?y", [PLAIN], [f"Bearer {TOKEN}"])
    scene.silent(scene.a0, scene.canary, scene.plain_canary)


@pytest.mark.parametrize("target, status", [("/", 400), (f"https://{API}/", 403), ("*", 400), (f"http://user@{PLAIN}/", 400), (f"http://{PLAIN}:0/", 400), ("http:///", 400), ("http://127.1/", 400),
                                            (f"http://{PLAIN}%2e/", 400), (f"http://{PLAIN}\\@{EVIL}/", 400), (f"ftp://{PLAIN}/", 400)])
def test_1_1_the_proxy_itself_takes_only_http_targets_with_a_canonical_authority(scene, target, status):
    scene.marks()
    answer = plainly(scene, request(target, f"Host: {PLAIN}"))
    assert status_of(answer) == status, answer
    scene.silent(*scene.before)


def test_1_9_a_request_that_cannot_be_injected_fails_loudly_and_stays_here(scene, folder, pki):
    world = wire.World(folder / "no-token", pki, "no-token")
    server = world.server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = world.config(server, limits={"token_wait": "400ms"})
        config["credentials"]["crm"] = {"grant": "client_credentials", "token_url": f"http://127.0.0.1:{free.getsockname()[1]}/", "client_id": "x",
                                        "client_secret": world.secret("never", "a-secret-that-nobody-asks-for")}
    sidekey = world.start(config)
    answer, _ = exchange(sidekey, request("/", f"Host: {API}", "Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    members = json.loads(body)
    assert status_of(answer) == 503 and wire.field_of(head, "content-type") == "application/problem+json", answer
    assert members["credential"] == "crm" and members["reason"] and members["hint"], members
    assert wire.field_of(head, "proxy-status").startswith("sidekey; error="), head
    assert server.log == []
    world.close()


@pytest.mark.parametrize("literal", ["127.0.0.1", "[::1]"])
def test_1_4_an_ip_literal_needs_no_sni_and_gets_none_sent(folder, pki, literal):
    if literal == "[::1]" and not wire.has_ipv6():
        pytest.skip("this machine has no IPv6")
    address = literal.strip("[]")
    world = wire.World(folder / f"ip{len(literal)}", pki, "ip")
    server = world.server(address=address, family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    port = server.port
    rule = world.rule(address, match={"port": port})
    config = world.config(server, hosts=(), rules=[rule], network={"allow_private": ["127.0.0.0/8", "::1/128"], "resolve": {}})
    sidekey = world.start(config)
    context = sidekey.context()
    context.check_hostname = False

    def send(host, sni=None):
        sock, head = sidekey.tunnel(f"{literal}:{port}")
        assert status_of(head) == 200, head
        with context.wrap_socket(sock, server_hostname=sni) as secured:
            secured.sendall(request("/", f"Host: {host}", "Connection: close"))
            return status_of(wire.read_to_end(secured)[0])

    same = {"127.0.0.1": [f"127.0.0.1:{port}"], "[::1]": [f"[::1]:{port}", f"[0:0::0:1]:{port}"]}[literal]
    for host in same:
        # the server's certificate names 127.0.0.1 only: for [::1] the address must be told apart from it
        assert send(host) == (200 if literal == "127.0.0.1" else 502), host
    for host in (literal, f"{literal}:1", f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}", f"{API}:{port}"):
        assert send(host) == 421, host
    for host in (f"127.1:{port}", f"[::1%lo]:{port}", f"0:{port}", f"::1:{port}"):
        assert send(host) == 400, host
    with pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        send(same[0], API)
    until("the connections are noted", lambda: literal == "[::1]" or any(peer.tls for peer in server.peers))
    assert not [peer.tls for peer in server.peers if peer.tls and peer.tls[2]], "§5: no SNI for an IP literal"
    assert {seen.get("authorization") for seen in server.requests} <= {f"Bearer {TOKEN}"}
    world.close()
