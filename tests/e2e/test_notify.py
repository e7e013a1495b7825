"""sidekey run --layers notify: the kernel asks sidekey about each connection of a program (seccomp user notification), whatever the program is made of."""
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from harness import SIDEKEY, environment, run, until
from test_isolate import client, script  # noqa: F401: fixtures
from test_run import ours

HOST, OTHER, ADDRESS, LIVE = "plain.sidekey.test", "open.sidekey.test", "10.77.0.1", "live-token"

# A network of its own, and servers on addresses that are not loopback.  It runs what it is told and prints what came of it.
INSIDE = r"""
    import http.server, json, os, socket, subprocess, sys, threading, time
    address, names, commands = sys.argv[1], sys.argv[2], json.load(sys.stdin)
    other = address + "1"
    for line in ("link set lo up", f"address add {address}/32 dev lo", f"address add {other}/32 dev lo"):
        subprocess.run(["ip", *line.split()], check=True)
    subprocess.run(["mount", "--bind", names, "/etc/hosts"], check=True)
    heard = []

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.headers.get("Authorization"))
            body = f"authorization={self.headers.get('Authorization')}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 128  # of more than that at once the kernel forgets some, and they wait for a minute

    for at in (address, other):
        threading.Thread(target=Server((at, 80), Web).serve_forever, daemon=True).start()
    silent = socket.create_server((address, 2527), backlog=0)

    def greet(server):
        while True:
            c, _ = server.accept()
            c.sendall(b"HTTP/1.0 220 hello\r\n\r\nhello first")
            c.close()
    threading.Thread(target=greet, args=(socket.create_server((address, 2525)),), daemon=True).start()

    def echo(server):
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(b"echo " + data[:100], peer)
    for port in (53, 443):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, port))
        threading.Thread(target=echo, args=(udp,), daemon=True).start()
    results = []
    for argv in commands:
        heard.clear()
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            out, err = p.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            err += "\nHUNG"
        results.append({"argv": argv, "rc": p.returncode, "out": out, "err": err, "heard": list(heard)})
    print(json.dumps(results))
"""


@pytest.fixture(scope="module", autouse=True)
def possible():
    if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine has no user namespaces, and so no network for the test")


