#!/usr/bin/env python3
"""What a request of HTTP/2 costs in sidekey, beside nghttpx: the same h2load, the same nghttpd behind both, TLS on both legs, one worker.

Each word is a sidekey to count for, so that two builds can be compared; nghttpx comes first.  Each round measures all of them, one after the other: processor time of
the proxy's processes from /proc, for a request.  The figure is the median of the rounds, and its share of nghttpx's.  -i: instructions instead, counted by valgrind's
callgrind as the difference of a long run and a short one.   tests/bench/h2.py [-i] [-r ROUNDS] [-n REQUESTS] [SIDEKEY …]   (build/sidekey)"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "e2e"), str(HERE.parent / "fakes"), str(HERE)]
import harness  # noqa: E402
import pki as pki_maker  # noqa: E402
import wire  # noqa: E402

CONNECTIONS, STREAMS, BODY = 16, 10, 500
ROUNDS, REQUESTS = 9, 20_000
FEW, MANY = 400, 2400
READY_S = 300
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def listens(port):
    def look():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    return look


def tree(pid):
    below = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in below for p in tree(int(child)))]


def cpu_s(pids):
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


class Place:
    """The upstream that all share, and the library that leads h2load through CONNECT."""

    def __init__(self, folder):
        self.folder, self.pki = folder, pki_maker.make(folder / "pki")
        docs = folder / "docs"
        docs.mkdir()
        (docs / "body").write_bytes(b"x" * BODY)
        self.port = free_port()
        self.upstream = harness.Process("nghttpd", [shutil.which("nghttpd"), "-d", docs, self.port, self.pki / "good.key", self.pki / "good.pem"], folder)
        harness.until("nghttpd listens", listens(self.port))
        self.tunnel = folder / "tunnel.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self.tunnel, HERE / "tunnel.c"], check=True)
        self.worlds = 0

    def close(self):
        self.upstream.stop(signal.SIGKILL)


class Sidekey:
    def __init__(self, place, program, before=()):
        harness.SIDEKEY = pathlib.Path(program).resolve()
        place.worlds += 1
        self.place, self.world = place, wire.World(place.folder / f"sidekey{place.worlds}", place.pki, "h2")
        config = self.world.config(place, workers=1, log={"level": "warn"})
        config["rules"][0]["http2"] = "mirror"
        self.process = harness.Sidekey(self.world.folder, config, before=before, program=harness.SIDEKEY)
        self.process.ready(READY_S)
        self.folder, self.name = self.world.folder, str(program)

    def load(self, requests):
        env = {**os.environ, "LD_PRELOAD": str(self.place.tunnel), "TUNNEL_PORT": str(self.place.port), "TUNNEL_PROXY": str(self.process.proxy[1]),
               "TUNNEL_HOST": harness.API}
        try:
            load(self.place.port, requests, env)
        except (AssertionError, subprocess.CalledProcessError):
            print(b"".join(self.process.logs().values()).decode(errors="replace")[-4000:], file=sys.stderr)
            raise

    def pids(self):
        return tree(self.process.pid)

    def stop(self):
        self.process.stop()


class Nghttpx:
    def __init__(self, place, before=()):
        self.name, self.port, self.folder = "nghttpx", free_port(), place.folder / "nghttpx"
        self.folder.mkdir(exist_ok=True)
        self.process = harness.Process("nghttpx", [*before, shutil.which("nghttpx"), "--conf=/dev/null", "--no-ocsp", "-n1", *(["--single-process"] if before else []),
                                                   f"-f127.0.0.1,{self.port}", f"-b127.0.0.1,{place.port};;tls;proto=h2;sni={harness.API}", f"--cacert={place.pki / 'ca.pem'}",
                                                   place.pki / "good.key", place.pki / "good.pem"], self.folder)
        harness.until("nghttpx listens", listens(self.port), READY_S)

    def load(self, requests):
        load(self.port, requests, None)

    def pids(self):
        return tree(self.process.pid)

    def stop(self):
        self.process.stop(signal.SIGQUIT if "valgrind" not in str(self.process.popen.args[0]) else signal.SIGTERM)


def load(port, requests, env):
    said = subprocess.run(["h2load", "-t1", f"-c{CONNECTIONS}", f"-m{STREAMS}", f"-n{requests}", "-Hauthorization: Bearer placeholder",
                           f"--connect-to=127.0.0.1:{port}", f"https://{harness.API}/body"], env=env, capture_output=True, text=True, check=True).stdout
    assert f"{requests} succeeded" in said and "Application protocol: h2" in said, said


def compare(place, programs, rounds, requests):
    proxies = [Nghttpx(place), *(Sidekey(place, program) for program in programs)]
    spent = [[] for _ in proxies]
    for proxy in proxies:
        proxy.load(FEW)
    for _ in range(rounds):
        for i, proxy in enumerate(proxies):
            before = cpu_s(proxy.pids())
            proxy.load(requests)
            spent[i].append((cpu_s(proxy.pids()) - before) / requests * 1e6)
    for proxy in proxies:
        proxy.stop()
    for proxy, each in zip(proxies, spent):
        print(f"{proxy.name}: {statistics.median(each):.1f} µs a request, {statistics.median(each) / statistics.median(spent[0]):.2f} of nghttpx"
              f"   ({min(each):.1f} to {max(each):.1f})", flush=True)
    return statistics.median(spent[-1]) / statistics.median(spent[0])


def instructions(make, folder, requests):
    before = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p"]
    for old in folder.glob("out.*"):
        old.unlink()
    proxy = make(before)
    proxy.load(FEW)
    proxy.load(requests)
    proxy.stop()
    return max(int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(errors="replace"), re.M)[1]) for out in folder.glob("out.*"))


def count(place, programs):
    kinds = [("nghttpx", lambda before: Nghttpx(place, before)), *((str(p), lambda before, p=p: Sidekey(place, p, before)) for p in programs)]
    first = None
    for name, make in kinds:
        each = (instructions(make, place.folder, MANY) - instructions(make, place.folder, FEW)) / (MANY - FEW)
        first = first or each
        print(f"{name}: {each:,.0f} instructions a request, {each / first:.2f} of nghttpx", flush=True)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("-i", action="store_true")
    words.add_argument("-r", type=int, default=ROUNDS)
    words.add_argument("-n", type=int, default=REQUESTS)
    words.add_argument("programs", nargs="*", default=[harness.SIDEKEY])
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="sk-h2-") as where:
        place = Place(pathlib.Path(where))
        try:
            if asked.i:
                count(place, asked.programs)
            else:
                compare(place, asked.programs, asked.r, asked.n)
        finally:
            place.close()


if __name__ == "__main__":
    main()
