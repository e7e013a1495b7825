"""What an operator gets wrong, and what is said about it: message and exit status."""
import json
import os
import pathlib
import re
import socket
import subprocess

import harness
import pytest
from harness import SIDEKEY, environment, run

EX_CONFIG, EX_UNAVAILABLE, EX_IOERR, EX_NOPERM, EX_NOINPUT, EX_USAGE, EX_DATAERR = 78, 69, 74, 77, 66, 64, 65


def serve(place, config, text=None, args=(), env=None):
    """The end of a `sidekey serve` that cannot start."""
    path = place / "broken.yaml"
    path.write_text(text if text is not None else json.dumps(config, indent=1))
    done = run([SIDEKEY, "serve", "-c", path, *args], environment(place, env), seconds=harness.PATIENCE_S)
    return done.returncode, (done.stderr + done.stdout).decode()


def refused(place, config, status, *words, **kw):
    code, said = serve(place, config, **kw)
    assert code in (status if isinstance(status, tuple) else (status,)), (code, said)
    for word in words:
        assert re.search(word, said), (word, said)
    assert not harness.SANITIZER.search(said.encode()), said
    return said


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_one(place, make_config):
    refused(place, make_config(unmatchd="deny"), EX_CONFIG, r"broken\.yaml:\d+:\d+", "unmatchd", "unmatched")


def test_a_repeated_key_is_refused(place):
    refused(place, None, EX_CONFIG, r"broken\.yaml:2:\d+", "unmatched", text="unmatched: deny\nunmatched: tunnel\n")


def test_an_alias_is_refused(place):
    refused(place, None, EX_CONFIG, r"broken\.yaml:\d+:\d+", text="store: &a {file: /tmp/x}\nca: *a\n")


WRONG = {
    "a list where a text belongs": {"unmatched": ["deny"]},
    "a word that is none of the three": {"unmatched": "allow"},
    "a port beyond 65535": {"listen": {"proxy": "127.0.0.1:70000"}},
    "a duration without a unit": {"limits": {"drain": "soon"}},
    "rules that are no list": {"rules": {"host": "x"}},
    "no workers at all": {"workers": 0},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(place, make_config, what):
    refused(place, make_config(**WRONG[what]), EX_CONFIG, r"broken\.yaml:\d+:\d+", next(iter(WRONG[what])))


def test_a_rule_with_an_unknown_credential_is_refused(place, make_config):
    config = make_config()
    config["rules"][0]["credential"] = "cmr"
    refused(place, config, EX_CONFIG, "cmr", "crm")


def test_a_secret_written_into_the_file_is_refused_and_not_repeated(place, make_config):
    config = make_config()
    config["credentials"]["crm"]["client_secret"] = "literal-secret-in-the-file"
    said = refused(place, config, EX_CONFIG, r"broken\.yaml:\d+:\d+", "client_secret")
    assert "literal-secret-in-the-file" not in said


def test_a_token_url_in_the_clear_is_refused(place, make_config):
    config = make_config()
    config["credentials"]["crm"]["token_url"] = "http://login.example.test/token"
    refused(place, config, EX_CONFIG, "token_url", "https")


def test_a_file_that_is_no_yaml_is_refused(place):
    refused(place, None, EX_CONFIG, r"broken\.yaml:\d+", text="a: [1, 2\nb: }\n")


def test_a_config_that_is_not_there(place):
    done = run([SIDEKEY, "serve", "-c", place / "nowhere.yaml"], environment(place))
    assert done.returncode in (EX_NOINPUT, EX_CONFIG) and b"nowhere.yaml" in done.stderr


def test_an_unknown_command_or_option_is_a_usage_error(place):
    for argv in (["sevre"], ["serve", "--no-such-option"]):
        done = run([SIDEKEY, *argv], environment(place))
        assert done.returncode == EX_USAGE, (argv, done)
        assert done.stderr


def test_flags_may_stand_before_the_command(place, make_config):
    path = place / "before.yaml"
    path.write_text(json.dumps(make_config()))
    for before in (["-c", path], [f"-c{path}"], ["--config", path], [f"--config={path}"], ["-c", path, "--set", "workers=2"], ["--set=workers=2", "--allow-inline-secrets", "-c", path]):
        done = run([SIDEKEY, *before, "check"], environment(place))
        assert done.returncode == 0 and b": ok: " in done.stdout, (before, done)
    assert run([SIDEKEY, "-c", path, "check", "--help"], environment(place)).stdout.startswith(b"sidekey check: ")
    for alone in (["-c"], ["-c", path], ["--set", "workers=2"]):
        done = run([SIDEKEY, *alone], environment(place))
        assert done.returncode == EX_USAGE and b"the command is missing" in done.stderr, (alone, done)
    assert run([SIDEKEY, "-c", path, "--no-such-flag", "check"], environment(place)).returncode == EX_USAGE


def test_a_port_in_use_is_named(place, make_config):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = make_config(listen={"proxy": f"127.0.0.1:{port}", "admin": "127.0.0.1:0"})
        refused(place, config, (EX_UNAVAILABLE, EX_IOERR), str(port), "(?i)in use")


def test_a_missing_ca_file_of_a_rule_is_named(place, make_config):
    config = make_config()
    config["rules"][0]["tls"]["ca_file"] = "/nonexistent/corp-ca.pem"
    refused(place, config, (EX_CONFIG, EX_NOINPUT, EX_IOERR), "corp-ca.pem")


def test_a_missing_secret_file_is_told_where_it_matters(start, make_config):
    """The program runs (the file may come later); the request that needs the credential says what is missing."""
    config = make_config()
    config["credentials"]["crm"]["refresh_token"] = {"file": "/nonexistent/refresh-token"}
    config["limits"]["token_wait"] = "1s"
    sidekey = start(config)
    answer = sidekey.request()
    assert answer[0] == 503
    assert "/nonexistent/refresh-token" in json.dumps(harness.problem(answer)) + sidekey.out.read_text() + sidekey.err.read_text()


def test_check_finds_a_missing_secret_file(place, make_config):
    config = make_config()
    config["credentials"]["crm"]["refresh_token"] = {"file": "/nonexistent/refresh-token"}
    path = place / "checked.yaml"
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    assert done.returncode == EX_CONFIG and b"/nonexistent/refresh-token" in done.stderr + done.stdout
    path.write_text(json.dumps(make_config()))
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    assert done.returncode == 0, done


def test_check_refuses_a_secret_that_could_never_be_sent(place, make_config):
    config = make_config()
    config["credentials"]["crm"]["refresh_token"] = make_config.write("refresh-token", "hunter2\r\nhunter3\r\n")
    path = place / "checked.yaml"
    path.write_text(json.dumps(config))
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    said = done.stderr + done.stdout
    assert done.returncode == EX_CONFIG and b"credentials.crm.refresh_token" in said and b"byte 8 is a line break" in said and b"hunter" not in said


PEM = subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], check=True, capture_output=True).stdout.decode()
KEYS = {
    "a password": ("hunter2", "client_id: me", b"key"),
    "JSON of another kind": ('{"type": "authorized_user"}', "client_id: me", b"JSON without private_key and client_email"),
    "a public key": (subprocess.run(["openssl", "pkey", "-pubout"], input=PEM.encode(), check=True, capture_output=True).stdout.decode(), "client_id: me", b"key"),
    "a key of nobody": (PEM, "client_auth: none", b"names no account"),
}


