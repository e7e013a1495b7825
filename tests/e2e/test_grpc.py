"""docs/http.md §8: programs that use gRPC, unchanged, and the servers they call; tokens that expire and are revoked while they do."""
import json
import os
import shutil
import subprocess

import harness
import pytest

H2 = "h2.sidekey.test"
CALLS = harness.ROOT / "tests/e2e/calls"
PYTHON = "/usr/bin/python3"  # Debian's, which has the packages


def has_grpcio():
    return subprocess.run([PYTHON, "-c", "import grpc"], capture_output=True, check=False).returncode == 0


def python(place):
    if not has_grpcio():
        pytest.skip("python3-grpcio is not there")
    return [PYTHON, CALLS / "peer.py"]


def node(place):
    return ["node", CALLS / "peer.mjs"]


def go(place):
    if not os.path.isdir("/usr/share/gocode/src/google.golang.org/grpc") or not shutil.which("go"):
        pytest.skip("golang-google-grpc-dev is not there")
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(harness.BUILD / "gocache"), "HOME": str(place), "GOFLAGS": "", "CGO_ENABLED": "0"}
    made = harness.run(["go", "build", "-o", place / "peer", CALLS / "peer.go"], env, seconds=600)
    assert made.returncode == 0, made.stderr.decode()
    return [place / "peer"]


class Caller(harness.Process):
    """A program that calls until finish()."""

    def __init__(self, argv, place, sidekey):
        env = harness.program_environment(sidekey, grpc_proxy=sidekey.proxy_url, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(sidekey.bundle))
        super().__init__("caller", [*argv, "call", H2], place, env, subprocess.PIPE)

    @property
    def calls(self):
        lines = [line for line in self.out.read_text().splitlines() if line.startswith("calls ")]
        assert self.popen.poll() is None, self.err.read_text()
        return int(lines[-1].split()[1]) if lines else 0

    def more(self, n=40):
        """n more have ended."""
        before = self.calls
        harness.until(f"{n} more calls", lambda: self.calls >= before + n)

    def finish(self):
        self.popen.stdin.close()
        assert self.popen.wait(harness.PATIENCE_S) == 0, self.err.read_text()
        return json.loads(self.out.read_text().splitlines()[-1])


@pytest.fixture
def calls(auth, make_config, start, pki, place):
    """calls(client, server): a program that calls a server through sidekey, and what must come of it: (caller, sidekey, grant)."""
    running = []

    def begin(client, server):
        client, server = client(place), server(place)
        upstream = harness.Process("upstream", [*server, "serve", pki / "good.key", pki / "good.pem", auth.control], place, harness.environment(place, {"SIDEKEY_NODE": str(harness.NODE_DIR)}))
        running.append(upstream)
        port = json.loads(upstream.wait_line(r"^\{.*\}$", upstream.out)[0])["port"]
        config = make_config()
        config["rules"].append({"match": {"host": H2}, "credential": "crm", "http2": "mirror", "tls": {"ca_file": str(pki / "ca.pem")}})
        config["network"]["resolve"][f"{H2}:443"] = f"127.0.0.1:{port}"
        sidekey = start(config)
        running.append(Caller(client, place, sidekey))
        return running[-1]

    yield begin
    for process in reversed(running):
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


PAIRS = [(python, node), (node, python), (go, python), (go, node), (python, python), (node, node)]


@pytest.mark.world
@pytest.mark.parametrize("client, server", PAIRS, ids=[f"{c.__name__}-{s.__name__}" for c, s in PAIRS])
def test_tokens_that_expire_and_are_revoked_are_seen_by_no_call(calls, auth, make_config, client, server):
    caller = calls(client, server)
    caller.more()
    before = auth.counts["refreshes"]
    auth.access_ttl(6, then=3600)  # the token that comes next; those behind it live long
    auth.revoke_access(make_config.grant)
    harness.until("the revoked token was replaced", lambda: auth.counts["refreshes"] == before + 1)
    caller.more()
    harness.until("the token that expires was replaced", lambda: auth.counts["refreshes"] == before + 2)
    caller.more()
    counts = caller.finish()
    assert set(counts) == {"OK"}, counts
    assert auth.counts["refreshes"] == before + 2
    auth.healthy()
