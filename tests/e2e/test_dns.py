"""docs/http.md §6: names become addresses by a name server of ours, which changes its mind, lies, keeps silent, and counts what it is asked."""
import collections
import contextlib
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest
import wire
from harness import PATIENCE_S, until
from wire import field_of, status_of

A, AAAA = 1, 28
GOOD, CANARY = "127.0.0.5", "127.0.0.6"


class NameServer:
    """UDP on port 53 of an address of its own.  answers[name] = {A: [address …], AAAA: [address …]}; a type that is None gets no answer.  A question that is sent again counts once."""

    def __init__(self, address="127.53.0.1"):
        self.answers, self.asked, self.ids, self.ttl, self.delay_s = {}, collections.Counter(), set(), 0, 0.0
        self.address = address
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((self.address, 53))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                question, peer = self.sock.recvfrom(512)
                threading.Thread(target=self.reply, args=(question, peer), daemon=True).start()

    def reply(self, question, peer):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        end, kind, name = at + 5, int.from_bytes(question[at + 1:at + 3], "big"), ".".join(labels)
        self.asked[name, kind] += (question[:2], name, kind) not in self.ids
        self.ids.add((question[:2], name, kind))
        time.sleep(self.delay_s)
        known = self.answers.get(name)
        found = known.get(kind, []) if known else []
        if found is None:
            return
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.ttl, len(data)) + data for data in (ipaddress.ip_address(text).packed for text in found))
        head = question[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, len(found), 0, 0)
        with contextlib.suppress(OSError):
            self.sock.sendto(head + question[12:end] + records, peer)

    def close(self):
        self.sock.close()


