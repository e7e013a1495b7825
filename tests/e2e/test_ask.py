"""status, refresh and healthcheck ask a running sidekey."""
import json
import os
import re
import signal
import stat
import subprocess

import pytest
from harness import PATIENCE_S, SIDEKEY, Process, Sidekey, environment, run, until


@pytest.fixture
def asks(sidekey, place):
    """asks("status"): the command with the config of the running sidekey and the port that it has got."""
    def go(*argv):
        config = {**sidekey.config, "listen": {**sidekey.config["listen"], "admin": f"{sidekey.admin[0]}:{sidekey.admin[1]}"}}
        path = place / "ask.yaml"
        path.write_text(json.dumps(config))
        return run([SIDEKEY, argv[0], "-c", path, *argv[1:]], environment(place))
    return go


def test_status_shows_state_and_generation_and_no_token(asks, sidekey, auth):
    sidekey.request()
    done = asks("status")
    head, row = done.stdout.decode().splitlines()
    assert done.returncode == 0 and head.split()[0] == "CREDENTIAL"
    assert row.split()[:3] == ["crm", "usable", "1"]
    assert not [s for s in auth.secrets if s in done.stdout.decode()]


def test_refresh_makes_a_new_generation_and_says_so(asks, sidekey, auth):
    sidekey.request()
    before = auth.counts["refreshes"]
    done = asks("refresh", "crm")
    assert (done.returncode, done.stdout) == (0, b"crm: refreshed\n"), done
    assert auth.counts["refreshes"] == before + 1
    assert asks("status").stdout.decode().splitlines()[1].split()[2] == "2"


def test_a_credential_that_no_rule_uses_yet_is_refreshed_too(start, make_config, place, auth):
    config = make_config()
    config["credentials"]["spare"] = {**config["credentials"]["crm"], "refresh_token": make_config.write("spare-token", auth.mint()["refresh_token"])}
    sidekey = start(config)
    until("the first tokens", lambda: sidekey.get_admin("/readyz")[0] == 200)
    before = auth.counts["refreshes"]
    assert sidekey.get_admin("/refresh/spare", "POST") == (200, "refreshed\n")
    assert auth.counts["refreshes"] == before + 1
    assert [c["generation"] for c in json.loads(sidekey.get_admin("/status")[1])["credentials"]] == [1, 2]
    auth.faults(*[{"kind": "status", "status": 500}] * 50)
    status, text = sidekey.get_admin("/refresh/spare", "POST")
    auth.clear_faults()
    assert status == 503 and "HTTP 500" in text or "a moment ago" in text, text
    for name in ("nobody", "", "crm%20", "x" * 500):
        assert sidekey.get_admin(f"/refresh/{name}", "POST") == (404, "there is no credential of that name\n")


def test_refresh_says_why_it_could_not(asks, sidekey, auth):
    sidekey.request()
    auth.faults(*[{"kind": "status", "status": 500}] * 50)
    done = asks("refresh", "crm")
    auth.clear_faults()
    assert done.returncode == 69 and done.stderr.startswith(b"crm: ") and len(done.stderr) > 10
    assert sidekey.request()[0] == 200, "the token at hand still serves"


def test_a_name_that_is_no_credential_is_told(asks):
    done = asks("refresh", "crn")
    assert done.returncode == 64 and b"crn" in done.stderr


def test_healthcheck_follows_readiness(asks, sidekey):
    sidekey.request()
    assert asks("healthcheck").returncode == 0


def test_nobody_there_is_a_clear_error(asks, sidekey):
    sidekey.stop()
    for argv in (["status"], ["refresh", "crm"], ["healthcheck"]):
        done = asks(*argv)
        assert done.returncode == 69 and b"is sidekey running" in done.stderr, done


# --- listen.admin_socket ---

def ask_by(place, config, *argv):
    path = place / "by.yaml"
    path.write_text(json.dumps(config))
    return run([SIDEKEY, argv[0], "-c", path, *argv[1:]], environment(place))


@pytest.fixture
def quiet(make_config, start):
    """No admin port: the socket alone.  quiet(admin_socket=…)"""
    def go(**listen):
        config = make_config()
        config["listen"].update(admin="off", **listen)
        return start(config)
    return go


def test_operators_have_a_socket_that_is_theirs_alone(quiet, place):
    sidekey = quiet()
    at = f"{sidekey.config['store']['file']}/admin.sock"
    assert stat.S_IMODE(os.stat(at).st_mode) == 0o600
    sidekey.request()
    assert ask_by(place, sidekey.config, "healthcheck").returncode == 0
    assert b"usable" in ask_by(place, sidekey.config, "status").stdout
    assert ask_by(place, sidekey.config, "refresh", "crm").stdout == b"crm: refreshed\n"
    assert ask_by(place, sidekey.config, "ca", "rotate").returncode == 0
    sidekey.stop()
    assert not os.path.exists(at)
    done = ask_by(place, sidekey.config, "status")
    assert done.returncode == 69 and b"is sidekey running" in done.stderr, done


