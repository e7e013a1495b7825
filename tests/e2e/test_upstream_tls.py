"""docs/http.md §5: whom we believe upstream, and the handshakes of both legs."""
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import time

import bad_certs
import harness
import pytest
import wire
from harness import API
from wire import TOKEN, field_of, status_of

EASY = "DEFAULT:@SECLEVEL=0"  # for servers that show what no one should take


def careless(folder):
    """The environment of a distribution whose OpenSSL takes weak keys and SHA-1: sidekey must not."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "careless.cnf"
    path.write_text(f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = weak\n[weak]\nCipherString = {EASY}\nMinProtocol = TLSv1\n")
    return {"OPENSSL_CONF": str(path)}


def get(sidekey, host=API, port=443, path="/", context=None):
    """One request on a connection of its own: (head, body)."""
    sock, head = sidekey.tunnel(f"{host}:{port}")
    if status_of(head) != 200:
        return head, b""
    context = context or sidekey.context()
    with context.wrap_socket(sock, server_hostname=host) as secured:
        secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}{'' if port == 443 else f':{port}'}\r\nConnection: close\r\n\r\n".encode())
        return wire.read_message(secured)


# --- certificates ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certs(folder, pki):
    return bad_certs.make(folder / "bad", pki)


def context_of(certs, name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers(EASY)
    made.load_cert_chain(certs / f"{name}.pem", certs / f"{name}.key")
    return made


GOOD = ["through", "private", "permitted-under-wildcard", "with_underscore"]


class Gallery:
    """One server that shows each name its own certificate, one for each IP case, and a sidekey with a rule for all of them."""

    def __init__(self, folder, pki, certs):
        self.world = wire.World(folder, pki, "gallery")
        names = [case for case in bad_certs.CASES if case not in bad_certs.HOSTS]
        contexts = {name: context_of(certs, name) for name in [*names, *GOOD]}
        front = context_of(certs, "through")

        def choose(sock, name, _context):
            sock.context = contexts[name.split(".")[0]]
            sock.asked = name
        front.sni_callback = choose
        self.server = self.world.server(context=front)
        self.by_ip = {case: self.world.server(context=context_of(certs, case)) for case in bad_certs.HOSTS}
        hosts = [f"{name}.bad.test" for name in contexts]
        config = self.world.config(self.server, hosts=hosts, network={"allow_private": ["127.0.0.0/8"]})
        for rule in config["rules"]:
            if rule["match"]["host"] == "private.bad.test":
                rule["tls"] = {"ca_file": str(certs / "stranger.pem")}
        config["rules"] += [self.world.rule("127.0.0.1", match={"port": server.port}) for server in self.by_ip.values()]
        self.sidekey = self.world.start(config, env=careless(folder))


@pytest.fixture(scope="module")
def gallery(folder, pki, certs):
    made = Gallery(folder / "gallery", pki, certs)
    yield made
    made.world.close()


@pytest.mark.parametrize("case", bad_certs.CASES)
def test_5_an_upstream_that_cannot_prove_its_name_gets_nothing_and_the_reason_is_told(gallery, case):
    server = gallery.by_ip.get(case, gallery.server)
    before = server.mark()
    host, port = (bad_certs.HOSTS[case], server.port) if case in bad_certs.HOSTS else (f"{case}.bad.test", 443)
    context = gallery.sidekey.context()
    head, body = get(gallery.sidekey, host, port, context=context)
    assert status_of(head) == 502, (head, body)
    members = json.loads(body)
    assert re.search(bad_certs.CASES[case], members["detail"], re.I), members
    assert members["reason"] == "upstream_certificate" and members["hint"], members
    assert "error=tls_certificate_error" in field_of(head, "proxy-status"), head
    assert re.search(r"depth \d", members["detail"]) and host in members["detail"], members
    assert server.since(before) == b"", "not one byte of a request"


@pytest.mark.parametrize("name", GOOD)
def test_5_a_chain_with_its_intermediate_and_a_root_of_the_rule_are_good(gallery, name):
    """The other side of the gallery: what would be refused elsewhere passes where it belongs."""
    assert status_of(get(gallery.sidekey, f"{name}.bad.test")[0]) == 200
    assert gallery.server.requests[-1].get("authorization") == f"Bearer {TOKEN}"


def test_5_a_root_of_one_rule_speaks_for_no_other(gallery):
    """private.bad.test trusts the stranger; unknown-root.bad.test, by the same stranger, is still refused afterwards."""
    assert status_of(get(gallery.sidekey, "private.bad.test")[0]) == 200
    assert status_of(get(gallery.sidekey, "unknown-root.bad.test")[0]) == 502


def test_5_there_is_no_insecure(folder, pki):
    world = wire.World(folder / "insecure", pki)
    config = world.config(world.server())
    for key in ("insecure", "verify", "skip_verify"):
        config["rules"][0]["tls"] = {key: True}
        path = world.folder / "insecure.yaml"
        path.write_text(json.dumps(config))
        done = harness.run([harness.SIDEKEY, "check", "-c", path])
        assert done.returncode == 78 and key.encode() in done.stdout + done.stderr, done
    world.close()


# --- staples ------------------------------------------------------------------------------------------------------------------------------------------


class Stapler:
    """openssl s_server with a stapled OCSP response; answers every GET, and its output tells every byte that it was sent."""

    def __init__(self, folder, certs, cert, staple, *flags):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        status = [] if staple == "none" else ["-status_file", certs / f"{cert}-{staple}.ocsp"]
        self.process = harness.Process(f"{cert}-{staple}", ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert", certs / f"{cert}.pem",
                                       "-key", certs / f"{cert}.key", *status, "-www", "-msg", "-naccept", "20", *flags], folder, {**os.environ, "OPENSSL_CONF": "/dev/null"})
        self.process.wait_line("ACCEPT", self.process.out)

    def said(self):
        return self.process.out.read_text(errors="replace")

    def close(self):
        self.process.popen.kill()
        self.process.popen.wait()


@pytest.fixture(scope="module")
def staples(folder, pki):
    return bad_certs.make_staples(folder / "staples", pki)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_5_a_staple_is_asked_for_and_judged(folder, pki, staples, version):
    """Every kind of staple, at a certificate that promises one (must-staple) and at one that does not, in one sidekey."""
    world = wire.World(folder / f"staples{version}", pki, "staples")
    servers = {}
    try:
        for cert in ("plain", "promising"):
            for staple in bad_certs.STAPLES:
                servers[f"{staple}-{cert}.staple.test"] = (cert, staple, Stapler(world.folder, staples, cert, staple, version))
        some = next(iter(servers.values()))[2]
        sidekey = world.start(world.config(some, hosts=list(servers), resolve={f"{host}:443": f"127.0.0.1:{server.port}" for host, (_, _, server) in servers.items()},
                                           network={"allow_private": ["127.0.0.0/8"]}))
        for host, (cert, staple, server) in servers.items():
            judge_staple(sidekey, host, server, bad_certs.STAPLES[staple][cert == "promising"])
    finally:
        for _, _, server in servers.values():
            server.close()
        world.close()


def judge_staple(sidekey, host, server, words):
    """words: of the refusal; None: a request passes."""
    head, body = get(sidekey, host)
    finished = r"<<< .*Handshake.*Finished"
    if not words:
        assert status_of(head) == 200, (host, head, body)
        server.process.wait_line(finished, server.process.out)
        return
    members = json.loads(body)
    assert status_of(head) == 502 and members["reason"] == "upstream_certificate" and members["hint"], (host, head, body)
    assert re.search(words, members["detail"]) and re.search(r"subject CN=\w+, issuer CN=sidekey tests CA\) for ", members["detail"]), (host, members)
    assert "error=tls_certificate_error" in field_of(head, "proxy-status"), head
    server.process.wait_line("<<< .*Alert.*bad_certificate_status_response", server.process.out)
    assert not re.search(finished, server.said()), (host, "the handshake ended before anything of ours could leave")


NGINX = """
daemon off; pid {dir}/pid; error_log stderr; events {{}}
http {{
    access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
    ssl_stapling on;
    {servers}
}}
"""
NGINX_SERVER = """server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certs}/{cert}.pem; ssl_certificate_key {certs}/{cert}.key;
    ssl_stapling_file {certs}/{cert}-{staple}.ocsp; location / {{ add_header X-Got $http_authorization; return 200 ok; }} }}"""


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not here")
def test_5_nginx_that_staples_is_believed_and_refused_as_anyone(folder, pki, staples):
    world = wire.World(folder / "nginx", pki, "nginx")
    cases = [(cert, staple) for cert in ("plain", "promising") for staple in ("good", "revoked", "outdated")]
    ports = {}
    for case in cases:
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports[case] = free.getsockname()[1]
    servers = "\n".join(NGINX_SERVER.format(port=port, certs=staples, cert=cert, staple=staple) for (cert, staple), port in ports.items())
    web = folder / "nginx-that-staples"  # nginx gives it to its own user
    web.mkdir()
    (web / "nginx.conf").write_text(NGINX.format(dir=web, servers=servers))
    nginx = harness.Process("nginx-itself", ["nginx", "-p", web, "-c", web / "nginx.conf"], web)
    try:
        harness.until("nginx listens", lambda: not socket.socket().connect_ex(("127.0.0.1", ports[cases[-1]])))
        hosts = {case: f"{case[1]}-{case[0]}.staple.test" for case in cases}
        config = world.config(world.server(), hosts=list(hosts.values()), resolve={f"{hosts[case]}:443": f"127.0.0.1:{port}" for case, port in ports.items()},
                              network={"allow_private": ["127.0.0.0/8"]})
        sidekey = world.start(config)
        for case, host in hosts.items():
            words = bad_certs.STAPLES[case[1]][case[0] == "promising"]
            head, body = get(sidekey, host)
            assert status_of(head) == (502 if words else 200), (case, head, body)
            assert re.search(words, json.loads(body)["detail"]) if words else field_of(head, "x-got") == f"Bearer {TOKEN}", (case, head, body)
    finally:
        nginx.stop()
        world.close()


def told(sidekey, host, words):
    """The 503 for a token that does not come, once it holds these words (a slow endpoint is told of before that)."""
    head, body = get(sidekey, host)
    assert status_of(head) == 503, (head, body)
    return body.decode() if re.search(words or "", body.decode()) else None


def test_5_a_token_endpoint_is_asked_for_a_staple_too(folder, pki, staples):
    """libcurl's own switch would refuse every endpoint that staples nothing."""
    world = wire.World(folder / "staple-token", pki, "stapletoken")
    upstream = world.server()
    words = {"revoked": r"was revoked on 20.* reason keyCompromise \(depth 0, subject CN=promising, issuer CN=sidekey tests CA\)", "outdated": "it has expired", "none": "the server sent none",
             "good": None}
    servers = {}
    try:
        for staple in words:
            servers[staple] = Stapler(world.folder, staples, "promising", staple)
        servers["plain"] = Stapler(world.folder, staples, "plain", "none")
        hosts = {name: f"{name}.staple.test" for name in servers}
        config = world.config(upstream, hosts=list(hosts.values()), resolve={f"{hosts[name]}:8443": f"127.0.0.1:{server.port}" for name, server in servers.items()},
                              network={"allow_private": ["127.0.0.0/8"]}, limits={"token_wait": "2s"})
        config["credentials"] = {name: {"grant": "client_credentials", "token_url": f"https://{hosts[name]}:8443/token", "client_id": "x", "client_secret": world.secret("x-secret", "of-x-4711"),
                                        "tls": {"ca_file": str(pki / "ca.pem")}} for name in servers}
        world.secrets.append("of-x-4711")
        config["rules"] = [world.rule(hosts[name], name) for name in servers]
        sidekey = world.start(config)
        for name, server in servers.items():
            refusal = words.get(name)
            body = harness.until(f"{name} says {refusal}", lambda: told(sidekey, hosts[name], refusal))
            server.process.wait_line("<<< .*Alert.*bad_certificate_status_response" if refusal else "<<< .*Handshake.*Finished", server.process.out)
            assert refusal or not re.search("revoked|must-staple|certificate", body), (name, body)
    finally:
        for server in servers.values():
            server.close()
        world.close()


