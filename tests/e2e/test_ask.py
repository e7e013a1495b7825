"""status, refresh and healthcheck ask a running sidekey."""
import json

import pytest
from harness import SIDEKEY, environment, run


@pytest.fixture
def asks(sidekey, place):
    """asks("status"): the command with the config of the running sidekey and the port that it has got."""
    def go(*argv):
        config = {**sidekey.config, "listen": {**sidekey.config["listen"], "admin": f"{sidekey.admin[0]}:{sidekey.admin[1]}"}}
        path = place / "ask.yaml"
        path.write_text(json.dumps(config))
        return run([SIDEKEY, argv[0], "-c", path, *argv[1:]], environment(place))
    return go


def test_status_shows_state_and_generation_and_no_token(asks, sidekey, auth):
    sidekey.request()
    done = asks("status")
    head, row = done.stdout.decode().splitlines()
    assert done.returncode == 0 and head.split()[0] == "CREDENTIAL"
    assert row.split()[:3] == ["crm", "usable", "1"]
    assert not [s for s in auth.secrets if s in done.stdout.decode()]


def test_refresh_makes_a_new_generation_and_says_so(asks, sidekey, auth):
    sidekey.request()
    before = auth.counts["refreshes"]
    done = asks("refresh", "crm")
    assert (done.returncode, done.stdout) == (0, b"crm: refreshed\n"), done
    assert auth.counts["refreshes"] == before + 1
    assert asks("status").stdout.decode().splitlines()[1].split()[2] == "2"


def test_refresh_says_why_it_could_not(asks, sidekey, auth):
    sidekey.request()
    auth.faults(*[{"kind": "status", "status": 500}] * 50)
    done = asks("refresh", "crm")
    auth.clear_faults()
    assert done.returncode == 69 and done.stderr.startswith(b"crm: ") and len(done.stderr) > 10
    assert sidekey.request()[0] == 200, "the token at hand still serves"


def test_a_name_that_is_no_credential_is_told(asks):
    done = asks("refresh", "crn")
    assert done.returncode == 64 and b"crn" in done.stderr


def test_healthcheck_follows_readiness(asks, sidekey):
    sidekey.request()
    assert asks("healthcheck").returncode == 0


def test_nobody_there_is_a_clear_error(asks, sidekey):
    sidekey.stop()
    for argv in (["status"], ["refresh", "crm"], ["healthcheck"]):
        done = asks(*argv)
        assert done.returncode == 69 and b"does sidekey run" in done.stderr, done
