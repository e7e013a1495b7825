"""Fixtures: one authorization server and API for the session, one sidekey for each test that asks for it."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent), *(str(pathlib.Path(__file__).parents[1] / folder) for folder in ("fakes", "tools"))]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402
import skips  # noqa: E402

TEST_SECONDS = 300


def pytest_configure(config):
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):  # a run in the background is often started deaf to them, and what it starts would be too
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    config.addinivalue_line("markers", "slow: takes more than some seconds")
    config.addinivalue_line("markers", "release: judges the release build only (time, memory)")
    config.addinivalue_line("markers", "serial: judges time, memory or processor time: runs last and alone (make e2e-serial)")
    config.addinivalue_line("markers", "world: the long table of programs, servers and runs (make test-world)")
    config.addinivalue_line("markers", "seconds(n): may take so long, where others have 300 s")
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group: stays in one process")


def pytest_sessionstart(session):
    if not harness.SIDEKEY.exists() and not session.config.option.collectonly:
        pytest.exit(f"{harness.SIDEKEY} is not there: run make first", 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests that share a scene (a fixture of their module) stay in one process; all others go where there is room.  The long ones first."""
    for item in items:
        info = item._fixtureinfo.name2fixturedefs
        if any(definition.scope == "module" for definitions in info.values() for definition in definitions):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))
    items.sort(key=lambda item: not item.get_closest_marker("slow"))


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        judge_skip(report)
    if report.failed:
        for process in getattr(item, "sidekey_processes", []):
            for name, text in process.logs().items():
                report.sections.append((name, text[-12_000:].decode("utf-8", "replace")))
        for path in getattr(item, "sidekey_reports", []):
            report.sections.append((path.name, path.read_text(errors="replace")[:12_000]))


def judge_skip(report):
    """Nothing is skipped in silence: tests/tools/skips.py has what may be, and where."""
    path, line, reason = report.longrepr
    why = skips.allowed(report.nodeid, reason)
    if why:
        report.user_properties.append(("skip", why))
    else:
        report.outcome, report.longrepr = "failed", f"{path}:{line}: skipped, and tests/tools/skips.py does not allow that here: {reason}"


def pytest_terminal_summary(terminalreporter):
    """Leaves the counts for tests/tools/stages, and what was skipped, by its reason."""
    skipped = [f"{why} ({report.nodeid})" for report in terminalreporter.stats.get("skipped", []) for name, why in report.user_properties if name == "skip"]
    for line in skipped:
        terminalreporter.write_line(f"skipped: {line}")
    if os.environ.get("FAILED_LIST"):  # for tests/tools/e2e
        names = {re.sub(r"@\w+$", "", report.nodeid) for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])}
        with open(os.environ["FAILED_LIST"], "w", encoding="utf-8") as listed:
            listed.writelines(f"{name}\n" for name in sorted(names))
    if os.environ.get("TALLY"):
        count = lambda *names: sum(len(terminalreporter.stats.get(n, [])) for n in names)
        with open(os.environ["TALLY"], "w", encoding="utf-8") as tally:
            tally.write("\n".join([f"{count('passed')} {count('failed', 'error')} {count('skipped')}", *skipped, ""]))


