"""Real servers behind the proxy, as they come from the distribution: nginx, and git's own HTTP backend."""
import contextlib
import gzip
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading

import harness
import pytest
import wire
from harness import API, PLACEHOLDER, program_environment, run
from wire import TOKEN

GIT = "git.sidekey.test"

# gzip_proxied: by itself nginx squeezes nothing for a request that has a Via.
NGINX = """
daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {here}/access.log; default_type application/octet-stream; types {{ text/plain txt; }}
    client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {pki}/good.pem; ssl_certificate_key {pki}/good.key;
        keepalive_timeout 2s 2s; keepalive_requests 50; client_max_body_size 64m; client_body_buffer_size 8k;
        gzip on; gzip_types text/plain; gzip_min_length 1; gzip_proxied any;
        if ($http_authorization != "Bearer {token}") {{ return 401; }}
        location / {{ root {here}/www; add_header X-Asked "$request_method $request_uri"; }}
        location /dav/ {{ root {here}/www; dav_methods PUT DELETE; create_full_put_path on; }}
        location /count {{ proxy_pass http://127.0.0.1:{backend}; proxy_request_buffering on; proxy_buffering on; }}
        location /straight {{ proxy_pass http://127.0.0.1:{backend}; proxy_request_buffering off; proxy_http_version 1.1; proxy_buffering off; }}
    }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def reachable(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def counted(request):
    body = b"%d %s" % (len(request.body), hashlib.sha256(request.body).hexdigest().encode())
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


class Nginx:
    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "nginx")
        self.here = pathlib.Path(folder)
        (self.here / "www/dav").mkdir(parents=True)
        self.text = b"".join(b"line %d of a text that can be made small\n" % n for n in range(20_000))
        self.bytes = bytes(range(256)) * 2000
        (self.here / "www/text.txt").write_bytes(self.text)
        (self.here / "www/bytes").write_bytes(self.bytes)
        backend = self.world.server(tls=False)
        backend.answer = counted
        self.port = free_port()
        conf = self.here / "nginx.conf"
        conf.write_text(NGINX.format(here=self.here, pki=pki, port=self.port, backend=backend.port, token=TOKEN))
        self.process = harness.Process("nginx", ["nginx", "-p", self.here, "-c", conf, "-e", self.here / "error.log"], self.here)
        harness.until("nginx listens", lambda: reachable(self.port))
        config = self.world.config(backend)
        config["network"]["resolve"][f"{API}:443"] = f"127.0.0.1:{self.port}"
        self.sidekey = self.world.start(config)

    def close(self):
        self.world.close()
        self.process.stop()


@pytest.fixture(scope="module")
def nginx(folder, pki):
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    made = Nginx(folder / "nginx", pki)
    yield made
    made.close()


def curl(nginx, *args, direct=False, stdin=b""):
    """(head of the last answer, body): by the proxy with a placeholder, or straight to nginx with the token."""
    way = ["--noproxy", "*", "--resolve", f"{API}:443:127.0.0.1", "--connect-to", f"{API}:443:127.0.0.1:{nginx.port}", "--cacert", nginx.world.pki / "ca.pem", "-H", f"Authorization: Bearer {TOKEN}"] \
        if direct else ["-x", nginx.sidekey.proxy_url, "--cacert", nginx.sidekey.ca, "-H", f"Authorization: {PLACEHOLDER}"]
    head = nginx.here / "head"
    done = run(["curl", "-sS", "--http1.1", "-D", head, *way, *args], harness.environment(nginx.here), stdin=stdin)
    assert done.returncode == 0, done
    return head.read_bytes().decode("latin-1").strip().split("\r\n\r\n")[-1], done.stdout


def fields(head):
    """What both ends must see alike: all but what belongs to one hop, to the moment, or to us; the length in a place of its own."""
    lines = [line for line in head.split("\r\n")[1:] if not re.match(r"(?i)(date|via|connection|keep-alive|transfer-encoding):", line)]
    length = [line for line in lines if line.lower().startswith("content-length:")]
    return head.split("\r\n")[0], [line for line in lines if line not in length], length


SAME = {
    "a text": ["/text.txt"], "a file": ["/bytes"], "squeezed": ["/text.txt", "-H", "Accept-Encoding: gzip"], "a head": ["/bytes", "-I", "-o", "/dev/null"], "a range": ["/bytes", "-r", "1000-1999"],
    "the end of a file": ["/bytes", "-r", "-100"], "a range that is not there": ["/bytes", "-r", "99999999-"], "what is known": ["/bytes", "-z", "2038-01-01"],
    "what is not there": ["/nothing"], "strange letters": ["/a%20b/%2e%2e/%C3%A4?x=%26&y=+", "--path-as-is"], "a method it does not take": ["/bytes", "-X", "PATCH"], "options": ["/bytes", "-X", "OPTIONS"],
}


@pytest.mark.parametrize("what", SAME)
def test_nginx_serves_curl_as_if_nobody_stood_between(nginx, what):
    path, *args = SAME[what]
    through, direct = curl(nginx, f"https://{API}{path}", *args), curl(nginx, f"https://{API}{path}", *args, direct=True)
    assert fields(through[0]) == fields(direct[0])
    assert through[1] == direct[1]
    if what == "squeezed":
        assert gzip.decompress(through[1]) == nginx.text and "ransfer-encoding: chunked" in through[0].lower()


def test_several_ranges_of_nginx_arrive_as_parts(nginx):
    head, body = curl(nginx, f"https://{API}/bytes", "-r", "0-9,100-109")
    assert " 206 " in head and "multipart/byteranges" in head and body.count(nginx.bytes[:10]) == 1 and nginx.bytes[100:110] in body


@pytest.mark.parametrize("place", ["count", "straight"])
@pytest.mark.parametrize("framing", ["length", "chunks", "waiting"])
def test_a_large_upload_arrives_behind_nginx_whole(nginx, place, framing):
    """With its own buffering nginx reads all before it asks its backend, and without it each piece goes through."""
    body = os.urandom(1 << 20) * 12
    how = {"length": ["-H", "Expect:"], "chunks": ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"], "waiting": ["-H", "Expect: 100-continue"]}[framing]
    _, told = curl(nginx, f"https://{API}/{place}", "-X", "POST", "--data-binary", "@-", *how, stdin=body)
    assert told == b"%d %s" % (len(body), hashlib.sha256(body).hexdigest().encode())


def test_a_file_that_is_put_can_be_got(nginx):
    body = os.urandom(3 << 20)
    assert " 201 " in curl(nginx, f"https://{API}/dav/new/file", "-T", "-", stdin=body)[0]
    assert curl(nginx, f"https://{API}/dav/new/file")[1] == body
    assert " 204 " in curl(nginx, f"https://{API}/dav/new/file", "-X", "DELETE")[0]


@pytest.mark.slow
def test_nginx_that_ends_its_connections_costs_no_request(nginx):
    """It closes after fifty requests and after two seconds without one, and says so; POSTs meet neither."""
    statuses = []
    with contextlib.closing(nginx.sidekey.connection()) as connection:
        for n in range(130):
            if n in (20, 90):
                threading.Event().wait(2.02)  # the moment at which nginx closes
            status, _, body = nginx.sidekey.request("POST", "/count", body=b"x" * n, connection=connection)
            statuses.append((status, int(body.split()[0]) == n))
    assert set(statuses) == {(200, True)}


# --- git ---------------------------------------------------------------------------------------------------------------------------------------


class GitBackend(http.server.BaseHTTPRequestHandler):
    """git http-backend as a CGI program (git-http-backend(1)), for who has the token."""
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding"):
            text = b""
            while size := int(self.rfile.readline(), 16):
                text += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            self.server.chunked += 1
            return text
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def serve(self):
        text = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, [], b"")
            return
        path, _, query = self.path.partition("?")
        env = {**os.environ, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
               "REMOTE_USER": "test", "REMOTE_ADDR": "127.0.0.1", "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(text)),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        done = subprocess.run(["git", "http-backend"], input=text, env=env, capture_output=True, check=False)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        self.answer(status, [pair for pair in fields if pair[0] != "Status"], body)

    do_GET = do_POST = serve

    def answer(self, status, fields, body):
        self.send_response(status)
        for name, value in [*fields, ("Content-Length", str(len(body)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def git(folder, pki):
    world = wire.World(folder / "git", pki, "git")
    root = world.folder / "srv"
    root.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", root / "repo.git"], check=True, capture_output=True)
    subprocess.run(["git", "-C", root / "repo.git", "config", "http.receivepack", "true"], check=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), GitBackend)
    server.root, server.chunked, server.daemon_threads = root, 0, True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "good.pem", pki / "good.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = world.config(world.server(), hosts=(GIT,))
    config["network"]["resolve"][f"{GIT}:443"] = "127.0.0.1:%d" % server.server_address[1]
    world.sidekey, world.backend = world.start(config), server
    yield world
    server.shutdown()
    server.server_close()
    world.close()


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("post_buffer", [1 << 20, 66_000])
def test_git_clones_pushes_and_fetches(git, post_buffer):
    """Smart HTTP: small packs in one POST, large ones (http.postBuffer) in chunks, after a probe of their own."""
    env = {**program_environment(git.sidekey), "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null"}
    work = git.folder / f"work{post_buffer}"

    def do(*args):
        done = run(["git", "-c", "user.name=t", "-c", "user.email=t@sidekey.test", "-c", f"http.postBuffer={post_buffer}", *args], env)
        assert done.returncode == 0, done
        return done.stdout.decode().strip()
    do("clone", "-q", f"https://{GIT}/repo.git", work)
    (work / f"file{post_buffer}").write_bytes(os.urandom(400_000))
    do("-C", work, "add", ".")
    do("-C", work, "commit", "-q", "-m", "one more")
    before = git.backend.chunked
    do("-C", work, "push", "-q", "origin", "HEAD:main")
    assert (git.backend.chunked > before) == (post_buffer == 66_000)
    do("-C", work, "fetch", "-q", "origin")
    head = do("-C", work, "rev-parse", "HEAD")
    assert do("-C", work, "rev-parse", "origin/main") == head == do("-C", git.backend.root / "repo.git", "rev-parse", "main")
    other = git.folder / f"other{post_buffer}"
    do("clone", "-q", f"https://{GIT}/repo.git", other)
    assert (other / f"file{post_buffer}").read_bytes() == (work / f"file{post_buffer}").read_bytes()
