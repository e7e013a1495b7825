"""listen.socket: a unix socket beside the port or instead of it, and clients that are known by the kernel's word (clients.NAME.uids)."""
import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading

import harness
import pytest
import wire
from harness import API, until
from wire import TOKEN, field_of, read_message, status_of

OTHER = "other.sidekey.test"
ALICE, BOB, MALLORY = 54001, 54002, 54003
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users: needs root")


class Place:
    """A folder that every user may look into, and a world of servers."""

    def __init__(self, folder, pki, name):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sks-"))
        self.folder.chmod(0o755)
        self.path = str(self.folder / "proxy.sock")
        self.world = wire.World(folder / name, pki, name)
        self.upstream = self.world.server()

    def config(self, clients=None, listen=None, **changes):
        config = self.world.config(self.upstream, hosts=(API, OTHER), listen={"socket": self.path, **(listen or {})}, **changes)
        if clients is not None:
            config["clients"] = clients
        return config

    def start(self, name=None, **kw):
        return self.world.start(self.config(**kw), name)

    def close(self):
        self.world.close()
        left = [p.name for p in self.folder.iterdir()]
        shutil.rmtree(self.folder)
        assert not left, f"left behind: {left}"


@pytest.fixture
def at(folder, pki, request):
    made = Place(folder / "sockets", pki, request.node.name[5:45])
    yield made
    made.close()


def dial(path, timeout=harness.PATIENCE_S):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def connect(path, host=API, word=None):
    """(socket, head and body of the answer to CONNECT)."""
    sock = dial(path)
    extra = f"Proxy-Authorization: Basic {base64.b64encode(word.encode()).decode()}\r\n" if word else ""
    sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{extra}\r\n".encode())
    head = harness.read_head(sock)
    return sock, head if status_of(head) == 200 else head + wire.read_to_end(sock)[0]


def get(sidekey, path, host=API, word=None):
    """The status of a GET through the socket; that of the CONNECT when it is refused."""
    sock, answer = connect(path, host, word)
    with sock:
        if status_of(answer) != 200:
            return status_of(answer)
        with sidekey.context().wrap_socket(sock, server_hostname=host) as secured:
            secured.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            return status_of(read_message(secured)[0])


AS_ANOTHER = """
import socket, ssl, sys
path, host, word, ca = sys.argv[1], sys.argv[2], sys.argv[3], sys.stdin.read()
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
try:
    s.connect(path)
except OSError as error:
    sys.exit(print(type(error).__name__))
s.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n{word}\\r\\n".encode())
head = s.recv(65536)
if b" 200 " in head:
    s = ssl.create_default_context(cadata=ca).wrap_socket(s, server_hostname=host)
    s.sendall(f"GET / HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    head = s.recv(65536)
print(head.split()[1].decode())
"""


def get_as(uid, sidekey, path, host=API, word=None, gid=None):
    """What get() gives to another user, or the name of the error that connecting met."""
    extra = f"Proxy-Authorization: Basic {base64.b64encode(word.encode()).decode()}\r\n" if word else ""
    done = subprocess.run([sys.executable, "-c", AS_ANOTHER, str(path), host, extra], input=sidekey.ca.read_text(), capture_output=True, text=True,
                          user=uid, group=gid or uid, extra_groups=[], cwd="/", timeout=harness.PATIENCE_S, check=True)
    word = done.stdout.strip()
    return int(word) if word.isdigit() else word


