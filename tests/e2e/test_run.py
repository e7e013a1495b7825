"""sidekey run -- PROGRAM: a proxy of its own, the program's environment, its status; and the preload layer for programs that know no proxy."""
import contextlib
import fcntl
import http.server
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import textwrap
import threading
import time

import pytest
from harness import API, PATIENCE_S, PLACEHOLDER, SIDEKEY, environment, kill_all, process_name, run, until

URL = f"https://{API}/v2/echo"
FAKE = ("198.18.", "198.19.")


@pytest.fixture
def config_file(make_config, place):
    config = make_config()
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def runs(config_file, place):
    """runs(argv, *flags): the finished process; what it printed is kept for a failure's report."""
    def go(argv, *flags, env=None, seconds=60):
        done = run([SIDEKEY, "run", "-c", config_file, *flags, "--", *argv], environment(place, env), seconds=seconds)
        print("run:", argv, flags, done.returncode, done.stdout.decode("utf-8", "replace")[-2000:], done.stderr.decode("utf-8", "replace")[-4000:])
        return done
    return go


def saw_live_token(done, auth):
    assert done.returncode == 0
    assert json.loads(done.stdout)["live"] is True
    assert PLACEHOLDER not in json.dumps(auth.requests[-1])


def script(place, name, text):
    path = place / name
    path.write_text(textwrap.dedent(text))
    return path


NODE = """
    import https from 'node:https';
    https.get(process.argv[2], { headers: { authorization: 'placeholder' } }, (res) => {
      res.pipe(process.stdout);
      res.on('end', () => process.exit(res.statusCode === 200 ? 0 : 1));
    }).on('error', (e) => { console.error(e); process.exit(1); });
"""

JAVA = """
    import java.net.*;
    public class Get {
        public static void main(String[] args) throws Exception {
            HttpURLConnection c = (HttpURLConnection) new URL(args[0]).openConnection();
            c.setRequestProperty("Authorization", "placeholder");
            System.out.write(c.getInputStream().readAllBytes());
            System.out.flush();
        }
    }
"""

PYTHON = """
    import sys, urllib.request
    print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Authorization": "placeholder"})).read().decode())
"""


def argv_of(program, place):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    if program == "curl":
        return ["curl", "-sS", "-H", f"Authorization: {PLACEHOLDER}", URL]
    if program == "node":
        return ["node", script(place, "get.mjs", NODE), URL]
    if program == "java":
        return ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", script(place, "Get.java", JAVA), URL]
    return ["python3", script(place, "get.py", PYTHON), URL]


@pytest.mark.parametrize("program", ["curl", "python3"])
def test_a_program_that_knows_proxy_variables_needs_nothing_else(program, runs, auth, place):
    saw_live_token(runs(argv_of(program, place)), auth)


@pytest.mark.parametrize("program", ["curl", "python3", "node", "java"])
def test_a_program_without_any_proxy_variable_comes_by_the_preload_layer(program, runs, auth, place):
    saw_live_token(runs(argv_of(program, place), "--layers", "preload"), auth)


def test_the_preload_layer_leaves_no_proxy_variable(runs):
    done = runs(["env"], "--layers", "preload", env={"HTTPS_PROXY": "http://192.0.2.1:3128", "https_proxy": "http://192.0.2.1:3128"})
    names = [line.split("=")[0] for line in done.stdout.decode().splitlines()]
    assert not [n for n in names if n.lower() in ("http_proxy", "https_proxy", "all_proxy")]
    assert "LD_PRELOAD" in names


@pytest.mark.parametrize("argv,status", [(["true"], 0), (["sh", "-c", "exit 37"], 37), (["sh", "-c", "kill -TERM $$"], -15),
                                         (["./no-such-program"], 127), (["/etc/passwd"], 126)])
def test_the_programs_exit_status_is_ours(argv, status, runs):
    assert runs(argv).returncode == status


def test_stdin_and_stdout_belong_to_the_program(config_file, place):
    done = subprocess.run([SIDEKEY, "run", "-c", config_file, "--", "cat"], env=environment(place), input=b"to and fro\n", capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.stdout == b"to and fro\n" and done.returncode == 0


def test_a_signal_for_us_is_passed_on_and_the_program_decides(config_file, place):
    code = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, "--", "sh", "-c", code], env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout.readline() == b"up\n"
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=PATIENCE_S)
    assert (p.returncode, out) == (9, b"caught\n"), err


