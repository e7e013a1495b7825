"""Servers that write down every byte, and a sidekey that lasts for a whole test file: for the rules on the wire (docs/http.md)."""
import contextlib
import fcntl
import ipaddress
import json
import os
import pathlib
import re
import select
import socket
import ssl
import struct
import subprocess
import termios
import threading
import time

import harness
from harness import API

TOKEN = "wire-token-7c1d90f2a4e64b7fb8"
OTHER_TOKEN = "wire-token-of-another-host-55aa"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Request:
    """One request as its bytes: enough of HTTP to find its end."""

    def __init__(self, head):
        lines = head[:-4].split(b"\r\n")
        self.head = head
        self.line = lines[0].decode("latin-1")
        self.method, self.target = self.line.split(" ")[0], self.line.split(" ")[1]
        self.fields = [tuple(part.strip().decode("latin-1") for part in line.split(b":", 1)) for line in lines[1:]]
        self.body = b""
        self.trailers = b""

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        return next(iter(self.all(name)), None)


class Peer:
    """One connection at a server of ours."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.tls, self.shown = None, False  # shown: a client certificate
        self.received = b""
        self.taken = 0
        self.requests = []

    def fill(self):
        piece = self.sock.recv(65536)
        self.received += piece
        if piece:
            self.server.log.append((self, piece))
        return bool(piece)

    def take(self, n):
        while len(self.received) - self.taken < n:
            if not self.fill():
                return None
        piece = self.received[self.taken:self.taken + n]
        self.taken += n
        return piece

    def take_until(self, mark):
        while True:
            at = self.received.find(mark, self.taken)
            if at >= 0:
                return self.take(at + len(mark) - self.taken)
            if not self.fill():
                return None

    def read_head(self):
        head = self.take_until(b"\r\n\r\n")
        if head is None:
            return None
        request = Request(head)
        self.requests.append(request)
        self.server.requests.append(request)
        return request

    def read_body(self, request):
        if request.get("transfer-encoding"):
            while True:
                line = self.take_until(b"\r\n")
                size = int(line, 16) if line else 0
                if line is None or size == 0:
                    break
                request.body += self.take(size + 2)[:-2]
            while line is not None and (line := self.take_until(b"\r\n")) not in (b"\r\n", None):
                request.trailers += line
        elif request.get("content-length"):
            request.body = self.take(int(request.get("content-length")))
        return request

    def read(self):
        request = self.read_head()
        return request and self.read_body(request)

    def send(self, data):
        self.sock.sendall(data)

    def delivered(self):
        """Waits until the other side's kernel has all that was sent: a reset throws away the rest."""
        harness.until("all has arrived", lambda: struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0] == 0, every=0.002)

    def end(self):
        """A clean end: close_notify, then FIN."""
        with contextlib.suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock = self.sock.unwrap()
        self.cut()

    def cut(self):
        """FIN without close_notify."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def serve(peer):
    """The usual conversation: each request gets what server.answer(request) gives."""
    while request := peer.read():
        answer = peer.server.answer(request)
        if answer is None:
            return
        peer.send(answer)
        if b"connection: close" in answer.split(b"\r\n\r\n")[0].lower():
            return


class Server:
    """Listens on a free port; each connection is a thread that runs script(peer)."""

    def __init__(self, script=serve, context=None, address="127.0.0.1", family=socket.AF_INET, backlog=128):
        self.script, self.context = script, context
        self.answer = lambda request: OK
        self.log, self.requests, self.peers, self.errors = [], [], [], []
        self.listener = socket.create_server((address, 0), family=family, backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.open = True
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while self.open:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(4 * harness.PATIENCE_S)
        peer = Peer(self, sock)
        self.peers.append(peer)
        try:
            if self.context:
                peer.sock = self.context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
                peer.tls = (peer.sock.version(), peer.sock.session_reused, getattr(peer.sock, "asked", None))
                peer.shown = bool(peer.sock.getpeercert())
            self.script(peer)
        except (OSError, ValueError, TypeError) as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError, ValueError):
                peer.end()

    def mark(self):
        return len(self.log)

    def since(self, mark):
        """All bytes that came after the mark, on whichever connection."""
        return b"".join(piece for _, piece in self.log[mark:])

    def hang_up(self):
        """Ends every connection, and waits until whoever keeps them for later has closed its side too."""
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(AssertionError):  # who still has something to do with it may keep it
            harness.until("the other sides are closed", lambda: not self.held_elsewhere(), 2)

    def held_elsewhere(self):
        """Connections to this port that the other side has open, as the kernel lists them: established (01), or ended by us alone (08)."""
        rows = [line.split() for path in ("/proc/net/tcp", "/proc/net/tcp6") if os.path.exists(path) for line in open(path, encoding="ascii")]
        return [row for row in rows if row[2].endswith(f":{self.port:04X}") and row[3] in ("01", "08")]

    def close(self):
        """Wakes the threads before any descriptor is closed.  A thread still blocked on one would, when the kernel begins its system call again,
        meet whoever has the number by then: the acceptor of a server that is gone took a connection of the next test file's, and nobody answered it."""
        self.open = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.acceptor.join(harness.PATIENCE_S)
        assert not self.acceptor.is_alive(), "the accepting thread did not end"
        self.listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)  # its own thread closes it