@pytest.mark.parametrize("what", KEYS)
def test_check_refuses_a_key_that_could_not_sign(place, make_config, what):
    text, more, says = KEYS[what]
    key = make_config.write("key", text)["file"]
    path = place / "checked.yaml"
    path.write_text(f"credentials:\n  robot:\n    grant: jwt_bearer\n    token_url: https://login.example/token\n    {more}\n    assertion:\n      key: {{file: {key}}}\n")
    done = run([SIDEKEY, "check", "-c", path], environment(place))
    said = done.stderr + done.stdout
    assert done.returncode == EX_CONFIG and b"checked.yaml:7:12: credentials.robot.assertion.key: " in said and says in said and b"hunter2" not in said, said


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc/self/ns/user"), reason="needs a user namespace")
def test_a_state_directory_that_cannot_be_used_is_named(place, make_config):
    (place / "a-file").write_text("not a directory")
    config = make_config(store={"file": str(place / "a-file" / "state")})
    refused(place, config, (EX_IOERR, EX_NOPERM, EX_CONFIG), "a-file/state")


def test_a_wrong_seal_key_is_told_and_the_state_is_kept(start, make_config, auth, place):
    """It says what to do, and never spends the first refresh token again."""
    config = make_config()
    first = start(config, name="first")
    assert first.request()[0] == 200
    first.stop()
    before = (place / "state/crm.state").read_bytes()
    spent = auth.counts["token_requests"]
    (place / "seal").write_text("5e2a90c7d1b8f3466a07e9d25c1b84f3709ed6a2b58c41f70e3d92a6c4b8175d")
    said = refused(place, config, EX_CONFIG, "sealed with another key", "crm.state")
    assert "5e2a90c7" not in said
    assert (place / "state/crm.state").read_bytes() == before and auth.counts["token_requests"] == spent
    (place / "seal").write_text("9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28")
    assert start(config, name="third").request()[0] == 200
    auth.healthy()


def test_an_environment_variable_overrides_the_file(start, make_config):
    sidekey = start(make_config(unmatched="tunnel"), env={"SIDEKEY_UNMATCHED": "deny"})
    sock, head = sidekey.tunnel("open.sidekey.test:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 403"), head


def test_why_tells_the_rule_and_never_the_value(sidekey, auth):
    done = run([SIDEKEY, "why", "-c", sidekey.file, "GET", f"https://{harness.API}/v2/x"], environment(sidekey.folder))
    said = done.stdout.decode()
    assert done.returncode == 0 and "crm" in said and "authorization" in said.lower(), done
    assert not [s for s in auth.secrets if s in said]


# --- a small memory limit ---

MEMORY = pathlib.Path("/sys/fs/cgroup/memory")  # version 1; in version 2 a container may not make one


@pytest.mark.skipif(not os.access(MEMORY / "cgroup.procs", os.W_OK), reason="no memory cgroup of version 1 can be made here")
def test_limits_that_do_not_fit_the_memory_are_told_and_those_that_are_left_out_follow_it(make_config, place):
    group = MEMORY / f"sidekey-test-{os.getpid()}-{place.name}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 << 20))
        for limits, told in (({}, False), ({"replay_total": "64MiB"}, True), ({"connections": 10000}, True)):
            path = place / "memory.yaml"
            path.write_text(json.dumps(make_config(limits=limits)))
            done = run(["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh", SIDEKEY, "check", path], environment(place))
            assert done.returncode == 0, done
            assert (b"the memory limit is 64 MiB" in done.stderr) == told, (limits, done.stderr)
    finally:
        group.rmdir()
