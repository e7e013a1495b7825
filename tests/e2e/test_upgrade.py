"""A new program file and SIGHUP: the supervisor executes it (same pid, same listeners), and nobody who calls notices."""
import asyncio
import http.client
import os
import pathlib
import re
import signal
import ssl
import subprocess
import time

import pytest
from harness import PATIENCE_S, SIDEKEY, AsyncClient, run, until
from test_metrics import Scraper
from test_reload import rewrite
from test_systemd import Listener

VERSION = re.search(r"^VERSION\s*:= (\S+)", (pathlib.Path(__file__).parents[2] / "Makefile").read_text(), re.M)[1].encode()
NEXT = VERSION[:-1] + bytes([VERSION[-1] ^ 1])
TAKEN = "a new version has taken over"
REFUSED = "cannot take over: this version stays in use"


class Installed:
    """The program as a package has it: a file that the next version replaces."""

    def __init__(self, place):
        self.path = place / "bin" / "sidekey"
        self.path.parent.mkdir()
        self.install(VERSION)

    def put(self, content, mode=0o755):
        beside = self.path.with_name("sidekey.dpkg-new")
        beside.write_bytes(content)
        beside.chmod(mode)
        os.rename(beside, self.path)

    def install(self, version):
        """The same program with another version string."""
        self.put(SIDEKEY.read_bytes().replace(VERSION, version))


@pytest.fixture
def program(place):
    installed = Installed(place)
    said = run([installed.path, "version"]).stdout
    installed.install(NEXT)
    assert (said, run([installed.path, "version"]).stdout) == (b"sidekey %s\n" % VERSION, b"sidekey %s\n" % NEXT)
    installed.install(VERSION)
    return installed


def count(sidekey, text):
    return sidekey.out.read_text().count(text)


def versions(sidekey):
    return re.findall(r'sidekey_build_info\{version="(.*?)"\}', sidekey.get_admin("/metrics")[1])


def ask_reload(sidekey):
    try:
        return sidekey.get_admin("/reload", "POST")
    except (http.client.RemoteDisconnected, ConnectionResetError):  # the worker that was asked was just being replaced
        return sidekey.get_admin("/reload", "POST")


def upgrade(sidekey, program, version):
    taken, before = count(sidekey, TAKEN), set(sidekey.children())
    program.install(version)
    os.kill(sidekey.pid, signal.SIGHUP)
    until("it has taken over", lambda: count(sidekey, TAKEN) > taken)
    until("its version is shown", lambda: versions(sidekey) == [version.decode()])
    until("the old processes are gone", lambda: not before & set(sidekey.children()))


class Callers:
    """Clients that keep their connection and do not wait between calls."""

    def __init__(self, sidekey, clients=4):
        self.sidekey, self.clients = sidekey, clients
        self.done, self.lost, self.slowest_s, self.over = 0, [], 0.0, False

    async def one(self):
        client = AsyncClient(self.sidekey)
        while not self.over:
            begun = time.monotonic()
            try:
                status = (await client.request("POST", "/v2/echo", b"once"))[0]
            except (OSError, ssl.SSLError, EOFError) as fault:
                status, client.reader, client.writer = repr(fault), None, None
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            self.done += 1
            if status != 200:
                self.lost.append(status)

    def during(self, work):
        """Calls work() while they call."""
        async def all_of_them():
            callers = [asyncio.ensure_future(self.one()) for _ in range(self.clients)]
            try:
                await asyncio.get_running_loop().run_in_executor(None, work)
            finally:
                self.over = True
                await asyncio.gather(*callers)
        asyncio.run(all_of_them())


@pytest.mark.serial
@pytest.mark.parametrize("workers", [1, 2])
def test_the_next_version_and_the_one_before_take_over_under_load(start, program, auth, make_config, workers):
    """No call is refused, reset or waits over 1 s.  Counters go on, the CA and the tokens stay."""
    sidekey = start(make_config(workers=workers), program=program.path)
    assert sidekey.request()[0] == 200
    ca, asked = sidekey.ca.read_bytes(), auth.counts["token_requests"]
    scraper, callers = Scraper(sidekey), Callers(sidekey)
    scraper.start()

    def work():
        for version in (NEXT, VERSION, NEXT):
            upgrade(sidekey, program, version)
            seen = callers.done
            until("calls go on", lambda seen=seen: callers.done > seen + 20)
    callers.during(work)
    scraper.stop()
    assert callers.lost == [], (callers.done, callers.lost[:5])
    assert callers.slowest_s < 1, callers.slowest_s
    assert not scraper.faults
    assert sum(value for (name, *_), value in scraper.last.items() if name == "sidekey_requests_total") == callers.done + 1
    assert (sidekey.ca.read_bytes(), auth.counts["token_requests"]) == (ca, asked)
    assert sidekey.popen.poll() is None and count(sidekey, TAKEN) == 3


