"""The CA outlives sidekey: programs read it once, at their start, and run on over restarts, reloads and rotations of the CA."""
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import ssl
import subprocess
import textwrap
import threading

import harness
import pytest
from harness import API, PLACEHOLDER, until
from test_clock import DAY, LIBRARY, Wall
from test_reload import rewrite

faked = [pytest.mark.skipif(harness.SANITIZED, reason="a sanitizer must be the first library; libfaketime would stand before it"),
         pytest.mark.skipif(not LIBRARY, reason="libfaketime is not installed (Debian: apt-get install faketime)")]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fixed(config):
    """Programs keep the proxy's address: it is the same after a restart."""
    config["listen"] = {"proxy": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}"}
    return config


def certificates(sidekey):
    return sidekey.ca.read_text().count("BEGIN CERTIFICATE")


def metric(sidekey, name):
    found = re.search(rf"^{name} (\S+)$", sidekey.get_admin("/metrics")[1], re.M)
    return float(found[1]) if found else None


def said(sidekey):
    return b"".join(sidekey.logs().values()).decode()


def trusts(sidekey, context, host=API):
    """Does a program that read the CA then take the leaf of now?"""
    connection = sidekey.connection(host, context=context)
    try:
        connection.connect()
        return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        connection.close()


# --- programs that run on ---

class Program(harness.Process):
    """It asks once for each line that it gets, and prints the status."""

    def __init__(self, name, argv, place, env):
        super().__init__(name, argv, place, env, subprocess.PIPE)

    def call(self):
        before = self.out.read_text().count("\n")
        self.popen.stdin.write(b"\n")
        self.popen.stdin.flush()
        until(f"an answer to {self.name}", lambda: self.out.read_text().count("\n") > before or self.popen.poll() is not None)
        lines = self.out.read_text().split("\n")
        return lines[before] if len(lines) > before + 1 else self.err.read_text()[-500:]


PYTHON = f"""
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[3])
for _ in sys.stdin:
    try:
        c = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]), context=context, timeout=20)
        c.set_tunnel("{API}", 443)
        c.request("GET", "/v2/echo", headers={{"Authorization": "{PLACEHOLDER}"}})
        print(c.getresponse().status, flush=True)
    except Exception as e:
        print(repr(e), flush=True)
"""

NODE = f"""
import http from 'node:http'; import https from 'node:https'; import tls from 'node:tls'; import readline from 'node:readline';
const [host, port] = process.argv.slice(2);
readline.createInterface({{input: process.stdin}}).on('line', () => {{
  http.request({{host, port, method: 'CONNECT', path: '{API}:443', headers: {{host: '{API}:443'}}}}).on('connect', (answer, socket) => {{
    const agent = new https.Agent(); agent.createConnection = () => tls.connect({{socket, servername: '{API}'}});
    https.get('https://{API}/v2/echo', {{agent, headers: {{authorization: '{PLACEHOLDER}'}}}}, (res) => {{ res.resume(); console.log(res.statusCode); }})
      .on('error', (e) => console.log(String(e)));
  }}).on('error', (e) => console.log(String(e))).end();
}});
"""

JAVA = f"""
import java.net.*; import java.io.*;
import javax.net.ssl.HttpsURLConnection;
public class Loop {{
  public static void main(String[] a) throws Exception {{
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    Proxy proxy = new Proxy(Proxy.Type.HTTP, new InetSocketAddress(a[0], Integer.parseInt(a[1])));
    while (lines.readLine() != null) {{
      try {{
        HttpURLConnection c = (HttpURLConnection) new URL("https://{API}/v2/echo").openConnection(proxy);
        c.setRequestProperty("Authorization", "{PLACEHOLDER}");
        c.setRequestProperty("Connection", "close");
        System.out.println(c.getResponseCode());
      }} catch (Exception e) {{ System.out.println(String.valueOf(e).replace("\\n", " ")); }}
    }}
  }}
}}
"""

CURL = f"""
cp "$3" ca-of-then.pem
while read -r _; do
    curl -s -o /dev/null -w '%{{http_code}} %{{errormsg}}\\n' --max-time 20 --proxy "http://$1:$2" --cacert ca-of-then.pem -H 'Authorization: {PLACEHOLDER}' https://{API}/v2/echo
done
"""


