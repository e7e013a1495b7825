#!/usr/bin/env python3
"""`make demo`: the main job before your eyes.  Everything is real, runs on this machine only, and is gone afterwards.

Exit status 0 only when all of it happened.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from api import Api  # noqa: E402
from idp import AuthorizationServer  # noqa: E402

SIDEKEY = (HERE.parents[1] / os.environ.get("BUILD", "build") / "sidekey").resolve()
NAME = "api.demo.test"
URL = f"https://{NAME}/v2/orders"
CALLERS = 8  # of the last act

CONFIG = """\
listen: {{proxy: "127.0.0.1:0", admin: "127.0.0.1:0"}}
ca: {{publish: {folder}/ca}}
store: {{file: {folder}/state}}
credentials:
  demo:
    grant: refresh_token
    token_url: {token_url}
    client_id: {client_id}
    client_secret: {{file: {folder}/client-secret}}
    refresh_token: {{file: {folder}/refresh-token}}
    forced_refresh_floor: 1s
rules:
  - match: {{host: {name}, paths: ["/v2/*"]}}
    credential: demo
    tls: {{ca_file: {certificate}}}
network:
  resolve: {{"{name}:443": "127.0.0.1:{port}"}}
"""


def name_of(pid):
    """What a process calls itself; nothing when it has just ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text() + pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


class Missed(Exception):
    pass


def say(text=""):
    print(text, flush=True)


def check(text, happened, seen=""):
    say(f"   {'✔' if happened else '✘'} {text}" + (f"   ({seen})" if seen else ""))
    if not happened:
        raise Missed(text)


