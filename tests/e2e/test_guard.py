"""sidekey run --guard: the kernel refuses what the env and preload layers do not see; --strict: children that they cannot cover do not start."""
import contextlib
import json
import os
import signal

import pytest
from harness import API, PLACEHOLDER, SIDEKEY, environment, run
from test_isolate import PLAIN, Listener, argv_of, client, config, ours, plain, saw_live_token, script  # noqa: F401: fixtures


@pytest.fixture
def runs(config, place):  # noqa: F811
    """runs(argv, *flags): the finished program."""
    path = place / "run.yaml"

    def go(argv, *flags, env=None, before=()):
        path.write_text(json.dumps(config))
        done = run([*before, SIDEKEY, "run", "-c", path, *flags, "--", *argv], environment(place, env))
        print("run:", argv, flags, done.returncode, done.stdout.decode("utf-8", "replace")[-2000:], done.stderr.decode("utf-8", "replace")[-4000:])
        return done
    return go


# --- --guard ---

@pytest.mark.parametrize("program", ["curl", "curl --tcp-fastopen", "wget", "python", "node", "java"])
@pytest.mark.parametrize("layers", ["auto", "preload"])
def test_covered_programs_work_under_the_guard(program, layers, runs, auth, place):
    saw_live_token(runs(argv_of(program, place), "--guard", "--layers", layers), auth)


def test_a_host_without_a_rule_is_tunnelled_by_name(runs, auth, pki):
    for layers in ("env", "preload"):
        done = runs(["curl", "-sS", "--cacert", pki / "ca.pem", "-o", os.devnull, "-w", "%{http_code}", "-H", "Authorization: own", "https://open.sidekey.test/open/v2/echo"],
                    "--guard", "--layers", layers)
        assert done.stdout == b"200", done


# EACCES, ENOSYS, EOPNOTSUPP, EPROTONOSUPPORT
@pytest.mark.parametrize("mode, error", [("raw", 13), ("uring", 38), ("fastopen", 95), ("mptcp", 93)])
@pytest.mark.parametrize("kind", ["static", "musl-static"])
def test_a_bare_system_call_reaches_nobody(mode, error, kind, runs, client, plain):  # noqa: F811
    before = len(plain.heard)
    done = runs([client[kind], mode, "127.0.0.1", str(plain.port)], "--guard")
    assert done.stdout == b"errno %d\n" % error and len(plain.heard) == before
    nested = runs(["sh", "-c", f"env -i {client[kind]} {mode} 127.0.0.1 {plain.port}"], "--guard")
    assert nested.stdout == b"errno %d\n" % error and len(plain.heard) == before


def test_allow_local_leaves_one_port_open(runs):
    with contextlib.closing(Listener()) as allowed, contextlib.closing(Listener()) as other:
        curl = "curl -sS -H 'Authorization: mine' http://127.0.0.1:%d/; echo $?; "
        done = runs(["sh", "-c", curl % allowed.port + curl % other.port], "--guard", "--allow-local", allowed.port)
        assert done.stdout == b"authorization=mine0\n7\n" and not other.heard


def test_no_child_gets_a_privilege_and_no_other_architecture_has_a_system_call(runs, place):
    done = runs(["sh", "-c", "grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status"], "--guard")
    assert done.stdout.split() == [b"NoNewPrivs:", b"1", b"Seccomp:", b"2"]
    if os.uname().machine == "x86_64":
        source = script(place, "other.c", 'int main(void) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); return r <= 0; }')
        assert run(["gcc", "-o", place / "other", source]).returncode == 0
        assert runs([place / "other"]).returncode == 0
        assert runs([place / "other"], "--guard").returncode == -signal.SIGSYS


NO_LANDLOCK = """
    import ctypes, os, struct, sys
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("=HBBI", *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 + int(sys.argv[1])), (0x06, 0, 0, 0x7fff0000)))
    class Prog(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
    libc.prctl(38, 1, 0, 0, 0)
    assert libc.prctl(22, 2, ctypes.byref(Prog(len(code) // 8, code))) == 0
    os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("error, reason", [(38, "this kernel has no Landlock"), (95, "Landlock is switched off at boot"), (1, "a seccomp filter or a security module forbids Landlock")])
def test_a_kernel_that_cannot_is_named_and_nothing_starts(error, reason, runs, place):
    started = place / "started"
    done = runs(["touch", started], "--guard", before=["python3", script(place, "no_landlock.py", NO_LANDLOCK), str(error)])
    assert done.returncode == 69 and not started.exists()
    assert reason in done.stderr.decode() and "the program was not started" in done.stderr.decode()
    assert not ours(place)


def test_what_excludes_each_other_is_refused(runs):
    for flags in (["--isolate", "--guard"], ["--allow-local", "80"]):
        assert runs(["true"], *flags).returncode == 64


# --- --strict, children ---

CHILDREN = {
    "sh": "sh -c {p}",
    "execvp": "PATH={d}:$PATH isolate-client-static",
    "env -i": "env -i {p}",
    "subprocess": "python3 -c 'import subprocess; subprocess.run([\"{p}\"])'",
    "posix_spawn": "python3 -c 'import os; os.posix_spawn(\"{p}\", [\"x\"], {{}})'",
    "posix_spawnp": "PATH={d}:$PATH python3 -c 'import os; os.posix_spawnp(\"isolate-client-static\", [\"x\"], os.environ)'",
    "fexecve": "python3 -c 'import os; os.execve(os.open(\"{p}\", os.O_RDONLY), [\"x\"], {{}})'",
    "script": "{w}",
    "system": "python3 -c 'import os; os.environ.clear(); os.system(\"{p}\")'",
    "perl": "perl -e 'exec \"{p}\" or die \"$!\\n\"'",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_cannot_be_covered_does_not_start_under_strict(child, runs, client, plain, place):  # noqa: F811
    """The client ends with 2 when it is given no arguments: that status would show that it ran."""
    wrapper = script(place, "wrapper", f"#!{client['static']}\n")
    command = CHILDREN[child].format(p=client["static"], d=client["static"].parent, w=wrapper)
    done = runs(["sh", "-c", f"{command}; echo status $?; sleep 0.2"], "--strict")
    assert b"status 2\n" not in done.stdout and b"status 0\n" not in done.stdout or child in ("subprocess", "posix_spawn", "posix_spawnp", "system")
    assert b"ermission denied" in done.stderr
    said = [line for line in done.stderr.decode().splitlines() if "--strict" in line]
    assert len(said) == 1 and "was not allowed to start" in said[0] and "a static program" in said[0]


def test_children_that_are_covered_start_under_strict(runs, auth, place):
    saw_live_token(runs(["sh", "-c", f"env -i /usr/bin/curl -sS -H 'Authorization: {PLACEHOLDER}' https://{API}/v2/echo"], "--strict"), auth)


def test_isolation_is_the_way_out_of_strict(runs, client):
    done = runs(["sh", "-c", f"{client['static']} name {PLAIN} 80"], "--strict", "--isolate")
    assert done.returncode == 0 and b"authorization=Bearer " in done.stdout
