"""docs/http.md 1.15: a connection to an address whose first bytes name the host of a rule."""
import json
import socket
import ssl

import pytest
import wire
from harness import API, PLACEHOLDER
from wire import TOKEN, status_of

THERE, ELSEWHERE = "127.0.0.1", "192.0.2.10"  # what our look-up of API gives, and what it does not


@pytest.fixture(scope="module")
def scene(folder, pki):
    world = wire.World(folder / "lead", pki, "lead")
    world.a0, world.canary, world.plain = world.server(), world.server(), world.server(tls=False)
    config = world.config(world.a0, resolve={f"{address}:443": f"127.0.0.1:{world.canary.port}" for address in (THERE, ELSEWHERE)}
                          | {f"{address}:80": f"127.0.0.1:{world.plain.port}" for address in (THERE, ELSEWHERE)} | {f"plain.sidekey.test:80": f"127.0.0.1:{world.plain.port}"})
    config["rules"].append(world.rule("plain.sidekey.test", allow_http=True, match={"port": 80}))
    world.sidekey = world.start(config)
    yield world
    world.close()


REQUEST = f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\nAuthorization: {PLACEHOLDER}\r\n\r\n".encode()


def refusals(scene):
    line = 'sidekey_refused_total{reason="name_elsewhere"} '
    return next(float(at.split()[1]) for at in scene.sidekey.get_admin("/metrics")[1].splitlines() if at.startswith(line))


def tunnel(scene, connect):
    sock, head = scene.sidekey.tunnel(connect, 10)
    assert status_of(head) == 200, head
    return sock


def test_1_15_the_name_of_a_rule_at_the_address_that_we_find_too_is_injected(scene):
    before = scene.canary.mark()
    with scene.sidekey.context().wrap_socket(tunnel(scene, f"{THERE}:443"), server_hostname=API) as sock:
        sock.sendall(REQUEST)
        assert b"200" in wire.read_message(sock)[0]
    assert scene.a0.requests[-1].all("authorization") == [f"Bearer {TOKEN}"]
    assert scene.canary.since(before) == b""


def test_1_15_the_name_of_a_rule_at_another_address_is_refused_with_an_alert(scene):
    before, refused = scene.canary.mark(), refusals(scene)
    context = scene.sidekey.context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with tunnel(scene, f"{ELSEWHERE}:443") as sock, pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
        context.wrap_socket(sock, server_hostname=API)
    assert scene.canary.since(before) == b""
    assert refusals(scene) == refused + 1
    assert b"192.0.2.10:443" in b"".join(scene.sidekey.logs().values())


@pytest.mark.parametrize("address, status", [(THERE, 200), (ELSEWHERE, 421)])
def test_1_15_the_same_for_the_host_of_a_plain_request(scene, address, status):
    request = REQUEST.replace(API.encode(), b"plain.sidekey.test")
    with tunnel(scene, f"{address}:80") as sock:
        sock.sendall(request[:70])
        sock.sendall(request[70:])
        assert status_of(sock.recv(4096)) == status
    assert PLACEHOLDER not in json.dumps([str(r.head) for r in scene.plain.requests])


def test_1_15_other_names_and_other_protocols_are_tunnelled_as_before(scene):
    before = scene.canary.mark()
    context = ssl.create_default_context(cafile=scene.pki / "ca.pem")
    context.check_hostname = False
    for name in ("other.sidekey.test", None):
        with context.wrap_socket(tunnel(scene, f"{ELSEWHERE}:443"), server_hostname=name) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wire.read_message(sock)
    assert PLACEHOLDER.encode() not in scene.canary.since(before) and scene.canary.since(before)


def test_1_15_a_port_without_a_rule_is_tunnelled_at_once(scene, folder):
    """Its server may speak first."""
    with socket.create_server(("127.0.0.1", 0)) as greeter:
        port = greeter.getsockname()[1]
        config = scene.config(scene.a0, resolve={f"{ELSEWHERE}:25": f"127.0.0.1:{port}"})
        sidekey = scene.start(config)
        with sidekey.tunnel(f"{ELSEWHERE}:25", 10)[0] as sock:
            peer, _ = greeter.accept()
            peer.sendall(b"220 hello\r\n")
            assert sock.recv(64) == b"220 hello\r\n"
            peer.close()
