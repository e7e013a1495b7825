"""The shipped Kubernetes example, unchanged, in a pod as the kubelet makes it (tests/fakes/pod.py): volumes of root and the fsGroup, a read-only root, uid 65532
without capabilities, a memory limit, probes to the pod's address."""
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import harness
import pytest
from harness import ROOT, SIDEKEY, run

KUBERNETES = ROOT / "examples/kubernetes"
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"), pytest.mark.skipif(harness.SANITIZED, reason="judges the release build")]
CALL = ["curl", "-sS", "-m", "20", "-o", os.devnull, "-w", "%{http_code}", "-H", "Authorization: Bearer placeholder", "https://api.crm.example.com/v2/items"]
MEMORY = pathlib.Path("/sys/fs/cgroup/memory")


class Pod:
    def __init__(self, place, name, manifest=None, config=None, seal_key="q2Vyw7vEZ5+Hk3rWm0t8PpNw1sVb6Yc9dXfJgLhTuQo=\n", grants=1, pause_s=0):
        done = run(["node", ROOT / "tests/e2e/manifests.mjs", manifest or KUBERNETES / f"{name}.yaml"], {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR)})
        assert done.returncode == 0, done.stderr
        self.spec = json.loads(done.stdout)[0]["spec"]["template"]["spec"]
        limit = self.spec["initContainers"][0]["resources"]["limits"]["memory"]
        assert limit.endswith("Mi")
        place.chmod(0o755)
        self.place = place
        (place / "config.yaml").write_text(config or (KUBERNETES / "base/sidekey.yaml").read_text())
        state = {"pod": self.spec, "sidekey": str(SIDEKEY), "config": str(place / "config.yaml"), "secrets": {"seal-key": seal_key},
                 "folder": str(place), "grants": grants, "pause_s": pause_s, "memory": int(limit[:-2]) << 20 if os.access(MEMORY / "cgroup.procs", os.W_OK) else None}
        (place / "state.json").write_text(json.dumps(state))
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", sys.executable, ROOT / "tests/fakes/pod.py", place / "state.json"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, *words):
        self.process.stdin.write(json.dumps(words).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read().decode()
        return json.loads(line)

    def logs(self):
        return "\n".join(f"--- {p.name}\n{p.read_text(errors='replace')}" for p in sorted(self.place.glob("sidecar*.log")))

    def started(self):
        """As the startup probe: every second, 60 times."""
        for _ in range(60):
            answer = self.ask("probe", "/readyz")
            if answer["status"] == 200:
                return
            assert answer.get("ended") is None, self.logs()
            time.sleep(1)
        raise AssertionError(self.logs())

    def close(self):
        self.process.stdin.close()
        self.process.wait(harness.PATIENCE_S)


@pytest.fixture
def pod(place, request):
    running = Pod(place, getattr(request, "param", "base/deployment"))
    yield running
    running.close()
    print(running.logs())


@pytest.mark.parametrize("pod", ["base/deployment", "job/job"], indirect=True)
def test_the_pod_starts_serves_and_stops(pod):
    pod.ask("start")
    pod.started()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert pod.ask("probe", pod.spec["initContainers"][0][probe]["httpGet"]["path"])["status"] == 200
    for _ in range(3):
        done = pod.ask("app", CALL)
        assert done["out"] == "200", (done, pod.logs())
    counts = pod.ask("counts")
    assert (counts["token_requests"], counts["reused"], counts["served"], counts["refused"]) == (1, 0, 3, 0)
    assert counts["memory_failures"] == 0 and counts["seccomp"] == ("2" if platform.machine() == "x86_64" else "0"), counts
    assert pod.ask("stop")["status"] == 0, pod.logs()


def with_credentials(count):
    """The example's configuration with so many credentials like its own, all of them required."""
    text = (KUBERNETES / "base/sidekey.yaml").read_text()
    block = re.search(r"^  crm:\n(?:    .*\n)+", text, re.M)[0]
    return text.replace("rules:\n", "".join(block.replace("crm:", f"crm-{n}:").replace("/refresh-token}", f"/refresh-token-{n}}}") for n in range(1, count)) + "rules:\n")


def test_fifty_required_credentials_at_a_slow_identity_provider_fit_the_examples_memory(place):
    pod = Pod(place, "base/deployment", config=with_credentials(50), grants=50, pause_s=1)
    try:
        pod.ask("start")
        pod.started()
        done = pod.ask("app", CALL)
        assert done["out"] == "200", (done, pod.logs())
        counts = pod.ask("counts")
        assert (counts["token_requests"], counts["reused"], counts["oom_kills"]) == (50, 0, 0), (counts, pod.logs())
        assert 1 < counts["most_at_once"] <= 8 and counts["memory_failures"] == 0, counts
        pod.ask("kill")  # what was stored is used again: no request more
        pod.ask("start")
        pod.started()
        assert pod.ask("app", CALL)["out"] == "200", pod.logs()
        assert pod.ask("counts")["token_requests"] == 50 and pod.ask("stop")["status"] == 0
    finally:
        pod.close()


def test_a_restarted_container_keeps_the_programs_trust_and_the_grant(pod):
    """The app read the CA before; the bundle that it holds is as good after a crash, and after a clean stop."""
    pod.ask("start")
    pod.started()
    assert pod.ask("app", ["sh", "-c", "cp $SSL_CERT_FILE /mnt/old.pem"])["status"] == 0
    for how in ("kill", "stop", "kill"):
        pod.ask(how)
        pod.ask("start")
        pod.started()
        done = pod.ask("app", [*CALL[:1], "--cacert", "/mnt/old.pem", *CALL[1:]])
        assert done["out"] == "200", (how, done, pod.logs())
    assert pod.ask("counts")["reused"] == 0


def test_the_app_can_neither_read_the_secrets_nor_change_the_ca(pod):
    pod.ask("start")
    pod.started()
    # In a real pod these volumes are not even mounted in the app's container; here both share a mount namespace, and the files still say no.
    state = pod.ask("app", ["sh", "-c", "cat /var/lib/sidekey/*/* /var/lib/sidekey/*/*/* 2>/dev/null | wc -c"])
    assert state["out"].strip() == "0", state
    pid = pod.ask("app", ["sh", "-c", "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -ci secret"])
    assert pid["out"].strip() == "0"