def programs(sidekey, place):
    host, port = sidekey.proxy
    env = {k: v for k, v in harness.environment(place).items() if k.lower() != "node_options"}
    (place / "loop.py").write_text(PYTHON)
    (place / "loop.mjs").write_text(NODE)
    (place / "loop.sh").write_text(CURL)
    yield Program("python", [harness.PYTHON, place / "loop.py", host, port, sidekey.ca], place, env)
    yield Program("node", ["node", place / "loop.mjs", host, port], place, {**env, "NODE_EXTRA_CA_CERTS": str(sidekey.ca)})
    yield Program("curl", ["sh", "-c", f"cd {place} && . ./loop.sh", "sh", host, port, sidekey.ca], place, env)
    if shutil.which("javac"):
        (place / "Loop.java").write_text(JAVA)
        subprocess.run(["javac", "-nowarn", "-d", place, place / "Loop.java"], check=True, capture_output=True, timeout=120)
        yield Program("java", ["java", "-Djavax.net.ssl.trustStore=" + str(sidekey.bundle.with_suffix(".jks")), "-cp", place, "Loop", host, port], place, env)


@pytest.fixture
def running(place):
    started = []

    def begin(sidekey):
        for program in programs(sidekey, place):
            started.append(program)
            assert program.call().strip() == "200", program.name
        return started
    yield begin
    for program in started:
        program.popen.kill()
        program.popen.wait()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "kill -9"])
def test_the_next_call_of_each_program_after_a_restart_is_a_200(make_config, start, running, how):
    config = fixed(make_config())
    sidekey = start(config)
    loops = running(sidekey)
    for again in range(2):
        sidekey.expected_dead = how == signal.SIGKILL
        sidekey.stop(how)
        sidekey = start(config)
        assert {p.name: p.call().strip() for p in loops} == {p.name: "200" for p in loops}
        assert certificates(sidekey) == 1
    if not shutil.which("javac"):
        pytest.skip("javac is not installed: everything but Java was tried")


def test_what_is_published_is_not_written_again(make_config, start):
    config = make_config()
    sidekey = start(config)
    files = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sidekey.ca.parent.iterdir()}
    assert {p.name for p in files} == {"ca.pem", "bundle.pem", "bundle.jks"}
    sidekey.stop()
    sidekey = start(config)
    assert sidekey.reload()[0] == 200
    until("the new processes", lambda: len(sidekey.children()) == 2)
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in sidekey.ca.parent.iterdir()} == files


def test_extra_roots_are_in_the_bundle_and_a_missing_one_is_named(make_config, start, pki, place):
    config = make_config()
    config["rules"] = [{**rule, "tls": {}} for rule in config["rules"]]
    (place / "corp.pem").write_bytes((pki / "ca.pem").read_bytes())
    config["ca"]["extra_roots"] = [str(place / "corp.pem")]
    sidekey = start(config)
    assert (place / "corp.pem").read_text().strip() in sidekey.bundle.read_text() and certificates(sidekey) == 1
    config["ca"]["extra_roots"] = [str(place / "absent.pem")]
    (place / "bad.yaml").write_text(json.dumps(config))
    done = harness.run([harness.SIDEKEY, "check", "-c", place / "bad.yaml"], harness.environment(place))
    assert done.returncode == 78 and b"absent.pem" in done.stderr, done


# --- where it is kept ---

def test_the_key_lies_in_the_state_directory_sealed_and_nowhere_else(make_config, start, place):
    sidekey = start(make_config())
    stored = place / "state" / "ca.sealed"
    assert stored.stat().st_mode & 0o777 == 0o600
    for path in place.rglob("*"):
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes(), path
    assert b"CERTIFICATE" not in stored.read_bytes()