# --- handshakes that fail in other ways -------------------------------------------------------------------------------------------------------------


def old_context(pki):
    made = wire.server_context(pki)
    made.set_ciphers(EASY)
    made.minimum_version = ssl.TLSVersion.TLSv1
    made.maximum_version = ssl.TLSVersion.TLSv1_1
    return made


def no_tls(peer):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    time.sleep(0.2)


def hang_up(peer):
    peer.sock.recv(10)
    peer.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("what", ["TLS 1.1", "no TLS", "reset"])
def test_5_an_upstream_that_makes_no_handshake_is_502(folder, pki, what):
    world = wire.World(folder / f"h{len(what)}", pki, "handshake")
    server = world.server(context=old_context(pki)) if what == "TLS 1.1" else world.server({"no TLS": no_tls, "reset": hang_up}[what], tls=False)
    sidekey = world.start(world.config(server))
    head, body = get(sidekey)
    assert status_of(head) == 502, (head, body)
    assert json.loads(body)["detail"] and "; error=" in field_of(head, "proxy-status")
    assert TOKEN.encode() not in server.since(0)
    world.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_5_upstream_sessions_are_used_again_but_never_for_another_host(folder, pki, version):
    second = "second.sidekey.test"
    context = wire.server_context(pki)
    context.minimum_version = context.maximum_version = version
    world = wire.World(folder / f"resume{version.value}", pki, "resume")
    server = world.server(context=context)
    server.answer = lambda request: wire.OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    sidekey = world.start(world.config(server, hosts=(API, second)))
    for _ in range(3):
        assert status_of(get(sidekey)[0]) == 200
    assert status_of(get(sidekey, second)[0]) == 200
    seen = [(peer.tls[2], peer.tls[1]) for peer in server.peers if peer.requests]
    assert seen == [(API, False), (API, True), (API, True), (second, False)], seen
    world.close()


