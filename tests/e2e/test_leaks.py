"""No secret leaves by a side door: every path of success and failure is driven with secrets that stand nowhere else, then all that sidekey has written or shows is searched."""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import urllib.parse

import pytest
from harness import API, SIDEKEY, environment, read_head, run, until

PASSWORD, QUERY, FIELD, BODY = "canary-of-a-proxy-password", "canary-of-a-query-string", "canary-of-a-request-field", "canary-of-a-request-body"
OWN_FILES = ("client-secret", "refresh-token", "seal", "proxy-password")  # where the operator has put them


def forms(secret):
    """{name: bytes} of a secret as it may hide: as it is, hex, percent-encoded, and base64 at each of the three places in a longer text."""
    raw = secret.encode()
    found = {"raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(), "percent": "".join(f"%{b:02X}" for b in raw).encode(),
             "form": urllib.parse.quote(secret, safe="").encode()}
    for shift in range(3):
        coded = base64.b64encode(b"x" * shift + raw + b"x" * (-(len(raw) + shift) % 3))
        core = coded[4 * (shift > 0):len(coded) - 4 * ((len(raw) + shift) % 3 > 0)]
        found[f"base64+{shift}"] = core
        found[f"base64url+{shift}"] = core.replace(b"+", b"-").replace(b"/", b"_")
    return found


def leaks(places, secrets):
    """[(place, form, first letters of the secret)]"""
    return [(place, form, secret[:8]) for secret in secrets for form, needle in forms(secret).items() for place, text in places.items() if needle in text]


@pytest.mark.parametrize("form", forms("x"))
def test_the_search_finds_each_form_of_a_secret(form):
    secret = "canary~of+the/search?itself"
    for before in (b"", b"a", b"ab", b"abc"):
        text = base64.b64encode(before + secret.encode() + b"tail") if form.startswith("base64") else b"text " + forms(secret)[form] + b" text"
        assert leaks({"here": text}, [secret])
    assert not leaks({"here": b"nothing " * 100}, [secret])


class Drive:
    """Everything that goes well and wrong; keeps what sidekey answers by itself."""

    def __init__(self, sidekey, auth):
        self.sidekey, self.auth, self.answers = sidekey, auth, {}
        self.login = {"Proxy-Authorization": "Basic " + base64.b64encode(f"app:{PASSWORD}".encode()).decode()}

    def call(self, name, host=API, path="/v2/echo", method="POST", login=None, headers=None, expect=None):
        connection = http.client.HTTPSConnection(*self.sidekey.proxy, timeout=60, context=self.sidekey.context())
        connection.set_tunnel(host, 443, headers=self.login if login is None else login)
        try:
            connection.request(method, f"{path}?key={QUERY}", BODY, {"X-Secret": FIELD, "Cookie": FIELD, **(headers or {})})
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
            if status != 200:
                self.answers[name] = str(answer.headers).encode() + body
        except OSError as fault:
            status, self.answers[name] = 0, str(fault).encode()
        finally:
            connection.close()
        assert expect is None or status == expect, (name, status)
        return status

    def raw(self, name, data):
        with socket.create_connection(self.sidekey.proxy, timeout=60) as sock, contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            self.answers[name] = read_head(sock) + sock.recv(65536)

    def all(self):
        sidekey, auth = self.sidekey, self.auth
        self.call("good", expect=200)
        auth.revoke_access()
        self.call("refused once", expect=200)
        for kind in ("html", "half_json", "drop", "status"):
            auth.revoke_access()
            auth.faults(*[{"kind": kind, "status": 500}] * 3)
            self.call(f"token endpoint: {kind}")
            auth.clear_faults()
        self.call("wrong password", login={"Proxy-Authorization": "Basic " + base64.b64encode(f"app:{PASSWORD}x".encode()).decode()}, expect=0)
        self.call("no password", login={}, expect=0)
        self.call("denied host", host="nobody.sidekey.test", expect=0)
        self.call("bad certificate", host="expired.sidekey.test")
        self.call("TRACE", method="TRACE")
        self.call("bad escape", path="/v2/%zz")
        for name, data in [("no HTTP", f"{PASSWORD} {QUERY}\r\n\r\n"), ("plain", f"GET http://{API}/{QUERY} HTTP/1.1\r\nHost: {API}\r\nX-Secret: {FIELD}\r\n\r\n"),
                           ("bad field", f"GET / HTTP/1.1\r\nHost: x\r\nX Secret: {FIELD}\r\n\r\n"), ("half", f"CONNECT {API}:443 HTTP/1.1\r\nCookie: {FIELD}")]:
            self.raw(name, data.encode())
        for argv in (["refresh", "crm"], ["reset", "crm"], ["status", "--json"], ["status"], ["check"], ["why", "POST", f"https://{API}/v2/echo?key={QUERY}"]):
            flags = ["--set", f"listen.admin={sidekey.admin[0]}:{sidekey.admin[1]}"]
            done = run([SIDEKEY, argv[0], "-c", sidekey.file, *(flags if argv[0] not in ("check", "why") else []), *argv[1:]], environment(sidekey.folder))
            self.answers[" ".join(argv[:1])] = done.stdout + (b"" if argv[0] == "why" else done.stderr)
        sidekey.get_admin("/reload", "POST")
        self.call("after a reload")
        os.kill(sidekey.pid, signal.SIGUSR2)


