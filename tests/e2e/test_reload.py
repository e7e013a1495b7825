"""SIGHUP and POST /reload: a good configuration takes over, a bad one changes nothing, requests in flight keep theirs."""
import asyncio
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import struct
import subprocess
import threading
import time

import pytest
from harness import API, AsyncClient, PATIENCE_S, ROOT, read_answer, until
from test_links import links_of


def rewrite(sidekey, change):
    config = json.loads(sidekey.file.read_text())
    change(config)
    sidekey.file.write_text(json.dumps(config))


def deny_unmatched(config):
    config["unmatched"] = "deny"


def break_it(config):
    config["rules"][0]["credentail"] = "crm"


def enumerators(file, enum):
    body = re.search(r"enum %s \{(.*?)\}" % enum, (ROOT / file).read_text(), re.S)[1]
    names = re.findall(r"\b([A-Z][A-Z_]+)\b(?: = (\d+))?,?", re.sub(r"/\*.*?\*/", "", body, flags=re.S))
    first = int(names[0][1] or 0)
    return {name: first + i for i, (name, _) in enumerate(names)}


def reload_packet():
    """What a worker sends to its supervisor when an operator wants a reload."""
    tags = enumerators("sidecar/net/ipc/msg.c", "tag")
    numbers = {"TAG_ASK": enumerators("sidecar/net/ipc/msg.h", "msg_ask")["MSG_ASK_RELOAD"], "TAG_TAG": 77}
    packet = bytes([enumerators("sidecar/net/ipc/msg.h", "msg_type")["MSG_ASK"]])
    return packet + b"".join(struct.pack("=BIq", tags[tag], 8, number) for tag, number in numbers.items())


def connect_status(sidekey):
    sock, head = sidekey.tunnel("open.sidekey.test:443")
    sock.close()
    return int(head.split()[1])


def reload_metric(sidekey):
    lines = [line for line in sidekey.get_admin("/metrics")[1].splitlines() if line.startswith("sidekey_config_last_reload_successful ")]
    return lines[0].split()[1] if lines else None


@pytest.mark.parametrize("how", ["SIGHUP", "POST /reload"])
def test_a_good_configuration_takes_over(sidekey, how):
    assert connect_status(sidekey) == 200
    rewrite(sidekey, deny_unmatched)
    if how == "SIGHUP":
        os.kill(sidekey.pid, signal.SIGHUP)
    else:
        assert sidekey.reload() == (200, "reloaded\n")
    until("the new rules hold", lambda: connect_status(sidekey) == 403)
    assert sidekey.request()[0] == 200
    until("it is counted", lambda: reload_metric(sidekey) == "1")


@pytest.mark.parametrize("how", ["SIGHUP", "POST /reload"])
def test_a_bad_configuration_changes_nothing_and_is_told(sidekey, how):
    before = sidekey.children()
    rewrite(sidekey, break_it)
    if how == "SIGHUP":
        os.kill(sidekey.pid, signal.SIGHUP)
    else:
        assert sidekey.reload()[0] == 503
    until("it is counted", lambda: reload_metric(sidekey) == "0")
    assert sidekey.children() == before
    assert sidekey.request()[0] == 200
    said = b"".join(sidekey.logs().values()).decode()
    assert "credentail" in said and "credential" in said and "reload refused" in said


def test_the_ca_and_the_token_survive_a_reload(sidekey, auth):
    assert sidekey.request()[0] == 200
    ca, tokens = sidekey.ca.read_bytes(), auth.counts["token_requests"]
    context = sidekey.context()
    sidekey.reload()
    assert sidekey.request(connection=sidekey.connection(context=context))[0] == 200
    assert sidekey.ca.read_bytes() == ca
    assert auth.counts["token_requests"] == tokens


def test_a_program_that_trusts_the_ca_since_before_outlives_the_keeper(sidekey):
    context = sidekey.context()
    assert sidekey.request(connection=sidekey.connection(context=context))[0] == 200
    sidekey.kill_child("keeper")
    sidekey.kill_child("worker")  # its leaves are gone, the new keeper mints
    assert sidekey.request(connection=sidekey.connection(context=context))[0] == 200


