#!/usr/bin/env python3
"""A pod as the kubelet makes it, from a manifest, in namespaces:   pod.py STATE.json   (as root, in new network, mount and pid namespaces)

STATE.json: {"pod": spec, "sidekey": path, "config": path, "secrets": {name: text}, "folder": path, "memory": bytes or null,
             "grants": how many, whose first refresh tokens are the secrets refresh-token, refresh-token-1, …; "pause_s": of the token endpoint}
It brings up the pod's network (loopback and 10.9.8.7), a resolver file with the names of the example, an authorization server and an API behind TLS at
those names, Redis, the volumes (emptyDir: tmpfs, root:fsGroup, mode 2777; Secret and ConfigMap: ..data links, root:fsGroup, 0440), a read-only root, and runs
the sidecar's container as its securityContext says, behind what the default seccomp profile of containerd refuses.  Commands come on stdin, one JSON object a line, answers go to stdout in the same way:
  start | kill | stop                        the sidecar's container (kill: SIGKILL, as a crash; the volumes stay)
  probe PATH                                 an HTTP GET to the pod's address, as the kubelet's
  app ARGV                                   a command in the app's container: uid 1000, the manifest's variables, the CA volume read-only
  counts                                     of the servers
"""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "examples/quickstart"), str(TOP / "tests/fakes")]
from idp import AuthorizationServer, reply  # noqa: E402

ADDRESS, IDP, API = "10.9.8.7", "login.example.com", "api.crm.example.com"
CAP_LAST, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 40, 24, 38, 22
# What the RuntimeDefault profile refuses to a container without capabilities (Docker's page "Seccomp security profiles", x86-64), with EPERM; and clone3.
AUDIT_ARCH_X86_64, CLONE, CLONE_NEW, CLONE3, EPERM, ENOSYS = 0xC000003E, 56, 0x7E020000, 435, 1, 38
REFUSED = {"acct": 163, "add_key": 248, "bpf": 321, "clock_adjtime": 305, "clock_settime": 227, "delete_module": 176, "finit_module": 313, "fsconfig": 431, "fsmount": 432, "fsopen": 430,
           "fspick": 433, "get_mempolicy": 239, "init_module": 175, "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425, "ioperm": 173, "iopl": 172, "kcmp": 312,
           "kexec_file_load": 320, "kexec_load": 246, "keyctl": 250, "mbind": 237, "mount": 165, "mount_setattr": 442, "move_mount": 429, "move_pages": 279, "name_to_handle_at": 303,
           "open_by_handle_at": 304, "open_tree": 428, "perf_event_open": 298, "pidfd_getfd": 438, "pivot_root": 155, "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101, "quotactl": 179,
           "reboot": 169, "request_key": 249, "set_mempolicy": 238, "setns": 308, "settimeofday": 164, "swapoff": 168, "swapon": 167, "sysfs": 139, "syslog": 103, "umount2": 166, "unshare": 272,
           "userfaultfd": 323, "ustat": 136, "vhangup": 153}
libc = ctypes.CDLL(None, use_errno=True)


def sh(*argv):
    subprocess.run(argv, check=True, capture_output=True)


def certificates(folder):
    openssl = lambda *args: sh("openssl", *args)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=pod test CA", "-keyout", folder / "root.key", "-out", folder / "root.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=pod", "-keyout", folder / "pod.key", "-out", folder / "pod.csr")
    (folder / "ext").write_text(f"subjectAltName=DNS:{IDP},DNS:{API}\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", folder / "pod.csr", "-CA", folder / "root.pem", "-CAkey", folder / "root.key", "-CAcreateserial", "-days", "2", "-extfile", folder / "ext", "-out", folder / "pod.pem")


class Servers:
    """The authorization server and the API at one address, by Host."""

    def __init__(self, folder, grants, pause_s):
        self.idp = AuthorizationServer()
        self.idp.client_id, self.idp.lifetime_s = "my-app", 3600
        self.pause_s = pause_s
        self.first = [self.idp.first_refresh_token, *(self.idp.mint() for _ in range(1, grants))]
        self.most_at_once = self.now = 0
        self.served = self.refused = 0
        servers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                with servers.slow():
                    reply(self, *servers.idp.redeem(dict(urllib.parse.parse_qsl(body)), self.headers.get("authorization")))

            def do_GET(self):
                live = self.headers["host"] == API and servers.idp.is_live((self.headers.get("authorization") or "").removeprefix("Bearer "))
                servers.served, servers.refused = servers.served + live, servers.refused + (not live)
                reply(self, 200 if live else 401, {"live": live})

            def log_message(self, *_):
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pod.pem", folder / "pod.key")
        server = ThreadingHTTPServer((ADDRESS, 443), Handler)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    @contextlib.contextmanager
    def slow(self):
        with self.idp.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        time.sleep(self.pause_s)
        yield
        with self.idp.lock:
            self.now -= 1