def test_reload_says_what_happened(quiet, place):
    sidekey = quiet()
    workers = set(sidekey.children())
    done = ask_by(place, sidekey.config, "reload")
    assert done.returncode == 0 and b"unchanged" in done.stdout and workers == set(sidekey.children()), done
    sidekey.file.touch()
    done = ask_by(place, sidekey.config, "reload")
    assert done.returncode == 0 and done.stdout == b"reloaded\n", done
    until("new processes", lambda: len(sidekey.children()) == 2 and not workers & set(sidekey.children()))
    done = ask_by(place, {**sidekey.config, "unmatched": "nonsense"}, "reload")
    assert done.returncode == 78 and b"unmatched" in done.stderr, done
    sidekey.file.write_text("{")
    done = ask_by(place, sidekey.config, "reload")
    assert done.returncode == 69 and b"refused" in done.stderr, done


def test_the_socket_is_asked_after_many_reloads(quiet, place):
    sidekey = quiet()
    for _ in range(5):
        sidekey.file.touch()
        assert ask_by(place, sidekey.config, "reload").stdout == b"reloaded\n"
        until("ready", lambda: ask_by(place, sidekey.config, "healthcheck").returncode == 0)


def test_a_socket_that_a_dead_sidekey_left_is_replaced(quiet, place, start):
    sidekey = quiet()
    at, children = f"{sidekey.config['store']['file']}/admin.sock", sidekey.children()
    sidekey.popen.send_signal(signal.SIGKILL)
    sidekey.popen.wait()
    sidekey.expected_dead = True
    assert os.path.exists(at)
    until("its children are gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children))
    again = start(sidekey.config)
    until("ready", lambda: ask_by(place, again.config, "healthcheck").returncode == 0)


def test_the_default_place_may_be_taken_or_too_long_and_a_named_one_may_not(quiet, place, start, make_config):
    first = quiet()
    at = f"{first.config['store']['file']}/admin.sock"
    second = start(make_config())
    assert b"no admin socket" in second.out.read_bytes()
    assert second.get_admin("/livez")[0] == 200
    deep = make_config()
    deep["store"]["file"] = str(place / ("x" * 110))
    third = start(deep)
    assert b"107 bytes" in third.out.read_bytes()
    by_port = {**deep, "listen": {"admin": f"127.0.0.1:{third.admin[1]}"}}
    assert ask_by(place, by_port, "status").returncode == 0
    named = make_config(listen={"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0", "admin_socket": at})
    fourth = Sidekey(place, named, name="fourth")
    assert fourth.popen.wait(PATIENCE_S) == 69
    assert b"listen.admin_socket" in fourth.out.read_bytes()


def test_the_socket_may_be_elsewhere_or_off(quiet, place):
    sidekey = quiet(admin_socket=str(place / "ops"))
    until("ready", lambda: ask_by(place, sidekey.config, "healthcheck").returncode == 0)
    config = json.loads(json.dumps(sidekey.config))
    config["listen"]["admin_socket"] = "off"
    done = ask_by(place, config, "status")
    assert done.returncode == 78 and b"this command needs one of them" in done.stderr, done
    sidekey.file.write_text(json.dumps(config))
    sidekey.popen.send_signal(signal.SIGHUP)
    until("the name is gone", lambda: not os.path.exists(place / "ops"))
    assert not os.path.exists(f"{config['store']['file']}/admin.sock")


# --- status for people, and without a configuration ---

def at(sidekey):
    return f"{sidekey.admin[0]}:{sidekey.admin[1]}"


def on_terminal(argv, env, cwd):
    """(exit status, what a terminal of 80 columns shows)."""
    read_end, write_end = os.openpty()
    child = subprocess.Popen([str(a) for a in argv], stdin=write_end, stdout=write_end, stderr=write_end, env=env, cwd=cwd)
    os.close(write_end)
    shown = b""
    try:
        while piece := os.read(read_end, 4096):
            shown += piece
    except OSError:  # EIO: nobody has the other end
        pass
    os.close(read_end)
    return child.wait(PATIENCE_S), shown.decode()


def test_status_fits_80_columns_with_relative_times_and_colours_only_terminals(sidekey, auth, place):
    sidekey.request()
    argv = [SIDEKEY, "status", "--admin", at(sidekey)]
    plain = run(argv, environment(place)).stdout.decode()
    head, row = plain.splitlines()
    assert re.match(r"crm +usable +1  in \d+ (min|s|h)  +in \d+ (min|s|h)$", row), plain
    assert max(map(len, plain.splitlines())) <= 80 and "\033" not in plain
    status, shown = on_terminal(argv, environment(place), place)
    assert status == 0 and "\033[32musable" in shown
    assert "\033" not in on_terminal(argv, environment(place, {"NO_COLOR": "1"}), place)[1]
    assert json.loads(run([*argv, "--json"], environment(place)).stdout)["credentials"][0]["name"] == "crm"


def test_a_long_error_is_wrapped_below_its_credential(start, make_config, auth, place):
    config = make_config("a-credential-with-a-name-of-forty-letters")
    auth.ask("/revoke_grant", {"grant": make_config.grant})
    sidekey = start(config)
    argv = [SIDEKEY, "status", "--admin", at(sidekey)]
    plain = until("the verdict", lambda: (text := run(argv, environment(place)).stdout.decode()) and "reauth" in text and text)
    lines = plain.splitlines()
    assert len(lines) > 2 and lines[1].startswith("a-credential-with-a-nam~ reauth") and lines[2].startswith("  "), plain
    assert max(map(len, lines)) <= 80 and not [s for s in auth.secrets if s in plain]


def test_watch_shows_it_again_until_it_is_interrupted(sidekey, place):
    sidekey.request()
    watch = Process("watch", [SIDEKEY, "status", "--admin", at(sidekey), "--watch"], place, environment(place))
    until("it was shown twice", lambda: watch.out.read_bytes().count(b"CREDENTIAL") >= 2)
    assert watch.stop(signal.SIGINT) == -signal.SIGINT


@pytest.mark.parametrize("argv", [["healthcheck"], ["status"]])
def test_only_the_address_is_needed_and_the_configuration_is_not_judged(sidekey, place, argv):
    """A typo on disk makes no healthy proxy unhealthy."""
    assert sidekey.request()[0] == 200
    broken = place / "broken.yaml"
    broken.write_text("rules: [")
    host, port = sidekey.admin
    runtime = place / "runtime"
    runtime.mkdir()
    (runtime / "sidekey.run").write_text(json.dumps({"pid": sidekey.pid, "config": str(broken), "admin": f"{host}:{port}", "admin_socket": ""}))
    for env, flags in [({"SIDEKEY_LISTEN_ADMIN": at(sidekey)}, []), ({}, ["--admin", at(sidekey)]), ({"SIDEKEY_CONFIG": str(broken)}, ["--set", f"listen.admin={at(sidekey)}"]),
                       ({}, ["-c", broken, "--admin", at(sidekey)]), ({"RUNTIME_DIRECTORY": str(runtime)}, []), ({"RUNTIME_DIRECTORY": str(runtime)}, ["-c", broken])]:
        done = run([SIDEKEY, *argv, *flags], environment(place, env), cwd=place / "ca")
        assert done.returncode == 0, (env, flags, done)
    done = run([SIDEKEY, *argv, "--admin", "nonsense:"], environment(place))
    assert done.returncode == 64 and b"IP:PORT" in done.stderr


def test_a_running_sidekey_writes_where_it_is_and_takes_that_away(start, make_config, place):
    runtime = place / "runtime"
    runtime.mkdir()
    sidekey = start(make_config(), env={"RUNTIME_DIRECTORY": str(runtime)})
    assert sidekey.request()[0] == 200
    told = json.loads((runtime / "sidekey.run").read_text())
    assert told["pid"] == sidekey.pid and told["admin"] == at(sidekey) and told["config"] == str(sidekey.file.resolve())
    sidekey.file.write_text("{")
    assert run([SIDEKEY, "healthcheck", "-c", sidekey.file], environment(place, {"RUNTIME_DIRECTORY": str(runtime)})).returncode == 0
    assert sidekey.stop() == 0 and not (runtime / "sidekey.run").exists()


@pytest.mark.parametrize("role", ["keeper", "worker 1"])
def test_livez_tells_of_a_process_that_stands_still(start, make_config, role):
    sidekey = start(make_config(workers=2))
    workers = sorted(pid for pid, name in sidekey.children().items() if "worker" in name)
    assert sidekey.get_admin("/livez") == (200, "ok\n")
    for frozen in [sidekey.child("keeper")] if role == "keeper" else workers:  # either of them may be the one that answers
        os.kill(frozen, signal.SIGSTOP)
        try:
            told = until("it is told", lambda: frozen_is_told(sidekey))
        finally:
            os.kill(frozen, signal.SIGCONT)
        assert re.fullmatch(role.split()[0] + r" \d has not answered for \d+ s\n", told), told
        until("all is well", lambda: sidekey.get_admin("/livez") == (200, "ok\n"))


def frozen_is_told(sidekey):
    """A connection that the frozen worker has taken ends in a timeout, and the next one finds the other."""
    try:
        status, text = sidekey.get_admin("/livez")
    except OSError:
        return None
    assert status == 200  # not yet a minute
    return text if "not answered" in text else None
