"""Several sidekeys on one store, tokens that live three seconds, and keepers that are killed, stopped and cut off: the authorization server's book judges.

CHAOS_SECONDS, CHAOS_SEED and CHAOS_STORE choose (file: one state directory; redis: six machines on one Redis that restarts; both, when it is not set);
`make chaos` runs it for longer.  What must hold (docs/refresh.md):
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
from redis_fixture import machines, redis_server  # noqa: F401 (fixtures)

SECONDS = float(os.environ.get("CHAOS_SECONDS", "18"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STORE = os.environ.get("CHAOS_STORE", "")
CASES = [(store, drops) for store in ("file", "redis") for drops in (False, True) if STORE == store or not STORE and (store, drops) != ("redis", False)]
SIDEKEYS = 6
CLIENTS = 2           # for each sidekey
TOKEN_SECONDS = 3
LEASE_SECONDS = 5     # the least that the config takes
WAIT_SECONDS = 5      # limits.token_wait: the deadline of a program
SLACK_SECONDS = 3     # two cores and twenty processes


class Book:
    """What was done, what programs saw."""

    def __init__(self):
        self.statuses, self.slowest, self.late, self.strange = {}, 0.0, [], []
        self.kills, self.stops, self.drops, self.minted, self.restarts = {}, [], 0, 0, 0

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
    """kill -9: the supervisor starts another one.  What the victim leaves in its journal is looked at while it stands still."""
    folders = {pathlib.Path(s.config["store"]["file"]) for s in sidekeys}
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.3, 3))
        with contextlib.suppress(AssertionError, OSError):
            pid = dice.choice(sidekeys).child("keeper")
            freeze(pid)
            book.kills[pid] = (time.time() * 1000, open_intent(folders, pid))
            os.kill(pid, signal.SIGKILL)


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


async def restarter(redis, book, dice, end):
    """Redis dies and comes back with what it had written (appendfsync always)."""
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(3, 8))
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(dice.uniform(0.05, 2))
        await asyncio.to_thread(redis.again)
        book.restarts += 1


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


async def storm(sidekeys, auth, book, dice, renew, drops, redis):
    end = time.monotonic() + SECONDS
    jobs = [program(s, book, end) for s in sidekeys for _ in range(CLIENTS)]
    jobs += [killer(sidekeys, book, dice, end), stopper(sidekeys, book, dice, end), meddler(auth, book, dice, end, drops), person(auth, book, renew, end)]
    if redis:
        jobs.append(restarter(redis, book, dice, end))
    await asyncio.gather(*jobs)


def freeze(pid):
    """SIGSTOP, and back when it stands: what it has on disk then is what it leaves behind."""
    os.kill(pid, signal.SIGSTOP)
    harness.until(f"{pid} stands", lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZX", every=0.0005)


def open_intent(folders, pid):
    """The process has said that it will spend a refresh token, and has not yet written what came of it."""
    for folder in folders:
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((folder / "journal" / "crm.intent").read_bytes().split(b"\n")[0].split(b" ")[6]) == pid:
                return True
    return False


def reuses(events, kills):
    """(excused, not excused): each refresh token that was spent again, and whether the answer to its first spending was lost on its way.

    Lost: the server could not deliver it whole; or who had asked was dead before; or was killed with the answer not yet in its journal."""
    asked = {e["n"]: e for e in events if e["what"] == "token_request"}
    last = {e.get("pid"): n for n, e in asked.items()}
    cut = {e["n"] for e in events if e["what"] == "unheard"}
    spent, excused, inexcusable = {}, [], []
    for event in events:
        if event["what"] == "grant.success" and event.get("spent"):
            spent[event["spent"]] = event
        elif event.get("detail") == "refresh token already used":
            first = spent[event["spent"]]
            pid = asked[first["n"]].get("pid")
            killed, intent = kills.get(pid, (None, False))
            lost = first["n"] in cut or pid is None or (killed and last[pid] == first["n"] and (intent or killed < first["at_ms"]))
            (excused if lost else inexcusable).append({"token": event["spent"], "first": {**asked[first["n"]], "answered_ms": first["at_ms"]},
                                                       "killed_ms": killed, "again": {**asked[event["n"]], "answered_ms": event["at_ms"]}})
    return excused, inexcusable


@pytest.fixture
def redis(request):
    """None where the store is a directory."""
    if request.getfixturevalue("store") == "file":
        return None
    return request.getfixturevalue("redis_server")("redis", "--appendonly", "yes", "--appendfsync", "always")


def store_of(place, redis, i):
    """One state directory for all; or each its own, as machines have, and one Redis."""
    folder = place / (f"state{i}" if redis else "state")
    folder.mkdir(mode=0o700, exist_ok=True)
    return {"file": str(folder), "lease": f"{LEASE_SECONDS}s", **({"redis": {"url": redis.url}} if redis else {})}


@pytest.fixture
def sidekeys(request, auth, place, make_config, redis):
    auth.access_ttl(TOKEN_SECONDS)
    auth.ask("/watch_askers", {"on": True})
    config = make_config()
    config["limits"] = {"drain": "3s", "token_wait": f"{WAIT_SECONDS}s"}
    running = []
    for i in range(SIDEKEYS):
        (place / f"ca{i}").mkdir(mode=0o755)
        own = {"ca": {"publish": str(place / f"ca{i}")}, "store": config["store"] | store_of(place, redis, i)}
        running.append(harness.Sidekey(place, config | own, name=f"sidekey{i}"))
    request.node.sidekey_processes += running
    yield [process.ready(30) for process in running]
    for process in running:
        process.stop()
    auth.ask("/watch_askers", {"on": False})


@pytest.mark.slow
@pytest.mark.parametrize(("store", "drops"), CASES, ids=[f"{store}: answers {'are lost' if drops else 'arrive'}" for store, drops in CASES])
def test_keepers_that_die_and_stop_spend_no_token_twice(sidekeys, auth, place, make_config, drops, store, redis):
    signal.alarm(int(SECONDS) + 120)
    book, dice = Book(), random.Random(SEED)
    first = len(auth.ask("/events"))

    def renew():
        fresh = pathlib.Path(place / "refresh-token.new")
        fresh.write_text(auth.mint()["refresh_token"])
        fresh.chmod(0o600)
        fresh.rename(place / "refresh-token")

    asyncio.run(storm(sidekeys, auth, book, dice, renew, drops, redis))
    auth.clear_faults()
    counts, events = auth.counts, auth.ask("/events")[first:]
    excused, inexcusable = reuses(events, book.kills)
    print(f"chaos: seed {SEED}, {SECONDS:.0f} s, store {store}: {len(book.kills)} kills, {len(book.stops)} stops, {book.restarts} restarts of the store, {counts['faults']} faults, "
          f"{counts['refreshes']} refreshes, {len(excused) + len(inexcusable)} reused ({len(excused)} with the answer lost), {counts['grants_revoked']} revoked, "
          f"{book.minted} grants given anew, statuses {book.statuses}, slowest {book.slowest:.2f} s")
    assert counts["refreshes"] > SECONDS / TOKEN_SECONDS / (9 if redis else 3), counts  # machines wait for each other's intents
    nobody = [e for e in events if e["what"] == "token_request" and not e.get("pid")]
    assert len(nobody) <= len(book.kills), f"{len(nobody)} token requests of nobody: the judge is blind"
    assert not inexcusable, f"seed {SEED}: refresh tokens redeemed twice though no answer was lost: {inexcusable}"
    assert counts["grants_revoked"] <= len(excused)
    assert book.statuses.get(200, 0) > 0, book.statuses
    assert 401 not in book.statuses or counts["grants_revoked"], book.statuses  # revoked: its access tokens are dead, and there are no others
    assert not book.late, f"seed {SEED}: late answers {book.late[:10]}"
    assert set(book.statuses) <= {200, 401, 502, 503, 504}, book.statuses
    assert not book.strange, book.strange[:5]


@pytest.mark.slow
def test_a_machine_that_stands_still_with_its_answer_in_the_socket_loses_nothing(redis_server, machines, auth):
    auth.access_ttl(5)
    auth.ask("/watch_askers", {"on": True})
    pair = machines(2, {"url": redis_server().url}, store={"lease": f"{LEASE_SECONDS}s"})
    auth.access_ttl(3600)
    auth.faults({"delay_ms": 700})
    asked = lambda: [e for e in auth.ask("/events") if e["what"] == "token_request"]
    first = len(asked())
    keeper = harness.until("one of them asks", lambda: asked()[first:])[0]["pid"]
    os.kill(keeper, signal.SIGSTOP)
    try:
        other = next(s for s in pair if s.child("keeper") != keeper)
        end = time.monotonic() + LEASE_SECONDS + 2
        while time.monotonic() < end:  # the lease runs out, the old token too, and the other one would like another
            other.request()
            time.sleep(0.1)
        assert len(asked()) == first + 1, "the other machine has spent the same refresh token"
    finally:
        os.kill(keeper, signal.SIGCONT)
        auth.ask("/watch_askers", {"on": False})
    for sidekey in pair:
        harness.until("it has the token", lambda s=sidekey: s.request()[0] == 200, 15, every=0.1)
    assert len(asked()) == first + 1
    auth.healthy()
