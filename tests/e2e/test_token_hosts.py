"""What a token endpoint says about time: its clock counts for itself alone, and no answer makes sidekey ask more often than once a second."""
import time

import pytest
from harness import until
from idp import idps  # noqa: F401 (fixture)

DAY = 86400


def spends(idp, make_config, pki, name, **more):
    """A credential of that server."""
    return {"grant": "refresh_token", "token_url": idp.url(), "client_id": "me", "client_auth": "none",
            "refresh_token": make_config.write(f"rt-{name}", idp.mint()), "tls": {"ca_file": str(pki / "ca.pem")}, **more}


@pytest.mark.parametrize("traffic", [False, True], ids=["no traffic", "traffic"])
def test_a_life_of_two_milliseconds_costs_one_request_a_second(idps, make_config, pki, start, traffic):
    one = idps(pki)
    one.answer = {"expires_in": 0.002}
    config = make_config(limits={"token_wait": "1s"})
    config["credentials"]["crm"] = spends(one, make_config, pki, "crm", forced_refresh_floor="1s")
    sidekey = start(config)
    until("the first token", lambda: one.asked)
    began, before = time.monotonic(), len(one.asked)
    while time.monotonic() < began + 5:
        if traffic:
            sidekey.request()
        else:
            time.sleep(0.1)
    assert 1 <= len(one.asked) - before <= 1 + time.monotonic() - began, [t for t, *_ in one.asked]
    times = [at for at, *_ in one.asked]
    assert times[-1] - times[0] > 0.9 * (len(times) - 1) - 2, times  # a second apart; one may have been late on a busy machine
    assert one.reuse == 0


def test_the_date_of_one_token_endpoint_moves_no_assertion_of_another(auth, idps, make_config, pki, start, place):
    """One that says 399 days ahead, one that says an hour, one in plain http: each lies for itself."""
    key = auth.ask("/keys")["ec"]
    liars = {"week": idps(pki), "hour": idps(pki), "plain": idps()}
    liars["week"].date, liars["hour"].date, liars["plain"].date = 399 * DAY, 3600, 3600
    config = make_config()
    config["credentials"] = {name: spends(one, make_config, pki, name) for name, one in liars.items()}
    judge = idps(pki, name="judge")
    config["credentials"]["crm"] = {
        "grant": "jwt_bearer", "token_url": judge.url(), "client_id": "me", "client_auth": "none", "tls": {"ca_file": str(pki / "ca.pem")},
        "assertion": {"key": make_config.write("key", key), "lifetime": "5m", "subject": "someone"}}
    judge.answer = {"expires_in": 4}
    sidekey = start(config)
    until("all have been asked, the judge twice", lambda: all(o.asked for o in liars.values()) and len(judge.asked) >= 2)
    import base64
    import json
    for _, _, form in judge.asked:
        part = form["assertion"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert abs(claims["iat"] - time.time()) < 90, claims
    assert sidekey.out.read_text().count("differs from this machine's clock by more than 7 days") == 1
