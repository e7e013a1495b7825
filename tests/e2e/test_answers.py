"""Token responses in every shape (tests/fakes/shapes.mjs), from a server that rotates and takes a second use of a refresh token for theft.

The server has always done its part: whatever the shape, the refresh token that was sent is spent.  So nothing may be sent twice."""
import json

import harness
import pytest
from harness import until
from redis_fixture import machines, redis_server  # noqa: F401 (fixtures)


@pytest.fixture
def shapes(auth):
    """shapes(fate): those that end so."""
    return lambda fate: {s["name"]: s["why"] for s in auth.ask("/shapes") if s["fate"] == fate}


@pytest.fixture
def scene(make_config, auth, pki):
    """A config with one credential, of one grant, for each shape: the rule goes by the path."""
    def make(names, **changes):
        config = make_config(limits={"token_wait": "40s"})
        crm, rule = config["credentials"].pop("crm"), config["rules"][0]
        config["rules"] = []
        for name in names:
            config["credentials"][name] = {**crm, "headers": {"x-shape": name}, "required": False, "forced_refresh_floor": "1s", **changes,
                                           "refresh_token": make_config.write(f"rt-{name}", auth.mint()["refresh_token"])}
            config["rules"].append({**rule, "match": {"host": harness.API, "paths": [f"/v2/echo/{name}"]}, "credential": name})
        return config
    return make


def ask(sidekey, name):
    return sidekey.request(path=f"/v2/echo/{name}")


def status_of(sidekey, name):
    return next(c for c in json.loads(sidekey.get_admin("/status")[1])["credentials"] if c["name"] == name)


def test_every_shape_is_read_on_the_first_request(start, scene, shapes, auth):
    names = shapes("used")
    sidekey = start(scene(names))
    wrong = {name: answer[2] for name in names if (answer := ask(sidekey, name))[0] != 200}
    assert not wrong
    auth.revoke_access()  # a 401 for each: the refresh tokens that were taken are the right ones
    wrong = {name: answer[2] for name in names if (answer := ask(sidekey, name))[0] != 200}
    assert not wrong
    assert auth.healthy()["refreshes"] == 2 * len(names)


def test_what_cannot_be_had_again_is_kept(start, scene, shapes, auth):
    reasons = shapes("refresh")
    config = scene(reasons)
    for name in reasons:
        config["credentials"][name]["headers"]["x-shape"] = f"{name}*"  # each time, for as long as this one runs
    sidekey = start(config)
    wrong = {}
    for name, why in reasons.items():
        members = harness.problem(ask(sidekey, name))
        if why not in members["detail"] or why not in str(status_of(sidekey, name)) or "Mallory" in str(members):
            wrong[name] = members, status_of(sidekey, name)
    assert not wrong
    sidekey.stop()
    log = sidekey.out.read_text() + sidekey.err.read_text()
    assert all(why in log for why in reasons.values()) and "Mallory" not in log
    counts = auth.healthy()
    assert counts["refreshes"] == counts["token_requests"] >= len(reasons)
    for name in reasons:
        config["credentials"][name]["headers"]["x-shape"] = name  # from now on the server says it well
    sidekey = start(config)
    wrong = {name: answer[2] for name in reasons if (answer := ask(sidekey, name))[0] != 200}
    assert not wrong
    counts = auth.healthy()
    assert counts["refreshes"] == counts["token_requests"]


def test_a_refresh_token_that_is_lost_costs_neither_the_access_token_nor_the_grant(start, scene, shapes, auth):
    reasons = shapes("access")
    sidekey = start(scene(reasons))
    assert {name: ask(sidekey, name)[0] for name in reasons} == {name: 200 for name in reasons}
    auth.revoke_access()
    for name, why in reasons.items():
        assert ask(sidekey, name)[0] == 401  # the server's own
        assert why in str(status_of(sidekey, name))
    assert auth.healthy()["token_requests"] == len(reasons), "each was asked for once"


