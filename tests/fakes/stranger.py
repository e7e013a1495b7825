#!/usr/bin/env python3
"""A stranger's machine for a block of commands of the README, word for word:   stranger.py STATE.json   (as root, in new network, mount and pid namespaces)

STATE.json: {"script": text, "source": folder with the project as it was cloned, "folder": scratch}
login.example.com and api.crm.example.com are an authorization server and an API behind TLS at 10.9.8.7 (tests/fakes/pod.py); /usr/local, /etc/sidekey, /etc/systemd/system,
/run, $HOME and the state directories are new.  Stand-ins for what is not here: sudo (is root already), docker (the image's tree in a chroot, volumes as bind mounts), systemctl
(the unit's command, user, directories and credentials, until READY=1), kubectl (keeps what it is given; tests/fakes/pod.py is the cluster).  They call this file again:
stranger.py --as NAME ARGUMENT...  Prints one JSON object: status, out, err, and what the servers counted.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import pod  # noqa: E402

SCRATCH = pathlib.Path(os.environ.get("STRANGER", "/nonexistent"))
UNIT_UID, IMAGE_UID, NOTIFY = 61999, 65532, "/run/notify-of-the-manager"


def say(text):
    print(text, flush=True)


def started(argv, **more):
    """In the background, and known to the end of the block."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, **more)
    with open(SCRATCH / "started", "a", encoding="utf-8") as pids:
        pids.write(f"{process.pid}\n")
    return process


# --- docker -------------------------------------------------------------------------------------------------------------------------------

def dockerfile():
    return pathlib.Path("examples/docker/Dockerfile").read_text().split("\nFROM ")[-1]


