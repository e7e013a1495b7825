"""The log's reader stands still, or the log is full of repeats: requests, probes and the end go on, and the log says what is missing."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from harness import API, PATIENCE_S, SIDEKEY, Sidekey, environment, split_address, until


class Unread(Sidekey):
    """sidekey whose stdout is a pipe or a socket that the test reads when it likes."""

    def __init__(self, place, config, kind):
        file = place / "sidekey.yaml"
        file.write_text(json.dumps(config))
        self.name, self.config, self.folder = "unread", config, place
        self.out, self.err = place / "unread.out", place / "unread.err"
        if kind == "pipe":
            self.reader, end = os.pipe()
        else:
            one, other = socket.socketpair()
            self.reader, end = one.detach(), other.detach()
        with open(self.err, "wb") as err:
            self.popen = subprocess.Popen([SIDEKEY, "serve", "-c", file], stdout=end, stderr=err, env=environment(place))
        os.close(end)
        os.set_blocking(self.reader, False)
        self.pid = self.popen.pid
        line = self.wait_line(r"^ready proxy=(\S+) admin=(\S+)", self.err)
        self.proxy, self.admin = split_address(line[1]), split_address(line[2])

    def read(self):
        got = b""
        while True:
            try:
                more = os.read(self.reader, 65536)
            except BlockingIOError:
                return got.decode()
            got += more
            if not more:
                return got.decode()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_reader_that_stands_still_stops_nothing(make_config, place, auth, kind):
    sidekey = Unread(place, make_config(limits={"drain": "1s"}), kind)
    try:
        connection = sidekey.connection()

        def dropped():
            for _ in range(100):
                assert sidekey.request(connection=connection)[0] == 200
            return re.search(r"^sidekey_log_dropped_total ([1-9]\d*)", sidekey.get_admin("/metrics")[1], re.M)
        until("lines are dropped and counted", dropped)
        assert sidekey.get_admin("/livez")[0] == 200
        sidekey.read()

        def reported():
            assert sidekey.request(connection=connection)[0] == 200
            return re.search(r'"log lines were dropped[^\n]*"dropped":[1-9]\d*}$', sidekey.read(), re.M)
        until("the log goes on, and says so", reported)
        until("lines are dropped again", dropped)
    finally:
        sidekey.popen.send_signal(signal.SIGTERM)
        assert sidekey.popen.wait(PATIENCE_S) == 0
        os.close(sidekey.reader)


def test_an_upstream_that_is_down_is_one_line_a_second(start, make_config):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # never listens: who connects is refused
        sidekey = start(make_config(network={"resolve": {f"{API}:443": f"127.0.0.1:{deaf.getsockname()[1]}"}}))
        began = time.monotonic()
        for _ in range(300):
            sock, head = sidekey.tunnel()
            assert head.startswith(b"HTTP/1.1 502"), head
            sock.close()
        took = time.monotonic() - began

    def counted():
        lines = [json.loads(x) for x in sidekey.out.read_text().splitlines() if '"reason":"upstream_unreachable"' in x]
        return sum(x.get("repeated", 1) for x in lines) == 300 and lines
    assert len(until("what was left out is counted", counted)) <= 2 * (took + 2)


def test_stdout_is_json_from_the_first_line_to_the_last(start, make_config):
    sidekey = start(make_config())
    ready = [x for x in map(json.loads, sidekey.out.read_text().splitlines()) if x["msg"] == "ready"]
    assert [x["proxy"] for x in ready] == [f"{sidekey.proxy[0]}:{sidekey.proxy[1]}"]
    sidekey.file.write_text("nothing: here\n")
    os.kill(sidekey.pid, signal.SIGHUP)
    until("what is wrong is in the log", lambda: any("nothing" in x.get("reason", "") for x in map(json.loads, sidekey.out.read_text().splitlines())))


def test_a_configuration_that_is_wrong_is_a_line_of_json_too(place):
    (place / "bad.yaml").write_text("nothing: here\n")
    done = subprocess.run([SIDEKEY, "serve", "-c", place / "bad.yaml"], capture_output=True, text=True, env=environment(place), timeout=PATIENCE_S)
    lines = [json.loads(x) for x in done.stdout.splitlines()]
    assert done.returncode == 78 and "nothing" in done.stderr
    assert any(x["level"] == "error" and "nothing" in x["reason"] for x in lines)


CLOSED = ["1>&-", "2>&-", "1>&- 2>&-", "0<&- 1>&- 2>&-", ">/dev/full 2>/dev/full"]


@pytest.mark.parametrize("how", CLOSED)
def test_without_standard_descriptors_it_serves_and_the_log_goes_nowhere_else(make_config, place, how):
    """The numbers 0, 1 and 2 would be given to sockets and files of sidekey, and the log would be written into them."""
    config, file = make_config(listen={"proxy": "127.0.0.1:0", "admin_socket": str(place / "admin.sock")}), place / "closed.yaml"
    file.write_text(json.dumps(config))
    sidekey = subprocess.Popen(["sh", "-c", f'exec "{SIDEKEY}" serve -c "{file}" {how}'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(place))
    try:
        until("it is ready", lambda: subprocess.run([SIDEKEY, "healthcheck", "-c", file], capture_output=True, env=environment(place), check=False).returncode == 0)
        children = [int(x) for x in pathlib.Path(f"/proc/{sidekey.pid}/task/{sidekey.pid}/children").read_text().split()]
        assert len(children) == 2
        for pid in [sidekey.pid, *children]:
            held = {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)}
            assert held <= {"/dev/null", "/dev/full"}, (pid, held)
    finally:
        sidekey.send_signal(signal.SIGTERM)
        assert sidekey.wait(PATIENCE_S) == 0


def test_a_program_of_run_finds_its_descriptors_as_they_were(make_config, place):
    (place / "closed.yaml").write_text(json.dumps(make_config()))
    done = subprocess.run([SIDEKEY, "run", "-c", place / "closed.yaml", "--", "sh", "-c", "ls /proc/$$/fd"], stdout=subprocess.PIPE, env=environment(place), timeout=PATIENCE_S, check=False,
                          preexec_fn=lambda: (os.close(0), os.close(2)))
    assert done.returncode == 0 and not {"0", "2"} & set(done.stdout.decode().split()), done
