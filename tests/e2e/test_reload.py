"""SIGHUP and POST /reload: a good configuration takes over, a bad one changes nothing, requests in flight keep theirs."""
import json
import os
import signal
import threading

import pytest
from harness import API, until


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
    slow = threading.Thread(target=lambda: answers.append(sidekey.request(path="/slow?ms=1500", timeout=20)[0]))
    slow.start()
    until("the slow request is under way", lambda: sidekey.get_admin("/metrics")[1].find('sidekey_connections{leg="client"} 1') > 0)
    sidekey.get_admin("/reload", "POST")
    assert sidekey.request()[0] == 200
    slow.join(20)
    assert answers == [200]
    until("the old processes are gone", lambda: len(sidekey.children()) == 2)


def test_a_reload_is_no_moment_without_readiness(sidekey):
    """The old worker drains with a request in flight; whoever asks meanwhile hears the new one."""
    assert sidekey.request()[0] == 200
    slow = threading.Thread(target=lambda: sidekey.request(path="/slow?ms=1500", timeout=20))
    slow.start()
    until("the slow request is under way", lambda: sidekey.get_admin("/metrics")[1].find('sidekey_connections{leg="client"} 1') > 0)
    assert sidekey.get_admin("/reload", "POST")[0] == 200
    answers = {sidekey.get_admin("/readyz")[0] for _ in range(50)}
    assert slow.is_alive() and answers == {200}
    slow.join(20)


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
    until("a token", lambda: sidekey.request()[0] == 200, 5)
    assert auth.counts["token_requests"] - asked in (1, 2)  # one may still have been the old client's: a request that came before the reload
