"""State belongs to the token authority and the client that issued it: another token_url or client_id is another credential."""
import contextlib
import http.client
import os
import signal
import threading
import time

import pytest
from harness import until
from idp import idps  # noqa: F401 (fixture)
from redis_fixture import redis_server  # noqa: F401 (fixture)


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


def force(sidekey):
    """Asks for a new token and does not wait for it."""
    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException):
            sidekey.get_admin("/refresh/crm", "POST")
    threading.Thread(target=ask, daemon=True).start()


def foreign(idp, name):
    return [token for _, token, _ in idp.asked if not token.startswith(name + "-")]


def test_another_token_authority_gets_none_of_the_first_ones_tokens_and_the_way_back_finds_them(idps, make_config, pki, store, secret, start):
    a, b, other = idps(pki, name="a"), idps(pki, name="b"), secret.with_name("rt-b")
    put(secret, a.mint())
    put(other, b.mint())
    served(start, configured(make_config, pki, store, a.url(), secret))
    served(start, configured(make_config, pki, store, b.url(), other))
    assert len(b.asked) == 2 and foreign(b, "b") == []
    before = len(a.asked)
    served(start, configured(make_config, pki, store, a.url("/oauth2/v2.0/token"), secret))  # the path is not the authority
    assert len(a.asked) == before + 1 and foreign(a, "a") == []  # it goes on where it was
    served(start, configured(make_config, pki, store, b.url(), other))
    assert (a.reuse, b.reuse) == (0, 0) and foreign(b, "b") == []


def test_another_client_gets_none_of_the_first_ones_tokens(idps, make_config, pki, store, secret, start):
    a = idps(pki, name="a")
    put(secret, a.mint())
    served(start, configured(make_config, pki, store, a.url(), secret))
    used = {token for _, token, _ in a.asked} | a.live
    other = secret.with_name("rt-another")
    put(other, a.mint())
    served(start, configured(make_config, pki, store, a.url(), other, client_id="another"))
    assert not used & {token for _, token, form in a.asked if form["client_id"] == "another"}
    before = len(a.asked)
    served(start, configured(make_config, pki, store, a.url(), secret))
    assert a.reuse == 0 and len(a.asked) == before + 1  # the first client goes on where it was


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
    until("each has refreshed thrice", lambda: len(a.asked) >= 4 and len(b.asked) >= 4)
    assert foreign(a, "a") == [] and foreign(b, "b") == [] and (a.reuse, b.reuse) == (0, 0)
    for sidekey in running:
        until("ready", lambda sidekey=sidekey: sidekey.get_admin("/readyz")[0] == 200)


@pytest.mark.parametrize("rotates", [True, False], ids=["a server that rotates", "one that does not"])
def test_a_damaged_answer_in_the_journal_never_spends_its_token_again(idps, make_config, pki, secret, start, redis_server, rotates, place):
    """The answer is on disk, Redis never got it, the keeper dies, and a byte of the file flips."""
    a, redis = idps(pki, name="a", rotates=rotates), redis_server()
    put(secret, a.mint())
    config = configured(make_config, pki, {"redis": {"url": redis.url}}, a.url(), secret)
    sidekey = start(config)
    until("stored", lambda: redis.field("crm", "gen") == "1")
    time.sleep(1.05)
    a.on_request = lambda *_: redis.ask("CONFIG", "SET", "min-replicas-to-write", "1") and None  # no write is taken any more
    force(sidekey)
    answer = place / "state" / "journal" / "crm.answer"
    until("the answer is in the journal", answer.exists)
    sidekey.expected_dead = True
    for pid in [sidekey.pid, *sidekey.children()]:
        os.kill(pid, signal.SIGKILL)
    sidekey.popen.wait()
    a.on_request = None
    redis.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    assert redis.field("crm", "gen") == "1"
    redis.ask("DEL", "{sidekey:crm}:lease", "{sidekey:crm}:intent")  # as a minute later
    for record in (answer, answer.with_suffix(".response")):  # what it was read from is kept as well, and would do
        if record.exists():
            damaged = bytearray(record.read_bytes())
            damaged[-20] ^= 1
            record.write_bytes(damaged)
    asked = len(a.asked)
    a.answer = {"expires_in": 3600}
    again = start(config, name="again")
    force(again)  # the stored access token may live: somebody wants another
    if rotates:
        until("a person is asked for", lambda: '"state":"reauth_required"' in again.get_admin("/status")[1].replace(" ", ""))
        assert len(a.asked) == asked and a.reuse == 0
        assert "is damaged" in again.get_admin("/status")[1]
        put(secret, a.mint())
        until("the new token is used", lambda: len(a.asked) == asked + 1)
    else:
        until("one careful try", lambda: len(a.asked) > asked or force(again), every=1.1)
    assert a.reuse == 0
