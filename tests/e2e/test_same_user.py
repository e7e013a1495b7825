"""An attacker who runs as sidekey's own user, or who has taken a worker over: what is readable from outside, and what a process holds at all."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest
from harness import API, SIDEKEY, Process, environment, process_name, run, until

# Of this worker alone: a sidekey that another test has just started as this user is not yet closed to it.
UID = 52341 + int("0" + "".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", ""))))
CLIENT_SECRET, REFRESH_TOKEN, SEAL_KEY, CLIENT_PASSWORD = "env-client-secret-0d1f", "env-refresh-token-77aa", "9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28", "env-client-password-c4c4"
SECRETS = {"S_CLIENT": CLIENT_SECRET, "S_REFRESH": REFRESH_TOKEN, "S_SEAL": SEAL_KEY, "S_PASSWORD": CLIENT_PASSWORD}

FIND_DAEMON = r"""
import json, os, pathlib, sys
for d in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        status = dict(line.split(":", 1) for line in (d / "status").read_text().splitlines())
        if status["Name"].strip().startswith("sidekey") and int(status["Uid"].split()[0]) == os.getuid():
            sys.argv.append(d.name)
    except OSError:
        pass
"""
ATTACK = r"""
import os, sys
found = []
for pid in sys.argv[1:]:
    for what in ("environ", "mem", "maps", "auxv"):
        try:
            with open(f"/proc/{pid}/{what}", "rb") as f:
                f.read(1) if what != "mem" else None
            found.append(f"{pid}/{what}")
        except OSError:
            pass
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                os.close(os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR))
                found.append(f"{pid}/fd/{fd}")
            except OSError:
                found.append(f"{pid}/fd/{fd} is seen")
    except OSError:
        pass
