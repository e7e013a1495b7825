"""State and publish directory as others make them: the kubelet's volumes, a fresh home, links, modes, what an attacker has put there."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import harness
import pytest
from harness import ROOT, SIDEKEY, run, until

UID = 65532
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a volume and play another user")


def volume_size(name):
    """As examples/kubernetes/base/deployment.yaml has it, in KiB."""
    text = (ROOT / "examples/kubernetes/base/deployment.yaml").read_text()
    return int(re.search(rf"- name: sidekey-{name}\b.*?\n\s+emptyDir: \{{.*?sizeLimit: (\d+)Mi", text, re.S)[1]) * 1024


def in_a_pod(state, ca, mode="2777"):
    """A mount namespace with the two volumes as the kubelet makes them for an fsGroup, and the pod's user."""
    mount = "mount -t tmpfs -o size={}k,uid=0,gid=65532,mode=" + mode + " none {}"
    script = (f"{mount.format(volume_size('state'), state)} && {mount.format(volume_size('ca'), ca)} && "
              f'exec setpriv --reuid {UID} --regid {UID} --groups {UID} --no-new-privs --bounding-set=-all "$@"')
    return ["unshare", "-m", "sh", "-c", script, "sh"]


@pytest.fixture
def pod(make_config, place):
    """pod(**config): sidekey as the pod's user over such volumes."""
    started = []

    def begin(before, **changes):
        config = make_config(**changes)
        place.chmod(0o755)
        place.parent.chmod(0o755)
        for path in place.iterdir():
            if path.is_file():
                os.chown(path, UID, UID)
        sidekey = harness.Sidekey(place, config, before=before, name=f"pod{len(started)}")
        started.append(sidekey)
        return sidekey
    yield begin
    for sidekey in started:
        assert sidekey.stop() == 0


@root_only
@pytest.mark.parametrize("mode", ["2777", "2775", "0777"])
def test_the_volumes_of_a_pod_are_taken_and_hold_many_reloads(pod, place, mode):
    sidekey = pod(in_a_pod(place / "state", place / "ca", mode)).ready()
    seen = pathlib.Path(f"/proc/{sidekey.pid}/root")
    state = seen / str(place / "state").lstrip("/") / f"sidekey-{UID}"
    assert state.stat().st_mode & 0o777 == 0o700 and state.stat().st_uid == UID
    assert (state / "ca.sealed").exists()
    ca = (seen / str(place / "ca").lstrip("/"))
    assert sorted(p.name for p in ca.iterdir()) == ["bundle.jks", "bundle.pem", "ca.pem"]
    for i in range(10):
        assert sidekey.reload()[0] == 200
        until("two children", lambda: len(sidekey.children()) == 2)
    assert sidekey.get_admin("/ca/rotate", "POST")[0] == 200  # all files are written anew
    assert (ca / "ca.pem").read_text().count("BEGIN") == 2
    until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    used = os.statvfs(ca)
    assert used.f_bavail > used.f_blocks // 2, "there must be room for all files twice"
    assert sorted(p.name for p in ca.iterdir()) == ["bundle.jks", "bundle.pem", "ca.pem"]


