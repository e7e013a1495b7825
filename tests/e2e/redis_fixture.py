"""Real redis-servers for the tests: single ones, sentinels with a primary and replicas, and a cluster of three.  Skips when none is installed."""
import copy
import random
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from harness import PATIENCE_S, Process, until

PASSWORD = "redis-pass-5f1e9c"


def free_port(spare=0):
    """One below 65536 - spare, and both are free: a cluster's nodes talk to each other 10000 higher."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1] if not spare else random.randrange(20000, 65536 - spare)
        if not spare or (is_free(port) and is_free(port + spare)):
            return port


def is_free(port):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Redis(Process):
    """One redis-server; again() starts it on the same port and directory."""

    def __init__(self, folder, name, *args, port=None, tls=None, password=None, mode=()):
        self.dir, self.label, self.port, self.password = folder / name, name, port or free_port(), password
        self.dir.mkdir(exist_ok=True)
        where = ["--port", 0, "--tls-port", self.port] if tls else ["--port", self.port]
        self.tls, self.argv = tls, ["redis-server", *mode, *where, "--bind", "127.0.0.1", "--dir", self.dir, "--save", "", *args]
        if password:
            self.argv += ["--requirepass", password, "--masterauth", password]
        self.starts = 0
        self.again()

    def again(self):
        self.starts += 1
        super().__init__(f"{self.label}-{self.starts}", self.argv, self.dir)
        self.wait_line(r"Ready to accept connections|Sentinel ID|\* Ready", self.out)
        return self

    def kill(self):
        return self.stop(signal.SIGKILL)

    def connect(self):
        return Talk(self.port, self.password, self.tls)

    def ask(self, *words):
        with self.connect() as talk:
            return talk.ask(*words)

    def field(self, credential, name):
        return self.ask("HGET", "{sidekey:%s}:state" % credential, name)

    @property
    def url(self):
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}"


class Talk:
    """A connection that speaks just enough RESP."""

    def __init__(self, port, password=None, tls=None):
        sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        if tls:
            sock = tls.wrap_socket(sock, server_hostname="127.0.0.1")
        self.sock, self.file = sock, sock.makefile("rb")
        if password:
            self.ask("AUTH", password)

    def ask(self, *words):
        words = [str(w).encode() for w in words]
        self.sock.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:].rstrip(b"\r\n").decode("utf-8", "replace")
        if kind == b"$":
            return None if rest == "-1" else self.file.read(int(rest) + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return None if rest == "-1" else [self.read() for _ in range(int(rest))]
        return int(rest) if kind == b":" else ("-" if kind == b"-" else "") + rest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()


class Monitor:
    """What clients ask while the block runs: {address: [command, ...]}, what scripts do inside left out."""

    def __init__(self, server):
        self.talk, self.asked = server.connect(), {}
        self.talk.ask("MONITOR")
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def follow(self):
        try:
            while True:
                line = self.talk.read()
                found = re.match(r'[\d.]+ \[\d+ (\S+)\] "(\w+)"', line)
                if found and found[1] != "lua":
                    self.asked.setdefault(found[1], []).append(found[2].lower())
        except (OSError, ValueError, ConnectionError):
            pass

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.talk.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE_S)

    def of(self, *commands):
        return {who: kept for who, all_ in self.asked.items() if (kept := [c for c in all_ if c in commands])}


@pytest.fixture
def redis_server(request, place, auth):
    """redis_server(name="redis", *args, ...): a running server; all end with the test."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    running = []

    def begin(name="redis", *args, **kw):
        server = Redis(place, name, *args, **kw)
        running.append(server)
        request.node.sidekey_processes.append(server)
        return server
    yield begin
    for server in running:
        if server.popen.poll() is None:
            server.kill()


@pytest.fixture
def machines(start, make_config, place):
    """machines(n, redis={...}): n sidekeys, each with directories of its own, one credential and one Redis."""
    def begin(count, redis, store=None, spec=None, **changes):
        first = make_config(**changes)
        credential = first["credentials"]["crm"]
        credential.update(spec or {})
        if credential["grant"] == "client_credentials":
            del credential["refresh_token"]
        for i in range(count):
            config = copy.deepcopy(first)
            for folder, mode in (("state", 0o700), ("ca", 0o755)):
                (place / f"{folder}{i}").mkdir(mode=mode, exist_ok=True)
            config["ca"]["publish"] = str(place / f"ca{i}")
            config["store"].update({"file": str(place / f"state{i}"), "redis": redis, **(store or {})})
            yield start(config, name=f"machine{i}")
    return lambda *args, **kw: list(begin(*args, **kw))


def make_sentinels(redis_server, primary, count=3):
    """Sentinels that know primary as "main" and give it up after half a second."""
    made = []
    for i in range(count):
        port = free_port()
        text = f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary.port} 2\n" \
               "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        file = primary.dir.parent / f"sentinel{i}.conf"
        file.write_text(text)
        made.append(redis_server(f"sentinel{i}", port=port, mode=[file, "--sentinel"]))
    until("the sentinels know each other", lambda: all(
        int(dict(zip(*[iter(s.ask("SENTINEL", "master", "main"))] * 2))["num-other-sentinels"]) == count - 1 for s in made))
    return made


def make_cluster(redis_server, count=3):
    """A cluster of that many primaries without replicas."""
    nodes = [redis_server(f"node{i}", "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", port=free_port(10000)) for i in range(count)]
    done = subprocess.run(["redis-cli", "--cluster", "create", *[f"127.0.0.1:{n.port}" for n in nodes], "--cluster-yes"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    until("the cluster is up", lambda: all("cluster_state:ok" in n.ask("CLUSTER", "INFO") for n in nodes))
    return nodes
