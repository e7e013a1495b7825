"""Real programs, unchanged, each with nothing but a proxy, a CA bundle and a placeholder."""
import json
import os
import shutil
import ssl
import sys
import textwrap

import harness
import pytest
from harness import API, BUILD, PLACEHOLDER, program_environment, run, until

URL = f"https://{API}/v2/echo"


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def ran(sidekey, argv, **kw):
    done = run(argv, program_environment(sidekey), **kw)
    assert done.returncode == 0, (done.returncode, done.stdout[-1000:], done.stderr[-2000:])
    return done.stdout.decode()


def saw_token(text, auth):
    assert json.loads(text)["live"] is True
    assert PLACEHOLDER not in json.dumps(auth.requests[-1])


@needs("curl")
def test_curl_with_its_proxy_option(sidekey, auth):
    saw_token(ran(sidekey, ["curl", "-sS", "-x", sidekey.proxy_url, "--cacert", sidekey.ca, "-H", f"Authorization: {PLACEHOLDER}", URL]), auth)


@needs("curl")
def test_curl_with_nothing_but_its_environment(sidekey, auth):
    saw_token(ran(sidekey, ["curl", "-sS", "-H", f"Authorization: {PLACEHOLDER}", URL]), auth)


@needs("curl")
def test_curl_sends_a_form_and_a_file(sidekey, place):
    (place / "upload.bin").write_bytes(b"\0\1\2" * 100_000)
    assert json.loads(ran(sidekey, ["curl", "-sS", "-d", "a=1&b=2", f"https://{API}/upload"]))["body_bytes"] == 7
    assert json.loads(ran(sidekey, ["curl", "-sS", "-T", place / "upload.bin", f"https://{API}/upload"]))["body_bytes"] == 300_000


@needs("curl")
def test_curl_uploads_slowly_and_waits_for_100(sidekey, auth, place):
    """Both framings, at a fifth of a second each; the token of the placeholder is refused before a byte of the body has gone."""
    (place / "slow.bin").write_bytes(b"slow" * 50_000)
    assert sidekey.request()[0] == 200 and auth.revoke_access() >= 1
    for how in (["-T", place / "slow.bin"], ["-T", "-"]):
        done = run(["curl", "-sSv", "--limit-rate", "1M", "--expect100-timeout", "5", "-H", "Expect: 100-continue", "-H", f"Authorization: {PLACEHOLDER}", *how, f"https://{API}/upload"],
                   program_environment(sidekey), stdin=b"slow" * 50_000)
        assert done.returncode == 0 and json.loads(done.stdout)["body_bytes"] == 200_000, done
        assert b"< HTTP/1.1 100" in done.stderr and b"401" not in done.stderr, done.stderr
    assert auth.counts["api_unauthorized"] == 1


def test_a_newer_node_than_the_systems_is_at_hand(sidekey, auth):
    script = f"""fetch('{URL}', {{ headers: {{ authorization: 'Bearer placeholder' }} }}).then((a) => a.text()).then((t) => console.log(process.versions.node.split('.')[0] >= 24, t))"""
    done = run([harness.node(24), "-e", script], program_environment(sidekey, NODE_USE_ENV_PROXY="1"))
    assert done.returncode == 0 and done.stdout.startswith(b"true "), done
    saw_token(done.stdout.decode().removeprefix("true "), auth)


