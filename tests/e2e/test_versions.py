"""Release 46df1c4 and this build side by side and in turn: no spent token is sent again, and what the old one does not know outlives it."""
import contextlib
import fcntl
import http.client
import os
import subprocess
import threading
import time

import harness
import pytest
from harness import until
from idp import Idp
from redis_fixture import redis_server  # noqa: F401 (fixture)

pytestmark = [pytest.mark.world, pytest.mark.slow]

RELEASE = "46df1c4"


@pytest.fixture(scope="module")
def old():
    """The old program, built from the history."""
    folder = harness.ROOT / "build" / "old"
    folder.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "BUILD", "SAN", "OPT", "CC")}
    if subprocess.run(["git", "cat-file", "-e", f"{RELEASE}^{{commit}}"], cwd=harness.ROOT, capture_output=True, check=False).returncode:
        pytest.skip(f"the history here has no {RELEASE}")
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "build" / "sidekey").exists():
            archive = subprocess.run(["git", "archive", RELEASE], cwd=harness.ROOT, capture_output=True, check=True, timeout=60)
            subprocess.run(["tar", "x"], cwd=folder, input=archive.stdout, check=True, timeout=60)
            done = subprocess.run(["make", "-j2", "build/sidekey"], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=900)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build" / "sidekey"


@pytest.fixture
def idps(pki):
    with contextlib.ExitStack() as stack:
        def make(name="a"):
            made = stack.enter_context(Idp(pki, name))
            stack.callback(made.shutdown)
            return made
        yield make


@pytest.fixture
def begin(request, place, old):
    """begin("old" or "new", config, name): a running one."""
    running = []

    def make(version, config, name=None):
        before = ["sh", "-c", f'shift; exec {old} "$@"', "sh"] if version == "old" else []
        process = harness.Sidekey(place, config, name=name or f"{version}{len(running)}", before=before)
        running.append(process)
        request.node.sidekey_processes.append(process)
        process.ready(60)
        return process
    yield make
    for process in running:
        assert getattr(process, "expected_dead", False) or process.stop() == 0, process.name


@pytest.fixture
def configured(make_config, pki, place):
    def make(idp, seed, name="one", **store):
        config = make_config()
        for folder, mode in ((f"state-{name}", 0o700), (f"ca-{name}", 0o755)):
            (place / folder).mkdir(mode=mode, exist_ok=True)
        config["store"] |= {"file": str(place / f"state-{name}"), **store}
        config["ca"]["publish"] = str(place / f"ca-{name}")
        config["credentials"]["crm"] = {"grant": "refresh_token", "token_url": idp.url(), "client_id": "me", "client_auth": "none", "required": True,
                                        "forced_refresh_floor": "1s", "refresh_token": make_config.write("seed", seed),
                                        "tls": {"ca_file": str(pki / "ca.pem")}}
        return config
    return make


def ready(sidekey):
    until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    return sidekey


def post(sidekey):
    with contextlib.suppress(OSError, http.client.HTTPException):
        sidekey.get_admin("/refresh/crm", "POST")


def refresh(sidekey, idp):
    before = len(idp.asked)
    until("a forced refresh is sent", lambda: post(sidekey) or len(idp.asked) > before, every=0.5)


def turn(begin, version, config, idp):
    """Runs that version, with one refresh, and ends it."""
    sidekey = ready(begin(version, config))
    refresh(sidekey, idp)
    time.sleep(0.5)
    assert sidekey.stop() == 0


def clean(idp):
    sent = [token for _, token, _ in idp.asked]
    assert idp.reuse == 0 and len(sent) == len(set(sent)), sent


def test_two_replicas_of_two_versions_on_one_redis_spend_no_token_twice(begin, configured, idps, redis_server):
    idp, redis = idps(), redis_server()
    idp.answer = {"expires_in": 4}
    seed = idp.mint()
    pair = [begin(version, configured(idp, seed, version, redis={"url": redis.url}), version) for version in ("old", "new")]
    until("they have refreshed eight times", lambda: len(idp.asked) >= 8, 120)
    for sidekey in pair:
        ready(sidekey)
    clean(idp)


