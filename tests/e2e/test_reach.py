"""docs/http.md §6: how upstreams are reached, and which addresses never are."""
import contextlib
import queue
import socket
import threading
import time

import harness
import pytest
import wire
from harness import API
from wire import field_of, read_message, status_of

HOST = f"Host: {API}\r\n"


def connect(sidekey, authority):
    sock, head = sidekey.tunnel(authority)
    sock.close()
    return head


@pytest.fixture(scope="module")
def guarded(folder, pki):
    """Nothing private is listed, but for one name that is led to loopback by the operator."""
    world = wire.World(folder / "guarded", pki, "guarded")
    world.plain = world.server(tls=False)
    config = world.config(world.server())
    config["rules"] += [world.rule("127.0.0.1", match={"port": world.plain.port}), world.rule("169.254.169.254", match={"port": 80}, allow_http=True)]
    world.sidekey = world.start(config)
    yield world
    world.close()


NEVER = ["169.254.169.254", "169.254.0.1", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "100.100.100.200"]
UNLISTED = ["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "0.0.0.0", "[::1]", "[::]", "[fc00::1]", "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "224.0.0.1", "255.255.255.255", "localhost"]


@pytest.mark.parametrize("host", [*NEVER, *UNLISTED])
def test_6_addresses_of_these_classes_are_not_dialled(guarded, host):
    for port in (80, guarded.plain.port):
        head = connect(guarded.sidekey, f"{host}:{port}")
        assert status_of(head) == 403, head
        assert field_of(head, "proxy-status").startswith("sidekey; error=destination_ip_prohibited"), head
    assert guarded.plain.log == [] and guarded.plain.peers == []


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "localhost", "[::ffff:127.0.0.1]", "[::1]"])
def test_6_nor_are_they_by_plain_http(guarded, host):
    with socket.create_connection(guarded.sidekey.proxy, timeout=harness.PATIENCE_S) as sock:
        sock.sendall(f"GET http://{host}:{guarded.plain.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status_of(read_message(sock)[0]) == 403
    assert guarded.plain.peers == []


@pytest.mark.parametrize("host", NEVER[:5])
def test_6_no_list_opens_metadata_and_link_local(folder, pki, host):
    world = wire.World(folder / f"open{NEVER.index(host)}", pki, "open")
    config = world.config(world.server(), network={"allow_private": ["0.0.0.0/0", "::/0"]})
    sidekey = world.start(config)
    assert status_of(connect(sidekey, f"{host}:80")) == 403
    world.close()


def test_6_what_is_listed_is_dialled_and_only_that(folder, pki):
    world = wire.World(folder / "listed", pki, "listed")
    here = world.server(lambda peer: peer.send(b"here"), tls=False, address="127.0.0.5")
    sidekey = world.start(world.config(world.server(), network={"allow_private": ["127.0.0.5/32"]}))
    sock, head = sidekey.tunnel(f"127.0.0.5:{here.port}")
    with sock:
        assert status_of(head) == 200 and sock.recv(10) == b"here"
    assert status_of(connect(sidekey, f"127.0.0.6:{here.port}")) == 403
    assert status_of(connect(sidekey, f"[::ffff:127.0.0.5]:{here.port}")) in (200, 502), "an IPv4-mapped address is judged as what it maps"
    assert status_of(connect(sidekey, f"[::ffff:127.0.0.6]:{here.port}")) == 403
    world.close()


def alone_at_its_port(world, text, address, family, other):
    """A server whose port nobody else has at the other family's loopback: (server, what holds that port there without listening)."""
    while True:
        server, held = world.server(lambda peer: peer.send(text), tls=False, address=address, family=family), socket.socket(socket.AF_INET if ":" in address else socket.AF_INET6)
        try:
            held.bind((other, server.port))
            return server, held
        except OSError:
            held.close()


@pytest.mark.skipif(not wire.has_ipv6(), reason="this machine has no IPv6")
def test_6_a_dead_first_address_costs_little(folder, pki):
    """localhost is ::1 and 127.0.0.1; only one of them listens."""
    world = wire.World(folder / "eyeballs", pki, "eyeballs")
    only4, held6 = alone_at_its_port(world, b"four", "127.0.0.1", socket.AF_INET, "::1")
    only6, held4 = alone_at_its_port(world, b"six!", "::1", socket.AF_INET6, "127.0.0.1")
    sidekey = world.start(world.config(world.server(), network={"allow_private": ["127.0.0.0/8", "::1/128"]}))
    for server, text in ((only4, b"four"), (only6, b"six!")):
        sock, head = sidekey.tunnel(f"localhost:{server.port}")
        with sock:
            if status_of(head) != 200 and server is only6:
                pytest.skip("localhost has no ::1 here")
            assert status_of(head) == 200 and sock.recv(10) == text
    held4.close()
    held6.close()
    world.close()


@pytest.mark.parametrize("policy", ["tunnel", "deny", "report"])
def test_6_hosts_without_a_rule(folder, pki, policy):
    world = wire.World(folder / f"unmatched-{policy}", pki, "unmatched")
    other = world.server(lambda peer: peer.send(b"hello from elsewhere"), tls=False)
    plain = world.server(tls=False)
    sidekey = world.start(world.config(world.server(), unmatched=policy, resolve={
        "other.sidekey.test:443": f"127.0.0.1:{other.port}", "other.sidekey.test:80": f"127.0.0.1:{plain.port}"}))
    sock, head = sidekey.tunnel("other.sidekey.test:443")
    with sock, socket.create_connection(sidekey.proxy, timeout=harness.PATIENCE_S) as simple:
        simple.sendall(b"GET http://other.sidekey.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
        answer, _ = read_message(simple)
        if policy == "deny":
            assert status_of(head) == 403 and status_of(answer) == 403
            assert "error=http_request_denied" in field_of(head, "proxy-status")
            assert other.peers == [] and plain.peers == []
        else:
            assert status_of(head) == 200 and sock.recv(100) == b"hello from elsewhere" and status_of(answer) == 200
    if policy == "report":
        harness.until("the log names it", lambda: b"other.sidekey.test" in b"".join(sidekey.logs().values()))
    world.close()


def test_6_beyond_the_limit_for_one_upstream_requests_wait_and_have_a_deadline(folder, pki):
    gate = threading.Event()

    def script(peer):
        while request := peer.read():
            if request.target == "/slow":
                gate.wait(4 * harness.PATIENCE_S)
            peer.send(wire.OK)
    world = wire.World(folder / "pool", pki, "pool")
    server = world.server(script)
    sidekey = world.start(world.config(server, limits={"per_upstream": 2, "dial": "2s", "tls": "2s"}))
    def connect():  # its handshake has the same limit
        with contextlib.suppress(OSError):
            return sidekey.tls()
    socks = [harness.until("a client has connected", connect) for _ in range(4)]
    for sock in socks[:2]:
        sock.sendall(f"GET /slow HTTP/1.1\r\n{HOST}\r\n".encode())
    harness.until("two are busy", lambda: len(server.requests) == 2)
    began = time.monotonic()
    socks[2].sendall(f"GET /late HTTP/1.1\r\n{HOST}\r\n".encode())
    head, _ = read_message(socks[2])
    assert status_of(head) in (503, 504) and "error=connection_limit_reached" in field_of(head, "proxy-status"), head
    assert time.monotonic() - began > 3, "it waited for as long as a dial and a handshake may take"
    socks[3].sendall(f"GET /next HTTP/1.1\r\n{HOST}\r\n".encode())
    time.sleep(0.1)
    gate.set()
    assert status_of(read_message(socks[3])[0]) == 200, "who still waits gets the first that is free"
    assert len({peer for peer in server.peers if peer.requests}) == 2, "never more than two"
    for sock in socks:
        sock.close()
    world.close()


def test_6_connections_are_shared_by_clients_and_never_by_authorities(folder, pki):
    second = "second.sidekey.test"
    world = wire.World(folder / "shared", pki, "shared")
    server = world.server()
    sidekey = world.start(world.config(server, hosts=(API, second)))
    for host in (API, second) * 4:
        with sidekey.tls(host) as sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert status_of(read_message(sock)[0]) == 200
    used = [{request.get("host") for request in peer.requests} for peer in server.peers if peer.requests]
    assert sorted(map(sorted, used)) == [[API], [second]], used
    world.close()


@pytest.mark.slow
@pytest.mark.parametrize("said, idle, least, most", [(None, "4s", 3.9, 60), ("timeout=5, max=100", "4s", 3.9, 60), ("timeout=1", "40s", 0.7, 20), ("timeout=60", "4s", 3.9, 40)])
def test_4_an_idle_connection_is_closed_before_its_server_would(folder, pki, said, idle, least, most):
    ended = queue.Queue()

    def script(peer):
        peer.read()
        began = time.monotonic()
        peer.send(wire.OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: %s\r\n\r\n" % said.encode()) if said else wire.OK)
        while peer.fill():
            pass
        ended.put(time.monotonic() - began)
    world = wire.World(folder / f"idle{said}".replace("=", "").replace(",", ""), pki, "idle")
    sidekey = world.start(world.config(world.server(script), limits={"upstream_idle": idle}))
    with sidekey.tls() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\n{HOST}\r\n".encode())
        head, _ = read_message(sock)
        assert status_of(head) == 200 and field_of(head, "keep-alive") is None
        assert least < ended.get(timeout=harness.PATIENCE_S) < most
    world.close()


def test_6_an_unknown_name_is_502_and_says_so(guarded):
    head = connect(guarded.sidekey, "no-such-name.invalid:443")
    assert status_of(head) in (502, 504) and "dns" in field_of(head, "proxy-status"), head
