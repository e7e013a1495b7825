"""Redis has an older state than a machine knows, or none: the machine's state directory knows better, and no spent token is sent again."""
import re

import pytest
from harness import until
from idp import Idp
from redis_fixture import redis_server  # noqa: F401 (fixture)

STATE = "{sidekey:crm}:state"


@pytest.fixture
def idp(pki):
    with Idp(pki) as made:
        yield made
        made.shutdown()


@pytest.fixture
def configured(make_config, pki, place, idp):
    """configured(redis, name): the configuration of the machine of that name; all have the first refresh token of the grant as their seed."""
    seed = make_config.write("seed", idp.mint())

    def make(redis, name="one"):
        config = make_config()
        for folder, mode in ((f"state-{name}", 0o700), (f"ca-{name}", 0o755)):
            (place / folder).mkdir(mode=mode, exist_ok=True)
        config["store"] |= {"redis": {"url": redis.url}, "file": str(place / f"state-{name}")}
        config["ca"]["publish"] = str(place / f"ca-{name}")
        config["credentials"]["crm"] = {"grant": "refresh_token", "token_url": idp.url(), "client_id": "me", "client_auth": "none", "required": True,
                                        "forced_refresh_floor": "1s", "refresh_token": seed, "tls": {"ca_file": str(pki / "ca.pem")}}
        return config
    return make


def ready(sidekey):
    until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    return sidekey


def refresh(sidekey, idp):
    """Forces one; within a second of the last one it is refused."""
    before = len(idp.asked)
    until("a forced refresh is taken", lambda: sidekey.get_admin("/refresh/crm", "POST")[0] in (200, 202), every=0.3)
    until("refreshed", lambda: len(idp.asked) > before)


def run(start, config, redis, idp, generations):
    """Refreshes until so many generations are stored, and ends."""
    sidekey = ready(start(config))
    for generation in range(1, generations + 1):
        if generation > 1:
            refresh(sidekey, idp)
        until(f"generation {generation}", lambda g=generation: redis.field("crm", "gen") == str(g))
        if generation == 1:
            assert redis.ask("COPY", STATE, "{sidekey:crm}:old") == 1
    assert sidekey.stop() == 0


@pytest.mark.parametrize("accident", [["COPY", "{sidekey:crm}:old", STATE, "REPLACE"], ["DEL", STATE], ["FLUSHALL"], ["HSET", STATE, "blob", "junk"]],
                         ids=["an old state comes back", "the state is gone", "everything is gone", "the state is damaged"])
def test_what_redis_lost_while_no_keeper_ran_is_written_back_from_the_state_directory(start, configured, redis_server, idp, accident):
    redis = redis_server()
    run(start, configured(redis), redis, idp, 3)
    redis.ask(*accident)
    sidekey = ready(start(configured(redis)))
    assert redis.field("crm", "gen") == "3"
    refresh(sidekey, idp)
    until("generation 4", lambda: redis.field("crm", "gen") == "4")
    assert idp.reuse == 0 and len(idp.asked) == 4
    assert re.search(rb"sidekey writes (its good copy|the newest one) back", b"".join(sidekey.logs().values()))


def test_of_two_machines_that_differ_the_newer_one_is_followed(start, configured, redis_server, idp):
    redis = redis_server()
    run(start, configured(redis, "one"), redis, idp, 2)
    redis.ask("COPY", STATE, "{sidekey:crm}:two")
    two = ready(start(configured(redis, "two")))
    refresh(two, idp)
    until("generation 3", lambda: redis.field("crm", "gen") == "3")
    redis.ask("COPY", "{sidekey:crm}:two", STATE, "REPLACE")
    one = ready(start(configured(redis, "one"), name="one"))  # it knows generation 2 itself
    until("generation 3 is back", lambda: redis.field("crm", "gen") == "3")
    refresh(one, idp)
    until("generation 4", lambda: redis.field("crm", "gen") == "4")
    two.get_admin("/refresh/crm", "POST")
    assert idp.reuse == 0 and not idp.revoked


def test_a_kept_state_that_somebody_damaged_is_reported_and_redis_is_believed(start, configured, redis_server, idp, place):
    redis = redis_server()
    run(start, configured(redis), redis, idp, 2)
    kept = place / "state-one" / "crm.kept"
    assert kept.stat().st_mode & 0o777 == 0o600
    for token in [*idp.live, *idp.spent]:
        assert token.encode() not in kept.read_bytes()
    kept.write_bytes(b"sidekey-kept 1 77\njunk")
    sidekey = ready(start(configured(redis)))
    until("reported", lambda: b"cannot use the state on disk" in b"".join(sidekey.logs().values()))
    refresh(sidekey, idp)
    until("generation 3", lambda: redis.field("crm", "gen") == "3")
    until("kept again", lambda: kept.read_bytes().startswith(b"sidekey-kept 1 3\n"))
    assert idp.reuse == 0


@pytest.mark.world
def test_a_new_machine_that_meets_an_old_state_is_put_right_by_the_others(start, configured, redis_server, idp):
    """With an empty directory it has nothing to compare with: what it believes serves as long as its access token lives, and the others write the newest back."""
    redis = redis_server()
    one = ready(start(configured(redis, "one")))
    until("generation 1", lambda: redis.field("crm", "gen") == "1")
    assert redis.ask("COPY", STATE, "{sidekey:crm}:old") == 1
    refresh(one, idp)
    until("generation 2", lambda: redis.field("crm", "gen") == "2")
    redis.ask("COPY", "{sidekey:crm}:old", STATE, "REPLACE")
    new = ready(start(configured(redis, "new"), name="new"))
    until("generation 2 is back", lambda: redis.field("crm", "gen") == "2")
    until("the new one goes on from there", lambda: new.get_admin("/refresh/crm", "POST") and redis.field("crm", "gen") == "3", every=1.2)
    until("the other one too", lambda: one.get_admin("/refresh/crm", "POST") and redis.field("crm", "gen") == "4", every=1.2)
    assert idp.reuse == 0 and not idp.revoked