print("\n".join(found))
"""


@pytest.fixture
def home():
    """A folder of the attacker's and sidekey's common user; root plays that user where it can."""
    where = pathlib.Path(tempfile.mkdtemp(prefix="sk-user-"))
    if os.geteuid() == 0:
        os.chown(where, UID, UID)
    yield where
    shutil.rmtree(where)


def as_user(argv):
    return ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", *map(str, argv)] if os.geteuid() == 0 else [str(a) for a in argv]


def write(home, config, name="sidekey.yaml"):
    path = home / name
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, UID, UID)
    return path


def config_of(home, **changes):
    """Nothing answers at the token endpoint: all that these processes hold is what they were given."""
    return {
        "listen": {"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0"}, "ca": {"publish": str(home / "ca")},
        "store": {"file": str(home / "state"), "seal_key": {"env": "S_SEAL"}},
        "credentials": {"crm": {"grant": "refresh_token", "token_url": "http://127.0.0.1:1/token", "client_id": "c",
                                "client_secret": {"env": "S_CLIENT"}, "refresh_token": {"env": "S_REFRESH"}}},
        "clients": {"app": {"password": {"env": "S_PASSWORD"}, "rules": ["one"]}},
        "rules": [{"name": "one", "match": {"host": "api.sidekey.test"}, "credential": "crm",
                   "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}]}], **changes}


@pytest.fixture
def serve(home):
    started = []

    def go(config, env=None, name="victim"):
        """The processes of one `sidekey serve`: {pid: name}."""
        argv = as_user([SIDEKEY, "serve", "-c", write(home, config)])
        process = Process(name, argv, home, environment(home, {**SECRETS, "HOME": str(home), **(env or {})}))
        started.append(process)
        process.wait_line("^ready ", process.err)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return {process.pid: "supervisor", **{int(p): process_name(int(p)) for p in children}}

    yield go
    for process in started:
        assert process.stop() == 0


def of_role(processes, role):
    return next(pid for pid, name in processes.items() if role in name)


def test_a_process_of_the_same_user_reads_nothing_of_ours(home, serve):
    processes = serve(config_of(home))
    assert len(processes) == 3
    script = home / "attack.py"
    script.write_text(ATTACK)
    script.chmod(0o644)
    bystander = subprocess.Popen(as_user(["sleep", "60"]))
    try:
        until("the attack works where it may", lambda: f"{bystander.pid}/environ" in run(as_user([sys.executable, script, bystander.pid])).stdout.decode())
        assert run(as_user([sys.executable, script, *processes])).stdout.decode().strip() == ""
    finally:
        bystander.kill()
        bystander.wait()


def test_a_program_that_run_starts_reads_nothing_of_its_supervisor(home):
    script = home / "attack.py"
    script.write_text(FIND_DAEMON + ATTACK + "\nprint(json.dumps([dict(os.environ), sorted(os.listdir('/proc/self/fd'), key=int), len(sys.argv) - 1]))\n")
    script.chmod(0o644)
    config = config_of(home)
    del config["clients"]
    asked = {k: v for k, v in SECRETS.items() if k != "S_PASSWORD"}
    keep = {"SSLKEYLOGFILE": "/nowhere/keys", "OPENSSL_CONF": "/nowhere/openssl.cnf", "OTHER": "stays"}
    done = run(as_user([SIDEKEY, "run", "-c", write(home, config), "--", sys.executable, str(script)]),
               environment(home, {**asked, "HOME": str(home), **keep}))
    assert done.returncode == 0, done.stderr
    seen, told = done.stdout.decode().rstrip().rsplit("\n", 1) if b"\n" in done.stdout.rstrip() else ("", done.stdout.decode())
    variables, fds, attacked = json.loads(told)
    assert attacked >= 3  # supervisor, keeper, worker
    assert seen.strip() == ""
    assert fds[:3] == ["0", "1", "2"] and len(fds) == 4  # the listing's own
    assert {k: variables.get(k) for k in keep} == keep
    assert not set(asked) & set(variables) and not [v for v in variables.values() if v in SECRETS.values()]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees through PR_SET_DUMPABLE")
def test_no_environment_block_holds_a_secret(home, serve):
    for pid, name in serve(config_of(home)).items():
        block = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        assert b"HOME=" in block
        assert not [s for s in SECRETS.values() if s.encode() in block], name


def memory_of(pid):
    """Whatever the process can read of its own: all its writable mappings."""
    held = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            where, access = line.split()[:2]
            start, end = (int(x, 16) for x in where.split("-"))
            if access.startswith("rw") and end - start < 64 << 20:
                mem.seek(start)
                try:
                    held += mem.read(end - start)
                except OSError:
                    pass
    return held


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees through PR_SET_DUMPABLE")
def test_a_worker_holds_no_secret_of_the_keeper(home, serve):
    processes = serve(config_of(home))
    worker, keeper = memory_of(of_role(processes, "worker")), memory_of(of_role(processes, "keeper"))
    assert [s for s in SECRETS.values() if s.encode() in worker] == [CLIENT_PASSWORD]
    assert CLIENT_SECRET.encode() in keeper and CLIENT_PASSWORD.encode() not in keeper


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees through PR_SET_DUMPABLE")
def test_a_worker_holds_no_inline_secret_of_the_keeper(home):
    config = config_of(home)
    config["credentials"]["crm"]["client_secret"] = "inline-client-secret-91b2"
    process = Process("inline", as_user([SIDEKEY, "serve", "--allow-inline-secrets", "-c", write(home, config)]), home,
                      environment(home, {**SECRETS, "HOME": str(home)}))
    process.wait_line("^ready ", process.err)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(p) for p in children if "worker" in process_name(int(p))]
    try:
        # what the parser of the file left in freed memory is another matter: the reference is what we hold
        assert memory_of(workers[0]).count(b"\0inline-client-secret-91b2\0") == 0
    finally:
        assert process.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone sees through PR_SET_DUMPABLE")
def test_each_process_holds_the_descriptors_of_its_role(home, serve):
    processes = serve(config_of(home))
    def links_of(pid):
        """A descriptor may be closed while we look."""
        while True:
            try:
                return sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))
            except FileNotFoundError:
                continue
    links = {name.split()[0]: links_of(pid) for pid, name in processes.items()}
    worker, keeper = links["sidekey-worker"], links["sidekey-keeper"]
    strange = set(worker) - {"/dev/null", "socket", "anon_inode", str(home / "victim.out"), str(home / "victim.err")}
    assert not strange, strange
    assert not [link for link in worker if "memfd" in link or link.startswith(str(home / "state"))], worker
    assert len([link for link in worker if link == "socket"]) == 5, worker  # supervisor, keeper, proxy, admin, its unix socket
    assert [link for link in keeper if link.startswith(str(home / "state"))], keeper


SPY = 'import json, os, sys\njson.dump([dict(os.environ), [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]], open(sys.argv[1], "w"))\nprint("secret on stderr", file=sys.stderr)\nprint(sys.argv[2])\n'


def test_a_command_gets_its_own_list_of_variables_and_three_descriptors(home, serve):
    script = home / "spy.py"
    script.write_text(SPY)
    script.chmod(0o644)

    def spy(name, value):
        return {"command": ["env", "ASKED=yes", sys.executable, str(script), str(home / name), value]}
    config = config_of(home)
    config["store"]["seal_key"] = spy("sync.json", SEAL_KEY)
    config["credentials"]["crm"]["client_secret"] = spy("loop.json", CLIENT_SECRET)
    config["credentials"]["tool"] = {"grant": "command", "command": spy("grant.json", '{"access_token": "t", "expires_in": 3600}')["command"]}
    config["rules"].append({**config["rules"][0], "name": "two", "match": {"host": "tool.sidekey.test"}, "credential": "tool"})
    serve(config, {"LC_TIME": "C", "MY_PASSWORD": "not-for-others", "VAULT_ADDR": "https://vault.test"})
    for name in ("sync.json", "loop.json", "grant.json"):
        until(f"{name} is written", lambda name=name: (home / name).exists() and (home / name).read_text().endswith("]"))
        variables, links = json.loads((home / name).read_text())
        assert variables["ASKED"] == "yes" and variables["HOME"] == str(home) and variables["LC_TIME"] == "C" and variables["VAULT_ADDR"]
        assert not {"MY_PASSWORD", "ASAN_OPTIONS", *SECRETS} & set(variables), name
        assert len(links) == 3 and links.count("/dev/null") == 2, (name, links)
    assert "secret on stderr" not in (home / "victim.out").read_text() + (home / "victim.err").read_text()


def test_no_variable_makes_us_write_session_keys_or_load_modules(start, place):
    bad = place / "openssl.cnf"
    bad.write_text("openssl_conf = init\n[init]\nproviders = p\n[p]\nevil = e\n[e]\nmodule = /nowhere/evil.so\nactivate = 1\n")
    keys = place / "keys"
    sidekey = start(env={"SSLKEYLOGFILE": str(keys), "OPENSSL_CONF": str(bad)})
    assert sidekey.request()[0] == 200
    assert not keys.exists()