@pytest.fixture
def trapped(place):
    """trapped([argv, …], *flags): what each program did under --layers notify, in a network of its own."""
    (place / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOST} {OTHER}\n")
    (place / "token").write_text(LIVE)
    (place / "token").chmod(0o600)
    (place / "state").mkdir(mode=0o700, exist_ok=True)
    config = {"unmatched": "tunnel", "store": {"file": str(place / "state")}, "network": {"allow_private": [f"{ADDRESS}/32", f"{ADDRESS}1/32"]},
              "credentials": {"up": {"grant": "static", "token": {"file": str(place / "token")}}},
              "rules": [{"match": {"host": HOST}, "credential": "up", "allow_http": True, "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}]}]}
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    inside = script(place, "inside.py", INSIDE)

    def go(programs, *flags, layers="notify", before=()):
        commands = [[*map(str, before), str(SIDEKEY), "run", "-c", str(path), "--layers", layers, *map(str, flags), "--", *map(str, argv)] for argv in programs]
        who = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        done = run(["unshare", *who, "--net", "--mount", sys.executable, inside, ADDRESS, place / "hosts"], environment(place), seconds=300, stdin=json.dumps(commands).encode())
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        for result in results:
            print(result)
        return results
    return go


def injected(result):
    return (result["rc"], result["out"].strip(), result["heard"]) == (0, f"authorization=Bearer {LIVE}", [f"Bearer {LIVE}"])


@pytest.mark.parametrize("kind", ["dynamic", "static", "static-pie", "musl", "musl-static"])
def test_a_program_of_any_make_is_injected_however_it_connects(kind, trapped, client):  # noqa: F811
    program = client[kind]
    for result in trapped([[program, "name", HOST, "80"], [program, "raw", ADDRESS, "80", HOST], [program, "mptcp", ADDRESS, "80", HOST],
                           ["sh", "-c", f"env -i {program} raw {ADDRESS} 80 {HOST}"], ["setsid", "-w", program, "raw", ADDRESS, "80", HOST]]):
        assert injected(result) or "mptcp" in result["argv"] and result["out"] == "errno 93\n", result  # a kernel without MPTCP


@pytest.mark.parametrize("kind", ["dynamic", "static", "musl-static"])
def test_other_ways_to_connect_are_refused_and_reach_nobody(kind, trapped, client):  # noqa: F811
    program = client[kind]
    uring, fastopen = trapped([[program, "uring", ADDRESS, "80", HOST], [program, "fastopen", ADDRESS, "80", HOST]])
    assert (uring["out"], uring["heard"]) == ("errno 38\n", [])  # ENOSYS
    assert (fastopen["out"], fastopen["heard"]) == ("errno 95\n", [])  # EOPNOTSUPP


def test_a_host_without_a_rule_and_a_port_without_a_rule_work_as_without_us(trapped, client):  # noqa: F811
    program = client["static"]
    by_name, first, nobody = trapped([[program, "name", OTHER, "80"], [program, "raw", ADDRESS, "2525", OTHER], [program, "raw", ADDRESS, "2526", OTHER]])
    assert (by_name["out"], by_name["heard"]) == ("authorization=placeholder\n", ["placeholder"])
    assert first["out"].strip() == "hello first"
    assert nobody["out"] == "errno 111\n"


def test_only_the_address_that_a_name_leads_to_gets_its_token(trapped, client):  # noqa: F811
    """The host of the rule is asked for at an address that its name does not lead to."""
    local, elsewhere = trapped([[client["static"], "raw", "127.0.0.2", "80", HOST], [client["static"], "raw", f"{ADDRESS}1", "80", HOST]])
    assert local["out"] == "errno 111\n"  # loopback is the program's own
    assert not elsewhere["heard"] and "looks this host up under another address" in elsewhere["err"], elsewhere


UDP = """
    import socket, sys
    address = sys.argv[1]
    def ask(port, how):
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.settimeout(10)
        try:
            if how == "connect":
                u.connect((address, port))
                u.send(b"one")
            elif how == "sendto":
                u.sendto(b"one", (address, port))
            else:
                u.sendmsg([b"o", b"", b"ne"], [], 0, (address, port))
            return u.recv(100).decode()
        except OSError as e:
            return e.errno
    print([ask(port, how) for port in (53, 443) for how in ("connect", "sendto", "sendmsg")])
    a, b = socket.socketpair()
    socket.send_fds(a, [b"x"], [0])
    print(len(socket.recv_fds(b, 10, 10)[1]))
    big = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        big.sendto(bytes(70000), (address, 53))
    except OSError as e:
        print(e.errno)
"""


def test_datagrams_arrive_and_quic_is_refused(trapped, place):
    result, = trapped([["/usr/bin/python3", script(place, "udp.py", UDP), ADDRESS]])
    assert result["out"] == f"{['echo one'] * 3 + [101] * 3}\n1\n90\n", result  # ENETUNREACH; EMSGSIZE


THREADS = """
    import http.client, socket, sys, threading
    def one(blocking, got):
        s = socket.socket()
        s.setblocking(blocking)
        s.connect_ex((sys.argv[1], 80))
        s.setblocking(True)
        s.sendall(b"GET / HTTP/1.0\\r\\nHost: %s\\r\\nAuthorization: placeholder\\r\\n\\r\\n" % sys.argv[2].encode())
        data = b""
        while more := s.recv(4096):
            data += more
        got.append(data.endswith(b"authorization=Bearer live-token"))
    got = []
    threads = [threading.Thread(target=one, args=(n % 2 == 0, got)) for n in range(50)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    print(len(got), all(got))
"""


def test_fifty_threads_connect_at_once(trapped, place):
    result, = trapped([["/usr/bin/python3", script(place, "threads.py", THREADS), ADDRESS, HOST]])
    assert result["out"] == "50 True\n", result


def test_a_blocking_connection_past_us_holds_up_nobody(trapped, place):
    code = f"""
        import socket, threading, time
        full = [socket.socket() for _ in range(4)]  # of a server that accepts nobody
        for s in full:
            s.setblocking(False)
            s.connect_ex(("{ADDRESS}", 2527))
        silent = threading.Thread(target=lambda: socket.socket().connect(("{ADDRESS}", 2527)), daemon=True)
        silent.start()
        time.sleep(0.3)
        print(socket.create_connection(("{ADDRESS}", 2525), timeout=20).recv(4), silent.is_alive(), flush=True)
        import os; os._exit(0)
    """
    result, = trapped([["/usr/bin/python3", script(place, "silent.py", code)]])
    assert result["rc"] == 0 and result["out"].startswith("b'HTTP' True"), result


def test_status_signals_and_descriptors_are_the_programs(trapped, place):
    a, b, c, d, e = trapped([["true"], ["sh", "-c", "exit 37"], ["sh", "-c", "kill -TERM $$"], ["./no-such-program"], ["sh", "-c", "ls /proc/self/fd | wc -l; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status"]])
    assert [a["rc"], b["rc"], c["rc"], d["rc"]] == [0, 37, -signal.SIGTERM, 127]
    assert e["out"].split()[0] == "4" and re.search(r"NoNewPrivs:\s1\nSeccomp:\s2", e["out"])
    assert not ours(place)


def test_without_the_process_that_answers_nothing_is_reached_and_nothing_stays(trapped, client, place):  # noqa: F811
    """SIGKILL for the run is one for the program; what a child of it asks then fails."""
    program = client["static"]
    command = f"(sleep 1; {program} raw {ADDRESS} 80 {HOST} >{place}/late 2>&1) & sh -c 'kill -9 $(cut -d\" \" -f4 /proc/$PPID/stat)'; sleep 5; echo still here"
    result, = trapped([["sh", "-c", command]])
    assert result["rc"] == -signal.SIGKILL and "still here" not in result["out"] and not result["heard"]
    until("the child has tried", lambda: (place / "late").exists() and (place / "late").read_text())
    assert (place / "late").read_text() == "errno 38\n"  # ENOSYS; direct it would be 111
    until("nothing of the run is left", lambda: not ours(place))


def test_a_second_listener_is_refused_by_the_kernel_and_said(trapped, place):
    nested, = trapped([[SIDEKEY, "run", "-c", place / "run.yaml", "--layers", "notify", "--", "touch", place / "started"]])
    assert nested["rc"] == 69 and "has a seccomp listener already" in nested["err"] and not (place / "started").exists(), nested


NO_NOTIFY = """
    import ctypes, os, struct, sys
    libc = ctypes.CDLL(None, use_errno=True)
    number = 438 if sys.argv[1] == "pidfd_getfd" else {"x86_64": 317, "aarch64": 277}[os.uname().machine]
    code = b"".join(struct.pack("=HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 + 1), (0x06, 0, 0, 0x7fff0000)))
    class Prog(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
    libc.prctl(38, 1, 0, 0, 0)
    assert libc.prctl(22, 2, ctypes.byref(Prog(len(code) // 8, code))) == 0
    os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("call", ["pidfd_getfd", "seccomp"])
def test_a_system_that_cannot_is_named_and_nothing_starts(call, place):
    (place / "run.yaml").write_text("{}")
    started = place / "started"
    done = run(["/usr/bin/python3", script(place, "no_notify.py", NO_NOTIFY), call, SIDEKEY, "run", "-c", place / "run.yaml", "--layers", "notify", "--", "touch", started], environment(place))
    assert done.returncode == 69 and b"the program was not started" in done.stderr and not started.exists(), done
    assert b"pidfd_getfd" in done.stderr if call == "pidfd_getfd" else b"user notification" in done.stderr
    assert not ours(place)


def test_what_excludes_each_other_is_refused(place):
    for flag in ("--isolate", "--guard"):
        assert run([SIDEKEY, "run", "--layers", "notify", flag, "--", "true"], environment(place)).returncode == 64


def test_check_says_that_every_program_is_covered(trapped, client):  # noqa: F811
    result, = trapped([[client["static"]]], "--check")
    assert result["rc"] == 0 and "layers    env,preload,notify" in result["out"] and "every connection" in result["out"], result


def test_a_static_child_is_neither_announced_nor_refused_under_strict(trapped, client):  # noqa: F811
    for flags in ((), ("--strict",)):
        result, = trapped([["sh", "-c", f"{client['static']} raw {ADDRESS} 80 {HOST}"]], *flags)
        assert injected(result) and "sidekey run:" not in result["err"], result