def test_reload_answers_when_the_new_version_serves(start, program):
    sidekey = start(program=program.path)
    program.install(NEXT)
    assert ask_reload(sidekey) == (200, f"reloaded; version {NEXT.decode()} has taken over\n")
    assert ask_reload(sidekey) == (200, "unchanged: nothing has changed since the last reload\n")
    assert '"before":"%s"' % VERSION.decode() in sidekey.out.read_text()
    assert sidekey.err.read_text().count("ready proxy=") == 1


def test_a_request_in_flight_and_a_tunnel_outlive_the_program(start, program):
    sidekey = start(program=program.path)
    with sidekey.tls() as slow:
        slow.sendall(b"GET /slow?ms=3000 HTTP/1.1\r\nHost: api.sidekey.test\r\n\r\n")
        until("it is under way", lambda: 'sidekey_connections{leg="upstream"} 1' in sidekey.get_admin("/metrics")[1])
        program.install(NEXT)
        os.kill(sidekey.pid, signal.SIGHUP)
        until("it has taken over", lambda: count(sidekey, TAKEN) == 1)
        assert b" 200 " in slow.recv(4096)
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_every_listener_and_a_secret_of_the_environment_are_handed_over(start, program, place, make_config, auth):
    config = make_config()
    config["listen"].update(socket=str(place / "clients.sock"), admin_socket=str(place / "admin.sock"), gateway="127.0.0.1:0")
    secret = pathlib.Path(config["credentials"]["crm"]["client_secret"]["file"]).read_text()
    config["credentials"]["crm"]["client_secret"] = {"env": "CRM_SECRET"}
    sidekey = start(config, program=program.path, env={"CRM_SECRET": secret})
    inodes = [(place / name).stat().st_ino for name in ("clients.sock", "admin.sock")]
    for version in (NEXT, VERSION):
        upgrade(sidekey, program, version)
        asked = auth.counts["token_requests"]
        said = run([program.path, "refresh", "-c", sidekey.file, "crm"])
        assert said.returncode == 0 and auth.counts["token_requests"] == asked + 1, said
    assert inodes == [(place / name).stat().st_ino for name in ("clients.sock", "admin.sock")]
    assert secret.encode() not in pathlib.Path(f"/proc/{sidekey.pid}/environ").read_bytes()
    assert sidekey.stop() == 0 and not (place / "clients.sock").exists() and not (place / "admin.sock").exists()


BAD = {
    "no program": (b"this is text\n", 0o755),
    "an empty file": (b"", 0o755),
    "not executable": (b"#!/bin/sh\nexit 0\n", 0o644),
    "it ends with a status": (b"#!/bin/sh\nexit 64\n", 0o755),
    "it is killed": (b"#!/bin/sh\nkill -SEGV $$\n", 0o755),
    "a library is missing": (None, 0o755),
}


@pytest.mark.parametrize("what", BAD)
def test_a_program_that_does_not_start_leaves_the_old_version_in_force(start, program, what):
    sidekey = start(program=program.path)
    content, mode = BAD[what]
    program.put(content if content is not None else SIDEKEY.read_bytes().replace(b"libev.so.4\0", b"libno.so.4\0"), mode)
    rewrite(sidekey, lambda config: config.update(unmatched="deny"))
    status, said = ask_reload(sidekey)
    assert status == 200 and "the new program was refused" in said
    assert count(sidekey, REFUSED) == 1 and count(sidekey, TAKEN) == 0
    assert versions(sidekey) == [VERSION.decode()] and sidekey.request()[0] == 200
    sock, head = sidekey.tunnel("open.sidekey.test:443")
    sock.close()
    assert b" 403 " in head, "the new configuration holds all the same"
    upgrade(sidekey, program, NEXT)


