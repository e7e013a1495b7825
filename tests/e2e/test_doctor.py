"""sidekey doctor: real runtimes, in working environments and in broken ones; the line that it prints mends what it found."""
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest
import skips
from harness import PATIENCE_S, SIDEKEY, environment, run

EVERYDAY = ["curl", "OpenSSL", "GnuTLS", "git", "Python", "Node", "Java", "Perl"]  # what make deps installs
PROGRAMS = {"curl": "curl", "OpenSSL": "openssl", "GnuTLS": "gnutls-cli", "git": "git", "Python": "/usr/bin/python3", "Node": "node", "Java": "java", "Go": "go", "Ruby": "ruby",
            "PHP": "php", "Perl": "perl"}
IGNORANT = {"OpenSSL", "GnuTLS", "Java", "PHP"}  # they read no proxy variable


def node_reads_variables():
    return subprocess.run(["node", "-e", "process.exit(process.allowedNodeEnvironmentFlags.has('--use-env-proxy') ? 0 : 1)"], check=False).returncode == 0


def installed():
    return {name for name, program in PROGRAMS.items() if shutil.which(program)}


class Report:
    def __init__(self, done):
        self.done, self.status = done, done.returncode
        print("doctor:", done.returncode, done.stdout.decode()[-4000:], done.stderr.decode()[-2000:])
        self.all = json.loads(done.stdout)
        self.runtimes = {r["name"]: r for r in self.all["runtimes"]}
        self.notes = {n["name"]: n for n in self.all["notes"]}
        assert self.all["well"] == (self.status == 0)


def bare(place, extra=None):
    """An environment in which nothing speaks of a proxy or a CA."""
    keep = {k: v for k, v in environment(place).items() if "proxy" not in k.lower() and "cert" not in k.lower() and "ca_bundle" not in k.lower() and "cainfo" not in k.lower()}
    keep.pop("CARGO_HTTP_CAINFO", None)
    return {**keep, "HOME": str(place), "GOCACHE": str(place / "go"), **(extra or {})}


@pytest.fixture
def in_run(make_config, place):
    """in_run(*flags, command): the report of a doctor that "sidekey run" has started."""
    path = place / "run.yaml"
    path.write_text(json.dumps(make_config()))

    def go(*flags, command=(), env=None):
        return Report(run([SIDEKEY, "run", "-c", path, *flags, "--", SIDEKEY, "doctor", "--json", "--timeout", "120", *(["--", *command] if command else [])], bare(place, env)))
    return go


@pytest.fixture
def beside(sidekey, place):
    """beside(command, env): the report of a doctor beside "sidekey serve", in an environment made by hand."""
    def go(*command, env=None, setup="", text=False):
        told = {"SIDEKEY_LISTEN_PROXY": "%s:%s" % sidekey.proxy, "SIDEKEY_CONFIG": str(sidekey.file), **(env or {})}
        line = f'{setup}\nexec "$0" doctor {"" if text else "--json"} --timeout 120 "$@"'
        done = run(["sh", "-c", line, SIDEKEY, *(["--", *command] if command else [])], bare(place, told))
        return done if text else Report(done)
    return go


def test_under_run_all_is_well_and_each_runtime_comes_by_a_layer_of_its_own(in_run):
    report = in_run()
    assert report.status == 0 and not report.notes
    assert set(report.runtimes) == installed() and installed() >= set(EVERYDAY)
    for name, found in report.runtimes.items():
        assert (found["state"], found["arrives"], found["trusts"], found["fix"]) == ("well", True, True, "")
        assert found["layer"] == ("preload" if name in IGNORANT or (name == "Node" and not node_reads_variables()) else "env"), name


def test_by_the_library_alone_every_dynamic_runtime_comes(in_run):
    report = in_run("--layers", "preload")
    assert {name for name, found in report.runtimes.items() if found["layer"] == "preload"} >= set(EVERYDAY)


def test_in_a_network_of_its_own_every_runtime_comes_without_a_variable(in_run):
    if os.geteuid() and skips.no_user_namespaces():
        pytest.skip("no user namespaces here")
    report = in_run("--isolate")
    assert report.status == 0 and not report.notes
    assert {found["layer"] for found in report.runtimes.values()} == {"transparent"}


