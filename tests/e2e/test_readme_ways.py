"""The README's ways to a first call, word for word, on a machine that has never seen sidekey (tests/fakes/stranger.py)."""
import json
import os
import re
import shutil
import subprocess
import sys

import harness
import pytest
from harness import BUILD, ROOT, run
from test_pod import Pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"), pytest.mark.skipif(harness.SANITIZED, reason="judges the release build"), pytest.mark.world]


def blocks():
    """{"Laptop": script, ...} and the configuration, of the section "Use it"."""
    section = re.search(r"^## Use it$(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    ways = dict(re.findall(r"^\*\*([^*]+)\*\*.*?\n\n```sh\n(.*?)```", section, re.M | re.S))
    return ways, re.search(r"```yaml\n(.*?)```", section, re.S)[1]


def cloned(into):
    """The project as it was cloned, and built already: `make` finds nothing to do."""
    into.mkdir()
    names = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT).stdout.decode().split("\n")[:-1]
    done = subprocess.run(["cp", "-a", "--parents", *[n for n in names if (ROOT / n).exists()], into], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    skip = shutil.ignore_patterns("node", "tests", "roots", "asan", "fuzz", "deb", "tree", "gocache", "stages")
    shutil.copytree(BUILD, into / "build", ignore=skip)
    return into


def stranger(place, script, prepare=lambda source: None):
    source = cloned(place / "source")
    (source / "sidekey.yaml").write_text(blocks()[1] + "network: {allow_private: [10.9.8.7/32]}   # where the test's servers are\n")
    (source / "sidekey.yaml").chmod(0o644)
    prepare(source)
    (place / "state.json").write_text(json.dumps({"script": script, "source": str(source), "folder": str(place)}))
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", sys.executable, source / "tests/fakes/stranger.py", place / "state.json"]
    done = subprocess.run(argv, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout.decode().splitlines()[-1])


def test_the_readme_has_the_four_ways():
    assert list(blocks()[0]) == ["Laptop", "Container", "One machine, systemd", "Kubernetes"]


@pytest.mark.parametrize("way", ["Laptop", "Container", "One machine, systemd"])
def test_a_way_leads_to_the_first_call(way, place):
    seen = stranger(place, blocks()[0][way])
    assert seen["status"] == 0, seen
    assert json.loads(seen["out"].strip().splitlines()[-1]) == {"live": True}, seen
    assert (seen["served"], seen["refused"], seen["token_requests"]) == (1, 0, 1), seen


def test_the_way_into_a_cluster_makes_a_pod_that_serves(place):
    (place / "machine").mkdir()
    (place / "pod").mkdir()
    seen = stranger(place / "machine", "make && sudo make install\n" + blocks()[0]["Kubernetes"])
    assert seen["status"] == 0, seen
    cluster = place / "machine/cluster"
    config, secrets = json.loads((cluster / "configmap-sidekey.json").read_text()), json.loads((cluster / "secret-sidekey.json").read_text())
    assert set(secrets) == {"client-secret", "refresh-token", "seal-key"} and list(config) == ["sidekey.yaml"]
    done = run(["node", ROOT / "tests/e2e/manifests.mjs", cluster / "applied.yaml"], {**os.environ, "SIDEKEY_NODE": str(harness.NODE_DIR)})
    assert done.returncode == 0, done.stderr
    docs = {doc["kind"]: doc for doc in json.loads(done.stdout)}
    assert {"Deployment", "NetworkPolicy", "PodDisruptionBudget", "StatefulSet", "Service"} <= set(docs)
    (place / "pod.json").write_text(json.dumps(docs["Deployment"]))
    pod = Pod(place / "pod", "the README's", manifest=place / "pod.json", config=config["sidekey.yaml"], seal_key=secrets["seal-key"])
    try:
        pod.ask("start")
        pod.started()
        command = json.loads((cluster / "exec.json").read_text())
        assert command[:5] == ["exec", "deployment/my-app", "-c", "app", "--"]
        answer = pod.ask("app", command[5:])
        assert answer["status"] == 0 and json.loads(answer["out"]) == {"live": True}, (answer, pod.logs())
    finally:
        pod.close()
