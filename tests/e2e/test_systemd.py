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