@pytest.fixture(autouse=True)
def time_limit(request):
    """No test may hang the run."""
    marker = request.node.get_closest_marker("seconds")
    limit = marker.args[0] if marker else TEST_SECONDS

    def late(*_):
        raise TimeoutError(f"the test took more than {limit} s")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def folder():
    """A short path: names of unix sockets have 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="sk-") as where:
        yield pathlib.Path(where)


@pytest.fixture(scope="session")
def pki(folder):
    return pki_maker.make(folder / "pki")


@pytest.fixture(scope="session")
def git_repo(folder):
    """A bare repository that a plain file server can serve."""
    work, bare = folder / "work", folder / "www" / "repo.git"
    git = lambda *args: subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@sidekey.test", *args], check=True, capture_output=True)
    git("init", "-q", "-b", "main", str(work))
    (work / "hello.txt").write_text("hello from the repository\n")
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "-q", "-m", "first")
    git("clone", "-q", "--bare", str(work), str(bare))
    git("-C", str(bare), "update-server-info")
    return bare


@pytest.fixture(scope="session")
def auth_server(folder, pki, git_repo):
    server = harness.AuthServer(folder, pki, www=git_repo.parent)
    yield server
    server.stop()


@pytest.fixture
def auth(auth_server, request):
    """The servers, with counts at zero and tokens that live an hour."""
    auth_server.reset()
    auth_server.access_ttl(3600)
    request.node.sidekey_processes = [auth_server]
    return auth_server


@pytest.fixture
def place(folder):
    """A folder for one test."""
    return pathlib.Path(tempfile.mkdtemp(prefix="t-", dir=folder))


@pytest.fixture
def make_config(auth, pki, place):
    """The config of a test: make_config(**changes of the top keys).  The grant is minted at the call: make_config.grant."""
    def write(name, text):
        path = place / name
        path.write_text(text)
        path.chmod(0o600)
        return {"file": str(path)}

    def make(name="crm", ttl=None, **changes):
        minted = auth.mint(ttl=ttl) if ttl else auth.mint()
        make.grant = minted["grant"]
        hosts = [harness.API, "git.sidekey.test", "expired.sidekey.test", "selfsigned.sidekey.test", "wrong.sidekey.test"]
        server = f"127.0.0.1:{auth.api_port}"
        config = {
            "listen": {"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "ca": {"publish": str(place / "ca")},
            "unmatched": "tunnel",
            "store": {"file": str(place / "state"), "seal_key": write("seal", "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28")},
            "credentials": {name: {
                "grant": "refresh_token", "token_url": auth.token_url, "client_id": auth.client_id,
                "client_secret": write("client-secret", auth.client_secret),
                "refresh_token": write("refresh-token", minted["refresh_token"]), "required": True,
            }},
            "rules": [{
                "match": {"host": host}, "credential": name, "tls": {"ca_file": str(pki / "ca.pem")},
                "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}],
            } for host in hosts],
            "network": {"resolve": {f"{host}:443": server for host in [*hosts, "open.sidekey.test"]}},
        }
        (place / "state").mkdir(mode=0o700, exist_ok=True)
        (place / "ca").mkdir(mode=0o755, exist_ok=True)
        config.update(changes)
        config["limits"] = {**harness.UNHURRIED, **changes.get("limits", {})}
        return config
    make.write = write
    return make


@pytest.fixture
def start(request, auth, make_config, place):
    """start(config?, **changes): a ready sidekey.  At the end each one must end cleanly and have kept every secret to itself."""
    running = []

    def begin(config=None, name=None, env=None, args=(), program=harness.SIDEKEY, **changes):
        process = harness.Sidekey(place, config or make_config(**changes), args, env, name or f"sidekey{len(running) or ''}", program=program)
        running.append(process)
        request.node.sidekey_processes.append(process)
        return process.ready()

    yield begin
    problems = []
    for process in running:
        if not getattr(process, "expected_dead", False):
            status = process.stop()
            if status != 0:
                problems.append(f"{process.name} ended with {status} after SIGTERM")
        problems += judge_logs(process, auth)
    request.node.sidekey_reports = [r for p in running for r in p.sanitizer_reports()]
    if request.node.sidekey_reports:
        problems.append("sanitizer reports: " + " ".join(r.name for r in request.node.sidekey_reports))
    assert not problems, problems


def judge_logs(process, auth):
    secrets = [*auth.secrets, "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28"]
    for name, text in process.logs().items():
        if harness.SANITIZER.search(text):
            yield f"{name} holds a sanitizer report"
        for secret in secrets:
            if secret.encode() in text:
                yield f"{name} holds a secret ({secret[:6]}...)"


@pytest.fixture
def sidekey(start):
    return start()