def server_context(pki, name="good", alpn=("http/1.1",)):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    if alpn:
        context.set_alpn_protocols(list(alpn))

    def note(sock, name, _context):
        sock.asked = name
    context.sni_callback = note
    return context


class World:
    """A sidekey with a static credential for API, the servers behind it, and the judgement at the end."""

    def __init__(self, folder, pki, name="wire"):
        self.folder = pathlib.Path(folder)
        self.pki = pki
        self.name = name
        self.servers, self.running = [], []
        self.secrets = [TOKEN, OTHER_TOKEN]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.tls = server_context(pki)

    def server(self, script=serve, tls=True, **kw):
        made = Server(script, kw.pop("context", self.tls if tls else None), **kw)
        self.servers.append(made)
        return made

    def secret(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return {"file": str(path)}

    def rule(self, host, credential="crm", **changes):
        match = {"host": host, **changes.pop("match", {})}
        rule = {"match": match, "tls": {"ca_file": str(self.pki / "ca.pem")}, **changes}
        if credential:
            rule["credential"] = credential
        return rule

    def config(self, upstream, hosts=(API,), resolve=None, **changes):
        """hosts have the credential and are led to upstream (a Server)."""
        for place, mode in (("state", 0o700), ("ca", 0o755)):
            (self.folder / place).mkdir(mode=mode, exist_ok=True)
        config = {
            "listen": {"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "ca": {"publish": str(self.folder / "ca")},
            "store": {"file": str(self.folder / "state"), "seal_key": self.secret("seal", "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28")},
            "credentials": {"crm": {"grant": "static", "token": self.secret("crm-token", TOKEN), "required": True}},
            "rules": [self.rule(host) for host in hosts],
            "network": {"resolve": {f"{host}:443": f"127.0.0.1:{upstream.port}" for host in hosts}},
            "limits": dict(harness.UNHURRIED),
        }
        config["network"]["resolve"].update(resolve or {})
        for key, value in changes.items():
            config[key] = {**config[key], **value} if isinstance(config.get(key), dict) and key != "rules" else value
        return config

    def start(self, config, name=None, env=None, before=()):
        process = harness.Sidekey(self.folder, config, (), env, name or f"{self.name}{len(self.running) or ''}", before)
        self.running.append(process)
        return process.ready()

    def close(self):
        problems = []
        for process in self.running:
            if not getattr(process, "expected_dead", False):
                status = process.stop()
                if status != 0:
                    problems.append(f"{process.name} ended with {status} after SIGTERM")
            for name, text in process.logs().items():
                problems += [f"{name} holds a secret" for secret in self.secrets if secret.encode() in text]
                if harness.SANITIZER.search(text):
                    problems.append(f"{name} holds a sanitizer report")
            problems += [f"{path.name}: {path.read_text(errors='replace')[:3000]}" for path in process.sanitizer_reports()]
        for server in self.servers:
            server.close()
        assert not problems, problems


def tls_in(sidekey, sock, sni=API, alpn=None, context=None, session=None, **kw):
    """A TLS client on a tunnel; sni None sends none."""
    context = context or sidekey.context()
    if sni is None:
        context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(sock, server_hostname=sni, session=session, **kw)


def exchange(sidekey, payload, host=API, timeout=harness.PATIENCE_S):
    """Bytes written by hand inside a tunnel; (what came back, whether the connection was then closed)."""
    with sidekey.tls(host, timeout=timeout) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(payload)
        return read_to_end(sock)


def talk(sock, data, enough, seconds=harness.PATIENCE_S):
    """Sends data and reads meanwhile, from one thread (an ssl socket is not for two), until enough(what came); returns what came."""
    got, left, end = b"", memoryview(data), time.monotonic() + seconds
    sock.setblocking(False)
    while not enough(got):
        assert time.monotonic() < end, got[:500]
        moved = False
        if left:
            with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                try:
                    left = left[sock.send(left[:65536]):]
                    moved = True
                except (ssl.SSLError, OSError) as error:
                    if isinstance(error, (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError)):
                        raise
                    left = left[:0]  # nobody reads it any more; the answer may still be there
        with contextlib.suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            piece = sock.recv(65536)
            assert piece, ("the end came first", got[:500])
            got += piece
            moved = True
        if not moved:
            select.select([sock], [sock] if left else [], [], 0.05)
    sock.settimeout(seconds)
    return got


def read_to_end(sock, quiet=None):
    """(bytes, "eof" | "broken" | "open"): quiet is how long a pause may be before the connection counts as left open."""
    data = b""
    if quiet is not None:
        sock.settimeout(quiet)
    try:
        while piece := sock.recv(65536):
            data += piece
        return data, "eof"
    except (TimeoutError, socket.timeout):
        return data, "open"
    except (ssl.SSLError, OSError):
        return data, "broken"


def read_message(sock, to_head=False):
    """One whole answer: (head bytes, body bytes).  Interim answers are separate messages."""
    data = b""

    def more():
        nonlocal data
        piece = sock.recv(65536)
        if not piece:
            raise EOFError(data[:2000])
        data += piece
    while b"\r\n\r\n" not in data:
        piece = sock.recv(1)
        if not piece:
            raise EOFError(data[:2000])
        data += piece
    head, _, data = data.partition(b"\r\n\r\n")
    status = status_of(head)
    length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
    if to_head or status < 200 or status in (204, 304):
        return head, b""
    if length:
        return head, read_exactly(sock, int(length[1]))
    body = b""
    if re.search(rb"(?im)^transfer-encoding:\s*chunked", head):
        while True:
            line = read_line(sock)
            size = int(line, 16)
            if size == 0:
                while read_line(sock) != b"\r\n":
                    pass
                return head, body
            body += read_exactly(sock, size + 2)[:-2]
    return head, read_to_end(sock)[0]


def read_line(sock):
    line = b""
    while not line.endswith(b"\n"):
        piece = sock.recv(1)
        if not piece:
            raise EOFError(line)
        line += piece
    return line


def read_exactly(sock, n):
    data = bytearray()
    while len(data) < n:
        piece = sock.recv(min(65536, n - len(data)))
        if not piece:
            raise EOFError(bytes(data[:200]))
        data += piece
    return bytes(data)


def status_of(data):
    found = re.match(rb"HTTP/1\.1 (\d{3})[ \r]", data)
    return int(found[1]) if found else None


def field_of(head, name):
    found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":[ \t]*(.*?)\r?$", head)
    return found[1].decode("latin-1") if found else None


class Reader:
    """Node's HTTP parser as a second opinion (tests/fakes/reader.mjs): a line in, a line out."""

    def __init__(self):
        script = harness.ROOT / "tests/fakes/reader.mjs"
        self.process = subprocess.Popen(["node", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, kind, data, method="GET"):
        question = {"kind": kind, "data": data.decode("latin-1"), "method": method}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(harness.PATIENCE_S)


class PlainReader(Reader):
    """llhttp as C programs use it (tests/fakes/llhttp_reader.c): the same questions, the same answers."""

    def __init__(self):
        self.process = subprocess.Popen([harness.BUILD / "tests/fakes/llhttp_reader"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, kind, data, method="GET"):
        self.process.stdin.write(f"{kind} {method} {data.hex()}\n".encode())
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False
