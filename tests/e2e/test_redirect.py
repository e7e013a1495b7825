"""listen.transparent: connections that a firewall rule in the pod's network redirects to sidekey, as the init container of examples/kubernetes sets it."""
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading

import pytest
from harness import API, PLACEHOLDER, ROOT, SIDEKEY, Sidekey, run, until

PORT = 15001
SIDEKEY_UID = 65532  # of the image
ADDRESS, ADDRESS6 = "203.0.113.7", "2001:db8::7"  # nobody has them: only a redirect makes a connection to them succeed


def in_network(pid, job):
    """job() by a thread that has entered the network namespace of pid; sockets stay in it."""
    made = []

    def work():
        with open(f"/proc/{pid}/ns/net", "rb") as network:
            assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        made.append(job())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return made[0]


def forward(listener, port):
    """What is connected to listener goes to this port of the host's loopback."""
    def pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
        with contextlib.suppress(OSError):
            b.shutdown(socket.SHUT_WR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listener.accept()
                outside = socket.create_connection(("127.0.0.1", port))
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()


@pytest.fixture
def pod(auth):
    """The network of a pod: loopback and a way out that leads nowhere; the test's servers are on its loopback."""
    if os.geteuid():
        pytest.skip("needs root for a network namespace")
    holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    host = os.readlink("/proc/self/ns/net")
    until("it has a network of its own", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != host)
    inside = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    for words in ("link set lo up", "addr add 192.0.2.10/32 dev lo", "-6 addr add 2001:db8:1::10/128 dev lo nodad", "link add up0 type veth peer name up1", "link set up0 up", "link set up1 up",
                  "route add default dev up0", "-6 route add default dev up0"):
        done = run([*inside, "ip", *words.split()])
        assert done.returncode == 0, done
    with contextlib.ExitStack() as stack:
        for port in (auth.api_port, int(auth.token_url.rsplit(":", 1)[1].split("/")[0])):
            listener = in_network(holder.pid, lambda port=port: socket.create_server(("127.0.0.1", port)))
            stack.callback(listener.close)
            forward(listener, port)
        yield inside
    holder.kill()  # and with it the network
    holder.wait()


def rules_of(kind):
    """The script of the init container, as the example has it."""
    return ["sh", ROOT / "examples/kubernetes/redirect/redirect.sh", kind]


@pytest.fixture
def redirected(pod, make_config, place, folder, auth, request):
    """redirected(kind, **changes): sidekey in the pod as the image's user, behind the firewall rules; gives the command that enters the pod."""
    running = []

    def go(kind, **changes):
        done = run([*pod, *rules_of(kind)])
        assert done.returncode == 0, done
        config = make_config(listen={"proxy": "127.0.0.1:0", "admin": "127.0.0.1:0", "transparent": f"[::]:{PORT}"}, **changes)
        folder.chmod(0o755)
        for path in [place, *place.rglob("*")]:
            os.chown(path, SIDEKEY_UID, SIDEKEY_UID)
        before = [*pod, "setpriv", f"--reuid={SIDEKEY_UID}", f"--regid={SIDEKEY_UID}", "--clear-groups"]
        running.append(Sidekey(place, config, before=before, env={"HOME": str(place)}))  # the file is root's, which is as good as its own
        request.node.sidekey_processes.append(running[-1])
        running[-1].wait_line(r"^ready proxy=", running[-1].err)
        return pod
    yield go
    for process in running:
        assert process.stop() == 0


def curl(pod, place, *words, host=API, address=ADDRESS, port=443):
    return run([*pod, "curl", "-sS", "-m", "60", "--noproxy", "*", "--cacert", place / "ca" / "bundle.pem", "--resolve", f"{host}:{port}:{address}", *words,
                f"https://{host}:{port}/v2/echo"])


KINDS = ["nft", "iptables"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [ADDRESS, f"[{ADDRESS6}]"])
def test_a_redirected_connection_is_injected_by_its_name(kind, address, redirected, place, auth):
    done = curl(redirected(kind), place, "-H", f"Authorization: {PLACEHOLDER}", address=address)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["live"] is True and PLACEHOLDER not in json.dumps(auth.requests[-1])


def test_another_name_goes_to_its_own_address_untouched(redirected, place, auth):
    """Nobody answers at the address, and sidekey dials nothing else for it."""
    pod = redirected("nft", limits={"dial": "1s"})
    before = len(auth.requests)
    assert curl(pod, place, "-k", host="other.sidekey.test").returncode != 0 and len(auth.requests) == before


def test_unmatched_deny_and_ports_without_a_rule(redirected, place, auth):
    pod = redirected("nft", unmatched="deny")
    assert curl(pod, place, "-k", host="open.sidekey.test").returncode in (35, 52, 56)
    assert json.loads(curl(pod, place, "-H", f"Authorization: {PLACEHOLDER}").stdout)["live"] is True


def test_a_connection_that_nothing_redirected_is_refused(redirected, place):
    pod = redirected("nft")
    for address in ("127.0.0.1", "192.0.2.10"):
        assert curl(pod, place, "-k", address=address, port=PORT).returncode in (35, 52, 56)


def test_the_pods_own_loopback_and_cluster_networks_are_left_alone(redirected, pod, place):
    redirected("nft")
    done = run([*pod, "curl", "-sS", "-m", "20", "--noproxy", "*", "https://127.0.0.1:443/"])
    assert done.returncode == 7, done  # refused; curl 8.14 says it in other words
    shown = run([*pod, "nft", "list", "ruleset"]).stdout.decode()
    assert f"meta skuid {SIDEKEY_UID}" in shown and "10.0.0.0/8" in shown


def test_clients_cannot_be_told_apart_there(make_config, place):
    config = make_config(listen={"proxy": "127.0.0.1:0", "transparent": "127.0.0.1:15001"}, clients={"ci": {"password": {"env": "T_CI"}, "rules": []}})
    path = place / "with-clients.yaml"
    path.write_text(json.dumps(config))
    done = run(["env", "T_CI=x", SIDEKEY, "check", "-c", path])
    assert done.returncode == 78 and b"listen.transparent" in done.stderr + done.stdout