def ports_of(sidekey):
    """The TCP ports that its supervisor listens on."""
    fds = pathlib.Path(f"/proc/{sidekey.pid}/fd")
    mine = {os.readlink(fd) for fd in fds.iterdir()}
    rows = [line.split() for line in pathlib.Path(f"/proc/{sidekey.pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine}


def logged(sidekey, **wanted):
    """Lines of the log that have all these members."""
    lines = [json.loads(line) for line in sidekey.out.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]


def test_the_socket_serves_beside_the_port(at):
    sidekey = at.start()
    assert sidekey.socket == at.path
    assert stat.S_IMODE(os.stat(at.path).st_mode) == 0o600
    assert get(sidekey, at.path) == 200
    assert sidekey.request()[0] == 200
    assert [request.get("authorization") for request in at.upstream.requests] == [f"Bearer {TOKEN}"] * 2


def test_the_socket_serves_instead_of_the_port(at):
    sidekey = at.start(listen={"proxy": "off"})
    assert sidekey.proxy is None
    assert get(sidekey, at.path) == 200
    assert ports_of(sidekey) == {sidekey.admin[1]}


def test_the_user_at_the_other_end_is_the_client_that_lists_it(at):
    word = at.world.secret("ci", "ci-password-77")
    sidekey = at.start(clients={"me": {"uids": [os.geteuid()], "rules": [API]}, "ci": {"password": word, "rules": [OTHER]}}, unmatched="deny")
    assert get(sidekey, at.path) == 200
    assert get(sidekey, at.path, OTHER) == 403, "a rule of others"
    assert get(sidekey, at.path, OTHER, "ci:ci-password-77") == 200, "a password says more"
    assert get(sidekey, at.path, API, "ci:wrong") == 407, "also when it is wrong"
    assert status_of(sidekey.tunnel()[1]) == 407, "no uid is taken from TCP"
    until("the log names the client", lambda: logged(sidekey, msg="request", client="me", status=200))


def test_who_is_no_client_is_refused_and_counted(at):
    word = at.world.secret("ci", "ci-password-77")
    sidekey = at.start(clients={"app": {"uids": [os.geteuid() + 1], "rules": [API]}, "ci": {"password": word, "rules": [API]}})
    sock, answer = connect(at.path)
    sock.close()
    assert status_of(answer) == 403 and field_of(answer, "proxy-status").startswith("sidekey; error=http_request_denied")
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["reason"] == "peer_not_allowed" and "clients.NAME.uids" in told["hint"] and f"uid {os.geteuid()}" in told["detail"]
    assert get(sidekey, at.path, word="ci:ci-password-77") == 200
    until("it is counted", lambda: 'sidekey_refused_total{reason="peer_not_allowed"} 1' in sidekey.get_admin("/metrics")[1])


@as_root
def test_two_users_have_the_rules_of_their_clients_and_a_third_none(at):
    clients = {"alice": {"uids": [ALICE], "rules": [API]}, "bob": {"uids": [BOB], "rules": [OTHER]}}
    sidekey = at.start(clients=clients, listen={"proxy": "off", "socket_mode": "0666"}, unmatched="deny")
    assert [get_as(ALICE, sidekey, at.path, host) for host in (API, OTHER)] == [200, 403]
    assert [get_as(BOB, sidekey, at.path, host) for host in (API, OTHER)] == [403, 200]
    assert [get_as(MALLORY, sidekey, at.path, host) for host in (API, OTHER)] == [403, 403]
    assert [request.get("host") for request in at.upstream.requests] == [API, OTHER]
    until("the log names both", lambda: logged(sidekey, msg="request", client="alice") and logged(sidekey, msg="request", client="bob"))
    assert logged(sidekey, msg="refused", reason="peer_not_allowed")


@as_root
def test_the_file_system_keeps_others_out(at):
    sidekey = at.start(listen={"socket_mode": "0660", "socket_group": str(ALICE)})
    assert get_as(ALICE, sidekey, at.path) == 200
    assert get_as(BOB, sidekey, at.path) == "PermissionError"
    assert get_as(BOB, sidekey, at.path, gid=ALICE) == 200


@as_root
def test_its_permissions_are_never_wider_than_asked(at):
    """Seen by strace: no other call opens the name than the bind under this umask, and chmod comes after the group."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    config = at.config(listen={"socket_mode": "0660", "socket_group": str(ALICE)})
    (at.world.folder / "seen.yaml").write_text(json.dumps(config))
    trace = at.world.folder / "trace"
    process = harness.Process("strace", ["strace", "-f", "-o", trace, "-e", "trace=umask,bind,chmod,fchmodat,fchownat", harness.SIDEKEY, "serve", "-c",
                                         at.world.folder / "seen.yaml"], at.world.folder, harness.environment(at.world.folder))
    process.wait_line("^ready", process.err)
    seen = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    bind = next(i for i, line in enumerate(seen) if line.startswith("bind") and at.path in line)
    assert seen[bind - 1].startswith("umask(0177)"), seen[bind - 1]
    after = [line.split("(")[0] for line in seen[bind + 1:bind + 5]]
    assert after == ["umask", "chmod", "fchownat", "chmod"], seen[bind:bind + 6]
    os.kill(int(trace.read_text().split()[0]), signal.SIGTERM)
    process.popen.wait(harness.PATIENCE_S)


def test_all_workers_share_it_and_none_takes_it_along(at):
    sidekey = at.start(workers=2)
    socks = [dial(at.path) for _ in range(20)]
    for sock in socks:
        sock.sendall(f"CONNECT {API}:443 HTTP/1.1\r\nHost: {API}:443\r\n\r\n".encode())
        assert status_of(harness.read_head(sock)) == 200
        sock.close()
    sidekey.kill_child("worker")
    for _ in range(4):
        assert get(sidekey, at.path) == 200
    assert os.path.exists(at.path)


def rewrite(sidekey, change):
    config = json.loads(sidekey.file.read_text())
    change(config)
    sidekey.file.write_text(json.dumps(config))


def test_it_survives_a_reload(at):
    sidekey = at.start()
    inode = os.stat(at.path).st_ino
    kept, _ = connect(at.path)
    assert sidekey.reload()[0] == 200
    assert os.stat(at.path).st_ino == inode
    assert get(sidekey, at.path) == 200
    kept.close()
    os.unlink(at.path)  # somebody was too tidy
    assert sidekey.reload()[0] == 200
    assert get(sidekey, at.path) == 200


def test_a_reload_with_another_path_moves_it_and_lets_run_what_came_by_the_old(at):
    gate = threading.Event()
    at.upstream.answer = lambda request: gate.wait(harness.PATIENCE_S) and wire.OK
    sidekey = at.start()
    sock, _ = connect(at.path)
    secured = sidekey.context().wrap_socket(sock, server_hostname=API)
    secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
    until("it is under way", lambda: at.upstream.requests)
    moved = at.path + "2"
    rewrite(sidekey, lambda config: config["listen"].update(socket=moved, socket_mode="0640"))
    assert sidekey.reload()[0] == 200
    assert not os.path.exists(at.path) and stat.S_IMODE(os.stat(moved).st_mode) == 0o640
    gate.set()
    assert status_of(read_message(secured)[0]) == 200
    secured.close()
    assert get(sidekey, moved) == 200
    rewrite(sidekey, lambda config: config["listen"].update(socket_mode="0600"))
    assert sidekey.reload()[0] == 200
    assert stat.S_IMODE(os.stat(moved).st_mode) == 0o600
    rewrite(sidekey, lambda config: config["listen"].pop("socket"))
    assert sidekey.reload()[0] == 200
    assert not os.path.exists(moved)


def test_a_reload_to_where_it_cannot_go_changes_nothing(at):
    sidekey = at.start()
    before = sidekey.children()
    rewrite(sidekey, lambda config: config["listen"].update(socket=str(at.folder / "none" / "s")))
    assert sidekey.reload()[0] == 503
    assert sidekey.children() == before and get(sidekey, at.path) == 200
    assert any("does not exist" in line.get("reason", "") for line in logged(sidekey, msg="cannot listen"))


def fails_to_start(at, name, why):
    process = harness.Sidekey(at.world.folder, at.config(ca={"publish": str(at.world.folder / name)}, store={"file": str(at.world.folder / (name + "-state"))}),
                              name=name)
    assert process.popen.wait(harness.PATIENCE_S) == 69
    said = process.out.read_text()
    assert why in said and at.path in said, said


def test_a_live_socket_is_in_use_and_a_dead_one_is_replaced(at):
    first = at.start()
    fails_to_start(at, "second", "address already in use")
    assert get(first, at.path) == 200, "who asked has done no harm"
    children = list(first.children())
    first.stop(signal.SIGKILL)
    first.expected_dead = True
    until("its children have ended", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children))
    assert os.path.exists(at.path), "killed: nobody took it away"
    assert get(at.start("third"), at.path) == 200


def test_what_is_no_socket_is_never_touched(at):
    pathlib.Path(at.path).write_text("mine")
    fails_to_start(at, "sidekey", "a file that is not a socket has this path")
    assert pathlib.Path(at.path).read_text() == "mine"
    os.unlink(at.path)


def test_at_the_end_it_refuses_lets_run_and_is_gone(at):
    gate = threading.Event()
    at.upstream.answer = lambda request: gate.wait(harness.PATIENCE_S) and wire.OK
    sidekey = at.start(limits={"drain": "2m"})
    sock, _ = connect(at.path)
    secured = sidekey.context().wrap_socket(sock, server_hostname=API)
    secured.sendall(f"GET / HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
    until("it is under way", lambda: at.upstream.requests)
    sidekey.popen.send_signal(signal.SIGTERM)

    def refuses():
        with contextlib.suppress(ConnectionRefusedError):
            dial(at.path).close()
            return False
        return True
    until("new connections are refused", refuses)
    gate.set()
    assert status_of(read_message(secured)[0]) == 200
    secured.close()
    assert sidekey.popen.wait(harness.PATIENCE_S) == 0
    assert not os.path.exists(at.path)


def test_run_and_env_stay_on_the_port(at):
    config = at.config(clients={"me": {"uids": [os.geteuid()], "rules": [API]}}, listen={"proxy": "off"})
    file = at.world.folder / "run.yaml"
    file.write_text(json.dumps(config))
    env = harness.environment(at.world.folder)
    done = harness.run([harness.SIDEKEY, "run", "-c", file, "--", "sh", "-c", f"test ! -e {at.path} && echo $HTTPS_PROXY"], env)
    assert done.returncode == 0 and done.stdout.startswith(b"http://"), done
    done = harness.run([harness.SIDEKEY, "env", "-c", file], env)
    assert done.returncode == 78 and b"--proxy HOST:PORT" in done.stderr, done
    done = harness.run([harness.SIDEKEY, "env", "-c", file, "--proxy", "127.0.0.1:8118"], env)
    assert done.returncode == 0 and b"http://127.0.0.1:8118" in done.stdout