def test_the_copy_in_memory_is_sealed_and_no_worker_has_it(make_config, start):
    """F_GET_SEALS, and what is in it is not the key."""
    import fcntl
    sidekey = start(make_config(), **{})
    held = {}
    for pid, name in [(sidekey.pid, "supervisor"), *sidekey.children().items()]:
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            try:
                if "memfd:sidekey-ca" in os.readlink(fd):
                    held.setdefault(name.split()[0], []).append(fd)
            except OSError:
                pass
    assert "sidekey-worker" not in held and "supervisor" in held, held
    with open(held["supervisor"][0], "rb") as memory:
        assert b"PRIVATE" not in memory.read()
        assert fcntl.fcntl(memory, 1034) == 0xf  # F_GET_SEALS: seal, shrink, grow, write
    with pytest.raises(OSError):
        with open(held["supervisor"][0], "r+b", buffering=0) as memory:
            memory.write(b"x")


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "in memory only"])
def test_a_keeper_that_dies_takes_no_ca_with_it(make_config, start, keep):
    config = make_config()
    config["ca"]["keep"] = keep
    sidekey = start(config)
    context = sidekey.context()
    assert trusts(sidekey, context)
    sidekey.kill_child("keeper")
    sidekey.kill_child("worker")
    assert trusts(sidekey, context)
    assert (pathlib.Path(config["store"]["file"]) / "ca.sealed").exists() == keep


def test_keep_false_makes_a_new_one_at_each_start(make_config, start):
    config = make_config()
    config["ca"]["keep"] = False
    sidekey = start(config)
    context, end = sidekey.context(), metric(sidekey, "sidekey_ca_expiry_timestamp_seconds")
    sidekey.stop()
    sidekey = start(config)
    assert not trusts(sidekey, context) and trusts(sidekey, sidekey.context())
    assert abs(metric(sidekey, "sidekey_ca_expiry_timestamp_seconds") - end) < 3600


def test_run_keeps_its_ca_in_memory(make_config, start, place):
    config = make_config()
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    done = harness.run([harness.SIDEKEY, "run", "-c", path, "--", "sh", "-c", "cat $CURL_CA_BUNDLE >/dev/null"], harness.environment(place))
    assert done.returncode == 0, done
    assert not (place / "state" / "ca.sealed").exists()


@pytest.mark.parametrize("what", ["another key", "damaged", "cut", "empty"])
def test_a_stored_ca_that_cannot_be_opened_is_an_error_line_and_a_new_ca(make_config, start, what, place):
    config = make_config()
    sidekey = start(config)
    context = sidekey.context()
    sidekey.stop()
    stored = place / "state" / "ca.sealed"
    good = stored.read_bytes()
    if what == "another key":  # of a directory without stored tokens: those would end the start
        for path in (place / "state").glob("crm.*"):
            path.unlink()
        shutil.rmtree(place / "state" / "journal")
        config["store"]["seal_key"] = make_config.write("seal2", os.urandom(32).hex())
    else:
        stored.write_bytes({"damaged": good[:60] + bytes([good[60] ^ 1]) + good[61:], "cut": good[:100], "empty": b""}[what])
    sidekey = start(config)
    assert not trusts(sidekey, context) or what == "another key"
    assert trusts(sidekey, sidekey.context()) and certificates(sidekey) == 1
    assert "cannot use the stored CA" in said(sidekey) and "ca.unreadable" in said(sidekey)
    assert (place / "state" / "ca.unreadable").exists()
    sidekey.stop()
    context = sidekey.context()
    assert trusts(start(config), context)


def test_a_seal_key_that_is_changed_with_its_predecessor_keeps_the_ca(make_config, start):
    config = make_config()
    sidekey = start(config)
    context = sidekey.context()
    sidekey.stop()
    store = config["store"]
    store["seal_key_previous"], store["seal_key"] = store["seal_key"], make_config.write("seal2", os.urandom(32).hex())
    sidekey = start(config)
    assert trusts(sidekey, context)
    sidekey.stop()
    del store["seal_key_previous"]
    for path in pathlib.Path(store["file"]).glob("crm.*"):  # a token that was not refreshed is sealed with the old key still
        path.unlink()
    assert trusts(start(config), context)


def test_two_sidekeys_on_one_state_directory_have_one_ca(make_config, start, place):
    config = make_config()
    one = start(config)
    config = json.loads(json.dumps(config))
    config["ca"]["publish"] = str(place / "ca2")
    two = start(config)
    assert one.ca.read_bytes() == two.ca.read_bytes()
    assert two.get_admin("/ca/rotate?now", "POST")[0] == 200
    one.reload()
    until("the other one has read it", lambda: one.ca.read_bytes() == two.ca.read_bytes())