def may_lead_names():
    """Port 53, and a resolv.conf of one's own: both want privileges."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode or not os.path.exists("/etc/resolv.conf"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.53.0.9", 53))
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not may_lead_names(), reason="needs a mount namespace and port 53")


class Scene:
    """GOOD and CANARY listen on one port; only GOOD is listed.  ::1 has that port too, and never answers there."""

    def __init__(self, folder, pki):
        self.world = wire.World(folder, pki, "dns")
        self.names = NameServer()
        self.conf = conf = folder / "resolv.conf"
        self.lead_to(self.names)
        self.good = self.world.server(lambda peer: peer.send(b"good"), tls=False, address=GOOD)
        self.port = self.good.port
        self.canaries = [self.listen(socket.AF_INET, CANARY)]
        before = ("unshare", "-m", "sh", "-c", f"mount --bind {conf} /etc/resolv.conf && exec \"$@\"", "sh")
        config = self.world.config(self.world.server(), network={"allow_private": [f"{GOOD}/32", "::1/128"]})
        self.sidekey = self.world.start(config, before=before)

    def lead_to(self, names):
        """As Kubernetes writes it."""
        self.conf.write_text(f"search default.svc.cluster.test svc.cluster.test cluster.test\nnameserver {names.address}\noptions ndots:5 timeout:20 attempts:1\n")

    def listen(self, family, address):
        sock = socket.socket(family)
        sock.bind((address, self.port))
        sock.listen(5)
        sock.setblocking(False)
        return sock

    def connect(self, name):
        """(status, head, seconds)"""
        began = time.monotonic()
        sock, head = self.sidekey.tunnel(f"{name}:{self.port}")
        with sock:
            if status_of(head) == 200:
                assert sock.recv(10) == b"good"
        return status_of(head), head, time.monotonic() - began

    def nobody_came(self):
        for canary in self.canaries:
            with pytest.raises(BlockingIOError):
                canary.accept()

    def close(self):
        for canary in self.canaries:
            canary.close()
        self.names.close()
        self.world.close()


@pytest.fixture(scope="module")
def scene(folder, pki):
    place = folder / "dns"
    place.mkdir()
    made = Scene(place, pki)
    yield made
    made.close()


KEPT_S = 5  # the least that an answer is kept
LATER = [{A: [CANARY]}, {A: [CANARY], AAAA: [f"::ffff:{CANARY}"]}, {A: ["169.254.169.254"]}, {AAAA: ["fd00:ec2::254"]}, {AAAA: ["64:ff9b::7f00:6"]}, {A: ["0.0.0.0"]}]


@pytest.mark.slow
def test_6_a_name_that_is_led_elsewhere_is_judged_by_where_it_leads(scene):
    """Rebinding: the first answer is good, the next one is not.  While the first is kept it alone counts; then the new one is refused."""
    names = {f"rebind{n}.test": later for n, later in enumerate(LATER)}
    for name, later in names.items():
        scene.names.answers[name], began = {A: [GOOD]}, time.monotonic()
        assert scene.connect(name)[0] == 200
        scene.names.answers[name] = later
        status = scene.connect(name)[0]
        if time.monotonic() - began < KEPT_S:
            assert status == 200, "the address that was judged is the one that is dialled"
            assert scene.names.asked[name, A] == 1
    time.sleep(KEPT_S + 0.1)
    for name in names:
        status, head, _ = scene.connect(name)
        assert status == 403 and "error=destination_ip_prohibited" in field_of(head, "proxy-status"), (name, head)
        assert scene.names.asked[name, A] >= 2
    scene.nobody_came()


def test_6_of_several_addresses_only_those_that_may_be_are_dialled(scene):
    scene.names.answers["mixed.test"] = {A: ["169.254.169.254", CANARY, "10.1.2.3", GOOD], AAAA: [f"::ffff:{CANARY}", "fe80::1"]}
    assert scene.connect("mixed.test")[0] == 200
    scene.nobody_came()


def test_6_one_name_is_asked_for_once_however_many_wait(scene):
    scene.names.answers["crowd.test"] = {A: [GOOD]}
    scene.names.delay_s = 0.3
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(scene.connect("crowd.test")[0])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    scene.names.delay_s = 0
    assert statuses == [200] * 20
    assert scene.names.asked["crowd.test", A] == scene.names.asked["crowd.test", AAAA] == 1


def test_6_an_answer_is_kept_longer_than_it_asks_for(scene):
    for turn in range(10):
        names = {f"ttl{ttl_s}-{turn}.test": ttl_s for ttl_s in (0, 1)}
        began = time.monotonic()
        for name, scene.names.ttl in names.items():
            scene.names.answers[name] = {A: [GOOD]}
            assert scene.connect(name)[0] == 200
        scene.names.ttl = 0
        time.sleep(1.5)
        statuses = {name: scene.connect(name)[0] for name in names}
        if time.monotonic() - began < KEPT_S:  # else this machine was too slow to say
            break
    assert set(statuses.values()) == {200} and all(scene.names.asked[name, A] == 1 for name in names), scene.names.asked


def test_6_a_name_that_is_not_there_is_not_asked_for_again_at_once(scene):
    for _ in range(3):
        status, head, _ = scene.connect("missing.test")
        assert status == 502 and "dns_error" in field_of(head, "proxy-status"), head
    assert scene.names.asked["missing.test", A] == 1


@pytest.mark.serial
def test_6_a_question_for_aaaa_that_is_dropped_costs_fifty_milliseconds(scene):
    scene.names.answers["dropped.test"] = {A: [GOOD], AAAA: None}
    status, _, took = scene.connect("dropped.test")
    assert status == 200 and 0.045 < took < 10, took  # the resolver alone would wait for 20 s
    assert scene.names.asked["dropped.test", AAAA] >= 1, "both were asked for together"


@pytest.mark.serial
@pytest.mark.skipif(not wire.has_ipv6(), reason="this machine has no IPv6")
def test_6_a_silent_first_address_costs_a_quarter_of_a_second(scene):
    silent = socket.socket(socket.AF_INET6)
    silent.bind(("::1", scene.port))
    silent.listen(0)
    fillers = []
    for _ in range(3):  # the queue is full: a SYN gets no answer at all
        fillers.append(socket.socket(socket.AF_INET6))
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(("::1", scene.port))
    scene.names.answers["silent.test"] = {A: [GOOD], AAAA: ["::1"]}
    status, _, took = scene.connect("silent.test")
    for sock in [*fillers, silent]:
        sock.close()
    assert status == 200 and 0.24 < took < 20, took  # a dial that nobody answers may take a minute here


def test_6_a_name_with_a_dot_is_whole_before_it_is_searched_for(scene):
    """ndots:5 would cost ten questions, and the search domains would be asked first."""
    scene.names.asked.clear()
    scene.names.answers["api.whole.test"] = {A: [GOOD]}
    assert scene.connect("api.whole.test")[0] == 200
    assert {name for name, _ in scene.names.asked} == {"api.whole.test"}
    scene.names.answers["redis.default.svc.cluster.test"] = {A: [GOOD]}
    assert scene.connect("redis.default")[0] == 200  # a short name of the cluster is found all the same
    assert next(name for name, _ in scene.names.asked if name.startswith("redis.")) == "redis.default"


def test_6_another_resolv_conf_counts_without_a_restart(scene):
    names = NameServer("127.53.0.2")
    names.answers["api.moved.test"] = {A: [GOOD]}
    try:
        scene.lead_to(names)
        until("the other server is asked", lambda: scene.connect("api.moved.test")[0] == 200)
    finally:
        scene.lead_to(scene.names)
        names.close()
