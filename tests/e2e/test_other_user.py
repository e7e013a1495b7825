"""An attacker with another user id: what such a user can write is neither followed nor waited for."""
import json
import os
import subprocess
import time

import pytest
from harness import PATIENCE_S, SIDEKEY, environment, run

STRANGER = 52343
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can play another user")


def trap(place, marker):
    """A configuration that runs a command of the attacker's."""
    return json.dumps({
        "listen": {"proxy": "127.0.0.1:0", "admin": "off"}, "ca": {"publish": str(place / "ca")},
        "store": {"file": str(place / "state"), "seal_key": {"command": ["sh", "-c", f"touch {marker}; printf 9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28"]}},
        "credentials": {}, "rules": []})


@pytest.fixture
def marker(place):
    return place / "the-command-ran"


@root_only
@pytest.mark.parametrize("command", [["serve"], ["check"], ["run", "--", "true"], ["env"]])
def test_a_configuration_of_another_user_in_the_current_directory_is_refused(place, marker, command):
    there = place / "theirs"
    there.mkdir()
    place.chmod(0o755)
    (there / "sidekey.yaml").write_text(trap(place, marker))
    (there / "sidekey.yaml").chmod(0o666)
    os.chown(there / "sidekey.yaml", STRANGER, STRANGER)
    os.chown(there, STRANGER, STRANGER)
    done = run([SIDEKEY, *command], environment(place), cwd=there, seconds=PATIENCE_S)
    assert done.returncode == 77, done
    assert f"belongs to uid {STRANGER}".encode() in done.stderr and b"chown" in done.stderr
    os.chown(there, 0, 0)
    (there / "sidekey.yaml").chmod(0o644)
    assert run([SIDEKEY, *command], environment(place), cwd=there, seconds=PATIENCE_S).returncode == 77
    os.chown(there / "sidekey.yaml", 0, 0)
    (there / "sidekey.yaml").chmod(0o666)
    done = run([SIDEKEY, *command], environment(place), cwd=there, seconds=PATIENCE_S)
    assert done.returncode == 77 and b"chmod go-w" in done.stderr
    assert not marker.exists()


def test_a_configuration_that_a_shell_or_a_pipe_hands_over_is_taken(place, marker):
    text = trap(place, marker)
    done = run([SIDEKEY, "check", "-c", "-"], environment(place), stdin=text.encode())
    assert done.returncode == 0, done.stderr
    done = run(["bash", "-c", f"{SIDEKEY} check -c <(printf %s '{text}')"], environment(place))
    assert done.returncode == 0, done.stderr


def test_a_fifo_a_device_and_a_huge_file_are_refused_at_once(make_config, place):
    (place / "huge").write_bytes(b"x" * 70000)
    os.mkfifo(place / "fifo", 0o600)
    config = make_config()
    for name in (str(place / "fifo"), "/dev/zero", str(place / "huge")):
        config["store"]["seal_key"] = {"file": name}
        (place / "sidekey.yaml").write_text(json.dumps(config))
        done = run([SIDEKEY, "serve", "-c", place / "sidekey.yaml"], environment(place), seconds=PATIENCE_S)
        assert done.returncode in (77, 78), done
        assert name.encode() in done.stdout + done.stderr
    assert run([SIDEKEY, "check", "-c", place / "fifo"], environment(place), seconds=PATIENCE_S).returncode == 74


@root_only
def test_a_secret_that_another_user_can_write_stops_the_start(make_config, place):
    place.chmod(0o755)
    config = make_config()
    secret = config["credentials"]["crm"]["client_secret"]["file"]
    (place / "sidekey.yaml").write_text(json.dumps(config))
    os.chown(secret, STRANGER, STRANGER)
    for command in (["serve"], ["check"]):
        done = run([SIDEKEY, *command, "-c", place / "sidekey.yaml"], environment(place), seconds=PATIENCE_S)
        assert done.returncode == 77, done
        assert b"credentials.crm.client_secret" in done.stderr and f"uid {STRANGER}".encode() in done.stderr


KUBELET = r"""
set -e
mount -t tmpfs -o mode=0755 none {at}
mkdir {at}/map {at}/secret
mount -t tmpfs -o mode=0777 none {at}/map                      # a ConfigMap's directory
mount -t tmpfs -o mode=3777,gid=2000 none {at}/secret          # a Secret's, with fsGroup
mkdir -m 0755 {at}/map/..1 {at}/secret/..1
cp {config} {at}/map/..1/sidekey.yaml
printf %s {seal} > {at}/secret/..1/seal
chown root:2000 {at}/secret/..1/seal
chmod 0440 {at}/secret/..1/seal
chmod 0644 {at}/map/..1/sidekey.yaml
for d in map secret; do ln -s ..1 {at}/$d/..data; done
ln -s ..data/sidekey.yaml {at}/map/sidekey.yaml
ln -s ..data/seal {at}/secret/seal
mkdir -m 0700 {at}/creds; cp {at}/secret/seal {at}/creds/seal; chmod 0400 {at}/creds/seal; chown -R 65532 {at}/creds  # systemd's
exec setpriv --reuid 65532 --regid 65532 --groups 2000 {sidekey} check -c {at}/map/sidekey.yaml {more}
"""


@root_only
@pytest.mark.parametrize("seal", ["secret/seal", "creds/seal"])
def test_volumes_of_kubernetes_and_credentials_of_systemd_are_taken(place, seal):
    at = place / "at"
    at.mkdir()
    for folder in (place.parent, place):
        folder.chmod(0o755)
    (place / "c.yaml").write_text(json.dumps({
        "listen": {"proxy": "127.0.0.1:0"}, "store": {"file": "/tmp/none", "seal_key": {"file": str(at / seal)}}, "credentials": {}, "rules": []}))
    script = KUBELET.format(at=at, config=place / "c.yaml", seal="9f3c1e7a5b2d4806c1f0e3a79b5d8246717c0a9e3f6b8d52e4a1c7095d3b6f28", sidekey=SIDEKEY, more="")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, timeout=PATIENCE_S, check=False, env=environment(place))
    if b"unshare failed" in done.stderr or b"mount:" in done.stderr and b"denied" in done.stderr:
        pytest.skip("no mount namespace here")
    assert done.returncode == 0, (done.stdout, done.stderr)
