"""Several sidekeys on one store, tokens that live three seconds, and keepers that are killed, stopped and cut off: the authorization server's book judges.

CHAOS_SECONDS, CHAOS_SEED and CHAOS_STORE choose (file: one state directory; redis: six machines on one Redis that restarts; all: both, with answers that
arrive and answers that are lost; not set: all but redis with answers that arrive).  `make chaos` runs all of them, for longer.  What must hold (docs/refresh.md):
  - no refresh token is redeemed twice, and no grant revoked, unless an answer was lost on its way;
  - no program sees a 401 (unless the grant is gone), and every program is answered within its deadline;
  - by the API's own book: no token arrives after its end, none at the other account's host, no request more than twice.
"""
import asyncio
import base64
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import time

import harness
import pytest
from harness import AsyncClient
from redis_fixture import machines, redis_server  # noqa: F401 (fixtures)

SECONDS = float(os.environ.get("CHAOS_SECONDS", "18"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STORE = os.environ.get("CHAOS_STORE", "")
CASES = [(store, drops) for store in ("file", "redis") for drops in (False, True) if STORE in (store, "all") or not STORE and (store, drops) != ("redis", False)]
SIDEKEYS = 6
PROGRAMS = 40
PAUSE_SECONDS = 0.3   # between two requests of a program, about: two cores must carry it all
TOKEN_SECONDS = 3
LEASE_SECONDS = 5     # the least that the config takes
WAIT_SECONDS = 5      # limits.token_wait: the deadline of a program
SLACK_SECONDS = 25    # two slow cores and thirty processes; who is forgotten waits for ever
ACCOUNTS = {"crm": (harness.API, "sidekey-tests"), "erp": ("erp.sidekey.test", "sidekey-second")}  # credential, and subject of its tokens: host, client
CREDENTIAL_OF = {client: name for name, (_, client) in ACCOUNTS.items()}


class Book:
    """What was done, what programs saw."""

    def __init__(self, grants):
        self.statuses, self.refused, self.slowest, self.late, self.strange = {}, set(), 0.0, [], []
        self.stalled = 0.0  # seconds in which the programs did not run, on a machine that had no time for them
        self.kills, self.stops, self.drops, self.minted, self.restarts, self.grants = {}, [], 0, 0, 0, grants

    def saw(self, credential, status, seconds):
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.slowest = max(self.slowest, seconds)
        if status == 401:
            self.refused.add(credential)
        if seconds > WAIT_SECONDS + SLACK_SECONDS:
            self.late.append((status, round(seconds, 1)))


async def ticker(book, end):
    while time.monotonic() < end:
        began = time.monotonic()
        await asyncio.sleep(0.02)
        late = time.monotonic() - began - 0.02
        book.stalled += late if late > 0.05 else 0


async def program(sidekey, credential, name, book, dice, end):
    client = AsyncClient(sidekey, ACCOUNTS[credential][0])
    for i in itertools.count():
        if time.monotonic() >= end:
            break
        began, label = time.monotonic() - book.stalled, f"{name}-{i}"
        try:
            status, _, body = await client.request("GET", "/v2/echo", headers=[f"X-Request-Id: {label}"])
            book.saw(credential, status, time.monotonic() - book.stalled - began)
            if status == 200 and (found := json.loads(body))["headers"]["x-request-id"] != label:
                book.strange.append(f"{label} got the answer to {found['headers']['x-request-id']}")
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            client.close()
            book.strange.append(repr(error))
        await asyncio.sleep(PAUSE_SECONDS * dice.uniform(0.5, 1.5))
    client.close()


async def killer(sidekeys, book, dice, end):
    """kill -9: the supervisor starts another one.  What the victim leaves in its journal is looked at while it stands still."""
    folders = {pathlib.Path(s.config["store"]["file"]) for s in sidekeys}
    while time.monotonic() < end:
        await asyncio.sleep(dice.uniform(0.3, 3))
        with contextlib.suppress(AssertionError, OSError):
            pid = dice.choice(sidekeys).child("keeper")
            await freeze(pid)
            book.kills[pid] = (time.time() * 1000, open_intents(folders, pid))
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
    seen = 0
    while time.monotonic() < end:
        await asyncio.sleep(0.5)
        for grant in (await asyncio.to_thread(auth.ask, "/revoked"))[seen:]:
            seen += 1
            book.grants[await asyncio.to_thread(renew, book.grants[grant])] = book.grants[grant]
            book.minted += 1


async def storm(sidekeys, auth, book, dice, renew, drops, redis):
    end = time.monotonic() + SECONDS
    names = list(ACCOUNTS)
    jobs = [program(sidekeys[i % SIDEKEYS], names[i // SIDEKEYS % 2], f"p{i}", book, random.Random(SEED + i), end) for i in range(PROGRAMS)]
    jobs += [ticker(book, end), killer(sidekeys, book, dice, end), stopper(sidekeys, book, dice, end), meddler(auth, book, dice, end, drops), person(auth, book, renew, end)]
    if redis:
        jobs.append(restarter(redis, book, dice, end))
    await asyncio.gather(*jobs)


async def freeze(pid):
    """SIGSTOP, and back when it stands: what it has on disk then is what it leaves behind."""
    os.kill(pid, signal.SIGSTOP)
    while pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZX":
        await asyncio.sleep(0.0005)
        os.kill(pid, signal.SIGSTOP)  # the stopper may just have let it go on


def open_intents(folders, pid):
    """The credentials whose refresh token this process has said that it will spend, and has not yet written what came of it."""
    found = set()
    for folder, name in itertools.product(folders, ACCOUNTS):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int((folder / "journal" / f"{name}.intent").read_bytes().split(b"\n")[0].split(b" ")[6]) == pid:
                found.add(name)
    return found


def reuses(events, kills):
    """(excused, not excused): each refresh token that was spent again, and whether the answer to its first spending was lost on its way.

    Lost: the server could not deliver it whole, or it was never read; or who had asked was dead before; or was killed with the answer not yet in its journal."""
    asked = {e["n"]: e for e in events if e["what"] == "token_request"}
    last = {(e.get("pid"), e["client"]): n for n, e in asked.items()}
    cut = {e["n"] for e in events if e["what"] == "unheard"}
    spent = {event["spent"]: event for event in events[::-1] if event["what"] == "grant.success" and event.get("spent")}
    excused, inexcusable = [], []
    for event in events:
        if event.get("detail") == "refresh token already used":
            first = spent.get(event["spent"])
            if not first:  # the server itself broke off before it had anything to say
                excused.append({"token": event["spent"], "again": asked[event["n"]]})
                continue
            pid, client = asked[first["n"]].get("pid"), asked[first["n"]]["client"]
            killed, intents = kills.get(pid, (None, ()))
            unread = killed and last[pid, client] == first["n"] and (CREDENTIAL_OF[client] in intents or killed < first["at_ms"])
            lost = first["n"] in cut or pid is None or unread
            (excused if lost else inexcusable).append({"token": event["spent"], "first": {**asked[first["n"]], "answered_ms": first["at_ms"]},
                                                       "killed_ms": killed, "again": {**asked[event["n"]], "answered_ms": event["at_ms"]}})
    return excused, inexcusable


def refreshes(events):
    """How many there were of each credential."""
    client = {e["n"]: e["client"] for e in events if e["what"] == "token_request"}
    done = [CREDENTIAL_OF[client[e["n"]]] for e in events if e["what"] == "grant.success"]
    return {name: done.count(name) for name in ACCOUNTS}


def seconds_of(pid):
    """(its own, those of its children that have ended) of processor time."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, (int(fields[13]) + int(fields[14])) / ticks


def burden(sidekeys, auth, redis):
    """Seconds of processor time of each part, so far."""
    programs, ended = seconds_of(os.getpid())  # the only children of ours that end meanwhile are Redises
    parts = {"programs": programs, "judge": seconds_of(auth.pid)[0], "keepers": 0.0, "workers": 0.0}
    for sidekey in sidekeys:
        parts["keepers"] += sum(seconds_of(sidekey.pid))
        for pid, name in sidekey.children().items():
            with contextlib.suppress(OSError):
                parts["keepers" if "keeper" in name else "workers"] += seconds_of(pid)[0]
    return {**parts, **({"redis": ended + seconds_of(redis.pid)[0]} if redis else {})}


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
def renew(auth, place):
    """renew(credential): a new grant for its account, in the file that its configuration names; the grant."""
    def give(name):
        made = auth.mint(subject=name, client=ACCOUNTS[name][1])
        fresh = pathlib.Path(place / f"refresh-token-{name}.new")
        fresh.write_text(made["refresh_token"])
        fresh.chmod(0o600)
        fresh.rename(place / f"refresh-token-{name}")
        return made["grant"]
    return give


@pytest.fixture
def config(auth, make_config, place, renew):
    """Two credentials of two accounts, each for a host of its own.  config.grants: {grant: credential}."""
    made = make_config(limits={"drain": "3s", "token_wait": f"{WAIT_SECONDS}s"})
    model, rule = made["credentials"]["crm"], made["rules"][0]
    made["credentials"], made["rules"] = {}, []
    for name, (host, client) in ACCOUNTS.items():
        made["credentials"][name] = {**model, "client_id": client, "refresh_token": {"file": str(place / f"refresh-token-{name}")}}
        made["rules"].append({**rule, "match": {"host": host}, "credential": name})
        made["network"]["resolve"][f"{host}:443"] = f"127.0.0.1:{auth.api_port}"
    auth.ask("/expect", {host: name for name, (host, _) in ACCOUNTS.items()})
    return made


@pytest.fixture
def grants(config, renew):
    return {renew(name): name for name in ACCOUNTS}


@pytest.fixture
def sidekeys(request, auth, place, config, grants, redis):
    auth.access_ttl(TOKEN_SECONDS)
    auth.ask("/watch_askers", {"on": True})
    running = []
    for i in range(SIDEKEYS):
        (place / f"ca{i}").mkdir(mode=0o755)
        own = {"ca": {"publish": str(place / f"ca{i}")}, "store": config["store"] | store_of(place, redis, i)}
        running.append(harness.Sidekey(place, config | own, name=f"sidekey{i}"))
    request.node.sidekey_processes += running
    yield [process.ready() for process in running]
    for process in running:
        process.stop()
    auth.ask("/watch_askers", {"on": False})


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize(("store", "drops"), CASES, ids=[f"{store}: answers {'are lost' if drops else 'arrive'}" for store, drops in CASES])
def test_keepers_that_die_and_stop_spend_no_token_twice(sidekeys, auth, grants, renew, drops, store, redis):
    signal.alarm(int(SECONDS) + 300)
    book, dice = Book(grants), random.Random(SEED)
    before = burden(sidekeys, auth, redis)
    asyncio.run(storm(sidekeys, auth, book, dice, renew, drops, redis))
    after = burden(sidekeys, auth, redis)
    auth.clear_faults()
    counts, verdict, events, revoked = auth.counts, auth.ask("/verdict"), auth.ask("/events"), auth.ask("/revoked")
    excused, inexcusable = reuses(events, book.kills)
    late_tokens = verdict.pop("examples")
    each, shares = refreshes(events), {part: f"{(after[part] - before[part]) / SECONDS:.0%}" for part in after}
    print(f"chaos: seed {SEED}, {SECONDS:.0f} s, store {store}: {len(book.kills)} kills, {len(book.stops)} stops, {book.restarts} restarts of the store, {counts['faults']} faults, "
          f"refreshes {each}, {len(excused) + len(inexcusable)} reused ({len(excused)} with the answer lost), {len(revoked)} revoked, "
          f"{book.minted} grants given anew, statuses {book.statuses}, slowest {book.slowest:.2f} s, stalled {book.stalled:.1f} s, API {verdict}, CPU {shares}")
    assert not inexcusable, f"seed {SEED}: refresh tokens redeemed twice though no answer was lost: {inexcusable}"
    assert len(revoked) <= len(excused)
    assert book.refused <= {grants[grant] for grant in revoked}, book.statuses  # revoked: its access tokens are dead, and there are no others
    assert not book.late, f"seed {SEED}: late answers {book.late[:10]}"
    assert set(book.statuses) <= {200, 401, 502, 503, 504}, book.statuses
    assert not book.strange, book.strange[:5]
    assert (verdict["ended_more"], verdict["unknown"], verdict["strangers"], verdict["sent_more"]) == (0, 0, 0, 0), (verdict, late_tokens)
    judge_sees(book, events, verdict, each, 9 if redis else 3)  # machines wait for each other's intents


def judge_sees(book, events, verdict, each, patience):
    """A judge that is blind, or has little to look at, does not count."""
    assert min(each.values()) >= max(1, SECONDS / TOKEN_SECONDS / patience / 3), each  # a slow machine does a third
    nobody = [e for e in events if e["what"] == "token_request" and not e.get("pid")]
    assert len(nobody) <= max(len(book.kills), sum(e["what"] == "token_request" for e in events) / 2), f"{len(nobody)} token requests of nobody"
    assert book.statuses.get(200, 0) > PROGRAMS and verdict["requests"] >= book.statuses[200], (book.statuses, verdict)


def test_the_judge_of_chaos_sees_each_thing_that_must_not_be(auth, pki):
    auth.access_ttl(1)
    auth.ask("/expect", {harness.API: "crm"})
    token = auth.ask("/makeaccess", {})["token"]
    until = time.monotonic() + 1.5

    def send(label, bearer, host=harness.API):
        connection = http.client.HTTPSConnection("127.0.0.1", auth.api_port, context=ssl._create_unverified_context(), timeout=harness.PATIENCE_S)
        connection.request("GET", "/v2/echo", headers={"Host": host, "Authorization": f"Bearer {bearer}", "X-Request-Id": label})
        status = connection.getresponse().status
        connection.close()
        return status
    assert [send("once", token, "elsewhere.sidekey.test"), send("twice", "placeholder"), send("twice", token)] == [200, 401, 200]
    seen = auth.ask("/verdict")
    assert (seen["unknown"], seen["strangers"], seen["ended"], seen["sent_twice"], seen["sent_more"]) == (1, 1, 0, 1, 0), seen
    time.sleep(max(0, until - time.monotonic()))
    assert send("twice", token) == 401
    seen = auth.ask("/verdict")
    assert (seen["ended"], seen["ended_more"], seen["sent_twice"], seen["sent_more"], seen["requests"]) == (1, 1, 0, 1, 2), seen


@pytest.mark.parametrize("read", [False, True], ids=["it closes without reading", "it reads"])
def test_the_judge_of_chaos_hears_of_an_answer_that_nobody_has_read(auth, read):
    """A keeper gives up when its time is over; an answer that comes to its socket in that moment is lost, and the server has sent it all the same."""
    basic = base64.b64encode(f"{auth.client_id}:{auth.client_secret}".encode()).decode()
    form = f"grant_type=refresh_token&refresh_token={auth.mint()['refresh_token']}"
    host, port = harness.split_address(auth.token_url.split("/")[2])
    auth.ask("/watch_askers", {"on": True})
    with socket.create_connection((host, port), timeout=harness.PATIENCE_S) as sock:
        sock.sendall(f"POST /token HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic {basic}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                     f"Content-Length: {len(form)}\r\n\r\n{form}".encode())
        assert sock.recv(1, socket.MSG_PEEK) == b"H"
        if read:
            assert b"access_token" in harness.read_answer(sock)
    noted = lambda: [e["what"] for e in auth.ask("/events")].count("unheard")
    if read:
        assert auth.counts["refreshes"] == 1 and noted() == 0
    else:
        harness.until("the server has noted it", noted)
    auth.ask("/watch_askers", {"on": False})


@pytest.mark.slow
@pytest.mark.serial
def test_a_machine_that_stands_still_with_its_answer_in_the_socket_loses_nothing(redis_server, machines, auth):
    auth.access_ttl(5, then=3600)
    auth.faults({"delay_ms": 0}, {"delay_ms": 2500})  # the second one is under way when its keeper is stopped
    auth.ask("/watch_askers", {"on": True})
    pair = machines(2, {"url": redis_server().url}, store={"lease": f"{LEASE_SECONDS}s"}, limits={"token_wait": "500ms"})
    asked = lambda: [e for e in auth.ask("/events") if e["what"] == "token_request"]
    first = 1
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
        harness.until("it has the token", lambda s=sidekey: s.request()[0] == 200, every=0.1)
    assert len(asked()) == first + 1
    auth.healthy()