def test_no_secret_of_any_key_reaches_the_program(make_config, place):
    """Clients, the parent proxy and all that a grant may hold."""
    config = make_config()
    grant = {"token_url": "http://127.0.0.1:9/", "client_id": "x"}
    config["credentials"] |= {
        "bearer": grant | {"grant": "jwt_bearer", "assertion": {"token": {"env": "T_ASSERTION"}}},
        "signed": grant | {"grant": "jwt_bearer", "assertion": {"key": {"env": "T_KEY"}}},
        "exchange": grant | {"grant": "token_exchange", "subject_token": {"env": "T_SUBJECT"}, "actor_token": {"env": "T_ACTOR"}},
        "fixed": {"grant": "static", "token": {"env": "T_STATIC"}},
    }
    config["clients"] = {"ci": {"password": {"env": "T_CLIENT"}, "rules": []}}
    config["network"]["parent_proxy"] = {"url": "http://127.0.0.1:9", "username": "u", "password": {"env": "T_PARENT"}}
    names = ["T_ASSERTION", "T_KEY", "T_SUBJECT", "T_ACTOR", "T_STATIC", "T_CLIENT", "T_PARENT"]
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "run", "-c", path, "--", "env"], environment(place, {name: f"secret-of-{name}" for name in names} | {"T_MINE": "stays"}))
    assert done.returncode == 0 and b"T_MINE=stays" in done.stdout, done
    assert b"secret-of-" not in done.stdout, done.stdout


def test_the_program_gets_placeholders_and_none_of_our_secrets(make_config, place, auth):
    config = make_config()
    config["credentials"]["crm"]["client_secret"] = {"env": "CRM_SECRET"}
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "run", "-c", path, "--placeholder", "CRM_TOKEN=placeholder", "--", "env"], environment(place, {"CRM_SECRET": auth.client_secret}))
    told = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    assert told["CRM_TOKEN"] == "placeholder"
    assert "CRM_SECRET" not in told and auth.client_secret not in done.stdout.decode()


@contextlib.contextmanager
def waiting_run(config_file, place, shell, *flags):
    """A run whose program prints what shell says, then waits; gives the first line and the run."""
    with open(place / "waiting.err", "wb") as err:
        p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, *flags, "--", "sh", "-c", f"{shell}; exec sleep 100"], env=environment(place), stdout=subprocess.PIPE, stderr=err)
    try:
        yield p.stdout.readline().decode().strip(), p
    finally:
        p.terminate()
        p.wait(PATIENCE_S)
        p.stdout.close()


def test_somebody_elses_program_cannot_use_the_private_proxy_and_ours_needs_no_password(config_file, place):
    if os.geteuid():
        pytest.skip("needs root to be somebody else")
    somebody_else = ["setpriv", "--reuid=nobody", "--clear-groups"]
    with waiting_run(config_file, place, "echo $HTTPS_PROXY") as (proxy, _):
        open_url = "http://" + proxy.rpartition("@")[2]
        wrong = "http://run:wrong@" + proxy.rpartition("@")[2]
        argv = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_connect}", "-k"]
        assert run([*somebody_else, *argv, "-x", open_url, URL], environment(place)).stdout == b"407"
        assert run([*argv, "-x", wrong, URL], environment(place)).stdout == b"407"
        assert run([*argv, "-x", open_url, URL], environment(place)).stdout == b"200"
        assert run([*somebody_else, *argv, "-x", proxy, URL], environment(place)).stdout == b"200"


TABLE_DESTS, TABLE_READY = 4096 + 131072 * 256, 2  # preload/table.h


def taken_token(table):
    """The loopback address of the first destination in the table, which others could see in /proc/net/tcp."""
    with open(table, "rb") as file:
        file.seek(TABLE_DESTS)
        number = next(i for i, (state, _) in enumerate(struct.iter_unpack("=I28s", file.read())) if state == TABLE_READY)
    return ipaddress.ip_address("127.64.0.0") + number


def test_the_address_of_a_token_is_another_one_in_each_run(config_file, place):
    """Else anybody could compute it from the host's name."""
    seen = set()
    for _ in range(3):
        with waiting_run(config_file, place, f"curl -sS -o /dev/null {URL}; echo $SIDEKEY_PRELOAD_TABLE", "--layers", "preload") as (line, _):
            seen.add(taken_token(line.strip()))
    assert len(seen) == 3, seen


def test_somebody_elses_connection_to_the_preload_listener_gets_no_token(config_file, place):
    if os.geteuid():
        pytest.skip("needs root to be somebody else")
    first = f"curl -sS -o /dev/null {URL}; echo $SIDEKEY_PRELOAD_TABLE $SIDEKEY_PRELOAD_PORT"
    with waiting_run(config_file, place, first, "--layers", "preload") as (line, _):
        table, port = line.split()
        assert os.stat(table).st_mode & 0o777 == 0o600
        argv = ["curl", "-sS", "-k", "-m", "10", "--connect-to", f"{API}:443:{taken_token(table)}:{port}", "-o", os.devnull, "-w", "%{http_code}", URL]
        assert run(argv, environment(place)).stdout == b"200", "our own user may"
        assert run(["setpriv", "--reuid=nobody", "--clear-groups", *argv], environment(place)).stdout == b"000"
        assert "it belongs to another user" in (place / "waiting.err").read_text()