def test_a_configuration_that_is_wrong_stops_the_upgrade_too(start, program):
    sidekey = start(program=program.path)
    text = sidekey.file.read_text()
    program.install(NEXT)
    sidekey.file.write_text(text.replace('"rules"', '"rulez"'))
    assert ask_reload(sidekey)[0] == 503
    assert versions(sidekey) == [VERSION.decode()] and count(sidekey, TAKEN) == 0
    sidekey.file.write_text(text)
    upgrade(sidekey, program, NEXT)


def other_key(key):
    return ("1" if key[0] != "1" else "2") + key[1:]


def test_processes_of_the_new_version_that_end_leave_those_of_the_old_one_serving(start, program, make_config):
    """The seal key was changed with the program: each new keeper ends with status 78."""
    config = make_config()
    seal = pathlib.Path(config["store"]["seal_key"]["file"])
    sidekey, key = start(config, program=program.path), seal.read_text()
    assert sidekey.request()[0] == 200
    serving = set(sidekey.children())
    seal.write_text(other_key(key))
    program.install(NEXT)
    os.kill(sidekey.pid, signal.SIGHUP)
    until("new keepers end", lambda: count(sidekey, "a child process exited") > 2)
    assert serving <= set(sidekey.children()) and count(sidekey, TAKEN) == 0
    assert sidekey.request()[0] == 200 and sidekey.get_admin("/livez")[0] == 200
    seal.write_text(key)
    until("it takes over", lambda: count(sidekey, TAKEN) == 1)
    until("the old processes are gone", lambda: len(sidekey.children()) == 2 and not serving & set(sidekey.children()))
    assert sidekey.request()[0] == 200


def test_a_second_upgrade_while_the_first_one_does_not_get_ready(start, program, make_config):
    config = make_config()
    seal = pathlib.Path(config["store"]["seal_key"]["file"])
    sidekey, key = start(config, program=program.path), seal.read_text()
    assert sidekey.request()[0] == 200  # something is sealed with that key
    serving = set(sidekey.children())
    seal.write_text(other_key(key))
    program.install(NEXT)
    os.kill(sidekey.pid, signal.SIGHUP)
    until("new keepers end", lambda: count(sidekey, "a child process exited") > 2)
    seal.write_text(key)
    program.install(VERSION)
    os.kill(sidekey.pid, signal.SIGHUP)
    until("the first version is back", lambda: versions(sidekey) == [VERSION.decode()] and count(sidekey, TAKEN))
    until("the old processes are gone", lambda: len(sidekey.children()) == 2 and not serving & set(sidekey.children()))
    assert sidekey.request()[0] == 200


def test_systemd_hears_of_one_service_that_reloads(start, program, place):
    listener = Listener(str(place / "notify"))
    sidekey = start(program=program.path, env={"NOTIFY_SOCKET": str(place / "notify"), "WATCHDOG_USEC": "1200000"})
    listener.wait("READY=1")
    listener.forget()
    program.install(NEXT)
    os.kill(sidekey.pid, signal.SIGHUP)
    listener.wait("RELOADING=1")
    listener.wait("READY=1")
    until("the new version has taken over", lambda: count(sidekey, TAKEN) == 1)
    listener.forget()
    listener.wait("WATCHDOG=1")
    assert sidekey.stop() == 0
    listener.wait("STOPPING=1")
    listener.socket.close()


def test_a_sigterm_during_the_upgrade_ends_it(start, program):
    sidekey = start(program=program.path)
    program.put(b"#!/bin/sh\nexec sleep 600\n")
    os.kill(sidekey.pid, signal.SIGHUP)
    until("the trial runs", lambda: count(sidekey, "sidekey tries the new program") == 1)
    os.kill(sidekey.pid, signal.SIGTERM)
    assert sidekey.popen.wait(PATIENCE_S) == 0
    sidekey.expected_dead = True


def test_nobody_else_can_call_it(place):
    for words in (["trial", "0"], ["serve", "1"], ["serve"], [], ["trial", "7", "-c", "/nowhere"]):
        said = subprocess.run([SIDEKEY, "take-over", *words], capture_output=True, check=False)
        assert said.returncode == 64 and b"only a running sidekey calls this" in said.stderr
