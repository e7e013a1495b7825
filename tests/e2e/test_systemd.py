"""What systemd is told (Type=notify, WatchdogSec), and what signals do: under a NOTIFY_SOCKET of our own."""
import os
import signal
import socket
import time

import pytest
from harness import PATIENCE_S, Sidekey, until


class Listener:
    """Stands where systemd listens."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.settimeout(0.05)
        self.messages = []

    def heard(self, word):
        """The first message with that word at the start of a line."""
        try:
            while True:
                self.messages.append(self.socket.recv(4096).decode())
        except TimeoutError:
            pass
        except socket.timeout:
            pass
        return next((m for m in self.messages if any(line.startswith(word) for line in m.split("\n"))), None)

    def wait(self, word, seconds=PATIENCE_S):
        return until(f"systemd is told {word}", lambda: self.heard(word), seconds)

    def forget(self):
        self.heard("nothing")
        self.messages.clear()


@pytest.fixture(params=["path", "abstract"])
def systemd(request, place):
    name = str(place / "notify") if request.param == "path" else f"@sidekey-test-{os.getpid()}-{place.name}"
    listener = Listener(name)
    listener.name = name
    yield listener
    listener.socket.close()


def test_ready_reloading_ready_stopping(start, systemd, make_config):
    sidekey = start(env={"NOTIFY_SOCKET": systemd.name})
    assert "STATUS=" in systemd.wait("READY=1")
    systemd.forget()
    text = sidekey.file.read_text()
    sidekey.file.write_text(text.replace('"tunnel"', '"deny"'))
    os.kill(sidekey.pid, signal.SIGHUP)
    reloading = systemd.wait("RELOADING=1")
    assert int(dict(line.split("=", 1) for line in reloading.split("\n"))["MONOTONIC_USEC"]) > 0
    systemd.wait("READY=1")
    systemd.forget()
    sidekey.file.write_text("no: yaml: at all")
    os.kill(sidekey.pid, signal.SIGHUP)
    systemd.wait("RELOADING=1")
    assert "refused" in systemd.wait("READY=1")
    os.kill(sidekey.pid, signal.SIGTERM)
    systemd.wait("STOPPING=1")


def test_the_watchdog_is_fed_only_while_keeper_and_workers_answer(start, systemd):
    sidekey = start(env={"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "1200000"})
    systemd.wait("WATCHDOG=1")
    for role in ("keeper", "worker"):
        child = sidekey.child(role)
        os.kill(child, signal.SIGSTOP)
        try:
            def starves():
                systemd.forget()
                time.sleep(1.2)
                return systemd.heard("WATCHDOG=1") is None
            until(f"no food without the {role}", starves)
        finally:
            os.kill(child, signal.SIGCONT)
        systemd.wait("WATCHDOG=1")


def test_no_child_and_no_command_speaks_to_systemd(start, systemd):
    sidekey = start(env={"NOTIFY_SOCKET": systemd.name, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"})
    systemd.wait("READY=1")
    assert systemd.heard("WATCHDOG=1") is None  # the watchdog is for another process
    assert sidekey.request()[0] == 200


def test_usr1_is_ignored_usr2_logs_the_status_and_quit_drains(start):
    sidekey = start()
    sidekey.expected_dead = True
    for _ in range(3):
        os.kill(sidekey.pid, signal.SIGUSR1)
    assert sidekey.request()[0] == 200
    os.kill(sidekey.pid, signal.SIGUSR2)
    until("the status is in the log", lambda: '"msg":"status of a credential"' in sidekey.out.read_text())
    line = next(line for line in sidekey.out.read_text().splitlines() if "status of a credential" in line)
    assert '"credential":"crm"' in line and '"state":"usable"' in line
    assert sidekey.request()[0] == 200
    os.kill(sidekey.pid, signal.SIGQUIT)
    assert sidekey.popen.wait(PATIENCE_S) == 0


# --- LISTEN_FDS: a socket unit ---

ACTIVATE = 'n=3; for fd; do [ "$fd" = -- ] && break; eval "exec $n<&$fd"; n=$((n+1)); shift; done; shift; LISTEN_PID=$$ exec "$@"'


@pytest.fixture
def activated(place, make_config, request):
    """activated(config, {name: listening socket}): sidekey as systemd starts it for a socket unit."""
    started = []

    def begin(config, sockets, names=None, ready=True):
        fds = [s.fileno() for s in sockets.values()]
        env = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(names or sockets)}
        sidekey = Sidekey(place, config, env=env, name=f"activated{len(started)}", before=["bash", "-c", ACTIVATE, "bash", *fds, "--"], pass_fds=fds)
        started.append(sidekey)
        return sidekey.ready() if ready else sidekey
    yield begin
    for sidekey in started:
        if sidekey.popen.poll() is None:
            sidekey.stop()


def listening(place=None):
    sock = socket.socket(socket.AF_UNIX if place else socket.AF_INET)
    sock.bind(str(place) if place else ("127.0.0.1", 0))
    sock.listen(64)
    return sock


@pytest.mark.parametrize("workers", [1, 2])
def test_listeners_of_a_socket_unit_are_used_and_survive_a_restart(activated, make_config, place, workers):
    proxy, admin, local = listening(), listening(), listening(place / "clients.sock")
    config = make_config(workers=workers)
    config["listen"]["socket"] = str(place / "clients.sock")
    sockets = {"proxy": proxy, "admin": admin, "socket": local}
    sidekey = activated(config, sockets)
    assert sidekey.proxy == proxy.getsockname() and sidekey.admin == admin.getsockname()
    assert sidekey.request()[0] == 200 and sidekey.get_admin("/livez")[0] == 200
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place / "clients.sock"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 ")
    os.kill(sidekey.pid, signal.SIGHUP)
    assert sidekey.request()[0] == 200
    assert sidekey.stop() == 0 and (place / "clients.sock").exists()
    waiting = socket.create_connection(proxy.getsockname(), timeout=PATIENCE_S)  # nobody is there: systemd's socket takes it
    waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    again = activated(config, sockets)
    assert waiting.recv(100).startswith(b"HTTP/1.1 ")
    assert again.request()[0] == 200


def test_a_socket_without_a_name_is_known_by_its_address(activated, make_config):
    proxy = listening()
    config = make_config()
    config["listen"]["proxy"] = "127.0.0.1:%d" % proxy.getsockname()[1]
    assert activated(config, {"sidekey.socket": proxy}).request()[0] == 200


def test_a_socket_that_is_no_listener_of_the_configuration_is_told(activated, make_config):
    sidekey = activated(make_config(), {"sidekey.socket": listening()}, ready=False)
    assert sidekey.popen.wait(PATIENCE_S) == 69
    assert "FileDescriptorName" in sidekey.out.read_text()
