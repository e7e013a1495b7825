"""sidekey run -- PROGRAM: a proxy of its own, the program's environment, its status; and the preload layer for programs that know no proxy."""
import json
import os
import shutil
import signal
import subprocess
import textwrap

import pytest
from harness import API, PLACEHOLDER, SIDEKEY, environment, process_name, run, until

URL = f"https://{API}/v2/echo"
PROXY_WORDS = ("proxy",)


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


@pytest.mark.parametrize("argv,status", [(["true"], 0), (["sh", "-c", "exit 37"], 37), (["sh", "-c", "kill -TERM $$"], 128 + 15),
                                         (["./no-such-program"], 127), (["/etc/passwd"], 126)])
def test_the_programs_exit_status_is_ours(argv, status, runs):
    assert runs(argv).returncode == status


def test_stdin_and_stdout_belong_to_the_program(config_file, place):
    done = subprocess.run([SIDEKEY, "run", "-c", config_file, "--", "cat"], env=environment(place), input=b"to and fro\n", capture_output=True, timeout=30, check=False)
    assert done.stdout == b"to and fro\n" and done.returncode == 0


def test_a_signal_for_us_is_passed_on_and_the_program_decides(config_file, place):
    code = "trap 'echo caught; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, "--", "sh", "-c", code], env=environment(place), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert p.stdout.readline() == b"up\n"
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=30)
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


def test_somebody_elses_program_cannot_use_the_private_proxy(config_file, place):
    p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, "--", "sh", "-c", "echo $HTTPS_PROXY; exec sleep 20"], env=environment(place), stdout=subprocess.PIPE)
    try:
        proxy = p.stdout.readline().decode().strip()
        open_url = "http://" + proxy.rpartition("@")[2]
        argv = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_connect}", "-k"]
        assert run([*argv, "-x", open_url, URL], environment(place)).stdout == b"407"
        assert run([*argv, "-x", proxy, URL], environment(place)).stdout == b"200"
    finally:
        p.terminate()
        p.wait(30)


def test_nothing_is_left_behind(runs, place):
    done = runs(["sh", "-c", "dirname $SSL_CERT_FILE"], env={"XDG_RUNTIME_DIR": str(place)})
    folder = done.stdout.decode().strip()
    assert folder.startswith(str(place)) and not os.path.exists(folder)
    lines = [process_name(int(pid)) for pid in os.listdir("/proc") if pid.isdigit()]
    assert not [line for line in lines if str(place / "run.yaml") in line]


def test_a_killed_run_takes_its_children_along(config_file, place):
    p = subprocess.Popen([SIDEKEY, "run", "-c", config_file, "--", "sh", "-c", "echo up; exec sleep 60"], env=environment(place), stdout=subprocess.PIPE)
    p.stdout.readline()
    children = [int(c) for c in open(f"/proc/{p.pid}/task/{p.pid}/children").read().split()]
    ours = [c for c in children if "sidekey" in open(f"/proc/{c}/comm").read()]
    assert len(ours) == 2
    p.kill()
    p.wait(10)
    until("keeper and worker end", lambda: not [c for c in ours if os.path.exists(f"/proc/{c}") and "Z" not in open(f"/proc/{c}/stat").read().split()[2]])
    for c in children:
        if c not in ours:
            os.kill(c, signal.SIGKILL)