def ours(place):
    """The processes of the private sidekey that runs with this test's configuration."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            exe = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if exe == str(SIDEKEY) and str(place / "run.yaml").encode() in words:
            found[int(pid)] = process_name(int(pid))
    return found


def gone(place, seconds=PATIENCE_S):
    until(f"the private sidekey ends: {ours(place)}", lambda: not ours(place), seconds=seconds)


@pytest.fixture
def begin(config_file, place):
    """begin(code, *flags): the program "sh -c code" under run, started; it is ended by its pid."""
    started = []

    def go(code, *flags, before=(), env=None, **options):
        argv = [*before, SIDEKEY, "run", "-c", config_file, *flags, "--", "sh", "-c", code]
        p = subprocess.Popen(argv, env=environment(place, env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        started.append(p)
        return p
    yield go
    for p in started:
        if p.poll() is None:
            p.kill()
        p.communicate(timeout=PATIENCE_S)
    gone(place)


def test_nothing_is_left_behind(runs, place):
    done = runs(["sh", "-c", "dirname $SSL_CERT_FILE"])
    folder = done.stdout.decode().strip()
    assert "sidekey-run." in folder
    gone(place)
    assert not os.path.exists(folder)


def test_a_killed_program_takes_the_private_sidekey_along(begin, place):
    p = begin("echo $SSL_CERT_FILE; exec sleep 60")
    folder = os.path.dirname(p.stdout.readline().decode().strip())
    assert len(ours(place)) == 3, ours(place)
    p.kill()
    p.wait(PATIENCE_S)
    gone(place)
    assert not os.path.exists(folder)


def test_the_program_keeps_the_pid_that_the_caller_started(begin):
    p = begin("echo $$; exec sleep 60")
    assert int(p.stdout.readline()) == p.pid
    assert "sleep" in until("sleep runs", lambda: process_name(p.pid) if "sleep" in process_name(p.pid) else None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM])
def test_every_signal_is_the_programs(number, begin, place):
    p = begin(f"trap 'echo caught; exit 9' {number.name[3:]}; echo up; while :; do sleep 0.05; done")
    assert p.stdout.readline() == b"up\n"
    p.send_signal(number)
    out, err = p.communicate(timeout=PATIENCE_S)
    assert (p.returncode, out) == (9, b"caught\n"), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_the_programs_last_calls_work_when_a_signal_hits_all_processes(number, begin, place, auth):
    """As a cgroup's or a terminal's signal does."""
    call = f"curl -sS -o {os.devnull} -w '%{{http_code}}' -H 'Authorization: {PLACEHOLDER}' {URL}"
    p = begin(f"trap '{call.replace(chr(39), chr(34))}; exit 9' {number.name[3:]}; echo up; while :; do sleep 0.05; done")
    assert p.stdout.readline() == b"up\n"
    for pid in ours(place):
        os.kill(pid, number)
    p.send_signal(number)
    out, err = p.communicate(timeout=PATIENCE_S)
    assert (p.returncode, out) == (9, b"200"), err


def test_a_signal_before_the_program_has_started_is_never_success(config_file, place):
    for delay in (0.0005, 0.002, 0.005, 0.01, 0.02, 0.04):
        p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, "--", "sleep", "20"], env=environment(place), stderr=subprocess.PIPE)
        time.sleep(delay)
        p.terminate()
        assert p.wait(PATIENCE_S) != 0
        p.stderr.close()
    gone(place)


def test_what_outlives_the_program_does_not_hold_up_its_caller(config_file, place):
    """A background child keeps standard output's twin closed and a tunnel open: $(sidekey run …) ends with the program."""
    code = "curl -sSN -o /dev/null -H 'Authorization: placeholder' https://%s/v2/stream?ms=200000 >/dev/null 2>&1 & echo done" % API
    began = time.monotonic()
    done = run(["sh", "-c", f"x=$({SIDEKEY} run -c {config_file} -- sh -c \"$1\"); echo \"$x\"", "sh", code], environment(place))
    assert done.stdout == b"done\n" and time.monotonic() - began < 100, done
    gone(place)


