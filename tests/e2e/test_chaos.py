"""Several sidekeys on one store, tokens that live three seconds, and keepers that are killed, stopped and cut off: the authorization server's book judges.

CHAOS_SECONDS, CHAOS_SEED and CHAOS_STORE (file) choose; `make chaos` runs it for longer.  What must hold (docs/refresh.md):
  - no refresh token is redeemed twice, and no grant revoked, unless an answer was lost on its way;
  - no program sees a 401 (unless the grant is gone), and every program is answered within its deadline.
"""
import asyncio
import contextlib
import os
import pathlib
import random
import signal
import time

import harness
import pytest
from harness import AsyncClient

SECONDS = float(os.environ.get("CHAOS_SECONDS", "18"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STORE = os.environ.get("CHAOS_STORE", "file")
SIDEKEYS = 6
CLIENTS = 2           # for each sidekey
TOKEN_SECONDS = 3
LEASE_SECONDS = 5     # the least that the config takes
WAIT_SECONDS = 5      # limits.token_wait: the deadline of a program
SLACK_SECONDS = 3     # two cores and twenty processes
UNHEARD_MS = 1000     # between the server's answer and the keeper's fsync, with room


class Book:
    """What was done, what programs saw."""

    def __init__(self):
        self.statuses, self.slowest, self.late, self.strange = {}, 0.0, [], []
        self.kills, self.stops, self.drops, self.minted = [], [], 0, 0

    def saw(self, status, seconds):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.slowest = max(self.slowest, seconds)
        if seconds > WAIT_SECONDS + SLACK_SECONDS:
            self.late.append((status, round(seconds, 1)))


async def program(sidekey, book, end):
    client = AsyncClient(sidekey)
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            status, _, _ = await client.request("GET", "/v2/echo")
            book.saw(status, time.monotonic() - began)
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            client.close()
            book.strange.append(repr(error))
        await asyncio.sleep(0.05)
    client.close()


async def killer(sidekeys, book, dice, end):
    """kill -9: the supervisor starts another one."""
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.3, 3))
        with contextlib.suppress(AssertionError, ProcessLookupError):
            os.kill(dice.choice(sidekeys).child("keeper"), signal.SIGKILL)
            book.kills.append(time.time() * 1000)


async def stopper(sidekeys, book, dice, end):
    """SIGSTOP, now and then for longer than the lease; whoever is killed meanwhile does not go on."""
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.5, 3))
        with contextlib.suppress(AssertionError, ProcessLookupError):
            pid = dice.choice(sidekeys).child("keeper")
            os.kill(pid, signal.SIGSTOP)
            book.stops.append(time.time() * 1000)
            try:
                await asyncio.sleep(dice.choice([dice.uniform(0.01, 1), LEASE_SECONDS + dice.uniform(0.5, 2)]))
            finally:
                os.kill(pid, signal.SIGCONT)


async def meddler(auth, book, dice, end, drops):
    """Delays, refusals and (where they may be) answers that are lost."""
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.2, 1.5))
        faults = [{"delay_ms": dice.randrange(50, 2000)}, {"kind": "status", "status": 503}, {"kind": "refuse"}, {"kind": "html", "status": 403}]
        if drops and dice.random() < 0.05:
            faults = [{"kind": "drop"}, {"kind": "half"}]
            book.drops += 1
        await asyncio.to_thread(auth.faults, dice.choice(faults))


async def person(auth, book, renew, end):
    """A grant that was revoked (because an answer was lost) is given anew, as a person would."""
    known = 0
    while time.monotonic() < end:
        await asyncio.sleep(0.5)
        revoked = (await asyncio.to_thread(lambda: auth.counts))["grants_revoked"]
        if revoked > known:
            known = revoked
            await asyncio.to_thread(renew)
            book.minted += 1


async def storm(sidekeys, auth, book, dice, renew, drops):
    end = time.monotonic() + SECONDS
    jobs = [program(s, book, end) for s in sidekeys for _ in range(CLIENTS)]
    jobs += [killer(sidekeys, book, dice, end), stopper(sidekeys, book, dice, end), meddler(auth, book, dice, end, drops), person(auth, book, renew, end)]
    await asyncio.gather(*jobs)