# --- hosts, rotation, time ---

def test_four_rotations_an_hour_are_enough(make_config, start):
    """Each drops trust that programs may still have: a worker that was taken over must not go on with it."""
    sidekey = start(make_config())
    for _ in range(4):
        assert sidekey.get_admin("/ca/rotate?now", "POST")[0] == 200
    published = sidekey.ca.read_bytes()
    for way in ("/ca/rotate?now", "/ca/rotate") * 3:
        status, text = sidekey.get_admin(way, "POST")
        assert status == 503 and "4 times within the last hour" in text, text
    assert sidekey.ca.read_bytes() == published and sidekey.request()[0] == 200


def test_a_reload_that_adds_a_host_leaves_programs_their_trust(make_config, start, pki, auth):
    config = make_config()
    added = config["rules"].pop()
    sidekey = start(config)
    context = sidekey.context()
    assert trusts(sidekey, context)
    rewrite(sidekey, lambda c: c["rules"].append({**added, "match": {"host": "new.sidekey.test"}}))
    os.kill(sidekey.pid, signal.SIGHUP)
    until("a second certificate", lambda: certificates(sidekey) == 2)
    until("new processes", lambda: len(sidekey.children()) == 2)
    assert trusts(sidekey, context)
    assert metric(sidekey, "sidekey_ca_certificates") == 2
    assert "one more CA is published" in said(sidekey)
    for name in ("ca.pem", "bundle.pem"):
        assert sidekey.get_admin("/ca.pem")[1].strip() in (sidekey.ca.parent / name).read_text()


def ca_command(sidekey, *words):
    return harness.run([harness.SIDEKEY, "ca", *words, "-c", sidekey.file], harness.environment(sidekey.folder))


def test_a_rotation_is_published_at_once_and_signs_in_a_month(make_config, start):
    sidekey = start(fixed(make_config()))
    context = sidekey.context()
    done = ca_command(sidekey, "rotate")
    assert done.returncode == 0 and b"signs from 20" in done.stdout, done
    assert certificates(sidekey) == 2 and trusts(sidekey, context)
    both = sidekey.context()
    done = ca_command(sidekey, "rotate", "--now")
    assert done.returncode == 0 and b"from now on" in done.stdout, done
    assert certificates(sidekey) == 2
    until("leaves of the new one", lambda: not trusts(sidekey, context))
    assert trusts(sidekey, both)
    shown = ca_command(sidekey, "show")
    assert shown.stdout == sidekey.ca.read_bytes() and shown.stderr.count(b"sha256") == 2
    assert "another CA signs from now on" in said(sidekey)


@pytest.mark.parametrize("words, status, text", [(["rotate", "show"], 64, b"one action"), (["show", "--now"], 64, b"--now"), (["turn"], 64, b"rotate"), ([], 64, b"rotate")])
def test_ca_says_how_it_is_used(make_config, start, words, status, text):
    sidekey = start(fixed(make_config()))
    done = ca_command(sidekey, *words)
    assert done.returncode == status and text in done.stderr, done


def test_nobody_can_be_asked_while_sidekey_is_down(make_config, start):
    sidekey = start(fixed(make_config()))
    sidekey.stop()
    done = ca_command(sidekey, "rotate")
    assert done.returncode == 69 and b"127.0.0.1" in done.stderr, done


@pytest.mark.parametrize("mark", [pytest.param(None, marks=faked)])
def test_half_a_year_passes(mark, make_config, start, place):
    """The clock on the wall goes on while sidekey runs; a program that was started in the month before the handover goes on over it."""
    wall = Wall(place)
    sidekey = start(make_config(), env=wall.env)
    old = sidekey.context()
    wall.jump(183 * DAY)
    until("the successor is published", lambda: metric(sidekey, "sidekey_ca_certificates") == 2)
    assert certificates(sidekey) == 2
    assert "the next CA is published" in said(sidekey)
    both = sidekey.context()
    for context in (old, both):
        context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME: this program has the true clock
    wall.jump((183 + 31) * DAY)
    until("it signs", lambda: metric(sidekey, "sidekey_ca_certificates") == 2 and "another CA signs" in said(sidekey))
    until("leaves of the new one", lambda: not trusts(sidekey, old))
    assert trusts(sidekey, both)
