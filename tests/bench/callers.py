#!/usr/bin/env python3
"""Fifty programs call an API at the moment when their token has expired; the refresh token rotates, and one that is used twice costs the grant.
Counts the token requests, and what happened to the grant: each program with an SDK's own refresh (read the file, refresh, write the file), and all of them
through sidekey.   callers.py [--write]   (--write: docs/pictures/callers.txt)"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "examples/quickstart")]
from api import Api  # noqa: E402
from idp import AuthorizationServer  # noqa: E402

CALLERS, HOST = 50, "api.bench.test"
SIDEKEY = TOP / os.environ.get("BUILD", "build") / "sidekey"

OWN = """
    import base64, http.client, json, os, ssl, sys, time, urllib.parse, urllib.request
    state, token_url, client_id, secret, port, ca, start = sys.argv[1:]
    def refresh():
        saved = json.load(open(state))
        request = urllib.request.Request(token_url, urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": saved["refresh_token"]}).encode())
        request.add_header("authorization", "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode())
        answer = json.load(urllib.request.urlopen(request))
        with open(state + f".{os.getpid()}", "w") as f:
            json.dump(answer, f)
        os.rename(state + f".{os.getpid()}", state)
        return answer["access_token"]
    time.sleep(max(0, float(start) - time.time()))
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context)
    connection.request("GET", "/", headers={"authorization": "Bearer " + refresh()})
    sys.exit(connection.getresponse().status != 200)
"""


def world(folder):
    idp = AuthorizationServer()
    idp.lifetime_s, idp.pause_s = 60, 0.2
    return idp, Api(HOST, folder, idp.is_live)


def run_all(argv, env=None):
    running = [subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(CALLERS)]
    return sum(p.wait(120) == 0 for p in running)


def by_themselves(folder):
    import time
    idp, api = world(folder)
    state = folder / "state.json"
    state.write_text(json.dumps({"refresh_token": idp.first_refresh_token}))
    program = folder / "own.py"
    program.write_text(textwrap.dedent(OWN))
    good = run_all([sys.executable, program, state, idp.token_url, idp.client_id, idp.client_secret, str(api.port), api.certificate, str(time.time() + 4)])
    return idp, good


def through_sidekey(folder):
    idp, api = world(folder)
    for name, text in (("secret", idp.client_secret), ("refresh", idp.first_refresh_token)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    config = {"listen": {"proxy": "127.0.0.1:0", "admin": "off"}, "ca": {"publish": str(folder / "ca")}, "store": {"file": str(folder / "state")},
              "credentials": {"crm": {"grant": "refresh_token", "token_url": idp.token_url, "client_id": idp.client_id, "client_secret": {"file": str(folder / "secret")},
                                      "refresh_token": {"file": str(folder / "refresh")}}},
              "rules": [{"match": {"host": HOST}, "credential": "crm", "tls": {"ca_file": str(api.certificate)}}],
              "network": {"resolve": {f"{HOST}:443": f"127.0.0.1:{api.port}"}}}
    (folder / "sidekey.yaml").write_text(json.dumps(config))
    sidekey = subprocess.Popen([SIDEKEY, "serve", "-c", folder / "sidekey.yaml"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "HOME": str(folder)})
    try:
        proxy = sidekey.stderr.readline().decode().split("proxy=")[1].split()[0]
        good = run_all(["curl", "-sSf", "-m", "60", "-x", f"http://{proxy}", "--cacert", folder / "ca/ca.pem", "-H", "Authorization: Bearer placeholder", f"https://{HOST}/"])
    finally:
        sidekey.terminate()
        sidekey.wait(30)
    return idp, good


def main():
    lines = []
    for name, play in ((f"{CALLERS} programs, each by itself", by_themselves), (f"{CALLERS} programs, one sidekey", through_sidekey)):
        with tempfile.TemporaryDirectory() as folder:
            idp, good = play(pathlib.Path(folder))
        grant = "the grant is lost" if idp.reused else "the grant lives"
        note = f"{good} of {CALLERS} calls answered 200; refresh tokens used twice: {idp.reused}; {grant}"
        lines.append(f"{name}\t{idp.token_requests}\t{note}")
        print(lines[-1])
    if "--write" in sys.argv:
        (TOP / "docs/pictures/callers.txt").write_text("# tests/bench/callers.py --write\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