def shown(sidekey, place, drive):
    """{name: bytes}: logs, answers, files, /proc and what the admin listener shows."""
    places = {f"log {name}": text for name, text in sidekey.logs().items()}
    places.update({f"answer to {name}": text for name, text in drive.answers.items()})
    for path in ("/", "/metrics", "/status", "/readyz?verbose", "/livez", "/ca.pem"):
        places[path] = sidekey.get_admin(path)[1].encode()
    for path in place.rglob("*"):
        if path.is_file() and path.name not in OWN_FILES:
            places[str(path)] = path.read_bytes()
    for pid in [sidekey.pid, *sidekey.children()]:
        for name in ("cmdline", "environ", "comm", "maps", "status"):
            places[f"/proc/{pid}/{name}"] = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
    return places


def cores(since, place):
    """Core files that a forced end has left, wherever this machine would put them."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    folders = {pathlib.Path.cwd(), place, pathlib.Path(pattern).parent if pattern.startswith("/") else place}
    return [p for folder in folders if folder.is_dir() for p in folder.glob("*core*") if p.is_file() and p.stat().st_mtime > since]


@pytest.mark.world
def test_no_secret_is_in_anything_that_is_written_or_shown(start, make_config, auth, place):
    config = make_config(unmatched="deny", log={"level": "debug"}, clients={"app": {"password": make_config.write("proxy-password", PASSWORD), "rules": [API, "expired.sidekey.test"]}})
    sidekey = start(config)
    drive = Drive(sidekey, auth)
    drive.all()
    until("the log has the status", lambda: b"status of a credential" in sidekey.out.read_bytes())
    began = sidekey.file.stat().st_mtime
    subprocess.run(["prlimit", f"--pid={sidekey.pid}", "--core=unlimited"], check=False)
    for role in ("worker", "keeper"):
        child = sidekey.child(role)
        os.kill(child, signal.SIGSEGV)
        until(f"another {role}", lambda: [p for p, name in sidekey.children().items() if role in name and p != child])
    until("it serves again", lambda: drive.call("after a crash") == 200)
    secrets = [*auth.secrets, PASSWORD, QUERY, FIELD, BODY, pathlib.Path(config["store"]["seal_key"]["file"]).read_text()]
    assert len(secrets) > 8 and len(drive.answers) > 12
    places = shown(sidekey, place, drive)
    places.update({str(core): core.read_bytes() for core in cores(began, place)})
    assert not leaks(places, secrets)
    assert leaks({**places, "control": b"x" + forms(secrets[0])["base64+1"] + b"y"}, secrets), "the search is blind"
    assert json.loads(places["/status"])["credentials"]