def network(folder):
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {IDP} {API} sidekey-redis my-pod\n")
    (folder / "resolv.conf").write_text(f"nameserver {ADDRESS}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")


def mount(*argv):
    sh("mount", *map(str, argv))


def projected(folder, files, gid):
    """A Secret or ConfigMap volume: files behind ..data, which is a link to a directory with the date's name."""
    mount("-t", "tmpfs", "-o", f"mode=2777,gid={gid}", "tmpfs", folder)
    data = folder / "..2026_01_01"
    data.mkdir()
    os.chown(data, 0, gid)
    data.chmod(0o2755)
    (folder / "..data").symlink_to(data.name)
    for name, text in files.items():
        (data / name).write_text(text)
        os.chown(data / name, 0, gid)
        (data / name).chmod(0o440)
        (folder / name).symlink_to(f"..data/{name}")


def refuse_calls():
    """A filter of the kernel's: each test jumps over the answer behind it, or does not."""
    op = lambda code, jump_true, jump_false, value: struct.pack("HBBI", code, jump_true, jump_false, value)
    load, answer = (lambda at: op(0x20, 0, 0, at)), (lambda value: op(0x06, 0, 0, value))
    equal, has_bit = (lambda value, over: op(0x15, 0, over, value)), (lambda value, over: op(0x45, 0, over, value))
    allow, fail = answer(0x7FFF0000), lambda error: answer(0x00050000 | error)
    program = [load(4), op(0x15, 1, 0, AUDIT_ARCH_X86_64), allow, load(0), equal(CLONE3, 1), fail(ENOSYS), equal(CLONE, 4), load(16), has_bit(CLONE_NEW, 1), fail(EPERM), allow]
    for number in REFUSED.values():
        program += [equal(number, 1), fail(EPERM)]
    code = ctypes.create_string_buffer(b"".join([*program, allow]))
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) + 1, ctypes.addressof(code)))
    if libc.prctl(PR_SET_SECCOMP, 2, filters, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def drop_to(uid, gid, groups):
    """As the container runtime: no capability, no new privileges, and the manifest's user."""
    for cap in range(CAP_LAST + 1):
        libc.prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class Pod:
    def __init__(self, state):
        self.spec, self.folder, self.memory = state["pod"], pathlib.Path(state["folder"]), state["memory"]
        self.sidecar, self.app = self.spec["initContainers"][0], self.spec["containers"][0]
        self.process, self.starts = None, 0
        certificates(self.folder)
        network(self.folder)
        self.servers = Servers(self.folder, state["grants"], state["pause_s"])
        self.redis = subprocess.Popen(["redis-server", "--bind", ADDRESS, "--port", "6379", "--save", "", "--dir", str(self.folder), "--protected-mode", "no"], stdout=subprocess.DEVNULL)
        secrets = {**state["secrets"], "client-secret": self.servers.idp.client_secret, "refresh-token": self.servers.first[0],
                   **{f"refresh-token-{n}": token for n, token in enumerate(self.servers.first) if n}}
        self.volumes(secrets, pathlib.Path(state["config"]).read_text())
        self.root(state["sidekey"])

    def volumes(self, secrets, config):
        """Each at the path where the sidecar mounts it."""
        where = {m["name"]: pathlib.Path(m["mountPath"]) for m in self.sidecar["volumeMounts"]}
        gid = self.spec["securityContext"]["fsGroup"]
        for volume in self.spec["volumes"]:
            at = where[volume["name"]]
            at.mkdir(parents=True, exist_ok=True)
            if "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"].replace("Mi", "m")
                mount("-t", "tmpfs", "-o", f"size={size},mode=2777,uid=0,gid={gid}", "tmpfs", at)
            else:
                projected(at, secrets if "secret" in volume else {"sidekey.yaml": config}, gid)

    def root(self, sidekey):
        certs = self.folder / "certs"  # as in the image: one file, no hashed directory
        certs.mkdir()
        (certs / "ca-certificates.crt").write_bytes(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_bytes() + (self.folder / "root.pem").read_bytes())
        mount("--bind", certs, "/etc/ssl/certs")
        mount("--bind", self.folder / "hosts", "/etc/hosts")
        mount("--bind", self.folder / "resolv.conf", os.path.realpath("/etc/resolv.conf"))
        shutil.copy(sidekey, self.folder / "sidekey")
        (self.folder / "sidekey").chmod(0o755)
        mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", "/mnt")
        os.mkdir("/mnt/bin")
        pathlib.Path("/mnt/bin/sidekey").touch()
        mount("--bind", self.folder / "sidekey", "/mnt/bin/sidekey")
        os.chmod("/mnt", 0o1777)  # what the tests keep between two commands of the app
        mount("--bind", self.folder, self.folder)
        mount("-o", "remount,bind,ro", "/")  # readOnlyRootFilesystem

    def confine(self):
        security = self.sidecar["securityContext"]
        if self.memory:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))
        drop_to(security["runAsUser"], security["runAsGroup"], [self.spec["securityContext"]["fsGroup"]])
        if platform.machine() == "x86_64":
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
            refuse_calls()

    def start(self):
        self.starts += 1
        if self.memory and self.starts == 1:
            self.group = pathlib.Path(f"/sys/fs/cgroup/memory/sidekey-pod-{time.monotonic_ns()}")
            self.group.mkdir()
            (self.group / "memory.limit_in_bytes").write_text(str(self.memory))
        log = open(self.folder / f"sidecar{self.starts}.log", "wb")
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": "my-pod", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        self.process = subprocess.Popen(["/mnt/bin/sidekey", *self.sidecar["args"]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self.confine, env=env, cwd="/", start_new_session=True)
        return {"pid": self.process.pid}

    def end(self, number):
        self.process.send_signal(number)
        if number == signal.SIGKILL:  # the runtime ends the whole container
            os.killpg(self.process.pid, signal.SIGKILL)
        return {"status": self.process.wait(60)}

    def probe(self, path):
        connection = http.client.HTTPConnection(ADDRESS, self.sidecar["ports"][0]["containerPort"], timeout=1)
        try:
            connection.request("GET", path, headers={"Host": f"{ADDRESS}:9118", "User-Agent": "kube-probe/1.36", "Connection": "close"})
            return {"status": connection.getresponse().status}
        except OSError as error:
            return {"status": 0, "error": str(error), "ended": self.process.poll()}
        finally:
            connection.close()

    def run_app(self, argv):
        env = {v["name"]: v["value"].replace("$(KUBERNETES_SERVICE_HOST)", "10.0.0.1") for v in self.app["env"]}
        done = subprocess.run(argv, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, timeout=60, check=False, cwd="/", preexec_fn=lambda: drop_to(1000, 1000, [self.spec["securityContext"]["fsGroup"]]))
        return {"status": done.returncode, "out": done.stdout.decode(), "err": done.stderr.decode()}

    def memory_control(self):
        return dict(line.split() for line in (self.group / "memory.oom_control").read_text().splitlines())

    def counts(self):
        failures = int((self.group / "memory.failcnt").read_text()) if self.memory else 0
        peak = int((self.group / "memory.max_usage_in_bytes").read_text()) if self.memory else 0
        idp = self.servers.idp
        return {"token_requests": idp.token_requests, "reused": idp.reused, "served": self.servers.served, "refused": self.servers.refused, "memory_failures": failures, "memory_peak": peak,
                "oom_kills": int(self.memory_control()["oom_kill"]) if self.memory else 0, "most_at_once": self.servers.most_at_once,
                "seccomp": re.search(r"^Seccomp:\s+(\d)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text(), re.M)[1]}

    def command(self, words):
        name, *rest = words
        return {"start": self.start, "kill": lambda: self.end(signal.SIGKILL), "stop": lambda: self.end(signal.SIGTERM), "probe": self.probe, "app": self.run_app, "counts": self.counts}[name](*rest)


def main():
    pod = Pod(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    try:
        for line in sys.stdin:
            print(json.dumps(pod.command(json.loads(line))), flush=True)
    finally:
        if pod.process and pod.process.poll() is None:
            os.killpg(pod.process.pid, signal.SIGKILL)
            pod.process.wait()
        pod.redis.kill()
        pod.redis.wait()
        if pod.memory and pod.starts:
            for _ in range(50):
                try:
                    pod.group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)


if __name__ == "__main__":
    main()