def docker_build(argv):
    assert argv == ["-f", "examples/docker/Dockerfile", "-t", "sidekey:0.1.0", "."], argv
    out, image = SCRATCH / "out", SCRATCH / "image"
    env = {**os.environ, "MAKELEVEL": "0"}
    subprocess.run(["make", "-s", "install", f"DESTDIR={out}", "PREFIX=/usr"], check=True, env=env)
    subprocess.run(["examples/docker/collect-libraries", out, out / "usr/bin/sidekey", "libcurl.so.4"], check=True, stdout=subprocess.DEVNULL)
    for source, target in re.findall(r"^COPY --from=build (?:--chown=\S+ )?/out(\S+) (\S+)$", dockerfile(), re.M):
        if (out / source.strip("/")).is_dir():
            shutil.copytree(out / source.strip("/"), image / target.strip("/"), symlinks=True, dirs_exist_ok=True)
        elif (out / source.strip("/")).exists():
            (image / target.strip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(out / source.strip("/"), image / target.strip("/"))
        else:
            (image / target.strip("/")).mkdir(parents=True, exist_ok=True)  # RUN install -d
    for folder in ("tmp", "proc", "dev", "etc/ssl", "usr/lib/ssl"):  # what the base brings
        (image / folder).mkdir(parents=True, exist_ok=True)
    curl = next((out / "usr/lib").rglob("libcurl.so.4"))
    listed = subprocess.run(["ldd", out / "usr/bin/sidekey", curl], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"^\t(?:\S+ => )?(/\S+) \(", listed, re.M):
        target = image / ("lib64" if "ld-linux" in path and "lib64" in path else "usr/lib/" + os.path.dirname(path).split("/lib/", 1)[-1]) / os.path.basename(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(os.path.realpath(path), target)
    (image / "lib").symlink_to("usr/lib")
    shutil.copytree("/etc/ssl/certs", image / "etc/ssl/certs")
    for name in ("hosts", "resolv.conf"):
        shutil.copy(SCRATCH / name, image / "etc" / name)


def mounts(argv, into):
    """-v SOURCE:TARGET[:ro]: bind mounts; a named volume begins as what the image has there, with its owner."""
    for value in argv:
        source, target, *mode = value.split(":")
        at = into / target.strip("/")
        if source.startswith((".", "/")):
            source = pathlib.Path(source)
        else:
            source = SCRATCH / "volumes" / source
            if not source.exists():
                source.mkdir(parents=True)
                os.chown(source, IMAGE_UID, IMAGE_UID)
                source.chmod(0o755 if "run" in target else 0o700)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.mkdir(exist_ok=True) if source.is_dir() else at.touch()
        pod.mount("--bind", source, at)
        if mode:
            pod.mount("-o", "remount,bind,ro", at)


def docker_run(argv):
    flags, rest = {"-v": []}, list(argv)
    while rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag in ("-d", "--rm"):
            flags[flag] = True
        elif flag == "-v":
            flags["-v"].append(rest.pop(0))
        else:
            flags[flag] = rest.pop(0)
    image, *command = rest
    if image.startswith("sidekey"):
        name = SCRATCH / "containers" / flags["--name"]
        name.parent.mkdir(exist_ok=True)
        shutil.copytree(SCRATCH / "image", name, symlinks=True)
        mounts(flags["-v"], name)
        pod.mount("-t", "proc", "proc", name / "proc")
        log = open(SCRATCH / "container.log", "wb")
        started(in_container(name, json.loads(re.search(r"^ENTRYPOINT (.*)$", dockerfile(), re.M)[1]) + (command or json.loads(re.search(r"^CMD (.*)$", dockerfile(), re.M)[1]))),
                stdout=log, stderr=log, env=image_env())
        say("0123456789ab")
        return 0
    assert image == "curlimages/curl" and flags["--network"] == "container:sidekey", argv
    mounts(flags["-v"], pathlib.Path("/"))
    env = dict(line.split("=", 1) for line in pathlib.Path(flags["--env-file"]).read_text().splitlines())
    return subprocess.run(["setpriv", "--reuid", "100", "--regid", "100", "--clear-groups", "curl", *command], env={**env, "PATH": "/usr/bin"}, check=False).returncode


def image_env():
    env = {"PATH": "/usr/bin:/bin", "HOME": "/home/nonroot"}
    for line in re.findall(r"^ENV (.*)$", dockerfile(), re.M):
        env.update(pair.split("=", 1) for pair in line.split())
    return env


def in_container(root, argv):
    workdir = re.search(r"^WORKDIR (\S+)$", dockerfile(), re.M)[1]
    return ["setpriv", "--bounding-set=-all,+sys_chroot,+setuid,+setgid", sys.executable, __file__, "--as", "container", str(root), workdir, *argv]


def container(root, workdir, *argv):
    os.chroot(root)
    os.chdir(workdir)
    pod.drop_to(IMAGE_UID, IMAGE_UID, [])
    os.execve(argv[0], argv, dict(os.environ))


def docker(command, *argv):
    if command == "build":
        docker_build(list(argv))
        return 0
    if command == "run":
        return docker_run(argv)
    assert command == "exec", command
    name, *words = argv
    return subprocess.run(in_container(SCRATCH / "containers" / name, words), env=image_env(), check=False).returncode


# --- systemctl -----------------------------------------------------------------------------------------------------------------------------

def unit_started(unit):
    values = lambda key: re.findall(rf"^{key}=(.*)$", unit, re.M)
    runtime, state, credentials = pathlib.Path("/run/sidekey"), pathlib.Path("/var/lib/sidekey"), pathlib.Path("/run/credentials/sidekey.service")
    for folder, mode in ((runtime, values("RuntimeDirectoryMode")[0]), (state, values("StateDirectoryMode")[0]), (credentials, "0500")):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(int(mode, 8))
        os.chown(folder, UNIT_UID, UNIT_UID)
    for each in values("LoadCredential"):
        name, source = each.split(":")
        (credentials / name).write_bytes(pathlib.Path(source).read_bytes())
        os.chown(credentials / name, UNIT_UID, UNIT_UID)
        (credentials / name).chmod(0o400)
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(NOTIFY)
    os.chmod(NOTIFY, 0o777)
    told.settimeout(60)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NOTIFY_SOCKET": NOTIFY, "STATE_DIRECTORY": str(state), "RUNTIME_DIRECTORY": str(runtime),
           "CREDENTIALS_DIRECTORY": str(credentials)}
    log = open(SCRATCH / "journal", "wb")
    started(values("ExecStart")[0].split(), env=env, cwd="/", stdout=log, stderr=log, preexec_fn=lambda: pod.drop_to(UNIT_UID, UNIT_UID, []))
    while "READY=1" not in told.recv(4096).decode().split("\n"):
        pass


def systemctl(*argv):
    if argv == ("daemon-reload",):
        return 0
    assert argv == ("enable", "--now", "sidekey"), argv
    try:
        unit_started(pathlib.Path("/etc/systemd/system/sidekey.service").read_text())
    except TimeoutError:
        sys.stderr.write((SCRATCH / "journal").read_text())
        return 1
    return 0


# --- kubectl -------------------------------------------------------------------------------------------------------------------------------

def kubectl(*argv):
    cluster = SCRATCH / "cluster"
    cluster.mkdir(exist_ok=True)
    if argv[0] == "create":
        kind, name = argv[1], argv[3] if argv[1] == "secret" else argv[2]
        files = [word.removeprefix("--from-file=").split("=", 1) for word in argv if word.startswith("--from-file=")]
        (cluster / f"{kind}-{name}.json").write_text(json.dumps({key: pathlib.Path(path).read_text() for key, path in files}))
    elif argv[0] == "apply":
        assert argv[1:] == ("-f", "-"), argv
        text = sys.stdin.read()
        assert text, "nothing is applied"
        with open(cluster / "applied.yaml", "a", encoding="utf-8") as applied:
            applied.write(f"---\n{text}")
    elif argv[0] == "exec":
        (cluster / "exec.json").write_text(json.dumps(argv))
    else:
        assert argv == ("rollout", "status", "deployment/my-app"), argv
    return 0


# --- the machine ----------------------------------------------------------------------------------------------------------------------------

def machine(state):
    folder = pathlib.Path(state["folder"])
    folder.chmod(0o755)
    pod.certificates(folder)
    pod.network(folder)
    servers = pod.Servers(folder, grants=1, pause_s=0)
    certs = folder / "certs"
    certs.mkdir()
    (certs / "ca-certificates.crt").write_bytes(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_bytes() + (folder / "root.pem").read_bytes())
    pod.mount("--bind", certs, "/etc/ssl/certs")
    pod.mount("--bind", folder / "hosts", "/etc/hosts")
    pod.mount("--bind", folder / "resolv.conf", os.path.realpath("/etc/resolv.conf"))
    for new in ("/usr/local", "/etc/sidekey", "/etc/systemd/system", "/run", "/var/lib/sidekey", "/root"):
        os.makedirs(new, exist_ok=True)
        pod.mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", new)
    os.makedirs("/usr/local/bin")
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir()
    (stand_ins / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    for name in ("docker", "systemctl", "kubectl"):
        (stand_ins / name).write_text(f'#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} --as {name} "$@"\n')
    for each in stand_ins.iterdir():
        each.chmod(0o755)
    return servers, {"PATH": f"{stand_ins}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LC_ALL": "C.UTF-8", "STRANGER": str(folder), "USER": "root"}


def main():
    if sys.argv[1] == "--as":
        sys.exit({"docker": docker, "systemctl": systemctl, "kubectl": kubectl, "container": container}[sys.argv[2]](*sys.argv[3:]))
    state = json.loads(pathlib.Path(sys.argv[1]).read_text())
    servers, env = machine(state)
    source, folder = pathlib.Path(state["source"]), pathlib.Path(state["folder"])
    (source / "secrets").mkdir(mode=0o700)
    for name, text in (("crm-client", servers.idp.client_secret), ("crm-refresh", servers.idp.first_refresh_token)):
        (source / "secrets" / name).write_text(text)
        (source / "secrets" / name).chmod(0o600)
    with open(folder / "block.out", "wb") as out, open(folder / "block.err", "wb") as err:
        done = subprocess.run(["timeout", "240", "bash", "-euo", "pipefail", "-c", state["script"]], cwd=source, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False)
    logs = "\n".join((folder / name).read_text(errors="replace") for name in ("container.log", "journal") if (folder / name).exists())
    print(json.dumps({"status": done.returncode, "out": (folder / "block.out").read_text(), "err": (folder / "block.err").read_text(), "logs": logs,
                      "served": servers.served, "refused": servers.refused, "token_requests": servers.idp.token_requests}))
    if (folder / "started").exists():
        for pid in (folder / "started").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
    time.sleep(0.2)


if __name__ == "__main__":
    main()