def test_5_a_client_certificate_goes_only_where_its_rule_says(folder, pki, certs):
    world = wire.World(folder / "mutual", pki, "mutual")
    context = wire.server_context(pki)
    context.load_verify_locations(pki / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 would tell the refusal only after the handshake
    server = world.server(context=context)
    hosts = ("with.sidekey.test", "without.sidekey.test")
    config = world.config(server, hosts=hosts)
    config["rules"][0]["tls"].update(cert_file=str(certs / "client.pem"), key_file=str(certs / "client.key"))
    sidekey = world.start(config)
    for _ in range(2):
        assert status_of(get(sidekey, hosts[0])[0]) == 200
        head, body = get(sidekey, hosts[1])
        assert status_of(head) == 502, (head, body)
    assert {request.get("host") for request in server.requests} == {hosts[0]}
    world.close()


def test_6_rules_of_one_host_with_other_certificates_never_share_a_connection(folder, pki, certs):
    """/mine/ shows a client certificate, the rest of the host does not: who comes second gets no connection that was opened as the other."""
    world = wire.World(folder / "identities", pki, "identities")
    context = wire.server_context(pki)
    context.load_verify_locations(pki / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    server = world.server(context=context)
    config = world.config(server)
    mine = world.rule(API, match={"paths": ["/mine/*"]})
    mine["tls"].update(cert_file=str(certs / "client.pem"), key_file=str(certs / "client.key"))
    config["rules"].append(mine)
    sidekey = world.start(config)
    for path in ("/mine/a", "/b", "/mine/c", "/d") * 2:
        assert status_of(get(sidekey, path=path)[0]) == 200
    for peer in server.peers:
        assert {request.target.startswith("/mine/") for request in peer.requests} <= {peer.shown}, [request.target for request in peer.requests]
    assert {peer.shown for peer in server.peers if peer.requests} == {True, False}
    world.close()


# --- the client's leg ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calm(folder, pki):
    """A sidekey with two workers before one good server."""
    world = wire.World(folder / "calm", pki, "calm")
    sidekey = world.start(world.config(world.server(), workers=2))
    yield sidekey
    world.close()


def resumed(sidekey, context, session, n):
    """How many of n connections resumed the session."""
    count = 0
    for _ in range(n):
        sock, _ = sidekey.tunnel()
        with context.wrap_socket(sock, server_hostname=API, session=session) as secured:
            secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n".encode())
            assert status_of(wire.read_message(secured)[0]) == 200
            count += secured.session_reused
    return count


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_5_tickets_are_good_at_every_worker_and_after_the_death_of_one(calm, version):
    context = calm.context()
    context.minimum_version = context.maximum_version = version
    sock, _ = calm.tunnel()
    with context.wrap_socket(sock, server_hostname=API) as secured:
        secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        wire.read_message(secured)
        session = secured.session
        assert not secured.session_reused and session.has_ticket
    assert resumed(calm, context, session, 16) == 16, "with 16 connections both workers had their turn"
    calm.kill_child("worker")
    time.sleep(0.3)
    assert resumed(calm, context, session, 16) == 16


LONG = ".".join(["a" * 60, "b" * 40, "sidekey.test"])  # more than a common name may have


@pytest.fixture(scope="module")
def shown(folder, pki):
    """A sidekey that shows a name, a long name and an address, and the upstream of all three."""
    world = wire.World(folder / "shown", pki, "shown")
    server = world.server()
    config = world.config(server, hosts=(API, LONG), workers=2, network={"allow_private": ["127.0.0.0/8"]})
    config["rules"].append(world.rule("127.0.0.1", match={"port": server.port}))
    yield world.start(config), server.port
    world.close()


def shown_chain(sidekey, host, port):
    """What s_client, as strict as it can be, gets to see: the PEM texts."""
    name = ["-noservername", "-verify_ip", host] if host[0].isdigit() else ["-servername", host, "-verify_hostname", host]
    done = harness.run(["openssl", "s_client", "-proxy", "%s:%d" % sidekey.proxy, "-connect", f"{host}:{port}", *name, "-CAfile", sidekey.ca, "-x509_strict",
                        "-verify_return_error", "-showcerts"])
    assert done.returncode == 0 and b"Verification: OK" in done.stdout, done
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", done.stdout.decode(), re.S)


def x509(folder, pem, *flags):
    path = folder / "one.pem"
    path.write_text(pem)
    done = harness.run(["openssl", "x509", "-in", path, "-noout", *flags])
    assert done.returncode == 0, done
    return done.stdout.decode()


@pytest.mark.parametrize("host", [API, LONG, "127.0.0.1"])
def test_5_the_leaf_on_the_wire_has_the_documented_form(shown, folder, host):
    sidekey, port = shown
    chain = shown_chain(sidekey, host, port if host[0].isdigit() else 443)
    assert len(chain) == 1, "the leaf alone, not the root"
    text = x509(folder, chain[0], "-text")
    named = host == API
    assert re.search(rf"Subject: ?{'CN ?= ?' + re.escape(host) if named else ''}\n", text), text
    assert re.search(rf"Subject Alternative Name:{'' if named else ' critical'}\s*\n\s+(DNS|IP Address):{re.escape(host)}\n", text), text
    assert re.search(r"Basic Constraints: critical\s*\n\s+CA:FALSE\n", text) and re.search(r"X509v3 Key Usage: critical\s*\n\s+Digital Signature\n", text), text
    assert re.search(r"Extended Key Usage:\s*\n\s+TLS Web Server Authentication\n", text) and "Subject Key Identifier" not in text, text
    authority = pathlib.Path(sidekey.ca).read_text()
    identifier = r"(?:[0-9A-F]{2}:){19}[0-9A-F]{2}"
    assert re.search(rf"Authority Key Identifier:\s*\n\s+(?:keyid:)?({identifier})", text)[1] == re.findall(rf"Subject Key Identifier:\s*\n\s+({identifier})", x509(folder, authority, "-text"))[0]
    assert "prime256v1" in text and text.count("X509v3") == 6, text  # five extensions and their headline
    assert re.fullmatch(r"serial=[0-7][0-9A-F]{31}\n", x509(folder, chain[0], "-serial"))
    dates = [ssl.cert_time_to_seconds(line.split("=")[1]) for line in x509(folder, chain[0], "-dates").splitlines()]
    assert abs(dates[0] - (time.time() - 86_400)) < 120 and abs(dates[1] - (time.time() + 14 * 86_400)) < 120, dates


def test_5_python_as_strict_as_3_13_takes_the_leaf(shown):
    context = shown[0].context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for host, status in ((API, 200), (LONG, 502)):  # to the long name the upstream has no certificate, and the client hears it within TLS
        assert status_of(get(shown[0], host, context=context)[0]) == status


def test_5_each_worker_has_a_leaf_key_of_its_own_and_no_serial_comes_twice(shown, folder):
    chains = [shown_chain(shown[0], API, 443)[0] for _ in range(12)]  # with 12 connections both workers had their turn
    keys, serials = ({x509(folder, pem, flag) for pem in chains} for flag in ("-pubkey", "-serial"))
    assert len(keys) == 2 and len(serials) == 2, (keys, serials)


def hello_bytes(context, server_hostname=API):
    """A TLS client without a socket, and its hello."""
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(inside, outside, server_hostname=server_hostname)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return client, inside, outside, outside.read()


def in_records(hello, size):
    """The same handshake message in records of size bytes (RFC 8446 §5.1)."""
    body, at = b"", 0
    while at < len(hello):
        length = int.from_bytes(hello[at + 3:at + 5], "big")
        body += hello[at + 5:at + 5 + length]
        at += 5 + length
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in (body[i:i + size] for i in range(0, len(body), size)))


def finish(sock, client, inside, outside):
    """The rest of a handshake, and one request."""
    def pump(step):
        while True:
            try:
                done = step()
                sock.sendall(outside.read())
                return done
            except ssl.SSLWantReadError:
                sock.sendall(outside.read())
                piece = sock.recv(65536)
                assert piece, "the connection ended in the handshake"
                inside.write(piece)
    pump(client.do_handshake)
    pump(lambda: client.write(f"GET / HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n".encode()))
    return pump(lambda: client.read(65536))


@pytest.mark.parametrize("alpn_bytes", [0, 1500, 12_000, 30_000])
@pytest.mark.parametrize("record", [None, 4000, 60])
@pytest.mark.parametrize("segment", [None, 1000, 7])
def test_5_a_hello_may_be_large_and_come_in_several_segments_and_records(calm, alpn_bytes, record, segment):
    if segment == 7 and alpn_bytes > 1500:
        segment = 501  # not a matter of patience
    context = calm.context()
    context.set_alpn_protocols([*["x" * 250] * (alpn_bytes // 251), "http/1.1"])
    client, inside, outside, hello = hello_bytes(context)
    hello = in_records(hello, record) if record else hello
    sock, _ = calm.tunnel()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock:
        for at in range(0, len(hello), segment or len(hello)):
            sock.sendall(hello[at:at + (segment or len(hello))])
            if at < 40:
                time.sleep(0.002)
        assert status_of(finish(sock, client, inside, outside)) == 200
        assert client.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("offer, chosen", [(None, None), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["http/1.0", "spdy/1", "http/1.1"], "http/1.1")])
def test_5_alpn_is_chosen_from_what_the_client_offers(calm, offer, chosen):
    context = calm.context()
    if offer:
        context.set_alpn_protocols(offer)
    sock, _ = calm.tunnel()
    with context.wrap_socket(sock, server_hostname=API) as secured:
        assert secured.selected_alpn_protocol() == chosen
        secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        assert status_of(wire.read_message(secured)[0]) == 200


@pytest.mark.parametrize("offer", [["spdy/3"], ["ftp"], ["h2"], ["http/1.0"], ["h3", "h2"]])
def test_5_an_offer_without_ours_is_answered_in_http_1(calm, offer):
    """RFC 7301: a server may choose none."""
    context = calm.context()
    context.set_alpn_protocols(offer)
    sock, _ = calm.tunnel()
    with context.wrap_socket(sock, server_hostname=API) as secured:
        assert secured.selected_alpn_protocol() is None
        secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        assert status_of(wire.read_message(secured)[0]) == 200


def test_5_http_2_that_was_not_chosen_is_refused_in_words(calm):
    context = calm.context()
    context.set_alpn_protocols(["h2"])
    sock, _ = calm.tunnel()
    with context.wrap_socket(sock, server_hostname=API) as secured:
        secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert status_of(wire.read_message(secured)[0]) == 400


@pytest.mark.parametrize("hashes, taken", [("ECDSA+SHA256", True), ("ECDSA+SHA1", False)])
def test_5_a_handshake_signed_over_sha_1_is_refused(gallery, hashes, taken):
    name = "through.bad.test"
    done = harness.run(["openssl", "s_client", "-proxy", "%s:%d" % gallery.sidekey.proxy, "-connect", f"{name}:443", "-servername", name, "-tls1_2",
                        "-cipher", EASY, "-sigalgs", hashes, "-CAfile", gallery.sidekey.ca, "-verify_return_error"])
    assert (done.returncode == 0) == taken and (b"Peer signing digest: SHA256" in done.stdout) == taken, done
    assert (b"handshake failure" in done.stderr) != taken, done


def test_5_no_early_data_is_offered_or_taken(calm, folder):
    """0-RTT may be sent again by anybody (RFC 8446 §8): neither do tickets allow it, nor is what a client sends all the same read as a request."""
    ticket, early = folder / "ticket.pem", folder / "early"
    early.write_text(f"GET / HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n")
    client = ["openssl", "s_client", "-proxy", "%s:%d" % calm.proxy, "-connect", f"{API}:443", "-servername", API, "-tls1_3", "-CAfile", calm.ca, "-verify_return_error"]
    first = harness.run([*client, "-sess_out", ticket, "-ign_eof"], stdin=early.read_bytes())
    assert b"HTTP/1.1 200" in first.stdout and b"Max Early Data: 0" in first.stdout, first
    again = harness.run([*client, "-sess_in", ticket, "-early_data", early])
    assert b"Reused, TLSv1.3" in again.stdout and b"Early data was accepted" not in again.stdout and b"HTTP/1.1 200" not in again.stdout, again


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_5_tls_1_1_is_refused(calm):
    context = calm.context()
    context.set_ciphers(EASY)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    sock, _ = calm.tunnel()
    with sock, pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        context.wrap_socket(sock, server_hostname=API)


def test_5_the_hello_may_come_with_the_connect_in_one_segment(calm):
    """A client that does not wait for the 200: the bytes behind the head are the hello."""
    client, inside, outside, hello = hello_bytes(calm.context())
    with socket.create_connection(calm.proxy, timeout=harness.PATIENCE_S) as sock:
        sock.sendall(f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n\r\n".encode() + hello)
        assert status_of(harness.read_head(sock)) == 200
        assert status_of(finish(sock, client, inside, outside)) == 200


def test_5_a_client_that_leaves_in_the_handshake_harms_nobody(calm):
    _, _, _, hello = hello_bytes(calm.context())
    for n in (1, 5, 6, 40, len(hello) - 1, len(hello)):
        sock, _ = calm.tunnel()
        sock.sendall(hello[:n])
        sock.close()
    assert status_of(get(calm)[0]) == 200
