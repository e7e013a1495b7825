"""The proxy's rules on the wire, seen from outside: what is refused, what passes, and what an upstream may not do."""
import asyncio
import hashlib
import json
import re
import socket
import ssl

import harness
import pytest
from harness import API, AsyncClient


def host(text=API):
    return f"Host: {text}\r\n"


def status_of(answer):
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else None


# (what, request bytes, status that must come back)
REFUSED = {
    "a Host that differs": (f"GET / HTTP/1.1\r\n{host('evil.sidekey.test')}\r\n", 421),
    "a Host with another port": (f"GET / HTTP/1.1\r\n{host(API + ':8443')}\r\n", 421),
    "an absolute target that differs": (f"GET https://evil.sidekey.test/ HTTP/1.1\r\n{host()}\r\n", 421),
    "no Host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (f"GET / HTTP/1.1\r\n{host()}{host()}\r\n", 400),
    "length and chunks at once": (f"POST / HTTP/1.1\r\n{host()}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (f"POST / HTTP/1.1\r\n{host()}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "a length with a sign": (f"POST / HTTP/1.1\r\n{host()}Content-Length: +5\r\n\r\nhello", 400),
    "a coding that is not chunked": (f"POST / HTTP/1.1\r\n{host()}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before the colon": (f"GET / HTTP/1.1\r\n{host()}X-A : b\r\n\r\n", 400),
    "a folded line": (f"GET / HTTP/1.1\r\n{host()}X-A: b\r\n c\r\n\r\n", 400),
    "a bare LF": (f"GET / HTTP/1.1\nHost: {API}\n\n", 400),
    "a NUL in a value": (f"GET / HTTP/1.1\r\n{host()}X-A: b\0c\r\n\r\n", 400),
    "HTTP/2.0 in a request line": (f"GET / HTTP/2.0\r\n{host()}\r\n", 400),
    "a request line of 100 KiB": (f"GET /{'a' * 100_000} HTTP/1.1\r\n{host()}\r\n", 414),
    "a head of 1 MiB": (f"GET / HTTP/1.1\r\n{host()}" + "".join(f"X-{i}: {'v' * 10_000}\r\n" for i in range(105)) + "\r\n", 431),
    "two hundred fields": (f"GET / HTTP/1.1\r\n{host()}" + "".join(f"X-{i}: v\r\n" for i in range(200)) + "\r\n", 431),
    "TRACE where a token would go": (f"TRACE / HTTP/1.1\r\n{host()}\r\n", None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_could_mean_two_things_is_refused_and_nothing_reaches_the_api(sidekey, auth, what):
    request, expected = REFUSED[what]
    answer = sidekey.raw(request.encode("latin-1"))
    status = status_of(answer)
    assert status == expected if expected else 400 <= (status or 0) < 600, answer[:300]
    assert auth.counts["api_requests"] == 0
    assert sidekey.request()[0] == 200, "the next connection works"


BROKEN_BODIES = {
    "a chunk size out of this world": b"fffffffffffffffff\r\n",
    "a chunk size that is no number": b"zz\r\n",
    "a chunk that is longer than it says": b"2\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("what", BROKEN_BODIES)
def test_a_body_with_broken_chunks_is_refused_and_never_looks_whole_to_the_api(sidekey, auth, what):
    answer = sidekey.raw(f"POST /upload HTTP/1.1\r\n{host()}Transfer-Encoding: chunked\r\n\r\n".encode() + BROKEN_BODIES[what])
    assert status_of(answer) == 400, answer[:300]
    assert not [r for r in auth.requests if "body_sha256" in r]
    assert sidekey.request()[0] == 200


GARBAGE = {
    "bytes that mean nothing": bytes(range(256)) * 4,
    "a TLS record of the wrong version": b"\x16\x09\x09\xff\xff" + b"A" * 100,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_instead_of_a_client_hello_ends_that_connection_only(sidekey, what):
    sock, head = sidekey.tunnel()
    assert head.startswith(b"HTTP/1.1 200")
    with sock:
        sock.sendall(GARBAGE[what])
        assert sock_ends(sock)
    assert sidekey.request()[0] == 200


def test_plain_http_inside_a_tunnel_to_443_gets_no_token(sidekey, auth):
    """Some clients send it (undici to port 80): it is judged as http, and http is not what the rule speaks of."""
    sock, _ = sidekey.tunnel()
    with sock:
        sock.sendall(f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\nConnection: close\r\n\r\n".encode())
        answer = harness.read_answer(sock)
    assert answer == b"" or 400 <= status_of(answer) < 600, answer[:200]
    assert not [r for r in auth.requests if r.get("live")]


def sock_ends(sock):
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    except socket.timeout:
        return False
    return True


NONSENSE = ["", ":443", "a b:443", f"{API}", f"{API}:0", f"{API}:99999", f"{API}:https", "user@api.sidekey.test:443", "127.1:443", "0x7f.1:443",
            "[::1%lo]:443", f"https://{API}/", "api%2esidekey.test:443", "a" * 300 + ".test:443", "api..sidekey.test:443"]


@pytest.mark.parametrize("authority", NONSENSE)
def test_connect_to_nonsense_is_refused(sidekey, auth, authority):
    sock, head = sidekey.tunnel(authority)
    sock.close()
    assert 400 <= status_of(head) < 500, head
    assert auth.counts["api_requests"] == 0


def test_an_sni_that_differs_is_refused_in_the_handshake(sidekey):
    sock, head = sidekey.tunnel()
    assert head.startswith(b"HTTP/1.1 200")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        sidekey.context().wrap_socket(sock, server_hostname="evil.sidekey.test").close()
    assert sidekey.request()[0] == 200


def test_a_cloud_metadata_address_is_never_dialled(sidekey):
    sock, head = sidekey.tunnel("169.254.169.254:80")
    sock.close()
    assert status_of(head) in (403, 502), head
    assert b"proxy-status: sidekey" in head.lower()


def test_a_loopback_address_that_the_operator_did_not_list_is_not_dialled(sidekey, auth):
    sock, head = sidekey.tunnel(f"127.0.0.1:{auth.api_port}")
    sock.close()
    assert status_of(head) in (403, 502), head


def test_an_upstream_that_is_not_there_gives_502_on_connect(start, make_config):
    config = make_config()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config["network"]["resolve"]["gone.sidekey.test:443"] = f"127.0.0.1:{port}"
    sidekey = start(config)
    sock, head = sidekey.tunnel("gone.sidekey.test:443")
    sock.close()
    assert status_of(head) == 502 and b"connection_refused" in head.lower(), head


BAD_UPSTREAMS = {"expired": "expired", "selfsigned": "self", "wrong": "match|name"}


@pytest.mark.parametrize("name", BAD_UPSTREAMS)
def test_an_upstream_that_cannot_prove_its_name_gets_no_token_and_the_reason_is_told(sidekey, auth, name):
    answer = sidekey.request(host=f"{name}.sidekey.test")
    assert answer[0] == 502, answer
    members = harness.problem(answer)
    assert re.search(BAD_UPSTREAMS[name], json.dumps(members), re.I), members
    assert auth.counts["api_requests"] == 0


def test_a_host_without_a_rule_is_tunnelled_end_to_end(sidekey, auth, pki):
    theirs = ssl.create_default_context(cafile=pki / "ca.pem")
    with sidekey.tls("open.sidekey.test", theirs) as sock:
        assert ("commonName", "sidekey tests CA") in [pair[0] for pair in sock.getpeercert()["issuer"]]
        sock.sendall(b"GET /open/v2/echo HTTP/1.1\r\nHost: open.sidekey.test\r\nAuthorization: Bearer of-the-program\r\n\r\n")
        seen = json.loads(harness.read_answer(sock).partition(b"\r\n\r\n")[2])
    assert seen["headers"]["authorization"] == "Bearer of-the-program"
    assert "via" not in seen["headers"]
    assert auth.counts["token_requests"] <= 1


def test_a_host_without_a_rule_is_denied_where_the_operator_says_so(start, auth):
    sidekey = start(unmatched="deny")
    sock, head = sidekey.tunnel("open.sidekey.test:443")
    sock.close()
    assert status_of(head) == 403 and b"proxy-status: sidekey" in head.lower(), head
    assert sidekey.request()[0] == 200


def test_a_path_or_method_that_no_rule_allows_is_403_and_never_a_silent_skip(start, make_config, auth):
    config = make_config()
    config["rules"][0]["match"].update(paths=["/v2/*"], methods=["GET"])
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    before = auth.counts["api_requests"]
    for method, path in (("GET", "/admin"), ("DELETE", "/v2/echo"), ("GET", "/v2x"), ("GET", "/v2/../admin")):
        answer = sidekey.request(method, path)
        assert answer[0] == 403, (method, path, answer)
        assert harness.problem(answer)["hint"]
    assert auth.counts["api_requests"] == before


def test_what_a_hop_says_stays_on_that_hop(sidekey):
    answer = sidekey.raw(f"GET /v2/echo HTTP/1.1\r\n{host()}Connection: X-Private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n"
                         "Proxy-Authorization: Basic Zm9vOmJhcg==\r\nTE: trailers\r\nX-Kept: 2\r\nX-kept: 3\r\n\r\n".encode())
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    for gone in ("x-private", "keep-alive", "proxy-authorization"):
        assert gone not in seen["headers"], gone
    assert [v for k, v in zip(seen["raw"][::2], seen["raw"][1::2]) if k.lower() == "x-kept"] == ["2", "3"]
    assert seen["headers"]["host"] == API and "X-kept" in seen["raw"]


def test_a_forged_proxy_status_and_alt_svc_do_not_pass(sidekey):
    status, headers, _ = sidekey.request(path="/open/forged")
    assert status == 200
    assert "forged" not in (headers["proxy-status"] or "") and headers["alt-svc"] is None


@pytest.mark.parametrize("via", [True, False])
def test_via_is_appended_in_both_directions_and_can_be_turned_off(start, via):
    sidekey = start(**({} if via else {"via": False}))
    _, headers, body = sidekey.request(headers={"Via": "1.0 fred"})
    assert json.loads(body)["headers"]["via"] == ("1.0 fred, 1.1 sidekey" if via else "1.0 fred")
    assert headers["via"] == ("1.1 sidekey" if via else None)


def test_pipelined_requests_are_answered_in_order(sidekey):
    with sidekey.tls() as sock:
        sock.sendall(b"".join(f"GET /v2/echo?n={n} HTTP/1.1\r\n{host()}\r\n".encode() for n in range(5)))
        data, seen = b"", []
        while len(seen) < 5:
            data += sock.recv(65536)
            seen = re.findall(rb'"path":"/v2/echo\?n=(\d)"', data)
    assert seen == [b"0", b"1", b"2", b"3", b"4"]


def test_chunks_and_trailers_pass(sidekey):
    answer = b""
    with sidekey.tls() as sock:
        sock.sendall(f"GET /chunked?n=20 HTTP/1.1\r\n{host()}TE: trailers\r\nConnection: close, TE\r\n\r\n".encode())
        answer = read_all(sock)
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    body, trailers = dechunk(rest)
    assert len(body) == sum(i * 997 + 1 for i in range(20))
    assert hashlib.sha256(body).hexdigest().encode() in trailers


def dechunk(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        n = int(size.split(b";")[0], 16)
        if n == 0:
            return body, data
        body, data = body + data[:n], data[n + 2:]


def read_all(sock):
    data = b""
    while True:
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece


def test_a_body_that_ends_with_the_connection_passes_whole(sidekey):
    status, _, body = sidekey.request(path="/eof?bytes=200000")
    assert status == 200 and len(body) == 200_000


def test_a_body_cut_by_the_upstream_never_looks_complete(sidekey):
    """Without close_notify the end of the body is not known: the client must see an abort."""
    complete = None
    try:
        with sidekey.tls() as sock:
            sock.sendall(f"GET /eof?bytes=200000&cut=1 HTTP/1.1\r\n{host()}\r\n".encode())
            answer = read_all(sock)
            complete = answer.endswith(b"0\r\n\r\n") or (b"transfer-encoding" not in answer.split(b"\r\n\r\n")[0].lower() and status_of(answer) == 200)
    except (ssl.SSLError, ConnectionError):
        complete = False
    assert complete is False, "a truncated body ended like a whole one"


def test_early_hints_pass(sidekey):
    with sidekey.tls() as sock:
        sock.sendall(f"GET /hints HTTP/1.1\r\n{host()}Connection: close\r\n\r\n".encode())
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 103") and b"HTTP/1.1 200" in answer


def test_an_answer_that_comes_during_the_upload_is_relayed_at_once(sidekey):
    with sidekey.tls() as sock:
        sock.sendall(f"POST /early?status=413 HTTP/1.1\r\n{host()}Content-Length: 1000000\r\n\r\npart".encode())
        assert harness.read_head(sock).startswith(b"HTTP/1.1 413")


def test_each_event_of_a_stream_arrives_when_it_is_sent(sidekey):
    """The server sends an event only after the program has the one before: what is held back anywhere never comes."""
    async def scene():
        client = AsyncClient(sidekey)
        other = AsyncClient(sidekey)
        await client.open()
        client.writer.write(f"GET /steps?n=8 HTTP/1.1\r\n{host()}\r\n".encode())
        await client.reader.readuntil(b"\r\n\r\n")
        for i in range(8):
            event = await asyncio.wait_for(client.reader.readuntil(b"\n\n"), harness.PATIENCE_S)
            assert event.endswith(f"data: {i}\n\n".encode())
            assert (await other.request("GET", "/step"))[0] == (200 if i < 7 else 409)
        client.close()
        other.close()
    asyncio.run(scene())


def test_a_hundred_connections_at_once(sidekey, auth):
    async def scene():
        clients = [AsyncClient(sidekey) for _ in range(100)]
        answers = await asyncio.gather(*[c.request("GET", f"/slow?ms={300 + n}") for n, c in enumerate(clients)])
        for client in clients:
            client.close()
        return {status for status, _, _ in answers}
    assert asyncio.run(scene()) == {200}
    auth.healthy()


def test_a_program_that_hangs_up_in_the_middle_harms_nobody(sidekey, auth):
    for _ in range(20):
        sock = sidekey.tls()
        sock.sendall(f"GET /big?bytes=50000000 HTTP/1.1\r\n{host()}\r\n".encode())
        sock.recv(1000)
        sock.close()
    assert sidekey.request()[0] == 200
    auth.healthy()


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.release
def test_a_gibibyte_each_way_needs_no_more_memory_than_a_small_answer(sidekey):
    for _ in range(3):
        assert sidekey.request()[0] == 200
    before = sidekey.pss_kib()
    peak, got, sent = asyncio.run(two_gibibytes(sidekey, 1 << 30))
    assert (got, sent) == (1 << 30, 1 << 30)
    assert peak - before < 6 * 1024, (before, peak)


async def two_gibibytes(sidekey, size):
    peak = 0

    async def watch():
        nonlocal peak
        while True:
            peak = max(peak, sidekey.pss_kib())
            await asyncio.sleep(0.5)

    watcher = asyncio.create_task(watch())
    curl = ["curl", "-sS", "--http1.1", "-x", sidekey.proxy_url, "--cacert", str(sidekey.ca), "--max-time", "120"]

    async def run(*args, feed=False):
        process = await asyncio.create_subprocess_exec(*curl, *args, stdin=asyncio.subprocess.PIPE if feed else asyncio.subprocess.DEVNULL,
                                                       stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=harness.environment(sidekey.folder))
        if feed:
            block = bytes(1 << 20)
            for _ in range(size >> 20):
                process.stdin.write(block)
                await process.stdin.drain()
            process.stdin.close()
        out, err = await process.communicate() if not feed else (await process.stdout.read(), await process.stderr.read())
        assert await process.wait() == 0, err
        return out

    got = int(await run("-o", "/dev/null", "-w", "%{size_download}", f"https://{API}/big?bytes={size}"))
    sent = json.loads(await run("-T", "-", f"https://{API}/upload", feed=True))["body_bytes"]
    watcher.cancel()
    return peak, got, sent
