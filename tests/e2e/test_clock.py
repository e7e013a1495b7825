"""The clock on the wall jumps under the real program (libfaketime; the monotonic clocks stay true): tokens are refreshed when it is time, and sent while they live.

Only sidekey runs under it.  The authorization server, the API (which judges each token by its own clock) and the programs have the true one."""
import glob
import re
import time

import harness
import pytest
from idp import TlsFront

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
HOUR, DAY = 3600, 86400
TTL = 4               # of the access tokens, in seconds; the advisory window is half of it at most, less up to a tenth (docs/refresh.md)
DUE = (TTL / 2, TTL / 2 * 1.1)
SLACK = 1.0           # a refresh on two busy cores; what this machine needed more is measured

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(harness.SANITIZED, reason="a sanitizer must be the first library; libfaketime would stand before it"),
    pytest.mark.skipif(not LIBRARY, reason="libfaketime is not installed (Debian: apt-get install faketime)"),
]


class Wall:
    """The wall clock of the processes that are started with `env`: true, until it jumps."""

    def __init__(self, place):
        self.file = place / "wall"
        self.jump(0)
        self.env = {"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, seconds):
        """So far from the true time from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.file)


@pytest.fixture
def wall(place):
    return Wall(place)


@pytest.fixture
def front(auth, pki):
    """The token endpoint by https: a Date in plain http is not believed."""
    front = TlsFront(pki, int(auth.token_url.split(":")[2].split("/")[0]))
    yield front
    front.close()


@pytest.fixture
def make_config(make_config, auth, pki, front):
    def make(*args, **kw):
        config = make_config(*args, **kw)
        config["credentials"]["crm"] |= {"token_url": front.url(auth.token_url), "tls": {"ca_file": str(pki / "ca.pem")}}
        return config
    make.write = make_config.write
    return make


@pytest.fixture
def tokens(auth):
    auth.access_ttl(TTL)
    return auth


def asked(auth):
    """When each token request came, in seconds."""
    return [e["at_ms"] / 1000 for e in auth.ask("/events") if e["what"] == "token_request"]


def steady(sidekey, seconds):
    """A program that asks ten times a second, and is served each time; notes how long the machine let it wait."""
    end, sidekey.waited = time.monotonic() + seconds, getattr(sidekey, "waited", 0.0)
    while time.monotonic() < end:
        began = time.monotonic()
        status, _, body = sidekey.request()
        assert status == 200, (status, body[:300])
        time.sleep(0.1)
        sidekey.waited = max(sidekey.waited, time.monotonic() - began - 0.1)


def slowest(sidekeys):
    """(seconds of the longest token request, as its keeper says; seconds of the longest wait of a program)"""
    took = [int(ms) for sidekey in sidekeys for ms in re.findall(r'"msg":"refreshed".*"dur_ms":(\d+)', sidekey.out.read_text())]
    return max(took, default=0) / 1000, max(sidekey.waited for sidekey in sidekeys)


def judge(auth):
    """Whatever the clocks did: no token came to the API after its end, none twice to the token endpoint."""
    verdict, counts = auth.ask("/verdict"), auth.healthy()
    assert (verdict["ended"], verdict["unknown"], counts["api_unauthorized"]) == (0, 0, 0), (verdict, counts)


def in_time(times, *sidekeys, early=0.1):
    """Each refresh came when the life of the token before it was half over, by the true clock.  The life begins when a keeper sends its request, which the
    server notes when it reads it."""
    took, waited = slowest(sidekeys)
    gaps = [round(b - a, 2) for a, b in zip(times, times[1:])]
    assert gaps and all(DUE[0] - early - took <= gap <= DUE[1] + SLACK + took + 2 * waited for gap in gaps), (gaps, took, waited)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 2 * DAY], ids=["an hour ahead", "an hour back", "two days ahead"])
def test_a_jump_and_the_way_back_change_nothing(tokens, wall, start, seconds):
    sidekey = start(env=wall.env)
    steady(sidekey, 0.3)
    wall.jump(seconds)
    steady(sidekey, TTL * 0.75)  # the token of before, then one that came meanwhile
    harness.until("the next token", lambda: len(asked(tokens)) >= 2)
    wall.jump(0)
    steady(sidekey, TTL * 0.75)
    in_time(asked(tokens), sidekey)
    judge(tokens)
    hours = {line[7:20] for line in sidekey.out.read_text().splitlines() if line.startswith('{"ts":"')}
    assert len(hours) > 1, hours  # by the log, that clock did jump


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, 2 * DAY], ids=["an hour ahead", "an hour back", "two days ahead"])
def test_what_a_wrong_clock_has_stored_serves_a_keeper_with_the_true_one(tokens, make_config, wall, start, seconds):
    config = make_config()
    first = start(config, env=wall.env)
    steady(first, 0.3)
    wall.jump(seconds)
    assert first.get_admin("/refresh/crm", "POST")[0] in (200, 202)
    harness.until("a token of that clock's", lambda: len(asked(tokens)) >= 2)
    steady(first, 0.3)
    assert first.stop() == 0
    second = start(config)
    steady(second, 0.5)
    began, *others = asked(tokens)[1:]
    assert all(at - began >= DUE[0] - 1.1 - slowest([first, second])[0] for at in others), "the stored token would have served"
    steady(second, TTL)
    in_time(asked(tokens)[1:], first, second, early=1.1)  # the server's Date, by which the wrong clock was corrected, has whole seconds
    judge(tokens)


def test_a_keeper_that_starts_with_its_clock_behind_sends_no_token_that_has_ended(auth, make_config, wall, start):
    auth.access_ttl(2)
    config = make_config()
    first = start(config, env=wall.env)
    steady(first, 0.3)
    assert first.stop() == 0
    before = len(asked(auth))
    time.sleep(2.5)
    wall.jump(-HOUR)
    began = time.monotonic()
    steady(start(config, env=wall.env), 0.5)
    assert 1 <= len(asked(auth)) - before <= 1 + int(time.monotonic() - began)  # each lives for two seconds
    judge(auth)


def test_a_keeper_that_is_killed_under_a_wrong_clock_asks_once_more_at_most(tokens, wall, start):
    sidekey = start(env=wall.env)
    steady(sidekey, 0.3)
    for seconds in (HOUR, -HOUR, 2 * DAY, 0):
        wall.jump(seconds)
        before, began = len(asked(tokens)), time.monotonic()
        sidekey.kill_child("keeper")
        steady(sidekey, 1)
        assert len(asked(tokens)) <= before + 1 + int((time.monotonic() - began) / 1.8)
    judge(tokens)


def test_assertions_are_signed_with_the_servers_time(auth, front, pki, make_config, wall, start):
    key = auth.ask("/keys")["ec"]
    config = make_config()
    config["credentials"] = {"crm": {
        "grant": "jwt_bearer", "token_url": front.url(auth.token_url), "client_id": "sidekey-bearer", "required": True, "forced_refresh_floor": "1s",
        "assertion": {"key": make_config.write("key", key), "lifetime": "5m", "subject": "someone", "audience": auth.token_url},
        "tls": {"ca_file": str(pki / "ca.pem")},
    }}
    sidekey = start(config, env=wall.env)
    steady(sidekey, 0.2)
    assert len(asked(auth)) == 1
    for seconds in (HOUR, -HOUR, 2 * DAY, 0):
        wall.jump(seconds)
        before = len(asked(auth))
        time.sleep(1.05)  # the floor
        auth.revoke_access()
        status, _, body = sidekey.request()
        assert status == 200, (seconds, status, body[:300])
        assert before < len(asked(auth)) <= before + 2
    claims = [e for e in auth.ask("/events") if e["what"] == "assertion"]
    assert len(claims) == 5 and all(abs(e["claims"]["iat"] - e["at_ms"] / 1000) < 90 for e in claims), claims
