"""Stores that say no, say nothing, or say something else: cached tokens are served until they end and never after, nothing is spent or lost, the log says
what is wrong and what to do about it, metrics move, and everything goes on by itself when the trouble is over."""
import contextlib
import copy
import ctypes
import json
import os
import re
import resource
import signal
import ssl
import time

import pytest
from harness import PATIENCE_S, Process, Sidekey, until
from redis_fixture import PASSWORD, machines, redis_server  # noqa: F401 (fixtures)

LIFE = 12
LIMITS = {"drain": "1s", "token_wait": "500ms"}
PATIENT = {**LIMITS, "token_wait": "40s"}  # where a refresh must come to its end within the request


def log(sidekey):
    return b"".join(sidekey.logs().values()).decode()


def wait_log(sidekey, *words, seconds=PATIENCE_S):
    until(f"{sidekey.name} logs {words}", lambda: all(w in log(sidekey) for w in words), seconds)


def metric(sidekey, name):
    """The sum of the series whose name and first labels are these."""
    return sum(float(line.rpartition(" ")[2]) for line in sidekey.get_admin("/metrics")[1].splitlines() if line.startswith(name))


def failures(sidekey):
    lines = sidekey.get_admin("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("sidekey_refreshes_total") and 'result="store"' in line)


def token_of(answer):
    return re.search(rb'"authorization":"([^"]+)"', answer[2])[1]


def serve_until_it_ends(sidekey, first, end):
    """Every answer is the cached token while that lives, and then 503 with Retry-After: no expired token ever reaches the API, which would answer 401."""
    served = 0
    while True:
        before = time.monotonic()
        status, headers, body = answer = sidekey.request()
        if status == 503:
            assert headers["retry-after"], headers.items()
            assert before > end - 5, "refused while the token lives"  # a refresh that fails comes when half of its life is over
            return served
        assert status == 200 and token_of(answer) == first, (status, body[:300])
        served += 1
        time.sleep(0.1)


def end_of_the_last_token(auth):
    """As the authorization server, which made it, counts: by this machine's monotonic clock."""
    made = [e["at_ms"] for e in auth.ask("/events") if e["what"] == "token_request"][-1] / 1000
    return time.monotonic() - (time.time() - made) + LIFE


class Trouble:
    """One sidekey with a token of LIFE seconds, which has just been stored as generation 1."""

    def __init__(self, sidekey, auth, gen):
        self.sidekey, self.auth, self.gen = sidekey, auth, gen
        self.token = token_of(until("a first token", lambda: (answer := sidekey.request())[0] == 200 and answer))
        self.end = end_of_the_last_token(auth)
        until("generation 1 is stored", lambda: gen() == "1")
        self.asked = auth.counts["token_requests"]

    def endures(self, *words, down=True):
        """Having been broken."""
        assert serve_until_it_ends(self.sidekey, self.token, self.end) > 3
        wait_log(self.sidekey, *words)
        until("a metric moves", lambda: failures(self.sidekey) > 0)
        if down:
            until("the store is told to be down", lambda: metric(self.sidekey, "sidekey_store_up") == 0)
            assert "[!]store" in self.sidekey.get_admin("/readyz")[1]
        assert self.auth.counts["token_requests"] == self.asked  # nothing is spent that could not be stored

    def recovers(self, seconds=PATIENCE_S):
        """Having been mended."""
        self.auth.access_ttl(3600)
        until("tokens come again", lambda: self.sidekey.request()[0] == 200, seconds)
        until("and are stored", lambda: self.gen() == "2")
        until("all is well", lambda: self.sidekey.get_admin("/readyz")[0] == 200, seconds)
        assert metric(self.sidekey, "sidekey_store_up") == 1
        assert self.auth.healthy()["refreshes"] == 2


# --- Redis: each breaks a server that runs, and returns what mends it ---

def kill_clients(talk):
    for kind in ("normal", "pubsub"):
        talk.ask("CLIENT", "KILL", "TYPE", kind)


def silence(redis):
    redis.popen.send_signal(signal.SIGSTOP)
    return lambda: redis.popen.send_signal(signal.SIGCONT)


def load_slowly(redis):
    """Starts again over a dump that takes 18 seconds to load."""
    with redis.connect() as talk:
        for i in range(64):
            talk.ask("SET", f"filler:{i}", os.urandom(1024).hex())
        assert talk.ask("SAVE") == "OK"
    redis.kill()
    argv = [*redis.argv, "--key-load-delay", 18_000_000 // 64, "--loading-process-events-interval-bytes", 1024]
    Process.__init__(redis, "redis-slow", argv, redis.dir)

    def loading():
        with contextlib.suppress(OSError):
            return redis.ask("PING").startswith("-LOADING")
    until("it loads", loading)
    return lambda: None


def change_password(redis):
    with redis.connect() as talk:
        talk.ask("CONFIG", "SET", "requirepass", PASSWORD)
        kill_clients(talk)
    redis.password = PASSWORD
    return lambda: (redis.make_config.write("redis-password", PASSWORD), None)


def by_command(broken, mended):
    def break_it(redis):
        assert redis.ask(*broken) == "OK"
        return lambda: redis.ask(*mended)
    return break_it


FAULTS = {
    "readonly": (by_command(["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]), ["READONLY", "store.redis.sentinel"]),
    "oom": (by_command(["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]), ["OOM", "raise its maxmemory"]),
    "noperm": (by_command(["ACL", "SETUSER", "default", "-eval", "-evalsha"], ["ACL", "SETUSER", "default", "+eval", "+evalsha"]),
               ["NOPERM", "the ACL in docs/configuration.md"]),
    "silent": (silence, ["in time"]),
    "loading": (load_slowly, ["LOADING", "wait until it has finished"]),
    "password": (change_password, ["NOAUTH", "store.redis.password"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_redis_in_trouble_costs_no_token_and_is_taken_back_when_it_is_well(redis_server, machines, auth, make_config, fault):
    break_it, words = FAULTS[fault]
    redis = redis_server()
    redis.make_config = make_config
    auth.access_ttl(LIFE)
    file = make_config.write("redis-password", "none-yet-0c1d") if fault == "password" else None
    sidekey = machines(1, {"url": redis.url, **({"password": file} if file and redis.ask("CONFIG", "SET", "requirepass", "none-yet-0c1d") else {})},
                       limits=LIMITS)[0]
    redis.password = "none-yet-0c1d" if file else None
    trouble = Trouble(sidekey, auth, lambda: redis.field("crm", "gen"))
    mend = break_it(redis)
    trouble.endures(*(["WRONGPASS"] if file else words[:1]), f"redis 127.0.0.1:{redis.port}", *words[1:])
    mend()
    trouble.recovers()
    assert PASSWORD not in log(sidekey) and "none-yet-0c1d" not in log(sidekey)


@pytest.mark.slow
def test_a_redis_whose_certificate_becomes_anothers_is_left_until_it_has_its_own_again(redis_server, machines, auth, pki):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    certificate = lambda name: ["--tls-cert-file", pki / f"{name}.pem", "--tls-key-file", pki / f"{name}.key"]
    redis = redis_server("redis", *certificate("good"), "--tls-ca-cert-file", pki / "ca.pem", "--tls-auth-clients", "no", tls=context)
    auth.access_ttl(LIFE)
    sidekey = machines(1, {"url": redis.url, "ca_file": str(pki / "ca.pem")}, limits=LIMITS)[0]
    talk = redis.connect()
    trouble = Trouble(sidekey, auth, lambda: talk.ask("HGET", "{sidekey:crm}:state", "gen"))

    def show(name):
        assert talk.ask("CONFIG", "SET", "tls-cert-file", pki / f"{name}.pem", "tls-key-file", pki / f"{name}.key") == "OK"
        kill_clients(talk)
    show("wrong")
    trouble.endures("TLS", f"redis 127.0.0.1:{redis.port}", "check the host in store.redis.url and store.redis.ca_file")
    show("good")
    trouble.recovers()


@pytest.mark.slow
def test_a_state_in_redis_that_another_key_sealed_is_neither_used_nor_overwritten(redis_server, machines, auth, make_config, start, place):
    redis, elsewhere = redis_server(), redis_server("elsewhere")
    stranger = machines(1, {"url": elsewhere.url}, {"seal_key": make_config.write("seal2", "c0ffee0123456789" * 3 + "0f1e2d3c4b5a6978")})[0]
    assert stranger.request()[0] == 200
    until("it is stored", lambda: elsewhere.field("crm", "gen") == "1")
    stranger.stop()
    auth.reset()
    auth.access_ttl(LIFE)
    config = copy.deepcopy(stranger.config)
    minted = auth.mint()
    config["store"].update(redis={"url": redis.url}, file=str(place / "state"), seal_key=make_config.write("seal", "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28"))
    config["credentials"]["crm"]["refresh_token"] = make_config.write("refresh-token", minted["refresh_token"])
    config["limits"] = LIMITS
    sidekey = start(config, name="ours")
    trouble = Trouble(sidekey, auth, lambda: redis.field("crm", "gen"))
    elsewhere.ask("HSET", "{sidekey:crm}:state", "gen", "9")
    assert elsewhere.ask("MIGRATE", "127.0.0.1", redis.port, "{sidekey:crm}:state", 0, 5000, "COPY", "REPLACE") == "OK"
    trouble.endures("the state of \\\"crm\\\" in Redis was sealed with another key", "store.seal_key_previous", down=False)
    assert redis.field("crm", "gen") == "9"
    redis.ask("DEL", "{sidekey:crm}:state")  # what it knew itself is given back
    trouble.recovers()


# --- the state directory ---

def truncate(state):
    state.write_bytes(state.read_bytes()[:100])


def foreign(state):
    """Another credential's state, sealed with the right key."""
    state.write_bytes((state.parent / "other.state").read_bytes())


def no_file(state):
    state.unlink()
    state.mkdir()


BROKEN_FILES = {"truncated": (truncate, "truncated, changed, or the file of another credential"), "foreign": (foreign, "the file of another credential"),
                "directory": (no_file, "not a regular file"), "garbage": (lambda state: state.write_bytes(b"\0" * 512), "its first line is not sidekey's")}


def with_another_credential(auth, make_config, **changes):
    config = make_config(**changes)
    config["credentials"]["other"] = {**config["credentials"]["crm"], "refresh_token": make_config.write("refresh-token-2", auth.mint()["refresh_token"])}
    next(r for r in config["rules"] if r["match"]["host"] == "git.sidekey.test")["credential"] = "other"
    return config


def generation(state):
    with contextlib.suppress(OSError):
        return state.read_bytes().split(b"\n")[0].decode("utf-8", "replace").split(" ")[-1]


def ends_with(place, config, status, *words):
    process = Sidekey(place, config, name="fails")
    assert process.popen.wait(PATIENCE_S) == status
    for word in words:
        assert word in log(process), (word, log(process))


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN_FILES)
def test_a_broken_state_file_is_named_kept_and_taken_again_when_a_good_copy_is_put_back(start, auth, make_config, place, fault):
    break_it, why = BROKEN_FILES[fault]
    state = place / "state" / "crm.state"
    config = with_another_credential(auth, make_config, limits=LIMITS)
    sidekey = start(config)
    until("both are stored", lambda: generation(state.parent / "other.state") == "1" and generation(state) == "1")
    auth.access_ttl(LIFE)
    sidekey.get_admin("/refresh/crm", "POST")
    until("generation 2 is stored", lambda: generation(state) == "2")
    end = end_of_the_last_token(auth)
    good, token, asked = state.read_bytes(), token_of(sidekey.request()), auth.counts["token_requests"]
    break_it(state)
    assert serve_until_it_ends(sidekey, token, end) > 3
    wait_log(sidekey, str(state), why, "restore a good copy, or move it away and sign in again")
    until("a metric moves", lambda: failures(sidekey) > 0 and metric(sidekey, "sidekey_store_up") == 0)
    assert auth.counts["token_requests"] == asked
    if fault != "directory":
        broken = state.read_bytes()
    sidekey.stop()
    ends_with(place, config, 78, str(state), why, "restore a good copy")
    if fault == "directory":
        state.rmdir()
    else:
        assert state.read_bytes() == broken  # nobody has touched it
    state.write_bytes(good)
    auth.access_ttl(3600)
    again = start(config, name="again")
    until("tokens come again", lambda: again.request()[0] == 200)
    until("and are stored", lambda: generation(state) == "3")
    assert metric(again, "sidekey_store_up") == 1
    auth.healthy()


@pytest.mark.slow
def test_a_state_file_that_is_put_back_is_taken_without_a_restart(start, auth, make_config, place):
    state = place / "state" / "crm.state"
    auth.access_ttl(LIFE)
    trouble = Trouble(start(make_config(limits=LIMITS)), auth, lambda: generation(state))
    good = state.read_bytes()
    truncate(state)
    trouble.endures(str(state), "restore a good copy")
    state.write_bytes(good)
    trouble.recovers()


def test_a_state_directory_of_another_user_ends_the_start_and_says_whose_it_is(auth, make_config, place):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    config = make_config()
    os.chown(place / "state", 65534, 65534)
    ends_with(place, config, 77, str(place / "state"), "belongs to user id 65534, but this is user id 0", "chown 0")
    assert auth.counts["token_requests"] == 0


# --- a full disk ---

@contextlib.contextmanager
def files_of_at_most(sidekey, size):
    """The keeper's files cannot grow beyond that: what a full disk is, but for the error's number, and it needs no rights.  Its log is such a file."""
    pid = sidekey.child("keeper")
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.slow
def test_without_room_for_the_journal_no_refresh_token_is_spent(start, auth, make_config, place):
    state = place / "state" / "crm.state"
    auth.access_ttl(LIFE)
    sidekey = start(make_config(limits=LIMITS))
    trouble = Trouble(sidekey, auth, lambda: generation(state))
    with files_of_at_most(sidekey, 90):  # a lease fits, an intent does not
        trouble.endures(down=False)
        assert "cannot write the journal: the refresh token is not sent" in sidekey.get_admin("/status")[1]
        assert metric(sidekey, 'sidekey_refresh_events_total{credential="crm",event="journal_failed"') > 0
    trouble.recovers()


@pytest.mark.slow
def test_an_answer_that_no_disk_takes_is_served_and_stored_when_there_is_room_again(start, auth, make_config, place):
    state = place / "state" / "crm.state"
    config = make_config(limits=PATIENT)
    config["credentials"]["crm"]["forced_refresh_floor"] = "1s"
    sidekey = start(config)
    until("generation 1 is stored", lambda: generation(state) == "1")
    with files_of_at_most(sidekey, 400):  # an intent fits, a state does not
        auth.revoke_access()
        assert sidekey.request()[0] == 200
        until("a metric moves", lambda: metric(sidekey, "sidekey_store_up") == 0)
        until("another one", lambda: metric(sidekey, 'sidekey_refresh_events_total{credential="crm",event="persist_failed"') > 0)
        assert metric(sidekey, 'sidekey_refresh_events_total{credential="crm",event="journal_failed"') >= 1  # the answer, and the response that it came in
        status, ready = sidekey.get_admin("/readyz?verbose")
        assert status == 200 and "[!]store degraded: " in ready and "[!]journal degraded: File too large" in ready
        assert json.loads(sidekey.get_admin("/status")[1])["degraded"]["journal"] == "File too large"
        assert metric(sidekey, 'sidekey_degraded{part="journal"') == 1 and metric(sidekey, 'sidekey_degraded{part="ca_volume"') == 0
        for _ in range(5):
            assert sidekey.request()[0] == 200
        assert generation(state) == "1"
    until("it is stored", lambda: generation(state) == "2")
    until("all is well", lambda: "[!]" not in sidekey.get_admin("/readyz")[1])
    assert not list((place / "state").rglob("*.tmp"))
    auth.revoke_access()
    until("the next one is made as ever", lambda: sidekey.request()[0] == 200)
    assert auth.healthy()["refreshes"] == 3


@pytest.fixture
def tmpfs():
    """tmpfs(path): a file system of 64 KiB there; skips without the right to mount."""
    mounted, libc = [], ctypes.CDLL(None, use_errno=True)

    def mount(path):
        path.mkdir(mode=0o700, exist_ok=True)
        if libc.mount(b"sidekey-test", bytes(path), b"tmpfs", 0, b"size=64k,mode=0700") != 0:
            pytest.skip(f"no right to mount a tmpfs: {os.strerror(ctypes.get_errno())}")
        mounted.append(path)
    yield mount
    for path in reversed(mounted):
        libc.umount2(bytes(path), 2)


def fill(filler, spare=0):
    with open(filler, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        file.truncate(file.tell() - spare)


@pytest.mark.slow
def test_a_full_journal_is_named_with_its_place_and_the_way_out(start, auth, make_config, place, tmpfs):
    config = make_config(limits=LIMITS)
    journal, state = place / "state" / "journal", place / "state" / "crm.state"
    tmpfs(journal)
    auth.access_ttl(LIFE)
    trouble = Trouble(start(config), auth, lambda: generation(state))
    fill(journal / "filler")
    trouble.endures("cannot write the journal", f"the refresh token is not sent: cannot write to {journal}: No space left on device: free space there", down=False)
    (journal / "filler").unlink()
    trouble.recovers()


@pytest.mark.slow
def test_an_answer_that_only_the_journal_has_room_for_survives_the_keeper(start, auth, make_config, place, tmpfs):
    config = make_config(limits=PATIENT)
    tmpfs(place / "state")
    tmpfs(place / "state" / "journal")
    state, filler = place / "state" / "crm.state", place / "state" / "filler"
    sidekey = start(config)
    until("generation 1 is stored", lambda: generation(state) == "1")
    fill(filler, spare=4096)  # the lease needs a page
    auth.revoke_access()
    assert sidekey.request()[0] == 200
    wait_log(sidekey, "persist failed", f"cannot write {state}", "No space left on device")
    assert list((place / "state" / "journal").glob("*.answer"))
    until("a metric moves", lambda: metric(sidekey, "sidekey_store_up") == 0)
    asked = auth.counts["token_requests"]
    sidekey.kill_child("keeper")
    until("the new keeper serves the journalled token", lambda: sidekey.request()[0] == 200)
    assert generation(state) == "1" and auth.counts["token_requests"] == asked
    filler.unlink()
    until("it is stored", lambda: generation(state) == "2")
    until("the journal has done its part", lambda: not list((place / "state" / "journal").glob("*.answer")))
    until("all is well", lambda: "[!]" not in sidekey.get_admin("/readyz")[1])
    auth.revoke_access()
    assert sidekey.request()[0] == 200
    assert auth.healthy()["refreshes"] == 3