def test_without_the_private_sidekey_calls_are_refused_and_never_direct(begin, place):
    p = begin(f"echo up; read x; curl -sS {URL}; echo $?", stdin=subprocess.PIPE)
    p.stdout.readline()
    kill_all(ours(place))
    gone(place)
    out, err = p.communicate(b"go\n", timeout=PATIENCE_S)
    assert out.strip() in (b"7", b"97"), (out, err)


@pytest.mark.parametrize("before", [["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
                                    ["setpriv", "--pdeathsig", "clear", "python3", "-c", """if 1:
                                        import ctypes, os, sys
                                        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER is kept over exec
                                        os.execv(sys.argv[1], sys.argv[1:])"""]], ids=["first process", "subreaper"])
def test_as_an_init_it_forwards_every_signal_and_reaps(before, begin, place):
    if os.geteuid():
        pytest.skip("needs root for a pid namespace")
    code = "(sleep 0.1 &) ; trap 'echo usr; ' USR1; trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    p = begin(code, before=before)
    assert p.stdout.readline() == b"up\n", p.stderr.read()
    inner = p.pid
    if before[0] == "unshare":
        inner = int(open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()[0])
    time.sleep(0.3)  # the orphan has ended by then

    def zombies():
        return [c for c in open(f"/proc/{inner}/task/{inner}/children").read().split() if open(f"/proc/{c}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"]
    until("it is reaped", lambda: not zombies())
    os.kill(inner, signal.SIGUSR1)
    assert p.stdout.readline() == b"usr\n"
    os.kill(inner, signal.SIGTERM)
    out, err = p.communicate(timeout=PATIENCE_S)
    assert (out, p.returncode) == (b"term\n", 7), err


def test_a_start_sweeps_what_dead_runs_have_left(runs, place):
    base = "/run" if os.geteuid() == 0 and os.access("/run", os.W_OK) else "/tmp"
    dead = pathlib.Path(tempfile.mkdtemp(prefix="sidekey-run.", dir=base))
    held = pathlib.Path(tempfile.mkdtemp(prefix="sidekey-run.", dir=base))
    (dead / "bundle.pem").write_text("old")
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for folder in (dead, held):
        os.utime(folder, (1, 1))
    try:
        assert runs(["true"]).returncode == 0
        assert not dead.exists() and held.exists()
    finally:
        os.close(lock)
        held.rmdir()


# --- what is covered ---

STATIC_C = "int main(void) { return 0; }"


@pytest.fixture(scope="session")
def static_program(folder):
    source = folder / "static.c"
    source.write_text(STATIC_C)
    subprocess.run(["gcc", "-static", "-o", folder / "static", source], check=True)
    return folder / "static"


def test_a_program_that_the_library_does_not_reach_is_announced(runs, static_program, place):
    wrapper = script(place, "wrapper", f"#!{static_program}\n")
    wrapper.chmod(0o755)
    for program in (static_program, wrapper):
        done = runs([program])
        assert done.returncode == 0 and b"a static program: the preload library does not work in it" in done.stderr
        assert b"not started" in runs([program], "--strict").stderr
        assert runs([program], "--strict").returncode == 78
        assert runs([program], "--check").returncode == 1
    done = runs(["curl", "--version"], "--check")
    assert done.returncode == 0 and b"layers    env,preload" in done.stdout and b"libcurl" not in done.stdout
    assert not runs(["true"], "--strict").stderr


@pytest.mark.parametrize("program, said", [("curl", None), ("node", "ignores HTTPS_PROXY by default"), ("java", "ignores HTTPS_PROXY by default"),
                                           ("python3", "only if it honours HTTPS_PROXY"), ("sh", "only if it honours HTTPS_PROXY")])
def test_a_program_that_gets_the_variables_alone_is_announced_unless_it_honours_them(program, said, runs):
    """Whoever chose the layer may not know that the program, or a child of it, goes direct."""
    done = runs([program, "-c" if program in ("python3", "sh") else "--version", *(["pass" if program == "python3" else ":"] if program in ("python3", "sh") else [])], "--layers", "env")
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("sidekey run:")]
    assert done.returncode == 0 and len(lines) == (said is not None), done
    assert not said or (said in lines[0] and "--layers auto" in lines[0])


@pytest.mark.parametrize("child", ["{p}", "sh -c {p}", "env -i {p}", "/usr/bin/python3 -c 'import subprocess; subprocess.run([\"{p}\"])'", "./wrapper", "PATH={d}:$PATH static"])
def test_a_child_that_the_library_does_not_reach_is_announced_once(child, runs, static_program, place):
    wrapper = script(place, "wrapper", f"#!{static_program}\n")
    wrapper.chmod(0o755)
    command = child.format(p=static_program, d=static_program.parent).replace("./wrapper", str(wrapper))
    done = runs(["sh", "-c", f"{command}; {command}; sleep 0.2"])
    said = [line for line in done.stderr.decode().splitlines() if "does not work in it" in line]
    assert len(said) == 1 and f"a child started {static_program}, which is a static program" in said[0], done.stderr


@pytest.fixture
def open_place():
    """A folder that every user may enter."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sidekey-test.", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("how, said", [
    ("runuser -u nobody -- {d}/unread", "cannot be read"),
    ("runuser -u nobody -- {d}/unread-suid", "set-user-ID"),
    ("/usr/bin/python3 -c 'import os; os.seteuid(65534); os.execv(\"/bin/true\", [\"true\"])'", "other than the real one"),
    ("/usr/bin/python3 -c 'import os; os.setegid(65534); os.execv(\"/bin/true\", [\"true\"])'", "other than the real one"),
    ("chroot {d}/root /true", "does not see the library"),
    ("env PATH={d}/folder:{d}/plain:{d}/bin:$PATH tool", "a static program"),
])
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users, another root directory")
def test_a_child_that_the_loader_would_leave_without_the_library_is_announced_and_not_started_under_strict(how, said, runs, static_program, open_place):
    for name, mode in (("unread", 0o111), ("unread-suid", 0o4111)):
        shutil.copy(static_program, open_place / name)
        (open_place / name).chmod(mode)
    for name in ("root", "bin", "plain", "folder/tool"):
        (open_place / name).mkdir(parents=True)
    shutil.copy("/bin/true", open_place / "root/true")
    shutil.copy(static_program, open_place / "bin/tool")
    (open_place / "plain/tool").write_text("not to be run")
    command = how.format(d=open_place)
    done = runs(["sh", "-c", f"{command}; sleep 0.2"])
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("sidekey run:")]
    assert len(lines) == 1 and "a child started" in lines[0] and said in lines[0]  # of the run, or where its socket is out of reach, of the library
    refused = runs(["sh", "-c", f"{command}; sleep 0.2"], "--strict")
    assert b"ermission denied" in refused.stderr and b"was not allowed to start" in refused.stderr and said.encode() in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user")
def test_a_program_that_may_be_run_and_not_read_is_announced(config_file, static_program, open_place, place):
    shutil.copy(static_program, open_place / "unread")
    (open_place / "unread").chmod(0o111)
    other_user = environment(place) | {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": ""}  # who may not write reports into our folder
    done = run(["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", SIDEKEY, "run", "--check", "--", open_place / "unread"], other_user, seconds=60)
    assert done.returncode == 1 and b"cannot be read" in done.stdout, done


def test_the_default_covers_a_program_that_ignores_variables(runs, auth, place):
    saw_live_token(runs(argv_of("node", place)), auth)


@pytest.mark.parametrize("entry", [".test", "sidekey.test", API, "*", f"{API}:443", "*.sidekey.test", API.upper()])
def test_an_entry_of_no_proxy_that_covers_a_rules_host_is_removed_aloud(entry, runs, auth, place):
    done = runs(argv_of("curl", place), "--layers", "env", env={"NO_PROXY": f"intranet.test,{entry}", "no_proxy": f"intranet.test,{entry}"})
    saw_live_token(done, auth)
    assert f'"{entry}", which covers' in done.stderr.decode()
    kept = runs(["sh", "-c", "echo $no_proxy"], env={"no_proxy": f"intranet.test,{entry}"}).stdout.decode()
    assert "intranet.test" in kept and entry not in kept.strip().split(",") and "169.254.169.254" in kept


def test_the_machines_own_name_goes_past_the_proxy_unless_a_rule_names_it(make_config, place):
    """http://my-host:3000 is the program's own machine, which no proxy is asked for."""
    config = make_config()
    for own, past in ((socket.gethostname(), True), ("sidekey", True), ("test", False), (API, False)):
        path = place / "own.yaml"
        path.write_text(json.dumps(config))
        before = [] if own == socket.gethostname() else ["unshare", "--uts", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", f"hostname {own} && exec \"$@\"", "sh"]
        for command in (["run", "-c", path, "--", "env"], ["env", "-c", path, "--format", "sh", "--proxy", "127.0.0.1:8118"]):
            done = run([*before, SIDEKEY, *command], environment(place))
            line = next(line for line in done.stdout.decode().splitlines() if line.removeprefix("export ").startswith("NO_PROXY="))
            assert (own in line.partition("=")[2].strip("'").split(",")) == past, (own, line)


def test_a_rule_for_another_port_is_covered_by_the_library(make_config, place, auth):
    config = make_config()
    for rule in config["rules"]:
        if rule["match"]["host"] == API:
            rule["match"]["port"] = 8443
    config["network"]["resolve"][f"{API}:8443"] = config["network"]["resolve"].pop(f"{API}:443")
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    argv = ["curl", "-sS", "-H", f"Authorization: {PLACEHOLDER}", f"https://{API}:8443/v2/echo"]
    saw_live_token(run([SIDEKEY, "run", "-c", path, "--layers", "preload", "--", *argv], environment(place)), auth)
    gone(place)


def test_only_the_hosts_of_rules_get_another_address(runs, make_config, place):
    """So that databases, mail servers and private hosts are reached as without us; unless the configuration judges every host."""
    code = """
        import socket, sys
        for name in sys.argv[1:]:
            try:
                print(socket.getaddrinfo(name, None)[0][4][0])
            except socket.gaierror as e:
                print("unknown")
    """
    argv = ["python3", script(place, "resolve.py", code), API, "nothing.invalid"]
    fake, real = runs(argv).stdout.decode().split()
    assert fake.startswith(FAKE) and real == "unknown"
    (place / "run.yaml").write_text(json.dumps(make_config(unmatched="deny")))
    assert all(a.startswith(FAKE) for a in runs(argv).stdout.decode().split())


@pytest.fixture(scope="session")
def private_host(folder):
    """A TLS server on loopback whose CA nobody knows: its port, the CA's file, and a directory with the CA under its hashed name."""
    d = folder / "private"
    d.mkdir()
    do = lambda *argv: subprocess.run(argv, check=True, capture_output=True, cwd=d)
    do("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "ca.pem",
       "-addext", "subjectAltName=DNS:localhost")
    (d / "hashed").mkdir()
    shutil.copy(d / "ca.pem", d / "hashed" / (subprocess.run(["openssl", "x509", "-noout", "-subject_hash", "-in", d / "ca.pem"], check=True, capture_output=True).stdout.decode().strip() + ".0"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(d / "ca.pem", d / "key.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}/", d
    server.shutdown()


@pytest.mark.parametrize("variable, program", [("CURL_CA_BUNDLE", "curl"), ("SSL_CERT_FILE", "curl"), ("SSL_CERT_DIR", "curl"), ("SSL_CERT_FILE", "python3"), ("REQUESTS_CA_BUNDLE", "requests"),
                                               ("NODE_EXTRA_CA_CERTS", "node")])
def test_a_private_ca_of_before_stays_trusted(variable, program, runs, private_host, place, auth):
    url, folder = private_host
    value = folder / "hashed" if variable == "SSL_CERT_DIR" else folder / "ca.pem"
    argv = {"curl": ["curl", "-sS", "-o", os.devnull, url], "python3": ["python3", "-c", f"import urllib.request as u; u.urlopen('{url}')"],
            "requests": ["/usr/bin/python3", "-c", f"import requests; requests.get('{url}')"],
            "node": ["node", "--dns-result-order=ipv4first", "-e", f"require('https').get('{url}', (r) => r.resume()).on('error', (e) => {{ console.error(e); process.exit(1) }})"]}[program]
    assert run(argv, environment(place)).returncode != 0
    done = runs(argv, env={variable: str(value)})
    assert done.returncode == 0, done
    saw_live_token(runs(argv_of("curl", place), env={variable: str(value)}), auth)


def test_a_ca_variable_of_before_that_names_no_bundle_is_reported_and_harms_nobody(runs, place, auth):
    (place / "text").write_text("not PEM")
    done = runs(argv_of("curl", place), env={"CURL_CA_BUNDLE": str(place / "none"), "PIP_CERT": str(place / "text")})
    saw_live_token(done, auth)
    assert b"CURL_CA_BUNDLE names" in done.stderr and b"PIP_CERT names" in done.stderr


def test_a_program_that_changes_its_user_reads_the_bundle_and_uses_the_proxy(runs, place, auth):
    if os.geteuid():
        pytest.skip("needs root to change users")
    saw_live_token(runs(["setpriv", "--reuid=nobody", "--clear-groups", *argv_of("curl", place)]), auth)


PRIVATE = """
    ip link set lo up && ip address add 10.9.8.7/32 dev lo && ip address add 169.254.169.254/32 dev lo || exit 77
    cd "$WWW" && python3 -m http.server 8000 >/dev/null 2>&1 & server=$!
    for i in $(seq 100); do curl -so /dev/null http://10.9.8.7:8000/ && break; sleep 0.05; done
    $SIDEKEY run -c $CONFIG --layers env $SET -- sh -c '
        unset no_proxy NO_PROXY
        for address in 10.9.8.7 127.0.0.9 169.254.169.254; do
            curl -so /dev/null -w "%{http_code} " http://$address:8000/; curl -spo /dev/null -w "%{http_code} " http://$address:8000/
        done'
    kill $server
"""


@pytest.mark.parametrize("said, reached", [("", b"200 200 403 000 403 000 "), ("--set unmatched_private=refuse", b"403 000 403 000 403 000 ")], ids=["default", "refuse"])
def test_hosts_without_a_rule_may_be_private_and_nothing_else(said, reached, config_file, place):
    """By a plain request and by CONNECT."""
    env = environment(place, {"SIDEKEY": str(SIDEKEY), "CONFIG": str(config_file), "WWW": str(place), "SET": said})
    done = run(["unshare", "--net", *([] if os.geteuid() == 0 else ["-Ur"]), "sh", "-c", textwrap.dedent(PRIVATE)], env)
    if done.returncode == 77 or b"unshare" in done.stderr:
        pytest.skip("no network namespaces here: " + done.stderr.decode())
    assert done.stdout == reached, done


# --- proxies of before ---

class OtherProxy:
    """A proxy that refuses; what it was asked for."""

    def __init__(self):
        self.asked = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                peer.settimeout(5)
                with contextlib.suppress(OSError), peer:
                    first = peer.recv(4096)
                    if first[:1] == b"\5":
                        peer.sendall(b"\5\0")
                        first += peer.recv(4096)
                    self.asked += first
                    peer.sendall(b"HTTP/1.1 502 not here\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def other_proxy():
    made = OtherProxy()
    yield made
    made.listener.close()


HTTP_CLIENT = """
    import http.client, sys
    c = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]))
    c.set_tunnel(sys.argv[2])
    c.request("GET", "/v2/echo")
"""


@pytest.mark.parametrize("program", ["curl", "curl by SOCKS5", "python3", pytest.param("java", marks=pytest.mark.world)])
def test_a_program_that_asks_another_proxy_for_a_rules_host_is_refused_aloud(program, runs, other_proxy, place):
    at = f"127.0.0.1:{other_proxy.port}"
    if program == "java" and not shutil.which("java"):
        pytest.skip("java is not installed")
    argv = {"curl": ["curl", "-sS", "-x", f"http://{at}", URL], "curl by SOCKS5": ["curl", "-sS", "-x", f"socks5h://{at}", URL],
            "python3": ["python3", script(place, "tunnel.py", HTTP_CLIENT), str(other_proxy.port), API],
            "java": ["java", "-Dhttps.proxyHost=127.0.0.1", f"-Dhttps.proxyPort={other_proxy.port}", script(place, "Get.java", JAVA), URL]}[program]
    done = runs(argv)
    assert done.returncode != 0
    assert API.encode() not in other_proxy.asked
    assert f"asked another proxy for {API}, a host of a rule: refused" in done.stderr.decode()
    other = runs(["curl", "-sS", "-x", f"http://{at}", "https://other.sidekey.test/"])
    assert b"asked another proxy" not in other.stderr and b"CONNECT other.sidekey.test:443" in other_proxy.asked


CORPORATE = "proxy.corporate.test:3128"  # nobody knows this name: whoever asks it gets nowhere


LAYERS = ("auto", "env", "preload")


@pytest.mark.parametrize("where, layers", [
    *[(where, layers) for where in ("ALL_PROXY", "HTTPS_PROXY", ".curlrc", ".curlrc noproxy", ".wgetrc", ".gitconfig", ".gitconfig of the host", "GIT_CONFIG") for layers in LAYERS],
    *[pytest.param(where, layers, marks=pytest.mark.world) for where in (".npmrc", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS") for layers in LAYERS],
])
def test_a_proxy_of_before_leads_nobody_around_us(where, layers, make_config, place, auth):
    config = make_config()
    (place / "run.yaml").write_text(json.dumps(config))
    home = place / "home"
    home.mkdir()
    env, argv, url = {"HOME": str(home)}, argv_of("curl", place), "https://git.sidekey.test/repo.git"
    files = {".curlrc": f'proxy = "http://{CORPORATE}"', ".curlrc noproxy": "noproxy = *", ".wgetrc": f"https_proxy = http://{CORPORATE}/", ".npmrc": f"https-proxy=http://{CORPORATE}",
             ".gitconfig": f"[http]\n\tproxy = http://{CORPORATE}\n", ".gitconfig of the host": f'[http "https://git.sidekey.test/"]\n\tproxy = http://{CORPORATE}\n'}
    if where in files:
        (home / where.split()[0]).write_text(files[where] + "\n")
    if where.endswith("_PROXY"):
        env[where] = f"http://u:p@{CORPORATE}"
    if "JAVA" in where:
        if not shutil.which("java"):
            pytest.skip("java is not installed")
        env[where] = f"-Dfile.encoding=UTF-8 -Dhttps.proxyHost={CORPORATE.split(':')[0]} -Dhttps.proxyPort=3128"
        argv = argv_of("java", place)
    if "git" in where.lower():
        argv = ["git", "ls-remote", url]
    if where == "GIT_CONFIG":
        env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.proxy", "GIT_CONFIG_VALUE_0": f"http://{CORPORATE}"}
    if where == ".wgetrc":
        argv = ["wget", "-qO-", "--header", f"Authorization: {PLACEHOLDER}", URL]
    if where == ".npmrc":
        argv = ["npm", "view", "anything", "--registry", f"https://{API}/v2/echo", "--fetch-retries=0", "--no-update-notifier"]
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    flags = ["--layers", layers, *(["--java"] if "JAVA" in where and layers == "env" else [])]
    done = run([SIDEKEY, "run", "-c", place / "run.yaml", *flags, "--", *argv], environment(place, env))
    if "git" in where.lower():
        assert done.returncode == 0 and b"HEAD" in done.stdout, done
    elif where == ".npmrc":
        assert auth.requests, done
    else:
        saw_live_token(done, auth)
    if where not in (".curlrc noproxy",) and "GIT_CONFIG" != where:
        assert CORPORATE in done.stderr.decode() and "u:p" not in done.stderr.decode(), done
    gone(place)


def test_another_proxy_still_leads_to_hosts_without_a_rule(make_config, place, other_proxy):
    config = make_config()
    config["network"]["resolve"][CORPORATE] = f"127.0.0.1:{other_proxy.port}"
    (place / "run.yaml").write_text(json.dumps(config))
    (place / ".curlrc").write_text(f'proxy = "http://{CORPORATE}"\n')
    done = run([SIDEKEY, "run", "-c", place / "run.yaml", "--layers", "preload", "--", "curl", "-sS", "https://other.test/"], environment(place, {"HOME": str(place)}))
    assert b"502" in done.stderr and b"CONNECT other.test:443" in other_proxy.asked, done
    gone(place)


# --- trust without a variable ---

@pytest.mark.parametrize("program", ["wget", pytest.param("php", marks=pytest.mark.world), pytest.param("php by curl", marks=pytest.mark.world)])
def test_programs_that_take_their_trust_from_a_file_get_one_that_has_theirs_too(program, runs, place, auth):
    if not shutil.which(program.split()[0]):
        pytest.skip(f"{program} is not installed")
    (place / ".wgetrc").write_text("header = X-Mine: kept")
    code = f"""$c = curl_init('{URL}'); curl_setopt($c, CURLOPT_HTTPHEADER, ['Authorization: {PLACEHOLDER}']); curl_exec($c);"""
    streams = f"""echo file_get_contents('{URL}', false, stream_context_create(['http' => ['proxy' => str_replace('http', 'tcp', preg_replace('#//.*@#', '//', getenv('https_proxy'))),
        'request_fulluri' => false, 'header' => 'Authorization: {PLACEHOLDER}']]));"""
    argv = {"wget": ["wget", "-qO-", "--header", f"Authorization: {PLACEHOLDER}", URL], "php": ["php", "-r", streams], "php by curl": ["php", "-r", code]}[program]
    saw_live_token(runs(argv, "--layers", "env", env={"HOME": str(place)}), auth)
    if program == "wget":
        assert auth.requests[-1]["headers"].get("x-mine") == "kept"


# --- no room ---

def test_a_full_file_system_fails_the_connection_and_kills_nobody(config_file, place):
    """The run's directory on a tmpfs that fills up once the program has started."""
    if os.geteuid():
        pytest.skip("needs root to mount")
    code = f"""
        mount -t tmpfs -o size=4m tmpfs /run || exit 99
        exec {SIDEKEY} run -c {config_file} --layers preload -- sh -c '
            dd if=/dev/zero of=/run/filler bs=4k 2>/dev/null
            curl -sS -o /dev/null {URL}; echo $?; rm -f /run/filler
            curl -sS -o /dev/null -w "%{{http_code}}" -H "Authorization: placeholder" {URL}'
    """
    done = run(["unshare", "--mount", "--propagation", "private", "sh", "-c", textwrap.dedent(code)], environment(place))
    assert done.returncode == 0 and done.stdout.split() == [b"6", b"200"], done
    gone(place)


def test_a_file_size_limit_is_an_error_that_names_the_table(config_file, place):
    done = run(["sh", "-c", f"ulimit -f 1000; exec {SIDEKEY} run -c {config_file} -- true"], environment(place))
    assert done.returncode not in (0, -signal.SIGXFSZ) and b"preload.table: File too large" in done.stderr, done
    gone(place)
