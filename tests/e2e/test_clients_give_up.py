"""Real programs that give up while their answer is awaited, or comes: the upstream is let go.  And programs that ask a proxy for https:// in plain HTTP."""
import base64
import contextlib
import os
import shutil
import socket
import textwrap
import threading

import harness
import pytest
import wire
from harness import API, BUILD, PLACEHOLDER, program_environment, run, until

WORD = "proxy-word-81c0"
TIMEOUT_MS = 1500  # after which the programs give up


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


class Scene:
    """An upstream that says as much of an answer as its path wants, and then waits until it is left."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder / "giveup", pki, "giveup")
        self.world.secrets.append(WORD)
        self.asked, self.left = threading.Event(), threading.Event()
        self.upstream = self.world.server(self.script)
        config = self.world.config(self.upstream, hosts=(API,))
        self.sidekey = self.world.start({**config, "clients": {"app": {"password": self.world.secret("app", WORD), "rules": [API]}}})
        host, port = self.sidekey.proxy
        self.proxy = f"http://app:{WORD}@{host}:{port}"

    def script(self, peer):
        while request := peer.read():
            if not request.target.startswith("/stuck"):
                peer.send(wire.OK)
                continue
            if request.target.endswith("body"):
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\nthe first part")
            self.asked.set()
            with contextlib.suppress(OSError):
                while peer.fill():
                    pass
            self.left.set()
            return

    def environment(self):
        return program_environment(self.sidekey, http_proxy=self.proxy, https_proxy=self.proxy, HTTPS_PROXY=self.proxy)

    def close(self):
        self.world.close()


@pytest.fixture(scope="module")
def scene(folder, pki):
    made = Scene(folder, pki)
    yield made
    made.close()


def curl(place, url):
    return ["curl", "-s", "--max-time", str(TIMEOUT_MS / 1000), "-H", f"Authorization: {PLACEHOLDER}", "-X", "POST", "-d", "x", url]


def python(place, url):
    return [harness.PYTHON, "-c", f"import requests; requests.post('{url}', data='x', headers={{'Authorization': '{PLACEHOLDER}'}}, timeout={TIMEOUT_MS / 1000}, stream=False)"]


def node(place, url):
    program = place / "program.cjs"
    program.write_text(textwrap.dedent(f"""
        const {{ ProxyAgent, fetch }} = require(require.resolve('undici', {{ paths: [process.env.SIDEKEY_NODE] }}));
        const dispatcher = new ProxyAgent(process.env.HTTPS_PROXY);
        fetch('{url}', {{ dispatcher, method: 'POST', body: 'x', headers: {{ authorization: '{PLACEHOLDER}' }}, signal: AbortSignal.timeout({TIMEOUT_MS}) }})
          .then((r) => r.text()).catch(() => process.exit(9));
    """))
    return ["node", program]


def go(place, url):
    """context.WithTimeout, as everybody has it."""
    (place / "program.go").write_text(textwrap.dedent(f"""
        package main
        import ("context"; "io"; "net/http"; "os"; "strings"; "time")
        func main() {{
            ctx, cancel := context.WithTimeout(context.Background(), {TIMEOUT_MS} * time.Millisecond)
            defer cancel()
            request, _ := http.NewRequestWithContext(ctx, "POST", "{url}", strings.NewReader("x"))
            request.Header.Set("Authorization", "{PLACEHOLDER}")
            answer, err := http.DefaultClient.Do(request)
            if err == nil {{ _, err = io.ReadAll(answer.Body) }}
            if err == nil {{ return }}
            time.Sleep(time.Duration({int(harness.PATIENCE_S)}) * time.Second) // a service lives on
            os.Exit(9)
        }}
    """))
    made = run(["go", "build", "-o", place / "program", place / "program.go"],
               {**os.environ, "GOCACHE": str(BUILD / "go-cache"), "GOPROXY": "off", "CGO_ENABLED": "0", "GO111MODULE": "off", "HOME": str(place)}, seconds=240)
    assert made.returncode == 0, made.stderr
    return [place / "program"]


def java(place, url):
    """HttpClient, with the timeout of its request, which covers the head; what is left of the body is cancelled."""
    (place / "Program.java").write_text(textwrap.dedent(f"""
        import java.net.*;
        import java.net.http.*;
        import java.time.Duration;
        import java.util.concurrent.*;
        public class Program {{
            public static void main(String[] args) throws Exception {{
                URI proxy = URI.create(System.getenv("HTTPS_PROXY"));
                String[] user = proxy.getUserInfo().split(":");
                HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)
                    .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
                    .authenticator(new Authenticator() {{
                        protected PasswordAuthentication getPasswordAuthentication() {{ return new PasswordAuthentication(user[0], user[1].toCharArray()); }}
                    }}).build();
                HttpRequest request = HttpRequest.newBuilder(URI.create("{url}")).header("Authorization", "{PLACEHOLDER}")
                    .timeout(Duration.ofMillis({TIMEOUT_MS * 4})).POST(HttpRequest.BodyPublishers.ofString("x")).build();
                CompletableFuture<HttpResponse<String>> answer = client.sendAsync(request, HttpResponse.BodyHandlers.ofString());
                try {{
                    answer.get({TIMEOUT_MS * 4}, TimeUnit.MILLISECONDS);
                }} catch (TimeoutException | ExecutionException e) {{
                    System.err.println(e);
                    answer.cancel(true);
                    Thread.sleep({int(harness.PATIENCE_S)} * 1000L); // a service lives on
                }}
            }}
        }}
    """))
    store = place / "trust.p12"
    bundle = os.environ["SIDEKEY_TEST_CA"]
    made = run(["keytool", "-importcert", "-noprompt", "-alias", "sidekey", "-file", bundle, "-keystore", store, "-storetype", "PKCS12", "-storepass", "changeit"])
    assert made.returncode == 0, made.stderr
    return ["java", "-Djdk.http.auth.tunneling.disabledSchemes=", f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit", place / "Program.java"]


PROGRAMS = [pytest.param(curl, marks=needs("curl"), id="curl --max-time"), pytest.param(python, id="Python requests"), pytest.param(node, marks=needs("node"), id="Node fetch"),
            pytest.param(go, marks=[pytest.mark.world, pytest.mark.slow, needs("go")], id="Go context"),
            pytest.param(java, marks=[pytest.mark.world, pytest.mark.slow, needs("java")], id="Java HttpClient")]


@pytest.mark.parametrize("path", ["/stuck", "/stuck-body"], ids=["before the answer", "in the body"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_gives_up_ends_its_request_upstream(scene, place, monkeypatch, program, path):
    """limits.first_byte is ten minutes: without its end it would be open for as long as that."""
    monkeypatch.setenv("SIDEKEY_TEST_CA", str(scene.sidekey.ca))
    scene.asked.clear(), scene.left.clear()
    argv = program(place, f"https://{API}{path}")
    process = harness.Process("program", argv, place, scene.environment())
    until("it is asked", lambda: scene.asked.is_set() or process.popen.poll() is not None)
    assert scene.asked.is_set(), process.err.read_text()
    until("the upstream is let go", scene.left.is_set)
    process.stop()
    assert scene.sidekey.get_admin("/readyz")[0] == 200


def test_one_that_asked_for_https_in_plain_http_and_gives_up_is_heard_too(scene):
    """It may end its side behind its request, as busybox does, and is answered; when it is gone its upstream is let go."""
    word = base64.b64encode(f"app:{WORD}".encode()).decode()
    for path, ends in (("/a", True), ("/stuck", False), ("/stuck-body", False)):
        scene.asked.clear(), scene.left.clear()
        sock = socket.create_connection(scene.sidekey.proxy, timeout=harness.PATIENCE_S)
        sock.sendall(f"GET https://{API}{path} HTTP/1.1\r\nHost: {API}\r\nProxy-Authorization: Basic {word}\r\nConnection: close\r\n\r\n".encode())
        if ends:
            sock.shutdown(socket.SHUT_WR)
            assert wire.read_message(sock)[0].startswith(b"HTTP/1.1 200")
        else:
            until("it is asked", scene.asked.is_set)
        sock.close()
        if not ends:
            until("the upstream is let go", scene.left.is_set)


# --- https:// to the proxy itself ---

def busybox(place, url):
    return ["busybox", "wget", "-q", "-O", "-", "--header", f"Authorization: {PLACEHOLDER}", url]


def axios(place, url):
    (place / "program.cjs").write_text(textwrap.dedent(f"""
        const axios = require(require.resolve('axios-old', {{ paths: [process.env.SIDEKEY_NODE] }}));
        axios.get('{url}', {{ headers: {{ authorization: '{PLACEHOLDER}' }}, responseType: 'text' }}).then((r) => process.stdout.write(r.data), (e) => {{ console.error(e.message); process.exit(1); }});
    """))
    return ["node", place / "program.cjs"]


def needle(place, url):
    (place / "program.cjs").write_text(textwrap.dedent(f"""
        const needle = require(require.resolve('needle', {{ paths: [process.env.SIDEKEY_NODE] }}));
        needle('get', '{url}', {{ headers: {{ authorization: '{PLACEHOLDER}' }}, proxy: process.env.https_proxy, parse: false }})
          .then((r) => process.stdout.write(r.body.toString()), (e) => {{ console.error(e.message); process.exit(1); }});
    """))
    return ["node", place / "program.cjs"]


@pytest.mark.parametrize("program", [pytest.param(busybox, marks=needs("busybox"), id="busybox wget"), pytest.param(axios, marks=needs("node"), id="axios 1.7"),
                                     pytest.param(needle, marks=needs("node"), id="needle")])
def test_a_program_that_asks_a_proxy_for_https_in_plain_http_is_served(scene, place, program):
    before = scene.upstream.mark()
    done = run(program(place, f"https://{API}/a?b"), scene.environment())
    assert done.returncode == 0 and done.stdout == wire.OK.split(b"\r\n\r\n")[1], done
    sent = scene.upstream.since(before)
    assert sent.startswith(b"GET /a?b HTTP/1.1\r\n") and wire.TOKEN.encode() in sent and PLACEHOLDER.encode() not in sent, sent
    assert base64.b64encode(f"app:{WORD}".encode()) not in sent


@pytest.mark.parametrize("program", [pytest.param(busybox, marks=needs("busybox"), id="busybox wget"), pytest.param(axios, marks=needs("node"), id="axios 1.7"),
                                     pytest.param(needle, marks=needs("node"), id="needle")])
def test_those_programs_ask_as_it_is_said_of_them(scene, place, program):
    """Else the test above would show something else."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        def listen():
            with contextlib.suppress(OSError), proxy.accept()[0] as sock:
                heard.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        threading.Thread(target=listen, daemon=True).start()
        url = f"http://app:{WORD}@127.0.0.1:{proxy.getsockname()[1]}"
        run(program(place, f"https://{API}/a"), {**scene.environment(), "http_proxy": url, "https_proxy": url, "HTTPS_PROXY": url})
    assert heard[0].startswith(f"GET https://{API}/a HTTP/1.1".encode()) and base64.b64encode(f"app:{WORD}".encode()) in heard[0], heard
