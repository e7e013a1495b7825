"""The token host says "fewer requests" to one of several sidekeys: all who share the store leave it alone for as long, and no longer."""
import copy
import email.utils
import json
import pathlib
import time

import pytest
from harness import until
from redis_fixture import machines, redis_server  # noqa: F401 (fixtures)

TEXT = "the token endpoint limits the rate of requests"


@pytest.fixture(params=["redis", "file"])
def pair(request, start, make_config, place, auth):
    """pair(**changes): two sidekeys, of two machines with one Redis or of one machine with one state directory.  pair.held(credential): a pause is in it."""
    def begin(prepare=lambda config: None, **changes):
        first = make_config(**changes)
        prepare(first)
        if request.param == "redis":
            redis = request.getfixturevalue("redis_server")()
            first["store"]["redis"] = {"url": redis.url}
            begin.held = lambda credential: redis.ask("EXISTS", f"{{sidekey:{credential}}}:backoff") == 1
        else:
            begin.held = lambda credential: pathlib.Path(first["store"]["file"], f"{credential}.throttle").exists()
        both = []
        for i in range(2):
            config = copy.deepcopy(first)
            config["ca"]["publish"] = str(place / f"ca{i}")
            (place / f"ca{i}").mkdir(mode=0o755)
            if request.param == "redis":
                config["store"]["file"] = str(place / f"state{i}")
                (place / f"state{i}").mkdir(mode=0o700)
            both.append(start(config, name=f"machine{i}"))
        return both
    begin.engine = request.param
    return begin


def told(seconds, date=False):
    """An answer 429 that asks for a pause."""
    after = email.utils.formatdate(time.time() + seconds, usegmt=True) if date else seconds
    return {"kind": "status", "status": 429, "body": '{"error":"slow_down"}', "retry_after": after}


def force(sidekey, credential):
    return sidekey.get_admin(f"/refresh/{credential}", "POST")[1]


def counted(sidekey, name):
    return sum(float(line.rpartition(" ")[2]) for line in sidekey.get_admin("/metrics")[1].splitlines() if line.startswith(name))


def with_two_credentials(auth, make_config):
    """Another credential of the same token host, for another API."""
    def prepare(config):
        other = {**config["credentials"]["crm"], "refresh_token": make_config.write("refresh-token-2", auth.mint()["refresh_token"])}
        config["credentials"]["other"] = other
        next(r for r in config["rules"] if r["match"]["host"] == "git.sidekey.test")["credential"] = "other"
    return prepare


@pytest.mark.parametrize("date", [False, True], ids=["seconds", "date"])
def test_what_one_is_told_the_other_keeps_and_both_ask_again_when_it_is_over(pair, auth, date):
    auth.faults(told(10, date))
    begin = time.monotonic()
    both = pair(limits={"drain": "3s", "token_wait": "500ms"})
    until("somebody has asked", lambda: auth.counts["token_requests"] == 1)
    until("it was told", lambda: any(counted(s, 'sidekey_refreshes_total{credential="crm",trigger="missing",result="throttle"')
                                     + counted(s, 'sidekey_refreshes_total{credential="crm",trigger="background",result="throttle"') for s in both))
    for sidekey in both:
        def refused(sidekey=sidekey):
            status, headers, body = sidekey.request()
            assert status == 503 and 1 <= int(headers["retry-after"]) <= 10, (status, headers.items(), body)
            return json.loads(body)["reason"] == "token_throttled"
        until("both say why", refused)  # the one that has not asked learns it from the store
    assert auth.counts["token_requests"] == 1
    first_ok = until("tokens come", lambda: both[1].request()[0] == 200 and time.monotonic())
    assert both[0].request()[0] == 200
    assert first_ok - begin >= 8.5
    assert auth.healthy()["token_requests"] == 2


def test_a_token_that_lives_is_served_during_the_pause_and_nobody_can_force_a_request(pair, auth):
    both = pair()
    for sidekey in both:
        assert sidekey.request()[0] == 200
    asked = auth.counts["token_requests"]
    auth.faults(told(60))
    force(both[0], "crm")
    assert auth.counts["token_requests"] == asked + 1
    said = force(both[1], "crm")
    assert TEXT in said, said
    for _ in range(5):
        assert [s.request()[0] for s in both] == [200, 200]
    assert counted(both[1], 'sidekey_refreshes_total{credential="crm",trigger="forced",result="throttle"}') == 1
    assert auth.healthy()["token_requests"] == asked + 1


def test_all_credentials_of_the_same_token_host_are_held_everywhere(pair, auth, make_config):
    both = pair(with_two_credentials(auth, make_config))
    until("all have their tokens", lambda: all(s.get_admin("/readyz")[0] == 200 for s in both))
    asked = auth.counts["token_requests"]
    assert asked == 2
    auth.faults(told(60))
    force(both[0], "crm")
    assert auth.counts["token_requests"] == asked + 1
    assert TEXT in force(both[0], "other")
    until("the pause is in the store for the other credential as well", lambda: pair.held("other"))
    assert TEXT in force(both[1], "other")
    assert auth.counts["token_requests"] == asked + 1


def test_a_pause_outlives_the_keeper_that_was_told(pair, auth):
    both = pair()
    for sidekey in both:
        assert sidekey.request()[0] == 200
    auth.faults(told(60))
    force(both[0], "crm")
    asked = auth.counts["token_requests"]
    both[0].kill_child("keeper")
    until("the new keeper answers", lambda: both[0].get_admin("/readyz")[0] == 200)
    assert TEXT in force(both[0], "crm")
    assert both[0].request()[0] == 200
    assert auth.healthy()["token_requests"] == asked