class Sidekey:
    def __init__(self, folder, idp, api):
        for name, text in (("client-secret", idp.client_secret), ("refresh-token", idp.first_refresh_token)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        for name in ("ca", "state"):
            (folder / name).mkdir(mode=0o700)
        config = folder / "sidekey.yaml"
        config.write_text(CONFIG.format(folder=folder, token_url=idp.token_url, client_id=idp.client_id, name=NAME,
                                        certificate=api.certificate, port=api.port))
        self.config, self.log, self.address = config, folder / "sidekey.log", "127.0.0.1:0"
        self.start()
        proxy = f"http://{self.address}"
        ca = folder / "ca"
        self.environment = {**os.environ, "HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": "", "SSL_CERT_FILE": str(ca / "bundle.pem"),
                            "CURL_CA_BUNDLE": str(ca / "bundle.pem"), "NODE_EXTRA_CA_CERTS": str(ca / "ca.pem")}

    def start(self):
        """At the address that it had before, if it had one."""
        with open(self.log, "wb") as log:
            self.began = began = time.monotonic()
            argv = [SIDEKEY, "serve", "-c", self.config, "--set", f"listen.proxy={self.address}"]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        found = None
        while not found:
            found = re.search(r"ready proxy=(\S+)", self.log.read_text())
            if self.process.poll() is not None or time.monotonic() > began + 60:
                raise Missed("sidekey did not start:\n" + self.log.read_text())
            time.sleep(0.001)
        self.ready_ms = (time.monotonic() - began) * 1000
        self.address = found[1]

    def children(self):
        """{role: pid}"""
        pids = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        named = {p: name_of(p) for p in pids}
        return {role: int(p) for role in ("keeper", "worker") for p, name in named.items() if role in name}

    def kill(self, role):
        pid = self.children().get(role)
        if not pid:
            raise Missed(f"no {role} among sidekey's processes")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 60
        while self.children().get(role) in (pid, None):
            if time.monotonic() > end:
                raise Missed(f"no new {role}")
            time.sleep(0.01)
        return pid

    def memory_kib(self):
        pids = [self.process.pid, *self.children().values()]
        return sum(int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{p}/smaps_rollup").read_text(), re.M)[1]) for p in pids)

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def run(sidekey, *argv):
    done = subprocess.run([str(a) for a in argv], env=sidekey.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, (done.stdout or done.stderr).strip()


def placeholder_in_token_out(sidekey, idp, api):
    say(f"\n1. Three programs that hold a placeholder call {URL}")
    programs = [("curl", ["curl", "-sS", "--fail", "-H", "Authorization: Bearer placeholder", URL]),
                ("Python", [sys.executable, HERE / "program.py", URL]), ("Node", ["node", HERE / "program.mjs", URL])]
    for name, argv in programs:
        if not shutil.which(argv[0]):
            say(f"   - {name} is not installed, and is left out")
            continue
        status, said = run(sidekey, *argv)
        token = (api.last_authorization or "").removeprefix("Bearer ")
        check(f"{name:6} sent 'Bearer placeholder', the API saw 'Bearer {token[:6]}…' and answered {said}", status == 0 and token.startswith("at-"))
    took_s = time.monotonic() - sidekey.began
    if took_s < idp.lifetime_s / 2 or idp.token_requests == 1:
        check("they needed one token request", idp.token_requests == 1, f"{idp.token_requests}")
    else:  # a slow machine: each token is replaced when half of its life is over
        check(f"they took {took_s:.0f} s, and a token lives {idp.lifetime_s} s: {idp.token_requests} token requests", idp.token_requests <= 1 + took_s / (0.4 * idp.lifetime_s))


def fifty_calls_at_expiry(sidekey, idp, api):
    say(f"\n2. The token lives {idp.lifetime_s} s. It expires, and fifty calls come at once")
    requests, end = idp.token_requests, idp.issued_at + idp.lifetime_s
    idp.lifetime_s, idp.pause_s = 3600, 1.5
    time.sleep(max(0, end + 0.5 - time.monotonic()))
    _, said = run(sidekey, sys.executable, HERE / "program.py", URL, 50)
    idp.pause_s = 0
    check("all fifty were answered 200", json.loads(said) == {"200": 50}, said)
    check("one token request served them all", idp.token_requests == requests + 1, f"{idp.token_requests - requests}")
    check("the API never saw an expired token", api.refused == 0)


def revoked_at_the_server(sidekey, idp, api):
    say("\n3. Somebody revokes the access token at the server; sidekey cannot know")
    idp.revoke_access()
    status, said = run(sidekey, sys.executable, HERE / "program.py", URL)
    check("the API refused the old token with 401", api.refused == 1, f"{api.refused} time")
    check(f"the program saw none of it: {said}", status == 0)


def killed_in_mid_traffic(sidekey, idp, api):
    say(f"\n4. kill -9 for the worker, then for the keeper, while {CALLERS} callers go on calling")
    refused, requests = api.refused, idp.token_requests
    program = subprocess.Popen([sys.executable, HERE / "program.py", URL, str(CALLERS), "4"], env=sidekey.environment, stdout=subprocess.PIPE, text=True)
    for role in ("worker", "keeper"):
        time.sleep(1.2)
        check(f"{role} {sidekey.kill(role)} is dead, and another one stands in its place", True)
    counts = json.loads(program.communicate(timeout=120)[0])
    good, redialled = counts.pop("200", 0), counts.pop("redialled", 0)
    check(f"{good} calls were answered 200, no other answer was seen", good >= 3 * CALLERS and not counts, f"{redialled} connections of the dead worker were dialled again")
    idp.revoke_access()
    status, _ = run(sidekey, sys.executable, HERE / "program.py", URL)
    check("the new keeper holds the rotated refresh token: it refreshed with it", status == 0 and idp.token_requests == requests + 1)
    check("no refresh token was ever used twice", idp.reused == 0 and api.refused == refused + 1)


def restarted_under_a_program(sidekey, idp):
    say("\n5. sidekey is restarted, once by SIGTERM and once by kill -9, while a program keeps running that read the CA at its start")
    requests = idp.token_requests
    program = subprocess.Popen([sys.executable, HERE / "program.py", URL, "1", "4"], env=sidekey.environment, stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    check("SIGTERM: it ends cleanly", sidekey.stop() == 0)
    sidekey.start()
    check(f"and is ready again after {sidekey.ready_ms:.0f} ms, at the same address, with the same CA", True)
    time.sleep(1)
    sidekey.process.kill()
    sidekey.process.wait()
    sidekey.start()
    check(f"kill -9: the next one is ready after {sidekey.ready_ms:.0f} ms", True)
    counts = json.loads(program.communicate(timeout=120)[0])
    good, redialled = counts.pop("200", 0), counts.pop("redialled", 0)
    check(f"the program noticed nothing: {good} calls were answered 200, no certificate was strange to it", good >= 3 and not counts,
          f"{redialled} connections were dialled again")
    check("and the token is the one from before: no token request", idp.token_requests == requests, f"{idp.token_requests - requests}")


def main():
    began = time.monotonic()
    if not SIDEKEY.exists():
        sys.exit(f"{SIDEKEY} is not there: make first")
    with tempfile.TemporaryDirectory(prefix="sidekey-demo-") as name:
        folder = pathlib.Path(name)
        idp = AuthorizationServer()
        api = Api(NAME, folder, idp.is_live)
        sidekey = None
        try:
            sidekey = Sidekey(folder, idp, api)
            say(f"authorization server  {idp.token_url}   refresh tokens rotate; one used twice costs the grant")
            say(f"HTTPS API             127.0.0.1:{api.port} as {NAME}   takes live access tokens only")
            say(f"sidekey               {sidekey.environment['HTTPS_PROXY']}   ready after {sidekey.ready_ms:.0f} ms")
            placeholder_in_token_out(sidekey, idp, api)
            fifty_calls_at_expiry(sidekey, idp, api)
            revoked_at_the_server(sidekey, idp, api)
            killed_in_mid_traffic(sidekey, idp, api)
            restarted_under_a_program(sidekey, idp)
            say()
            check(f"all of sidekey's processes together: {sidekey.memory_kib() / 1024:.1f} MiB", True)
            check("it ends cleanly", sidekey.stop() == 0)
        except Missed:
            if sidekey:
                say("\nsidekey's log:\n" + sidekey.log.read_text()[-6000:])
            say("\nThis did not work as it should.")
            return 1
        finally:
            if sidekey and sidekey.process.poll() is None:
                sidekey.stop()
    say(f"\nAll of it happened, in {time.monotonic() - began:.0f} s. Now with your own program: see README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