def test_an_old_state_in_redis_is_put_right_beside_an_old_version(begin, configured, idps, redis_server):
    """The old one goes on where this one is; what this one keeps on disk is no hindrance when it comes back."""
    idp, redis = idps(), redis_server()
    seed = idp.mint()
    for version in ("new", "old", "new", "old", "new"):
        turn(begin, version, configured(idp, seed, redis={"url": redis.url}), idp)
    redis.ask("FLUSHALL")
    turn(begin, "new", configured(idp, seed, redis={"url": redis.url}), idp)
    clean(idp)


@pytest.mark.parametrize("order", [["old", "new", "old", "new"], ["new", "old", "new", "old"]], ids=" ".join)
def test_up_and_down_on_one_state_directory_spend_no_token_twice(begin, configured, idps, place, order):
    idp = idps()
    config = configured(idp, idp.mint())
    authorities = set()
    for version in order:
        turn(begin, version, config, idp)
        if version == "new":
            authorities.add((place / "ca-one" / "ca.pem").read_bytes())
    clean(idp)
    assert len(authorities) == 1  # kept through the old version's turn


def test_the_lines_of_other_token_authorities_outlive_the_old_version(begin, configured, idps):
    a, b = idps("a"), idps("b")
    seed_a, seed_b = a.mint(), b.mint()
    turn(begin, "new", configured(a, seed_a), a)
    turn(begin, "new", configured(b, seed_b), b)
    turn(begin, "old", configured(b, seed_b), b)
    turn(begin, "new", configured(b, seed_b), b)
    turn(begin, "new", configured(a, seed_a), a)
    clean(a)
    clean(b)
    assert [token for _, token, _ in a.asked if not token.startswith("a-")] == []


def test_a_token_whose_answer_nobody_understood_is_not_sent_by_the_old_version(begin, configured, idps, place):
    idp = idps()
    config = configured(idp, idp.mint())
    turn(begin, "new", config, idp)
    sidekey = ready(begin("new", config))
    redeem = idp.redeem
    idp.redeem = lambda form: (redeem(form)[0], {"strange": True})
    refresh(sidekey, idp)
    until("dead", lambda: b"reauthorisation required" in b"".join(sidekey.logs().values()))
    assert sidekey.stop() == 0
    idp.redeem = redeem
    for version in ("old", "new", "old"):
        sidekey = begin(version, config)
        for _ in range(4):
            post(sidekey)
            time.sleep(0.6)
        assert sidekey.stop() == 0
    clean(idp)


def test_an_answer_that_waits_in_the_journal_is_stored_by_the_old_version(begin, configured, idps, redis_server, place):
    """Redis takes no write, this version dies with kill -9, and the old one comes after it."""
    idp, redis = idps(), redis_server()
    config = configured(idp, idp.mint(), redis={"url": redis.url})
    sidekey = ready(begin("new", config))
    until("stored", lambda: redis.field("crm", "gen") == "1")
    idp.on_request = lambda *_: redis.ask("CONFIG", "SET", "min-replicas-to-write", "1") and None
    answer = place / "state-one" / "journal" / "crm.answer"
    threading.Thread(target=lambda: until("in the journal", lambda: post(sidekey) or answer.exists(), every=0.5), daemon=True).start()
    until("the answer is in the journal", answer.exists)
    sidekey.expected_dead = True
    for pid in [sidekey.pid, *sidekey.children()]:
        os.kill(pid, 9)
    sidekey.popen.wait()
    idp.on_request = None
    redis.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    redis.ask("DEL", "{sidekey:crm}:lease", "{sidekey:crm}:intent")  # as a minute later
    turn(begin, "old", config, idp)
    turn(begin, "new", config, idp)
    clean(idp)