def test_a_request_in_flight_ends_as_it_began(sidekey):
    answers = []
    slow = threading.Thread(target=lambda: answers.append(sidekey.request(path="/slow?ms=1500")[0]))
    slow.start()
    until("the slow request is under way", lambda: sidekey.get_admin("/metrics")[1].find('sidekey_connections{leg="client"} 1') > 0)
    sidekey.reload()
    assert sidekey.request()[0] == 200
    slow.join(PATIENCE_S)
    assert answers == [200]
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_a_reload_is_no_moment_without_readiness(start, auth):
    """The old worker drains with a request in flight; whoever asks meanwhile hears the new one."""
    sidekey = start()
    assert sidekey.request()[0] == 200
    with sidekey.tls() as slow:
        slow.sendall(f"GET /slow?ms=250000 HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        until("the slow request is under way", lambda: slow_ones(auth) == 1)
        assert sidekey.reload()[0] == 200
        assert {sidekey.get_admin("/readyz")[0] for _ in range(50)} == {200}
        assert len(sidekey.children()) == 4, "the old ones wait for it"


def test_reloads_in_a_row_leave_no_process_behind(sidekey):
    for _ in range(4):
        assert sidekey.reload()[0] == 200
    until("two children", lambda: len(sidekey.children()) == 2)
    assert sidekey.request(host=API)[0] == 200


def test_a_client_that_was_wrong_is_tried_at_once_after_a_reload(make_config, start, auth):
    config = make_config()
    config["credentials"]["crm"]["client_id"] = "nobody"
    sidekey = start(config, limits={"token_wait": "1s"})
    assert sidekey.request()[0] == 503
    asked = auth.counts["token_requests"]
    rewrite(sidekey, lambda c: c["credentials"]["crm"].update(client_id=auth.client_id))
    os.kill(sidekey.pid, signal.SIGHUP)
    until("a token", lambda: sidekey.request()[0] == 200)
    assert auth.counts["token_requests"] - asked in (1, 2)  # one may still have been the old client's: a request that came before the reload


def test_a_reload_that_a_worker_is_asked_for_while_it_is_replaced_is_answered(sidekey):
    """The second reload waits until the processes of the first one are ready; here one of them stands still."""
    old = sidekey.child("worker")
    first, second = (http.client.HTTPConnection(*sidekey.admin, timeout=PATIENCE_S) for _ in range(2))
    second.connect()
    sidekey.file.touch()
    first.request("POST", "/reload")
    assert first.getresponse().status == 200
    fresh = until("the new worker", lambda: [pid for pid, name in sidekey.children().items() if "worker" in name and pid != old])[0]
    os.kill(fresh, signal.SIGSTOP)
    try:
        sidekey.file.touch()
        second.request("POST", "/reload")
        answer = second.getresponse()
        assert (answer.status, answer.read()) == (200, b"reloaded\n")
    finally:
        os.kill(fresh, signal.SIGCONT)
    until("the old ones are gone", lambda: len(sidekey.children()) == 2)
    assert sidekey.request()[0] == 200


# --- what the old processes have begun ---

def old_workers(sidekey):
    return [pid for pid, name in sidekey.children().items() if "worker" in name][:-1]


def test_a_kept_connection_is_served_once_more_and_told_to_close(start):
    sidekey = start(limits={"drain": "5m"})
    connection = sidekey.connection()
    assert sidekey.request(connection=connection)[0] == 200
    sidekey.reload()
    until("the new processes", lambda: len(sidekey.children()) == 4)
    time.sleep(0.3)
    status, headers, _ = sidekey.request(connection=connection)
    assert status == 200 and headers["connection"] == "close"
    until("the old ones are gone", lambda: len(sidekey.children()) == 2)


def test_a_kept_connection_that_stays_idle_is_closed_late_and_in_good_form(sidekey):
    """limits.drain is 3 s here.  recv() gives b"" for a close_notify, and an error for a bare end."""
    with sidekey.tls() as sock:
        sock.suppress_ragged_eofs = False
        sock.sendall(f"GET /v2/echo HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        assert b" 200 " in read_answer(sock)
        begun = time.monotonic()
        sidekey.reload()
        sock.settimeout(PATIENCE_S)
        assert sock.recv(100) == b""
        assert time.monotonic() - begun > 2.9


def test_a_long_answer_goes_on_over_a_reload_and_beyond_the_drain(make_config, start):
    sidekey = start(make_config(limits={"drain": "1s"}))
    answers = []
    slow = threading.Thread(target=lambda: answers.append(sidekey.request(path="/slow?ms=4000")[0]))
    slow.start()
    until("the slow request is under way", lambda: sidekey.get_admin("/metrics")[1].find('sidekey_connections{leg="client"} 1') > 0)
    for _ in range(3):
        sidekey.reload()
        time.sleep(0.3)
    slow.join(PATIENCE_S)
    assert answers == [200]
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def slow_ones(auth):
    return sum(request["path"].startswith("/slow") for request in auth.requests)


def test_reload_drain_is_its_limit(make_config, start, auth):
    sidekey = start(make_config(limits={"drain": "1s", "reload_drain": "2s"}))
    with sidekey.tls() as sock:
        sock.sendall(f"GET /slow?ms=250000 HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        until("it is upstream", lambda: slow_ones(auth) == 1)
        begun = time.monotonic()
        sidekey.reload()
        assert b" 200 " not in read_answer(sock)
        assert time.monotonic() - begun > 1.9
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_many_reloads_with_a_stream_each_leave_few_processes(make_config, start):
    """Eight reloads, each with a tunnel that never ends: beyond four old sets the oldest streams go."""
    sidekey = start(make_config(limits={"drain": "1s"}))
    socks = []
    for _ in range(8):
        sock, head = sidekey.tunnel("open.sidekey.test:443")
        assert head.startswith(b"HTTP/1.1 200")
        socks.append(sock)
        sidekey.reload()
        until("the new processes are ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
        until("four old sets at most", lambda: len(sidekey.children()) <= 10)
    for sock in socks:
        sock.close()
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


@pytest.mark.slow
def test_twenty_five_reloads_with_an_open_upload_each_leave_few_processes(make_config, start):
    """The newest uploads end well; the oldest get a status or an abort, never an answer to half a request."""
    sidekey = start(make_config(limits={"drain": "1s"}))
    head = f"POST /v2/echo HTTP/1.1\r\nHost: {API}\r\nAuthorization: placeholder\r\nContent-Length: 100000\r\n\r\n".encode()
    socks = []
    for _ in range(25):
        socks.append(sidekey.tls())
        socks[-1].sendall(head + bytes(50000))
        sidekey.reload()
        until("the new processes are ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
        until("four old sets at most", lambda: len(sidekey.children()) <= 10)
    for sock in socks[-3:]:
        sock.sendall(bytes(50000))
        assert read_answer(sock).startswith(b"HTTP/1.1 200 ")
    answer = read_answer(socks[0])
    assert answer == b"" or answer.startswith(b"HTTP/1.1 503 "), answer[:300]
    for sock in socks:
        sock.close()
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_reloads_that_come_at_once_are_one(sidekey):
    for _ in range(50):
        os.kill(sidekey.pid, signal.SIGHUP)
    rewrite(sidekey, deny_unmatched)
    os.kill(sidekey.pid, signal.SIGHUP)
    until("the last configuration holds", lambda: connect_status(sidekey) == 403)
    until("two children", lambda: len(sidekey.children()) == 2)


def workers_and_keepers(sidekey):
    names = list(sidekey.children().values())
    return sum("worker" in name for name in names), sum("keeper" in name for name in names)


def test_an_unchanged_configuration_is_no_reload(sidekey):
    before = sidekey.children()
    for _ in range(2):
        assert sidekey.get_admin("/reload", "POST") == (200, "unchanged: nothing has changed since the last reload\n")
        os.kill(sidekey.pid, signal.SIGHUP)
    until("it is told", lambda: b"nothing has changed since the last reload" in sidekey.out.read_bytes())
    assert sidekey.children() == before
    assert reload_metric(sidekey) == "1"


def secret_file(sidekey):
    file = pathlib.Path(sidekey.config["credentials"]["crm"]["client_secret"]["file"])
    beside = file.with_suffix(".new")
    beside.write_bytes(file.read_bytes())
    beside.chmod(0o600)
    return lambda: beside.rename(file)


CHANGES = {
    "the file is touched": lambda sidekey: sidekey.file.touch,
    "a secret that it names": secret_file,
    "roots that it names": lambda sidekey: pathlib.Path(sidekey.config["rules"][0]["tls"]["ca_file"]).touch,
    "somebody has removed the published CA": lambda sidekey: sidekey.ca.unlink,
    "another sidekey has stored a CA": lambda sidekey: (pathlib.Path(sidekey.config["store"]["file"]) / "ca.sealed").touch,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_reload_would_read_is_compared(sidekey, change):
    before = set(sidekey.children())
    CHANGES[change](sidekey)()
    assert sidekey.get_admin("/reload", "POST") == (200, "reloaded\n")
    until("new processes", lambda: len(sidekey.children()) == 2 and not before & set(sidekey.children()))
    until("it is published", sidekey.ca.exists)
    assert sidekey.request()[0] == 200


def test_a_refused_reload_is_over_when_the_old_configuration_is_back(sidekey):
    text = sidekey.file.read_text()
    sidekey.file.write_text("{")
    assert sidekey.reload()[0] == 503
    until("it is counted", lambda: reload_metric(sidekey) == "0")
    sidekey.file.write_text(text)
    assert sidekey.get_admin("/reload", "POST")[0] == 200
    until("it is counted", lambda: reload_metric(sidekey) == "1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a descriptor out of another process")
def test_a_worker_that_asks_for_three_hundred_reloads_gets_few_processes(sidekey):
    """As if it was taken over.  Each time the configuration is another one."""
    most, sent, ask = 0, 0, reload_packet()
    while sent < 300:
        supervisor, *others = sorted(links_of(sidekey.child("worker")), key=lambda sock: os.fstat(sock.fileno()).st_ino)
        for other in others:
            other.close()
        with contextlib.suppress(OSError), supervisor:  # that worker has drained: the next one goes on
            while sent < 300:
                sidekey.file.touch()
                supervisor.send(ask)
                sent += 1
                most = max(most, len(sidekey.children()))
    begun = time.monotonic()
    while time.monotonic() - begun < 3:
        most = max(most, len(sidekey.children()))
    assert most <= 12, most
    until("two children", lambda: len(sidekey.children()) == 2)
    assert sidekey.request()[0] == 200


def test_a_worker_that_is_stopped_before_six_reloads_is_alone_with_its_keeper_and_killed(make_config, start):
    sidekey = start(make_config(limits={"drain": "1s", "reload_drain": "4s"}))
    stopped = sidekey.child("worker")
    os.kill(stopped, signal.SIGSTOP)
    for _ in range(6):
        before = sidekey.out.read_bytes().count(b"configuration reloaded")
        sidekey.file.touch()
        os.kill(sidekey.pid, signal.SIGHUP)
        until("a reload", lambda: sidekey.out.read_bytes().count(b"configuration reloaded") > before)
        assert workers_and_keepers(sidekey) <= (4, 4)
    until("the stopped one is killed, and its keeper ends", lambda: stopped not in sidekey.children() and workers_and_keepers(sidekey) == (1, 1), seconds=40)
    assert b"an old process did not end in time" in sidekey.out.read_bytes()
    assert sidekey.request()[0] == 200


def test_a_second_signal_ends_old_processes_too(make_config, start, auth):
    sidekey = start(make_config(limits={"drain": "10m"}))
    held = []
    for _ in range(3):
        held.append(sidekey.tls())
        held[-1].sendall(f"GET /slow?ms=250000 HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        until("it is upstream", lambda: slow_ones(auth) == len(held))
        before = sidekey.out.read_bytes().count(b"configuration reloaded")
        sidekey.reload()
        until("a reload", lambda: sidekey.out.read_bytes().count(b"configuration reloaded") > before)
        until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    until("four sets", lambda: len(sidekey.children()) == 8)
    pids = list(sidekey.children())
    sidekey.popen.send_signal(signal.SIGTERM)
    until("the new processes, which have nothing to do, end", lambda: len(sidekey.children()) < 8)
    assert sidekey.popen.poll() is None
    sidekey.popen.send_signal(signal.SIGTERM)
    sidekey.popen.wait(PATIENCE_S)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}/stat") and open(f"/proc/{pid}/stat").read().split()[2] != "Z"]
    for sock in held:
        sock.close()


def test_no_request_is_lost_over_reloads(sidekey):
    """Kept-alive clients without a pause between requests, as fast as they can, over 6 reloads and 200 signals."""
    lost, done = [], []
    stop = threading.Event()

    def client():
        connection = sidekey.connection()
        while not stop.is_set():
            try:
                connection.request("GET", "/v2/echo", headers={"Authorization": "x"})
                answer = connection.getresponse()
                answer.read()
                done.append(answer.status)
                if answer.getheader("connection") == "close":
                    connection.close()
            except (OSError, http.client.HTTPException) as e:
                lost.append(repr(e))
                connection = sidekey.connection()
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(6):
        for _ in range(33):
            sidekey.file.touch()
            os.kill(sidekey.pid, signal.SIGHUP)
        assert sidekey.reload()[0] == 200
        until("requests between the reloads", lambda n=n: lost or len(done) > 3 * n)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert lost == [] and set(done) == {200}, (lost[:5], len(done))


@pytest.mark.world
@pytest.mark.serial
def test_ten_thousand_requests_over_a_thousand_reload_signals_lose_none(sidekey):
    """Clients that keep their connection and do not wait between calls: what "careful" HTTP clients do, which never send a call again by themselves."""
    clients, calls, signals = 8, 1250, 1000
    text, lost = sidekey.file.read_text(), []

    async def one(client):
        for _ in range(calls):
            try:
                status = (await client.request("POST", "/v2/echo", b"once"))[0]
            except (OSError, ssl.SSLError, EOFError, ConnectionError) as fault:
                status, client.reader, client.writer = repr(fault), None, None
            if status != 200:
                lost.append(status)

    async def all_of_them():
        await asyncio.gather(*[one(AsyncClient(sidekey)) for _ in range(clients)])

    def signal_on():
        sent = 0
        while sent < signals:
            pathlib.Path(f"{sidekey.file}.next").write_text(text.replace('"tunnel"', '"deny"' if sent % 2 else '"report"'))
            os.replace(f"{sidekey.file}.next", sidekey.file)
            os.kill(sidekey.pid, signal.SIGHUP)
            sent += 1
            time.sleep(0.01)
    thread = threading.Thread(target=signal_on)
    thread.start()
    asyncio.run(all_of_them())
    thread.join()
    until("all is over", lambda: len(sidekey.children()) <= 4)
    assert not lost, (len(lost), lost[:5])
    assert sidekey.out.read_text().count('"configuration reloaded"') > 3


def test_a_ca_file_that_changes_is_read_again_without_a_signal(make_config, start, pki, place):
    """certificates are rotated by others (cert-manager, a ConfigMap)."""
    config = make_config()
    roots = place / "roots.pem"
    other = (pathlib.Path(config["ca"]["publish"]) / "other.pem")
    roots.write_bytes((pki / "ca.pem").read_bytes())
    for rule in config["rules"]:
        rule["tls"]["ca_file"] = str(roots)
    sidekey = start(config)
    assert sidekey.request()[0] == 200
    other.write_bytes(sidekey.ca.read_bytes())
    os.replace(other, roots)
    until("the upstream is not trusted any more", lambda: sidekey.request()[0] == 502)
    other.write_bytes((pki / "ca.pem").read_bytes())
    os.replace(other, roots)
    until("it is trusted again", lambda: sidekey.request()[0] == 200)
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)
    before = sidekey.children()
    roots.write_text("-----BEGIN CERTIFICATE-----\nhalf of o")
    until("it is told", lambda: "CA file that the configuration names cannot be used" in sidekey.out.read_text())
    assert sidekey.children() == before and sidekey.request()[0] == 200
    roots.write_bytes((pki / "ca.pem").read_bytes())
    assert sidekey.request()[0] == 200


def test_roots_of_the_system_that_change_are_read_again_without_a_signal(make_config, start, pki, place):
    """ca-certificates is upgraded: new processes verify with the new roots, and bundle.pem has them."""
    config = make_config()
    for rule in config["rules"]:
        del rule["tls"]
    roots, beside = place / "system.pem", place / "next.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=another root",
                    "-keyout", place / "other.key", "-out", roots], check=True, capture_output=True)
    sidekey = start(config, env={"SSL_CERT_FILE": str(roots)})
    assert sidekey.request()[0] == 502
    beside.write_bytes((pki / "ca.pem").read_bytes())
    os.replace(beside, roots)
    until("the upstream is trusted", lambda: sidekey.request()[0] == 200)
    until("the bundle has it", lambda: (pki / "ca.pem").read_text().strip() in sidekey.bundle.read_text())