def test_with_variables_alone_those_that_ignore_them_are_named_with_the_way_out(in_run):
    report = in_run("--layers", "env")
    assert report.status == 1
    for name, found in report.runtimes.items():
        if name in IGNORANT or (name == "Node" and not node_reads_variables()):
            assert (found["state"], found["layer"], found["fix"]) == ("no_arrival", "", "sidekey run -- PROGRAM"), name
        else:
            assert (found["state"], found["layer"]) == ("well", "env"), name


@pytest.mark.parametrize("name", ["curl", "git", "Python", "Perl", pytest.param("Go", marks=pytest.mark.world), pytest.param("Ruby", marks=pytest.mark.world)])
def test_the_lines_that_it_prints_mend_an_environment_without_anything(name, beside, sidekey):
    """Proxy variable missing, then the CA variable missing, then well: each time by the line of the report before."""
    first = beside(PROGRAMS[name])
    assert first.status == 1 and first.runtimes[name]["state"] == "no_arrival"
    assert first.notes["environment"]["fix"] == 'eval "$(sidekey env)"'
    lines = first.runtimes[name]["fix"]
    assert lines == f"export {'http_proxy' if name == 'Ruby' else 'https_proxy'}={sidekey.proxy_url}"
    second = beside(PROGRAMS[name], setup=lines)
    assert second.runtimes[name]["state"] == "no_trust" and not second.notes
    assert second.runtimes[name]["layer"] == "env" and second.runtimes[name]["said"]
    assert second.runtimes[name]["fix"].endswith(f"={sidekey.bundle}")
    third = beside(PROGRAMS[name], setup=f"{lines}\n{second.runtimes[name]['fix']}")
    assert third.status == 0


def test_the_line_of_sidekey_env_mends_what_reads_variables(beside):
    report = beside("curl", setup='eval "$("$0" env)"')
    assert report.status == 0


@pytest.mark.parametrize("entry", ["*", ".test", "api.sidekey.test"])
def test_an_entry_of_no_proxy_that_covers_a_rules_host_is_named(entry, beside, sidekey):
    told = {"https_proxy": sidekey.proxy_url, "CURL_CA_BUNDLE": str(sidekey.bundle), "no_proxy": f"intranet.example,{entry}"}
    report = beside("curl", env=told)
    note = report.notes["NO_PROXY"]
    assert report.status == 1 and f'no_proxy has "{entry}"' in note["text"] and note["fix"] == "export no_proxy='intranet.example'"
    assert beside("curl", env=told, setup=note["fix"]).status == 0


def test_a_dead_sidekey_is_named_once(start, place):
    process = start()
    url = process.proxy_url
    assert process.stop() == 0
    report = Report(run([SIDEKEY, "doctor", "--json", "-c", process.file, "--", "curl"], bare(place, {"https_proxy": url})))
    assert report.status == 1 and "Connection refused" in report.notes["proxy"]["text"] and report.notes["proxy"]["fix"] == "sidekey serve"
    assert report.runtimes["curl"]["state"] == "no_arrival" and report.runtimes["curl"]["fix"] == ""


def test_a_run_whose_private_sidekey_has_died_is_named(make_config, place):
    (place / "run.yaml").write_text(json.dumps(make_config()))
    # until none is left: a process that dies keeps its sockets for a moment
    killed = f"""while :; do
        left=
        for p in /proc/[0-9]*; do
            [ "$(readlink $p/exe)" = {SIDEKEY} ] && tr '\\0' ' ' <$p/cmdline | grep -q {place}/run.yaml && left=1 && kill -9 ${{p#/proc/}}
        done
        [ -n "$left" ] || break
    done; exec {SIDEKEY} doctor --json -- openssl"""
    report = Report(run([SIDEKEY, "run", "-c", place / "run.yaml", "--layers", "preload", "--", "sh", "-c", killed], bare(place)))
    assert report.status == 1 and "the private sidekey of this run does not answer" in report.notes["preload"]["text"]