def test_what_nobody_understands_is_not_sent_again(start, scene, shapes, auth):
    reasons = shapes("none")
    config = scene(reasons)
    for _ in range(2):  # and again after a restart
        sidekey = start(config)
        wrong = {}
        for name, why in reasons.items():
            members = harness.problem(ask(sidekey, name))
            members = harness.problem(ask(sidekey, name))
            if why not in members["detail"] or "sealed in the journal" not in members["detail"]:
                wrong[name] = members
            until(f"the reason of {name} in /status", lambda: why in str(status_of(sidekey, name)))
        assert not wrong
        assert auth.healthy()["token_requests"] == len(reasons), "each was asked for once"
        sidekey.stop()


def test_a_sealed_response_is_read_when_the_configuration_says_where(start, scene, auth):
    config = scene(["other_names"])
    sidekey = start(config)
    assert "members: payload" in harness.problem(ask(sidekey, "other_names"))["detail"]
    sidekey.stop()
    config["credentials"]["other_names"]["response"] = {"access_token": "/payload/at", "refresh_token": "/payload/rt", "expires_in": "/payload/ttl"}
    sidekey = start(config)
    assert ask(sidekey, "other_names")[0] == 200
    assert auth.counts["token_requests"] == 1, "nobody was asked"
    sidekey.stop()
    assert auth.healthy()


def test_a_refusal_is_a_refusal_whatever_its_description_is(start, scene, auth):
    config = scene(["plain"])
    auth.faults({"kind": "status", "status": 400, "latin1": True, "body": '{"error":"invalid_grant","error_description":"Jeton expir\u00e9"}'})
    sidekey = start(config)
    answer = until("the verdict", lambda: (a := ask(sidekey, "plain"))[0] == 503 and b"invalid_grant" in a[2] and a)
    assert "reauth" in str(status_of(sidekey, "plain")), answer
    assert auth.counts["token_requests"] == 1


def test_a_machine_that_shares_the_store_does_not_send_it_either(start, scene, auth, place, redis_server):  # noqa: F811
    """Its journal is its own: what it knows is in the store."""
    config = scene(["other_names"])
    config["store"]["redis"] = {"url": redis_server().url}
    first = start(config)
    assert "members: payload" in harness.problem(ask(first, "other_names"))["detail"]
    for name, mode in (("ca2", 0o755), ("state2", 0o700)):
        (place / name).mkdir(mode=mode)
    second = start({**config, "ca": {"publish": str(place / "ca2")}, "store": {**config["store"], "file": str(place / "state2")}}, name="second")
    assert "the machine that sent the request keeps it sealed" in harness.problem(ask(second, "other_names"))["detail"]
    assert auth.healthy()["token_requests"] == 1


@pytest.mark.parametrize("way", ["a new refresh token", "reset"])
def test_what_nobody_understood_comes_back_with_a_new_refresh_token_or_a_reset(start, scene, auth, make_config, place, way):
    """A web page with 200: the provider's maintenance, or a portal.  What was spent is not sent again before somebody says so."""
    config = scene(["page"])
    sidekey = start(config)
    members = harness.problem(ask(sidekey, "page"))
    assert "a web page" in members["detail"] and "new refresh token" in members["hint"], members
    if way == "reset":
        asked = {**config, "listen": {**config["listen"], "admin": f"{sidekey.admin[0]}:{sidekey.admin[1]}"}}
        (place / "ask.yaml").write_text(json.dumps(asked))
        assert auth.healthy()["token_requests"] == 1
        done = harness.run([harness.SIDEKEY, "reset", "-c", place / "ask.yaml", "page"], harness.environment(place))
        assert done.returncode == 0, done
        until("it is asked for again", lambda: auth.counts["token_requests"] > 1)
        return
    beside = place / "rt-page.new"
    beside.write_text(auth.mint()["refresh_token"])
    beside.chmod(0o600)
    beside.rename(place / "rt-page")
    until("the new one is taken", lambda: status_of(sidekey, "page")["state"] == "usable")
    assert ask(sidekey, "page")[0] == 200
    assert auth.healthy()["token_requests"] == 2
