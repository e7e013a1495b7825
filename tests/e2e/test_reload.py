"""SIGHUP and POST /reload: a good configuration takes over, a bad one changes nothing, requests in flight keep theirs."""
import http.client
import json
import os
import signal
import threading
import time

import pytest
from harness import API, PATIENCE_S, read_answer, until


def rewrite(sidekey, change):
    config = json.loads(sidekey.file.read_text())
    change(config)
    sidekey.file.write_text(json.dumps(config))


def deny_unmatched(config):
    config["unmatched"] = "deny"


def break_it(config):
    config["rules"][0]["credentail"] = "crm"


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
        assert sidekey.get_admin("/reload", "POST") == (200, "reloaded\n")
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
        assert sidekey.get_admin("/reload", "POST")[0] == 503
    until("it is counted", lambda: reload_metric(sidekey) == "0")
    assert sidekey.children() == before
    assert sidekey.request()[0] == 200
    said = b"".join(sidekey.logs().values()).decode()
    assert "credentail" in said and "credential" in said and "reload refused" in said


def test_the_ca_and_the_token_survive_a_reload(sidekey, auth):
    assert sidekey.request()[0] == 200
    ca, tokens = sidekey.ca.read_bytes(), auth.counts["token_requests"]
    context = sidekey.context()
    sidekey.get_admin("/reload", "POST")
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
    sidekey.get_admin("/reload", "POST")
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
        assert sidekey.get_admin("/reload", "POST")[0] == 200
        assert {sidekey.get_admin("/readyz")[0] for _ in range(50)} == {200}
        assert len(sidekey.children()) == 4, "the old ones wait for it"


def test_reloads_in_a_row_leave_no_process_behind(sidekey):
    for _ in range(20):
        assert sidekey.get_admin("/reload", "POST")[0] == 200
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


# --- what the old processes have begun ---

def old_workers(sidekey):
    return [pid for pid, name in sidekey.children().items() if "worker" in name][:-1]


def test_a_kept_connection_is_served_once_more_and_told_to_close(start):
    sidekey = start(limits={"drain": "5m"})
    connection = sidekey.connection()
    assert sidekey.request(connection=connection)[0] == 200
    sidekey.get_admin("/reload", "POST")
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
        sidekey.get_admin("/reload", "POST")
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
        sidekey.get_admin("/reload", "POST")
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
        sidekey.get_admin("/reload", "POST")
        assert b" 200 " not in read_answer(sock)
        assert time.monotonic() - begun > 1.9
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_many_reloads_with_a_stream_each_leave_few_processes(make_config, start):
    """Thirty reloads, each with a tunnel that never ends: beyond four old sets the oldest streams go."""
    sidekey = start(make_config(limits={"drain": "1s"}))
    socks = []
    for _ in range(30):
        sock, head = sidekey.tunnel("open.sidekey.test:443")
        assert head.startswith(b"HTTP/1.1 200")
        socks.append(sock)
        sidekey.get_admin("/reload", "POST")
        until("the new processes are ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
        until("four old sets at most", lambda: len(sidekey.children()) <= 10)
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


def test_a_second_signal_ends_old_processes_too(make_config, start, auth):
    sidekey = start(make_config(limits={"drain": "10m"}))
    held = []
    for _ in range(3):
        held.append(sidekey.tls())
        held[-1].sendall(f"GET /slow?ms=250000 HTTP/1.1\r\nHost: {API}\r\n\r\n".encode())
        until("it is upstream", lambda: slow_ones(auth) == len(held))
        sidekey.get_admin("/reload", "POST")
        until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    pids = list(sidekey.children())
    assert len(pids) == 8
    sidekey.popen.send_signal(signal.SIGTERM)
    until("the new processes, which have nothing to do, end", lambda: len(sidekey.children()) < 8)
    assert sidekey.popen.poll() is None
    sidekey.popen.send_signal(signal.SIGTERM)
    sidekey.popen.wait(PATIENCE_S)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}/stat") and open(f"/proc/{pid}/stat").read().split()[2] != "Z"]
    for sock in held:
        sock.close()


def test_no_request_is_lost_over_reloads(sidekey):
    """Kept-alive clients without a pause between requests, as fast as they can, over 40 reloads."""
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
    for n in range(40):
        assert sidekey.get_admin("/reload", "POST")[0] == 200
        until("requests between the reloads", lambda n=n: lost or len(done) > 3 * n)
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert lost == [] and set(done) == {200}, (lost[:5], len(done))