def test_another_proxy_is_not_taken_for_sidekey(beside):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 502 not here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            peer.close()
    threading.Thread(target=serve, daemon=True).start()
    report = beside("curl", env={"https_proxy": f"http://127.0.0.1:{listener.getsockname()[1]}"})
    listener.close()
    assert report.status == 1 and "is not sidekey" in report.notes["proxy"]["text"]
    assert report.runtimes["curl"]["state"] == "no_arrival"


def test_a_runtime_that_hangs_is_ended_with_everything_it_started(place, beside, sidekey):
    (place / "bin").mkdir()
    fake = place / "bin" / "curl"
    fake.write_text(f"#!/bin/sh\nsleep 1000 & echo $! >{place}/pid\nwait\n")
    fake.chmod(0o755)
    began = time.monotonic()
    env = bare(place, {"https_proxy": sidekey.proxy_url, "PATH": f"{place}/bin:{os.environ['PATH']}"})
    report = Report(run([SIDEKEY, "doctor", "--json", "--timeout", "1", "-c", sidekey.file, "--", "curl"], env))
    assert report.status == 1 and report.runtimes["curl"]["state"] == "late"
    assert time.monotonic() - began < PATIENCE_S
    pid = int((place / "pid").read_text())
    assert not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_runtime_that_can_make_no_request_says_why(place, beside, sidekey):
    (place / "bin").mkdir()
    fake = place / "bin" / "perl"
    fake.write_text("#!/bin/sh\nexit 2\n")
    fake.chmod(0o755)
    report = beside("perl", env={"https_proxy": sidekey.proxy_url, "PATH": f"{place}/bin:{os.environ['PATH']}"})
    assert report.runtimes["Perl"]["state"] == "untried" and "IO::Socket::SSL" in report.runtimes["Perl"]["said"] and report.status == 1


def test_a_command_whose_runtime_is_unknown_has_all_of_them_tried_and_its_kind_judged(place, in_run):
    source = place / "static.c"
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-static", "-o", place / "static", source], check=True)
    report = in_run(command=[str(place / "static")])
    assert report.status == 1 and "a static program" in report.notes["program"]["text"]
    assert set(report.runtimes) == installed()


def test_on_a_terminal_it_fits_80_columns(beside, sidekey):
    done = beside("curl", text=True, env={"https_proxy": "http://127.0.0.1:9", "no_proxy": "*"})
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 1 and lines[0].split() == ["runtime", "arrives", "trusts", "layer", "program"]
    assert lines[1].split()[:4] == ["curl", "no", "-", "-"]
    assert all(len(line) <= 80 for line in lines if not line.startswith("  fix: ")), lines
    assert any(line.startswith("  fix: ") for line in lines)
    good = beside("curl", text=True, env={"https_proxy": sidekey.proxy_url, "CURL_CA_BUNDLE": str(sidekey.bundle)})
    assert good.returncode == 0 and b"No problems" in good.stdout


def test_the_probe_host_is_nobodys(sidekey, auth):
    """1.17: no rule, no upstream, no token; whatever the path, the method and the port's protocol."""
    before = len(auth.requests)
    for method, path in (("GET", "/"), ("POST", "/v2/echo"), ("HEAD", "/doctor.git/info/refs")):
        status, _, body = sidekey.request(method, path, host="doctor.sidekey.invalid")
        assert status == 200 and (method == "HEAD" or body.endswith(b"\trefs/sidekey-doctor/proxy\n"))
    plain = run(["curl", "-sS", "-x", sidekey.proxy_url, "http://doctor.sidekey.invalid/"], bare(sidekey.folder))
    assert plain.stdout.endswith(b"refs/sidekey-doctor/proxy\n")
    assert len(auth.requests) == before


def test_the_probe_host_needs_the_clients_password_too(start, make_config):
    config = make_config()
    config["clients"] = {"ci": {"password": make_config.write("ci", "secret-of-ci"), "rules": ["api.sidekey.test"]}}
    sidekey = start(config)
    ask = lambda *flags: run(["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "-x", sidekey.proxy_url, *flags, "http://doctor.sidekey.invalid/"], bare(sidekey.folder)).stdout
    assert ask() == b"407"
    assert ask("-U", "ci:secret-of-ci") == b"200"