@needs("openssl")
def test_openssl_s_client(sidekey, auth):
    """The leaf verifies without help: chain, name, purpose; and the first answer is there before the input ends."""
    done = run(["openssl", "s_client", "-proxy", "%s:%d" % sidekey.proxy, "-connect", f"{API}:443", "-servername", API, "-CAfile", sidekey.ca, "-verify_hostname", API,
                "-verify_return_error", "-x509_strict", "-quiet", "-ign_eof"], program_environment(sidekey),
               stdin=f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\nAuthorization: {PLACEHOLDER}\r\nConnection: close\r\n\r\n".encode())
    assert done.returncode == 0, done
    saw_token(done.stdout.decode().partition("\r\n\r\n")[2], auth)


RSA_CLIENTS = {  # flags of s_client, and whether the authority must be RSA too
    "TLS 1.2 with RSA suites": (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-sigalgs", "RSA+SHA256:ECDSA+SHA256"], False),
    "TLS 1.2 with RSA suites and signatures": (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-sigalgs", "RSA+SHA256"], True),
    "TLS 1.3 with RSA signatures": (["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], True),
}


def s_client(sidekey, flags):
    return run(["openssl", "s_client", "-proxy", "%s:%d" % sidekey.proxy, "-connect", f"{API}:443", "-servername", API, "-CAfile", sidekey.ca, "-verify_hostname", API,
                "-verify_return_error", "-quiet", "-ign_eof", *flags], program_environment(sidekey),
               stdin=f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\nAuthorization: {PLACEHOLDER}\r\nConnection: close\r\n\r\n".encode())


@needs("openssl")
@pytest.mark.parametrize("client", RSA_CLIENTS)
@pytest.mark.parametrize("rsa", [False, True], ids=["one CA", "an RSA CA too"])
def test_a_client_that_takes_no_ecdsa_gets_an_rsa_leaf(client, rsa, start, make_config, auth, place):
    config = make_config()
    config["ca"]["rsa"] = rsa
    sidekey = start(config)
    flags, needs_ca = RSA_CLIENTS[client]
    for _ in range(2):  # the second comes from the cache
        done = s_client(sidekey, flags)
        if needs_ca and not rsa:
            assert done.returncode != 0
            until("the log says why", lambda: b"does not support ECDSA signatures: set ca.rsa: true" in b"".join(sidekey.logs().values()))
        else:
            assert done.returncode == 0, (done, sidekey.logs())
            saw_token(done.stdout.decode().partition("\r\n\r\n")[2], auth)
    assert s_client(sidekey, []).returncode == 0


@needs("openssl")
def test_a_hello_in_small_pieces_is_waited_for(sidekey, auth):
    """The first record one byte at a time, from a client that knows RSA alone."""
    context = ssl.create_default_context(cafile=sidekey.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    sock, _ = sidekey.tunnel()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=API)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    for byte in outgoing.read():
        sock.sendall(bytes([byte]))
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            got = sock.recv(65536)
            assert got, "closed in the handshake"
            incoming.write(got)
    assert tls.version() == "TLSv1.2" and "RSA" in tls.cipher()[0]
    sock.close()


@needs("wget")
def test_wget(sidekey, auth):
    saw_token(ran(sidekey, ["wget", "-q", "-O-", f"--ca-certificate={sidekey.ca}", f"--header=Authorization: {PLACEHOLDER}", URL]), auth)


@needs("git")
def test_git_clones_and_fetches_over_https(sidekey, place):
    ran(sidekey, ["git", "clone", "-q", "https://git.sidekey.test/repo.git", place / "clone"])
    assert (place / "clone/hello.txt").read_text() == "hello from the repository\n"
    ran(sidekey, ["git", "-C", place / "clone", "fetch", "-q"])


def python(sidekey, place, code):
    script = place / "program.py"
    script.write_text(textwrap.dedent(code))
    return ran(sidekey, [sys.executable, script])


def test_python_urllib(sidekey, auth, place):
    saw_token(python(sidekey, place, f"""
        import urllib.request
        request = urllib.request.Request("{URL}", headers={{"Authorization": "{PLACEHOLDER}"}})
        print(urllib.request.urlopen(request, timeout=20).read().decode())
    """), auth)


def test_python_requests_with_a_session(sidekey, auth, place):
    saw_token(python(sidekey, place, f"""
        import requests
        with requests.Session() as session:
            session.headers["Authorization"] = "{PLACEHOLDER}"
            for _ in range(10):
                answer = session.get("{URL}", timeout=20)
                answer.raise_for_status()
            assert session.post("https://{API}/upload", json={{"a": 1}}, timeout=20).json()["body_bytes"] == 8
        print(answer.text)
    """), auth)


def test_python_httpx_both_ways(sidekey, auth, place):
    saw_token(python(sidekey, place, f"""
        import asyncio, httpx
        headers = {{"Authorization": "{PLACEHOLDER}"}}
        with httpx.Client(headers=headers, timeout=20) as client:
            for _ in range(5):
                client.get("{URL}").raise_for_status()
            with client.stream("GET", "https://{API}/chunked?n=20") as answer:
                assert sum(map(len, answer.iter_bytes())) == sum(i * 997 + 1 for i in range(20))
        async def both():
            async with httpx.AsyncClient(headers=headers, timeout=20) as client:
                async def pieces():
                    for _ in range(10):
                        yield b"piece" * 100
                sent = await client.post("https://{API}/upload", content=pieces())
                assert sent.json()["body_bytes"] == 5000, sent.text
                return (await asyncio.gather(*[client.get("{URL}") for _ in range(10)]))[-1].text
        print(asyncio.run(both()))
    """), auth)


@needs("node")
def test_node_with_axios(sidekey, auth, place):
    program = place / "program.cjs"
    program.write_text(textwrap.dedent(f"""
        const axios = require(require.resolve('axios', {{ paths: [process.env.SIDEKEY_NODE] }}));
        const client = axios.create({{ headers: {{ authorization: '{PLACEHOLDER}' }} }});
        (async () => {{
          const sent = await client.post('https://{API}/upload', {{ a: 1 }});
          if (sent.data.body_bytes !== 7) throw new Error(JSON.stringify(sent.data));
          const all = await Promise.all(Array.from({{ length: 10 }}, () => client.get('{URL}')));
          console.log(JSON.stringify(all[9].data));
        }})();
    """))
    saw_token(ran(sidekey, ["node", program]), auth)


@pytest.mark.world
@needs("go")
@pytest.mark.slow
def test_go_net_http(sidekey, auth, place):
    """A static program: no libc to preload into, only the variables.  It offers h2 as Go does, and is content with HTTP/1.1."""
    (place / "program.go").write_text(textwrap.dedent(f"""
        package main
        import ("bytes"; "fmt"; "io"; "net/http"; "os"; "strings")
        func ask(method, url string, body io.Reader) string {{
            request, _ := http.NewRequest(method, url, body)
            request.Header.Set("Authorization", "{PLACEHOLDER}")
            answer, err := http.DefaultClient.Do(request)
            if err != nil {{ fmt.Fprintln(os.Stderr, err); os.Exit(1) }}
            defer answer.Body.Close()
            text, _ := io.ReadAll(answer.Body)
            if answer.StatusCode != 200 || answer.ProtoMajor != 1 {{ fmt.Fprintln(os.Stderr, answer.Status, answer.Proto); os.Exit(1) }}
            return string(text)
        }}
        func main() {{
            sent := ask("POST", "https://{API}/upload", io.MultiReader(bytes.NewReader(make([]byte, 300000))))
            if !strings.Contains(sent, "\\"body_bytes\\":300000") {{ fmt.Fprintln(os.Stderr, sent); os.Exit(1) }}
            for i := 0; i < 10; i++ {{ ask("GET", "{URL}", nil) }}
            fmt.Print(ask("GET", "{URL}", nil))
        }}
    """))
    cache = BUILD / "go-cache"
    go = {**os.environ, "GOCACHE": str(cache), "GOPROXY": "off", "CGO_ENABLED": "0", "GO111MODULE": "off", "HOME": str(place)}
    made = run(["go", "build", "-o", place / "program", place / "program.go"], go, seconds=140)
    assert made.returncode == 0, made.stderr
    saw_token(ran(sidekey, [place / "program"]), auth)


@needs("node")
def test_node_with_undici_and_its_proxy_agent(sidekey, auth, place):
    program = place / "program.cjs"
    program.write_text(textwrap.dedent(f"""
        const {{ ProxyAgent, fetch }} = require(require.resolve('undici', {{ paths: [process.env.SIDEKEY_NODE] }}));
        const dispatcher = new ProxyAgent(process.env.HTTPS_PROXY);
        (async () => {{
          const all = await Promise.all(Array.from({{ length: 10 }}, () =>
            fetch('{URL}', {{ dispatcher, headers: {{ authorization: '{PLACEHOLDER}' }} }}).then((r) => r.text())));
          console.log(all[9]);
          await dispatcher.close();
        }})();
    """))
    saw_token(ran(sidekey, ["node", program]), auth)


@pytest.mark.world
@needs("java")
@pytest.mark.slow
def test_java_with_its_proxy_properties(sidekey, auth, place):
    store = place / "trust.p12"
    made = run(["keytool", "-importcert", "-noprompt", "-alias", "sidekey", "-file", sidekey.ca, "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit"])
    assert made.returncode == 0, made.stderr
    (place / "Program.java").write_text(textwrap.dedent(f"""
        import java.net.URI;
        import java.net.http.*;
        public class Program {{
            public static void main(String[] args) throws Exception {{
                HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).proxy(java.net.ProxySelector.getDefault()).build();
                HttpRequest request = HttpRequest.newBuilder(URI.create("{URL}")).header("Authorization", "{PLACEHOLDER}").build();
                System.out.println(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
            }}
        }}
    """))
    host, port = sidekey.proxy
    saw_token(ran(sidekey, ["java", f"-Dhttps.proxyHost={host}", f"-Dhttps.proxyPort={port}", f"-Djavax.net.ssl.trustStore={store}",
                            "-Djavax.net.ssl.trustStorePassword=changeit", place / "Program.java"]), auth)


@needs("perl")
def test_perl_http_tiny(sidekey, auth):
    saw_token(ran(sidekey, ["perl", "-MHTTP::Tiny", "-e", f"""
        my $r = HTTP::Tiny->new(verify_SSL => 1, SSL_options => {{SSL_ca_file => $ENV{{SSL_CERT_FILE}}}})
            ->get("{URL}", {{headers => {{authorization => "{PLACEHOLDER}"}}}});
        die $r->{{content}} unless $r->{{success}}; print $r->{{content}};"""]), auth)