@root_only
def test_a_publish_directory_that_is_full_keeps_the_old_files_and_the_old_ca(pod, place):
    sidekey = pod(in_a_pod(place / "state", place / "ca")).ready()
    ca = pathlib.Path(f"/proc/{sidekey.pid}/root/{place}/ca")
    before = {p.name: p.read_bytes() for p in ca.iterdir()}
    context = ssl.create_default_context(cadata=before["ca.pem"].decode())
    with open(ca / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(b"x" * 65536)
    status, text = sidekey.get_admin("/ca/rotate?now", "POST")
    assert status == 503 and "No space left" in text, text
    assert {p.name: p.read_bytes() for p in ca.iterdir() if p.name != "filler"} == before
    assert sidekey.reload()[0] == 200
    until("two children", lambda: len(sidekey.children()) == 2)
    assert sidekey.request(connection=sidekey.connection(context=context))[0] == 200
    (ca / "filler").unlink()
    status, text = sidekey.get_admin("/ca/rotate", "POST")
    assert status == 200, text


def refused(place, config, env=None, status=77):
    path = place / "refused.yaml"
    path.write_text(json.dumps(config))
    done = harness.run([harness.SIDEKEY, "serve", "-c", path], harness.environment(place, env), seconds=harness.PATIENCE_S)
    assert done.returncode == status, done
    return (done.stdout + done.stderr).decode()


def of_a_stranger(path):
    os.chown(path, 52343, 52343)


def link_of_a_stranger(path):
    path.rename(path.with_name(path.name + "-real"))
    path.symlink_to(path.with_name(path.name + "-real"))
    os.chown(path, 52343, 52343, follow_symlinks=False)


@root_only
@pytest.mark.parametrize("which", ["state", "ca"])
@pytest.mark.parametrize("spoil, says", [(of_a_stranger, "chown"), (link_of_a_stranger, "chown"), (lambda p: p.chmod(0o777), "chmod"),
                                         (lambda p: (of_a_stranger(p), p.chmod(0o1777)), "chown")], ids=["owner", "link", "mode", "1777"])
def test_a_directory_that_others_rule_is_refused_with_the_way_out(make_config, place, which, spoil, says):
    config = make_config()
    spoil(place / which)
    said = refused(place, config)
    assert f"{place}/{which}" in said and says in said, said


def test_a_state_directory_that_others_may_look_into_is_refused(make_config, place):
    config = make_config()
    (place / "state").chmod(0o755)
    assert f"chmod 0700 {place}/state" in refused(place, config)


def test_a_link_of_our_own_is_followed(make_config, start, place):
    """systemd's DynamicUser makes one."""
    config = make_config()
    (place / "state").rename(place / "private")
    (place / "state").symlink_to("private")
    sidekey = start(config)
    assert (place / "private" / "ca.sealed").exists()
    time.sleep(5)  # it is looked at every 2 s
    assert "was removed" not in sidekey.out.read_text() and not degraded(sidekey)
    shutil.rmtree(place / "private")
    (place / "private").mkdir(mode=0o700)
    until("the state is there again", lambda: (place / "private" / "crm.state").exists())
    assert (place / "state").is_symlink()


@pytest.mark.parametrize("name", ["ca.pem", "bundle.pem", "bundle.jks", "bundle.jks.new"])
def test_a_planted_link_is_replaced_and_never_followed(make_config, start, place, name):
    config = make_config()
    (place / "victim").write_text("mine")
    (place / "ca" / name).symlink_to(place / "victim")
    sidekey = start(config)
    assert (place / "victim").read_text() == "mine"
    until("ready", lambda: sidekey.get_admin("/readyz")[0] == 200)
    assert (place / "ca" / name).is_symlink() == (name == "bundle.jks.new")


def test_nothing_is_removed_that_is_not_ours(make_config, start, place):
    config = make_config()
    names = ["thesis.tmp", "ca.pem.XXXXXX", "notes", ".hidden"]
    for name in names:
        for where in ("state", "ca"):
            path = place / where / name
            path.write_text("mine")
            os.utime(path, (1, 1))
    start(config)
    assert all((place / where / name).read_text() == "mine" for name in names for where in ("state", "ca"))


@pytest.mark.parametrize("home", ["home", "home/of/nobody"])
def test_a_fresh_home_gets_its_directories(make_config, place, home):
    """No ~/.local yet: they are made, for us alone (XDG base directories)."""
    config = make_config()
    del config["store"]["file"], config["ca"]["publish"]
    (place / home).mkdir(parents=True)
    env = {"HOME": str(place / home), "XDG_STATE_HOME": str(place / home / ".local/state"), "XDG_RUNTIME_DIR": str(place / home / "run/user")}
    path = place / "fresh.yaml"
    path.write_text(json.dumps(config))
    if os.geteuid() == 0:  # root has places of its own
        config["store"]["file"], config["ca"]["publish"] = str(place / home / ".local/state/sidekey"), str(place / home / "run/user/sidekey")
    sidekey = harness.Sidekey(place, config, env=env, name="fresh")
    try:
        sidekey.ready()
        for made in (".local", ".local/state", ".local/state/sidekey", "run"):
            assert (place / home / made).stat().st_mode & 0o777 == 0o700, made
    finally:
        assert sidekey.stop(signal.SIGTERM) == 0


def test_what_is_missing_elsewhere_is_not_made(make_config, place):
    config = make_config()
    config["store"]["file"] = str(place / "not/there")
    said = refused(place, config, {"HOME": str(place / "home")}, 74)
    assert "directory" in said and not (place / "not").exists(), said


def test_run_in_a_fresh_home_works(make_config, place):
    config = make_config()
    config["store"]["file"] = str(place / "home/.local/state/sidekey")
    (place / "home").mkdir()
    path = place / "run.yaml"
    path.write_text(json.dumps(config))
    done = subprocess.run([harness.SIDEKEY, "run", "-c", path, "--", "true"], env=harness.environment(place, {"HOME": str(place / "home")}), capture_output=True, timeout=harness.PATIENCE_S)
    assert done.returncode == 0, done


def degraded(sidekey):
    """As the three places have it that tell, which must agree once nothing changes between the questions."""
    def look():
        status, ready = sidekey.get_admin("/readyz?verbose")
        told = json.loads(sidekey.get_admin("/status")[1])["degraded"]
        counted = set(re.findall(r'sidekey_degraded\{part="(\w+)"\} 1\n', sidekey.get_admin("/metrics")[1]))
        assert status == 200
        return set(told) == counted == set(re.findall(r"^\[!\](\w+) degraded: ", ready, re.M)) and (told,)
    return until("/readyz, /status and /metrics agree", look)[0]


def contents(folder):
    """{name: bytes} of what must outlive the directory."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.name in ("crm.state", "seal.key", "ca.sealed")}


def test_a_state_directory_that_is_removed_is_made_again_with_what_is_in_memory(start, make_config, auth, place):
    config = make_config()
    del config["store"]["seal_key"]  # the key lives there too
    sidekey = start(config)
    state = pathlib.Path(config["store"]["file"])
    assert sidekey.request()[0] == 200
    until("the token is stored", lambda: len(contents(state)) == 3)
    before, asked = contents(state), auth.counts["token_requests"]
    remove(state)
    until("the directory is made again", lambda: set(contents(state)) == set(before) if state.exists() else False)
    found = contents(state)
    assert all(found[name] == before[name] for name in found if name != "ca.sealed")
    assert state.stat().st_mode & 0o777 == 0o700 and (state / "journal").stat().st_mode & 0o777 == 0o700
    until("all is well", lambda: not degraded(sidekey))
    auth.revoke_access()
    assert sidekey.request()[0] == 200  # a refresh finds journal and store
    assert auth.counts["token_requests"] == asked + 1
    ca = sidekey.ca.read_bytes()
    assert sidekey.stop() == 0
    again = start(config)
    assert again.request()[0] == 200
    assert auth.counts["token_requests"] == asked + 1 and again.ca.read_bytes() == ca
    auth.healthy()


def remove(directory):
    """Away with it, although sidekey makes and renames files in it at the same time."""
    aside = directory.with_name("removed")
    directory.rename(aside)
    until("nothing writes there any more", lambda: shutil.rmtree(aside, ignore_errors=True) or not aside.exists())


@pytest.mark.parametrize("removed", ["the state directory", "the admin socket", "the socket of clients"])
def test_a_unix_socket_that_was_removed_comes_back_without_a_reload(start, make_config, place, removed):
    config = make_config()
    config["listen"]["socket"] = str(place / "clients.sock")
    sidekey = start(config, env={"RUNTIME_DIRECTORY": ""})
    admin, clients = pathlib.Path(config["store"]["file"]) / "admin.sock", place / "clients.sock"
    ask = [SIDEKEY, "refresh", "--set", "listen.admin=off", "-c", sidekey.file, "crm"]
    assert run(ask).returncode == 0
    gone = {"the state directory": admin.parent, "the admin socket": admin, "the socket of clients": clients}[removed]
    inodes = {path: path.stat().st_ino for path in (admin, clients)}
    if gone.is_dir():
        remove(gone)
    else:
        gone.unlink()
    back = clients if gone == clients else admin
    kept = os.open(place, os.O_RDONLY)  # a file system may give the same number again
    until("it is there again", lambda: back.exists() and "a unix socket of sidekey was removed" in sidekey.out.read_text())
    os.close(kept)
    assert all(path.stat().st_ino == inode for path, inode in inodes.items() if path != back)
    until("it is served", lambda: run(ask).returncode == 0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(clients))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 ")
    assert sidekey.request()[0] == 200 and not degraded(sidekey)


def test_a_state_directory_that_cannot_be_made_again_is_degraded_and_tokens_are_sent(start, make_config):
    config = make_config()
    sidekey = start(config)
    state = pathlib.Path(config["store"]["file"])
    assert sidekey.request()[0] == 200 and not degraded(sidekey)
    remove(state)
    state.write_text("in the way")
    try:
        until("it is told", lambda: "state_directory" in degraded(sidekey))
        assert sidekey.request()[0] == 200
    finally:
        state.unlink()
    until("it is there again", lambda: not degraded(sidekey))
    assert (state / "crm.state").exists()