def unheard(events, kills):
    """Moments at which an answer that had rotated a token was (maybe) lost: who should have had it was killed, or the way was cut."""
    asked, moments = [], []
    for event in events:
        if event["what"] == "token_request":
            asked.append(event["at_ms"])
        elif event["what"] == "unheard" or event.get("kind") in ("drop", "half"):
            moments.append(event["at_ms"])
        elif event.get("kind") in ("status", "refuse", "html") or event["what"] == "grant.error":
            del asked[:1]
        elif event["what"] == "grant.success":
            began = asked.pop(0) if asked else event["at_ms"]
            if any(began <= k <= event["at_ms"] + UNHEARD_MS for k in kills):
                moments.append(event["at_ms"])
    return moments


def store_of(place, request):
    """The `store` of the config; another engine is another branch here."""
    if STORE != "file":
        pytest.skip(f"no such store here: {STORE}")
    return {"file": str(place / "state"), "lease": f"{LEASE_SECONDS}s"}


@pytest.fixture
def sidekeys(request, auth, place, make_config):
    auth.access_ttl(TOKEN_SECONDS)
    config = make_config(store=store_of(place, request) | {"seal_key": make_config.write("seal", "5ea1" * 16)})
    config["limits"] = {"drain": "3s", "token_wait": f"{WAIT_SECONDS}s"}
    running = []
    for i in range(SIDEKEYS):
        (place / f"ca{i}").mkdir(mode=0o755)
        running.append(harness.Sidekey(place, config | {"ca": {"publish": str(place / f"ca{i}")}}, name=f"sidekey{i}"))
    request.node.sidekey_processes += running
    yield [process.ready(30) for process in running]
    for process in running:
        process.stop()


@pytest.mark.slow
@pytest.mark.parametrize("drops", [False, True], ids=["answers arrive", "answers are lost"])
def test_keepers_that_die_and_stop_spend_no_token_twice(sidekeys, auth, place, make_config, drops):
    signal.alarm(int(SECONDS) + 120)
    book, dice = Book(), random.Random(SEED)
    first = len(auth.ask("/events"))

    def renew():
        fresh = pathlib.Path(place / "refresh-token.new")
        fresh.write_text(auth.mint()["refresh_token"])
        fresh.chmod(0o600)
        fresh.rename(place / "refresh-token")

    asyncio.run(storm(sidekeys, auth, book, dice, renew, drops))
    auth.clear_faults()
    counts, events = auth.counts, auth.ask("/events")[first:]
    lost = unheard(events, book.kills)
    reused = [e["at_ms"] for e in events if e.get("detail") == "refresh token already used"]
    unexcused = [t for t in reused if not any(t - 120_000 < moment <= t for moment in lost)]
    print(f"chaos: seed {SEED}, {SECONDS:.0f} s, store {STORE}: {len(book.kills)} kills, {len(book.stops)} stops, {counts['faults']} faults, "
          f"{counts['refreshes']} refreshes, {len(lost)} answers maybe lost, {len(reused)} reused, {counts['grants_revoked']} revoked, "
          f"{book.minted} grants given anew, statuses {book.statuses}, slowest {book.slowest:.2f} s")
    assert counts["refreshes"] > SECONDS / TOKEN_SECONDS / 3, counts
    assert not unexcused, f"seed {SEED}: {len(unexcused)} refresh tokens redeemed twice though no answer was lost"
    assert counts["grants_revoked"] <= len(reused)
    assert book.statuses.get(200, 0) > 0, book.statuses
    assert 401 not in book.statuses or counts["grants_revoked"], book.statuses  # revoked: its access tokens are dead, and there are no others
    assert not book.late, f"seed {SEED}: late answers {book.late[:10]}"
    assert set(book.statuses) <= {200, 401, 502, 503, 504}, book.statuses
    assert not book.strange, book.strange[:5]
