"""State belongs to the token authority and the client that issued it: another token_url or client_id is another credential."""
import time

import pytest
from harness import until
from idp import Idp
from redis_fixture import redis_server  # noqa: F401 (fixture)


@pytest.fixture
def idps(pki):
    made = []

    def make(*args, **kw):
        made.append(Idp(*args, **kw))
        return made[-1]
    yield make
    for one in made:
        one.shutdown()
        one.server_close()


@pytest.fixture
def secret(place):
    return place / "rt"


@pytest.fixture(params=["file", "redis"])
def store(request, make_config):
    """What goes into the configuration's store."""
    if request.param == "file":
        return {}
    return {"redis": {"url": request.getfixturevalue("redis_server")().url}}


def configured(make_config, pki, store, url, secret, **more):
    config = make_config()
    config["store"] |= store
    config["credentials"]["crm"] = {"grant": "refresh_token", "token_url": url, "client_id": "me", "client_auth": "none", "required": True,
                                    "refresh_token": {"file": str(secret)}, "tls": {"ca_file": str(pki / "ca.pem")}, **more}
    return config


def put(secret, text):
    secret.write_text(text)
    secret.chmod(0o600)


def served(start, config):
    """Runs it until it is ready, forces one refresh, and ends it."""
    sidekey = start(config)
    until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    time.sleep(1.05)  # from one request to the next
    assert sidekey.get_admin("/refresh/crm", "POST")[0] in (200, 202)
    time.sleep(0.3)
    assert sidekey.stop() == 0


def foreign(idp, name):
    return [token for _, token, _ in idp.asked if not token.startswith(name + "-")]


def test_another_token_authority_gets_none_of_the_first_ones_tokens_and_the_way_back_finds_them(idps, make_config, pki, store, secret, start):
    a, b = idps(pki, name="a"), idps(pki, name="b")
    put(secret, a.mint())
    served(start, configured(make_config, pki, store, a.url(), secret))
    put(secret, b.mint())
    served(start, configured(make_config, pki, store, b.url(), secret))
    assert len(b.asked) == 2 and foreign(b, "b") == []
    before = len(a.asked)
    served(start, configured(make_config, pki, store, a.url("/oauth2/v2.0/token"), secret))  # the path is not the authority
    assert len(a.asked) == before + 1 and foreign(a, "a") == []  # it goes on where it was
    served(start, configured(make_config, pki, store, b.url(), secret))
    assert (a.reuse, b.reuse) == (0, 0) and foreign(b, "b") == []


def test_another_client_gets_none_of_the_first_ones_tokens(idps, make_config, pki, store, secret, start):
    a = idps(pki, name="a")
    put(secret, a.mint())
    served(start, configured(make_config, pki, store, a.url(), secret))
    used = {token for _, token, _ in a.asked} | a.live
    put(secret, a.mint())
    served(start, configured(make_config, pki, store, a.url(), secret, client_id="another"))
    assert not used & {token for _, token, form in a.asked if form["client_id"] == "another"}
    put(secret, "not-used-at-all")
    served(start, configured(make_config, pki, store, a.url(), secret))
    assert a.reuse == 0 and "not-used-at-all" not in [token for _, token, _ in a.asked]


def test_two_replicas_with_different_authorities_keep_a_line_each(idps, make_config, pki, secret, start, redis_server):
    """A rolling change of token_url: both run for a while, on one Redis."""
    a, b, redis = idps(pki, name="a"), idps(pki, name="b"), redis_server()
    a.answer = b.answer = {"expires_in": 4}
    running = []
    for n, idp in enumerate((a, b)):
        mine = secret.with_name(f"rt-{n}")
        put(mine, idp.mint())
        config = configured(make_config, pki, {"redis": {"url": redis.url}, "file": str(secret.with_name(f"state-{n}"))}, idp.url(), mine)
        config["ca"]["publish"] = str(secret.with_name(f"ca-{n}"))
        running.append(start(config))
    until("each has refreshed thrice", lambda: len(a.asked) >= 4 and len(b.asked) >= 4, 40)
    assert foreign(a, "a") == [] and foreign(b, "b") == [] and (a.reuse, b.reuse) == (0, 0)
    for sidekey in running:
        assert sidekey.get_admin("/readyz")[0] == 200
