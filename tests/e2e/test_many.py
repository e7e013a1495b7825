"""A large configuration: 300 credentials with the largest tokens, 300 rules.  What asks for all of them gets all of them."""
import json
import os
import pathlib
import re

import harness
import pytest
from harness import SIDEKEY, environment, run, until
from idp import Idp

MANY = 300
NAMES = [f"c{i:03}-{'x' * 50}" for i in range(MANY)]  # 55 of the 64 letters that a name may have


def large(make_config, pki):
    """Rules on one host, told apart by their path."""
    credentials = {name: {"grant": "static", "token": make_config.write(f"token-{i}", f"{i}-".ljust(16000, "t")), "required": True} for i, name in enumerate(NAMES)}
    rules = [{"name": f"rule-{name}", "match": {"host": harness.API, "paths": [f"/v2/echo/{i}"]}, "credential": name, "on_unauthorized": {"statuses": []}, "tls": {"ca_file": str(pki / "ca.pem")},
              "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}]} for i, name in enumerate(NAMES)]
    return make_config(credentials=credentials, rules=rules)


@pytest.fixture
def sidekey(start, make_config, pki):
    return start(large(make_config, pki))


def samples(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_status_and_readiness_hold_every_rule_and_credential(sidekey, place):
    connection = sidekey.connection()
    for i in range(MANY):
        assert sidekey.request(path=f"/v2/echo/{i}", connection=connection)[0] == 401, i  # what the API says to a token that it does not know
    status, text = sidekey.get_admin("/metrics")
    found = samples(text)
    assert status == 200 and len(text) > 2 * 65536
    for name in NAMES:
        assert found[f'sidekey_token_generation{{credential="{name}"}}'] == 1
        assert sum(v for k, v in found.items() if k.startswith(f'sidekey_requests_total{{rule="rule-{name}",')) == 1
    status, text = sidekey.get_admin("/status")
    assert status == 200 and [c["name"] for c in json.loads(text)["credentials"]] == NAMES
    status, text = sidekey.get_admin("/readyz")
    assert status == 200 and text.count("[+]credential/") == MANY
    config = place / "ask.yaml"
    config.write_text(json.dumps({**sidekey.config, "listen": {**sidekey.config["listen"], "admin": f"{sidekey.admin[0]}:{sidekey.admin[1]}"}}))
    done = run([SIDEKEY, "status", "-c", config], environment(place))
    assert done.returncode == 0 and len(re.findall(rb"^c\d{3}-x+~? +usable", done.stdout, re.M)) == MANY, done.stderr


def test_a_new_keeper_tells_every_token_again(sidekey):
    sidekey.kill_child("keeper")
    until("every credential is there again", lambda: sidekey.get_admin("/readyz")[1].count("[+]credential/") == MANY)
    sidekey.kill_child("worker")
    until("the new worker is there", lambda: sidekey.child("worker"))
    connection = sidekey.connection()
    for i in (0, MANY // 2, MANY - 1):
        status = sidekey.request(path=f"/v2/echo/{i}", connection=connection)[0]
        assert status != 503, (i, status)


@pytest.fixture
def slow(pki):
    """An https token endpoint that takes a second for each answer."""
    server = Idp(pki)
    server.delay = 1
    yield server
    server.shutdown()
    server.server_close()


def spend_at(server, make_config, pki, count):
    return {f"c{i:04}": {"grant": "refresh_token", "token_url": server.url(), "client_id": "me", "client_auth": "none",
                         "refresh_token": make_config.write(f"rt-{i}", server.mint()), "tls": {"ca_file": str(pki / "ca.pem")}} for i in range(count)}


def peak_kib(pid):
    return int(re.search(r"^VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


@pytest.mark.release
@pytest.mark.serial
@pytest.mark.skipif(harness.SANITIZED, reason="judges the release build")
def test_many_credentials_at_one_slow_host_start_in_bounded_memory(slow, make_config, pki, start):
    """Eight requests at once, so no thousand handshakes and no 429; MANY_CREDENTIALS=1000 for more of them."""
    count, most_mib = int(os.environ.get("MANY_CREDENTIALS", "200")), int(os.environ.get("MANY_MIB", "64"))
    config = make_config()
    config["credentials"].update(spend_at(slow, make_config, pki, count))
    sidekey = start(config)
    until("all have a token", lambda: sidekey.get_admin("/readyz?verbose")[1].count("[+]credential/") == count + 1, 60 + count)
    peak = peak_kib(sidekey.child("keeper"))
    print(f"{count} credentials: the keeper's peak {peak} KiB, {slow.most_at_once} requests at once")
    assert peak < most_mib * 1024
    assert slow.most_at_once <= 8
    assert len(slow.asked) == count and slow.reuse == 0
